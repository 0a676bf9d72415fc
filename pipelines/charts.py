"""Charts as figures: scenes through time, training curves, scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.ledger import Status
from pipelines.figures import styled

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cube.ledger import Row
    from models.calibration import Reliability
    from pipelines.evaluation import DateScores

DAY, NIGHT = "#e08a00", "#33418c"
CURVES = {"loss": "loss", "accuracy": "accuracy", "macro_f1": "macro F1"}
"""Columns of a history that are drawn, and what they are called."""
LEFT_OUT = {
    Status.REJECTED: ("v", "#c44e00"),
    Status.FAILED: ("x", "#111111"),
    Status.EMPTY: ("o", "#8c8c8c"),
    Status.SUPERSEDED: ("D", "#8c8c8c"),
}
"""Marker and colour of granules that are not in the cube."""


@styled
def timeline(scenes: Mapping[str, xr.Dataset], left_out: Sequence[Row]) -> Figure:
    """Draw each scene's valid share over time, and below it the granules that were left out.

    Parameters
    ----------
    scenes
        By modality, with ``time``, ``valid_fraction`` and ``sun_elevation``.
    left_out
        Rows of the ledger that are not ingested; those without a time are not drawn.
    """
    from matplotlib.figure import Figure

    figure = Figure((9.6, 0.75 + 1.15 * len(scenes)), layout="constrained")
    panels = figure.subplots(len(scenes), 1, sharex=True, squeeze=False)[:, 0]
    entries: dict[str, Any] = {}
    for axes, (modality, dataset) in zip(panels, scenes.items(), strict=True):
        entries |= _draw_scenes(axes, dataset)
        entries |= _draw_left_out(axes, [row for row in left_out if row.modality == modality])
        axes.set_ylabel(modality, fontsize=9, fontweight="bold")
        axes.set_ylim(-0.3, 1.08)
        axes.set_yticks([0, 0.5, 1], ["0", "50", "100 %"])
        axes.axhline(0, color="#555555", linewidth=0.6)
        _open_frame(axes)
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(axis="x", bottom=axes is panels[-1])
    panels[0].set_title("Valid share of the region, scene by scene", loc="left")
    _date_axis(panels[-1])
    if entries:
        figure.legend(
            entries.values(), entries.keys(), loc="outside lower right", ncols=6, handletextpad=0.3
        )
    return figure


def _draw_scenes(axes: Axes, dataset: xr.Dataset) -> dict[str, Any]:
    times = dataset["time"].values.astype("datetime64[ms]")
    valid, day = dataset["valid_fraction"].values, dataset["sun_elevation"].values > 0
    drawn = {}
    for name, chosen, colour in (("scene by day", day, DAY), ("scene by night", ~day, NIGHT)):
        if chosen.any():
            axes.vlines(times[chosen], 0, valid[chosen], color=colour, linewidth=1.1)
            (drawn[name],) = axes.plot(
                times[chosen], valid[chosen], "o", color=colour, markersize=3.5
            )
    return drawn


def _draw_left_out(axes: Axes, rows: Sequence[Row]) -> dict[str, Any]:
    drawn = {}
    for status, (marker, colour) in LEFT_OUT.items():
        times = [
            np.datetime64(row.time.replace(tzinfo=None), "ms")
            for row in rows
            if row.status is status and row.time is not None
        ]
        if times:
            level = np.full(len(times), -0.17)
            (drawn[f"{status.value} granule"],) = axes.plot(
                times, level, marker, color=colour, markersize=4, linestyle="none"
            )
    return drawn


def _date_axis(axes: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


@styled
def curves(history: Mapping[str, Sequence[float]], best: int | None) -> Figure:
    """Draw loss, accuracy and macro F1 over the epochs, and mark the epoch whose weights were kept.

    Parameters
    ----------
    history
        Columns of a model's ``history.csv``.
    best
        Number of that epoch, from 1.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    quantities = {name: title for name, title in CURVES.items() if name in history}
    figure = Figure((min(4.8, 11 / len(quantities)) * len(quantities), 2.9), layout="constrained")
    panels = figure.subplots(1, len(quantities), squeeze=False)[0]
    for axes, (name, title) in zip(panels, quantities.items(), strict=True):
        _draw_curves(axes, history, name)
        if best is not None:
            label = f"weights kept: epoch {best}"
            axes.axvline(
                best, color="#555555", linewidth=0.9, linestyle="--", zorder=0, label=label
            )
        axes.set_title(title[0].upper() + title[1:], loc="left")
        axes.set(xlabel="epoch", ylabel=title)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        _open_frame(axes)
    panels[0].legend()
    return figure


def _draw_curves(axes: Axes, history: Mapping[str, Sequence[float]], name: str) -> None:
    """Training and validation; a logarithmic axis where they span more than a factor of 20."""
    columns = {name: ("train", NIGHT), f"val_{name}": ("validation", DAY)}
    drawn = {column: np.asarray(history[column], float) for column in columns if column in history}
    for column, values in drawn.items():
        label, colour = columns[column]
        epochs = np.arange(1, len(values) + 1)
        axes.plot(epochs, values, "o-", color=colour, markersize=3, label=label)
    values = np.concatenate(list(drawn.values()))
    if values.min() > 0 and values.max() > 20 * values.min():
        axes.set_yscale("log")


