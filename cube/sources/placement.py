"""Where the pixels of a NetCDF file lie: CF coordinates, global attributes, or the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.errors import GridError
from cube.sources.base import Settings

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox


class Dims(Settings):
    """Names of the file's dimensions; their order in the file does not matter."""

    time: str = "time"
    band: str = "band"
    y: str = "y"
    x: str = "x"


class Placement(Settings):
    """Where the pixels lie, for files without CF georeferencing.

    Each entry is the value itself or the name of a global attribute that holds it.
    """

    crs: str
    """CRS such as ``EPSG:32630``."""
    upper_left: tuple[float | str, float | str]
    """x, y of the upper-left corner (not the centre) of pixel (0, 0); rows run southwards."""
    pixel_size: float | str
    """In the units of the CRS."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """The attribute names among the entries."""
        entries = (self.crs, *self.upper_left, self.pixel_size)
        return tuple(entry for entry in entries if isinstance(entry, str))

    def geobox(self, attrs: Mapping[Any, Any], shape: tuple[int, int]) -> GeoBox:
        """Build the file's grid of `shape` (rows, columns).

        Raises
        ------
        GridError
            If an attribute is not there, or the values make no grid.
        """
        from affine import Affine
        from odc.geo.geobox import GeoBox
        from pyproj.exceptions import CRSError

        step = _number(self.pixel_size, attrs)
        left, top = (_number(value, attrs) for value in self.upper_left)
        crs = str(attrs.get(self.crs, self.crs))
        try:
            return GeoBox(shape, Affine(step, 0, left, 0, -step, top), crs)
        except (CRSError, ValueError) as error:
            raise GridError(
                f"placement: {crs!r} is neither a CRS nor a global attribute ({error})"
            ) from error


ESTIMATED = Placement(
    crs="est_crs",
    upper_left=("est_upper_left_x", "est_upper_left_y"),
    pixel_size="pixel_size_m",
)
"""Attributes in which files without CF georeferencing keep an estimate of it."""


def _number(value: float | str, attrs: Mapping[Any, Any]) -> float:
    if not isinstance(value, str):
        return float(value)
    try:
        return float(attrs[value])
    except (KeyError, TypeError, ValueError):
        known = ", ".join(map(str, attrs)) or "none"
        raise GridError(
            f"placement: there is no global attribute {value!r} with a number; there are {known}"
        ) from None


def locate(dataset: xr.Dataset, variable: str, dims: Dims, placement: Placement | None) -> GeoBox:
    """Find the grid of a variable, (y, x).

    Raises
    ------
    GridError
        If there is no `placement`, and the file has neither a CF grid mapping with x and y
        coordinates nor the attributes of `ESTIMATED`.
    """
    array = dataset[variable]
    shape = (array.sizes[dims.y], array.sizes[dims.x])
    if placement is not None:
        return placement.geobox(dataset.attrs, shape)
    mapping = str({**array.attrs, **array.encoding}.get("grid_mapping", "")).split(":")[0]
    if mapping in dataset.variables and {dims.y, dims.x} <= set(dataset.variables):
        return _cf_geobox(dataset, mapping, dims)
    if set(ESTIMATED.attributes) <= set(dataset.attrs):
        return ESTIMATED.geobox(dataset.attrs, shape)
    raise GridError(
        f"{variable!r} has no CF grid mapping with x and y coordinates; say where it lies "
        "with a `placement` table (crs, upper_left, pixel_size)"
    )


def _cf_geobox(dataset: xr.Dataset, mapping: str, dims: Dims) -> GeoBox:
    # Not by odc-geo's or rioxarray's accessor: both still multiply affine transforms in a way that
    # affine 3 warns of, and a warning cannot be held back in one thread alone.
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        crs = CRS.from_cf(dataset[mapping].attrs)
    except (CRSError, KeyError) as error:
        raise GridError(f"the grid mapping {mapping!r} describes no CRS: {error}") from error
    left, across = _axis(dataset[dims.x].values, dims.x)
    top, down = _axis(dataset[dims.y].values, dims.y)
    shape = (dataset.sizes[dims.y], dataset.sizes[dims.x])
    return GeoBox(shape, Affine(across, 0, left, 0, down, top), crs.to_wkt())


def _axis(centres: np.ndarray, name: str) -> tuple[float, float]:
    """Edge of the first pixel and step of a regular coordinate."""
    steps = np.diff(np.asarray(centres, np.float64))
    if not steps.size or steps.mean() == 0 or np.ptp(steps) > abs(steps.mean()) / 100:
        raise GridError(f"the coordinate {name!r} is no regular grid; reproject the file to one")
    step = float(centres[-1] - centres[0]) / steps.size
    return float(centres[0]) - step / 2, step
