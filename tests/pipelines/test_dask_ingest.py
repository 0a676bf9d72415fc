"""Scenes read by Dask workers: the same cube as by threads, also when workers die."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from cube.errors import ThermocubeError
from cube.ledger import Status
from cube.store import Cube
from deliveries import assert_same, at_home, deliver, granules_of
from pipelines import cluster
from pipelines.ingest import ingest, plan
from pipelines.scenes import Desk
from pipelines.simulate import Simulation


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with cluster.local_cluster(2) as connected:
        yield connected


def test_the_cube_is_the_same_as_with_threads(
    complete: Simulation, reference: Cube, tmp_path: Path, client: Client
) -> None:
    names = granules_of(complete)
    region = at_home(complete, tmp_path, names[: len(names) // 2])
    ingest(region, client=client, batch=3)
    deliver(complete, tmp_path, names)
    report = ingest(region, client=client, batch=2)
    assert report.scenes["written"] > 0
    assert_same(Cube.open(region), reference)
    assert not ingest(region, client=client).changed


def test_a_scheduler_is_found_by_its_address(
    complete: Simulation, reference: Cube, tmp_path: Path, client: Client
) -> None:
    region = at_home(complete, tmp_path, granules_of(complete))
    ingest(region, client=client.scheduler.address)
    assert_same(Cube.open(region), reference)


def test_what_travels_to_a_worker_is_small(complete: Simulation, tmp_path: Path) -> None:
    region = at_home(complete, tmp_path, granules_of(complete))
    ingest(region)
    cube = Cube.open(region)
    desk = Desk(region, cube.ledger, cube.snapshot)
    for work in plan(region).work:
        assert len(pickle.dumps((desk.narrowed(work), work))) < 20_000
    assert pickle.loads(pickle.dumps(desk)).region == region


def test_no_scheduler_is_one_clear_error(
    complete: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_TIMEOUT", 0.5)
    region = at_home(complete, tmp_path, granules_of(complete)[:1])
    with pytest.raises(
        ThermocubeError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9"
    ) as e:
        ingest(region, client="tcp://127.0.0.1:9")
    assert e.value.kind == "scheduler"


def kill_a_worker(client: Client) -> int:
    """SIGKILL one worker process; its nanny starts another."""
    victim = sorted(client.run(os.getpid).values())[0]
    os.kill(victim, signal.SIGKILL)
    return victim


def test_a_worker_killed_in_mid_ingest_costs_a_retry(
    complete: Simulation, reference: Cube, tmp_path: Path, client: Client
) -> None:
    region = at_home(complete, tmp_path, granules_of(complete))
    killed: list[int] = []

    def kill(done: int, total: int, line: str) -> None:
        if done == 1:
            killed.append(kill_a_worker(client))

    report = ingest(region, client=client, batch=1, progress=kill)
    assert killed
    assert not report.failures
    assert_same(Cube.open(region), reference)


DEADLY = """
import os
from cube.sources import EcostressSource

def deadly_after(read):
    def deadly(self, granule, *arguments):
        if granule.id == {granule!r}:
            os._exit(9)
        return read(self, granule, *arguments)
    return deadly

if EcostressSource.read.__name__ != "deadly":  # Loaded more than once.
    EcostressSource.read = deadly_after(EcostressSource.read)
"""
"""Loaded by each worker process: reading one granule takes it down, as want of memory would."""


def test_a_scene_that_kills_every_worker_fails_and_the_run_goes_on(
    complete: Simulation, reference: Cube, tmp_path: Path
) -> None:
    region = at_home(complete, tmp_path, granules_of(complete))
    victim = next(row for row in reference.ledger if row.status is Status.INGESTED).granule
    preload = tmp_path / "deadly.py"
    preload.write_text(DEADLY.format(granule=victim))
    cluster = LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=True,
        dashboard_address="127.0.0.1:0",
        preload=[str(preload)],
    )
    with cluster, Client(cluster, set_as_default=False) as client:
        cluster.scheduler.allowed_failures = 0
        report = ingest(region, client=client)
    row = Cube.open(region).ledger.get(victim)
    assert row is not None
    assert (row.status, row.rule) == (Status.FAILED, "worker_lost")
    scene = reference.ledger.get(victim)
    assert scene is not None
    beside = {row.granule for row in reference.ledger if row.scene == scene.scene}
    assert {failure.granule for failure in report.failures} <= beside
    stored = Cube.open(region).dataset("thermal").sizes["time"]
    assert stored == reference.dataset("thermal").sizes["time"] - 1
    ingest(region)
    assert_same(Cube.open(region), reference)
