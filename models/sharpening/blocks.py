"""Coarse pixels and the blocks of fine pixels that they cover."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def pair_of(lst: npt.ArrayLike, ndvi: npt.ArrayLike) -> tuple[Array, Array, int]:
    """Check a coarse image and its fine companion, and find the ratio of their grids.

    Parameters
    ----------
    lst
        Coarse image (y, x), kelvin, NaN where missing.
    ndvi
        Fine image (scale * y, scale * x), NaN where missing, nested in the coarse grid.

    Returns
    -------
    lst, ndvi : ndarray
        As float64.
    scale : int
        Fine pixels along one side of a coarse pixel.

    Raises
    ------
    ValueError
        If the images are not two-dimensional or do not nest.
    """
    coarse, fine = image_of(lst, "LST"), image_of(ndvi, "NDVI")
    scale = fine.shape[0] // coarse.shape[0]
    if scale < 2 or fine.shape != (scale * coarse.shape[0], scale * coarse.shape[1]):
        raise ValueError(
            f"an NDVI of {fine.shape} pixels does not nest in an LST of {coarse.shape}: it needs "
            "the same whole number of pixels, 2 or more, for each LST pixel along both axes"
        )
    return coarse, fine, scale


def image_of(values: npt.ArrayLike, name: str) -> Array:
    """The image (y, x) as float64; infinite values, which no sensor measures, become NaN.

    Raises
    ------
    ValueError
        If it is not a two-dimensional image with pixels.
    """
    image: Array = np.array(values, dtype=np.float64)
    if image.ndim != 2 or 0 in image.shape:
        raise ValueError(f"{name} is an image with dimensions (y, x), not of shape {image.shape}")
    image[np.isinf(image)] = np.nan
    return image


def expand(coarse: npt.NDArray[Any], scale: int) -> npt.NDArray[Any]:
    """Repeat each coarse pixel over its block: (y, x) to (scale * y, scale * x)."""
    return coarse.repeat(scale, axis=0).repeat(scale, axis=1)


def blocks_of(fine: npt.NDArray[Any], scale: int) -> npt.NDArray[Any]:
    """View (scale * y, scale * x) as (y, x, scale * scale): the fine pixels of each coarse one."""
    rows, columns = fine.shape[0] // scale, fine.shape[1] // scale
    blocks = fine.reshape(rows, scale, columns, scale).swapaxes(1, 2)
    return blocks.reshape(rows, columns, scale * scale)


def block_mean(fine: npt.ArrayLike, scale: int) -> Array:
    """Mean over the pixels of each block that are there; NaN where none is."""
    return _mean(blocks_of(np.asarray(fine, dtype=np.float64), scale))


def block_std(fine: npt.ArrayLike, scale: int) -> Array:
    """Population standard deviation over the pixels of each block that are there."""
    blocks = blocks_of(np.asarray(fine, dtype=np.float64), scale)
    return np.sqrt(_mean((blocks - _mean(blocks)[..., None]) ** 2))


def block_norm4(fine: npt.ArrayLike, scale: int) -> Array:
    """``(mean x^4)^(1/4)`` of each block: never negative, and larger than the mean.

    The authors of the two studies bring both LST and NDVI to the coarser grid with it. For LST,
    radiant power per Stefan-Boltzmann; for NDVI, a defect that shifts regressions on it.
    """
    blocks = blocks_of(np.asarray(fine, dtype=np.float64), scale)
    return _mean(blocks**4) ** 0.25


def place(fine: npt.ArrayLike, offset: tuple[int, int]) -> Array:
    """Move an image by whole pixels on a grid of its own size; NaN where it does not reach.

    Parameters
    ----------
    fine
        Image (y, x).
    offset
        Rows and columns: pixel (r, c) goes to (r + rows, c + columns).
    """
    image = image_of(fine, "the image to place")
    placed = np.full_like(image, np.nan)
    targets, origins = [], []
    for step, size in zip(offset, image.shape, strict=True):
        kept = max(0, size - abs(step))
        targets.append(slice(max(0, step), max(0, step) + kept))
        origins.append(slice(max(0, -step), max(0, -step) + kept))
    placed[tuple(targets)] = image[tuple(origins)]
    return placed


def fill(coarse: Array, reach: int) -> Array:
    """Fill missing pixels up to `reach` pixels from a measured one with the mean of neighbours.

    Each of `reach` rounds gives missing pixels the mean of those of their eight neighbours that
    have a value. Local, so that a tile with a margin of `reach` is filled like the whole image.
    Missing pixels farther away become the image's mean: no kernel of that reach sees them
    together with a measured pixel.
    """
    filled: Array = coarse.copy()
    missing = np.isnan(filled)
    if not missing.any():
        return filled
    for _ in range(reach):
        windows = np.lib.stride_tricks.sliding_window_view(
            np.pad(filled, 1, constant_values=np.nan), (3, 3)
        )
        holes = np.isnan(filled)
        filled[holes] = _mean(windows[holes].reshape(-1, 9))
    holes = np.isnan(filled)
    filled[holes] = 0.0 if missing.all() else coarse[~missing].mean()
    return filled


def _mean(values: npt.NDArray[Any]) -> Array:
    """Mean over the last axis without NaN; NaN, and no warning, where there is nothing."""
    there = ~np.isnan(values)
    total = np.where(there, values, 0.0).sum(axis=-1)
    count = there.sum(axis=-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
