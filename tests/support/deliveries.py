"""Deliver simulated granules to a region bit by bit, and compare the cubes that come of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import xarray as xr

from cube.region import Region
from cube.store import Cube
from pipelines.simulate import Simulation


def granules_of(simulation: Simulation) -> list[str]:
    """Ids of all ECOSTRESS granules that lie in the simulation's folder."""
    files = (simulation.folder / "ecostress").glob("*.tif")
    return sorted(
        {file.name.rsplit("_", 1)[0].removesuffix("_LST").removesuffix("_view") for file in files}
    )


def deliver(simulation: Simulation, home: Path, names: list[str]) -> None:
    """Put the files of some granules into a region's folder."""
    target = home / "ecostress"
    target.mkdir(exist_ok=True)
    for name in names:
        for file in (simulation.folder / "ecostress").glob(f"{name}_*.tif"):
            shutil.copyfile(file, target / file.name)


def at_home(simulation: Simulation, home: Path, names: list[str]) -> Region:
    """A region of its own, with some of the granules."""
    shutil.copyfile(simulation.region, home / "region.toml")
    shutil.copyfile(simulation.folder / "geology.gpkg", home / "geology.gpkg")
    deliver(simulation, home, names)
    return Region.load(home / "region.toml")


def ledger_of(cube: Cube) -> pd.DataFrame:
    """The ledger without what depends on when and how often it was written."""
    frame = cube.ledger.to_frame().drop(columns=["updated", "tries"])
    return frame.sort_values("granule", ignore_index=True)


def assert_same(left: Cube, right: Cube) -> None:
    """Two cubes hold the same scenes, labels and ledger."""
    assert left.groups() == right.groups()
    for group in ("thermal", "labels"):
        xr.testing.assert_identical(
            left.dataset(group, chunks=None).load(), right.dataset(group, chunks=None).load()
        )
    pd.testing.assert_frame_equal(ledger_of(left), ledger_of(right))
