"""Noise of a coarse image, told from the image and its companion alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.sharpening.blocks import Array, pair_of
from models.sharpening.degradation import Degradation
from models.sharpening.local_slope import Response


def unexplained(
    lst: npt.ArrayLike, ndvi: npt.ArrayLike, degradation: Degradation | None = None
) -> Array:
    """What NDVI leaves of LST at the coarse scale, by the curve and the windows of local slope.

    Parameters
    ----------
    lst
        Coarse LST (y, x), kelvin, NaN where missing.
    ndvi
        Fine NDVI (scale * y, scale * x), NaN where missing, registered to `lst`.
    degradation
        H, the sensor's blur; by default a Gaussian of half a coarse pixel.

    Returns
    -------
    ndarray
        float64 (y, x), kelvin, of mean 0.

    Raises
    ------
    ValueError
        If the grids do not nest, or no coarse pixel has both.
    """
    coarse, fine, scale = pair_of(lst, ndvi)
    degradation = degradation or Degradation.gaussian(scale / 2, scale)
    response = Response.fit(coarse, fine, degradation)
    companion = degradation(response.curve.at(fine))
    residual = coarse - response.lines(coarse, companion).at(companion)
    centred: Array = residual - np.nanmean(residual)
    return centred


def neighbour_correlation(residual: Array) -> float:
    """Correlation between pixels side by side, both directions together."""
    products = [residual[1:] * residual[:-1], residual[:, 1:] * residual[:, :-1]]
    shared = np.mean([np.nanmean(product) for product in products])
    return float(shared / np.nanmean(residual**2))


def sensor_noise(residual: Array, degradation: Degradation) -> float:
    """Standard deviation, in kelvin, of noise that differs from pixel to pixel.

    The nugget of the residual (Curran and Dungan 1989, doi 10.1109/TGRS.1989.35945, who take
    noise for what the semivariance keeps at distance 0). Here not extrapolated but told from the
    sensor: white detail of the ground, seen through the point spread function, has a known
    correlation between neighbours, and what the residual falls short of it is noise.

    Parameters
    ----------
    residual
        (y, x), kelvin, of mean 0, NaN where missing; see `unexplained`.
    degradation
        H, the sensor's blur.
    """
    share = neighbour_correlation(residual) / _own_correlation(degradation)
    return float(np.sqrt(np.nanmean(residual**2) * np.clip(1 - share, 0, 1)))


def _own_correlation(degradation: Degradation) -> float:
    """Between neighbours, of white noise on the fine grid after the degradation."""
    weights = np.array(degradation.weights)
    shifted = np.zeros_like(weights)
    shifted[degradation.scale :] = weights[: -degradation.scale]
    return float(weights @ shifted / (weights @ weights))
