"""A modality's group as it is made: its arrays, their chunks, compressors and attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.bands import MODALITIES, Band
from cube.grid import to_attrs
from cube.quality import FLAG_ATTRS, NO_PRODUCT_QC, Flag

if TYPE_CHECKING:
    import icechunk
    import xarray as xr
    from odc.geo.geobox import GeoBox

CHUNK = 512
"""Side of a spatial chunk in pixels: the unit of writing is one scene x one chunk.

A chunk costs about a millisecond to fetch and to hand to its codecs whatever its size, so four of
256 pixels are read at half of the speed of one of 512."""

_COORDS_CHUNK = 1024

SCENE_COORDS: dict[str, dict[str, Any]] = {
    "granules": {"long_name": "granules of the scene, separated by spaces"},
    "platform": {"long_name": "platform", "standard_name": "platform_name"},
    "cloud_fraction": {"long_name": "cloudy share of the measured pixels", "units": "1"},
    "bad_fraction": {"long_name": "otherwise invalid share of the measured pixels", "units": "1"},
    "valid_fraction": {"long_name": "valid share of the region", "units": "1"},
    "sun_elevation": {
        "long_name": "sun elevation at the region's centre",
        "standard_name": "solar_elevation_angle",
        "units": "degree",
    },
    "local_solar_time": {"long_name": "apparent solar time at the region's centre", "units": "h"},
}
_TEXT = ("granules", "platform")


def codecs() -> tuple[Any, ...]:
    """The compressors of every array: zstd with shuffle, then a checksum.

    Without the checksum a flipped bit inside a zstd chunk comes back as data; with it, it raises.
    """
    from zarr.codecs import BloscCodec, Crc32cCodec

    return (BloscCodec(cname="zstd", clevel=5, shuffle="shuffle"), Crc32cCodec())


def create(session: icechunk.Session, modality: str, bands: Sequence[Band], grid: GeoBox) -> None:
    """Write the empty arrays and coordinates of a modality's group."""
    template = _template(modality, bands, grid)
    side_y, side_x = (min(CHUNK, side) for side in grid.shape)
    space = (side_y, side_x)
    encoding: dict[str, dict[str, Any]] = {
        "imagery": {"chunks": (1, len(bands), *space), "fill_value": np.nan},
        "qc": {"chunks": (1, *space), "fill_value": int(Flag.MISSING)},
        "product_qc": {"chunks": (1, *space), "fill_value": NO_PRODUCT_QC},
        "time": {
            "units": "milliseconds since 1970-01-01",
            "calendar": "proleptic_gregorian",
            "dtype": "int64",
            "chunks": (_COORDS_CHUNK,),
        },
    }
    for name in SCENE_COORDS:
        encoding[name] = {"chunks": (_COORDS_CHUNK,)}
    for variable in template.variables:
        encoding.setdefault(str(variable), {})["compressors"] = codecs()
    template.to_zarr(
        session.store, group=modality, mode="w-", encoding=encoding, consolidated=False
    )


def _template(modality: str, bands: Sequence[Band], grid: GeoBox) -> xr.Dataset:
    import xarray as xr
    from odc.geo.xr import xr_coords

    height, width = grid.shape
    text = np.dtypes.StringDType()
    pixels = {"grid_mapping": "spatial_ref"}
    layers = {
        "imagery": (
            ("time", "band", "y", "x"),
            np.empty((0, len(bands), height, width), np.float32),
            {"long_name": MODALITIES[modality].title, "ancillary_variables": "qc", **pixels},
        ),
        "qc": (("time", "y", "x"), np.empty((0, height, width), np.uint8), FLAG_ATTRS | pixels),
        "product_qc": (
            ("time", "y", "x"),
            np.empty((0, height, width), np.int32),
            {
                "long_name": "quality word as delivered by the product",
                "comment": f"{NO_PRODUCT_QC} where the product gave none",
                **pixels,
            },
        ),
    }
    coords: dict[str, Any] = {
        "time": (
            "time",
            np.empty(0, "datetime64[ns]"),
            {"standard_name": "time", "long_name": "start of the overpass, UTC"},
        ),
        "band": ("band", np.array([band.name for band in bands], text)),
        "band_units": ("band", np.array([band.units for band in bands], text)),
        "band_long_name": ("band", np.array([band.long_name for band in bands], text)),
        **{str(name): value for name, value in xr_coords(grid).items()},
    }
    for name, attrs in SCENE_COORDS.items():
        empty = np.empty(0, text) if name in _TEXT else np.empty(0, np.float64)
        coords[name] = ("time", empty, attrs)
    attrs = {"title": MODALITIES[modality].title, "modality": modality, "Conventions": "CF-1.11"}
    return xr.Dataset(layers, coords, {**attrs, **to_attrs(grid)})
