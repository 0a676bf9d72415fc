"""Check: is what the cube holds fresh, whole, plausible, and what the ledger says it is?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.bands import MODALITIES
from cube.errors import GridError, SourceError
from cube.grid import describe, from_attrs, grid_of, require_same
from cube.ledger import Ledger
from cube.region import Region
from cube.scene import Granule
from cube.store import Cube
from cube.timeline import LAYERS
from pipelines.check_ledger import check_ledger, scenes_of
from pipelines.check_scenes import (
    SceneCheck,
    check_scenes,
    damaged,
    decode_all,
    lost,
    missing_chunks,
    unreadable,
)
from pipelines.findings import GO_BACK, CheckReport, Finding, Severity, error, warning
from pipelines.plan import Action, make_plan

if TYPE_CHECKING:
    import xarray as xr

SAMPLE = 8
"""Scenes of each modality that are read whole: the newest, and others by chance."""

NEWEST = 5
BASELINE = 10
"""Scenes that the share of missing pixels is compared for, and the least to compare them with."""

_DEVIATIONS = 4.0
_LEAST_SPREAD = 0.02
_NAMED = 3

Progress = Callable[[int, int, str], None]


def check(
    cube: Cube,
    region: Region | None = None,
    *,
    now: datetime | None = None,
    max_age: timedelta | None = None,
    sample: int = SAMPLE,
    deep: bool = False,
    search: bool = True,
    workers: int = 2,
    progress: Progress | None = None,
) -> CheckReport:
    """Look a cube over; changes nothing.

    Always: the time axis, the grids, that every chunk of every scene is there, the ledger against
    the scenes, the share of missing pixels of the newest scenes against all others. On a sample
    of scenes, or with `deep` on all: every chunk decodes and passes its checksum, values lie in
    their bands' ranges, a pixel is finite if and only if its flags say so, and the scene's
    fractions are those of its flags.

    Parameters
    ----------
    cube
        Checked at its snapshot.
    region
        With it the sources are searched too: what they hold and the cube neither holds nor
        explains is a finding.
    now
        By default the clock's; also picks the sample, so that each day checks other scenes.
    max_age
        A modality whose newest scene is older is stale; not looked at if None, nor when the
        region's period is over.
    sample
        Scenes of each modality to read.
    deep
        Read all scenes, and every array of every other group.
    search
        Search the region's sources, if there is a region.
    workers
        Threads that read scenes.
    progress
        Told of every scene that was read.
    """
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    job = _Check(cube, moment, sample, deep, workers, progress or (lambda *_: None))
    groups = job.groups()
    for group in groups:
        job.group(group)
    job.scenes()
    job.ledger()
    if max_age is not None:
        job.freshness(max_age, region)
    if region is not None and search:
        job.gaps(region)
    if deep:
        job.others(groups)
    found = sorted(job.found, key=lambda entry: entry.severity is not Severity.ERROR)
    return CheckReport(cube.location, cube.snapshot, tuple(found), dict(job.counts))


@dataclass
class _Check:
    cube: Cube
    now: datetime
    sample: int
    deep: bool
    workers: int
    tell: Progress
    found: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    coords: dict[str, xr.Dataset] = field(default_factory=dict)
    holed: set[tuple[str, int]] = field(default_factory=set)
    """Modality and index of scenes with absent chunks."""

    def groups(self) -> list[str]:
        """Names of the groups, if the snapshot can be read at all."""
        try:
            return self.cube.groups()
        except unreadable() as problem:
            self.found.append(damaged(f"snapshot {self.cube.snapshot}", problem))
            return []

    def group(self, group: str) -> None:
        """Open a group; check its times, its grid and that its chunks are all there."""
        try:
            dataset = self.cube.dataset(group, chunks=None)
        except unreadable() as problem:
            self.found.append(damaged(f"{group}, coordinates", problem))
            return
        self.found += _times(group, dataset)
        self.found += _grid(self.cube, group, dataset)
        if group in MODALITIES:
            self.coords[group] = dataset
            self.found += _baseline(group, dataset)
            self._presence(SceneCheck(self.cube, group, dataset))

    def _presence(self, scenes: SceneCheck) -> None:
        for name in LAYERS:
            path = f"{scenes.modality}/{name}"
            try:
                wanted, absent = missing_chunks(self.cube, path)
            except unreadable() as problem:
                self.found.append(damaged(f"{path}, list of its chunks", problem))
                continue
            self.counts["chunks counted"] += wanted
            self.holed |= {(scenes.modality, place[0]) for place in absent}
            self.found += lost(scenes, name, absent)

    def scenes(self) -> None:
        """Read the sample, or all scenes."""
        todo = [
            (SceneCheck(self.cube, modality, coords), index)
            for modality, coords in self.coords.items()
            for index in self._chosen(modality, coords.sizes["time"])
            if (modality, index) not in self.holed
        ]
        self.found += check_scenes(todo, self.workers, self.tell)
        self.counts["scenes read"] += len(todo)

    def _chosen(self, modality: str, count: int) -> list[int]:
        if self.deep or count <= self.sample:
            return list(range(count))
        chance = np.random.default_rng([self.now.toordinal(), len(modality), count])
        others = chance.choice(count - 1, max(self.sample - 1, 0), replace=False)
        return sorted([*(int(index) for index in others), count - 1][: self.sample or None])

    def ledger(self) -> None:
        """Hold the ledger against the scenes."""
        try:
            ledger = self.cube.ledger
        except unreadable() as problem:
            self.found.append(damaged("ledger", problem))
            return
        scenes = {
            modality: scenes_of(coords["time"].values, coords["granules"].values)
            for modality, coords in self.coords.items()
        }
        self.counts["granules"] += len(ledger)
        readable = [row for row in ledger if row.modality in scenes]
        self.found += check_ledger(Ledger(readable), scenes)

    def freshness(self, max_age: timedelta, region: Region | None) -> None:
        """Find modalities that nothing new came for."""
        if region is not None and region.period.period.end < self.now:
            return
        for modality, coords in self.coords.items():
            newest = coords["time"].values[-1:].astype("datetime64[us]").tolist()
            advice = "Run `thermocube plan` to see what the sources hold, and look at the job's log"
            if not newest:
                self.found.append(warning("stale", modality, "it holds no scene at all", advice))
            elif (age := self.now - newest[0].replace(tzinfo=UTC)) > max_age:
                what = (
                    f"its newest scene is of {newest[0]:%Y-%m-%d %H:%M}, {age.days} days old; "
                    f"the limit is {max_age / timedelta(days=1):g} days"
                )
                self.found.append(warning("stale", modality, what, advice))

    def gaps(self, region: Region) -> None:
        """Search the sources; what the cube neither holds nor explains is a finding."""
        granules: list[Granule] = []
        for source in region.sources:
            try:
                granules += source.search(_area(region, source.modality), region.period.period)
            except SourceError as problem:
                what = f"it cannot be searched: {problem}"
                advice = "The cube stays as it is; look after the source and ingest again"
                self.found.append(warning("source_unreachable", source.name, what, advice))
        plan = make_plan(region, granules, self.cube.ledger)
        open_work: Mapping[str, list[str]] = {modality: [] for modality in region.modalities}
        for work in plan.work:
            if work.action in (Action.NEW, Action.REPLACE):
                open_work[work.scene.modality].append(f"{work.scene.time:%Y-%m-%d %H:%M}")
        self.counts["scenes planned"] += len(plan.work)
        for modality, times in open_work.items():
            if times:
                more = ", ..." if len(times) > _NAMED else ""
                what = (
                    f"the sources hold {len(times)} scenes that the cube has not, or has by other "
                    f"granules or settings: {', '.join(times[:_NAMED])}{more}"
                )
                self.found.append(warning("gap", modality, what, "Run `thermocube ingest`"))

    def others(self, groups: Iterable[str]) -> None:
        """Decode every chunk of every array that is no scene layer."""
        import zarr

        for group in groups:
            node = zarr.open_group(self.cube.session.store, path=group, mode="r")
            for name in node.array_keys():
                if group not in MODALITIES or name not in LAYERS:
                    self.found += decode_all(self.cube, f"{group}/{name}")
                    self.counts["other arrays decoded"] += 1


def _area(region: Region, modality: str) -> Any:
    return region.grid_of(modality) if hasattr(region, "grid_of") else region.grid


def _times(group: str, dataset: xr.Dataset) -> Iterator[Finding]:
    if "time" not in dataset.dims:
        return
    times = dataset["time"].values
    steps = np.diff(times.astype("datetime64[ns]").astype(np.int64))
    for index in np.flatnonzero(steps <= 0):
        first, second = times[index : index + 2].astype("datetime64[ms]")
        what = f"the scene of {first} is followed by one of {second}"
        yield error("time_order", f"{group}, time {index + 1}", what, GO_BACK)


def _grid(cube: Cube, group: str, dataset: xr.Dataset) -> Iterator[Finding]:
    from odc.geo.geobox import GeoBox

    if not {"y", "x"} <= set(dataset.dims):
        return
    whole = cube.grid
    try:
        found = grid_of(dataset)
        if found.crs == whole.crs:
            found = GeoBox(found.shape, found.affine, whole.crs)  # which names it shorter
        expected = from_attrs(dataset.attrs) if "proj:transform" in dataset.attrs else whole
        if group in MODALITIES or group.split("/")[0] in ("labels", "predictions"):
            require_same(expected, found, f"group {group}")
        if expected.crs != whole.crs or found.crs != whole.crs:
            raise GridError(f"its CRS is that of {describe(found)}; the cube's {describe(whole)}")
    except GridError as problem:
        yield error("grid", group, str(problem), GO_BACK)


def _baseline(modality: str, dataset: xr.Dataset) -> Iterator[Finding]:
    """Compare the median share of missing pixels of the newest scenes with that of the others.

    The spread is the median absolute deviation; the limit allows for the error of a median of
    few scenes (1.25 standard deviations / sqrt(n), normal case).
    """
    missing = 1.0 - dataset["valid_fraction"].values
    if len(missing) < NEWEST + BASELINE:
        return
    before, newest = missing[:-NEWEST], float(np.median(missing[-NEWEST:]))
    usual = float(np.median(before))
    spread = max(1.4826 * float(np.median(np.abs(before - usual))), _LEAST_SPREAD)
    limit = _DEVIATIONS * spread * 1.2533 / np.sqrt(NEWEST)
    if abs(newest - usual) > limit:
        what = (
            f"of the newest {NEWEST} scenes half miss {newest:.1%} of their pixels or more; "
            f"before it was {usual:.1%}, give or take {limit:.1%}"
        )
        advice = "Look at the newest scenes: has the product, its cloud mask or its tiling changed?"
        yield warning("missing_share", modality, what, advice)
