"""Votes over symmetries and passes, and what is made of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipelines.uncertainty import entropy, mutual_information, passes, symmetrised, variance

batches = arrays(
    np.float32, (2, 5, 5, 2), elements=st.floats(-9, 9, width=32, allow_subnormal=False)
)


def lopsided(batch: np.ndarray) -> np.ndarray:
    """Sees the pixel on the left and the row."""
    return np.roll(batch, 1, axis=-2) + np.arange(batch.shape[-3])[:, None, None]


@given(batches, st.integers(0, 3), st.booleans())
def test_votes_do_not_depend_on_which_way_up_a_patch_lies(
    batch: np.ndarray, turns: int, mirrored: bool
) -> None:
    def turn(values: np.ndarray) -> np.ndarray:
        values = np.rot90(values, turns, axes=(1, 2))
        return np.flip(values, 2) if mirrored else values

    vote = symmetrised(lopsided)
    np.testing.assert_allclose(vote(turn(batch)), turn(vote(batch)), atol=1e-5)


@given(batches)
def test_network_without_a_direction_votes_as_it_answers(batch: np.ndarray) -> None:
    np.testing.assert_allclose(symmetrised(lambda x: x**2)(batch), batch**2, rtol=1e-6)


def test_all_dates_of_a_sequence_are_turned_together() -> None:
    batch = np.random.default_rng(0).random((3, 4, 6, 6, 2)).astype(np.float32)
    np.testing.assert_allclose(symmetrised(lambda x: x[:, 1])(batch), batch[:, 1], rtol=1e-6)


shares = arrays(np.float64, (3, 4, 5), elements=st.floats(0.01, 1)).map(
    lambda values: values / values.sum(-1, keepdims=True)
)


@given(shares)
def test_mutual_information_lies_between_zero_and_the_entropy(samples: np.ndarray) -> None:
    found = mutual_information(samples)
    assert (found >= 0).all()
    assert (found <= entropy(samples.mean(-2)) + 1e-9).all()


def test_known_values() -> None:
    np.testing.assert_allclose(entropy(np.full(4, 0.25)), np.log(4))
    assert entropy(np.array([0.0, 1.0])) < 1e-30
    agree = np.array([[[0.3, 0.7], [0.3, 0.7]]])
    oppose = np.array([[[1.0, 0.0], [0.0, 1.0]]])
    np.testing.assert_allclose(mutual_information(agree), 0, atol=1e-12)
    np.testing.assert_allclose(mutual_information(oppose), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(variance(agree, np.array([1])), 0, atol=1e-12)
    np.testing.assert_allclose(variance(oppose, np.array([0])), 0.25)


def test_passes_stand_one_after_the_other() -> None:
    drawn: list[int] = []
    network = passes(lambda batch: batch + drawn[-1], drawn.append, 3)
    found = network(np.zeros((1, 2, 2, 2)))
    np.testing.assert_array_equal(found[0, 0, 0], [0, 0, 1, 1, 2, 2])
