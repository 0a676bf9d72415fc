"""The arrays of a sharpened run: which there are, and how they are cut into tiles and chunks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.inference_layout import Layout
from pipelines.lattice import Window, windows
from pipelines.sharpen_scenery import Scenery

if TYPE_CHECKING:
    import xarray as xr

TILE = 128
"""Side of a tile, coarse pixels."""
CHUNK = 256
"""Longest side of a chunk, fine pixels."""


def tiles(shape: tuple[int, int]) -> Iterator[Window]:
    """Tiles of a scene, in coarse pixels, row by row."""
    yield from windows(shape, TILE)


def chunk_side(scale: int) -> int:
    """Side of a chunk, fine pixels: as `CHUNK`, or less where tiles would not be whole chunks."""
    side = TILE
    while side % 2 == 0 and side * scale > CHUNK:
        side //= 2
    return side * scale


def chunks_of(scale: int) -> dict[str, int]:
    """Chunk lengths by dimension: a date, a square of ground."""
    side = chunk_side(scale)
    return {"time": 1, "y": side, "x": side}


def layout_of(template: xr.Dataset, scale: int) -> Layout:
    """How the store keeps the arrays of a template."""
    return Layout.of(template, chunk_side(scale), classes=0)


def template_of(scenery: Scenery, lineage: Mapping[str, str]) -> xr.Dataset:
    """Coordinates and not yet computed arrays of a run."""
    import xarray as xr

    fine, coarse = scenery.ndvi, scenery.lst
    coords = {"time": _bare(coarse["time"])}
    coords |= {name: _bare(fine[name]) for name in ("y", "x", "spatial_ref")}
    attrs = {"title": f"LST sharpened by {lineage['method']}", "Conventions": "CF-1.11", **lineage}
    return xr.Dataset(_layers(scenery), coords, attrs)


def _layers(scenery: Scenery) -> dict[str, tuple[Any, ...]]:
    import dask.array as da

    dates = (len(scenery.partners),)
    shape = (*dates, *scenery.fine_shape)
    chunks = tuple(map(min, chunks_of(scenery.scale).values(), shape))
    units, place = {"units": "K"}, {"grid_mapping": "spatial_ref"}
    return {
        "lst": (
            ("time", "y", "x"),
            da.full(shape, np.nan, dtype="float32", chunks=chunks),
            {**units, **place, "standard_name": "surface_temperature",
             "long_name": "land surface temperature, sharpened"},
        ),
        "consistency": (
            ("time",), da.full(dates, np.nan, dtype="float64", chunks=dates),
            {**units, "long_name": "RMSE between block means of the map and its input"},
        ),
        "consistency_largest": (
            ("time",), da.full(dates, np.nan, dtype="float64", chunks=dates),
            {**units, "long_name": "largest difference between block mean and input"},
        ),
    }  # fmt: skip


def _bare(coordinate: xr.DataArray) -> xr.Variable:
    """A coordinate without the chunks and codecs of the array it was read from."""
    variable = coordinate.variable.copy(deep=False)
    keep = ("units", "calendar", "dtype") if coordinate.name == "time" else ()
    variable.encoding = {key: variable.encoding[key] for key in keep if key in variable.encoding}
    return variable
