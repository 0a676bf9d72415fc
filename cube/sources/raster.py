"""A single-band raster, whatever its CRS and encoding, onto a region's grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.errors import GranuleError
from cube.sources.files import cause, label, opened
from cube.sources.warp import Patch, Window

if TYPE_CHECKING:
    from affine import Affine
    from odc.geo.geobox import GeoBox

    from cube.bands import Resampling

NO_VALUE = -1
"""What an integer layer holds where nothing was read; flag words are never negative."""

# Integers that the warper's float32 holds exactly; they are warped as they are.
_NARROW = frozenset({"uint8", "int8", "uint16", "int16"})

_NO_SHARE = 255


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One raster layer on the region's grid."""

    values: np.ndarray
    """(y, x). Continuous layers: float32, physical units, NaN where not `covered` or where
    `out_of_range`. Nearest layers of an integer file: int32, `NO_VALUE` where not `covered`."""
    covered: np.ndarray
    """bool (y, x): something was measured here, in range or not."""
    out_of_range: np.ndarray
    """bool (y, x): a source pixel outside `valid` had a share in this one."""
    overlaps: bool
    """Whether the file's footprint touches the grid at all."""
    seen: tuple[float, float, float]
    """Least, median and greatest value on the grid before `valid` was applied. NaN where there is
    none, and for nearest integer layers."""


def read_layer(
    href: str | Path,
    grid: GeoBox,
    *,
    resampling: Resampling,
    nodata: float | None = None,
    crs: str | None = None,
    transform: Affine | None = None,
    scale: float = 1.0,
    offset: float = 0.0,
    valid: tuple[float, float] | None = None,
    layer: str = "",
) -> Layer:
    """Read a single-band raster onto a region's grid with GDAL's warper.

    The mapping is GDAL's default (approximated to 0.125 source pixels), so that the result is
    what ``rasterio.warp.reproject`` gives for the same file. The work type is float32 for
    continuous layers, so nothing is rounded to the file's integers; scale and offset are
    applied after the warp. Nearest layers keep the file's integers.

    A source pixel outside `valid` is warped along, not left out: leaving it out would change
    the weights of its neighbours. Its share is warped in the same way, and every target pixel
    with any share of it is `Layer.out_of_range`.

    Parameters
    ----------
    href
        Path of the file, or anything GDAL opens.
    grid
        Target grid.
    resampling
        ``bilinear``, ``average`` or ``nearest``.
    nodata
        Fill value in the file's own numbers; by default the header's. NaN is always fill.
    crs, transform
        Georeference of a file that has none of its own (it overrides the file's).
    scale, offset
        Physical value = file value * scale + offset. Not applied to nearest integer layers.
    valid
        Least and greatest valid physical value, both included.
    layer
        Name of the layer, for messages.

    Returns
    -------
    Layer
        All missing, with `Layer.overlaps` False, where the file lies elsewhere.

    Raises
    ------
    GranuleError
        ``not_a_raster``, ``truncated`` (the file ends early or a block cannot be decoded:
        nothing is filled in), ``unreadable`` (not there, no georeference, several bands).
    """
    with opened(href, layer) as src:
        return read_opened(
            src,
            grid,
            resampling=resampling,
            nodata=nodata,
            crs=crs,
            transform=transform,
            scale=scale,
            offset=offset,
            valid=valid,
            where=label(href, layer),
        )


def read_opened(
    src: Any,
    grid: GeoBox,
    *,
    resampling: Resampling,
    nodata: float | None = None,
    crs: str | None = None,
    transform: Affine | None = None,
    scale: float = 1.0,
    offset: float = 0.0,
    valid: tuple[float, float] | None = None,
    where: str = "",
) -> Layer:
    """Read a rasterio dataset that is open already, as `read_layer` does a file.

    Parameters
    ----------
    src
        Open for reading.
    grid, resampling, nodata, crs, transform, scale, offset, valid
        As in `read_layer`.
    where
        Name of file and layer, for messages.
    """
    source = _source_box(src, crs, transform, where)
    fill = src.nodata if nodata is None else nodata
    integer = resampling == "nearest" and np.dtype(src.dtypes[0]).kind in "iu"
    window = Window.under(grid, source)
    if window is None:
        return _nothing(grid, integer)
    patch = _patch(_read_window(src, window, where), fill, integer, window, source)
    if integer:
        dtype = np.float64 if patch.canvas.dtype.itemsize > 2 else np.float32
        return _flags(patch.warped(grid, resampling, dtype))
    return _continuous(patch, grid, resampling, scale, offset, valid)


def _patch(
    canvas: np.ndarray, fill: float | None, integer: bool, window: Window, source: GeoBox
) -> Patch:
    """Pixels as they are to be warped, with their fill."""
    if canvas.dtype.kind in "iu":
        limits = np.iinfo(canvas.dtype)
        known = fill is not None and limits.min <= fill <= limits.max and fill == int(fill)
        if integer and canvas.dtype.itemsize <= 4:
            return Patch(canvas, fill if known else None, window, source)
        if known and canvas.dtype.name in _NARROW:
            return Patch(canvas, fill, window, source)
    patch = Patch(canvas, fill, window, source)
    pixels = patch.pixels.astype(np.float64 if integer else np.float32)
    if fill is not None and not np.isnan(fill):
        pixels[patch.pixels == fill] = np.nan
    return patch.replaced(pixels, np.nan)


