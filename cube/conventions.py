"""What exports say about themselves: CF on every variable, GeoZarr on every group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.bands import MODALITIES, Band
from cube.errors import SelectionError
from cube.grid import grid_of, lonlat_bounds

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox

_SHARED = ("band", "band_units", "band_long_name")
_MASKS = ("flag_masks", "flag_values")

PROJ = {
    "schema_url": "https://raw.githubusercontent.com/zarr-conventions/geo-proj/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/geo-proj/blob/v1/README.md",
    "uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f",
    "name": "proj:",
    "description": "Coordinate reference system information for geospatial data",
}
SPATIAL = {
    "schema_url": "https://raw.githubusercontent.com/zarr-conventions/spatial/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/spatial/blob/v1/README.md",
    "uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
    "name": "spatial:",
    "description": "Spatial coordinate information",
}
MULTISCALES = {
    "schema_url": "https://raw.githubusercontent.com/zarr-conventions/multiscales/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/multiscales/blob/v1/README.md",
    "uuid": "d35379db-88df-4056-af3a-620245f8e347",
    "name": "multiscales",
    "description": "Multiscale layout of zarr datasets",
}


def cf_dataset(dataset: xr.Dataset, modality: str | None = None) -> xr.Dataset:
    """Turn a group of a cube into a CF data set. Lazy.

    One variable a band takes the place of ``imagery``, since a CF variable has one unit and one
    standard name. What encodings the cube had are gone; the result is fit for any format.

    Parameters
    ----------
    dataset
        A group of a cube, or a selection from it.
    modality
        Name of the modality, for the bands' ranges and standard names; may be left out where
        there is no ``imagery``.

    Raises
    ------
    SelectionError
        If `imagery` is there and the modality is not known.
    GridError
        If the data carry no grid.
    """
    grid = grid_of(dataset)
    plain = dataset.drop_encoding()
    plain = plain.assign_coords({name: value.compute() for name, value in plain.coords.items()})
    if "imagery" in plain:
        plain = _split(plain, modality)
    plain = plain.assign_coords(spatial_coords(grid))
    if "time" in plain.coords:
        plain = plain.assign_coords(time=plain["time"].assign_attrs(axis="T"))
    for name, variable in plain.data_vars.items():
        _georeference(plain, str(name), variable)
    attrs = {key: value for key, value in dataset.attrs.items() if ":" not in key}
    plain.attrs = {**attrs, "Conventions": "CF-1.11", **_extent(grid)}
    return plain


def _split(dataset: xr.Dataset, modality: str | None) -> xr.Dataset:
    if modality is None or modality not in MODALITIES:
        raise SelectionError(
            f"imagery of modality {modality!r} cannot be described; "
            f"there are {', '.join(MODALITIES)}"
        )
    known = MODALITIES[modality].bands
    names = [str(name) for name in dataset["band"].values]
    bands = {}
    for index, name in enumerate(names):
        layer = dataset["imagery"].isel(band=index).drop_vars(_SHARED, errors="ignore")
        bands[name] = layer.assign_attrs(_band_attrs(known[name]))
    rest = dataset.drop_vars(["imagery", *_SHARED], errors="ignore")
    return rest.assign(bands)[[*bands, *rest.data_vars]]


def _band_attrs(band: Band) -> dict[str, Any]:
    attrs = {
        "long_name": band.long_name,
        "units": band.units,
        "valid_min": np.float32(band.valid_min),
        "valid_max": np.float32(band.valid_max),
        "ancillary_variables": "qc",
    }
    return {**attrs, "standard_name": band.standard_name} if band.standard_name else attrs


def spatial_coords(grid: GeoBox) -> dict[str, xr.DataArray]:
    """CF coordinates ``y``, ``x`` (metres, pixel centres) and ``spatial_ref`` of a grid."""
    from odc.geo.xr import xr_coords

    coords = {str(name): value.drop_encoding() for name, value in xr_coords(grid).items()}
    for name, letter, word in (("x", "X", "easting"), ("y", "Y", "northing")):
        coords[name].attrs.pop("crs", None)
        coords[name].attrs |= {
            "standard_name": f"projection_{name}_coordinate",
            "long_name": f"{word} of the pixel centre",
            "axis": letter,
        }
    coords["spatial_ref"].attrs["long_name"] = "coordinate reference system of the grid"
    return coords


def _georeference(dataset: xr.Dataset, name: str, variable: xr.DataArray) -> None:
    """Point a variable to its grid mapping and scene coordinates; type its flags."""
    attrs = variable.attrs
    for key in _MASKS:
        if key in attrs:
            attrs[key] = np.asarray(attrs[key], variable.dtype)
    attrs.pop("grid_mapping", None)
    if not {"y", "x"} <= set(variable.dims):
        return
    # In the encoding, where xarray takes it for what it is: no coordinate, but a grid mapping.
    dataset[name].encoding["grid_mapping"] = "spatial_ref"
    auxiliary = [
        str(key)
        for key, value in dataset.coords.items()
        if key not in variable.dims
        and key != "spatial_ref"
        and value.ndim
        and set(value.dims) <= set(variable.dims)
    ]
    if auxiliary:
        dataset[name].encoding["coordinates"] = " ".join(sorted(auxiliary))


def links(variable: xr.Variable | xr.DataArray) -> dict[str, str]:
    """The part of an encoding that points to other variables; formats add theirs to it."""
    return {
        key: str(variable.encoding[key])
        for key in ("grid_mapping", "coordinates")
        if key in variable.encoding
    }


def _extent(grid: GeoBox) -> dict[str, Any]:
    west, south, east, north = lonlat_bounds(grid)
    return {
        "geospatial_lon_min": west,
        "geospatial_lat_min": south,
        "geospatial_lon_max": east,
        "geospatial_lat_max": north,
    }


def geozarr_attrs(grid: GeoBox, *more: Mapping[str, str]) -> dict[str, Any]:
    """Attributes of a Zarr group whose arrays lie on a grid.

    Parameters
    ----------
    grid
        The grid.
    *more
        Further conventions that the group follows.

    References
    ----------
    Zarr conventions ``proj:`` v1 and ``spatial:`` v1, on which GeoZarr is built.
    """
    from odc.geo.crs import CRS

    epsg = CRS(grid.crs).to_epsg()
    crs = {"proj:code": f"EPSG:{epsg}"} if epsg else {"proj:wkt2": CRS(grid.crs).to_wkt()}
    return {
        "zarr_conventions": [dict(PROJ), dict(SPATIAL), *(dict(entry) for entry in more)],
        **crs,
        "spatial:dimensions": ["y", "x"],
        "spatial:bbox": list(grid.boundingbox.bbox),
        "spatial:registration": "pixel",
        **placement(grid),
    }


def placement(grid: GeoBox) -> dict[str, Any]:
    """Where the pixels of a grid lie in its CRS (``spatial:`` convention)."""
    return {
        "spatial:transform_type": "affine",
        "spatial:transform": list(grid.affine)[:6],
        "spatial:shape": list(grid.shape),
    }


def multiscales_attrs(grids: Sequence[GeoBox]) -> dict[str, Any]:
    """Attributes of a Zarr group whose children ``0``, ``1``, ... are ever coarser.

    Parameters
    ----------
    grids
        Of the children, finest first, each half as fine as the one before.

    References
    ----------
    Zarr convention ``multiscales`` v1.
    """
    layout: list[dict[str, Any]] = []
    for level, grid in enumerate(grids):
        step = 2.0 if level else 1.0
        # A coarse pixel's centre lies half a fine pixel further in.
        shift = 0.5 if level else 0.0
        entry = {
            "asset": str(level),
            "transform": {"scale": [step, step], "translation": [shift, shift]},
            **placement(grid),
        }
        layout.append({**entry, "derived_from": str(level - 1)} if level else entry)
    return {
        **geozarr_attrs(grids[0], MULTISCALES),
        "multiscales": {"layout": layout, "resampling_method": "average"},
    }
