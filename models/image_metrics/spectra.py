"""Fourier-space metrics: spectral energy by distance from zero frequency, without phase.

Random texture of the right strength scores perfectly here: read these beside
`models.image_metrics.detail_correlation` or `gradient_ssim`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.image_metrics.pixels import Array


class SpectralErrors(NamedTuple):
    """How the spectrum of a map lies between those of a smooth map and of the truth."""

    restoration: float
    """FRR: share of the energy that the bicubic map lacks and this one has; 1 is best."""
    overshoot: float
    """FRO: energy above the truth's; 0 is best."""
    undershoot: float
    """FRU: energy below the bicubic map's; 0 is best."""
    rmse: float
    """RMSE_att: between the two attenuation spectra, dB."""


def attenuation(image: npt.ArrayLike) -> Array:
    """Mean spectral magnitude in rings around zero frequency, in dB below that at zero.

    Parameters
    ----------
    image
        (y, x), without missing pixels. No window is applied and the mean is kept.

    Returns
    -------
    ndarray
        Element 0 is 1 (a constant of the study's code, not a level); element ``r + 1`` is
        the ring of distances ``r < d <= r + 1``, for r from 0 to ``min(y // 2, x // 2) - 2``.

    Raises
    ------
    ValueError
        If pixels are missing: a Fourier transform has no place for them.
    """
    values = np.asarray(image, dtype=np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(
            "a spectrum needs an image (y, x) without missing pixels: cut it to a rectangle "
            "that is free of them"
        )
    magnitude = np.fft.fftshift(np.abs(np.fft.fft2(values)))
    centre = tuple(size // 2 for size in values.shape)
    rows, columns = np.ogrid[: values.shape[0], : values.shape[1]]
    distance = np.hypot(rows - centre[0], columns - centre[1])
    ring = np.ceil(distance).astype(np.intp).ravel()
    rings = min(centre)
    energy = np.bincount(ring, weights=magnitude.ravel()) / np.maximum(np.bincount(ring), 1)
    levels = 10 * (np.log10(energy[1:rings]) - np.log10(magnitude[centre]))
    return np.concatenate([[1.0], levels])


def spectral_errors(
    truth: npt.ArrayLike, image: npt.ArrayLike, smooth: npt.ArrayLike
) -> SpectralErrors:
    """Compare attenuation spectra, bin by bin, as the study does.

    Parameters
    ----------
    truth, image
        (y, x) of one shape, without missing pixels.
    smooth
        The bicubic map after the same reprojection and crop.

    Raises
    ------
    ValueError
        If pixels are missing or shapes differ.
    """
    if not np.shape(truth) == np.shape(image) == np.shape(smooth):
        raise ValueError(
            f"spectra of images of one shape are compared, not of {np.shape(truth)}, "
            f"{np.shape(image)} and {np.shape(smooth)}"
        )
    q, p, b = attenuation(truth), attenuation(image), attenuation(smooth)
    lacking = np.maximum(q - b, 0).sum()
    restored = (np.maximum(np.minimum(p, q), np.minimum(b, q)) - np.minimum(q, b)).sum()
    return SpectralErrors(
        restoration=float(restored / lacking) if lacking > 0 else float("nan"),
        overshoot=float((q - np.maximum(p, q)).sum() / q.sum()),
        undershoot=float((b - np.minimum(p, b)).sum() / b.sum()),
        rmse=float(np.sqrt(np.mean((p - q) ** 2))),
    )
