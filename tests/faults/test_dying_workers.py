"""A Dask cluster that loses its scheduler or its workers in mid-ingest: nothing is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

from cube.store import Cube
from deliveries import assert_same, at_home, granules_of
from inspection import Figures, Inspector
from pipelines.cluster import local_cluster
from pipelines.ingest import ingest

ROOT = Path(__file__).resolve().parents[2]
Tell = Callable[[str, Figures], None]
WORKERS = 2


@contextmanager
def killer(cluster: LocalCluster, figures: Figures, seed: int, most: int) -> Iterator[None]:
    """SIGKILL worker processes at random moments, at most so many in all; nannies start others."""
    moments = random.Random(seed)
    over = threading.Event()

    def kill() -> None:
        while figures.faults["workers killed"] < most and not over.wait(moments.uniform(0.5, 3.0)):
            # A nanny whose worker dies before it has begun gives up for good: another fault.
            begun = cluster.scheduler.workers.keys()
            nannies = [nanny for nanny in cluster.workers.values() if nanny.worker_address in begun]
            if len(nannies) == WORKERS and (process := moments.choice(nannies).pid):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                    figures.faults["workers killed"] += 1

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def scheduler(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A scheduler and a worker in processes of their own, and the scheduler's address."""
    file = folder / "scheduler.json"
    options = ["--scheduler-file", str(file)]
    place = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    quiet: dict[str, Any] = {"cwd": ROOT, "stderr": subprocess.DEVNULL}
    python = [sys.executable, "-m"]
    with subprocess.Popen(
        [*python, "distributed.cli.dask_scheduler", *place, *options], **quiet
    ) as (first):
        worker = [*python, "distributed.cli.dask_worker", *options, "--nthreads", "1"]
        # What runs on it is imported from where it is started.
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with subprocess.Popen([*worker, "--no-dashboard"], env=environment, **quiet) as second:
            try:
                while not file.exists() or not file.read_text():
                    assert first.poll() is None
                    threading.Event().wait(0.05)
                yield first, json.loads(file.read_text())["address"]
            finally:
                first.kill()
                second.kill()


def test_a_scheduler_that_dies_is_one_clear_error(delivery: Any, tmp_path: Path) -> None:
    region = at_home(delivery.simulation, tmp_path, granules_of(delivery.simulation))
    command = [sys.executable, "-m", "pipelines.cli", "ingest", str(tmp_path / "region.toml")]
    with (
        scheduler(tmp_path) as (process, address),
        subprocess.Popen(
            [*command, "--batch", "1", "--scheduler", address],
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        ) as job,
    ):  # fmt: skip
        assert job.stderr is not None
        first = job.stderr.readline()
        process.kill()
        rest = job.stderr.read()
    assert first.startswith("[1/"), first + rest
    assert job.returncode == 1, rest
    told = [line for line in rest.splitlines() if not line.startswith("[")]
    assert len(told) == 1, rest
    assert told[0].startswith("error (scheduler): the Dask scheduler went away in mid-run")
    assert "run again to go on" in told[0]
    assert Inspector(region, delivery.known, Figures()).look()
    ingest(region)
    assert_same(Cube.open(region), delivery.complete)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_dozens_of_dying_workers(delivery: Any, tmp_path: Path, tell: Tell) -> None:
    figures = Figures()
    kills = int(os.environ.get("THERMOCUBE_SOAK_WORKERS", "40"))
    while figures.faults.total() < kills:
        home = tmp_path / str(figures.finished)
        home.mkdir()
        # Each cube has its own cluster, as one may be left with too few nannies.
        with local_cluster(WORKERS) as client:
            client.cluster.scheduler.allowed_failures = 10
            one_cube(client, delivery, home, kills, figures)
        tell("workers", figures)
    figures.assert_clean()


def one_cube(client: Client, delivery: Any, home: Path, kills: int, figures: Figures) -> None:
    """Make a cube on a cluster whose workers die."""
    region = at_home(delivery.simulation, home, granules_of(delivery.simulation))
    inspector = Inspector(region, delivery.known, figures)
    with killer(client.cluster, figures, seed=figures.finished, most=kills):
        report = ingest(region, client=client, batch=1, progress=lambda *_: inspector.look())
    assert {failure.kind for failure in report.failures} <= {"worker_lost"}
    if report.failures:
        ingest(region, client=client)
    inspector.finish()
