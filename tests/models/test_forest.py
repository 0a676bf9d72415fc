from __future__ import annotations

import numpy as np
import pytest

from models.forest import PixelClassifier, receptive_field, time_statistics, with_context

QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)


def _imagery(seed: int = 0, missing: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    imagery = rng.normal(300, 10, (9, 2, 6, 7)).astype(np.float32)
    imagery[rng.random(imagery.shape) < missing] = np.nan
    imagery[:, 1, 2, 3] = np.nan
    imagery[1:, 0, 0, 0] = np.nan
    imagery[0, 0, 0, 0] = 290
    return imagery


def test_statistics_are_those_of_numpy_over_valid_dates():
    imagery = _imagery()
    features, names = time_statistics(imagery, QUANTILES)
    assert features.shape == (6, 7, 16)
    assert names[:4] == ("band0_mean", "band0_std", "band0_q0", "band0_q0.1")
    assert names[8] == "band1_mean"
    for band in (0, 1):
        values = np.where(np.isfinite(imagery[:, 1]).any(axis=0), imagery[:, band], 0)
        expected = [
            np.nanmean(values, axis=0),
            np.nanstd(values, axis=0),
            *np.nanquantile(values, QUANTILES, axis=0),
            np.isfinite(imagery[:, band]).mean(axis=0),
        ]
        expected = np.stack(expected, axis=-1)
        if band == 1:
            expected[2, 3] = np.nan
        else:
            values = imagery[:, 0]
            expected[2, 3] = features[2, 3, :8]
        np.testing.assert_allclose(
            features[..., 8 * band : 8 * band + 8], expected, rtol=1e-5, atol=1e-4
        )


def test_context_is_a_mean_of_what_is_there_and_reaches_as_far_as_it_says():
    features = np.full((31, 31, 1), 5.0, np.float32)
    features[3:6, 3:6] = np.nan
    found, names = with_context(features, ["a"], (1.0, 3.0))
    assert names == ("a", "a~1", "a~3")
    np.testing.assert_allclose(found[..., 1:], 5.0, rtol=1e-5)
    np.testing.assert_array_equal(found[..., 0], features[..., 0])

    features = np.zeros((31, 31, 1), np.float32)
    features[15, 15] = 1
    touched = np.argwhere(with_context(features, ["a"], (1.0, 3.0))[0].any(axis=-1))
    assert np.ptp(touched, axis=0).tolist() == [receptive_field((1.0, 3.0)) - 1] * 2
    assert receptive_field(()) == 1


@pytest.mark.parametrize("kind", ["forest", "boosting"])
def test_a_classifier_tells_classes_apart_and_knows_nothing_of_others(kind):
    rng = np.random.default_rng(1)
    labels = rng.choice([0, 2, 5, 9], (20, 20), p=[0.1, 0.5, 0.3, 0.1])
    features = (labels[..., np.newaxis] + rng.normal(0, 0.3, (20, 20, 3))).astype(np.float32)
    features[0, 0] = np.nan
    features[1, 1, 0] = np.nan
    weight = np.arange(20)[:, np.newaxis] < 12
    model = PixelClassifier.fit(features, labels, weight, kind=kind, trees=30, leaf=2)
    found = model.predict_proba(features)
    assert found.shape == (20, 20, 14)
    assert found.dtype == np.float32
    assert np.isnan(found[0, 0]).all()
    np.testing.assert_allclose(found[1:].sum(axis=-1), 1.0, rtol=1e-5)
    assert set(np.flatnonzero(found[1:].any(axis=(0, 1)))) == {2, 5, 9}
    test = ~weight & (labels > 0)
    assert (found.argmax(axis=-1) == labels)[test].mean() > 0.9


def test_pixels_of_the_test_part_teach_nothing():
    rng = np.random.default_rng(2)
    labels = rng.integers(1, 4, (10, 10))
    features = rng.normal(size=(10, 10, 2)).astype(np.float32)
    weight = np.arange(10)[:, np.newaxis] < 5
    other = np.where(weight, labels, 3)
    first, second = (
        PixelClassifier.fit(features, codes, weight, trees=5).predict_proba(features)
        for codes in (labels, other)
    )
    np.testing.assert_array_equal(first, second)
    with pytest.raises(ValueError, match="1 classes"):
        PixelClassifier.fit(features, np.full((10, 10), 4), trees=5)


def test_balance_favours_the_rare_class():
    rng = np.random.default_rng(3)
    labels = np.where(rng.random(2000) < 0.05, 2, 1)
    features = (labels + rng.normal(0, 1, 2000))[:, np.newaxis].astype(np.float32)
    shares = [
        PixelClassifier.fit(features, labels, balance=balance, trees=20, leaf=20)
        .predict_proba(features)[:, 2]
        .mean()
        for balance in (0.0, 0.5, 1.0)
    ]
    assert shares[0] == pytest.approx(0.05, abs=0.02)
    assert shares[0] < shares[1] < shares[2]
