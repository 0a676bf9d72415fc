"""Mean and spread of the bands over what a network will be trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cube.errors import PlanError
from cube.patches import paint
from cube.timeline import CHUNK
from pipelines.planes import Reader, Source

if TYPE_CHECKING:
    import xarray as xr

    from cube.sample_plan import SamplePlan


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Count, mean and sum of squared deviations of each band."""

    count: float
    mean: np.ndarray
    squares: np.ndarray

    def merge(self, other: Moments) -> Moments:
        """Pairwise (Chan, Golub and LeVeque 1983), so that kelvins near 300 lose no digits."""
        if not other.count or not self.count:
            return self if self.count else other
        count, step = self.count + other.count, other.mean - self.mean
        squares = self.squares + other.squares + step**2 * (self.count * other.count / count)
        return Moments(count, self.mean + step * (other.count / count), squares)


def band_statistics(dataset: xr.Dataset, plan: SamplePlan) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each band over the valid pixels of the train samples.

    Pixels count as often as they stand in a sample; labels play no part.

    Parameters
    ----------
    dataset : xarray.Dataset
        See `pipelines.planes.Source`.
    plan : SamplePlan

    Returns
    -------
    mean, std : ndarray of float32, (band,)
        In the units of the bands, in the order of ``plan.bands``. A band that never changes
        has a std of 1, so that dividing by it is harmless.

    Raises
    ------
    PlanError
        If the plan was made for other data, or no train sample has a valid pixel.
    """
    return statistics_of([(dataset, plan)])


def band_statistics_of(sources: Sequence[Source]) -> tuple[np.ndarray, np.ndarray]:
    """As `band_statistics`, over the train samples of several regions taken together.

    Raises
    ------
    PlanError
        As there, or if the plans are for different bands.
    """
    if len({source.plan.bands for source in sources}) != 1:
        raise PlanError("statistics are of sources with the same bands in the same order")
    return statistics_of([(source.dataset, source.plan) for source in sources])


def statistics_of(
    sources: Sequence[tuple[xr.Dataset, SamplePlan]], threads: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """As `band_statistics_of`, without labels."""
    none = np.zeros(len(sources[0][1].bands))
    total = Moments(0.0, none, none)
    with ThreadPoolExecutor(threads, thread_name_prefix="thermocube-read") as pool:
        for dataset, plan in sources:
            reader = Reader(dataset, plan)

            def strip(
                task: tuple[int, np.ndarray], reader: Reader = reader, plan: SamplePlan = plan
            ) -> Moments:
                return _strip(reader, plan, *task)

            # In order, so that rounding does not depend on which thread was faster.
            for moments in pool.map(strip, _strips(plan)):
                total = total.merge(moments)
    if not total.count:
        raise PlanError("no pixel of any train sample is valid; is this the dataset of the plan?")
    std = np.sqrt(total.squares / total.count)
    return total.mean.astype(np.float32), np.where(std > 0, std, 1).astype(np.float32)


def _strips(plan: SamplePlan) -> Iterator[tuple[int, np.ndarray]]:
    """Dates, and the corners of the train patches on them that begin in one strip of rows."""
    table = plan.part("train")
    looks = np.stack(
        [np.repeat(table[:, 0], plan.sequence_length), plan.sequences[table[:, 1]].ravel()], axis=1
    )
    looks = looks[np.argsort(looks[:, 1], kind="stable")]
    for date in np.split(looks, np.flatnonzero(np.diff(looks[:, 1])) + 1) if len(looks) else ():
        corners = plan.places[date[:, 0]]
        for strip in np.unique(corners[:, 0] // CHUNK):
            yield int(date[0, 1]), corners[corners[:, 0] // CHUNK == strip]


def _strip(reader: Reader, plan: SamplePlan, time: int, corners: np.ndarray) -> Moments:
    first, last = corners.min(axis=0), corners.max(axis=0) + plan.patch
    rows, columns = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    bands, valid = reader.read(np.array([time]), rows, columns)
    weight = paint(corners - first, plan.patch, valid.shape[1:]) * valid[0]
    there = weight > 0
    weights = weight[there].astype(np.float64)
    count = float(weights.sum())
    if not count:
        none = np.zeros(len(bands))
        return Moments(0.0, none, none)
    values = np.stack([band[0][there] for band in bands]).astype(np.float64)
    mean = values @ weights / count
    return Moments(count, mean, (values - mean[:, np.newaxis]) ** 2 @ weights)
