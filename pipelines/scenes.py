"""One planned scene: its granules read, laid over one another, and judged."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

import numpy as np

from cube import timeline
from cube.encoding import Layout
from cube.errors import GranuleError
from cube.ledger import Ledger, Row, Status
from cube.region import Region
from cube.scene import Coverage, Granule, Reading, mosaic
from cube.store import Cube
from cube.sun import centre, sun
from pipelines.outcome import Outcome, Verdict, screen
from pipelines.plan import Action, Work, floor, is_settled, note, out_of_reach, superseded
from pipelines.standing import (
    HELD_BACK,
    Taken,
    is_stored,
    regrouped,
    retired,
    torn,
    waiting,
    why_held,
    with_stored,
)

log = logging.getLogger("thermocube.ingest")


class _Tried:
    """Granules read for one scene: each once, what came of it kept."""

    def __init__(self, desk: Desk, work: Work) -> None:
        self._desk = desk
        self._work = work
        self._readings: dict[str, Reading | None] = {}
        self._failed: list[Row] = []
        self.size = 0
        """Bytes of the files that were read."""

    @property
    def failed(self) -> tuple[Row, ...]:
        """Rows of the granules that could not be read."""
        return tuple(self._failed)

    def read(self, granule: Granule) -> Reading | None:
        """Read a granule; None if that fails, or failed before."""
        if granule.id not in self._readings:
            self._readings[granule.id] = self._read(granule)
            self.size += granule.size
        return self._readings[granule.id]

    def _read(self, granule: Granule) -> Reading | None:
        try:
            return self._desk.read(granule)
        except GranuleError as error:
            self._fail(granule, error.kind, str(error))
        except Exception as error:
            log.exception("granule %s", granule.id)
            self._fail(granule, "unexpected", f"{type(error).__name__}: {error}")
        return None

    def _fail(self, granule: Granule, kind: str, reason: str) -> None:
        self._failed.append(self._desk.failure(self._work, granule, kind, reason))


@dataclass(frozen=True)
class Desk:
    """Judges scenes against one state of a cube.

    Holds no cube and nothing large, so that it goes to a worker as it is; safe to use from
    several threads.
    """

    region: Region
    ledger: Ledger
    snapshot: str
    """Of the cube that `ledger` belongs to."""
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    """By modality, how its scenes are encoded; others stay as they were read."""

    def narrowed(self, work: Work) -> Desk:
        """The same desk with only those ledger rows that one scene is judged by."""
        granules = [
            *work.scene.granules,
            *(one for many in work.deliveries.values() for one in many),
        ]
        rows = [row for granule in granules for row in self.ledger.of(granule.key)]
        if not all(granule.assets for granule in work.scene.granules):
            for time in work.stored:
                rows += self.ledger.in_scene(work.scene.modality, time)
        layouts = {key: value for key, value in self.layouts.items() if key == work.scene.modality}
        return dataclasses.replace(self, ledger=Ledger(rows), layouts=layouts)

    def judge(self, work: Work) -> Outcome:
        """Read a scene and decide what it becomes.

        What can be read becomes the scene, though others of the pass fail. But a granule that
        cannot be read never takes pixels out of the cube: if it, or an earlier delivery of it, is
        stored, the stored scene stays as it is until it can be read. What failed last time is
        read first, and if it fails again nothing else is.
        """
        tried = _Tried(self, work)
        if work.action is Action.RETRY and self._stands(work, tried):
            return Outcome(work, tried.failed, read=tried.size)
        taken: list[Taken] = []
        stays = False
        for newest in work.scene.granules:
            result = self._first_readable(work, newest, tried)
            if result is not None:
                taken.append(result)
            else:
                stays = stays or self._stored_scene(newest.key) is not None
        stays = stays or any(row.scene is not None for row in tried.failed)
        if not taken or (tried.failed and is_stored(self.ledger, work, taken)):
            return self._outcome(work, tried.failed, tried)
        whole = None if stays else with_stored(self.ledger, taken)
        return self._wait(work, taken, tried) if whole is None else self._decide(work, whole, tried)

    def _outcome(
        self, work: Work, rows: Sequence[Row], tried: _Tried, step: timeline.Step | None = None
    ) -> Outcome:
        rows = (*rows, *regrouped(self.ledger, work, rows))
        return Outcome(work, rows, step, read=tried.size)

    def _wait(self, work: Work, taken: Sequence[Taken], tried: _Tried) -> Outcome:
        """Leave a stored scene as it is; what would go into it waits, and the ledger says so."""
        reason = f"it can be read, but {why_held(taken, tried.failed)}"
        held = waiting(self.ledger, taken)
        rows = [self.failure(work, granule, HELD_BACK, reason) for granule in held]
        return self._outcome(work, (*tried.failed, *rows), tried)

    def together(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """What may be committed of scenes that take the place of the same stored ones.

        If one of them cannot take its part of a stored scene over, all leave it as it is.
        """
        names = torn(self.ledger, outcomes)
        why = f"it can be read, but its stored scene also holds {', '.join(names)}, which cannot"
        return [self._held_back(one, why) for one in outcomes] if names else list(outcomes)

    def _held_back(self, outcome: Outcome, reason: str) -> Outcome:
        rows = {row.granule: row for row in outcome.rows if row.failing}
        for granule in outcome.work.scene.granules:
            if granule.assets and granule.id not in rows:
                rows[granule.id] = self.failure(outcome.work, granule, HELD_BACK, reason)
        return Outcome(outcome.work, tuple(rows.values()), read=outcome.read)

    def lost(self, work: Work, reason: str) -> Outcome:
        """The outcome of a scene whose reading took its worker down, again and again."""
        rows = [
            self.failure(work, granule, "worker_lost", reason)
            for granule in work.scene.granules
            if granule.assets and not self._settled(work, granule)
        ]
        return Outcome(work, tuple(rows), lost=True)

    def _settled(self, work: Work, granule: Granule) -> bool:
        return is_settled(self.ledger.get(granule.id), granule, work.digest, work.settings)

    def _stands(self, work: Work, tried: _Tried) -> bool:
        """Whether all that was open last time still cannot be read; reads nothing else."""
        for newest in work.scene.granules:
            for granule in self._versions(work, newest):
                if self._settled(work, granule):
                    break
                if out_of_reach(self.ledger.get(granule.id), granule):
                    continue
                if not granule.assets or tried.read(granule) is not None:
                    return False
        return bool(tried.failed)

    def _first_readable(self, work: Work, newest: Granule, tried: _Tried) -> Taken | None:
        versions, known = self._versions(work, newest), self.ledger.of(newest.key)
        if out_of_reach(self.ledger.get(versions[0].id), versions[0]):
            return None
        if not versions[0].assets and not self._is_stored(versions[0]):
            return None  # Neither its files nor the cube show it: what its row says stands.
        for index, granule in enumerate(versions):
            if any(row.scene and row.version > granule.version for row in known):
                return None  # What is stored is newer.
            reading = tried.read(granule)
            if reading is not None:
                older = [superseded(old, granule) for old in versions[index + 1 :]]
                older += retired(self.ledger, granule, {version.id for version in versions})
                return Taken(granule, reading, tuple(older))
        return None

    def _versions(self, work: Work, newest: Granule) -> tuple[Granule, ...]:
        """Deliveries of an acquisition, the newest first, if only the cube shows it still."""
        found = work.deliveries[newest.key]
        gone = not newest.assets and self._is_stored(newest)
        return (newest, *found) if gone else found or (newest,)

    def read(self, granule: Granule) -> Reading:
        """Read one granule, or what the cube holds of it if no source shows it any more."""
        bands = self.region.bands(granule.modality)
        if granule.assets:
            source = next(entry for entry in self.region.sources if entry.name == granule.source)
            return source.read(granule, self.region.grid_of(granule.modality), bands)
        scene = self._stored_scene(granule.key)
        if scene is None:
            return Reading.empty(len(bands), self.region.grid_of(granule.modality))
        cube = _cube(self.region.location, json.dumps(self.region.storage_options), self.snapshot)
        return timeline.read_step(cube.session, granule.modality, scene)

    def _is_stored(self, granule: Granule) -> bool:
        row = self.ledger.get(granule.id)
        return row is not None and row.scene is not None

    def _stored_scene(self, key: str) -> datetime | None:
        return next((row.scene for row in self.ledger.of(key) if row.scene is not None), None)

    def failure(self, work: Work, granule: Granule, kind: str, reason: str) -> Row:
        """The row of a granule that could not be read; counts its tries.

        One that is in the cube stays there, and its row says what was read before.
        """
        before = self.ledger.get(granule.id)
        if before is not None and before.scene is not None:
            row = dataclasses.replace(before, rule=kind, reason=reason)
        else:
            row = note(granule, Status.FAILED, rule=kind, reason=reason)
            row = dataclasses.replace(row, settings=work.settings)
        tries = before.tries + 1 if before is not None and before.failing else 1
        return dataclasses.replace(row, tries=tries, group=work.digest)

    def _decide(self, work: Work, taken: Sequence[Taken], tried: _Tried) -> Outcome:
        inside = [entry for entry in taken if entry.measured]
        reading = mosaic([entry.reading for entry in inside or taken])
        coverage = Coverage.of(reading.qc)
        settings = self.region.modalities[work.scene.modality]
        verdict = screen(coverage, settings, measured=bool(inside))
        step = None if verdict else self._step(inside, reading, coverage)
        rows = [self._row(work, entry, verdict, step) for entry in taken]
        rows += [row for entry in taken for row in entry.instead_of]
        outcome = self._outcome(work, (*rows, *tried.failed), tried, step)
        return dataclasses.replace(outcome, remove=work.stored)

    def _row(
        self, work: Work, entry: Taken, verdict: Verdict | None, step: timeline.Step | None
    ) -> Row:
        if not entry.measured:
            settings = self.region.modalities[work.scene.modality]
            verdict = screen(Coverage(0, 0, 0), settings, measured=False)
        if verdict is None:
            assert step is not None
            row = dataclasses.replace(note(entry.granule, Status.INGESTED), scene=step.time)
        else:
            row = note(entry.granule, verdict.status, rule=verdict.rule, reason=verdict.reason)
            row = dataclasses.replace(row, figure=verdict.figure, limit=verdict.limit)
        if not entry.granule.assets and (before := self.ledger.get(row.granule)) is not None:
            # What was read when its files were there is what they are known by if they come back.
            row = dataclasses.replace(row, fingerprint=before.fingerprint)
        return dataclasses.replace(row, group=work.digest, settings=work.settings)

    def _step(self, taken: Sequence[Taken], reading: Reading, coverage: Coverage) -> timeline.Step:
        time = floor(min(entry.granule.time for entry in taken if entry.granule.time is not None))
        longitude, latitude = centre(self.region.grid)
        instant = np.array([time.replace(tzinfo=None)], dtype="datetime64[ns]")
        above = sun(instant, longitude, latitude)
        layout = self.layouts.get(taken[0].granule.modality)
        return timeline.Step(
            time,
            layout.encode(reading) if layout else reading,
            tuple(entry.granule.id for entry in taken),
            "+".join(sorted({entry.granule.platform for entry in taken})),
            coverage,
            float(above.elevation[0]),
            float(above.local_solar_time[0]),
        )


@lru_cache(maxsize=8)
def _cube(location: str, options: str, snapshot: str) -> Cube:
    """Open a cube once a process; rarely needed, when a granule's files are gone."""
    return Cube.open(location, storage_options=json.loads(options)).at(snapshot)
