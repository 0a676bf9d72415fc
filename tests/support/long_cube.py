"""A cube of very many scenes whose pixels were never written, and a count of what is read of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import zarr

from cube.region import Region
from cube.store import Cube
from cube.sun import centre, local_solar_time, sun_elevation

LAYERS = ("imagery", "qc", "product_qc")
BANDS = {"thermal": ["lst", "emissivity"], "sar": ["vv", "vh"], "optical": ["ndvi"]}


def long_cube(folder: Path, scenes: int) -> Cube:
    """Thermal, radar and optical scenes, one each a day, on a small grid."""
    tables: dict[str, Any] = {
        "name": "long",
        "area": {"bbox": [-4.10, 38.70, -4.06, 38.73], "resolution": 70.0},
        "period": {"start": "1990-01-01"},
        "modalities": {name: {"bands": bands} for name, bands in BANDS.items()},
        "sources": [
            {
                "kind": "netcdf",
                "name": "none",
                "path": "none.nc",
                "platform": "ISS",
                "bands": {"lst": "lst", "emissivity": "emissivity"},
            }
        ],
    }
    cube = Cube.create(Region.parse(tables, folder))
    with cube.transaction("many scenes", {}) as change:
        root = zarr.open_group(change.session.store, mode="r+", zarr_format=3)
        for hours, name in enumerate(BANDS):
            group = root[name]
            assert isinstance(group, zarr.Group)
            _lengthen(group, cube, scenes, hours)
    return cube


def _lengthen(group: zarr.Group, cube: Cube, scenes: int, hours: int) -> None:
    """Give a modality its scenes: coordinates, and arrays of the length that hold no chunk."""
    start = np.datetime64("1990-01-01T09:00", "ms") + np.timedelta64(hours, "h")
    # Revisits at another hour each day, as from the space station.
    times = start + np.arange(scenes) * np.timedelta64(24 * 60 + 7, "m")
    rng, (longitude, latitude) = np.random.default_rng(hours), centre(cube.grid)
    coords = {
        "time": times.astype(np.int64),
        "cloud_fraction": rng.random(scenes) ** 3,
        "bad_fraction": rng.random(scenes) * 0.2,
        "valid_fraction": rng.random(scenes),
        "sun_elevation": sun_elevation(times, longitude, latitude),
        "local_solar_time": local_solar_time(times, longitude),
    }
    for name, array in group.arrays():
        if array.metadata.dimension_names and array.metadata.dimension_names[0] == "time":
            array.resize((scenes, *array.shape[1:]))
            if name in coords:
                array[:] = coords[name]


@contextmanager
def counted_reads() -> Iterator[list[str]]:
    """Keys of all chunks of pixels that are asked for inside the block."""
    keys: list[str] = []
    plain = icechunk.IcechunkStore.get

    async def get(self: Any, key: str, *args: Any, **options: Any) -> Any:
        if "/c/" in key and key.split("/c/")[0].split("/")[-1] in LAYERS:
            keys.append(key)
        return await plain(self, key, *args, **options)

    icechunk.IcechunkStore.get = get
    try:
        yield keys
    finally:
        icechunk.IcechunkStore.get = plain
