"""Pictures of a classification: truth beside what was made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cube.lithology import COLOURS, Lithology
from pipelines.classify import FUSED, IMAGERY, NEARBY

DPI = 80


def draw_maps(maps: Path, target: Path, title: str) -> None:
    """Draw truth, the maps of three predictors, and the confidence of the last.

    Parameters
    ----------
    maps
        As written by ``thermocube study classify``.
    target
        PNG file.
    title
        Above it all.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    with np.load(maps) as stored:
        truth, sure = stored["truth"], stored["confidence"]
        panels = {"truth": truth} | {name: stored[name] for name in (NEARBY, IMAGERY, FUSED)}
    colours = ListedColormap([COLOURS[code] for code in Lithology])
    figure = Figure(figsize=(15, 7.5), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    for axis, (name, panel) in zip(axes, panels.items(), strict=False):
        axis.imshow(panel, cmap=colours, vmin=-0.5, vmax=13.5, interpolation="nearest")
        axis.set_title(name)
    image = axes[4].imshow(np.where(truth > 0, sure, np.nan), cmap="viridis", vmin=0, vmax=1)
    axes[4].set_title("confidence of the last")
    figure.colorbar(image, ax=axes[4], shrink=0.7)
    present = [code for code in Lithology if (truth == code).any()]
    patches = [
        Patch(facecolor=COLOURS[code], edgecolor="0.5", label=code.label) for code in present
    ]
    axes[5].legend(handles=patches, loc="center", frameon=False)
    for axis in axes:
        axis.set_axis_off()
    figure.suptitle(title)
    figure.savefig(target, dpi=DPI)


def draw_signatures(document: dict[str, object], target: Path) -> None:
    """Draw the median of each band by class, by day and by night.

    Parameters
    ----------
    document
        Of ``thermocube study signatures``.
    target
        PNG file.
    """
    from matplotlib.figure import Figure

    bands = document["bands"]
    assert isinstance(bands, dict)
    figure = Figure(figsize=(11, 4), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(bands)))
    for axis, (band, found) in zip(axes, bands.items(), strict=True):
        names = list(found["classes"])
        for time, marker in (("day", "o"), ("night", "s")):
            values = [found["day_night"].get(time, {}).get(name) for name in names]
            numbers = [np.nan if value is None else value for value in values]
            axis.plot(numbers, range(len(names)), marker, label=time)
        axis.set_yticks(range(len(names)), [name.replace("_", "-") for name in names])
        axis.set_xlabel(f"median {band} over dates")
        axis.legend()
    figure.suptitle(str(document["region"]))
    figure.savefig(target, dpi=DPI)
