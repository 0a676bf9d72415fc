"""A single-band raster, whatever its CRS and encoding, onto a region's grid."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.errors import GranuleError
from cube.sources.files import cause, label, opened

if TYPE_CHECKING:
    from affine import Affine
    from odc.geo.geobox import GeoBox

    from cube.bands import Resampling

NO_VALUE = -1
"""What an integer layer holds where nothing was read; flag words are never negative."""

# GDAL derives the width of its kernel from the source window it picks, so a crop that is too
# tight changes the values (0.3 K at 32 px where a granule's edge crosses the grid, 0 from 64 px).
_PADDING = 256


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
        where = label(href, layer)
        source = _source_box(src, crs, transform, where)
        fill = src.nodata if nodata is None else nodata
        integer = resampling == "nearest" and np.dtype(src.dtypes[0]).kind in "iu"
        window = _window(source, grid)
        if window is None:
            return _nothing(grid, integer)
        data = _read_window(src, window, href, where)
    box = _crop(source, window)
    dtype = np.float64 if data.dtype.itemsize > 2 and integer else np.float32
    pixels = data.astype(dtype)
    if fill is not None and not np.isnan(fill):
        pixels[data == fill] = np.nan
    if integer:
        return _flags(_warp(pixels, box, grid, resampling))
    return _continuous(pixels, box, grid, resampling, scale, offset, valid)


def _flags(warped: np.ndarray) -> Layer:
    covered = np.isfinite(warped)
    values = np.where(covered, warped, NO_VALUE).astype(np.int32)
    return Layer(values, covered, np.zeros_like(covered), True, (np.nan, np.nan, np.nan))


def _continuous(
    pixels: np.ndarray,
    box: GeoBox,
    grid: GeoBox,
    resampling: Resampling,
    scale: float,
    offset: float,
    valid: tuple[float, float] | None,
) -> Layer:
    values = _physical(_warp(pixels, box, grid, resampling), scale, offset)
    covered = np.isfinite(values)
    bad = np.zeros(covered.shape, dtype=bool)
    seen = _seen(values, covered)
    if valid is not None:
        outside = _outside(_physical(pixels, scale, offset), valid)
        if outside.any():
            # Fill is fill in both warps, so that GDAL takes the same pixels and weights.
            share = np.where(np.isnan(pixels), np.nan, outside).astype(np.float32)
            bad = _warp(share, box, grid, resampling) > 0
        # Float noise only: whole steps outside were caught above.
        np.clip(values, *valid, out=values)
    values[bad | ~covered] = np.nan
    return Layer(values, covered | bad, bad, True, seen)


def _outside(physical: np.ndarray, valid: tuple[float, float]) -> np.ndarray:
    # 255 * 0.002 + 0.49 is 1 in decimal and a little more in float32.
    low, high = (
        bound + sign * 1e-6 * max(abs(bound), 1.0)
        for bound, sign in zip(valid, (-1, 1), strict=True)
    )
    return (physical < low) | (physical > high)


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


def _warp(pixels: np.ndarray, box: GeoBox, grid: GeoBox, resampling: Resampling) -> np.ndarray:
    """Warp as ``reproject(pixels, out)`` does, from file to file in memory.

    Given arrays, rasterio wraps them with `warnings.catch_warnings` around, which is not safe in
    threads: where warnings are errors, one call in some hundred failed.
    """
    import rasterio
    from rasterio.warp import Resampling as Method
    from rasterio.warp import reproject

    none = np.full(grid.shape, np.nan, dtype=pixels.dtype)
    with _in_memory(pixels, box) as src, _in_memory(none, grid) as dst:
        reproject(
            rasterio.band(src, 1),
            rasterio.band(dst, 1),
            src_nodata=np.nan,
            dst_nodata=np.nan,
            resampling=Method[resampling],
        )
        out: np.ndarray = dst.read(1)
    return out


@contextmanager
def _in_memory(pixels: np.ndarray, box: GeoBox) -> Iterator[Any]:
    from rasterio.io import MemoryFile

    height, width = pixels.shape
    with (
        MemoryFile() as file,
        file.open(
            driver="GTiff",
            height=height,
            width=width,
            count=1,
            dtype=pixels.dtype,
            crs=_wkt(box),
            transform=box.affine,
            nodata=np.nan,
        ) as dataset,
    ):
        dataset.write(pixels, 1)
        yield dataset


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


def _window(source: GeoBox, grid: GeoBox) -> tuple[slice, slice] | None:
    columns, rows = _edge(source, grid)
    spans = []
    for points, size in ((rows, source.shape[0]), (columns, source.shape[1])):
        if not points.size or points.max() < 0 or points.min() > size:
            return None
        pad = _PADDING + int(points.max() - points.min()) // 4
        first, last = int(points.min()) - pad, int(points.max()) + pad + 1
        spans.append(slice(max(first, 0), min(last, size)))
    return spans[0], spans[1]


def _edge(source: GeoBox, grid: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """The grid's outer edge in the source's pixels: columns, rows."""
    from rasterio.warp import transform

    height, width = grid.shape
    steps = np.linspace(0, 1, 33)
    column = np.concatenate([steps, steps, 0 * steps, 0 * steps + 1]) * width
    row = np.concatenate([0 * steps, 0 * steps + 1, steps, steps]) * height
    x, y = transform(_wkt(grid), _wkt(source), *_apply(grid.affine, column, row))
    column, row = _apply(~source.affine, np.asarray(x), np.asarray(y))
    finite = np.isfinite(column) & np.isfinite(row)
    return column[finite], row[finite]


def _crop(box: GeoBox, window: tuple[slice, slice]) -> GeoBox:
    from affine import Affine
    from odc.geo.geobox import GeoBox

    rows, columns = window
    old = box.affine
    x, y = _apply(old, np.float64(columns.start), np.float64(rows.start))
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    return GeoBox(shape, Affine(old.a, old.b, float(x), old.d, old.e, float(y)), box.crs)


def _wkt(box: GeoBox) -> str:
    return str(box.crs.to_wkt()) if box.crs else ""


def _apply(affine: Affine, x: Any, y: Any) -> tuple[Any, Any]:
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f


def _read_window(src: Any, window: tuple[slice, slice], href: str | Path, where: str) -> np.ndarray:
    from rasterio.errors import RasterioIOError
    from rasterio.windows import Window

    try:
        data: np.ndarray = src.read(1, window=Window.from_slices(*window))
    except RasterioIOError as error:
        raise GranuleError(
            f"{where}: the file is cut short or damaged, a block of it cannot be read "
            f"({cause(error)}); delete {href} and download it again",
            kind="truncated",
        ) from error
    return data
