"""Data mining sharpener: bagged regression trees with a line in each leaf, residual corrected.

Gao et al. 2012 (doi 10.3390/rs4113287), in the form of Guzinski and Nieto's pyDMS that the
super-resolution study uses: trees over the whole image only, no moving window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from models.sharpening.blocks import Array, block_mean, block_std, expand, image_of, pair_of, place
from models.sharpening.interpolation import bicubic

LEAST_SAMPLES, TREES = 10, 10
HOMOGENEOUS_SHARE = 80.0
"""Percentile of the coefficient of variation above which a coarse pixel's weight is halved."""


class Forest:
    """Bagged trees from fine companion images to LST, learnt at the coarse scale."""

    def __init__(self, trees: Any) -> None:
        self._trees = trees

    @classmethod
    def fit(cls, lst: Array, mean: Array, std: Array, *, seed: int = 0) -> Self:
        """Learn from coarse pixels, homogeneous ones with more weight.

        Parameters
        ----------
        lst
            Coarse LST of any shape, kelvin, NaN where missing.
        mean, std
            Of each companion image over each coarse pixel, (..., band).
        seed
            Of the bootstrap.

        Raises
        ------
        ValueError
            If fewer than 10 coarse pixels have both, with a companion that varies within them.
        """
        from sklearn.ensemble import BaggingRegressor

        from models.sharpening.leaf_lines import LeafLines

        variation = (std / np.where(mean == 0, 1e-6, mean)).mean(axis=-1)
        good = np.isfinite(lst) & np.isfinite(variation) & (variation > 0)
        if good.sum() < LEAST_SAMPLES:
            raise ValueError(
                f"only {int(good.sum())} coarse pixels have both LST and a companion image that "
                f"varies within them; trees need {LEAST_SAMPLES}: take a larger or clearer image"
            )
        trees = BaggingRegressor(LeafLines(), n_estimators=TREES, random_state=seed)
        trees.fit(mean[good], lst[good], sample_weight=_weights(variation[good]))
        return cls(trees)

    def at(self, companions: Array) -> Array:
        """LST from companion images (y, x, band), kelvin (y, x); NaN where one is missing."""
        values = companions.reshape(-1, companions.shape[-1])
        there = np.isfinite(values).all(axis=1)
        lst = np.full(len(values), np.nan)
        if there.any():
            lst[there] = self._trees.predict(values[there])
        return lst.reshape(companions.shape[:-1])


def dms(
    lst: npt.ArrayLike,
    ndvi: npt.ArrayLike,
    *,
    others: Sequence[npt.ArrayLike] = (),
    forest: Forest | None = None,
    offset: tuple[int, int] = (0, 0),
    seed: int = 0,
) -> Array:
    """Data mining sharpener: trees over NDVI, and their residual added smoothly.

    Parameters
    ----------
    lst
        Coarse LST (y, x), kelvin, NaN where missing.
    ndvi
        Fine NDVI (scale * y, scale * x), NaN where missing.
    others
        Further companion images on the grid of `ndvi`.
    forest
        Fitted before, for example over the whole scene when this is a tile of it.
    offset
        NDVI pixel (r, c) lies on the fine pixel (r, c) + offset of the LST. As published, it is
        heeded where NDVI is averaged to the coarse grid and nowhere else: the map stays on
        the grid of `ndvi`. Better register the two first and leave it at (0, 0).
    seed
        Of the bootstrap.

    Returns
    -------
    ndarray
        float64 (scale * y, scale * x), kelvin; missing exactly where LST or an image is.

    Notes
    -----
    The residual is taken in T^4, which is what a coarse pixel averages, and enlarged by cubic
    convolution: the map averages back to `lst` nearly, not exactly.

    Raises
    ------
    ValueError
        If the grids do not nest, or there is too little to learn from.
    """
    coarse, fine, scale = pair_of(lst, ndvi)
    images = np.stack([fine, *(image_of(other, "a companion image") for other in others)], axis=-1)
    if forest is None:
        placed = [place(images[..., band], offset) for band in range(images.shape[-1])]
        mean = np.stack([block_mean(image, scale) for image in placed], axis=-1)
        std = np.stack([block_std(image, scale) for image in placed], axis=-1)
        forest = Forest.fit(coarse, mean, std, seed=seed)
    trend = forest.at(images)
    residual = coarse**4 - block_mean(place(trend, offset) ** 4, scale)
    corrected = trend**4 + bicubic(_without_holes(residual, coarse), scale)
    sharpened: Array = np.maximum(corrected, 0.0) ** 0.25
    sharpened[expand(np.isnan(coarse), scale)] = np.nan
    return sharpened


def _without_holes(residual: Array, coarse: Array) -> Array:
    """No residual, rather than none at all, where a measured pixel has no companion."""
    return np.where(np.isnan(residual) & np.isfinite(coarse), 0.0, residual)


def _weights(variation: Array) -> Array:
    inverse = 1 / variation
    span = float(np.ptp(inverse))
    weights = (inverse - inverse.min()) / span if span > 0 else np.ones_like(inverse)
    weights[variation >= np.percentile(variation, HOMOGENEOUS_SHARE)] /= 2
    return weights
