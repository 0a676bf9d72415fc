"""A small archive whose granules come, go, break and are processed anew, as real ones do."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

from cube.region import Region
from pipelines.simulate import qc

START = datetime(2023, 1, 7, 17, 20, 58, tzinfo=UTC)
SIDE, STEP, LEFT, TOP = 8, 70.0, 399_960.0, 4_300_020.0

PASSES: dict[str, dict[tuple[int, int], tuple[int, ...]]] = {
    "three": {(101, 0): (1, 2), (102, 52): (1, 2), (103, 104): (1,)},
    "at once": {(201, 0): (1,), (202, 0): (1, 2)},
    "alone": {(301, 0): (1, 2)},
}
"""By pass: number and second of each acquisition, and the versions in which it is delivered."""


def name_of(place: int, number: int, second: int, version: int) -> str:
    """Id of a granule; passes are ten days apart."""
    time = START + timedelta(days=10 * place, seconds=second)
    return f"ECOv002_L2T_LSTE_25{number}_009_30SVH_{time:%Y%m%dT%H%M%S}_0712_{version:02d}"


DELIVERIES = {
    name: [
        [name_of(place, number, second, version) for version in versions]
        for (number, second), versions in keys.items()
    ]
    for place, (name, keys) in enumerate(PASSES.items())
}
"""By pass, in order of acquisition, the versions of each granule, oldest first."""

GRANULES = [name for keys in DELIVERIES.values() for names in keys for name in names]


class Archive:
    """All granules that there will ever be, in a folder that nothing befalls.

    Parameters
    ----------
    folder
        Where they are made, with a region file beside them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.region = self.at(folder)
        for seed, granule in enumerate(GRANULES):
            _write(folder / "ecostress", granule, seed)

    def at(self, home: Path) -> Region:
        """A region whose folder shows nothing yet, or all, if it is the archive itself."""
        (home / "ecostress").mkdir(parents=True, exist_ok=True)
        (home / "region.toml").write_text(_region())
        return Region.load(home / "region.toml")

    def show(self, home: Path, name: str, *, whole: bool = True) -> None:
        """Deliver a granule to a region's folder, whole or with a layer cut short."""
        self.hide(home, name)
        for file in sorted((self.folder / "ecostress").glob(f"{name}_*.tif")):
            os.link(file, home / "ecostress" / file.name)
        if not whole:
            lst = home / "ecostress" / f"{name}_LST.tif"
            content = lst.read_bytes()
            lst.unlink()  # the archive's own file stays as it is
            lst.write_bytes(content[: len(content) // 2])

    def hide(self, home: Path, name: str) -> None:
        """Take a granule out of a region's folder."""
        for file in (home / "ecostress").glob(f"{name}_*.tif"):
            file.unlink()


def _write(folder: Path, granule: str, seed: int) -> None:
    """Layers that show where each pixel of a mosaic comes from; parts of it are missing."""
    rng = np.random.default_rng(seed)
    shape = (SIDE, SIDE)
    lst = rng.uniform(290, 310, shape).astype(np.float32)
    lst[rng.random(shape) < 0.3] = np.nan
    layers: dict[str, np.ndarray] = {
        "LST": lst,
        "EmisWB": rng.uniform(0.9, 1.0, shape).astype(np.float32),
        "QC": np.where(np.isnan(lst), np.uint16(qc.FILL), np.uint16(0)),
        "cloud": (rng.random(shape) < 0.1).astype(np.uint8),
        "water": np.zeros(shape, np.uint8),
    }
    for layer, values in layers.items():
        with rasterio.open(
            folder / f"{granule}_{layer}.tif", "w", driver="GTiff", width=SIDE, height=SIDE,
            count=1, dtype=values.dtype, crs="EPSG:32630",
            transform=from_origin(LEFT, TOP, STEP, STEP),
        ) as target:  # fmt: skip
            target.write(values, 1)


def _region() -> str:
    return f"""
name = "archive"
[area]
bounds = [{LEFT}, {TOP - SIDE * STEP}, {LEFT + SIDE * STEP}, {TOP}]
crs = "EPSG:32630"
resolution = {STEP}
[period]
start = 2023-01-01
end = 2023-04-30
[modalities.thermal]
bands = ["lst", "emissivity"]
max_cloud = 1.0
max_bad = 1.0
[[sources]]
kind = "ecostress"
name = "ecostress"
path = "ecostress"
"""
