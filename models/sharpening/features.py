"""What the networks see of a coarse LST and a fine NDVI, and how a finer image is taken back.

Plain NumPy: images in, images out, for one scene or a tile of it with a margin.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from models.sharpening.blocks import Array, block_norm4, expand, fill, pair_of
from models.sharpening.degradation import Degradation
from models.sharpening.gradients import low_pass
from models.sharpening.interpolation import bicubic
from models.sharpening.local_slope import TARGET_MTF, Response, local_slope
from models.sharpening.regression import window_sum

NetworkName = Literal["sif", "mr_unet", "slope"]
Coarsening = Literal["norm4", "psf"]
SURROUNDINGS = 3
"""Radius, in coarse pixels, of the window that a pixel's LST is compared with."""
BANDS = {"sif": 2, "mr_unet": 1, "slope": 5}
"""Channels of each network's input."""
REACH = 8
"""Coarse pixels at a tile's border within which features may differ from the whole scene's."""


class Known(NamedTuple):
    """A coarse image made from a finer one that is known, to learn from or to be judged by."""

    lst: Array
    """(y, x), kelvin."""
    ndvi: Array
    """(scale * y, scale * x)."""
    truth: Array
    """(scale * y, scale * x), kelvin."""


def taken_back(
    lst: npt.ArrayLike,
    ndvi: npt.ArrayLike,
    *,
    scale: int = 4,
    coarsening: Coarsening = "psf",
    noise: float = 0.0,
    seed: int | np.random.Generator = 0,
) -> Known:
    """Degrade an image by the scale once more, so that the image itself is the answer.

    Parameters
    ----------
    lst
        LST (y, x), kelvin, a multiple of `scale` along both axes.
    ndvi
        NDVI of that shape, at the same resolution.
    scale
        By which images are degraded.
    coarsening
        ``"psf"``: by the sensor's point spread function, a Gaussian of half a coarse pixel;
        ``"norm4"``: ``(mean x^4)^(1/4)`` of each block, as published.
    noise
        Standard deviation of white noise added to the coarse LST, kelvin: averaging has taken
        away what the sensor would have added (`models.sharpening.noise.sensor_noise`).
    seed
        Of the noise.

    Raises
    ------
    ValueError
        If the images differ in shape, or are not a whole number of coarse pixels.
    """
    fine, companion = np.asarray(lst, np.float64), np.asarray(ndvi, np.float64)
    if fine.shape != companion.shape or any(size % scale for size in fine.shape):
        raise ValueError(
            f"LST of {fine.shape} and NDVI of {companion.shape} pixels: to be degraded both need "
            f"one shape, of a multiple of {scale} pixels"
        )
    if coarsening == "norm4":
        coarse = block_norm4(fine, scale)
    else:
        coarse = Degradation.gaussian(scale / 2, scale)(fine)
    if noise:
        coarse = coarse + noise * np.random.default_rng(seed).standard_normal(coarse.shape)
    return Known(coarse, companion, fine)


def features(
    network: NetworkName,
    lst: npt.ArrayLike,
    ndvi: npt.ArrayLike,
    *,
    damp: bool = True,
    response: Response | None = None,
) -> npt.NDArray[np.float32]:
    """The input of a network.

    Parameters
    ----------
    network
        Which.
    lst
        Coarse LST (y, x), kelvin, NaN where missing.
    ndvi
        Fine NDVI (scale * y, scale * x), NaN where missing, registered to `lst`.
    damp
        ``slope`` only: damp NDVI to the resolution of the map that is wanted. False where it has
        that resolution already, as in images made by `taken_back`.
    response
        ``slope`` only: fitted before to the whole scene when this is a tile of it.

    Returns
    -------
    ndarray
        float32 (scale * y, scale * x, band), finite everywhere: gaps are bridged from their
        neighbours, so that they trouble no pixel that was measured. Of ``mr_unet`` bicubic LST
        (K); of ``sif`` that and NDVI; of ``slope`` the map of `local_slope` (K), what that adds
        to bicubic LST (K), bicubic LST less its surroundings (K), NDVI, and its fine detail.

    Raises
    ------
    ValueError
        If the grids do not nest, or no coarse pixel has both images.
    """
    coarse, fine, scale = pair_of(lst, ndvi)
    coarse, fine = _bridged(coarse), _bridged(fine)
    smooth = bicubic(coarse, scale)
    if network == "mr_unet":
        return _stacked(smooth)
    if network == "sif":
        return _stacked(smooth, fine)
    mtf = TARGET_MTF if damp else None
    base = local_slope(coarse, fine, mtf=mtf, response=response)
    damped = low_pass(fine, TARGET_MTF, scale=1) if damp else fine
    detail = damped - bicubic(Degradation.gaussian(scale / 2, scale)(fine), scale)
    around = bicubic(coarse - _mean_around(coarse), scale)
    return _stacked(base, base - smooth, around, damped, detail)


def masked(fine: npt.ArrayLike, lst: npt.ArrayLike, ndvi: npt.ArrayLike) -> Array:
    """A map, missing exactly where LST or NDVI is.

    Parameters
    ----------
    fine
        (scale * y, scale * x), kelvin.
    lst, ndvi
        Of which it was made.
    """
    coarse, companion, scale = pair_of(lst, ndvi)
    gaps = expand(np.isnan(coarse), scale) | np.isnan(companion)
    image: Array = np.where(gaps, np.nan, np.asarray(fine, np.float64))
    return image


def _stacked(*images: Array) -> npt.NDArray[np.float32]:
    return np.stack(images, axis=-1).astype(np.float32)


def _bridged(image: Array) -> Array:
    return fill(image, REACH) if np.isnan(image).any() else image


def _mean_around(coarse: Array) -> Array:
    ones = np.ones_like(coarse)
    mean: Array = window_sum(coarse, SURROUNDINGS) / window_sum(ones, SURROUNDINGS)
    return mean
