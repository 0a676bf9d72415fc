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
from cube.quality import Flag
from cube.region import Region
from cube.scene import Coverage, Granule, Reading, mosaic
from cube.store import Cube
from cube.sun import centre, local_solar_time, sun_elevation
from pipelines.outcome import Outcome, Verdict, screen
from pipelines.plan import Action, Work, floor, is_settled, note, out_of_reach, superseded

log = logging.getLogger("thermocube.ingest")


@dataclass(frozen=True, slots=True)
class _Taken:
    """A granule that could be read, and the deliveries it is used instead of."""

    granule: Granule
    reading: Reading
    instead_of: tuple[Row, ...]

    @property
    def measured(self) -> bool:
        """Whether any pixel of it lies inside the region."""
        return bool(((self.reading.qc & int(Flag.MISSING)) == 0).any())


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
        layouts = {key: value for key, value in self.layouts.items() if key == work.scene.modality}
        return dataclasses.replace(self, ledger=Ledger(rows), layouts=layouts)

    def judge(self, work: Work) -> Outcome:
        """Read a scene and decide what it becomes.

        A granule that cannot be read never takes pixels out of the cube: if an earlier delivery
        of it is stored, the stored scene stays as it is until the new one can be read. What
        failed last time is read first, and if it fails again nothing else is.
        """
        tried = _Tried(self, work)
        if work.action is Action.RETRY and self._stands(work, tried):
            return Outcome(work, tried.failed, read=tried.size)
        taken: list[_Taken] = []
        incomplete = False
        for newest in work.scene.granules:
            result = self._first_readable(work, newest, tried)
            if result is not None:
                taken.append(result)
            else:
                incomplete = incomplete or self._stored_scene(newest.key) is not None
        if not taken or incomplete or (tried.failed and self._is_stored(work, taken)):
            return Outcome(work, (*self._kept(work, taken), *tried.failed), read=tried.size)
        return self._decide(work, taken, tried)

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
            for granule in work.deliveries[newest.key] or (newest,):
                if self._settled(work, granule):
                    break
                if out_of_reach(self.ledger.get(granule.id), granule):
                    continue
                if not granule.assets or tried.read(granule) is not None:
                    return False
        return bool(tried.failed)

    def _first_readable(self, work: Work, newest: Granule, tried: _Tried) -> _Taken | None:
        versions = work.deliveries[newest.key] or (newest,)
        if out_of_reach(self.ledger.get(versions[0].id), versions[0]):
            return None
        for index, granule in enumerate(versions):
            reading = tried.read(granule)
            if reading is not None:
                older = [superseded(old, granule) for old in versions[index + 1 :]]
                older += self._retired(granule, {version.id for version in versions})
                return _Taken(granule, reading, tuple(older))
        return None

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

    def _stored_scene(self, key: str) -> datetime | None:
        return next((row.scene for row in self.ledger.of(key) if row.scene is not None), None)

    def _is_stored(self, work: Work, taken: Sequence[_Taken]) -> bool:
        """Whether the readable granules are exactly those of the one stored scene."""
        rows = [self.ledger.get(entry.granule.id) for entry in taken]
        return len(work.stored) == 1 and all(
            row is not None
            and (row.status is Status.EMPTY or row.scene == work.stored[0])
            and row.settings == work.settings
            and row.fingerprint == entry.granule.fingerprint
            for row, entry in zip(rows, taken, strict=True)
        )

    def _kept(self, work: Work, taken: Sequence[_Taken]) -> list[Row]:
        """Rows of granules that stay as they are stored, now with others beside them."""
        rows = [self.ledger.get(entry.granule.id) for entry in taken]
        return [
            dataclasses.replace(row, group=work.digest)
            for row, entry in zip(rows, taken, strict=True)
            if row is not None
            and row.group != work.digest
            and is_settled(row, entry.granule, row.group, work.settings)
        ]

    def failure(self, work: Work, granule: Granule, kind: str, reason: str) -> Row:
        """The row of a granule that could not be read; counts its tries."""
        before = self.ledger.get(granule.id)
        return dataclasses.replace(
            note(granule, Status.FAILED, rule=kind, reason=reason),
            tries=before.tries + 1 if before and before.status is Status.FAILED else 1,
            scene=before.scene if before else None,
            group=work.digest,
            settings=work.settings,
        )

    def _retired(self, granule: Granule, shown: set[str]) -> list[Row]:
        """Rows of older versions that stand in the ledger although their files are gone."""
        return [
            dataclasses.replace(
                row,
                status=Status.SUPERSEDED,
                rule="",
                reason=f"newer version in use: {granule.id}",
                figure=float("nan"),
                limit=float("nan"),
                scene=None,
                group="",
                settings="",
                tries=1,
            )
            for row in self.ledger.of(granule.key)
            if row.granule not in shown and row.version < granule.version
        ]

    def _decide(self, work: Work, taken: Sequence[_Taken], tried: _Tried) -> Outcome:
        inside = [entry for entry in taken if entry.measured]
        reading = mosaic([entry.reading for entry in inside or taken])
        coverage = Coverage.of(reading.qc)
        settings = self.region.modalities[work.scene.modality]
        verdict = screen(coverage, settings, measured=bool(inside))
        step = None if verdict else self._step(inside, reading, coverage)
        rows = [self._row(work, entry, verdict, step) for entry in taken]
        rows += [row for entry in taken for row in entry.instead_of]
        return Outcome(work, (*rows, *tried.failed), step, work.stored, tried.size)

    def _row(
        self, work: Work, entry: _Taken, verdict: Verdict | None, step: timeline.Step | None
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
        return dataclasses.replace(row, group=work.digest, settings=work.settings)

    def _step(self, taken: Sequence[_Taken], reading: Reading, coverage: Coverage) -> timeline.Step:
        time = floor(min(entry.granule.time for entry in taken if entry.granule.time is not None))
        longitude, latitude = centre(self.region.grid)
        instant = np.array([time.replace(tzinfo=None)], dtype="datetime64[ns]")
        layout = self.layouts.get(taken[0].granule.modality)
        return timeline.Step(
            time,
            layout.encode(reading) if layout else reading,
            tuple(entry.granule.id for entry in taken),
            "+".join(sorted({entry.granule.platform for entry in taken})),
            coverage,
            float(sun_elevation(instant, longitude, latitude)[0]),
            float(local_solar_time(instant, longitude)[0]),
        )


@lru_cache(maxsize=8)
def _cube(location: str, options: str, snapshot: str) -> Cube:
    """Open a cube once a process; rarely needed, when a granule's files are gone."""
    return Cube.open(location, storage_options=json.loads(options)).at(snapshot)
