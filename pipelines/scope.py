"""Which part of a region's granules a run is about: a span of days, some sources, or all."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol

from cube.errors import RegionError
from cube.region import Region
from cube.scene import Granule, group
from cube.sources.base import Period

MARGIN = timedelta(days=1)
"""Searched beyond both ends of the span, so that no overpass is seen in part."""


class _Dated(Protocol):
    """A granule, or its row in the ledger."""

    @property
    def source(self) -> str: ...
    @property
    def time(self) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class Scope:
    """What a run looks at; everything else is left as it is.

    A scene belongs to the span if any of its granules does, and is then taken whole: an overpass
    that begins before midnight is not torn apart.
    """

    since: date | None = None
    """First day, UTC."""
    until: date | None = None
    """Last day, included."""
    only: tuple[str, ...] = ()
    """Names of sources; all if empty."""

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self == Scope()

    def check(self, region: Region) -> None:
        """Refuse a span that ends before it starts, and sources that the region does not have.

        Raises
        ------
        RegionError
        """
        if self.since and self.until and self.until < self.since:
            raise RegionError(
                f"--since {self.since} lies after --until {self.until}: no day is in between"
            )
        names = [source.name for source in region.sources]
        for name in self.only:
            if name not in names:
                close = difflib.get_close_matches(name, names, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(names)}"
                raise RegionError(f"region {region.name!r} has no source {name!r}; {hint}")

    def period(self, region: Region) -> Period:
        """The days of the span that lie in the region's own period."""
        whole = region.period.period
        start = _midnight(self.since) if self.since else whole.start
        end = _midnight(self.until) + timedelta(days=1) if self.until else whole.end
        start = max(start, whole.start)
        return Period(start, max(start, min(end, whole.end)))

    def wants(self, region: Region, item: _Dated) -> bool:
        """Tell whether a granule, or a ledger row, lies in the scope by itself."""
        if self.only and item.source not in self.only:
            return False
        if item.time is None:
            return self.since is None and self.until is None
        return self.everything or item.time in self.period(region)


def search(region: Region, scope: Scope = Scope()) -> list[Granule]:
    """Ask the sources for the granules of a scope, and for what forms scenes with them.

    Raises
    ------
    RegionError
        If the scope does not fit the region.
    SourceError
        If a source cannot be searched.
    """
    scope.check(region)
    whole = region.period.period
    inner = scope.period(region)
    margin = max([MARGIN, *(timedelta(seconds=2 * gap) for gap in _gaps(region).values())])
    while True:
        start = max(whole.start, inner.start - min(margin, inner.start - whole.start))
        end = min(whole.end, inner.end + min(margin, whole.end - inner.end))
        period = Period(start, end)
        found = [
            granule
            for source in region.sources
            if not scope.only or source.name in scope.only
            for granule in source.search(region.grid_of(source.modality), period)
        ]
        if period == whole or not _cut(region, found, scope, period):
            return found
        margin *= 8


def _cut(region: Region, found: Iterable[Granule], scope: Scope, period: Period) -> bool:
    """Whether a scene of the scope reaches so near an end of the search that it may go on there."""
    whole = region.period.period
    usable = [granule for granule in found if not granule.defect]
    for modality, seconds in _gaps(region).items():
        gap = timedelta(seconds=seconds)
        mine = (granule for granule in usable if granule.modality == modality)
        for scene in group(mine, gap):
            if not any(scope.wants(region, granule) for granule in scene.granules):
                continue
            times = [granule.time for granule in scene.granules if granule.time is not None]
            early = period.start > whole.start and times[0] - period.start <= gap
            late = period.end < whole.end and period.end - times[-1] <= gap
            if early or late:
                return True
    return False


def _gaps(region: Region) -> dict[str, float]:
    return {name: settings.pass_gap for name, settings in region.modalities.items()}


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
