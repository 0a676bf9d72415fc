"""Structural similarity of maps and of their gradients, and agreement of fine detail."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.image_metrics.pixels import Array, both, correlation, data_range, rmse
from models.sharpening.gradients import high_pass, sobel, sobel_magnitude

WINDOW = 7
"""Side of the uniform window, in pixels."""
K1, K2 = 0.01, 0.03


def ssim(truth: npt.ArrayLike, image: npt.ArrayLike) -> float:
    """Mean structural similarity (Wang et al. 2004, doi 10.1109/TIP.2003.819861).

    scikit-image's with its defaults, which the protocol uses: uniform 7 x 7 window, sample
    covariance, K1 = 0.01, K2 = 0.03, `data_range` of both images together, a border of 3 pixels
    left out. Where pixels are missing, only windows without a missing pixel count.

    Raises
    ------
    ValueError
        If the images are smaller than the window, or no window is complete.
    """
    from skimage.metrics import structural_similarity

    a, s = _large_enough(*both(truth, image))
    span = data_range(a, s)
    if span == 0:
        return 1.0
    there = np.isfinite(a)
    _, similarity = structural_similarity(
        np.where(there, a, np.nanmean(a)),
        np.where(there, s, np.nanmean(s)),
        win_size=WINDOW,
        data_range=span,
        full=True,
    )
    return _mean_of_complete(similarity, there)


def gradient_ssim(truth: npt.ArrayLike, image: npt.ArrayLike) -> float:
    """SSIM with contrast and structure taken from Sobel magnitudes instead of the maps.

    Product of luminance (of the maps), contrast and structure (of ``hypot`` of the two 3 x 3
    Sobel responses, unscaled), with ``C2 / 2`` in the structure term's denominator and ``C2`` in
    its numerator, as in the study's code (so that equal maps score above 1); windows, constants
    and range as for `ssim`. After Chen et al. 2006 (doi 10.1109/ICIP.2006.313132).

    Raises
    ------
    ValueError
        As for `ssim`.
    """
    a, s = both(truth, image)
    span = data_range(a, s)
    if span == 0:
        return 1.0
    c1, c2 = (K1 * span) ** 2, (K2 * span) ** 2
    f, g = _magnitude(a), _magnitude(s)
    a, s = _large_enough(a[1:-1, 1:-1], s[1:-1, 1:-1])
    there = np.isfinite(f) & np.isfinite(g)
    a, s, f, g = (np.where(there, part, part[there].mean()) for part in (a, s, f, g))
    mean_a, mean_s = _mean(a), _mean(s)
    var_f, var_g, cov = _covariance(f, f), _covariance(g, g), _covariance(f, g)
    spread = np.sqrt(var_f * var_g)
    luminance = (2 * mean_a * mean_s + c1) / (mean_a**2 + mean_s**2 + c1)
    contrast = (2 * spread + c2) / (var_f + var_g + c2)
    structure = (cov + c2) / (spread + c2 / 2)
    return _mean_of_complete(luminance * contrast * structure, there)


def gradient_rmse(truth: npt.ArrayLike, image: npt.ArrayLike) -> float:
    """RMSE between gradient magnitudes of four Sobel responses (0, 90 degrees, two diagonals)."""
    a, s = both(truth, image)
    return rmse(sobel_magnitude(a), sobel_magnitude(s))


def detail_correlation(truth: npt.ArrayLike, image: npt.ArrayLike) -> float:
    """Correlation of what remains after smoothing with `models.sharpening.gradients.low_pass`.

    Unlike spectra it sees phase: texture of the right strength in the wrong place scores 0.
    """
    a, s = both(truth, image)
    return correlation(high_pass(a, mtf=0.1), high_pass(s, mtf=0.1))


def detail_ratio(truth: npt.ArrayLike, image: npt.ArrayLike) -> float:
    """Standard deviation of the image's fine detail over that of the truth's; 1 is best."""
    a, s = both(truth, image)
    return float(np.nanstd(high_pass(s, mtf=0.1)) / np.nanstd(high_pass(a, mtf=0.1)))


def gradient_deviation(truth: npt.ArrayLike, image: npt.ArrayLike) -> float:
    """Gradient magnitude similarity deviation (Xue et al. 2014, doi 10.1109/TIP.2013.2293423).

    0 for equal images. Prewitt gradients after 2 x 2 averaging and decimation, with the paper's
    constant 170 scaled from 8-bit images to the `data_range` of these.
    """
    from scipy.ndimage import prewitt

    a, s = both(truth, image)
    span = data_range(a, s)
    if span == 0:
        return 0.0
    halved = [_half(part) for part in (a, s)]
    first, second = (
        np.hypot(prewitt(part, axis=0), prewitt(part, axis=1))[1:-1, 1:-1] / 3 for part in halved
    )
    constant = 170 * (span / 255) ** 2
    similarity = (2 * first * second + constant) / (first**2 + second**2 + constant)
    return float(np.nanstd(similarity))


def _half(image: Array) -> Array:
    rows, columns = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    image = image[:rows, :columns]
    mean: Array = image.reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3))
    return mean


def _magnitude(image: Array) -> Array:
    horizontal, vertical = sobel(image)[:2]
    return np.hypot(horizontal, vertical)


def _mean(image: Array) -> Array:
    from scipy.ndimage import uniform_filter

    mean: Array = uniform_filter(image, WINDOW)
    return mean


def _covariance(f: Array, g: Array) -> Array:
    pixels = WINDOW**2
    covariance = (_mean(f * g) - _mean(f) * _mean(g)) * pixels / (pixels - 1)
    # Rounding must not make a variance negative, whose root is taken.
    return np.maximum(covariance, 0.0) if f is g else covariance


def _large_enough(a: Array, s: Array) -> tuple[Array, Array]:
    if min(a.shape) < WINDOW:
        raise ValueError(
            f"structural similarity needs images of {WINDOW} pixels or more, not {a.shape}"
        )
    return a, s


def _mean_of_complete(similarity: Array, there: npt.NDArray[np.bool_]) -> float:
    """Mean over windows that lie in the image and have no missing pixel."""
    from scipy.ndimage import minimum_filter

    complete = minimum_filter(there.astype(np.uint8), WINDOW).astype(bool)
    pad = WINDOW // 2
    inner = (slice(pad, -pad), slice(pad, -pad))
    kept = similarity[inner][complete[inner]]
    if not kept.size:
        raise ValueError(f"no window of {WINDOW} x {WINDOW} pixels is free of missing pixels")
    return float(kept.mean())
