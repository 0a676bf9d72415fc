"""Where NDVI helps by held-out reconstruction: gain against how LST and NDVI go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipelines.sharpen_heldout import NOISY, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#4a3aa7", "#c05a11", "#1c6f8c")
MARKERS = ("o", "^", "s")


def gains(rows: Sequence[Row], method: str, yardstick: str) -> list[tuple[float, float]]:
    """Correlation of LST and NDVI, and RMSE gained on the yardstick, of each scene with noise."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row.condition == NOISY and row.method in (method, yardstick):
            found.setdefault(row.scene, {})[row.method] = row
    return [
        (both[method].correlation, both[yardstick].rmse - both[method].rmse)
        for both in found.values()
        if len(both) == 2
    ]


def gain_figure(sets: Mapping[str, Sequence[Row]], method: str, yardstick: str) -> Figure:
    """A point a scene, a colour and a shape a set."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="#8a8a84", linewidth=1)
    for (name, rows), colour, marker in zip(sets.items(), COLOURS, MARKERS, strict=False):
        points = gains(rows, method, yardstick)
        if points:
            across, up = zip(*points, strict=True)
            axes.scatter(
                across, up, s=16, color=colour, marker=marker, alpha=0.7, linewidths=0, label=name
            )
    axes.set_xlabel("correlation of LST and NDVI over the scene, at 4 km")
    axes.set_ylabel(f"RMSE gained on {yardstick}, K")
    axes.set_title(f"{method}, restored from 4 km to 1 km", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    return figure
