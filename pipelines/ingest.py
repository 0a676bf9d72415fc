"""Ingest: read the planned scenes, screen them, and commit them in bounded batches."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cube import timeline
from cube.errors import CubeNotFoundError
from cube.labels import rasterise
from cube.ledger import Ledger, Row, Status
from cube.region import Region
from cube.store import Cube, Transaction
from pipelines.plan import Plan, Work, make_plan, search
from pipelines.scenes import Desk, Outcome

log = logging.getLogger("thermocube.ingest")

BATCH = 8
"""Scenes a commit: bounds memory, and what a crash costs."""

Progress = Callable[[int, int, str], None]
"""Called with scenes done, scenes planned, and a line about the last one."""


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What a run did."""

    region: str
    location: str
    snapshot: str
    scenes: dict[str, int]
    """Scenes written, replaced, removed, skipped."""
    granules: dict[str, int]
    """Granules of this run by their new status."""
    ledger: dict[str, int]
    """All granules by status, after the run."""
    failures: tuple[str, ...] = ()
    """``granule: reason`` of everything that will be tried again."""
    commits: int = 0
    labels: str = ""
    """What was done about the label map."""

    @property
    def changed(self) -> bool:
        """Whether the cube is another one than before."""
        return self.commits > 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return dataclasses.asdict(self) | {"changed": self.changed}


def plan(region: Region) -> Plan:
    """Search all sources and say what `ingest` would do; writes nothing.

    Raises
    ------
    SourceError
        If a source cannot be searched.
    """
    return make_plan(region, search(region), _ledger(region))


def _ledger(region: Region) -> Ledger:
    try:
        return Cube.open(region).ledger
    except CubeNotFoundError:
        return Ledger()


@dataclass
class _Run:
    """Counters of one run."""

    scenes: Counter[str] = field(default_factory=Counter)
    granules: Counter[str] = field(default_factory=Counter)
    tried: set[str] = field(default_factory=set)
    failures: dict[str, str] = field(default_factory=dict)
    commits: int = 0

    def note(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self.granules[row.status.value] += 1
            if row.status is Status.FAILED:
                self.failures[row.granule] = row.reason


def ingest(
    region: Region, *, workers: int = 2, batch: int = BATCH, progress: Progress | None = None
) -> IngestReport:
    """Bring a region's cube up to date with its sources.

    Running it twice is running it once; killed at any moment it leaves whole scenes only, and the
    next run goes on from there.

    Parameters
    ----------
    region
        The validated region file; the cube is made if it is not there.
    workers
        Threads that read scenes.
    batch
        Scenes a commit.
    progress
        Told of every scene.

    Raises
    ------
    SourceError
        If a source cannot be searched; the cube stays as it is.
    StoreError, GridError
        If the cube cannot be written or does not fit the region file.
    """
    found = search(region)
    cube = Cube.create(region)
    run = _Run()
    # First, so that a mistake in the region file's mapping shows before an hour of reading.
    labels = write_labels(cube, region, run)
    first = make_plan(region, found, cube.ledger)
    run.scenes["skipped"] = len(first.work) - len(first.todo)
    total = len(first.todo)
    current = first
    while True:
        # A work list from the ledger as it is now: another job may have committed meanwhile.
        todo = [work for work in current.todo if work.digest not in run.tried]
        chosen = _batch(todo, batch)
        if not chosen and not current.notes:
            break
        outcomes = _read(region, cube, chosen, workers)
        if _commit(cube, region, outcomes, current.notes, run):
            for outcome in outcomes:
                run.tried.add(outcome.work.digest)
                log.info("%s", outcome.line)
                if progress:
                    progress(len(run.tried), max(total, len(run.tried)), outcome.line)
        current = make_plan(region, found, cube.ledger)
        if not chosen:
            break
    counts = {status.value: count for status, count in cube.ledger.count().items()}
    failures = tuple(f"{name}: {reason}" for name, reason in sorted(run.failures.items()))
    return IngestReport(
        region.name,
        cube.location,
        cube.snapshot,
        dict(run.scenes),
        dict(run.granules),
        counts,
        failures,
        run.commits,
        labels,
    )


def _batch(todo: Sequence[Work], size: int) -> list[Work]:
    """The first scenes, and with them every scene that takes the place of the same stored one."""
    chosen = list(todo[:size])
    times = {(work.scene.modality, time) for work in chosen for time in work.stored}
    chosen += [
        work
        for work in todo[size:]
        if any((work.scene.modality, time) in times for time in work.stored)
    ]
    return chosen


def _read(region: Region, cube: Cube, chosen: Sequence[Work], workers: int) -> list[Outcome]:
    desk = Desk(region, cube, cube.ledger)
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(desk.judge, chosen))


def _commit(
    cube: Cube, region: Region, outcomes: Sequence[Outcome], notes: Sequence[Row], run: _Run
) -> bool:
    """Write a batch; False if another job committed since the batch was planned."""
    now = datetime.now(UTC)
    rows = [row for outcome in outcomes for row in outcome.rows] + list(notes)
    rows = [dataclasses.replace(row, updated=now) for row in rows]
    lineage = {
        "job": "ingest",
        "region": region.name,
        "granules": [row.granule for row in rows if row.status is Status.INGESTED],
        "statuses": dict(Counter(row.status.value for row in rows)),
    }
    message = f"ingest {sum(outcome.step is not None for outcome in outcomes)} scenes"
    base = cube.snapshot
    with cube.transaction(message, lineage) as change:
        if change.base != base:
            return False
        _apply(change, outcomes, run)
        ledger = cube.ledger.updated(rows)
        change.write("ledger", ledger.to_dataset())
    run.note(rows)
    run.commits += 1
    return True


def _apply(change: Transaction, outcomes: Sequence[Outcome], run: _Run) -> None:
    for modality in sorted({outcome.work.scene.modality for outcome in outcomes}):
        mine = [outcome for outcome in outcomes if outcome.work.scene.modality == modality]
        remove = {time for outcome in mine for time in outcome.remove}
        steps = [outcome.step for outcome in mine if outcome.step is not None]
        if remove or steps:
            timeline.apply(change.session, modality, remove, steps)
        for outcome in mine:
            if outcome.step is not None:
                run.scenes["replaced" if outcome.remove else "written"] += 1
            elif outcome.remove:
                run.scenes["removed"] += 1


def write_labels(cube: Cube, region: Region, run: _Run) -> str:
    """Rasterise the region's label map into the cube, if it is not the one that is there.

    Returns
    -------
    str
        A line about what was done; empty if the region has no labels.
    """
    if region.labels is None:
        return ""
    labels = rasterise(region.labels, region.grid)
    if "labels" in cube.groups() and cube.dataset("labels", chunks=None).load().equals(labels):
        return "label map unchanged"
    with cube.transaction("write label map", {"job": "labels", "region": region.name}) as change:
        change.write("labels", labels)
    run.commits += 1
    return "label map written"
