"""LST as a straight line of NDVI, over the whole image (TsHARP) or in moving windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from models.sharpening.blocks import Array, block_mean, block_norm4, expand, pair_of

PUBLISHED_COLDEST = 273.0
"""The authors fit lines to LST above this, in kelvin."""


@dataclass(frozen=True, slots=True)
class Line:
    """``LST = intercept + slope * NDVI``."""

    slope: float
    """Kelvin per unit of NDVI."""
    intercept: float
    """Kelvin."""

    @classmethod
    def fit(cls, lst: npt.ArrayLike, ndvi: npt.ArrayLike, *, above: float = -np.inf) -> Self:
        """Ordinary least squares over the pixels that have both and are warmer than `above`.

        Parameters
        ----------
        lst, ndvi
            Arrays of one shape, NaN where missing. Samples of several images may be joined.
        above
            Kelvin; colder pixels are left out.

        Notes
        -----
        Where NDVI does not vary, the line is flat: NDVI then tells nothing about LST.

        Raises
        ------
        ValueError
            If no pixel has both.
        """
        temperature, index = np.asarray(lst, np.float64), np.asarray(ndvi, np.float64)
        there = np.isfinite(temperature) & np.isfinite(index) & (temperature > above)
        if not there.any():
            raise ValueError(
                "no coarse pixel has both LST and NDVI, so no line can be fitted: do the two "
                "images overlap, and is anything left of them after cloud screening?"
            )
        x, y = index[there], temperature[there]
        spread = x - x.mean()
        variance = float(spread @ spread)
        slope = float(spread @ y) / variance if variance > 1e-12 * len(x) else 0.0
        return cls(slope, float(y.mean() - slope * x.mean()))

    def at(self, ndvi: Array) -> Array:
        """LST on the line, kelvin."""
        return self.intercept + self.slope * ndvi


@dataclass(frozen=True, slots=True, eq=False)
class LocalLines:
    """One line for each coarse pixel, from the window around it."""

    slope: Array
    """Kelvin per unit of NDVI, (y, x); finite everywhere."""
    intercept: Array
    """Kelvin, (y, x)."""

    @classmethod
    def fit(
        cls,
        lst: Array,
        ndvi: Array,
        *,
        radius: int = 2,
        line: Line | None = None,
        above: float = -np.inf,
        rim: bool = True,
        ridge: float = 0.0,
    ) -> Self:
        """Fit the window of ``2 * radius + 1`` pixels around each pixel.

        Parameters
        ----------
        lst, ndvi
            Coarse images (y, x), NaN where missing.
        radius
            Of the window, in coarse pixels.
        line
            Where a window has pixels for no more than two thirds of its full size, or NDVI does
            not vary in it; by default that of the whole image.
        above
            Kelvin; colder pixels are left out.
        rim
            Fit the truncated windows at the border too; otherwise pixels nearer to it than
            `radius` have `line`, as published.
        ridge
            Variance of NDVI that speaks for the slope of `line`: a window with as much gets the
            slope halfway between that and its own.
        """
        line = line or Line.fit(lst, ndvi, above=above)
        there = np.isfinite(lst) & np.isfinite(ndvi) & (np.nan_to_num(lst) > above)
        # Centred first: sums of squares of kelvins would lose the digits that matter.
        centre = float(ndvi[there].mean()) if there.any() else 0.0
        x = np.where(there, ndvi - centre, 0.0)
        y = np.where(there, lst - line.at(ndvi), 0.0)
        ones: Array = np.ones(lst.shape)
        count, full = window_sum(ones * there, radius), window_sum(ones, radius)
        sx, sy, sxx, sxy = (window_sum(part, radius) for part in (x, y, x * x, x * y))
        weight = np.maximum(count, 1.0)
        variance = sxx - sx * sx / weight
        known = (count > full * 2 / 3) & (variance > 1e-9 * weight)
        if not rim:
            known &= full == (2 * radius + 1) ** 2
        variance += ridge * weight
        change = np.divide(sxy - sx * sy / weight, variance, out=np.zeros_like(lst), where=known)
        shift = np.where(known, (sy - change * sx) / weight - change * centre, 0.0)
        return cls(line.slope + change, line.intercept + shift)

    def at(self, ndvi: Array, scale: int = 1) -> Array:
        """LST on each pixel's line, for NDVI on the coarse grid or one finer by `scale`."""
        return expand(self.intercept, scale) + expand(self.slope, scale) * ndvi


def window_sum(image: Array, radius: int) -> Array:
    """Sum over the square window around each pixel; beyond the border there is nothing."""
    from scipy.ndimage import convolve1d

    ones = np.ones(2 * radius + 1)
    along_y = convolve1d(image, ones, axis=0, mode="constant")
    summed: Array = convolve1d(along_y, ones, axis=1, mode="constant")
    return summed


def coarse_ndvi(ndvi: Array, scale: int, *, published: bool = False) -> Array:
    """NDVI on the coarse grid: block means, or the authors' 4-norm clipped to -1..1."""
    return np.clip(block_norm4(ndvi, scale), -1, 1) if published else block_mean(ndvi, scale)


def tsharp(
    lst: npt.ArrayLike,
    ndvi: npt.ArrayLike,
    *,
    line: Line | None = None,
    published: bool = False,
) -> Array:
    """TsHARP: one line for the image, and what it leaves unexplained added block by block.

    Agam et al. 2007 (doi 10.1016/j.rse.2006.10.006), with NDVI itself as the predictor.

    Parameters
    ----------
    lst
        Coarse LST (y, x), kelvin, NaN where missing.
    ndvi
        Fine NDVI (scale * y, scale * x), NaN where missing.
    line
        Fitted before, for example over the whole scene when this is a tile of it.
    published
        As the super-resolution study's code has it: NDVI to 1 km by 4-norm, only LST above
        273 K in the fit. The fine map then does not average back to `lst`; otherwise it does.

    Returns
    -------
    ndarray
        float64 (scale * y, scale * x), kelvin; missing exactly where LST or NDVI is.

    Raises
    ------
    ValueError
        If the grids do not nest, or no coarse pixel has both.
    """
    coarse, fine, scale = pair_of(lst, ndvi)
    companion = coarse_ndvi(fine, scale, published=published)
    line = line or Line.fit(coarse, companion, above=coldest(published))
    sharpened: Array = line.at(fine) + expand(coarse - line.at(companion), scale)
    return sharpened


def coldest(published: bool) -> float:
    """LST, in kelvin, above which pixels enter a fit."""
    return PUBLISHED_COLDEST if published else -np.inf