def _open_frame(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e3e3e3", linewidth=0.5)
    axes.set_axisbelow(True)


@styled
def confusion_matrix(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw a confusion matrix, colours by share of the true class, counts in the cells.

    Parameters
    ----------
    counts : ndarray of int, (class, class)
        Rows true, columns predicted. Classes that are in neither are left out.
    names
        Of all classes.
    """
    from matplotlib.figure import Figure

    kept = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    counts = counts[np.ix_(kept, kept)]
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.7 + 0.54 * len(kept)
    figure = Figure((side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(np.ma.masked_equal(share, 0), cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(counts):
        part = share[row, column]
        dark = part > 0.55
        text = f"{part:.0%}" if part >= 0.005 else "<1%"
        text += f"\n{_short(counts[row, column])}"
        axes.text(column, row, text, ha="center", va="center", fontsize=7.6,
                  color="white" if dark else "#222222")  # fmt: skip
    labels = [names[int(code)] for code in kept]
    slanted: Any = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(kept)), labels, fontsize=8, **slanted)
    axes.set_yticks(range(len(kept)), labels, fontsize=8)
    axes.set_xticks(np.arange(len(kept) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(kept) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#d8d8d8", linewidth=0.6)
    axes.tick_params(which="both", length=0)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title("Confusion matrix", loc="left")
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02, shrink=0.5, ticks=[0, 0.5, 1])
    bar.ax.set_yticklabels(["0", "50", "100 %"])
    bar.set_label("share of the true class")
    bar.outline.set_visible(False)
    return figure


def _short(count: int) -> str:
    """A count in at most four figures: 532, 4.1k, 38k, 1.2M."""
    for size, unit in ((1_000_000, "M"), (1000, "k")):
        if count >= size:
            value = count / size
            return f"{value:.1f}{unit}" if value < 10 else f"{value:.0f}{unit}"
    return str(count)


@styled
def by_date(dates: Sequence[DateScores], overall: float, majority: float) -> Figure:
    """Draw the network's overall accuracy on each date beside two overall figures.

    Parameters
    ----------
    dates
        As in `pipelines.evaluate.Evaluation`.
    overall, majority
        Overall accuracy over all dates, of the network and of the majority class.
    """
    from matplotlib.figure import Figure

    figure = Figure((9.6, 2.3), layout="constrained")
    axes = figure.subplots()
    times = [date.time.astype("datetime64[ms]") for date in dates]
    axes.plot(times, [date.scores.oa for date in dates], "o", color=NIGHT, markersize=4,
              label="network, one date")  # fmt: skip
    axes.axhline(overall, color=NIGHT, linewidth=1, label="network, all dates together")
    axes.axhline(majority, color="#777777", linewidth=1, linestyle="--", label="majority class")
    axes.set_title("Overall accuracy by date", loc="left")
    axes.set_ylabel("overall accuracy")
    axes.set_ylim(0, 1.02)
    _open_frame(axes)
    _date_axis(axes)
    figure.legend(loc="outside lower right", ncols=3)
    return figure


@styled
def calibration(reliability: Reliability) -> Figure:
    """Draw accuracy against confidence, and how many pixels have which confidence.

    Parameters
    ----------
    reliability
        As in `pipelines.evaluation.Evaluation`.
    """
    from matplotlib.figure import Figure

    figure = Figure((6.4, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color="#777777", linewidth=1, linestyle="--", label="as it should be")
    left.plot(reliability.confidence, reliability.accuracy, "o-", color=NIGHT, markersize=4,
              label="network")  # fmt: skip
    left.set(xlabel="confidence", ylabel="share of right pixels", xlim=(0, 1), ylim=(0, 1.02))
    left.set_title("Calibration", loc="left")
    left.legend(loc="upper left")
    edges = reliability.edges
    share = reliability.pixels / max(reliability.pixels.sum(), 1)
    right.bar(edges[:-1], share, np.diff(edges), align="edge", color=NIGHT, edgecolor="white")
    right.set(xlabel="confidence", ylabel="share of the pixels", xlim=(0, 1))
    right.set_title("Confidence", loc="left")
    for axes in (left, right):
        _open_frame(axes)
    return figure


@styled
def by_step(matrix: np.ndarray, regions: Sequence[str], majority: np.ndarray) -> Figure:
    """Draw a score on each region after each step of a course over them.

    Parameters
    ----------
    matrix : ndarray of float, (after, on)
        See `pipelines.transfer.Transfer`.
    regions
        In the order of training.
    majority : ndarray of float, (on,)
        Of the majority class, dashed.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure((6.4, 3.1), layout="constrained")
    axes = figure.subplots()
    steps = np.arange(len(regions))
    for on, region in enumerate(regions):
        colour = colormaps["tab10"](on)
        axes.plot(steps, matrix[:, on], "o-", color=colour, markersize=4, label=f"on {region}")
        axes.axhline(majority[on], color=colour, linewidth=0.8, linestyle="--")
        axes.plot(on, matrix[on, on], "o", color=colour, markersize=9, fillstyle="none")
    axes.set_xticks(steps, [f"after {region}" for region in regions])
    axes.set_ylabel("macro F1")
    axes.set_ylim(0, 1.02)
    axes.set_title("Ringed: just trained; dashed: majority class", loc="left")
    _open_frame(axes)
    axes.legend()
    return figure
