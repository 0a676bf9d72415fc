"""Enlargement without a companion image: nearest, bilinear, bicubic."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.sharpening.blocks import Array, expand, fill, image_of


def nearest(lst: npt.ArrayLike, scale: int = 4) -> Array:
    """Repeat each coarse pixel over its block.

    Parameters
    ----------
    lst
        Coarse image (y, x), NaN where missing.
    scale
        Fine pixels along one side of a coarse pixel.

    Returns
    -------
    ndarray
        float64 (scale * y, scale * x).
    """
    enlarged: Array = expand(image_of(lst, "LST"), _checked(scale))
    return enlarged


def bilinear(lst: npt.ArrayLike, scale: int = 4) -> Array:
    """Interpolate linearly between the centres of coarse pixels.

    Half-pixel centres and a replicated border (OpenCV's ``INTER_LINEAR``). A missing coarse
    pixel is missing in the fine map as a whole block, and no other pixel is.

    Parameters
    ----------
    lst
        Coarse image (y, x), NaN where missing.
    scale
        Fine pixels along one side of a coarse pixel.

    Returns
    -------
    ndarray
        float64 (scale * y, scale * x).
    """
    return enlarge(image_of(lst, "LST"), _weights(_triangle, 1, _checked(scale)))


def bicubic(lst: npt.ArrayLike, scale: int = 4, *, a: float = -0.75) -> Array:
    """Interpolate by cubic convolution (Keys 1981, doi 10.1109/TASSP.1981.1163711).

    Half-pixel centres and a replicated border; with the default `a`, OpenCV's ``INTER_CUBIC``,
    which the studies use. A missing coarse pixel is missing as a whole block, no other is.

    Parameters
    ----------
    lst
        Coarse image (y, x), NaN where missing.
    scale
        Fine pixels along one side of a coarse pixel.
    a
        Slope of the kernel at distance 1.

    Returns
    -------
    ndarray
        float64 (scale * y, scale * x).
    """

    def kernel(distance: Array) -> Array:
        near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
        far = a * (((distance - 5) * distance + 8) * distance - 4)
        return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))

    return enlarge(image_of(lst, "LST"), _weights(kernel, 2, _checked(scale)))


def _triangle(distance: Array) -> Array:
    return np.maximum(0.0, 1.0 - distance)


def _weights(kernel: object, reach: int, scale: int) -> Array:
    """Weights (scale, 2 * reach + 1) of the coarse pixels around, for each place in a block."""
    assert callable(kernel)
    places = (np.arange(scale) + 0.5) / scale - 0.5
    weights: Array = kernel(np.abs(np.arange(-reach, reach + 1) - places[:, None]))
    return weights


def enlarge(coarse: Array, weights: Array) -> Array:
    """Enlarge with given weights (scale, 2 * reach + 1) of the coarse pixels around."""
    scale, reach = weights.shape[0], weights.shape[1] // 2
    fine = fill(coarse, reach)
    for axis in (0, 1):
        fine = _enlarge_axis(fine, weights, axis)
    fine[expand(np.isnan(coarse), scale)] = np.nan
    return fine


def _enlarge_axis(image: Array, weights: Array, axis: int) -> Array:
    reach = weights.shape[1] // 2
    margins = [(0, 0), (0, 0)]
    margins[axis] = (reach, reach)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(image, margins, mode="edge"), weights.shape[1], axis=axis
    )
    places = windows @ weights.T
    shape = list(image.shape)
    shape[axis] *= weights.shape[0]
    return np.moveaxis(places, -1, axis + 1).reshape(shape)


def _checked(scale: int) -> int:
    if scale < 1:
        raise ValueError(f"an image is enlarged 1 times or more, not {scale}")
    return scale