def _flags(warped: np.ndarray) -> Layer:
    covered = np.isfinite(warped)
    values = np.where(covered, warped, NO_VALUE).astype(np.int32)
    return Layer(values, covered, np.zeros_like(covered), True, (np.nan, np.nan, np.nan))


def _continuous(
    patch: Patch,
    grid: GeoBox,
    resampling: Resampling,
    scale: float,
    offset: float,
    valid: tuple[float, float] | None,
) -> Layer:
    values = _physical(patch.warped(grid, resampling), scale, offset)
    covered = np.isfinite(values)
    bad = np.zeros(covered.shape, dtype=bool)
    seen = _seen(values, covered)
    if valid is not None:
        outside = _outside(patch, scale, offset, valid)
        if outside.any():
            # Fill is fill in both warps, so that GDAL takes the same pixels and weights.
            share = np.where(patch.missing, np.uint8(_NO_SHARE), outside.view(np.uint8))
            bad = patch.replaced(share, _NO_SHARE).warped(grid, resampling) > 0
        # Float noise only: whole steps outside were caught above.
        np.clip(values, *valid, out=values)
    values[bad | ~covered] = np.nan
    return Layer(values, covered | bad, bad, True, seen)


def _outside(patch: Patch, scale: float, offset: float, valid: tuple[float, float]) -> np.ndarray:
    """Which pixels have a value that is not valid, bool (y, x)."""
    pixels = patch.pixels
    if pixels.dtype.kind == "f":
        return _beyond(_physical(pixels, scale, offset), valid)
    low, high = _valid_integers(pixels.dtype.name, scale, offset, valid)
    if low > high:
        return ~patch.missing
    # Most scenes hold no such pixel, and two looks over all of them are cheap.
    if pixels.max() <= high and (pixels.min() >= low or low == patch.fill == 0):
        return np.zeros(pixels.shape, dtype=bool)
    return np.asarray(((pixels < low) | (pixels > high)) & ~patch.missing)


@lru_cache(maxsize=64)
def _valid_integers(
    dtype: str, scale: float, offset: float, valid: tuple[float, float]
) -> tuple[int, int]:
    """Least and greatest valid number of a narrow integer type; scaling keeps their order."""
    limits = np.iinfo(dtype)
    every = np.arange(limits.min, limits.max + 1)
    good = every[~_beyond(_physical(every.astype(np.float32), scale, offset), valid)]
    return (int(good[0]), int(good[-1])) if good.size else (1, 0)


def _beyond(physical: np.ndarray, valid: tuple[float, float]) -> np.ndarray:
    # 255 * 0.002 + 0.49 is 1 in decimal and a little more in float32.
    low, high = (
        bound + sign * 1e-6 * max(abs(bound), 1.0)
        for bound, sign in zip(valid, (-1, 1), strict=True)
    )
    return np.asarray((physical < low) | (physical > high))


def _physical(values: np.ndarray, scale: float, offset: float) -> np.ndarray:
    if (scale, offset) == (1.0, 0.0):
        return values
    return values * np.float32(scale) + np.float32(offset)


def _seen(values: np.ndarray, covered: np.ndarray) -> tuple[float, float, float]:
    if not covered.any():
        return (np.nan, np.nan, np.nan)
    some = values[covered]
    return (float(some.min()), float(np.median(some)), float(some.max()))


def _nothing(grid: GeoBox, integer: bool) -> Layer:
    none = np.zeros(grid.shape, dtype=bool)
    values = (
        np.full(grid.shape, NO_VALUE, np.int32)
        if integer
        else np.full(grid.shape, np.nan, np.float32)
    )
    return Layer(values, none, none.copy(), False, (np.nan, np.nan, np.nan))


def _source_box(src: Any, crs: str | None, transform: Affine | None, where: str) -> GeoBox:
    from odc.geo.geobox import GeoBox

    affine = transform or src.transform
    if crs is None and src.crs is None:
        raise GranuleError(f"{where}: the file has no coordinate system; it cannot be placed")
    if affine.is_identity:
        raise GranuleError(f"{where}: the file has no geotransform; it cannot be placed")
    if src.count != 1:
        raise GranuleError(f"{where}: {src.count} bands where a single one was expected")
    return GeoBox(src.shape, affine, crs or src.crs.to_wkt())


def _read_window(src: Any, window: Window, where: str) -> np.ndarray:
    """A window's canvas with the file's pixels where they are read."""
    from rasterio.errors import RasterioIOError
    from rasterio.windows import Window as FileWindow

    canvas = window.canvas(src.dtypes[0])
    try:
        src.read(1, window=FileWindow.from_slices(*window.read), out=window.part(canvas))
    except RasterioIOError as error:
        raise GranuleError(
            f"{where}: the file is cut short or damaged, a block of it cannot be read "
            f"({cause(error)}); delete {src.name} and download it again",
            kind="truncated",
        ) from error
    return canvas
