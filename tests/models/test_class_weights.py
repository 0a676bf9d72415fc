from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from models.class_weights import CLASS_WEIGHTS, effective_number, inverse_frequency


def test_inverse_frequency_is_what_scikit_learn_calls_balanced():
    counts = np.array([500, 10, 0, 30, 60])
    labels = np.repeat(np.arange(5), counts)[500:]
    expected = compute_class_weight("balanced", classes=np.array([1, 3, 4]), y=labels)
    weights = np.array(inverse_frequency(counts))
    np.testing.assert_allclose(weights[[1, 3, 4]], expected)
    assert weights[0] == weights[2] == 0


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=13), st.floats(0, 0.999999))
def test_the_mean_over_pixels_is_one_before_the_limit(pixels, beta):
    counts = np.array([7, *pixels])
    for weights in (
        inverse_frequency(counts, limit=np.inf),
        effective_number(counts, beta, limit=np.inf),
    ):
        assert weights[0] == 0
        assert np.dot(weights, counts) == pytest.approx(sum(pixels))
    assert max(inverse_frequency(counts)) <= 15


def test_effective_numbers_go_from_all_alike_to_inverse_frequency():
    counts = np.array([0, 100, 2000, 50])
    np.testing.assert_allclose(effective_number(counts, 0.0), [0, 1, 1, 1])
    np.testing.assert_allclose(
        effective_number(counts, 1 - 1e-9), inverse_frequency(counts), rtol=1e-4
    )
    weights = effective_number(counts, 0.99, limit=np.inf)
    number = (1 - 0.99 ** counts[1:]) / (1 - 0.99)
    np.testing.assert_allclose(np.array(weights[1:]) * number, weights[1] * number[0])


def test_the_study_has_a_weight_for_each_class():
    assert {len(table) for table in CLASS_WEIGHTS.values()} == {14}
    assert {table[0] for table in CLASS_WEIGHTS.values()} == {0}


@pytest.mark.parametrize("counts", [[0, 0], [5, 0], [0, -1, 2], [0, np.nan]])
def test_senseless_counts_are_refused(counts):
    for weigh in (inverse_frequency, effective_number):
        with pytest.raises(ValueError, match="class weights"):
            weigh(counts)
    with pytest.raises(ValueError, match="beta"):
        effective_number([0, 1], 1.0)
