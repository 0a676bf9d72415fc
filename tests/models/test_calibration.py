from __future__ import annotations

import numpy as np
import pytest

from models.calibration import fit_temperature, reliability, with_temperature


def _softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def _honest(pixels: int = 20000, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are exactly how often each class is true; class 0 has none."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (pixels, classes))
    logits[:, 0] = -np.inf
    probabilities = _softmax(logits)
    draws = rng.random((pixels, 1))
    return probabilities, (probabilities.cumsum(axis=1) < draws).sum(axis=1)


def test_an_honest_map_is_calibrated_and_a_loud_one_is_not():
    probabilities, truth = _honest()
    loud = with_temperature(probabilities, 0.4)
    found = []
    for shares in (probabilities, loud):
        right = shares.argmax(axis=-1) == truth
        found.append(reliability(shares.max(axis=-1), right))
    honest, shouted = found
    assert honest.ece < 0.02 < 0.1 < shouted.ece
    assert shouted.overconfidence == pytest.approx(shouted.ece, abs=0.01)
    filled = honest.pixels > 500
    np.testing.assert_allclose(honest.accuracy[filled], honest.confidence[filled], atol=0.05)
    assert np.isnan(honest.accuracy[0])


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_fitted_temperature_undoes_what_was_done(temperature):
    probabilities, truth = _honest()
    changed = with_temperature(probabilities, temperature)
    fitted = fit_temperature(changed, truth)
    assert fitted == pytest.approx(1 / temperature, rel=0.05)
    np.testing.assert_array_equal(
        with_temperature(changed, fitted).argmax(axis=-1), changed.argmax(axis=-1)
    )


def test_pixels_without_a_weight_do_not_move_the_temperature():
    probabilities, truth = _honest(4000)
    weight = np.arange(4000) % 2
    mixed = np.where(weight == 1, truth, 1)
    expected = fit_temperature(probabilities[1::2], truth[1::2])
    assert fit_temperature(probabilities, mixed, weight) == pytest.approx(expected, rel=1e-3)
    with pytest.raises(ValueError, match="no pixel"):
        fit_temperature(probabilities, np.zeros(4000, int))


def test_pieces_add_up_and_every_pixel_falls_into_one_bin():
    rng = np.random.default_rng(1)
    confidence, right = rng.random(1000), rng.random(1000) < 0.5
    confidence[:5] = [0.0, 1.0, 1 / 15, 1 + 1e-7, np.nan]
    whole = reliability(confidence, right)
    halves = reliability(confidence[:300], right[:300]) + reliability(confidence[300:], right[300:])
    np.testing.assert_allclose(halves.confidence_sum, whole.confidence_sum)
    assert whole.pixels.sum() == 999
    assert halves.ece == pytest.approx(whole.ece)
    some = reliability(confidence, right, valid=np.arange(1000) < 300)
    np.testing.assert_array_equal(some.pixels, reliability(confidence[:300], right[:300]).pixels)
    assert len(whole.edges) == 16


def test_ece_by_hand():
    found = reliability([0.95, 0.95, 0.55, 0.55], [True, False, True, True], bins=10)
    assert found.ece == pytest.approx((abs(0.5 - 0.95) + abs(1 - 0.55)) / 2)
    assert np.isnan(reliability([np.nan], [True]).ece)


def test_what_is_no_probability_is_refused():
    with pytest.raises(ValueError, match="run from"):
        reliability([0.5, 1.2], [True, True])
    with pytest.raises(ValueError, match="positive"):
        with_temperature([[0.5, 0.5]], 0.0)
