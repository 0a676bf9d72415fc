"""When the sensors pass, and what is special about each pass."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import numpy as np

from pipelines.simulate.fields import generator

if TYPE_CHECKING:
    from pipelines.simulate.settings import SimulationSettings

Kind = Literal["plain", "two_granules", "two_tiles", "overcast", "late", "reprocessed", "edge"]

_SPECIAL: tuple[Kind, ...] = (
    "plain",
    "two_granules",
    "overcast",
    "late",
    "reprocessed",
    "edge",
    "two_tiles",
)
"""Kinds of the first passes, in this order; each occurs in every simulation of seven or more."""
_REPEATED: tuple[Kind, ...] = ("two_granules", "plain", "plain", "edge", "plain", "plain")
"""Kinds of the passes after those, round and round."""

# A real granule (ECOv002_L2T_LSTE_26860_001_10SGD_20230401T203733) ties orbit to time; the
# station goes round 15.5 times a day.
_ORBIT, _ORBIT_TIME, _ORBITS_A_DAY = 26860, datetime(2023, 4, 1, 20, 37, 33, tzinfo=UTC), 15.508
SCENE_STEP = timedelta(seconds=52)
"""Time between the starts of two neighbouring scenes of one orbit."""


@dataclass(frozen=True, slots=True)
class Overpass:
    """One pass of ECOSTRESS over the region."""

    index: int
    kind: Kind
    time: datetime
    """Start of the first granule, UTC, whole seconds."""
    orbit: int
    scene: int
    cloud: float
    """Share of the region under cloud."""
    striped: bool
    """Lines of missing detectors were filled in."""


def orbit_of(time: datetime) -> int:
    """Orbit number of the space station, close to the real one."""
    return _ORBIT + int((time - _ORBIT_TIME) / timedelta(days=1) * _ORBITS_A_DAY)


def overpasses(settings: SimulationSettings) -> list[Overpass]:
    """Lay out the passes of ECOSTRESS in order of time: any hour, one to some days apart.

    The kinds are spread so that all of them occur; only cloud, hour and date are drawn.
    """
    count = settings.ecostress
    random = generator(settings.seed, "schedule")
    step = settings.days / count
    days = [i * step + random.uniform(0.1, 0.8) * step for i in range(count)]
    by_day = random.permutation(count) < round(settings.day_share * count)
    cloudy = random.permutation(count) < round(settings.cloudiness * count)
    passes = []
    for i, at in enumerate(days):
        kind = _SPECIAL[i] if i < len(_SPECIAL) else _REPEATED[i % len(_REPEATED)]
        # UTC; the sun is a quarter of an hour behind. Night wraps past midnight.
        hour = random.uniform(8, 18) if by_day[i] else random.uniform(20, 29) % 24
        time = _midnight(settings) + timedelta(days=int(at), seconds=round(hour * 3600))
        cloud = _cloud(random, kind, bool(cloudy[i]))
        scene = int(random.integers(1, 14))
        passes.append(Overpass(i, kind, time, orbit_of(time), scene, cloud, i % 5 == 0))
    return passes


def orphan_time(settings: SimulationSettings) -> datetime:
    """Time of a pass of which only the QC layer was ever delivered."""
    return _midnight(settings) + timedelta(days=settings.days // 2, hours=12, seconds=794)


def _cloud(random: np.random.Generator, kind: Kind, cloudy: bool) -> float:
    if kind == "overcast":
        return 1.0
    if cloudy and kind == "plain":
        return float(random.uniform(0.15, 0.8))
    return float(random.uniform(0, 0.05)) if random.random() < 0.5 else 0.0


def sentinel1_times(settings: SimulationSettings) -> list[datetime]:
    """Passes of Sentinel-1A, alternately descending (6:26 UTC) and ascending (18:10 UTC)."""
    starts = _spread(settings, settings.sentinel1)
    clock = (timedelta(hours=6, minutes=26, seconds=11), timedelta(hours=18, minutes=10, seconds=4))
    return [start + clock[i % 2] for i, start in enumerate(starts)]


def sentinel2_times(settings: SimulationSettings) -> list[datetime]:
    """Passes of Sentinel-2 at 11:06 UTC."""
    clock = timedelta(hours=11, minutes=6, seconds=19, milliseconds=24)
    return [start + clock for start in _spread(settings, settings.sentinel2)]


def _spread(settings: SimulationSettings, count: int) -> list[datetime]:
    """Evenly spread midnights, in the middle of equal parts of the period."""
    step = settings.days / max(count, 1)
    return [_midnight(settings) + timedelta(days=int((i + 0.5) * step)) for i in range(count)]


def _midnight(settings: SimulationSettings) -> datetime:
    start = settings.start
    return datetime(start.year, start.month, start.day, tzinfo=UTC)
