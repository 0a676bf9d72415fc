"""What a map scores without looking at the imagery.

Every score of a network stands beside these two. Since the label map is static, a network that
has seen every place in training can score as well as `MemorisePlace` and have learnt nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Majority:
    """The most frequent class of the training part, everywhere."""

    label: int

    @classmethod
    def fit(cls, labels: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> Self:
        """Find the class with the largest weight in training; the lowest code of equals.

        Parameters
        ----------
        labels
            Class codes 0..255 of the training part, of any shape; class 0 never counts.
        weight
            Broadcast to `labels`; 0 where a pixel is not of the training part or not valid.

        Raises
        ------
        ValueError
            If no pixel is left to learn from, or labels are not class codes.
        """
        codes, weights = _training(labels, weight)
        votes = np.bincount(codes.ravel(), weights=weights.ravel()).astype(np.float64)
        _require(votes)
        return cls(int(votes.argmax()))

    def predict(self, shape: tuple[int, ...]) -> Labels:
        """The class map of any shape, uint8."""
        return np.full(shape, self.label, dtype=np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class MemorisePlace:
    """The class that each pixel had in training; the majority class where it was not in it."""

    map: Labels
    """Class at each place (y, x)."""
    seen: npt.NDArray[np.bool_]
    """Places (y, x) that were in the training part."""

    @classmethod
    def fit(cls, labels: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> Self:
        """Take the most frequent training label of each place; the lowest code of equals.

        Parameters
        ----------
        labels
            Class codes 0..255, (y, x) or (..., y, x) with dates in front; class 0 never counts.
        weight
            Broadcast to `labels`; 0 where a pixel is not of the training part or not valid. For
            labels (y, x) that do not change, the number of training dates at each pixel.

        Raises
        ------
        ValueError
            If no pixel is left to learn from, or labels are not class codes on a grid.
        """
        codes, weights = _training(labels, weight)
        if codes.ndim < 2:
            raise ValueError(f"labels to memorise have dimensions (..., y, x), not {codes.shape}")
        best = np.zeros(codes.shape[-2:])
        memory = Majority.fit(codes, weights).predict(best.shape)
        before = tuple(range(codes.ndim - 2))
        for code in np.unique(codes[weights > 0]):
            votes = np.where(codes == code, weights, 0.0).sum(axis=before)
            memory[votes > best] = code
            best = np.maximum(votes, best)
        return cls(memory, best > 0)

    def predict(self, shape: tuple[int, ...] | None = None) -> Labels:
        """The memorised map, uint8 (y, x), or repeated over leading dimensions (..., y, x).

        Raises
        ------
        ValueError
            If `shape` does not end in the shape of the grid that was memorised.
        """
        if shape is None:
            return self.map.copy()
        if tuple(shape[-2:]) != self.map.shape:
            raise ValueError(
                f"places were memorised on a grid of {self.map.shape} pixels; they mean nothing "
                f"on one of {tuple(shape[-2:])}"
            )
        return np.broadcast_to(self.map, shape).copy()


def _training(
    labels: npt.ArrayLike, weight: npt.ArrayLike | None
) -> tuple[Labels, npt.NDArray[np.float64]]:
    """Codes and weights of one shape, weight 0 for class 0."""
    codes: npt.NDArray[Any] = np.asarray(labels)
    if codes.dtype.kind not in "iu":
        raise ValueError(f"labels are class codes, integers 0..255, not {codes.dtype}")
    if codes.size and not 0 <= codes.min() <= codes.max() <= 255:
        raise ValueError(
            f"labels are class codes 0..255, but these run from {codes.min()} to {codes.max()}"
        )
    weights = np.ones(codes.shape) if weight is None else np.broadcast_to(weight, codes.shape)
    weights = np.where(codes == 0, 0.0, weights)
    if not (weights >= 0).all():
        raise ValueError("training weights are 0 or more; some are negative or NaN")
    return codes.astype(np.uint8), weights


def _require(votes: npt.NDArray[np.float64]) -> None:
    if not votes.any():
        raise ValueError("no training pixel has both a class and a weight: nothing to learn from")
