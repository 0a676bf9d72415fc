"""Small cubes of made-up MODIS LST at 1 km and NDVI at 250 m, to be sharpened."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from cube import timeline
from cube.quality import Flag
from cube.region import Region
from cube.scene import Coverage, Reading
from cube.store import Cube
from cube.timeline import Step
from models.sharpening.blocks import block_mean

COARSE, FINE = 1000.0, 250.0
DAY = datetime(2024, 6, 3, 11, tzinfo=UTC)
Gaps = Mapping[str, tuple[slice, slice]]
"""Clouds, in pixels of ``modis_lst`` by day and of ``modis_ndvi`` of that day."""
CLOUDS: Gaps = {
    "modis_lst": (slice(10, 14), slice(20, 25)),
    "modis_ndvi": (slice(60, 75), slice(30, 50)),
}


def tables(name: str, side: float) -> dict[str, Any]:
    """A region of `side` km, to the north-east of a corner in UTM zone 31."""
    bounds = [500_000.0, 4_800_000.0, 500_000.0 + 1000 * side, 4_800_000.0 + 1000 * side]
    return {
        "name": name,
        "area": {"bounds": bounds, "crs": "EPSG:32631", "resolution": FINE},
        "period": {"start": "2024-01-01"},
        "modalities": {
            "modis_lst": {"bands": ["lst"], "resolution": COARSE},
            "modis_ndvi": {"bands": ["ndvi"], "resolution": FINE},
        },
        "sources": [
            {"kind": "modis", "name": "lst", "path": "none", "product": "MOD11A1"},
            {"kind": "modis", "name": "ndvi", "path": "none", "product": "MOD09GQ"},
        ],
    }


def landscape(side: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """LST at 1 km and NDVI at 250 m of fields, with slopes that change from place to place."""
    rng = np.random.default_rng(seed)
    fields = rng.uniform(0.1, 0.9, (side, side)).repeat(4, axis=0).repeat(4, axis=1)
    ndvi = np.clip(fields + 0.05 * rng.standard_normal(fields.shape), -1, 1)
    slope = -10 - 5 * np.sin(np.arange(4 * side) / 40)[:, None]
    lst = block_mean(305 + slope * ndvi, 4) + 0.2 * rng.standard_normal((side, side))
    return lst, ndvi


def step(time: datetime, image: np.ndarray, missing: tuple[slice, slice] | None = None) -> Step:
    """A scene, with clouds where it is missing."""
    qc = np.zeros(image.shape, np.uint8)
    if missing is not None:
        qc[missing] = int(Flag.CLOUD)
    reading = Reading.build([image], qc)
    return Step(time, reading, (f"g{time:%Y%m%d%H}",), "Terra", Coverage.of(qc), 30.0, time.hour)


def write_region(folder: Path, side: float = 40) -> Path:
    """A region file whose cube `make_cube` fills."""
    file = folder / "region.toml"
    file.write_text(tomli_w.dumps(tables(f"km{side:g}".replace(".", "_"), side)), encoding="utf-8")
    return file


def make_cube(folder: Path, side: float = 40, gaps: Gaps | None = None) -> Cube:
    """A day and a night scene, and NDVI of two days.

    Where `side` is not a whole number, LST reaches beyond NDVI.
    """
    cube = Cube.create(Region.load(write_region(folder, side)))
    lst, ndvi = landscape(int(np.ceil(side)))
    ndvi = ndvi[: round(4 * side), : round(4 * side)]
    night = DAY + timedelta(hours=12)
    gaps = gaps or {}
    with cube.transaction("fill", {}) as change:
        scenes = [step(DAY, lst, gaps.get("modis_lst")), step(night, lst - 15)]
        timeline.apply(change.session, "modis_lst", [], scenes)
        dates = [step(DAY, ndvi, gaps.get("modis_ndvi")), step(DAY + timedelta(days=60), ndvi)]
        timeline.apply(change.session, "modis_ndvi", [], dates)
    return cube
