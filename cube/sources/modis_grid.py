"""The sinusoidal grid of the MODIS land products, and where a file's pixels lie on it."""

from __future__ import annotations

import re
from functools import cache
from math import pi
from typing import TYPE_CHECKING

import numpy as np

from cube.errors import GranuleError

if TYPE_CHECKING:
    from odc.geo.crs import CRS
    from odc.geo.geobox import GeoBox

RADIUS = 6_371_007.181
"""Of the sphere, metres. Geodetic latitudes are used on it as they are."""

TILE = 2 * pi * RADIUS / 36
"""Edge of a tile, metres: ten degrees at the equator."""

# StructMetadata.0 rounds to micrometres, and not always the same way.
_TOLERANCE = 0.01


@cache
def sinusoidal() -> CRS:
    """The CRS of the grid: sinusoidal, central meridian 0, sphere of `RADIUS`."""
    from odc.geo.crs import CRS

    return CRS(f"+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R={RADIUS} +units=m +no_defs +type=crs")


def tile_corner(h: int, v: int) -> tuple[float, float]:
    """Upper-left corner of a tile: x, y in metres."""
    return (h - 18) * TILE, (9 - v) * TILE


def tile_box(h: int, v: int, pixels: int) -> GeoBox:
    """Grid of a whole tile with `pixels` rows and columns."""
    left, top = tile_corner(h, v)
    return _box(left, top, TILE / pixels, (pixels, pixels))


def tiles_of(grid: GeoBox) -> frozenset[tuple[int, int]]:
    """The tiles, (h, v), that a grid touches."""
    from rasterio.warp import transform

    # A tile is 1100 km wide; a lattice this fine misses none that holds more than a corner.
    height, width = grid.shape
    rows, columns = np.meshgrid(np.linspace(0, height, 33), np.linspace(0, width, 33))
    a, b, c, d, e, f = tuple(grid.affine)[:6]
    x, y = c + a * columns + b * rows, f + d * columns + e * rows
    crs = sinusoidal()
    assert grid.crs is not None  # `region_grid` gives no grid without a CRS
    left, down = transform(grid.crs.to_wkt(), crs.to_wkt(), x.ravel(), y.ravel())
    h = np.floor(np.asarray(left) / TILE) + 18
    v = 8 - np.floor(np.asarray(down) / TILE)
    return frozenset(zip(h.astype(int).tolist(), v.astype(int).tolist(), strict=True))


def place(
    metadata: str,
    layer: str,
    shape: tuple[int, int],
    tile: tuple[int, int],
    pixels: int,
    where: str,
) -> GeoBox:
    """Find where a layer's pixels lie: by the file's structural metadata, and by the tile.

    Parameters
    ----------
    metadata
        ``StructMetadata.0``; empty if the file has none, and then the tile alone decides.
    layer
        Name of the layer; a file may hold several grids.
    shape
        Of the layer, rows and columns. Fewer than a whole tile are a subset of it.
    tile
        h and v, as in the file's name.
    pixels
        Rows and columns of a whole tile.
    where
        File and layer, for messages.

    Raises
    ------
    GranuleError
        ``unreadable`` if the metadata says another projection or shape, or lies outside the tile.
    """
    whole = tile_box(*tile, pixels)
    group = _grid_of(metadata, layer)
    if not group:
        if shape != (pixels, pixels):
            raise GranuleError(
                f"{where}: {shape[0]} x {shape[1]} pixels are no whole tile, and no "
                "StructMetadata.0 says where they lie; it cannot be placed"
            )
        return whole
    _check_projection(group, shape, where)
    left, top = _pair(group, "UpperLeftPointMtrs", where)
    right, bottom = _pair(group, "LowerRightMtrs", where)
    step = TILE / pixels
    edges = whole.boundingbox
    drift = max(abs(right - left - shape[1] * step), abs(top - bottom - shape[0] * step))
    beyond = max(edges.left - left, top - edges.top, right - edges.right, edges.bottom - bottom)
    if drift > _TOLERANCE or beyond > _TOLERANCE:
        raise GranuleError(
            f"{where}: StructMetadata.0 puts it at x {left:.0f} to {right:.0f} m, y {bottom:.0f} "
            f"to {top:.0f} m, but tile h{tile[0]:02d}v{tile[1]:02d} of its name lies at x "
            f"{edges.left:.0f} to {edges.right:.0f} m, y {edges.bottom:.0f} to {edges.top:.0f} m "
            f"with pixels of {step:.3f} m; was the file renamed, or resampled?"
        )
    return _box(left, top, step, shape)


def _box(left: float, top: float, step: float, shape: tuple[int, int]) -> GeoBox:
    from affine import Affine
    from odc.geo.geobox import GeoBox

    return GeoBox(shape, Affine(step, 0, left, 0, -step, top), sinusoidal())


def _grid_of(metadata: str, layer: str) -> str:
    """The part of the metadata that describes the grid of a layer; empty if there is none."""
    groups = re.findall(r"GROUP=(GRID_\d+)\s(.*?)END_GROUP=\1\b", metadata, re.DOTALL)
    for _, text in groups:
        if f'DataFieldName="{layer}"' in text:
            return str(text)
    return ""


def _check_projection(group: str, shape: tuple[int, int], where: str) -> None:
    projection = re.search(r"\bProjection=(\w+)", group)
    radius = re.search(r"\bProjParams=\(([\d.]+)", group)
    origin = re.search(r"\bGridOrigin=(\w+)", group)
    size = tuple(
        int(found[1]) if (found := re.search(rf"\b{name}=(\d+)", group)) else -1
        for name in ("YDim", "XDim")
    )
    if projection is None or projection[1] != "GCTP_SNSOID":
        said = projection[1] if projection else "none"
        raise GranuleError(f"{where}: the projection is {said}, not the sinusoidal of the tiles")
    if radius is None or abs(float(radius[1]) - RADIUS) > _TOLERANCE:
        said = radius[1] if radius else "none"
        raise GranuleError(f"{where}: the sphere's radius is {said} m, not {RADIUS} m")
    if origin is not None and origin[1] != "HDFE_GD_UL":
        raise GranuleError(f"{where}: the grid starts at {origin[1]}, not at its upper left")
    if size != shape:
        raise GranuleError(f"{where}: {shape} pixels, but StructMetadata.0 says {size}")


def _pair(group: str, name: str, where: str) -> tuple[float, float]:
    found = re.search(rf"\b{name}=\(([-\d.eE+]+),([-\d.eE+]+)\)", group)
    if found is None:
        raise GranuleError(f"{where}: StructMetadata.0 has no {name}; it cannot be placed")
    return float(found[1]), float(found[2])
