"""Selections: bands, seasons, times of day and quality limits, without touching a pixel."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cube.align import align, deferred, on_dates_of
from cube.errors import SelectionError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["HOURS", "SEASONS", "align", "on_dates_of", "select"]

Clock = Literal["solar", "utc", "sun"]
MonthDay = tuple[int, int]
Season = str | tuple[MonthDay | str, MonthDay | str]
Hours = tuple[float, float]
Instant = str | datetime | np.datetime64 | None

SEASONS: dict[str, tuple[MonthDay, MonthDay]] = {
    "winter": ((9, 22), (3, 21)),
    "summer": ((3, 22), (9, 21)),
    "djf": ((12, 1), (2, 29)),
    "mam": ((3, 1), (5, 31)),
    "jja": ((6, 1), (8, 31)),
    "son": ((9, 1), (11, 30)),
}
"""First and last day of each season, both included. ``winter`` and ``summer`` are the halves of
the year between the equinoxes, as in the Puertollano study; the names fit the north."""

HOURS: dict[str, Hours] = {"day": (6.0, 18.0), "night": (18.0, 6.0)}
"""First hour, included, and last hour, excluded, of each time of day."""


def select(
    dataset: xr.Dataset,
    *,
    bands: Sequence[str] | None = None,
    period: str | tuple[Instant, Instant] | None = None,
    season: Season | None = None,
    time_of_day: str | Hours | None = None,
    clock: Clock = "solar",
    max_cloud: float | None = None,
    max_bad: float | None = None,
    min_valid: float | None = None,
    mask: str | Sequence[str] = (),
    allow_empty: bool = False,
) -> xr.Dataset:
    """Choose scenes by their coordinates, and bands by name. Lazy: no pixel is read.

    Parameters
    ----------
    dataset
        A modality of a cube: ``imagery(time, band, y, x)``, ``qc(time, y, x)`` and the scene
        coordinates on ``time``.
    bands
        Names, in the order wanted.
    period
        A year, month or day (``"2023"``, ``"2023-06"``), or a first and a last one, both
        included; None leaves an end open. UTC.
    season
        A name of `SEASONS`, or the first and last day as ``(month, day)`` or ``"MM-DD"``, both
        included; the year may turn in between. By UTC date.
    time_of_day
        ``"day"``, ``"night"``, or hours ``(from, until)``; midnight may lie in between.
    clock
        What the hours mean: ``"solar"`` apparent solar time at the region's centre (day is
        06-18 h), ``"utc"`` the UTC hour whatever the longitude (the study's day, 06:00-17:59),
        ``"sun"`` day is when the sun stands above the horizon (takes no hours).
    max_cloud, max_bad
        Largest share of cloud, of otherwise bad pixels. A scene that does not know its share
        is left out.
    min_valid
        Smallest share of valid pixels.
    mask
        Flags whose pixels become NaN, e.g. ``"water"``. The flags themselves stay.
    allow_empty
        Return a data set without scenes instead of raising.

    Returns
    -------
    xarray.Dataset
        Its attribute ``selection`` says, as JSON, how many scenes each rule left out.

    Raises
    ------
    SelectionError
        If a name is unknown, or no scene is left.

    Examples
    --------
    >>> night = select(thermal, season="winter", time_of_day="night", max_cloud=0.05)
    ... # doctest: +SKIP
    """
    from cube.quality import mask as mask_flags

    scenes = _Scenes(dataset)
    scenes.rule("period", period, _in_period)
    scenes.rule("season", season, _in_season)
    scenes.rule("time_of_day", time_of_day, lambda ds, value: _at_hours(ds, value, clock))
    scenes.rule("max_cloud", max_cloud, lambda ds, x: _share(ds, "cloud_fraction", x) <= x)
    scenes.rule("max_bad", max_bad, lambda ds, x: _share(ds, "bad_fraction", x) <= x)
    scenes.rule("min_valid", min_valid, lambda ds, x: _share(ds, "valid_fraction", x) >= x)
    if bands is not None:
        dataset = _with_bands(dataset, [bands] if isinstance(bands, str) else list(bands))
    flags = [mask] if isinstance(mask, str) else list(mask)
    if flags:
        dataset = mask_flags(deferred(dataset), *flags)
    if time_of_day is not None:
        scenes.asked["clock"] = clock
    scenes.asked |= {"bands": bands, "mask": flags or None}
    return scenes.apply(dataset, allow_empty)


class _Scenes:
    """The rules applied so far, and the scenes that each of them left out."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset
        self._keep = np.ones(dataset.sizes["time"], bool)
        self._left_out: dict[str, int] = {}
        self.asked: dict[str, Any] = {}

    def rule(self, name: str, value: Any, test: Callable[[xr.Dataset, Any], np.ndarray]) -> None:
        """Leave out the scenes that fail a test; no value, no rule."""
        if value is None:
            return
        passed = self._keep & test(self._dataset, value)
        self._left_out[name] = int(self._keep.sum() - passed.sum())
        self._keep = passed
        self.asked[name] = value

    def apply(self, dataset: xr.Dataset, allow_empty: bool) -> xr.Dataset:
        if not self._keep.any() and not allow_empty:
            raise SelectionError(self._why_empty())
        asked = {name: value for name, value in self.asked.items() if value is not None}
        record = {
            "scenes": len(self._keep),
            "kept": int(self._keep.sum()),
            "left_out": self._left_out,
            "asked": asked,
        }
        chosen = dataset.isel(time=np.flatnonzero(self._keep))
        return chosen.assign_attrs(selection=json.dumps(record, default=str))

    def _why_empty(self) -> str:
        total = len(self._keep)
        if not total:
            return "the data set holds no scene at all: ingest first"
        steps = ", ".join(f"{name} left out {count}" for name, count in self._left_out.items())
        last = [name for name, count in self._left_out.items() if count][-1]
        return (
            f"the selection is empty: of {total} scenes, {steps}. The last was emptied by {last} = "
            f"{self.asked[last]!r}; relax it, or pass allow_empty=True"
        )


def _with_bands(dataset: xr.Dataset, names: list[str]) -> xr.Dataset:
    known = [str(name) for name in dataset["band"].values]
    unknown = [name for name in names if name not in known]
    if unknown or not names or len(set(names)) < len(names):
        fault = (
            f"there is no band {unknown[0]!r}" if unknown else f"{names} names none or one twice"
        )
        raise SelectionError(f"{fault}; the bands are {', '.join(known)}")
    return dataset.sel(band=names)


def _in_period(dataset: xr.Dataset, period: str | tuple[Instant, Instant]) -> np.ndarray:
    import pandas as pd

    first, last = (period, period) if isinstance(period, str) else period
    times = pd.DatetimeIndex(dataset["time"].values)
    keep = np.ones(len(times), bool)
    if first is not None:
        keep &= times >= span(first).start_time
    if last is not None:
        keep &= times <= span(last).end_time
    return keep


def span(value: str | datetime | np.datetime64) -> pd.Period:
    """The stretch of time that a date names: ``2023-06`` is the whole of June.

    Raises
    ------
    SelectionError
        If it is no date.
    """
    import pandas as pd

    try:
        if isinstance(value, str) and not value.endswith("Z"):
            return pd.Period(value)
        stamp = pd.Timestamp(value)
    except ValueError as error:
        raise SelectionError(
            f"{value!r} is no date; write it like 2023, 2023-06, 2023-06-22 or 2023-06-22T19:32"
        ) from error
    return pd.Period(stamp.tz_convert(None) if stamp.tzinfo else stamp, freq="ns")


def _in_season(dataset: xr.Dataset, season: Season) -> np.ndarray:
    if isinstance(season, str):
        if season.lower() not in SEASONS:
            raise SelectionError(
                f"no season is called {season!r}; there are {', '.join(SEASONS)}, "
                'or give two days such as ("09-22", "03-21")'
            )
        start, end = SEASONS[season.lower()]
    else:
        start, end = (_month_day(day) for day in season)
    time = dataset["time"].dt
    day = (time.month * 100 + time.day).values
    first, last = start[0] * 100 + start[1], end[0] * 100 + end[1]
    after, before = day >= first, day <= last
    return np.asarray(after & before if first <= last else after | before)


def _month_day(day: MonthDay | str) -> MonthDay:
    if isinstance(day, str):
        match = re.fullmatch(r"(\d{1,2})-(\d{1,2})", day)
        month, number = (int(match[1]), int(match[2])) if match else (0, 0)
    else:
        month, number = day
    try:
        datetime(2000, month, number)
    except ValueError as error:
        raise SelectionError(f'{day!r} is no day of the year; write (9, 22) or "09-22"') from error
    return month, number


def _at_hours(dataset: xr.Dataset, time_of_day: str | Hours, clock: Clock) -> np.ndarray:
    if clock not in ("solar", "utc", "sun"):
        raise SelectionError(f"no clock is called {clock!r}; there are solar, utc, sun")
    if isinstance(time_of_day, str) and time_of_day not in HOURS:
        raise SelectionError(
            f"no time of day is called {time_of_day!r}; there are {', '.join(HOURS)}, "
            "or give two hours such as (22, 4)"
        )
    if clock == "sun":
        if not isinstance(time_of_day, str):
            raise SelectionError('clock="sun" knows "day" and "night" only; hours need a clock')
        return np.asarray((_coordinate(dataset, "sun_elevation") > 0) == (time_of_day == "day"))
    start, end = HOURS[time_of_day] if isinstance(time_of_day, str) else time_of_day
    if not (0 <= start <= 24 and 0 <= end <= 24):
        raise SelectionError(f"hours lie between 0 and 24, not {start:g} to {end:g}")
    hour = _coordinate(dataset, "local_solar_time") if clock == "solar" else _utc_hour(dataset)
    after, before = hour >= start, hour < end
    return np.asarray(after & before if start <= end else after | before)


def _utc_hour(dataset: xr.Dataset) -> np.ndarray:
    time = dataset["time"].values
    return np.asarray((time - time.astype("datetime64[D]")) / np.timedelta64(1, "h"))


def _share(dataset: xr.Dataset, name: str, limit: float) -> np.ndarray:
    if not 0 <= limit <= 1:
        raise SelectionError(f"a limit of {limit:g} is no share; 10 % is written 0.1")
    return _coordinate(dataset, name)


def _coordinate(dataset: xr.Dataset, name: str) -> np.ndarray:
    if name not in dataset.coords:
        raise SelectionError(
            f"the data set has no scene coordinate {name!r}; "
            f"it has {', '.join(str(coord) for coord in dataset.coords)}"
        )
    return np.asarray(dataset[name].values)
