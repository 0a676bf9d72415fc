"""Rules of time: periods, seasons and times of day, told from the scene coordinates."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import numpy as np

from cube.errors import SelectionError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

Clock = Literal["solar", "utc", "sun"]
MonthDay = tuple[int, int]
YearDay = int | MonthDay | str
Season = str | tuple[YearDay, YearDay]
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


def in_period(dataset: xr.Dataset, period: str | tuple[Instant, Instant]) -> np.ndarray:
    """Which scenes lie in a period, both ends included: bool (time,)."""
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


def in_season(dataset: xr.Dataset, season: Season) -> np.ndarray:
    """Which scenes lie in a season of the year, both ends included: bool (time,).

    Raises
    ------
    SelectionError
        If there is no such season or day.
    """
    if isinstance(season, str):
        if season.lower() not in SEASONS:
            raise SelectionError(
                f"no season is called {season!r}; there are {', '.join(SEASONS)}, "
                'or give two days such as ("09-22", "03-21") or (265, 80)'
            )
        season = SEASONS[season.lower()]
    start, end = season
    time = dataset["time"].dt
    if isinstance(start, int) and isinstance(end, int):
        day, first, last = time.dayofyear.values, _day_of_year(start), _day_of_year(end)
    else:
        day, first, last = (time.month * 100 + time.day).values, _as_date(start), _as_date(end)
    after, before = day >= first, day <= last
    return np.asarray(after & before if first <= last else after | before)


def _day_of_year(day: int) -> int:
    if not 1 <= day <= 366:
        raise SelectionError(f"{day} is no day of the year; they go from 1 to 366")
    return day


def _as_date(day: YearDay) -> int:
    """Month and day as one number, in order of the year."""
    if isinstance(day, int):
        raise SelectionError(f"give both days of a season as numbers, or neither; not {day} alone")
    if isinstance(day, str):
        match = re.fullmatch(r"(\d{1,2})-(\d{1,2})", day)
        month, number = (int(match[1]), int(match[2])) if match else (0, 0)
    else:
        month, number = day
    try:
        datetime(2000, month, number)
    except ValueError as error:
        raise SelectionError(f'{day!r} is no day of the year; write (9, 22) or "09-22"') from error
    return month * 100 + number


def at_hours(dataset: xr.Dataset, time_of_day: str | Hours, clock: Clock) -> np.ndarray:
    """Which scenes were taken at a time of day: bool (time,); see `cube.select.select`.

    Raises
    ------
    SelectionError
        If there is no such time or clock.
    """
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
        return np.asarray((coordinate(dataset, "sun_elevation") > 0) == (time_of_day == "day"))
    start, end = HOURS[time_of_day] if isinstance(time_of_day, str) else time_of_day
    if not (0 <= start <= 24 and 0 <= end <= 24):
        raise SelectionError(f"hours lie between 0 and 24, not {start:g} to {end:g}")
    hour = coordinate(dataset, "local_solar_time") if clock == "solar" else _utc_hour(dataset)
    after, before = hour >= start, hour < end
    return np.asarray(after & before if start <= end else after | before)


def _utc_hour(dataset: xr.Dataset) -> np.ndarray:
    time = dataset["time"].values
    return np.asarray((time - time.astype("datetime64[D]")) / np.timedelta64(1, "h"))


def coordinate(dataset: xr.Dataset, name: str) -> np.ndarray:
    """Read a scene coordinate: (time,).

    Raises
    ------
    SelectionError
        If the data set has none of that name.
    """
    if name not in dataset.coords:
        raise SelectionError(
            f"the data set has no scene coordinate {name!r}; "
            f"it has {', '.join(str(coord) for coord in dataset.coords)}"
        )
    return np.asarray(dataset[name].values)
