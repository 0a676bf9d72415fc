"""Two jobs on one region, a held lock, a full disk, a read-only store."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

import cube.store
from cube.errors import CubeLockedError, StoreError
from cube.ledger import Row
from cube.region import Region
from cube.storage import write_lock
from cube.store import Cube, Transaction
from deliveries import assert_same, at_home, deliver, granules_of, ledger_of
from pipelines.committer import Committer, bundles
from pipelines.ingest import ingest, plan
from pipelines.plan import Work
from pipelines.scenes import Desk
from pipelines.simulate import Simulation

ROOT = Path(__file__).resolve().parents[2]


def start(region: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipelines.cli", "ingest", str(region), *options]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def test_two_processes_started_together_both_finish_and_lose_nothing(
    complete: Simulation, reference: Cube, tmp_path: Path
) -> None:
    region = at_home(complete, tmp_path, granules_of(complete))
    jobs = [start(tmp_path / "region.toml", "--batch", "1") for _ in range(2)]
    errors = [job.communicate(timeout=120)[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], errors
    assert_same(Cube.open(region), reference)
    told = [
        name for each in Cube.open(region).history() for name in each.metadata.get("granules", [])
    ]
    assert len(told) == len(set(told)), "a scene was committed twice"


def test_two_threads_from_the_very_first_commit(
    complete: Simulation, reference: Cube, tmp_path: Path
) -> None:
    region = at_home(complete, tmp_path, granules_of(complete))
    gate = threading.Barrier(2)
    problems: list[BaseException] = []

    def job() -> None:
        try:
            gate.wait()
            ingest(region, batch=1, workers=1)
        except BaseException as problem:
            problems.append(problem)
            raise

    jobs = [threading.Thread(target=job) for _ in range(2)]
    for each in jobs:
        each.start()
    for each in jobs:
        each.join()
    assert not problems
    assert_same(Cube.open(region), reference)


class Counted:
    """Counts the scenes that are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: list[str] = []
        judge = Desk.judge

        def counting(desk: Desk, work: Work) -> Any:
            self.read.append(work.digest)
            return judge(desk, work)

        monkeypatch.setattr(Desk, "judge", counting)


