"""Kill an ingest at random moments: only whole scenes are seen, and a rerun completes."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cube.errors import CubeNotFoundError
from cube.ledger import Status
from cube.store import Cube
from deliveries import assert_same, at_home, granules_of
from pipelines.ingest import ingest
from pipelines.simulate import Simulation

ROOT = Path(__file__).resolve().parents[2]


def start(region: Path) -> subprocess.Popen[bytes]:
    """An ingest in a process of its own, a commit a scene."""
    command = [sys.executable, "-m", "pipelines.cli", "ingest", str(region), "--batch", "1"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for_commits(cube: Path, count: int) -> None:
    """Wait until so many commits are visible, so that kills do not all fall on the start-up."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if len(Cube.open(cube).history()) >= count:
                return
        except CubeNotFoundError:
            pass
    pytest.fail(f"the ingest made no {count} commits within two minutes")


def assert_only_whole_scenes(cube: Cube, reference: Cube) -> int:
    """Every scene that is there is one of the undisturbed run, or its older version, whole."""
    scenes = cube.dataset("thermal", chunks=None).load()
    complete = reference.dataset("thermal", chunks=None).load()
    known = {str(ids): index for index, ids in enumerate(complete["granules"].values)}
    times = scenes["time"].values
    assert (np.diff(times) > np.timedelta64(0, "ns")).all()
    ledger = cube.ledger
    for index, ids in enumerate(scenes["granules"].values):
        assert str(ids) in known
        mine, whole = scenes.isel(time=index), complete.isel(time=known[str(ids)])
        np.testing.assert_array_equal(mine["imagery"], whole["imagery"])
        np.testing.assert_array_equal(mine["qc"], whole["qc"])
        for granule in str(ids).split(" "):
            row = ledger.get(granule)
            assert row is not None
            assert row.status is Status.INGESTED
    stored = {row.scene for row in ledger if row.scene is not None}
    assert len(stored) == scenes.sizes["time"]
    return scenes.sizes["time"]


def storm(simulation: Simulation, reference: Cube, home: Path, kills: int, seed: int) -> list[int]:
    """Kill again and again at random moments of the writing; return the scenes seen after each."""
    generator = random.Random(seed)
    region = at_home(simulation, home, granules_of(simulation))
    place = Path(region.location)
    seen = []
    for _ in range(kills):
        done = len(Cube.open(place).history()) if place.exists() else 0
        process = start(home / "region.toml")
        wait_for_commits(place, min(done + 1, len(reference.history())))
        time.sleep(generator.uniform(0.0, 0.25))
        process.kill()
        process.wait()
        seen.append(assert_only_whole_scenes(Cube.open(place), reference))
    ingest(region)
    assert_same(Cube.open(place), reference)
    return seen


def test_a_killed_ingest_leaves_whole_scenes_and_a_rerun_completes(
    complete: Simulation, reference: Cube, tmp_path: Path
) -> None:
    assert storm(complete, reference, tmp_path, kills=2, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", [11, 12])
def test_ten_kills(complete: Simulation, reference: Cube, tmp_path: Path, seed: int) -> None:
    seen = storm(complete, reference, tmp_path, kills=5, seed=seed)
    assert seen == sorted(seen)
