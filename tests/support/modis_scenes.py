"""A file of made-up MODIS scenes and their NDVI, as a pairs file has them, without any ASTER."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from models.sharpening import Degradation


def scene(side: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """LST (side, side) and NDVI four times as fine: fields that are cooler the greener they are."""
    rng = np.random.default_rng(seed)
    fields = rng.uniform(0.1, 0.9, (side, side)).repeat(4, axis=0).repeat(4, axis=1)
    coarse = rng.uniform(-0.1, 0.1, (side // 4, side // 4)).repeat(16, axis=0).repeat(16, axis=1)
    ndvi = np.clip(fields + coarse, -1, 1)
    level, slope = rng.uniform(285, 310), rng.uniform(-14, -8)
    lst = Degradation.gaussian()(level + slope * ndvi)
    return lst + 0.3 * rng.standard_normal(lst.shape), ndvi


def write_scenes(path: Path, count: int = 6, places: int = 6, side: int = 32) -> Path:
    """Scenes of `places` places, one after the other."""
    images = [scene(side, seed) for seed in range(count)]
    centres = np.array([[100 + 80 * (row % places), 200] for row in range(count)])
    dataset = xr.Dataset(
        {
            "modis_lst": (("pair", "y64", "x64"), np.stack([lst for lst, _ in images])),
            "ndvi": (("pair", "y256", "x256"), np.stack([ndvi for _, ndvi in images])),
            "center_lst": (("pair", "rc"), centres),
            "center_ndvi": (("pair", "rc"), 4 * centres),
            "location_group": ("pair", np.arange(count) % places),
        },
        coords={"pair_id": ("pair", np.arange(count) * 10)},
    )
    dataset.to_netcdf(path, engine="h5netcdf")
    return path


def write_patches(path: Path, count: int = 3, side: int = 32, places: int = 1) -> Path:
    """Patches by day and night; NDVI matters by day only. One has water, one no NDVI."""
    blur = Degradation.gaussian()
    images = [scene(side, 100 + seed) for seed in range(count)]
    ndvi = np.stack([blur(fine) for _, fine in images])
    ndvi[0, :3, :3] = -3
    day = np.stack([lst for lst, _ in images])
    night = 280 + 0.3 * np.random.default_rng(1).standard_normal(day.shape)
    dataset = xr.Dataset(
        {
            "lst": (("patch", "daynight", "y", "x"), np.stack([day, night], axis=1)),
            "ndvi_1km": (("ndvi_patch", "y", "x"), ndvi),
            "ndvi_index": ("patch", np.r_[np.arange(count - 1), -1]),
            "row0": ("patch", 600 + 64 * (np.arange(count) % places)),
            "col0": ("patch", np.full(count, 700)),
        }
    )
    dataset.to_netcdf(path, engine="h5netcdf")
    return path
