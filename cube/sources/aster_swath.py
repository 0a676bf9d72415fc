"""AST_08 as it was delivered up to version 3: an HDF-EOS swath with a lattice of positions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cube.errors import GranuleError
from cube.sources.files import label
from cube.sources.modis_hdf import read_planes
from cube.sources.planes import Plane

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

LATITUDE, LONGITUDE = "Latitude", "Longitude"

# The scene is a rotated rectangle of its UTM zone; positions are given to about a metre.
_TOLERANCE = 0.5
"""Of a pixel: how far the lattice may lie from a rotated rectangle."""


def read_swath(href: str, layers: Sequence[str]) -> tuple[dict[str, Plane], GeoBox]:
    """Read layers of a swath, and where they lie.

    The product is level 1B geometry, map-projected to UTM along the orbit, so that rows and
    columns and UTM coordinates differ by one affine transform. It is fitted (GDAL) to the swath's
    11 x 11 latitudes and longitudes, which are geodetic in the higher-level products, unlike in
    level 1.

    Parameters
    ----------
    href
        Path of the HDF4 file.
    layers
        Names of data fields: ``KineticTemperature``, ``QA_DataPlane``.

    Returns
    -------
    planes : dict of Plane
        By layer.
    box : GeoBox
        Rotated, in the UTM zone under the scene's centre.

    Raises
    ------
    GranuleError
        As `cube.sources.modis_hdf.read_planes`; ``unreadable`` if the lattice is none, or is not
        that of a map-projected scene.

    References
    ----------
    ASTER Users Handbook, Version 2, chapter 4 and its questions on geocentric coordinates.
    """
    planes = read_planes(href, (*layers, LATITUDE, LONGITUDE))
    where = label(href, layers[0])
    latitude, longitude = (planes.pop(name).values for name in (LATITUDE, LONGITUDE))
    first = planes[layers[0]]
    height, width = first.values.shape
    if any(plane.values.shape != (height, width) for plane in planes.values()):
        raise GranuleError(f"{where}: its layers differ in size, so the file is damaged")
    rows = _lattice(first.metadata, "GeoTrack", latitude.shape[0], where)
    columns = _lattice(first.metadata, "GeoXTrack", latitude.shape[1], where)
    return planes, _fit((height, width), rows, columns, latitude, longitude, where)


def _lattice(metadata: str, dimension: str, size: int, where: str) -> np.ndarray:
    """Rows, or columns, of the lattice in the image, by ``StructMetadata.0``."""
    found = re.search(
        rf'GeoDimension="{dimension}"\s+DataDimension="\w+"\s+Offset=(-?\d+)\s+Increment=(\d+)',
        metadata,
    )
    if found is None:
        raise GranuleError(
            f"{where}: StructMetadata.0 does not say to which pixels the positions along "
            f"{dimension} belong; it cannot be placed"
        )
    # A position is that of a pixel's centre.
    return int(found[1]) + int(found[2]) * np.arange(size) + 0.5


def _fit(
    shape: tuple[int, int],
    rows: np.ndarray,
    columns: np.ndarray,
    latitude: np.ndarray,
    longitude: np.ndarray,
    where: str,
) -> GeoBox:
    from odc.geo.crs import CRS
    from odc.geo.geobox import GeoBox
    from rasterio.control import GroundControlPoint
    from rasterio.transform import from_gcps
    from rasterio.warp import transform

    if not (np.abs(latitude) <= 90).all() or not (np.abs(longitude) <= 180).all():
        raise GranuleError(f"{where}: its latitudes and longitudes hold fill; it cannot be placed")
    if np.ptp(longitude) > 180:  # across the antimeridian
        longitude = np.where(longitude < 0, longitude + 360, longitude)
    crs = CRS.utm((longitude.mean() + 180) % 360 - 180, latitude.mean())
    x, y = map(
        np.asarray, transform("EPSG:4326", crs.to_wkt(), longitude.ravel(), latitude.ravel())
    )
    row, column = (axis.ravel() for axis in np.meshgrid(rows, columns, indexing="ij"))
    affine = from_gcps(
        [GroundControlPoint(*point) for point in zip(row, column, x, y, strict=True)]
    )
    a, b, c, d, e, f = tuple(affine)[:6]
    miss = np.hypot(a * column + b * row + c - x, d * column + e * row + f - y).max()
    if not miss < _TOLERANCE * abs(affine.determinant) ** 0.5:
        raise GranuleError(
            f"{where}: its {rows.size} x {columns.size} positions are up to {miss:.0f} m off a "
            "map-projected scene; is it another product, or not map-projected?"
        )
    return GeoBox(shape, affine, crs)
