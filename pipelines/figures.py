"""Figures in one style: maps of a cube's layers, the overview picture, images for a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.errors import SelectionError
from pipelines import maps

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from odc.geo.geobox import GeoBox

    from cube.store import Cube

STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.labelsize": 7.5,
    "axes.edgecolor": "#555555",
    "axes.linewidth": 0.6,
    "axes.labelcolor": "#333333",
    "text.color": "#1a1a1a",
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "hatch.linewidth": 0.5,
    "svg.hashsalt": "thermocube",
}

OVERVIEW_WIDTH = 10.0
"""Inches."""


def styled[**P, R](draw: Callable[P, R]) -> Callable[P, R]:
    """Draw with this module's style, and leave Matplotlib's settings as they were."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib

        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


@styled
def png(figure: Figure, dpi: int = 170) -> str:
    """Encode a figure as a ``data:`` address of a PNG image."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return _address("image/png", buffer.getvalue())


@styled
def svg(figure: Figure) -> str:
    """Encode a figure as a ``data:`` address of an SVG image, text drawn as paths."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _address("image/svg+xml", buffer.getvalue())


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


@styled
def lithology(
    codes: np.ndarray, grid: GeoBox, title: str, outline: np.ndarray | None = None
) -> Figure:
    """Draw classes, uint8 (y, x), in their own colours; class 0 is hatched."""
    return maps.key_map(codes, maps.LITHOLOGY, grid, title, outline=outline, hollow=True)


@styled
def keys(codes: np.ndarray, legend: Sequence[maps.Key], grid: GeoBox, title: str) -> Figure:
    """Draw codes, uint8 (y, x), in the colours of a legend."""
    return maps.key_map(codes, legend, grid, title)


@styled
def confidence(values: np.ndarray, grid: GeoBox, title: str) -> Figure:
    """Draw the probability of the class chosen, float (y, x), from 0 to 1."""
    return maps.value_map(
        values, grid, title, colours="cividis", label="confidence", limits=(0.0, 1.0)
    )


@styled
def temperature(values: np.ndarray, grid: GeoBox, title: str) -> Figure:
    """Draw land surface temperature, float (y, x), K; invalid pixels are hatched."""
    return maps.value_map(values, grid, title, colours="inferno", label="LST, K")


def choose_scenes(thermal: xr.Dataset, count: int) -> tuple[list[int], list[int]]:
    """Choose scenes to show: the most complete of each of `count` spans of time.

    Parameters
    ----------
    thermal
        With ``sun_elevation`` and ``valid_fraction`` on ``time``.
    count
        At most so many by day, and by night.

    Returns
    -------
    day, night
        Indices along ``time``, increasing.
    """
    up, valid = thermal["sun_elevation"].values > 0, thermal["valid_fraction"].values
    chosen = []
    for kind in (up, ~up):
        spans = np.array_split(np.flatnonzero(kind & (valid > 0)), count)
        chosen.append([int(span[valid[span].argmax()]) for span in spans if span.size])
    return chosen[0], chosen[1]


@styled
def overview(cube: Cube, run: str | None = None) -> Figure:
    """Draw a cube in one row: labels, LST by day and by night, predicted map, confidence.

    Parameters
    ----------
    cube
        What it does not hold is left out of the row.
    run
        The predictions to show.

    Returns
    -------
    matplotlib.figure.Figure
        `OVERVIEW_WIDTH` wide with all five panels; about 1600 x 420 pixels at 160 dpi where the
        region is square.

    Raises
    ------
    SelectionError
        If the cube has no such run, or nothing to show.
    """
    from matplotlib.figure import Figure

    panels = _overview_panels(cube, run)
    if not panels:
        raise SelectionError(f"cube {cube.location} has neither labels nor LST: nothing to show")
    grid = cube.grid
    gap, head, foot = 0.07, 0.42, 0.34
    each = (OVERVIEW_WIDTH - gap) / max(len(panels), 3) - gap
    tall = each * grid.shape[0] / grid.shape[1]
    width, height = gap + len(panels) * (each + gap), head + tall + foot
    figure = Figure((width, height))
    for index, panel in enumerate(panels):
        left = (gap + index * (each + gap)) / width
        axes = figure.add_axes((left, foot / height, each / width, tall / height))
        axes.set(xticks=[], yticks=[])
        axes.set_title(panel.title, loc="left", pad=4, fontsize=8.5)
        image = panel.paint(axes, grid)
        if panel.label:
            size = (0.4 * each / width, 0.07 / height)
            strip = figure.add_axes((left + 0.56 * each / width, 1 - 0.2 / height, *size))
            ends = panel.limits is None
            maps.colour_bar(figure, image, strip, panel.label, open_ended=ends, ticks=2, size=6)
    maps.scale_bar(figure.axes[0], grid)
    _class_legend(figure, [panel.data for panel in panels if not panel.label])
    return figure


@dataclass(frozen=True, eq=False)
class _Panel:
    """One map of the overview."""

    title: str
    data: np.ndarray
    colours: str = ""
    label: str = ""
    """Of the colour bar; empty for classes."""
    limits: tuple[float, float] | None = None

    def paint(self, axes: Axes, grid: GeoBox) -> AxesImage:
        if not self.label:
            return maps.paint_keys(axes, self.data, maps.LITHOLOGY, grid, hollow=True)
        return maps.paint_values(axes, self.data, grid, self.colours, self.limits)


def _overview_panels(cube: Cube, run: str | None) -> list[_Panel]:
    panels = []
    if "labels" in cube.groups():
        truth = cube.dataset("labels", chunks=None)["lithology"]
        panels.append(_Panel("Label map", maps.thin(truth).to_numpy()))
    if has_lst(cube):
        thermal = cube.dataset("thermal", chunks=None)
        for name, chosen in zip(("day", "night"), choose_scenes(thermal, 1), strict=True):
            for index in chosen:
                values = maps.thin(lst(thermal, index)).to_numpy()
                panels.append(_Panel(f"LST by {name}", values, "inferno", "K"))
    if run is not None:
        result = cube.dataset(f"predictions/{run}", chunks=None)
        classes, values = (
            maps.thin(result[name]).to_numpy() for name in ("lithology_all", "confidence_all")
        )
        panels.append(_Panel("Predicted map", classes))
        panels.append(_Panel("Confidence", values, "cividis", "probability", (0.0, 1.0)))
    return panels


def _class_legend(figure: Figure, layers: Sequence[np.ndarray]) -> None:
    from matplotlib.patches import Patch

    codes = sorted({code for layer in layers for code in maps.shares(layer)})
    if not codes:
        return
    patches = [
        Patch(facecolor=maps.LITHOLOGY[code].colour, edgecolor="#888888", linewidth=0.4)
        for code in codes
    ]
    figure.legend(
        patches,
        [maps.LITHOLOGY[code].label for code in codes],
        loc="lower center",
        ncols=len(codes),
        handlelength=1.1,
        handleheight=1.0,
        columnspacing=1.4,
        borderaxespad=0.25,
    )


def has_lst(cube: Cube) -> bool:
    """Whether the cube holds a scene of land surface temperature."""
    if "thermal" not in cube.groups():
        return False
    thermal = cube.dataset("thermal", chunks=None)
    return "lst" in thermal["band"].values and thermal.sizes["time"] > 0


def lst(thermal: xr.Dataset, index: int) -> xr.DataArray:
    """Land surface temperature of one scene, (y, x), lazily."""
    return thermal["imagery"].sel(band="lst").isel(time=index).transpose("y", "x")
