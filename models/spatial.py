"""Correlation of two maps whose pixels resemble their neighbours."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Correlation(NamedTuple):
    """Pearson's r of two maps, and how sure it is."""

    r: float
    pixels: int
    """Pixels that both maps have."""
    effective: float
    """Independent pixels that would give as sure a figure; never more than `pixels`."""
    p_value: float
    """Two-sided, of no correlation; NaN with 2 effective pixels or fewer."""
    low: float
    """Of the 95 % interval; -1 and 1 with 3 effective pixels or fewer."""
    high: float


def correlate(first: npt.ArrayLike, second: npt.ArrayLike) -> Correlation:
    """Pearson's r, judged by the number of pixels that are worth an observation of their own.

    Parameters
    ----------
    first, second
        Maps (y, x) on one grid, or stacks of them (time, y, x) whose dates are taken for
        independent of one another: average over dates first if they are not. NaN where missing.
        Truth values (whether a map is right) count as 0 and 1.

    Returns
    -------
    Correlation
        Effective sample size of Clifford, Richardson & Hémon 1989 (Biometrics 45, 123-134),
        ``1 + N^2 s_x^2 s_y^2 / sum_k N_k C_x(k) C_y(k)``, over rings k of equal
        distance, one pixel wide. Test as of a t with that size less 2 (Dutilleul 1993,
        Biometrics 49, 305-314, is exact where this is approximate; they hardly differ for more
        than 30 pixels), interval by Fisher's z.

    Raises
    ------
    ValueError
        If shapes differ, or fewer than 3 pixels are common to both.
    """
    from scipy import stats

    x, y = (np.asarray(values, np.float64) for values in (first, second))
    if x.shape != y.shape or x.ndim not in (2, 3):
        raise ValueError(f"maps to correlate have one shape (y, x), not {x.shape} and {y.shape}")
    there = np.isfinite(x) & np.isfinite(y)
    pixels = int(there.sum())
    if pixels < 3:
        raise ValueError(f"only {pixels} pixels are in both maps; a correlation takes 3 or more")
    x, y = (np.where(there, values - values[there].mean(), 0.0) for values in (x, y))
    spread = float(np.sqrt((x**2).sum() * (y**2).sum()))
    if spread == 0:
        return Correlation(float("nan"), pixels, float("nan"), float("nan"), -1.0, 1.0)
    r = float(np.clip((x * y).sum() / spread, -1.0, 1.0))
    effective = _effective(x, y, there, pixels, spread)
    p_value, low, high = float("nan"), -1.0, 1.0
    if effective > 2 and abs(r) < 1:
        t = r * np.sqrt((effective - 2) / (1 - r**2))
        p_value = float(2 * stats.t.sf(abs(t), effective - 2))
    if effective > 3 and abs(r) < 1:
        reach = stats.norm.ppf(0.975) / np.sqrt(effective - 3)
        low, high = np.tanh(np.arctanh(r) + np.array([-reach, reach])).tolist()
    return Correlation(r, pixels, effective, p_value, low, high)


def _effective(
    x: Floats, y: Floats, there: npt.NDArray[np.bool_], pixels: int, spread: float
) -> float:
    """Clifford et al. 1989; deviations from the mean, 0 where missing."""
    pairs = _products(there.astype(np.float64))
    ring = np.rint(np.hypot(*_lags(pairs.shape))).astype(int).ravel()

    def by_ring(values: Floats) -> Floats:
        return np.bincount(ring, values.ravel()).astype(np.float64)

    number = np.rint(by_ring(pairs))
    x_sums, y_sums = by_ring(_products(x)), by_ring(_products(y))
    # N_k C_x(k) C_y(k), where C is the sum over pairs divided by their number N_k.
    total = float(np.divide(x_sums * y_sums, number, where=number > 0, out=0 * number).sum())
    if total <= 0:
        return float(pixels)
    return float(min(1 + spread**2 / total, pixels))


def _products(values: Floats) -> Floats:
    """Sum of products of all ordered pairs of pixels of a date, by lag, by way of the spectrum."""
    from scipy import fft

    shape = [fft.next_fast_len(2 * side - 1, real=True) for side in values.shape[-2:]]
    power = np.abs(fft.rfft2(values, shape)) ** 2
    power = power.reshape(-1, *power.shape[-2:]).sum(axis=0)
    return np.asarray(fft.irfft2(power, shape))


def _lags(shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Distance in rows and columns of each entry of a circular correlation."""
    rows, columns = (np.fft.fftfreq(side, 1 / side) for side in shape)
    return np.meshgrid(rows, columns, indexing="ij")
