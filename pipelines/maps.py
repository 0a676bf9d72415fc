"""Maps as figures: one layer of a cube a picture, axes in kilometres, grid north up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cube.lithology import Lithology

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from odc.geo.geobox import GeoBox

MOST_PIXELS = 900
"""Longest side of a picture's data; larger layers are thinned, and read thinned."""

WIDTH, LEFT, RIGHT, BOTTOM, HEAD = 3.7, 0.42, 0.1, 0.4, 0.44
"""A picture and its margins in inches; the colour bar lies in the head, beside the title."""

NO_DATA_FACE, NO_DATA_LINE = "#ececec", "#b4b4b4"
OUTLINE = "#111111"


@dataclass(frozen=True, slots=True)
class Key:
    """An entry of a map's legend."""

    label: str
    colour: str


RIGHT_OR_WRONG = (
    Key("outside the test part", "#ededed"),
    Key("right", "#56a3d9"),
    Key("wrong", "#c44e00"),
    Key("test part, not scored: no label or never valid", "#8c8c8c"),
)
"""Legend of `error_codes`; blue and vermilion are told apart with any colour vision."""

PARTS = (
    Key("buffer, or not used", "#ededed"),
    Key("train", "#8ecae6"),
    Key("validation", "#ddb945"),
    Key("test", "#8a2a5b"),
    Key("in several parts, by date", "#9c92b8"),
)
"""Legend of `part_codes`."""

LITHOLOGY = tuple(Key(member.label, member.colour) for member in Lithology)


