"""Thermal signatures: how warm each class is, and how fast it warms and cools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

HEATING = (7.0, 14.0)
"""Hours of local solar time in which ground warms."""
COOLING = (15.0, 6.0)
"""Hours of local solar time in which it cools: the afternoon, evening and night."""
SAND, CLAY = 1, 2
"""Codes of the two classes that the study's hypotheses are about."""


@dataclass(frozen=True, slots=True, eq=False)
class Signatures:
    """Temperature of each class on each date; NaN where a class has too few valid pixels."""

    codes: tuple[int, ...]
    """The classes, in the order of the second axis."""
    median: Floats
    """(time, class), K."""
    low: Floats
    """Lower quartile, (time, class), K."""
    high: Floats
    """Upper quartile, (time, class), K."""
    pixels: npt.NDArray[np.int64]
    """Valid pixels, (time, class)."""

    def of(self, code: int) -> Floats:
        """Median of one class through time, (time,), K; all NaN for one that is not there."""
        if code not in self.codes:
            return np.full(len(self.median), np.nan)
        return np.asarray(self.median[:, self.codes.index(code)])


def signatures(lst: npt.ArrayLike, labels: npt.ArrayLike, *, least: int = 20) -> Signatures:
    """Take the median temperature of each class on each date.

    Parameters
    ----------
    lst
        Land-surface temperature (time, y, x), K; NaN where missing. Read date by date, so that
        anything that gives an array (y, x) for an index will do.
    labels
        Class codes (y, x); class 0 is left out.
    least
        A class with fewer valid pixels on a date has no temperature on it.

    Raises
    ------
    ValueError
        If dates and labels are not on one grid.
    """
    codes_map = np.asarray(labels)
    codes = tuple(int(code) for code in np.unique(codes_map) if code != 0)
    places = [codes_map == code for code in codes]
    dates: Any = lst if hasattr(lst, "shape") else np.asarray(lst)
    if tuple(dates.shape[1:]) != codes_map.shape:
        raise ValueError(
            f"temperatures {tuple(dates.shape)} are not on the grid of the labels, "
            f"{codes_map.shape}"
        )
    quartiles = np.full((3, dates.shape[0], len(codes)), np.nan)
    pixels = np.zeros((dates.shape[0], len(codes)), np.int64)
    for date in range(dates.shape[0]):
        scene = np.asarray(dates[date], np.float64)
        for column, place in enumerate(places):
            values = scene[place]
            values = values[np.isfinite(values)]
            pixels[date, column] = values.size
            if values.size >= max(least, 1):
                quartiles[:, date, column] = np.quantile(values, (0.25, 0.5, 0.75))
    low, median, high = quartiles
    return Signatures(codes, median, low, high, pixels)


def group_medians(values: npt.ArrayLike, groups: npt.ArrayLike) -> dict[Any, Floats]:
    """Median over the dates of each group: per year, season, or day and night.

    Parameters
    ----------
    values
        (time, ...), NaN where missing.
    groups
        Group of each date, (time,).

    Returns
    -------
    dict
        Group, in order, to medians (...); NaN where a group has no value.
    """
    values, groups = np.asarray(values, np.float64), np.asarray(groups)
    return {group: _nanmedian(values[groups == group]) for group in np.unique(groups).tolist()}


class Rate(NamedTuple):
    """A rate of warming, and its interval; all NaN where it cannot be told."""

    estimate: float
    """K/h; negative for cooling."""
    low: float
    high: float
    dates: int
    """Dates that it was worked out from."""


def rate(
    values: npt.ArrayLike,
    hours: npt.ArrayLike,
    days: npt.ArrayLike,
    window: tuple[float, float] = HEATING,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Rate:
    """Slope of temperature against the hour, over all dates in a part of the day.

    No satellite sees a place twice in one morning; what can be told is how scenes of later hours
    differ from those of earlier ones, once the season is taken out.

    Parameters
    ----------
    values
        (time,), K; NaN where missing. Of one class (`Signatures.of`), or the difference of two:
        most of what weather and season do to both is then gone.
    hours
        Local solar time of each date, (time,), 0..24.
    days
        Day of the year of each date, (time,), or of any longer count in days.
    window
        From hour to hour; over midnight if the second is smaller. See `HEATING`, `COOLING`.
    level, resamples, seed
        Of the percentile interval, from resampling dates (pairs bootstrap, Efron & Tibshirani
        1993, section 9.5).

    Returns
    -------
    Rate
        Least-squares slope beside an annual wave; NaN with fewer than 8 dates or all at one hour.
    """
    values, hours, days = (np.asarray(column, np.float64) for column in (values, hours, days))
    start, length = window[0], (window[1] - window[0]) % 24
    since = (hours - start) % 24
    used = np.isfinite(values) & (since <= length)
    number = int(used.sum())
    if number < 8 or np.ptp(since[used]) == 0:
        return Rate(float("nan"), float("nan"), float("nan"), number)
    phase = 2 * np.pi * days[used] / 365.25
    design = np.stack([since[used], np.cos(phase), np.sin(phase), np.ones(number)], axis=1)
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, number, (resamples, number))
    slopes = [_slope(design[draw], values[used][draw]) for draw in draws]
    tails = ((1 - level) / 2, (1 + level) / 2)
    low, high = np.quantile(slopes, tails).tolist()
    return Rate(_slope(design, values[used]), low, high, number)


Verdict = Literal["holds", "does not hold", "cannot be told"]


class Hypothesis(NamedTuple):
    """One of the study's two statements about sand and clay, and what the data say."""

    statement: str
    difference: Rate
    """Rate of sand less that of clay, K/h."""
    verdict: Verdict
    """By whether the interval of the difference is on one side of 0, and on which."""


def hypotheses(
    found: Signatures, hours: npt.ArrayLike, days: npt.ArrayLike, *, seed: int = 0
) -> tuple[Hypothesis, Hypothesis]:
    """Judge whether sand warms and cools faster than clay.

    Works on the difference of the two classes on the same dates.

    Parameters
    ----------
    found
        Signatures of a region.
    hours, days, seed
        See `rate`.
    """
    gap = found.of(SAND) - found.of(CLAY)
    heating = rate(gap, hours, days, HEATING, seed=seed)
    cooling = rate(gap, hours, days, COOLING, seed=seed)
    return (
        Hypothesis(
            "sand gains heat faster than clay during the day", heating, _verdict(heating, 1)
        ),
        Hypothesis(
            "sand loses heat faster than clay after the afternoon", cooling, _verdict(cooling, -1)
        ),
    )


def _verdict(found: Rate, sign: int) -> Verdict:
    low, high = sorted((sign * found.low, sign * found.high))
    if low > 0:
        return "holds"
    return "does not hold" if high < 0 else "cannot be told"


def _slope(design: Floats, values: Floats) -> float:
    return float(np.linalg.lstsq(design, values, rcond=None)[0][0])


def _nanmedian(values: Floats) -> Floats:
    """Median over the first axis; NaN, without a warning, where nothing is there."""
    there = np.isfinite(values).any(axis=0)
    filled = np.where(there, values, 0.0)
    return np.where(there, np.nanmedian(filled, axis=0), np.nan)
