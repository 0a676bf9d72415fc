from __future__ import annotations

import numpy as np
import pytest

from models.statistics import (
    LEAST,
    Features,
    anomalies,
    receptive_field,
    series_statistics,
    surroundings,
    waves,
)


def _imagery(dates: int = 30, seed: int = 0, missing: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    imagery = rng.normal(300, 10, (dates, 2, 6, 7)).astype(np.float32)
    imagery[rng.random(imagery.shape) < missing] = np.nan
    imagery[:, 1, 2, 3] = np.nan
    imagery[LEAST - 1 :, 0, 0, 0] = np.nan
    return imagery


def test_scenes_lose_their_median_and_nothing_else():
    imagery = _imagery()
    imagery[3] = np.nan
    found = anomalies(imagery)
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(imagery))
    kept = np.delete(found, 3, axis=0)
    np.testing.assert_allclose(np.nanmedian(kept, axis=(2, 3)), 0, atol=1e-4)
    shifted = anomalies(imagery + np.arange(30, dtype=np.float32)[:, None, None, None])
    np.testing.assert_allclose(shifted, found, atol=1e-3)


def test_statistics_are_those_of_numpy_over_valid_dates():
    imagery = _imagery()
    night = np.arange(30) % 3 == 0
    found = series_statistics(imagery, ("a", "b"), {"night": night}, (0.1, 0.9))
    assert found.names == (
        "a mean", "a std", "a q0.1", "a q0.9", "a night q0.5", "a night std",
        "b mean", "b std", "b q0.1", "b q0.9", "b night q0.5", "b night std",
    )  # fmt: skip
    assert np.isnan(found.values[2, 3, 6:]).all() and np.isnan(found.values[0, 0, :4]).all()
    column = imagery[:, 0, 4, 5]
    expected = [
        np.nanmean(column), np.nanstd(column), np.nanquantile(column, 0.1),
        np.nanquantile(column, 0.9), np.nanmedian(column[night]), np.nanstd(column[night]),
    ]  # fmt: skip
    np.testing.assert_allclose(found.values[4, 5, :6], expected, rtol=1e-4)


def test_waves_are_found_where_dates_are_missing():
    rng = np.random.default_rng(3)
    days, hours = rng.uniform(1, 365, 80), rng.uniform(0, 24, 80)
    signal = 5 * np.cos(2 * np.pi * days / 365.25) - 2 * np.sin(2 * np.pi * hours / 24) + 290
    imagery = np.broadcast_to(signal[:, None, None, None], (80, 1, 3, 4)).astype(np.float32).copy()
    imagery[rng.random(imagery.shape) < 0.4] = np.nan
    imagery[9:, 0, 0, 0] = np.nan
    found = waves(imagery, ("lst",), days, hours)
    assert found.names[0] == "lst year cos" and found.names[-1] == "lst residual"
    np.testing.assert_allclose(
        found.values[1:], np.broadcast_to([5, 0, 0, -2, 0], (2, 4, 5)), atol=0.02
    )
    assert np.isnan(found.values[0, 0]).all()


def test_surroundings_depend_on_their_window_only():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(31, 33, 2)).astype(np.float32)
    values[4, 5] = np.nan
    features = Features(values, ("a", "b"))
    found = surroundings(features, (1.0, 2.0))
    assert found.names[:4] == ("a ~1", "b ~1", "a ±1", "b ±1")
    assert np.isfinite(found.values).all()
    half = receptive_field((1.0, 2.0)) // 2
    changed = values.copy()
    changed[15, 16] += 100
    other = surroundings(Features(changed, ("a", "b")), (1.0, 2.0))
    touched = (other.values != found.values).any(axis=-1)
    rows, columns = np.nonzero(touched)
    assert touched.any()
    assert abs(rows - 15).max() == half and abs(columns - 16).max() == half


def test_surroundings_of_a_flat_map_are_flat():
    flat = Features(np.full((9, 9, 1), 4.0, np.float32), ("a",))
    found = surroundings(flat, (2.0,))
    np.testing.assert_allclose(found.values[..., 0], 4.0, rtol=1e-5)
    np.testing.assert_allclose(found.values[..., 1], 0.0, atol=2e-3)


@pytest.mark.parametrize(("scales", "width"), [((), 1), ((2.0, 5.0), 21), ((1.0,), 5)])
def test_receptive_field(scales: tuple[float, ...], width: int):
    assert receptive_field(scales) == width
