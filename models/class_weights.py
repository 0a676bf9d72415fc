"""How much each class counts in a loss, from how often it occurs. Needs NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

CLASS_WEIGHTS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "puertollano": (0, 10, 10, 1, 7.5, 1, 4, 1, 1.5, 3, 1, 15, 2.5, 1),
        "santa_olalla": (0, 8, 1, 8, 4, 1, 1, 2.5, 3, 3, 3, 1, 4, 4),
        "villoslada": (0, 3.5, 2.5, 1, 4, 5, 1, 1, 2, 1, 1, 1, 1, 1),
    }
)
"""Weights of classes 0..13 in the study's three regions: its Table 12, but for class 0 (no data),
which the study weighted 1.5, 1.5 and 1 and which is never learnt here."""

MAX_WEIGHT = 15.0
"""The largest weight of the study's Table 12; a class of a few pixels would otherwise drown all
others."""


def inverse_frequency(counts: npt.ArrayLike, *, limit: float = MAX_WEIGHT) -> tuple[float, ...]:
    """Weigh classes inversely to how often they occur.

    Parameters
    ----------
    counts
        Pixels, or shares of them, of each class in the training part, (class,); that of class 0
        is ignored.
    limit
        Largest weight.

    Returns
    -------
    tuple of float, (class,)
        ``total / (classes there * count)``, at most `limit`: the mean over pixels is 1 before
        the limit. 0 for class 0 and for classes that do not occur (King & Zeng 2001, as
        ``class_weight="balanced"`` of scikit-learn).

    Raises
    ------
    ValueError
        If counts are negative or not finite, or no class occurs.
    """
    return _weights(_counts(counts), limit)


def effective_number(
    counts: npt.ArrayLike, beta: float = 0.9999, *, limit: float = MAX_WEIGHT
) -> tuple[float, ...]:
    """Weigh classes inversely to their effective number of pixels.

    Parameters
    ----------
    counts
        Pixels of each class in the training part, (class,): numbers, not shares; that of class 0
        is ignored.
    beta
        0 weighs all classes alike, towards 1 it comes to `inverse_frequency`. Neighbouring
        pixels tell little that is new, so that a value below 1 - 1 / pixels is fair.
    limit
        Largest weight.

    Returns
    -------
    tuple of float, (class,)
        Scaled so that the mean over pixels is 1 before the limit; 0 for class 0 and for classes
        that do not occur. Cui et al. 2019 (arXiv 1901.05555), proposition 1.

    Raises
    ------
    ValueError
        If counts are negative or not finite, no class occurs, or `beta` is not in [0, 1).
    """
    if not 0 <= beta < 1:
        raise ValueError(f"beta of the effective number is in [0, 1), not {beta}")
    pixels = _counts(counts)
    effective = (1 - np.power(beta, pixels)) / (1 - beta)
    return _weights(effective.astype(np.float64), limit, pixels)


def _counts(counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
    pixels = np.array(counts, dtype=np.float64)
    pixels[:1] = 0
    if not (np.isfinite(pixels).all() and (pixels >= 0).all() and pixels.any()):
        raise ValueError(
            "class weights come from counts that are finite, not negative, and not all 0 beside "
            f"that of class 0; got {', '.join(f'{value:g}' for value in pixels)}"
        )
    return pixels


def _weights(
    rarity: npt.NDArray[np.float64],
    limit: float,
    pixels: npt.NDArray[np.float64] | None = None,
) -> tuple[float, ...]:
    """``1 / rarity``, of mean 1 over the pixels, at most `limit`."""
    pixels = rarity if pixels is None else pixels
    weights = np.divide(1.0, rarity, out=np.zeros_like(rarity), where=rarity > 0)
    weights *= pixels.sum() / (weights @ pixels)
    return tuple(np.minimum(weights, limit).tolist())
