"""The grid of a region: one GeoBox, chosen once, compared whole before every write."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cube.errors import GridError

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.crs import CRS
    from odc.geo.geobox import GeoBox


MAX_UTM_WIDTH = 12.0
"""Degrees of longitude; half of it from the central meridian UTM stretches by half a percent."""


def utm_crs(bbox: tuple[float, float, float, float]) -> CRS:
    """Pick the WGS 84 UTM zone under the centre of a lon/lat box.

    Parameters
    ----------
    bbox
        West, south, east, north in degrees.

    Raises
    ------
    GridError
        Near the poles, where there is no UTM zone, and for boxes far wider than a zone.
    """
    from odc.geo.crs import CRS

    west, south, east, north = bbox
    if east - west > MAX_UTM_WIDTH:
        raise GridError(
            f"{list(bbox)} (west, south, east, north) spans {east - west:g} degrees, a UTM zone "
            "6: give the `crs` of a projection that suits the area, or several regions"
        )
    try:
        return CRS.utm((west + east) / 2, (south + north) / 2)
    except ValueError:
        raise GridError(
            f"no UTM zone lies under {list(bbox)} (west, south, east, north); near the poles "
            "give `crs`, e.g. EPSG:3995 in the Arctic or EPSG:3031 in the Antarctic"
        ) from None


def region_grid(
    bbox: tuple[float, float, float, float],
    crs: str | None,
    resolution: float,
    anchor: tuple[float, float] | None = None,
) -> GeoBox:
    """Build the north-up grid that covers a lon/lat box.

    Parameters
    ----------
    bbox
        West, south, east, north in degrees (WGS 84).
    crs
        Projected CRS, or None for the UTM zone under the box's centre.
    resolution
        Pixel size in metres.
    anchor
        A pixel corner (x, y) that the grid's lines run through; by default the CRS's origin.
        Give a tile's upper-left corner to take its pixels over unresampled.

    Returns
    -------
    odc.geo.geobox.GeoBox
        Snapped outwards, so that the whole box lies inside.

    Raises
    ------
    GridError
        If the CRS is not projected in metres, or cannot show the box.
    """
    from rasterio.warp import transform_bounds

    target = utm_crs(bbox) if crs is None else _projected(crs)
    bounds = transform_bounds("EPSG:4326", target.to_wkt(), *bbox, densify_pts=51)
    return grid_of_bounds(bounds, str(target), resolution, anchor or (0.0, 0.0))


def grid_of_bounds(
    bounds: tuple[float, float, float, float],
    crs: str,
    resolution: float,
    anchor: tuple[float, float] | None = None,
) -> GeoBox:
    """Build the north-up grid that covers a box given in metres.

    Parameters
    ----------
    bounds
        Left, bottom, right, top in metres of `crs`.
    crs
        Projected CRS.
    resolution
        Pixel size in metres.
    anchor
        A pixel corner (x, y) that the grid's lines run through; by default the box's upper left.

    Returns
    -------
    odc.geo.geobox.GeoBox
        Snapped outwards, so that the whole box lies inside.

    Raises
    ------
    GridError
        If the CRS is not projected in metres.
    """
    from affine import Affine
    from odc.geo.geobox import GeoBox

    target = _projected(crs)
    left, bottom, right, top = bounds
    x0, y0 = anchor or (left, top)
    west, east = _down(left - x0, resolution), _up(right - x0, resolution)
    south, north = _down(bottom - y0, resolution), _up(top - y0, resolution)
    corner = Affine(resolution, 0, x0 + west * resolution, 0, -resolution, y0 + north * resolution)
    return GeoBox((north - south, east - west), corner, target)


def nested_grid(grid: GeoBox, resolution: float) -> GeoBox:
    """A grid of another pixel size over the same ground, from the same upper-left corner.

    Parameters
    ----------
    grid
        The region's grid.
    resolution
        Pixel size in metres; the last row and column may reach beyond the region.
    """
    left, bottom, right, top = grid.boundingbox.bbox
    return grid_of_bounds((left, bottom, right, top), str(grid.crs), resolution)


def _projected(crs: str) -> CRS:
    from odc.geo.crs import CRS
    from pyproj.exceptions import CRSError

    try:
        target = CRS(crs)
    except CRSError as error:
        raise GridError(f"{crs!r} is no coordinate system that PROJ knows: {error}") from error
    if not target.projected:
        raise GridError(
            f"the grid's CRS {target} is geographic; a cube's pixels are metres: "
            "give a projected CRS, or leave `crs` out for the UTM zone"
        )
    if any(axis.unit_conversion_factor != 1 for axis in target.proj.axis_info):
        unit = target.proj.axis_info[0].unit_name
        raise GridError(
            f"the grid's CRS {target} counts in {unit}; a cube's pixels are metres: "
            "give a CRS in metres, or leave `crs` out for the UTM zone"
        )
    return target


def _down(distance: float, step: float) -> int:
    # A millionth of a pixel is rounding, not ground.
    return math.floor(distance / step + 1e-6)


def _up(distance: float, step: float) -> int:
    return math.ceil(distance / step - 1e-6)


@lru_cache(maxsize=64)
def lonlat_bounds(grid: GeoBox) -> tuple[float, float, float, float]:
    """West, south, east, north of a grid in degrees (WGS 84)."""
    from rasterio.warp import transform_bounds

    crs = str(grid.crs)
    bounds: tuple[float, float, float, float] = transform_bounds(
        crs, "EPSG:4326", *grid.boundingbox.bbox, densify_pts=51
    )
    return bounds


def to_attrs(grid: GeoBox) -> dict[str, Any]:
    """Describe a grid as JSON-able attributes (GeoZarr ``proj:`` names)."""
    epsg = grid.crs.to_epsg() if grid.crs else None
    return {
        "proj:code": f"EPSG:{epsg}" if epsg else None,
        "proj:wkt2": grid.crs.to_wkt() if grid.crs else None,
        "proj:transform": list(grid.affine)[:6],
        "proj:shape": list(grid.shape),
    }


def from_attrs(attrs: dict[str, Any]) -> GeoBox:
    """Rebuild the grid written by `to_attrs`."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    crs = attrs.get("proj:code") or attrs["proj:wkt2"]
    height, width = attrs["proj:shape"]
    return GeoBox((height, width), Affine(*attrs["proj:transform"]), crs)


