"""Sobel responses and Gaussian filters of images, as the studies' losses and metrics have them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.sharpening.blocks import Array, image_of

SOBEL: tuple[tuple[tuple[int, ...], ...], ...] = (
    ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)),
    ((1, 2, 1), (0, 0, 0), (-1, -2, -1)),
    ((2, 1, 0), (1, 0, -1), (0, -1, -2)),
    ((0, 1, 2), (-1, 0, 1), (-2, -1, 0)),
)
"""3 x 3 kernels: along columns, along rows, and the two diagonals."""


def sobel(image: npt.ArrayLike) -> Array:
    """The four signed Sobel responses (4, y - 2, x - 2) of an image (y, x), no border."""
    windows = np.lib.stride_tricks.sliding_window_view(image_of(image, "the image"), (3, 3))
    responses: Array = np.einsum("yxij,kij->kyx", windows, np.array(SOBEL, dtype=np.float64))
    return responses


def sobel_magnitude(image: npt.ArrayLike, kernels: int = 4) -> Array:
    """Root of the sum of squares of the first `kernels` Sobel responses, (y - 2, x - 2)."""
    magnitude: Array = np.sqrt((sobel(image)[:kernels] ** 2).sum(axis=0))
    return magnitude


def gaussian_kernel(mtf: float, scale: int = 4) -> Array:
    """One-dimensional Gaussian with a given transfer at the Nyquist frequency of a coarser grid.

    Parameters
    ----------
    mtf
        Modulation transfer at that frequency, between 0 and 1.
    scale
        Ratio of the grids. The kernel is cut at this many fine pixels from its centre, which
        raises its transfer: for 0.1 and 4, sigma falls from 2.73 to 2.16 pixels.

    Returns
    -------
    ndarray
        2 * scale + 1 weights of sum 1.

    Raises
    ------
    ValueError
        If `mtf` is not between 0 and 1.
    """
    if not 0 < mtf < 1:
        raise ValueError(f"a modulation transfer lies between 0 and 1, not at {mtf}")
    sigma = np.sqrt(-np.log(mtf) / 2) / (np.pi * 0.5 / scale)
    weights = np.exp(-(np.arange(-scale, scale + 1) ** 2) / (2 * sigma**2))
    normalised: Array = weights / weights.sum()
    return normalised


def low_pass(image: npt.ArrayLike, mtf: float = 0.1, scale: int = 4) -> Array:
    """Smooth with `gaussian_kernel` along both axes, the border mirrored.

    Missing pixels stay missing and take no part: the others are weighted means of what is there.
    """
    values = image_of(image, "the image")
    kernel = gaussian_kernel(mtf, scale)
    missing = np.isnan(values)
    if not missing.any():
        return _smooth(values, kernel)
    total, weight = (
        _smooth(part, kernel) for part in (np.where(missing, 0.0, values), 1.0 - missing)
    )
    return np.divide(total, weight, out=np.full_like(total, np.nan), where=~missing)


def high_pass(image: npt.ArrayLike, mtf: float = 0.1, scale: int = 4) -> Array:
    """The image minus its `low_pass`."""
    values = image_of(image, "the image")
    return values - low_pass(values, mtf, scale)


def _smooth(image: Array, kernel: Sequence[float] | Array) -> Array:
    from scipy.ndimage import correlate1d

    smooth: Array = correlate1d(
        correlate1d(image, kernel, axis=0, mode="mirror"), kernel, axis=1, mode="mirror"
    )
    return smooth
