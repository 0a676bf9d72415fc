"""Sequences: several dates at one place, one after another."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import BaseModel, ConfigDict, Field, model_validator


class Sequence(BaseModel):
    """Which dates of a place make up a sample; by default every date is one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    length: int = Field(default=1, ge=1)
    """Dates a sample. The study takes 5."""
    stride: int | None = Field(default=None, ge=1)
    """Dates from the beginning of one sequence to that of the next; the study takes 3, an
    overlap of 2. By default `length`, so that they do not overlap."""
    max_gap: float | None = Field(default=None, gt=0)
    """Days between two dates of a sequence, at most; by default any number."""

    @model_validator(mode="after")
    def _of_several_dates(self) -> Self:
        if self.length == 1 and (self.stride, self.max_gap) != (None, None):
            raise ValueError("stride and max_gap are for sequences of 2 dates or more")
        return self

    @property
    def steps(self) -> int:
        """The stride, default filled in."""
        return self.stride or self.length


SINGLE = Sequence()
"""Every date by itself."""


def chain(rows: np.ndarray, times: np.ndarray, rule: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Chain single samples to sequences: one place, one part, dates in order.

    Dates at which the place has no sample are passed over; where that leaves a gap longer than
    ``rule.max_gap``, a new run of dates begins.

    Parameters
    ----------
    rows : ndarray of int32, (n, 3)
        Place, time index, part; in any order.
    times : ndarray of datetime64, (time,)
        Increasing.
    rule
        Length, stride and longest gap.

    Returns
    -------
    samples : ndarray of int32, (m, 3)
        Place, row of `sequences`, part.
    sequences : ndarray of int32, (k, length)
        Increasing time indices, no row twice, in lexicographic order.
    """
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0], rows[:, 2]))]
    found = [
        _windows(run, rule)
        for run in np.split(rows, _breaks(rows, times, rule))
        if len(run) >= rule.length
    ]
    if not found:
        return np.zeros((0, 3), np.int32), np.zeros((0, rule.length), np.int32)
    dates = np.concatenate([each for each, _ in found])
    owners = np.concatenate([np.repeat(owner[None], len(each), 0) for each, owner in found])
    sequences, which = np.unique(dates, axis=0, return_inverse=True)
    samples = np.stack([owners[:, 0], which.ravel(), owners[:, 2]], axis=1)
    return samples.astype(np.int32), sequences.astype(np.int32)


def _breaks(rows: np.ndarray, times: np.ndarray, rule: Sequence) -> np.ndarray:
    """Where a row does not go on with the run of dates of the row before."""
    new = (np.diff(rows[:, 0]) != 0) | (np.diff(rows[:, 2]) != 0)
    if rule.max_gap is not None:
        new |= np.diff(times[rows[:, 1]]) > longest(rule.max_gap)
    return np.flatnonzero(new) + 1


def _windows(run: np.ndarray, rule: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Dates of each sequence of a run, and a row of the run that names place and part."""
    return sliding_window_view(run[:, 1], rule.length)[:: rule.steps], run[0]


def longest(days: float) -> np.timedelta64:
    """Days as a stretch of time; parts of a day count."""
    return np.timedelta64(round(days * 86_400e9), "ns")
