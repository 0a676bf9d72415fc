"""Pixel by pixel: how far a fine map is from the truth, and where."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def both(truth: npt.ArrayLike, image: npt.ArrayLike) -> tuple[Array, Array]:
    """Two images (y, x) as float64, each missing where one of them is.

    Raises
    ------
    ValueError
        If their shapes differ, or no pixel is in both.
    """
    a, s = np.array(truth, dtype=np.float64), np.array(image, dtype=np.float64)
    if a.shape != s.shape or a.ndim != 2:
        raise ValueError(
            f"two images (y, x) of one shape are compared, not {a.shape} and {s.shape}"
        )
    missing = ~(np.isfinite(a) & np.isfinite(s))
    if missing.all():
        raise ValueError("no pixel is valid in both images, so there is nothing to compare")
    a[missing], s[missing] = np.nan, np.nan
    return a, s


def data_range(truth: npt.ArrayLike, image: npt.ArrayLike) -> float:
    """Largest minus smallest value of both images together, over the pixels that both have.

    The protocol takes this for every pair and every method anew, so that a noisier map has a
    wider range and thereby a higher PSNR and SSIM.
    """
    a, s = both(truth, image)
    return float(max(np.nanmax(a), np.nanmax(s)) - min(np.nanmin(a), np.nanmin(s)))


def rmse(truth: npt.ArrayLike, image: npt.ArrayLike) -> float:
    """Root of the mean squared difference over the pixels that both images have."""
    a, s = both(truth, image)
    return float(np.sqrt(np.nanmean((a - s) ** 2)))


def mae(truth: npt.ArrayLike, image: npt.ArrayLike) -> float:
    """Mean absolute difference over the pixels that both images have."""
    a, s = both(truth, image)
    return float(np.nanmean(np.abs(a - s)))


def bias(truth: npt.ArrayLike, image: npt.ArrayLike) -> float:
    """Mean of image minus truth over the pixels that both images have."""
    a, s = both(truth, image)
    return float(np.nanmean(s - a))


def unbiased_rmse(truth: npt.ArrayLike, image: npt.ArrayLike) -> float:
    """RMSE after the bias has been taken off: what a scene-wide offset cannot explain."""
    a, s = both(truth, image)
    return float(np.nanstd(s - a))


def correlation(truth: npt.ArrayLike, image: npt.ArrayLike) -> float:
    """Pearson's correlation; NaN if one of the images is constant."""
    a, s = both(truth, image)
    there = np.isfinite(a)
    a, s = a[there] - a[there].mean(), s[there] - s[there].mean()
    scale = float(np.sqrt((a @ a) * (s @ s)))
    return float(a @ s) / scale if scale > 0 else float("nan")


def psnr(truth: npt.ArrayLike, image: npt.ArrayLike) -> float:
    """``10 log10(R^2 / MSE)`` in dB, R the `data_range`; infinite for equal images."""
    error, span = rmse(truth, image), data_range(truth, image)
    return float(20 * np.log10(span / error)) if error > 0 else float("inf")


class TextureErrors(NamedTuple):
    """RMSE where the truth has little, usual and much texture."""

    low: float
    mid: float
    high: float


def rmse_by_texture(truth: npt.ArrayLike, image: npt.ArrayLike) -> TextureErrors:
    """RMSE where the truth's texture is below its lower quartile, between, above the upper one.

    Texture is the absolute difference between the truth and itself smoothed by a Gaussian with
    a transfer of 0.1 at the Nyquist frequency of a grid four times coarser.
    """
    from models.sharpening.gradients import high_pass

    a, s = both(truth, image)
    texture, squared = np.abs(high_pass(a, mtf=0.1)), (a - s) ** 2
    there = np.isfinite(squared)
    texture, squared = texture[there], squared[there]
    low, high = np.percentile(texture, (25, 75))
    parts = (texture < low, (texture >= low) & (texture <= high), texture >= high)
    return TextureErrors(*(_root_mean(squared[part]) for part in parts))


def _root_mean(squared: Array) -> float:
    return float(np.sqrt(squared.mean())) if squared.size else float("nan")
