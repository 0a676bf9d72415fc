"""The one who commits: batches of scenes, checked against the cube as it is at that moment."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from time import sleep

from cube import timeline
from cube.encoding import Layout
from cube.errors import StoreError, ThermocubeError
from cube.ledger import Row
from cube.ledger_store import write_rows
from cube.region import Region
from cube.scene import Granule
from cube.storage import cause
from cube.store import Cube, Transaction
from pipelines.outcome import Outcome
from pipelines.plan import Plan, Work, floor, make_plan
from pipelines.readers import Readers, read_ahead
from pipelines.scenes import Desk
from pipelines.scope import Scope
from pipelines.tally import Tally

log = logging.getLogger("thermocube.ingest")

PATIENCE = 100
"""Times that other jobs may commit first before a batch is given up."""


class Committer:
    """One run of an ingest: plan, have scenes read, commit, and plan anew if others did too.

    Each batch is checked against the newest plan before it is written. What another job has done
    meanwhile is dropped from it, everything else stands: a race costs no more than the scenes
    that both have read.
    """

    def __init__(
        self,
        region: Region,
        cube: Cube,
        found: Sequence[Granule],
        scope: Scope,
        tally: Tally,
        batch: int,
        progress: Callable[[int, int, str], None] | None,
    ) -> None:
        self._region = region
        self._cube = cube
        self._found = found
        self._scope = scope
        self._tally = tally
        self._batch = batch
        self._progress = progress
        self._tried: set[str] = set()
        self._suspects: set[str] = set()
        self._total = 0
        self._from_end = False
        self.ledger = cube.ledger
        """As this run knows it; at its end, as it left it."""
        self._base = cube.snapshot

    def run(self, pool: Readers) -> None:
        """Go on until the plan holds nothing that was not tried."""
        first = self._plan()
        self._tally.scenes["skipped"] = len(first.work) - len(first.todo)
        self._total = len(first.todo)
        plan: Plan | None = first
        while plan is not None:
            plan = self._plan() if self._pass(pool, plan) else None

    def _plan(self) -> Plan:
        if self._cube.snapshot != self._base:
            self.ledger, self._base = self._cube.ledger, self._cube.snapshot
        return make_plan(self._region, self._found, self.ledger, self._scope)

    def _pass(self, pool: Readers, plan: Plan) -> bool:
        """Work through a plan until it is done or outdated; False if there was nothing to do."""
        todo = bundles(work for work in plan.todo if work.digest not in self._tried)
        if not todo:
            if plan.notes:
                self._commit([], plan.notes)
            return False
        if self._from_end:
            # Another job works on this region: from its end the two meet in the middle.
            todo.reverse()
        clear = [bundle for bundle in todo if not self._suspected(bundle)]
        works = itertools.chain.from_iterable(clear or todo)
        notes = plan.notes
        held: list[Outcome] = []
        desk = self._desk()
        with closing(read_ahead(pool, desk, works, singly=not clear)) as outcomes:
            for bundle in clear or todo:
                read = list(itertools.islice(outcomes, len(bundle)))
                if any(outcome.lost for outcome in read) and not self._suspected(bundle):
                    self._suspects.update(work.digest for work in bundle)
                    continue
                held += desk.together(read)
                if len(held) >= self._batch:
                    if not self._commit(held, notes):
                        return True
                    held, notes = [], ()
            if held:
                self._commit(held, notes)
        return True

    def _suspected(self, bundle: Sequence[Work]) -> bool:
        """Whether workers died while they read it; it is read again when all else is done, alone.

        A scene that takes its worker down takes those down with it that wait there.
        """
        return any(work.digest in self._suspects for work in bundle)

    def _desk(self) -> Desk:
        session = self._cube.session
        layouts = {name: Layout.of(session, name) for name in self._region.modalities}
        return Desk(self._region, self.ledger, self._base, layouts)

    def _commit(self, outcomes: Sequence[Outcome], notes: Sequence[Row]) -> bool:
        """Commit a batch; False if other jobs committed too, and the plan is outdated."""
        alone = True
        for attempt in range(PATIENCE):
            if self._cube.snapshot != self._base:
                alone = False
                outcomes, notes = self._still_wanted(outcomes)
            if not outcomes and not notes:
                break
            if self._try(outcomes, notes):
                break
            # On an object store many writers are told apart by chance alone.
            sleep(random.uniform(0, 0.05 * min(attempt, 20)))
        else:
            raise StoreError(
                f"{self._cube.location}: other jobs committed {PATIENCE} times while this one "
                "wanted to; nothing is lost, run it again when they are done",
                kind="conflict",
            )
        self._from_end = self._from_end or not alone
        return alone

    def _still_wanted(self, outcomes: Sequence[Outcome]) -> tuple[list[Outcome], Sequence[Row]]:
        """Read the plan anew; keep those outcomes that it still asks for."""
        plan = self._plan()
        wanted = {work.digest: work for work in plan.todo}
        by_work = {outcome.work.digest: outcome for outcome in outcomes}
        kept: list[Outcome] = []
        for bundle in bundles(outcome.work for outcome in outcomes):
            if all(wanted.get(work.digest) == work for work in bundle):
                kept += [by_work[work.digest] for work in bundle]
        log.info("another job committed: %d of %d scenes still due", len(kept), len(outcomes))
        return kept, plan.notes

    def _try(self, outcomes: Sequence[Outcome], notes: Sequence[Row]) -> bool:
        """Write a batch; False if another job committed since the plan was made."""
        now = floor(datetime.now(UTC))
        rows = [row for outcome in outcomes for row in outcome.rows] + list(notes)
        rows = [dataclasses.replace(row, updated=now) for row in rows]
        lineage = {
            "job": "ingest",
            "region": self._region.name,
            "granules": [name for done in outcomes if done.step for name in done.step.granules],
            "statuses": dict(Counter(row.status.value for row in rows)),
        }
        message = f"ingest {sum(outcome.step is not None for outcome in outcomes)} scenes"
        try:
            with told(self._cube.location), self._cube.transaction(message, lineage) as change:
                if change.base != self._base:
                    return False
                _apply(change, outcomes)
                ledger = write_rows(change.session, self.ledger, rows)
        except StoreError as error:
            if error.kind != "conflict":
                raise
            self._cube.refresh()
            return False
        self._base, self.ledger = change.session.snapshot_id, ledger
        self._tally.note(outcomes, rows)
        self._tell(outcomes)
        return True

    def _tell(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            self._tried.add(outcome.work.digest)
            log.info("%s", outcome.line)
            if self._progress:
                done = len(self._tried)
                self._progress(done, max(self._total, done), outcome.line)


def bundles(todo: Iterable[Work]) -> list[list[Work]]:
    """Scenes that take the place of the same stored one, directly or through others, together.

    They must be committed at once: each takes the stored scene out, and between two commits its
    pixels would be gone from the cube.

    Returns
    -------
    list of list of Work
        In order of each bundle's first scene.
    """
    home: dict[tuple[str, datetime], list[Work]] = {}
    order: list[list[Work]] = []
    for work in todo:
        met = list(
            {id(home[place]): home[place] for place in _places(work) if place in home}.values()
        )
        bundle: list[Work] = met[0] if met else []
        if not met:
            order.append(bundle)
        for other in met[1:]:
            bundle += other
            other.clear()
        bundle.append(work)
        home.update(dict.fromkeys(itertools.chain.from_iterable(map(_places, bundle)), bundle))
    return [bundle for bundle in order if bundle]


def _places(work: Work) -> list[tuple[str, datetime]]:
    return [(work.scene.modality, time) for time in work.stored]


def _apply(change: Transaction, outcomes: Sequence[Outcome]) -> None:
    remove: dict[str, set[datetime]] = defaultdict(set)
    steps: dict[str, list[timeline.Step]] = defaultdict(list)
    for outcome in outcomes:
        modality = outcome.work.scene.modality
        remove[modality].update(outcome.remove)
        steps[modality] += [outcome.step] if outcome.step is not None else []
    for modality in sorted(remove):
        if remove[modality] or steps[modality]:
            timeline.apply(change.session, modality, remove[modality], steps[modality])


@contextmanager
def told(location: str) -> Iterator[None]:
    """Turn what the store's libraries raise while writing into one clear error."""
    import icechunk

    try:
        yield
    except ThermocubeError:
        raise
    except (icechunk.IcechunkError, OSError) as error:
        kind, advice = _explained(str(error))
        raise StoreError(
            f"the cube at {location} cannot be written: {cause(error)}; it is as it was before "
            f"this batch. {advice}",
            kind=kind,
        ) from error


def _explained(message: str) -> tuple[str, str]:
    lower = message.lower()
    if "no space" in lower or "file too large" in lower or "quota" in lower:
        return "disk_full", "Make room and run again."
    if "read-only" in lower or "permission denied" in lower or "not permitted" in lower:
        return "read_only", "Make the store writable for this user and run again."
    return "store", "See to the store and run again."
