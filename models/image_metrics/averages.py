"""Means over scenes, with intervals that heed which scenes share ground."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.bootstrap import Interval


def grouped_mean(
    values: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean over scenes with a percentile interval, whole groups of scenes resampled.

    Scenes of the same ground are no independent observations, so groups are drawn with
    replacement, each with all its scenes (cluster bootstrap; Davison and Hinkley 1997, section
    3.8). The interval of a difference between two methods is that of their differences by scene.

    Parameters
    ----------
    values
        One figure a scene, (scene,).
    groups
        A number for each scene, (scene,); scenes of one number share ground.
    level
        Between 0 and 1.
    resamples, seed
        Number of draws, and of the generator. The same seed draws the same groups for all
        methods.

    Returns
    -------
    Interval
        The mean over all scenes, each of the same weight, and its bounds; the bounds are NaN
        where all scenes are of one group.

    Raises
    ------
    ValueError
        If there is no scene, the lengths differ, or `level` is not between 0 and 1.
    """
    figures = np.asarray(values, dtype=np.float64)
    numbers = np.asarray(groups)
    if figures.ndim != 1 or figures.shape != numbers.shape or not figures.size:
        raise ValueError(
            f"a mean over scenes takes one figure and one group a scene, not {figures.shape} "
            f"figures and {numbers.shape} groups"
        )
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval is between 0 and 1, not {level}")
    member = np.unique(numbers, return_inverse=True)[1]
    sizes = np.bincount(member)
    estimate, count = float(figures.mean()), len(sizes)
    if count < 2:
        return Interval(estimate, float("nan"), float("nan"))
    # Of differences from the mean, lest equal figures get an interval of rounding errors.
    sums = np.bincount(member, weights=figures - estimate)
    times = np.random.default_rng(seed).multinomial(count, [1 / count] * count, resamples)
    means = estimate + (times @ sums) / (times @ sizes)
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2)).tolist()
    return Interval(estimate, low, high)