def test_who_loses_a_race_plans_anew_and_reads_nothing_twice(
    complete: Simulation, reference: Cube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    region = at_home(complete, tmp_path, granules_of(complete))
    counted = Counted(monkeypatch)

    def intrude(done: int, total: int, line: str) -> None:
        if done == 1:
            ingest(region)

    report = ingest(region, batch=1, workers=1, progress=intrude)
    assert report.scenes["written"] < reference.dataset("thermal").sizes["time"]
    assert_same(Cube.open(region), reference)
    # What the loser had read already when the other job came in between, and no more.
    assert len(counted.read) <= len(set(counted.read)) + 1


def test_a_commit_in_every_gap_starves_nobody(
    complete: Simulation, reference: Cube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another job, of another kind, commits before every single batch of ours."""
    region = at_home(complete, tmp_path, granules_of(complete))
    Cube.create(region)
    tries = Committer._try
    count = 0

    def late(self: Committer, outcomes: Any, notes: Any) -> bool:
        nonlocal count
        if count % 2 == 0:
            with Cube.open(region).transaction("another job", {}) as change:
                change.set_attrs({"visits": count})
        count += 1
        return tries(self, outcomes, notes)

    monkeypatch.setattr(Committer, "_try", late)
    counted = Counted(monkeypatch)
    ingest(region, batch=2)
    assert len(counted.read) <= 2 * len(set(counted.read))
    assert_same(Cube.open(region), reference)


def test_a_conflict_on_an_object_store_is_tried_again(
    complete: Simulation, reference: Cube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a lock the commit itself finds out; the same error as Icechunk's, twice."""
    region = at_home(complete, tmp_path, granules_of(complete))
    Cube.create(region)
    commit = Transaction.commit
    conflicts = 2

    def refused(self: Transaction, message: str, lineage: Any) -> None:
        nonlocal conflicts
        if message.startswith("ingest") and conflicts:
            conflicts -= 1
            raise StoreError("another job changed the same group", kind="conflict")
        commit(self, message, lineage)

    monkeypatch.setattr(Transaction, "commit", refused)
    ingest(region)
    assert conflicts == 0
    assert_same(Cube.open(region), reference)


def test_a_lock_that_is_not_let_go_is_one_clear_error(
    complete: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    region = at_home(complete, tmp_path, granules_of(complete))
    ingest(region)
    monkeypatch.setattr(cube.store, "write_lock", partial(write_lock, timeout=0.2))
    with write_lock(region.location), pytest.raises(CubeLockedError, match="nothing is lost"):
        ingest(region)


def test_scenes_that_replace_one_another_are_committed_together(
    complete: Simulation, tmp_path: Path
) -> None:
    region = at_home(complete, tmp_path, granules_of(complete))
    ingest(region)
    text = (tmp_path / "region.toml").read_text()
    (tmp_path / "region.toml").write_text(
        text.replace("[modalities.thermal]", "[modalities.thermal]\npass_gap = 10.0")
    )
    apart = Region.load(tmp_path / "region.toml")
    todo = plan(apart).todo
    sizes = sorted(len(bundle) for bundle in bundles(todo))
    assert sizes[-1] == 2
    assert sum(sizes) == len(todo)
    seen: list[int] = []
    before = Cube.open(region).dataset("thermal").sizes["time"]
    ingest(
        apart,
        batch=1,
        progress=lambda *_: seen.append(Cube.open(region).dataset("thermal").sizes["time"]),
    )
    assert min(seen) >= before


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Forbid writing below a folder, to root as well."""
    if os.geteuid():
        mode = path.stat().st_mode
        path.chmod(0o555)
        try:
            yield
        finally:
            path.chmod(mode)
        return
    bind = ["mount", "--bind", str(path), str(path)]
    if subprocess.run(bind, capture_output=True, check=False).returncode:
        pytest.skip("root may write everywhere, and mounting is not allowed here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(path)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def half_done(simulation: Simulation, home: Path) -> tuple[Region, xr.Dataset, list[Row]]:
    """A cube of half the granules, with the others delivered."""
    names = granules_of(simulation)
    region = at_home(simulation, home, names[: len(names) // 2])
    ingest(region)
    deliver(simulation, home, names)
    cube = Cube.open(region)
    return region, cube.dataset("thermal", chunks=None).load(), list(cube.ledger)


def assert_as_before(region: Region, scenes: xr.Dataset, rows: list[Row]) -> None:
    cube = Cube.open(region)
    xr.testing.assert_identical(cube.dataset("thermal", chunks=None).load(), scenes)
    assert [row.granule for row in cube.ledger] == [row.granule for row in rows]


@pytest.mark.parametrize("what", ["store", "folder"])
def test_a_read_only_store_is_one_clear_error(
    complete: Simulation, reference: Cube, tmp_path: Path, what: str
) -> None:
    region, scenes, rows = half_done(complete, tmp_path)
    place = Path(region.location) if what == "store" else tmp_path
    if what == "folder":
        Path(f"{region.location}.lock").unlink(missing_ok=True)
    forbidden: AbstractContextManager[None] = read_only(place)
    with forbidden:
        assert plan(region).todo
        with pytest.raises(StoreError, match=r"cannot write|cannot be written") as caught:
            ingest(region)
        assert_as_before(region, scenes, rows)
    assert str(region.location) in str(caught.value)
    ingest(region)
    assert_same(Cube.open(region), reference)


def limited(size: int) -> Callable[[], None]:
    """No file may grow beyond this: to a writer it looks like a disk that runs full."""
    return partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("size", [1_000, 8_000])
def test_a_full_disk_is_one_clear_error_and_leaves_the_cube_as_it_was(
    complete: Simulation, reference: Cube, tmp_path: Path, size: int
) -> None:
    region, scenes, rows = half_done(complete, tmp_path)
    command = [sys.executable, "-m", "pipelines.cli", "ingest", str(tmp_path / "region.toml")]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, preexec_fn=limited(size)
    )
    assert run.returncode == 1, run.stderr
    assert "error (disk_full)" in run.stderr
    assert "Traceback" not in run.stderr
    assert "Make room and run again" in run.stderr
    assert_as_before(region, scenes, rows)
    ingest(region)
    assert_same(Cube.open(region), reference)


def test_a_tiny_disk_that_fills_up(complete: Simulation, reference: Cube, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=220k", "none", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a tiny disk needs the right to mount one")
    try:
        region = at_home(complete, tmp_path, granules_of(complete))
        text = (tmp_path / "region.toml").read_text()
        (tmp_path / "region.toml").write_text(f'store = "{disk}/tiny.icechunk"\n{text}')
        region = Region.load(tmp_path / "region.toml")
        with pytest.raises(StoreError, match="cannot be") as caught:
            ingest(region, batch=1)
        assert caught.value.kind == "disk_full", caught.value
        half = Cube.open(region)
        half.dataset("thermal", chunks=None).load()
        assert len(ledger_of(half)) < len(ledger_of(reference))
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        ingest(region)
        assert_same(Cube.open(region), reference)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_cube_that_another_job_has_just_made_is_taken_as_it_is(
    complete: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    region = at_home(complete, tmp_path, granules_of(complete))
    visits = 0

    @contextmanager
    def lock(location: str) -> Iterator[None]:
        """Between two turns of ours another job has its own."""
        nonlocal visits
        with write_lock(location):
            yield
        visits += 1
        if visits == 1:
            Cube.create(region)

    monkeypatch.setattr(cube.store, "write_lock", lock)
    made = Cube.create(region)
    assert [commit.message for commit in made.history()].count(
        f"create cube of region {region.name}"
    ) == 1
    wider = region.model_dump(mode="json", exclude_none=True)
    wider["modalities"]["sar"] = {"bands": ["vv"]}
    visits = 0
    assert "sar" in Cube.create(Region.parse(wider, tmp_path)).groups()
