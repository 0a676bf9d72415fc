"""Local slope: NDVI's fine detail, times how LST changes with NDVI around each pixel.

Nothing is learnt from a fine LST. Three choices follow from the images' resolution and from
MODIS alone:

* NDVI is brought to the sensor's resolution by its point spread function before LST is regressed
  on it, and its finest detail is damped to the resolution of the map that is wanted.
* LST answers to NDVI along one cubic curve for the scene, scaled in each window: held-out LST at
  1 km is better restored from 4 km than with straight lines.
* What NDVI does not explain is spread through the point spread function, not interpolated. Over
  the public MODIS and ASTER pairs its correlation from one MODIS pixel to the next is 0.31, below
  the 0.37 that the point spread function alone gives to white noise: it holds no finer detail.
  (Held-out reconstruction from 4 km cannot tell: averaging to 4 km takes the noise away.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from models.sharpening.blocks import Array, expand, pair_of
from models.sharpening.degradation import Degradation
from models.sharpening.gradients import low_pass
from models.sharpening.interpolation import bicubic, bilinear
from models.sharpening.regression import Line, LocalLines

TARGET_MTF = 0.1
"""Transfer at the fine grid's Nyquist frequency of the map that is wanted: what the study
degrades ASTER with, and all that NDVI's finest detail may contribute."""
RIDGE = 0.1
"""Weight of the whole image's slope in each window, as a share of the image's variance."""
DEGREE = 3
LEAST_SAMPLES = 30
"""Coarse pixels below which a curve would be fitted to noise; a line is taken instead."""


@dataclass(frozen=True, slots=True)
class Curve:
    """LST as a cubic of NDVI, continued by straight lines beyond where nearly all samples lie."""

    coefficients: tuple[float, ...]
    """Of rising powers of ``NDVI - centre``."""
    centre: float
    low: float
    high: float

    @classmethod
    def fit(cls, lst: Array, ndvi: Array) -> Self:
        """Least squares over coarse pixels (y, x) that have both.

        Raises
        ------
        ValueError
            If no pixel has both.
        """
        line = Line.fit(lst, ndvi)
        there = np.isfinite(lst) & np.isfinite(ndvi)
        x, y = ndvi[there], lst[there]
        centre = float(x.mean())
        low, high = (float(value) for value in np.percentile(x, (1, 99)))
        if len(x) < LEAST_SAMPLES or high - low < 1e-6:
            return cls((float(line.at(x).mean()), line.slope), centre, low, high)
        powers = (x - centre)[:, None] ** np.arange(DEGREE + 1)
        found = np.linalg.lstsq(powers, y, rcond=None)[0]
        return cls(tuple(found.tolist()), centre, low, high)

    def at(self, ndvi: Array) -> Array:
        """LST on the curve, kelvin; NaN where NDVI is missing."""
        curve = np.polynomial.Polynomial(self.coefficients)
        inside = np.clip(ndvi, self.low, self.high)
        at: Array = curve(inside - self.centre)
        return at + curve.deriv()(inside - self.centre) * (ndvi - inside)


@dataclass(frozen=True, slots=True)
class Response:
    """How LST answers to NDVI over a whole scene: what windows scale, or fall back on."""

    curve: Curve
    line: Line
    """LST against the curve's values, degraded to the coarse grid."""
    variance: float
    """Of those values, kelvin squared."""

    @classmethod
    def fit(cls, lst: npt.ArrayLike, ndvi: npt.ArrayLike, degradation: Degradation) -> Self:
        """Fit to coarse LST (y, x) and fine NDVI (scale * y, scale * x), NaN where missing.

        Raises
        ------
        ValueError
            If the grids do not nest, or no coarse pixel has both.
        """
        coarse, fine, _ = pair_of(lst, ndvi)
        curve = Curve.fit(coarse, degradation(fine))
        guide = degradation(curve.at(fine))
        there = np.isfinite(coarse) & np.isfinite(guide)
        return cls(curve, Line.fit(coarse, guide), float(guide[there].var()))


def local_slope(
    lst: npt.ArrayLike,
    ndvi: npt.ArrayLike,
    *,
    radius: int = 3,
    degradation: Degradation | None = None,
    gain: float = 1.0,
    response: Response | None = None,
) -> Array:
    """Add NDVI's fine detail to the enlarged LST, by a slope regressed in moving windows.

    Parameters
    ----------
    lst
        Coarse LST (y, x), kelvin, NaN where missing.
    ndvi
        Fine NDVI (scale * y, scale * x), NaN where missing, registered to `lst`.
    radius
        Of the window, in coarse pixels.
    degradation
        H, the sensor's blur; by default a Gaussian of half a coarse pixel.
    gain
        Of the detail: below 1 for a smoother map with a smaller RMSE, above for a sharper one.
    response
        Fitted before to the whole scene when this is a tile of it.

    Returns
    -------
    ndarray
        float64 (scale * y, scale * x), kelvin; missing exactly where LST or NDVI is. It does
        not average back to `lst`: the residual is smoothed on purpose.

    Raises
    ------
    ValueError
        If the grids do not nest, or no coarse pixel has both.
    """
    coarse, fine, scale = pair_of(lst, ndvi)
    degradation = degradation or Degradation.gaussian(scale / 2, scale)
    response = response or Response.fit(coarse, fine, degradation)
    guide = response.curve.at(fine)
    companion = degradation(guide)
    lines = LocalLines.fit(
        coarse, companion, radius=radius, line=response.line, ridge=RIDGE * response.variance
    )
    trend = lines.at(companion)
    detail = low_pass(guide, TARGET_MTF, scale=1) - bicubic(companion, scale)
    sharpened: Array = (
        bicubic(trend, scale)
        + gain * bilinear(lines.slope, scale) * detail
        + degradation.spread(coarse - trend)
    )
    sharpened[expand(np.isnan(coarse), scale)] = np.nan
    return sharpened
