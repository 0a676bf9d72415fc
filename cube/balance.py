"""Balance: how often a sample goes out in an epoch, so that rare classes are seen more."""

from __future__ import annotations

import numpy as np

from cube.patches import window_sums

MOST = 16
"""A sample goes out so many times an epoch, at most."""


def place_shares(labels: np.ndarray, places: np.ndarray, patch: int) -> np.ndarray:
    """Share of each class in the labelled pixels of each place.

    Parameters
    ----------
    labels : ndarray of uint8, (y, x)
        0 where there is no label.
    places : ndarray of int, (place, 2)
        Row and column of the upper-left pixels; each patch holds a labelled pixel.
    patch
        Side, pixels.

    Returns
    -------
    ndarray of float64, (place, class)
        Class 0 first, and 0; rows of sum 1.
    """
    counts = np.zeros((len(places), int(labels.max()) + 1))
    for code in np.unique(labels[labels > 0]):
        counts[:, code] = window_sums(labels == code, patch)[places[:, 0], places[:, 1]]
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def repeat_factors(shares: np.ndarray, seed: int) -> np.ndarray:
    """How often each sample goes out: never less than once, more often for rare classes.

    Repeat-factor sampling: a class below its due share is seen ``sqrt(due / share)`` times as
    often, a sample as often as its classes in the mean, each weighed by its part of the patch.
    What a factor has above a whole number is drawn.

    Parameters
    ----------
    shares : ndarray of float64, (sample, class)
        See `place_shares`.
    seed
        For the draws.

    Returns
    -------
    ndarray of int32, (sample,)
        1 to `MOST`.

    References
    ----------
    Gupta, Dollár & Girshick 2019, LVIS, section 4.1; there a sample goes by the rarest class in it.
    """
    if not len(shares):
        return np.zeros(0, np.int32)
    mean = shares.mean(axis=0)
    there = mean > 0
    wanted = np.sqrt(1 / there.sum() / mean[there])
    factors = np.clip((shares[:, there] * np.maximum(wanted, 1)).sum(axis=1), 1, MOST)
    drawn = np.random.default_rng([seed, 2]).random(len(factors))
    whole = factors.astype(np.int32)
    return np.asarray(np.minimum(whole + (drawn < factors % 1), MOST), np.int32)
