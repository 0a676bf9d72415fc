"""One planned scene: its granules read, laid over one another, and judged."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from cube import timeline
from cube.errors import GranuleError
from cube.ledger import Ledger, Row, Status
from cube.quality import Flag
from cube.region import ModalitySettings, Region
from cube.scene import Coverage, Granule, Reading, mosaic
from cube.store import Cube
from cube.sun import centre, local_solar_time, sun_elevation
from pipelines.plan import Work, note, superseded

log = logging.getLogger("thermocube.ingest")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one planned scene, before it is committed."""

    work: Work
    rows: tuple[Row, ...]
    step: timeline.Step | None = None
    """The scene to be written; None if it is rejected or nothing could be read."""
    remove: tuple[datetime, ...] = ()
    """Times of the stored scenes whose place it takes."""

    @property
    def line(self) -> str:
        """One line for a log."""
        head = f"{self.work.scene.modality} {self.work.scene.time:%Y-%m-%d %H:%M:%S}"
        if self.step is None:
            return f"{head} {self.rows[0].status}: {self.rows[0].reason}" if self.rows else head
        coverage = self.step.coverage
        return (
            f"{head} ingested: {coverage.valid_fraction:.1%} of the region valid, "
            f"cloud {coverage.cloud_fraction:.1%}, bad {coverage.bad_fraction:.1%}"
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a scene is not kept."""

    status: Status
    rule: str
    reason: str
    figure: float
    limit: float


def screen(coverage: Coverage, settings: ModalitySettings, *, measured: bool) -> Verdict | None:
    """Decide whether a scene is kept.

    Parameters
    ----------
    coverage
        Its figures.
    settings
        The modality's limits.
    measured
        Whether anything at all was measured inside the region.

    Returns
    -------
    Verdict or None
        The first rule that the scene breaks; None if it is kept.
    """
    if not measured:
        nan = float("nan")
        return Verdict(Status.EMPTY, "", "nothing of it was measured inside the region", nan, nan)
    limits = (
        ("max_cloud", coverage.cloud_fraction, settings.max_cloud, "cloud"),
        ("max_bad", coverage.bad_fraction, settings.max_bad, "bad"),
    )
    for rule, figure, limit, what in limits:
        if figure > limit:
            reason = f"{figure:.1%} of its measured pixels are {what}; the limit is {limit:.1%}"
            return Verdict(Status.REJECTED, rule, reason, figure, limit)
    figure, limit = coverage.valid_fraction, settings.min_valid
    if figure < limit or figure == 0:
        reason = f"{figure:.1%} of the region is valid; the limit is {limit:.1%}"
        return Verdict(Status.REJECTED, "min_valid", reason, figure, limit)
    return None


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


@dataclass(frozen=True)
class Desk:
    """Judges scenes against one snapshot of a cube; safe to use from several threads."""

    region: Region
    cube: Cube
    ledger: Ledger

    def judge(self, work: Work) -> Outcome:
        """Read a scene and decide what it becomes.

        A granule that cannot be read never takes pixels out of the cube: if an earlier delivery
        of it is stored, the stored scene stays as it is until the new one can be read.
        """
        taken: list[_Taken] = []
        failed: list[Row] = []
        incomplete = False
        for newest in work.scene.granules:
            result, errors = self._first_readable(work, newest)
            failed += errors
            if result is not None:
                taken.append(result)
            else:
                incomplete = incomplete or self._stored_scene(newest.key) is not None
        if not taken or incomplete or (failed and self._is_stored(work, taken)):
            return Outcome(work, tuple(failed))
        return self._decide(work, taken, failed)

    def _first_readable(self, work: Work, newest: Granule) -> tuple[_Taken | None, list[Row]]:
        versions = work.deliveries[newest.key] or (newest,)
        failed: list[Row] = []
        for index, granule in enumerate(versions):
            try:
                reading = self._read(granule)
            except GranuleError as error:
                failed.append(self._failure(work, granule, error.kind, str(error)))
            except Exception as error:
                log.exception("granule %s", granule.id)
                reason = f"{type(error).__name__}: {error}"
                failed.append(self._failure(work, granule, "unexpected", reason))
            else:
                older = [superseded(old, granule) for old in versions[index + 1 :]]
                older += self._retired(granule, {version.id for version in versions})
                return _Taken(granule, reading, tuple(older)), failed
        return None, failed

    def _read(self, granule: Granule) -> Reading:
        bands = self.region.bands(granule.modality)
        if granule.assets:
            source = next(entry for entry in self.region.sources if entry.name == granule.source)
            return source.read(granule, self.region.grid_of(granule.modality), bands)
        scene = self._stored_scene(granule.key)
        if scene is None:
            return Reading.empty(len(bands), self.region.grid_of(granule.modality))
        return timeline.read_step(self.cube.session, granule.modality, scene)

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

    def _failure(self, work: Work, granule: Granule, kind: str, reason: str) -> Row:
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

    def _decide(self, work: Work, taken: Sequence[_Taken], failed: Sequence[Row]) -> Outcome:
        inside = [entry for entry in taken if entry.measured]
        reading = mosaic([entry.reading for entry in inside or taken])
        coverage = Coverage.of(reading.qc)
        settings = self.region.modalities[work.scene.modality]
        verdict = screen(coverage, settings, measured=bool(inside))
        step = None if verdict else self._step(inside, reading, coverage)
        rows = [self._row(work, entry, verdict, step) for entry in taken]
        rows += [row for entry in taken for row in entry.instead_of]
        return Outcome(work, (*rows, *failed), step, work.stored)

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
        time = min(entry.granule.time for entry in taken if entry.granule.time is not None)
        longitude, latitude = centre(self.region.grid)
        instant = np.array([time.replace(tzinfo=None)], dtype="datetime64[ns]")
        return timeline.Step(
            time,
            reading,
            tuple(entry.granule.id for entry in taken),
            "+".join(sorted({entry.granule.platform for entry in taken})),
            coverage,
            float(sun_elevation(instant, longitude, latitude)[0]),
            float(local_solar_time(instant, longitude)[0]),
        )
