"""A regression tree with a ridge regression in each leaf; needs scikit-learn."""

from __future__ import annotations

from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import Ridge
from sklearn.tree import DecisionTreeRegressor

from models.sharpening.blocks import Array


class LeafLines(RegressorMixin, BaseEstimator):
    """Regression tree whose leaves hold lines instead of constants, for bagging.

    Gao et al. 2012 (doi 10.3390/rs4113287), section 2.1.

    Parameters
    ----------
    leaves
        Largest number of leaves.
    least_samples
        Smallest number of samples in a leaf.
    extrapolation
        How far a leaf's line may leave the range of its training values, as a share of it.
    random_state
        Of the tree, among equally good splits.
    """

    def __init__(
        self,
        leaves: int = 30,
        least_samples: int = 10,
        extrapolation: float = 0.25,
        random_state: int | None = None,
    ) -> None:
        self.leaves = leaves
        self.least_samples = least_samples
        self.extrapolation = extrapolation
        self.random_state = random_state

    def fit(self, x: Array, y: Array, sample_weight: Array | None = None) -> Self:
        """Grow the tree on samples (n, band) with values (n), then fit each leaf's line."""
        self.tree_ = DecisionTreeRegressor(
            max_leaf_nodes=self.leaves,
            min_samples_leaf=self.least_samples,
            random_state=self.random_state,
        ).fit(x, y, sample_weight)
        membership = self.tree_.apply(x)
        self.lines_ = {leaf: self._line(x, y, membership == leaf) for leaf in np.unique(membership)}
        return self

    def _line(self, x: Array, y: Array, inside: np.ndarray) -> tuple[Ridge, float, float]:
        low, high = float(y[inside].min()), float(y[inside].max())
        margin = self.extrapolation * (high - low)
        return Ridge().fit(x[inside], y[inside]), low - margin, high + margin

    def predict(self, x: Array) -> Array:
        """Values (n) of samples (n, band)."""
        membership = self.tree_.apply(x)
        predicted = np.empty(len(x))
        for leaf in np.unique(membership):
            inside = membership == leaf
            line, low, high = self.lines_[leaf]
            predicted[inside] = np.clip(line.predict(x[inside]), low, high)
        return predicted
