"""Scores of a class map against the truth, all derived from one confusion matrix.

Needs NumPy only, so that maps can be evaluated where no network can run.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Scores of one class; what would be 0/0 is 0, as in scikit-learn."""

    code: int
    precision: float
    """Share of the pixels mapped as this class that are of it (user's accuracy)."""
    recall: float
    """Share of this class's pixels that are mapped as such (producer's accuracy)."""
    f1: float
    iou: float
    support: int
    """Pixels of this class in the truth; 0 for a class that only the map has."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one map.

    Averages over classes (`aa`, `macro_f1`, `mean_iou`) run over the classes **present in the
    truth**: a class that the map invents costs the others precision and OA, and is listed in
    `per_class` with support 0, but does not enter the averages as a class of its own.
    """

    oa: float
    """Overall accuracy."""
    aa: float
    """Average accuracy: mean recall."""
    kappa: float
    """Cohen's kappa; 0 where truth and map are one and the same single class."""
    macro_f1: float
    weighted_f1: float
    """Mean F1, weighted by support."""
    mean_iou: float
    pixels: int
    """Labelled pixels scored."""
    per_class: tuple[ClassScores, ...]
    """Classes in the truth or in the map, by code; never class 0."""

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and dictionaries, ready for JSON."""
        return asdict(self)


def confusion(
    truth: npt.ArrayLike,
    predicted: npt.ArrayLike,
    classes: int,
    *,
    valid: npt.ArrayLike | None = None,
) -> Counts:
    """Count labelled pixels by true and predicted class.

    Counts of separate pieces may be added: the sum is the matrix of the whole.

    Parameters
    ----------
    truth, predicted
        Class codes 0..classes - 1, integer arrays of one shape. Pixels of true class 0 (no
        label) are left out; class 0 predicted on a labelled pixel is an error of the map.
    classes
        Number of classes, class 0 included.
    valid
        Boolean, of the same shape or broadcast to it: pixels to count. Pixels without imagery,
        where nothing was to be predicted, are left out by this.

    Returns
    -------
    ndarray
        int64 (classes, classes), rows true, columns predicted; row 0 is all 0.

    Raises
    ------
    ValueError
        If shapes differ, arrays are not of integers, or a code is not a class.
    """
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if truth.shape != predicted.shape:
        raise ValueError(f"truth has shape {truth.shape}, but the map has {predicted.shape}")
    counted = truth != 0
    if valid is not None:
        counted = counted & np.asarray(valid, dtype=bool)
    rows = _codes(truth[counted], classes, "truth")
    columns = _codes(predicted[counted], classes, "map")
    counts = np.bincount(rows * classes + columns, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64, copy=False)


def confusion_by_group(
    truth: npt.ArrayLike,
    predicted: npt.ArrayLike,
    classes: int,
    groups: npt.ArrayLike,
    *,
    valid: npt.ArrayLike | None = None,
) -> dict[Any, Counts]:
    """Count labelled pixels by true and predicted class, for each group of them.

    Parameters
    ----------
    truth, predicted, classes, valid
        See `confusion`; `truth` is broadcast to the map, so that a static map serves all dates.
    groups
        Group of each pixel, broadcast to the map: a date, a season, a block of ground, a bin of
        NDVI. Per date: shape (time, 1, 1). Numbers below 0 and NaN are in none.

    Returns
    -------
    dict
        Group, in order, to counts (classes, classes); groups without a labelled pixel are left
        out. The counts of all groups add up to those of the pixels that are in one.

    Raises
    ------
    ValueError
        See `confusion`.
    """
    predicted = np.asarray(predicted)
    truth = np.broadcast_to(truth, predicted.shape)
    counted = np.broadcast_to(True if valid is None else valid, predicted.shape) & (truth != 0)
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    member = np.broadcast_to(member.reshape(np.shape(groups)), predicted.shape)
    if names.dtype.kind in "if":
        counted = counted & np.isin(member, np.flatnonzero(names >= 0))
    rows = _codes(truth[counted], classes, "truth")
    columns = _codes(predicted[counted], classes, "map")
    index = (member[counted] * classes + rows) * classes + columns
    counts = np.bincount(index, minlength=names.size * classes**2)
    counts = counts.reshape(names.size, classes, classes).astype(np.int64, copy=False)
    return {name: count for name, count in zip(names.tolist(), counts, strict=True) if count.any()}


def bins_of(values: npt.ArrayLike, edges: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Bin of each value, for `confusion_by_group`; -1 where it is NaN or outside.

    Parameters
    ----------
    values
        NDVI, for instance, of any shape.
    edges
        Increasing, (bin + 1,); a bin holds its lower edge, the last both.
    """
    values, edges = np.asarray(values, dtype=np.float64), np.asarray(edges, dtype=np.float64)
    found = np.searchsorted(edges, values, side="right") - 1
    found = np.where(values == edges[-1], edges.size - 2, found)
    inside = (values >= edges[0]) & (values <= edges[-1])
    return np.where(inside, found, -1).astype(np.int64)


def scores(confusion: npt.ArrayLike) -> Scores:
    """Derive all scores from a confusion matrix.

    Parameters
    ----------
    confusion
        Counts (classes, classes), rows true, columns predicted. Row 0 is ignored.

    Raises
    ------
    ValueError
        If the matrix is not square, or counts no labelled pixel.
    """
    counts = np.array(confusion, dtype=np.int64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"a confusion matrix is square, not of shape {counts.shape}")
    counts[:1] = 0
    pixels = int(counts.sum())
    if pixels == 0:
        raise ValueError(
            "the confusion matrix counts no labelled pixel, so there is nothing to score: "
            "do labels and valid imagery of this part overlap?"
        )
    support, mapped, hits = counts.sum(axis=1), counts.sum(axis=0), counts.diagonal()
    recall, precision = _ratio(hits, support), _ratio(hits, mapped)
    f1, iou = _ratio(2 * hits, support + mapped), _ratio(hits, support + mapped - hits)
    present = support > 0
    return Scores(
        oa=float(hits.sum() / pixels),
        aa=float(recall[present].mean()),
        kappa=_kappa(support / pixels, mapped / pixels, float(hits.sum() / pixels)),
        macro_f1=float(f1[present].mean()),
        weighted_f1=float(f1 @ support / pixels),
        mean_iou=float(iou[present].mean()),
        pixels=pixels,
        per_class=tuple(
            ClassScores(
                code=int(code),
                precision=float(precision[code]),
                recall=float(recall[code]),
                f1=float(f1[code]),
                iou=float(iou[code]),
                support=int(support[code]),
            )
            for code in np.flatnonzero(support + mapped)
            if code != 0
        ),
    )


def _codes(values: npt.NDArray[Any], classes: int, name: str) -> npt.NDArray[np.intp]:
    if values.dtype.kind not in "iu":
        raise ValueError(f"class codes are integers, but the {name} is {values.dtype}")
    if values.size and not 0 <= values.min() <= values.max() < classes:
        wrong = values.min() if values.min() < 0 else values.max()
        raise ValueError(
            f"the {name} holds {wrong}, which is not one of the classes 0..{classes - 1}"
        )
    return values.astype(np.intp)


def _ratio(part: Counts, whole: Counts) -> npt.NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def _kappa(
    truth: npt.NDArray[np.float64], mapped: npt.NDArray[np.float64], agreement: float
) -> float:
    """Cohen (1960): agreement beyond that of maps with the same class shares by chance."""
    chance = float(truth @ mapped)
    return (agreement - chance) / (1 - chance) if chance < 1 else 0.0
