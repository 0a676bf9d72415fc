"""Pixels in memory, read from a part of a file, onto a grid by GDAL's warper."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from affine import Affine
    from odc.geo.crs import CRS
    from odc.geo.geobox import GeoBox

    from cube.bands import Resampling

# GDAL derives the width of its kernel from the extent of the source, so one that is cropped too
# tightly changes the values (by kelvins where a granule's edge crosses the grid). The warp is shown
# a wide extent, of which only the pixels that its kernel can reach are read.
_PADDING = 256
_REACH = 16

_STEPS = np.linspace(0, 1, 33)

_GDAL_TYPES = {
    "uint8": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "float32": "Float32",
    "float64": "Float64",
}


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a source that lies under a grid: rows and columns."""

    shown: tuple[slice, slice]
    """The extent that the warper is told of."""
    read: tuple[slice, slice]
    """Within it, the pixels that can have a share in the result."""

    @classmethod
    def under(cls, grid: GeoBox, source: GeoBox) -> Window | None:
        """The part of a source that a grid needs; None if they do not touch."""
        columns, rows = _edge(source, grid)
        shown, read = [], []
        for points, size, steps in zip((rows, columns), source.shape, grid.shape, strict=True):
            if not points.size or points.max() < 0 or points.min() > size:
                return None
            span = float(points.max() - points.min())
            pad = _PADDING + int(span) // 4
            wide = _around(points, size, pad)
            near = _around(points, size, min(_REACH + 4 * int(np.ceil(span / steps)), pad))
            shown.append(wide)
            # Where a part of the grid has no place in the source, its edge says too little.
            read.append(near if points.size == 4 * _STEPS.size else wide)
        return cls((shown[0], shown[1]), (read[0], read[1]))

    def canvas(self, dtype: Any) -> np.ndarray:
        """Zeros over the extent that is shown; pages that nobody touches take no memory."""
        rows, columns = self.shown
        return np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype)

    def part(self, canvas: np.ndarray) -> np.ndarray:
        """View of a canvas: the pixels that are read."""
        rows, columns = (
            slice(read.start - shown.start, read.stop - shown.start)
            for read, shown in zip(self.read, self.shown, strict=True)
        )
        return canvas[rows, columns]


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """The pixels of a window, and what marks those without a value."""

    canvas: np.ndarray
    """(y, x), those of `Window.shown`, zero where they are not read; floating point or integers
    up to 32 bits."""
    fill: float | None
    """NaN for floating point; for integers one of their type, None if every pixel has a value."""
    window: Window
    source: GeoBox
    """Of the whole file."""

    @property
    def pixels(self) -> np.ndarray:
        """(y, x), those of `Window.read`; a view."""
        return self.window.part(self.canvas)

    @property
    def missing(self) -> np.ndarray:
        """Where there is no value, bool (y, x)."""
        if self.pixels.dtype.kind == "f":
            return np.asarray(np.isnan(self.pixels))
        if self.fill is None:
            return np.zeros(self.pixels.shape, dtype=bool)
        return np.asarray(self.pixels == self.fill)

    def replaced(self, pixels: np.ndarray, fill: float) -> Patch:
        """Other values at the same place."""
        canvas = self.window.canvas(pixels.dtype)
        self.window.part(canvas)[:] = pixels
        return Patch(canvas, fill, self.window, self.source)

    def warped(self, grid: GeoBox, resampling: Resampling, dtype: Any = np.float32) -> np.ndarray:
        """Warp as ``rasterio.warp.reproject`` does for arrays.

        Given arrays, rasterio wraps them with `warnings.catch_warnings` around, which is not safe
        in threads: where warnings are errors, one call in some hundred failed.

        Parameters
        ----------
        grid
            Target grid.
        resampling
            ``bilinear``, ``average`` or ``nearest``.
        dtype
            float32, or float64 for integers that float32 cannot hold.

        Returns
        -------
        ndarray, (y, x)
            NaN where there is no value.
        """
        import rasterio
        from rasterio.warp import Resampling as Method
        from rasterio.warp import reproject

        out = np.full(grid.shape, np.nan, dtype)
        with (
            in_memory(self.canvas, crop(self.source, self.window.shown)) as src,
            in_memory(out, grid) as dst,
        ):
            reproject(
                rasterio.band(src, 1),
                rasterio.band(dst, 1),
                src_nodata=self.fill,
                dst_nodata=np.nan,
                resampling=Method[resampling],
            )
        return out


@contextmanager
def in_memory(pixels: np.ndarray, box: GeoBox) -> Iterator[Any]:
    """Show GDAL an array where it lies, nothing copied: a rasterio dataset, open for writing.

    Parameters
    ----------
    pixels : ndarray, (y, x)
        Contiguous; must outlive the ``with`` block.
    box
        Where they lie.
    """
    import rasterio

    assert pixels.flags.c_contiguous
    height, width = pixels.shape
    place = "/".join(repr(float(number)) for number in box.affine.to_gdal())
    options = (
        f"DATAPOINTER={pixels.ctypes.data},PIXELS={width},LINES={height},"
        f"DATATYPE={_GDAL_TYPES[pixels.dtype.name]},GEOTRANSFORM={place}"
    )
    with (
        rasterio.Env(GDAL_MEM_ENABLE_OPEN="YES"),
        rasterio.open(f"MEM:::{options}", "r+") as dataset,
    ):
        dataset.crs = _crs(box.crs)
        yield dataset


def crop(box: GeoBox, window: tuple[slice, slice]) -> GeoBox:
    """The part of a geobox that is a window of its pixels."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    rows, columns = window
    old = box.affine
    x, y = _apply(old, np.float64(columns.start), np.float64(rows.start))
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    return GeoBox(shape, Affine(old.a, old.b, float(x), old.d, old.e, float(y)), box.crs)


def _around(points: np.ndarray, size: int, pad: int) -> slice:
    first, last = int(points.min()) - pad, int(points.max()) + pad + 1
    return slice(max(first, 0), min(last, size))


def _edge(source: GeoBox, grid: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """The grid's outer edge in the source's pixels: columns, rows."""
    from rasterio.warp import transform

    height, width = grid.shape
    none, full = np.zeros_like(_STEPS), np.ones_like(_STEPS)
    column = np.concatenate([_STEPS, _STEPS, none, full]) * width
    row = np.concatenate([none, full, _STEPS, _STEPS]) * height
    x, y = transform(_crs(grid.crs), _crs(source.crs), *_apply(grid.affine, column, row))
    column, row = _apply(~source.affine, np.asarray(x), np.asarray(y))
    finite = np.isfinite(column) & np.isfinite(row)
    return column[finite], row[finite]


@lru_cache(maxsize=64)
def _crs(crs: CRS | None) -> Any:
    """As rasterio has it; parsing is slow beside a small warp."""
    import rasterio

    return rasterio.CRS.from_wkt(crs.to_wkt()) if crs else None


def _apply(affine: Affine, x: Any, y: Any) -> tuple[Any, Any]:
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f