def describe(grid: GeoBox) -> str:
    """Name a grid in a line: CRS, size in pixels, pixel size, upper-left corner."""
    height, width = grid.shape
    step = grid.affine.a
    return (
        f"{grid.crs}, {width} x {height} px (x by y) of {step:g} m, "
        f"upper left ({grid.affine.c:.2f}, {grid.affine.f:.2f})"
    )


def require_same(expected: GeoBox, found: GeoBox, where: str) -> None:
    """Refuse a layer that does not lie exactly on the expected grid.

    Raises
    ------
    GridError
        Naming both grids.
    """
    same = (
        expected.crs == found.crs
        and tuple(expected.shape) == tuple(found.shape)
        and expected.affine.almost_equals(found.affine, precision=1e-6)
    )
    if not same:
        raise GridError(
            f"{where}: the layer lies on another grid than the cube.\n"
            f"  cube : {describe(expected)}\n  layer: {describe(found)}\n"
            "Reproject the layer, or ingest it into a region of its own."
        )


def grid_of(data: xr.Dataset | xr.DataArray) -> GeoBox:
    """Read the grid that data lie on from their ``x``, ``y`` and grid-mapping coordinates.

    Parameters
    ----------
    data
        With regular ``x`` and ``y`` coordinates, pixel centres, and a CF grid mapping.

    Raises
    ------
    GridError
        If a coordinate or the CRS is missing, or the pixels are not evenly spaced.
    """
    from affine import Affine
    from odc.geo.geobox import GeoBox

    mapping = data.attrs.get("grid_mapping") or data.encoding.get("grid_mapping") or "spatial_ref"
    missing = [name for name in ("y", "x", mapping) if name not in data.coords]
    if missing:
        raise GridError(f"the data carry no coordinate {missing[0]!r}, so their grid is unknown")
    attrs = data.coords[mapping].attrs
    crs = attrs.get("crs_wkt") or attrs.get("spatial_ref")
    if not crs:
        raise GridError(f"the grid mapping {mapping!r} of the data names no CRS")
    (dx, left), (dy, top) = (_axis(data.coords[name]) for name in ("x", "y"))
    return GeoBox((data.sizes["y"], data.sizes["x"]), Affine(dx, 0, left, 0, dy, top), crs)


def _axis(coordinate: xr.DataArray) -> tuple[float, float]:
    """Step and outer edge of the first pixel along one axis."""
    import numpy as np

    centres = np.asarray(coordinate.values, float)
    if len(centres) > 1:
        step = float(centres[-1] - centres[0]) / (len(centres) - 1)
    else:
        step = float(coordinate.attrs.get("resolution", 0.0))
    even = centres[:1] + step * np.arange(len(centres))
    if not step or not len(centres) or abs(even - centres).max() > abs(step) * 1e-3:
        raise GridError(f"the pixels along {coordinate.name!r} are not evenly spaced")
    return step, float(centres[0]) - step / 2
