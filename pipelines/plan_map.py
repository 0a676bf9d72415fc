"""The map of a sample plan: the ground and the dates of each part, and where the patches lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cube.errors import PlanError
from cube.splits import PARTS
from pipelines import maps
from pipelines.figures import styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from odc.geo.geobox import GeoBox

    from cube.sample_plan import SamplePlan

WIDTH, SIDE, HEAD, FOOT, DATES = 6.4, 0.58, 0.42, 0.42, 0.6
"""The figure, its margins, and the strip of dates below the map; inches."""

_MOST_FRAMES = 1500
"""Patches whose frames are drawn; with more they would hide the map."""


@styled
def plan_map(plan: SamplePlan, grid: GeoBox, title: str = "") -> Figure:
    """Draw a sample plan: which ground and which dates are for what, and the frames of the patches.

    Parameters
    ----------
    plan
        What to draw.
    grid
        The region's, of ``plan.shape``.
    title
        One line; by default the size of the patches and the split.

    Raises
    ------
    PlanError
        If the grid is of another shape.
    """
    from matplotlib.figure import Figure

    if tuple(grid.shape) != plan.shape:
        raise PlanError(
            f"the sample plan is for {plan.shape[0]} x {plan.shape[1]} px, the grid has "
            f"{grid.shape[0]} x {grid.shape[1]}"
        )
    inner = WIDTH - 2 * SIDE
    tall = float(np.clip(inner * grid.shape[0] / grid.shape[1], 0.3 * inner, 1.6 * inner))
    height = HEAD + tall + FOOT + DATES + 2 * FOOT
    figure = Figure((WIDTH, height))
    left, wide = SIDE / WIDTH, inner / WIDTH
    ground = figure.add_axes((left, (3 * FOOT + DATES) / height, wide, tall / height))
    _draw_ground(ground, plan, grid)
    ground.set_title(title or _title(plan), loc="left")
    _draw_dates(figure.add_axes((left, 2 * FOOT / height, wide, DATES / height)), plan)
    _legend(figure, plan)
    return figure


def save_plan_map(plan: SamplePlan, grid: GeoBox, path: str | Path, *, dpi: int = 150) -> Path:
    """Draw a sample plan into an image file; its name says which kind, e.g. ``plan.png``."""
    target = Path(path)
    plan_map(plan, grid).savefig(target, dpi=dpi)
    return target


def _title(plan: SamplePlan) -> str:
    dates = f", {plan.sequence_length} dates each" if plan.sequence_length > 1 else ""
    leaky = ": LEAKY" if plan.leaky else ""
    return f"Patches of {plan.patch} px{dates}; {plan.split.in_words}{leaky}"


def _draw_ground(axes: Axes, plan: SamplePlan, grid: GeoBox) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    codes = maps.part_codes(*(maps.thin(plan.mask(name)) for name in PARTS))
    maps.paint_keys(axes, codes, maps.PARTS, grid, hollow=False)
    axes.set(xlabel="easting, km", ylabel="northing, km")
    if len(plan.places) <= _MOST_FRAMES:
        west, east, south, north = maps.extent(grid)
        step = (east - west) / plan.shape[1], (south - north) / plan.shape[0]
        corners = np.stack(
            [west + plan.places[:, 1] * step[0], north + plan.places[:, 0] * step[1]], axis=1
        )
        frames = [Rectangle((x, y), plan.patch * step[0], plan.patch * step[1]) for x, y in corners]
        drawn = PatchCollection(frames, facecolor="none", edgecolor=maps.OUTLINE, linewidth=0.25)
        axes.add_collection(drawn)


def _draw_dates(axes: Axes, plan: SamplePlan) -> None:
    """One row a part, a tick for each date at which it has samples."""
    for row, (name, key) in enumerate(zip(PARTS, maps.PARTS[1:], strict=False)):
        times = plan.times_of(name)
        axes.vlines(times, 2.1 - row, 2.9 - row, colors=key.colour, linewidth=0.9)
    axes.set(ylim=(0, 3), yticks=(2.5, 1.5, 0.5), yticklabels=PARTS)
    if len(plan.times):
        margin = np.timedelta64(1, "D")
        axes.set_xlim(plan.times[0] - margin, plan.times[-1] + margin)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("dates with samples, UTC")


def _legend(figure: Figure, plan: SamplePlan) -> None:
    from matplotlib.patches import Patch

    counts = ["", *(f": {len(plan.part(name))} samples" for name in PARTS), ""]
    shared = plan.leaky
    shown = [
        (key, count)
        for key, count in zip(maps.PARTS, counts, strict=True)
        if shared or key is not maps.PARTS[-1]
    ]
    figure.legend(
        [Patch(facecolor=key.colour, edgecolor="#888888", linewidth=0.4) for key, _ in shown],
        [f"{key.label}{count}" for key, count in shown],
        loc="lower center",
        ncols=2,
        handlelength=1.1,
        columnspacing=1.4,
    )
