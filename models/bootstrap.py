"""Intervals of scores, by resampling blocks of ground.

Neighbouring pixels, and the dates of one pixel, say much the same: an interval that took each
for an observation of its own would be far too narrow. Whole blocks of ground are drawn instead
(Künsch 1989, Annals of Statistics 17; for maps Lahiri 2003, Resampling Methods for Dependent
Data, chapter 12), as wide as the range of the spatial correlation or wider. Needs NumPy only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.metrics import Counts, Scores, confusion_by_group, scores

FIGURES = ("oa", "aa", "kappa", "macro_f1", "weighted_f1", "mean_iou")
"""Fields of `models.metrics.Scores` that get an interval."""


class Interval(NamedTuple):
    """A figure and its percentile interval; all NaN where it could not be worked out."""

    estimate: float
    low: float
    high: float


def ground_blocks(shape: tuple[int, int], side: int) -> npt.NDArray[np.int64]:
    """Number the square blocks of a grid.

    Parameters
    ----------
    shape
        Rows and columns of the grid.
    side
        Of a block, pixels; those at the far edges may be smaller.

    Returns
    -------
    ndarray
        int64 (y, x): number of the block of each pixel.

    Raises
    ------
    ValueError
        If `side` is not positive.
    """
    if side < 1:
        raise ValueError(f"a block has a side of 1 px or more, not {side}")
    rows, columns = (np.arange(length) // side for length in shape)
    across = int(columns[-1]) + 1 if columns.size else 1
    return rows[:, np.newaxis] * across + columns[np.newaxis, :]


def block_counts(
    truth: npt.ArrayLike,
    predicted: npt.ArrayLike,
    classes: int,
    blocks: npt.ArrayLike,
    *,
    valid: npt.ArrayLike | None = None,
) -> Counts:
    """Confusion matrix of each block of ground.

    Parameters
    ----------
    truth, predicted, classes, valid
        See `models.metrics.confusion_by_group`: (..., y, x).
    blocks
        Number of each pixel's block, (y, x), such as from `ground_blocks`; below 0 for none.

    Returns
    -------
    ndarray
        int64 (block, classes, classes) of the blocks with a labelled pixel, by number. Those of
        separate regions may be joined along the first axis, those of separate dates added if
        they have the same blocks.
    """
    counts = confusion_by_group(truth, predicted, classes, blocks, valid=valid)
    return np.array(list(counts.values()), dtype=np.int64).reshape(-1, classes, classes)


def intervals(
    counts: npt.ArrayLike, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Percentile intervals of the scores of one map.

    Parameters
    ----------
    counts
        (block, classes, classes); see `block_counts`.
    level
        Share of the resampled scores inside the interval.
    resamples, seed
        Number of draws, and what they start from.

    Returns
    -------
    dict
        Each of `FIGURES` to its interval. Averages over classes run, in each draw, over the
        classes that are in it.

    Raises
    ------
    ValueError
        If there are fewer than two blocks, or `level` is not between 0 and 1.
    """
    return _intervals(
        lambda total: _figures(scores(total)), _blocks(counts), level, resamples, seed
    )


def class_intervals(
    counts: npt.ArrayLike, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> dict[int, dict[str, Interval]]:
    """Percentile intervals of precision, recall, F1 and IoU of each class in the truth.

    Draws without a pixel of a class say nothing about it and do not count for it. Arguments and
    errors are those of `intervals`.
    """
    blocks = _blocks(counts)
    present = [row.code for row in scores(blocks.sum(axis=0)).per_class if row.support]
    fields = ("precision", "recall", "f1", "iou")

    def figures(total: Counts) -> dict[Any, float]:
        return {
            (row.code, field): float(getattr(row, field))
            for row in scores(total).per_class
            if row.support
            for field in fields
        }

    found = _intervals(figures, blocks, level, resamples, seed)
    return {code: {field: found[code, field] for field in fields} for code in present}


def difference(
    counts: npt.ArrayLike,
    others: npt.ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals of how much better one map scores than another, on the same blocks.

    Far narrower than the two maps' own intervals suggest, as both find the same blocks hard.

    Parameters
    ----------
    counts, others
        (block, classes, classes) of the same blocks in the same order.
    level, resamples, seed
        See `intervals`.

    Returns
    -------
    dict
        Each of `FIGURES` to the interval of first less second.

    Raises
    ------
    ValueError
        See `intervals`; or if the two do not count the same labelled pixels.
    """
    first, second = np.asarray(counts, dtype=np.int64), np.asarray(others, dtype=np.int64)
    if first.shape != second.shape or (first.sum(axis=-1) != second.sum(axis=-1)).any():
        raise ValueError(
            "two maps are compared on the same labelled pixels of the same blocks, but these "
            "confusion matrices count different ones"
        )

    def figures(both: Counts) -> dict[Any, float]:
        one, other = (_figures(scores(total)) for total in both)
        return {name: one[name] - other[name] for name in FIGURES}

    return _intervals(figures, np.stack([first, second], axis=1), level, resamples, seed)


def _figures(result: Scores) -> dict[Any, float]:
    return {name: float(getattr(result, name)) for name in FIGURES}


def _blocks(counts: npt.ArrayLike) -> Counts:
    blocks: Counts = np.array(counts, dtype=np.int64)
    if blocks.ndim != 3:
        raise ValueError(
            f"confusion matrices of blocks have dimensions (block, class, class), not "
            f"{blocks.shape}"
        )
    blocks[:, :1] = 0
    return blocks[blocks.any(axis=(1, 2))]


def _intervals(
    figures: Callable[[Counts], Mapping[Any, float]],
    blocks: Counts,
    level: float,
    resamples: int,
    seed: int,
) -> dict[Any, Interval]:
    number = len(blocks)
    if number < 2:
        raise ValueError(
            f"there are {number} blocks of ground with labelled pixels, and nothing to resample: "
            "take smaller blocks"
        )
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval is between 0 and 1, not {level}")
    estimate = figures(blocks.sum(axis=0))
    times = np.random.default_rng(seed).multinomial(number, [1 / number] * number, resamples)
    drawn = [figures(np.tensordot(row, blocks, axes=1)) for row in times]
    tails = ((1 - level) / 2, (1 + level) / 2)
    return {
        name: Interval(
            value, *np.quantile([draw[name] for draw in drawn if name in draw], tails).tolist()
        )
        for name, value in estimate.items()
    }
