"""What the labels of known ground around a place say of it, and what imagery adds to that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

COARSE = 4
"""Side of the cells in pixels that labels are counted in before they are spread."""
DOUBT = 0.001
"""Weight of the frequencies of the whole training part, beside labels at full density."""
FLOOR = 1e-4
"""Least probability of a class that is in training."""


def classes_nearby(
    labels: npt.ArrayLike,
    train: npt.ArrayLike,
    scale: float,
    classes: int = 14,
    cell: int = COARSE,
) -> Floats:
    """Shares of the classes in the training ground around each pixel.

    A map drawn from its known parts, without imagery: what a classifier has to beat.

    Parameters
    ----------
    labels
        Class codes (y, x); 0 without a label.
    train
        Ground whose labels are known, bool (y, x).
    scale
        Standard deviation of the Gaussian that labels are spread by, pixels.
    classes
        Number of classes, class 0 included.
    cell
        Side of the cells in pixels that labels are counted in first; not above half of `scale`.

    Returns
    -------
    ndarray of float32, (y, x, class)
        Sum 1; far from all known ground, the frequencies of the training part.

    Raises
    ------
    ValueError
        If no pixel is both known and labelled.
    """
    from scipy.ndimage import gaussian_filter

    codes = np.asarray(labels)
    known = np.asarray(train, bool) & (codes > 0)
    if not known.any():
        raise ValueError("no pixel is both of the training ground and labelled")
    frequency = np.bincount(codes[known], minlength=classes) / known.sum()

    def spread(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        return gaussian_filter(_cells(mask, cell), scale / cell, mode="constant", truncate=6.0)

    doubt = DOUBT * cell**2
    total = spread(known) + doubt
    rows, columns = (np.arange(side) // cell for side in codes.shape)
    shares = np.zeros((*codes.shape, classes), np.float32)
    for code in np.flatnonzero(frequency):
        share = (spread(known & (codes == code)) + doubt * frequency[code]) / total
        shares[..., code] = share[np.ix_(rows, columns)]
    return shares


def _cells(mask: npt.NDArray[np.bool_], cell: int) -> npt.NDArray[np.float64]:
    """Number of pixels of a mask in each cell."""
    padded = np.pad(mask, [(0, -side % cell) for side in mask.shape])
    rows, columns = (side // cell for side in padded.shape)
    return padded.reshape(rows, cell, columns, cell).sum(axis=(1, 3)).astype(np.float64)


def resampled(opinion: npt.ArrayLike, drawn: npt.ArrayLike, frequency: npt.ArrayLike) -> Floats:
    """Take back that some classes were drawn more often for training than they occur.

    Parameters
    ----------
    opinion
        Probabilities (..., class).
    drawn, frequency
        Shares of the classes among the pixels learnt from, and in the training ground, (class,).

    Returns
    -------
    ndarray of float32, (..., class)
        Sum 1 (Saerens et al. 2002, Neural Computation 14, equation 2.4).
    """
    there = np.asarray(drawn, np.float64)
    ratio = np.divide(frequency, there, out=np.zeros_like(there), where=there > 0)
    weighted = np.asarray(opinion, np.float64) * ratio
    total = weighted.sum(axis=-1, keepdims=True)
    return np.asarray(weighted / np.where(total > 0, total, 1.0), np.float32)


def fuse(
    opinions: Sequence[npt.ArrayLike],
    frequency: npt.ArrayLike,
    nearby: npt.ArrayLike | None = None,
    *,
    trust: float = 1.0,
    lift: float = 0.0,
) -> Floats:
    """Make one probability of those of several classifiers, and of what lies nearby.

    Parameters
    ----------
    opinions
        Probabilities (..., class) of classifiers that were trained on the same pixels; their
        geometric mean is taken.
    frequency
        Of the classes in training, (class,); a class with 0 gets probability 0.
    nearby
        Prior probabilities in place of `frequency`, (..., class), from `classes_nearby`.
    trust
        Exponent of what the classifiers say beyond the frequencies. Pixels are no independent
        witnesses, and classifiers of them claim too much: below 1 is mostly better.
    lift
        Exponent of the inverse frequency that all is multiplied by: 0 aims at overall accuracy,
        1 at average accuracy (logit adjustment, Menon et al. 2021, arXiv 2007.07314).

    Returns
    -------
    ndarray of float32, (..., class)
        Sum 1.
    """
    shares = np.asarray(frequency, np.float64)
    usual = _log(shares)
    said = np.mean([_log(opinion) for opinion in opinions], axis=0) - usual
    total = (usual if nearby is None else _log(nearby)) + trust * said - lift * usual
    total = np.where(shares > 0, total, -np.inf)
    total = np.exp(total - total.max(axis=-1, keepdims=True))
    return np.asarray(total / total.sum(axis=-1, keepdims=True), np.float32)


def _log(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.log(np.maximum(np.asarray(values, np.float64), FLOOR))
