"""Local slope: NDVI's fine detail, times how LST changes with NDVI around each pixel.

Nothing is learnt from a fine LST. Three choices follow from the images' resolution and from
MODIS alone:

* NDVI is brought to the sensor's resolution by its point spread function before LST is regressed
  on it, and its finest detail is damped to the resolution of the map that is wanted.
* LST answers to NDVI along one cubic curve for the scene, scaled in each window: held-out LST at
  1 km is better restored from 4 km than with straight lines.
* What NDVI does not explain is spread through the point spread function, not interpolated. From
  one MODIS pixel to the next it is less correlated than the point spread function alone makes
  white noise: it holds no finer detail, but noise of MODIS's own
  (`models.sharpening.noise.sensor_noise`). With that noise, held-out reconstruction from 4 km
  prefers spreading; without it, interpolation, for averaging to 4 km takes the noise away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

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
RADIUS = 3
"""Of the window in which the slope is regressed, coarse pixels."""
DEGREE = 3
Residual = Literal["spread", "interpolated"]
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
    def fit(cls, lst: Array, ndvi: Array, degree: int = DEGREE) -> Self:
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
        powers = (x - centre)[:, None] ** np.arange(degree + 1)
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
    def fit(
        cls,
        lst: npt.ArrayLike,
        ndvi: npt.ArrayLike,
        degradation: Degradation,
        degree: int = DEGREE,
    ) -> Self:
        """Fit to coarse LST (y, x) and fine NDVI (scale * y, scale * x), NaN where missing.

        Parameters
        ----------
        lst, ndvi
            Images of the whole scene.
        degradation
            H, the sensor's blur.
        degree
            Of the curve: 1 for a straight line.

        Raises
        ------
        ValueError
            If the grids do not nest, or no coarse pixel has both.
        """
        coarse, fine, _ = pair_of(lst, ndvi)
        curve = Curve.fit(coarse, degradation(fine), degree)
        return cls.of_guide(coarse, curve, degradation(curve.at(fine)))

    @classmethod
    def of_guide(cls, coarse: Array, curve: Curve, guide: Array) -> Self:
        """From the curve's values at the coarse scale: for scenes that are worked through in tiles.

        Parameters
        ----------
        coarse
            LST (y, x), kelvin.
        curve
            Of the scene.
        guide
            ``degradation(curve.at(ndvi))``, (y, x).

        Raises
        ------
        ValueError
            If no coarse pixel has both.
        """
        there = np.isfinite(coarse) & np.isfinite(guide)
        return cls(curve, Line.fit(coarse, guide), float(guide[there].var()))

    def lines(self, coarse: Array, guide: Array, radius: int = RADIUS) -> LocalLines:
        """LST against the curve's values in moving windows, drawn towards the whole scene's line.

        Parameters
        ----------
        coarse
            LST (y, x), kelvin.
        guide
            ``degradation(curve.at(ndvi))``, (y, x).
        radius
            Of the windows, pixels.
        """
        return LocalLines.fit(
            coarse, guide, radius=radius, line=self.line, ridge=RIDGE * self.variance
        )


def local_slope(
    lst: npt.ArrayLike,
    ndvi: npt.ArrayLike,
    *,
    radius: int = RADIUS,
    degradation: Degradation | None = None,
    gain: float = 1.0,
    degree: int = DEGREE,
    residual: Residual = "spread",
    mtf: float | None = TARGET_MTF,
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
    degree
        Of the curve along which LST answers to NDVI over the scene: 1 for a straight line.
    residual
        What becomes of LST that NDVI does not explain: ``"spread"`` through the point spread
        function, or ``"interpolated"`` by cubic convolution.
    mtf
        Transfer at the fine grid's Nyquist frequency to which NDVI's detail is damped; None for
        an NDVI that has the resolution of the map already.
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
    response = response or Response.fit(coarse, fine, degradation, degree)
    guide = response.curve.at(fine)
    companion = degradation(guide)
    lines = response.lines(coarse, companion, radius)
    trend = lines.at(companion)
    damped = guide if mtf is None else low_pass(guide, mtf, scale=1)
    detail = damped - bicubic(companion, scale)
    enlarge = degradation.spread if residual == "spread" else _interpolated(scale)
    sharpened: Array = (
        bicubic(trend, scale)
        + gain * bilinear(lines.slope, scale) * detail
        + enlarge(coarse - trend)
    )
    sharpened[expand(np.isnan(coarse), scale)] = np.nan
    return sharpened


def _interpolated(scale: int) -> Callable[[Array], Array]:
    return lambda coarse: bicubic(coarse, scale)