def error_codes(truth: np.ndarray, predicted: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Tell where a map is right, wrong or not scored.

    Parameters
    ----------
    truth, predicted : ndarray of uint8, (y, x)
        Class codes; 0 is no label, or never valid.
    test : ndarray of bool, (y, x)
        The test part.

    Returns
    -------
    ndarray of uint8, (y, x)
        Index into `RIGHT_OR_WRONG`.
    """
    scored = (truth > 0) & (predicted > 0)
    inside = np.where(scored, np.where(truth == predicted, 1, 2), 3)
    return np.where(test, inside, 0).astype(np.uint8)


def part_codes(train: np.ndarray, val: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Merge the masks of a plan's parts, bool (y, x), into one index into `PARTS`."""
    shared = train.astype(np.uint8) + val + test > 1
    return np.select([shared, test, val, train], [4, 3, 2, 1], 0).astype(np.uint8)


def thin[Layer: (np.ndarray, xr.DataArray)](layer: Layer, most: int = MOST_PIXELS) -> Layer:
    """Take every n-th pixel of a (y, x) layer, so that no side is longer than `most`."""
    step = max(1, math.ceil(max(layer.shape) / most))
    return layer[step // 2 :: step, step // 2 :: step]


def extent(grid: GeoBox) -> tuple[float, float, float, float]:
    """Left, right, bottom and top edge of a grid in kilometres of its CRS."""
    box = grid.boundingbox
    return box.left / 1e3, box.right / 1e3, box.bottom / 1e3, box.top / 1e3


def key_map(
    codes: np.ndarray,
    keys: Sequence[Key],
    grid: GeoBox,
    title: str,
    *,
    outline: np.ndarray | None = None,
    hollow: bool = False,
) -> Figure:
    """Draw codes in the colours of a legend, e.g. classes with `LITHOLOGY`.

    Parameters
    ----------
    codes : ndarray of uint8, (y, x)
        Index into `keys`.
    keys
        Colours; the legend itself is the caller's.
    grid
        Where the pixels lie.
    title
        One or two lines.
    outline : ndarray of bool, (y, x), optional
        Ground to draw a line around.
    hollow
        Hatch code 0 as having no data.
    """
    figure, axes = _panel(grid, title)
    paint_keys(axes, codes, keys, grid, hollow=hollow)
    if outline is not None:
        _draw_outline(axes, outline, grid)
    return figure


def value_map(
    values: np.ndarray,
    grid: GeoBox,
    title: str,
    *,
    colours: str,
    label: str,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Draw a quantity with a colour bar; NaN is hatched.

    Parameters
    ----------
    values : ndarray of float, (y, x)
    grid
        Where the pixels lie.
    title
        One or two lines.
    colours
        Name of a perceptually uniform Matplotlib colour map.
    label
        Quantity and unit.
    limits
        Ends of the colour bar; by default the 1st and 99th percentile.
    """
    figure, axes = _panel(grid, title)
    image = paint_values(axes, values, grid, colours, limits)
    height, width = float(figure.get_size_inches()[1]), 1.15
    left = (WIDTH - RIGHT - 0.08 - width) / WIDTH
    strip = figure.add_axes((left, 1 - 0.22 / height, width / WIDTH, 0.08 / height))
    colour_bar(figure, image, strip, label, open_ended=limits is None)
    return figure


def paint_keys(
    axes: Axes, codes: np.ndarray, keys: Sequence[Key], grid: GeoBox, *, hollow: bool
) -> AxesImage:
    """Draw codes into axes that are there; see `key_map`."""
    from matplotlib.colors import BoundaryNorm, ListedColormap

    palette = ListedColormap([key.colour for key in keys])
    edges = BoundaryNorm(np.arange(len(keys) + 1) - 0.5, len(keys))
    shown = np.ma.masked_equal(codes, 0) if hollow else codes
    _hatch(axes)
    return axes.imshow(
        shown, cmap=palette, norm=edges, extent=extent(grid), interpolation="nearest"
    )


def paint_values(
    axes: Axes,
    values: np.ndarray,
    grid: GeoBox,
    colours: str | Colormap,
    limits: tuple[float, float] | None = None,
) -> AxesImage:
    """Draw a quantity into axes that are there; see `value_map`."""
    low, high = limits or _spread(values)
    _hatch(axes)
    return axes.imshow(
        np.ma.masked_invalid(values),
        cmap=colours,
        vmin=low,
        vmax=high,
        extent=extent(grid),
        interpolation="nearest",
    )


def colour_bar(
    figure: Figure,
    image: AxesImage,
    strip: Axes,
    label: str,
    *,
    open_ended: bool,
    ticks: int = 3,
    size: float = 7.0,
) -> None:
    """Draw a flat colour bar with its label and a few round numbers.

    Parameters
    ----------
    open_ended
        Values lie beyond the ends: say so with arrows.
    ticks
        Most steps between the numbers.
    size
        Of the text, points.
    """
    from matplotlib.ticker import MaxNLocator

    bar = figure.colorbar(
        image,
        cax=strip,
        orientation="horizontal",
        ticks=MaxNLocator(ticks, steps=[1, 2, 5, 10]),
        format="%g",
        extend="both" if open_ended else "neither",
        extendfrac=0.04,
    )
    bar.outline.set_visible(False)
    strip.tick_params(length=2, pad=1.5, labelsize=size)
    strip.set_title(label, fontsize=size, fontweight="normal", pad=2, loc="center")


def scale_bar(axes: Axes, grid: GeoBox) -> None:
    """Draw a bar of a round number of kilometres into the lower left corner."""
    left, right, bottom, top = extent(grid)
    length = _round_down((right - left) / 3)
    x, y = left + 0.05 * (right - left), bottom + 0.05 * (top - bottom)
    axes.plot([x, x + length], [y, y], color=OUTLINE, linewidth=2.2, solid_capstyle="butt")
    axes.annotate(
        f"{length:g} km",
        (x + length / 2, y),
        (0, 2.5),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=7,
        bbox={"boxstyle": "round,pad=0.12", "facecolor": "white", "alpha": 0.75, "linewidth": 0},
    )


def shares(codes: np.ndarray) -> Mapping[int, float]:
    """Share of each class among the pixels that have one."""
    counts = np.bincount(codes.ravel(), minlength=1)
    total = max(int(counts[1:].sum()), 1)
    return {int(code): float(counts[code]) / total for code in np.flatnonzero(counts) if code}


def _panel(grid: GeoBox, title: str) -> tuple[Figure, Axes]:
    """A figure whose axes have exactly the grid's proportions, and whose titles line up."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    width = WIDTH - LEFT - RIGHT
    rows, columns = grid.shape
    map_height = width * rows / columns
    height = map_height + HEAD + BOTTOM
    figure = Figure((WIDTH, height))
    axes = figure.add_axes((LEFT / WIDTH, BOTTOM / height, width / WIDTH, map_height / height))
    axes.set_title(title, loc="left", y=1.0, pad=5)
    axes.set_xlabel(f"easting, km ({grid.crs})", labelpad=1)
    axes.set_ylabel("northing, km", labelpad=1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=2))
    axes.ticklabel_format(style="plain", useOffset=False)
    axes.tick_params(axis="y", labelrotation=90)
    for label in axes.get_yticklabels():
        label.set_verticalalignment("center")
    return figure, axes


def _hatch(axes: Axes) -> None:
    axes.patch.set(facecolor=NO_DATA_FACE, edgecolor=NO_DATA_LINE, hatch="//////", linewidth=0)


def _draw_outline(axes: Axes, ground: np.ndarray, grid: GeoBox) -> None:
    """Line around True pixels, closed at the border of the map too."""
    if not ground.any():
        return
    left, right, bottom, top = extent(grid)
    rows, columns = ground.shape
    dx, dy = (right - left) / columns, (top - bottom) / rows
    x = left + dx * (np.arange(-1, columns + 1) + 0.5)
    y = top - dy * (np.arange(-1, rows + 1) + 0.5)
    axes.contour(x, y, np.pad(ground, 1).astype(float), [0.5], colors=OUTLINE, linewidths=0.9)
    axes.set(xlim=(left, right), ylim=(bottom, top))


def _spread(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(edge) for edge in np.percentile(finite, (1, 99)))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _round_down(length: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not above `length`."""
    power = 10.0 ** math.floor(math.log10(length))
    return float(max(step * power for step in (1, 2, 5) if step * power <= length))
