from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.ndimage import gaussian_filter

from models.spatial import correlate


def _field(rng: np.random.Generator, sigma: float, side: int = 40) -> np.ndarray:
    """Smooth noise without edge effects."""
    noise = rng.normal(size=(2 * side, 2 * side))
    field = gaussian_filter(noise, sigma, mode="wrap") if sigma else noise
    return field[:side, :side] / field.std()


def test_r_is_that_of_scipy_over_common_pixels():
    rng = np.random.default_rng(0)
    x, y = _field(rng, 1.0), _field(rng, 1.0)
    y = y + 0.5 * x
    x[:3], y[:, :5] = np.nan, np.nan
    found = correlate(x, y)
    common = np.isfinite(x) & np.isfinite(y)
    assert found.r == pytest.approx(stats.pearsonr(x[common], y[common]).statistic)
    assert found.pixels == common.sum()
    assert found.low < found.r < found.high


def test_independent_pixels_are_worth_one_each():
    rng = np.random.default_rng(1)
    found = correlate(_field(rng, 0), _field(rng, 0))
    assert found.effective > 0.9 * found.pixels


def test_smooth_maps_are_worth_few_pixels_and_the_test_keeps_its_level():
    """Of unrelated smooth maps, some 5 % may look correlated; naively most do."""
    rng = np.random.default_rng(2)
    naive = honest = 0
    sizes, true = [], []
    for _ in range(150):
        x, y = _field(rng, 3.0), _field(rng, 3.0)
        found = correlate(x, y)
        naive += stats.pearsonr(x.ravel(), y.ravel()).pvalue < 0.05
        honest += found.p_value < 0.05
        sizes.append(found.effective)
        true.append(found.r)
    assert naive > 75
    assert honest <= 18
    # The spread of r among unrelated maps is what an effective size says: 1 / sqrt(M - 1).
    assert np.median(sizes) == pytest.approx(1 + 1 / np.var(true), rel=0.4)


def test_truth_values_and_stacks_of_dates():
    rng = np.random.default_rng(3)
    ndvi = np.stack([_field(rng, 2.0) for _ in range(3)])
    right = ndvi + rng.normal(size=ndvi.shape) > 0
    one, three = correlate(ndvi[0], right[0]), correlate(ndvi, right)
    assert three.pixels == 3 * one.pixels
    assert 1.5 * one.effective < three.effective < three.pixels
    assert three.p_value < 1e-6


def test_a_constant_map_has_no_correlation_and_odd_maps_are_refused():
    rng = np.random.default_rng(4)
    found = correlate(np.ones((5, 5)), _field(rng, 0)[:5, :5])
    assert np.isnan(found.r)
    assert (found.low, found.high) == (-1, 1)
    with pytest.raises(ValueError, match="one shape"):
        correlate(np.ones((2, 3)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="only 0 pixels"):
        correlate(np.full((5, 5), np.nan), np.ones((5, 5)))
