"""Does the fine map, degraded, give back the coarse image? Measured, and if wanted enforced."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.sharpening.blocks import Array, expand, image_of
from models.sharpening.degradation import Degradation
from models.sharpening.interpolation import bicubic

SMOOTH_ROUNDS = 3
"""Back-projections with cubic interpolation before what is left is spread block by block."""
ROUNDS = 400
ENOUGH = 1e-6
"""Kelvin: an operator wider than a block is followed until no coarse pixel misses by more."""


class ConsistencyError(NamedTuple):
    """Difference between a degraded fine map and the coarse image, kelvin."""

    operator: str
    """Name of the `Degradation`."""
    rmse: float
    largest: float
    """Largest absolute difference of a coarse pixel."""


def consistency(
    fine: npt.ArrayLike, lst: npt.ArrayLike, degradation: Degradation | None = None
) -> ConsistencyError:
    """Degrade a fine map and compare it with the coarse image it was made from.

    Parameters
    ----------
    fine
        Map (scale * y, scale * x), NaN where missing.
    lst
        Coarse image (y, x), NaN where missing.
    degradation
        The operator H; by default the block mean of the images' scale.

    Raises
    ------
    ValueError
        If the grids do not fit the operator, or no coarse pixel can be compared.
    """
    image, coarse, degradation = _checked(fine, lst, degradation)
    misfit = coarse - degradation(image)
    there = misfit[np.isfinite(misfit)]
    if not there.size:
        raise ValueError("no coarse pixel has both a value and a fine map: nothing to compare")
    return ConsistencyError(
        degradation.name, float(np.sqrt((there**2).mean())), float(np.abs(there).max())
    )


def enforce(
    fine: npt.ArrayLike, lst: npt.ArrayLike, degradation: Degradation | None = None
) -> Array:
    """Change a fine map as little and as smoothly as needed to degrade to the coarse image.

    Iterative back-projection (Irani and Peleg 1991, doi 10.1016/1049-9652(91)90045-L).

    Parameters
    ----------
    fine
        Map (scale * y, scale * x), NaN where missing. Nothing missing is filled.
    lst
        Coarse image (y, x), NaN where missing; there the map stays as it is.
    degradation
        The operator H; by default the block mean of the images' scale.

    Returns
    -------
    ndarray
        float64, of the shape of `fine`. For the block mean it is consistent to rounding. For a
        wider operator, to 1e-6 K or as far as 400 rounds go (`consistency` says how far): the
        wider it is, the more it amplifies the coarse image's noise.

    Raises
    ------
    ValueError
        If the grids do not fit the operator.
    """
    image, coarse, degradation = _checked(fine, lst, degradation)
    scale = degradation.scale
    for _ in range(SMOOTH_ROUNDS):
        image = image + bicubic(_misfit(image, coarse, degradation), scale)
    for _ in range(1 if len(degradation.weights) == scale else ROUNDS):
        misfit = _misfit(image, coarse, degradation)
        image = image + expand(misfit, scale)
        if np.abs(misfit).max() <= ENOUGH and len(degradation.weights) > scale:
            break
    return image


def _misfit(image: Array, coarse: Array, degradation: Degradation) -> Array:
    """What coarse pixels miss; 0 where there is nothing to fit."""
    misfit: Array = np.nan_to_num(coarse - degradation(image), nan=0.0)
    return misfit


def _checked(
    fine: npt.ArrayLike, lst: npt.ArrayLike, degradation: Degradation | None
) -> tuple[Array, Array, Degradation]:
    image, coarse = image_of(fine, "the fine map"), image_of(lst, "LST")
    scale = image.shape[0] // coarse.shape[0]
    degradation = degradation or Degradation.box(max(scale, 1))
    if image.shape != tuple(degradation.scale * size for size in coarse.shape):
        raise ValueError(
            f"operator {degradation.name!r} brings {degradation.scale} fine pixels to one: a map "
            f"of {image.shape} does not degrade to {coarse.shape} with it"
        )
    return image, coarse, degradation
