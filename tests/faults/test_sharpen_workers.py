"""A Dask cluster of processes sharpens as threads do, and may lose a worker or its scheduler."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from distributed import Client
from typer.testing import CliRunner

from cube.store import Cube
from pipelines import sharpen_layout
from pipelines.cli import app
from pipelines.cluster import local_cluster
from pipelines.sharpen_run import sharpen_cube
from sharpen_cubes import make_cube

ROOT = Path(__file__).resolve().parents[2]
CLOUDS = {"modis_lst": (slice(8, 12), slice(14, 19)), "modis_ndvi": (slice(60, 75), slice(4, 20))}
CLUSTER = """
import sys
from pipelines.cluster import local_cluster

if __name__ == "__main__":
    with local_cluster(1) as client:
        print(client.cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""
COMMAND = """
import sys
from pipelines import cluster, sharpen_layout
from pipelines.cli import main
from pipelines.sharpen_work import SharpenWork

cluster.CONNECT_TIMEOUT = 5.0
keep = SharpenWork.add

def add(*tile):
    keep(*tile)
    print("kept", file=sys.stderr, flush=True)
    sys.stdin.readline()

SharpenWork.add = add
sharpen_layout.TILE, sharpen_layout.CHUNK = 16, 64
main()
"""


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four a scene."""
    monkeypatch.setattr(sharpen_layout, "TILE", 16)
    monkeypatch.setattr(sharpen_layout, "CHUNK", 64)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with local_cluster(2) as client:
        yield client


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> Cube:
    return make_cube(tmp_path_factory.mktemp("workers"), 24, CLOUDS)


def assert_same_maps(cube: Cube, left: str, right: str) -> None:
    one, two = (cube.dataset(f"sharpened/{run}", chunks=None)["lst"] for run in (left, right))
    np.testing.assert_array_equal(np.isnan(one), np.isnan(two))
    assert one.notnull().any() and float(abs(one - two).max()) == 0


@pytest.mark.parametrize("method", ["local_slope", "dms"])
def test_processes_make_the_same_maps_as_threads(cube: Cube, client: Client, method: str) -> None:
    wanted = {"time_of_day": "day"}
    here = sharpen_cube(cube, method, run=f"threads-{method}", wanted=wanted)
    there = sharpen_cube(cube, method, run=f"dask-{method}", wanted=wanted, client=client)
    assert here.consistency == there.consistency and there.tiles == 4
    assert_same_maps(cube, here.run, there.run)


def test_a_killed_worker_costs_nothing_but_time(cube: Cube, client: Client) -> None:
    killed: list[int] = []

    def kill(done: int, total: int, line: str) -> None:
        if not killed:
            nanny = next(iter(client.cluster.workers.values()))
            os.kill(nanny.pid, signal.SIGKILL)
            killed.append(nanny.pid)

    tally = sharpen_cube(cube, "local_slope", run="killed", client=client, on_tile=kill)
    assert killed and tally.scenes == 2
    sharpen_cube(cube, "local_slope", run="undisturbed")
    assert_same_maps(cube, "killed", "undisturbed")


@contextmanager
def cluster_elsewhere(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process with a scheduler, whose worker goes with it; and its address."""
    script = folder / "cluster.py"
    script.write_text(CLUSTER, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, script], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_a_scheduler_that_dies_is_one_clear_error(cube: Cube, tmp_path: Path) -> None:
    region = str(Path(cube.location).parent / "region.toml")
    command = ["sharpen", "run", region, "--run", "lost"]
    with (
        cluster_elsewhere(tmp_path) as (process, address),
        subprocess.Popen(
            [sys.executable, "-c", COMMAND, *command, "--scheduler", address],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True,
        ) as job,
    ):  # fmt: skip
        assert job.stderr is not None
        first = job.stderr.readline()
        process.kill()
        _, rest = job.communicate()
    assert first == "kept\n", first + rest
    assert job.returncode == 1, rest
    told = [line for line in rest.splitlines() if not line.startswith(("[", "kept"))]
    assert len(told) == 1, rest
    assert told[0].startswith("error (scheduler): the Dask scheduler went away in mid-run")
    assert "what is sharpened is kept: run again to go on" in told[0]
    assert "sharpened/lost" not in cube.refresh().groups()
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "of 8 tiles were there, going on" in done.stderr
    sharpen_cube(cube.refresh(), "local_slope", run="found")
    assert_same_maps(cube, "lost", "found")
