from __future__ import annotations

import numpy as np
import pytest

from models.nearby import classes_nearby, fuse, resampled


def _halves() -> tuple[np.ndarray, np.ndarray]:
    """Class 1 on the left, 2 on the right; the middle rows are not known."""
    labels = np.ones((40, 60), np.uint8)
    labels[:, 30:] = 2
    train = np.ones(labels.shape, bool)
    train[15:25] = False
    return labels, train


def test_nearby_labels_win_and_far_ones_are_the_usual():
    labels, train = _halves()
    found = classes_nearby(labels, train, 4.0, classes=4)
    assert found.shape == (40, 60, 4)
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-5)
    assert (found[20].argmax(axis=-1) == labels[20]).mean() > 0.9
    train[:, 10:] = False
    lonely = classes_nearby(labels, train, 1.0, classes=4)
    np.testing.assert_allclose(lonely[20, 59], [0, 1, 0, 0], atol=1e-6)


def test_labels_that_are_not_known_play_no_part():
    labels, train = _halves()
    other = np.where(train, labels, 3)
    np.testing.assert_array_equal(
        classes_nearby(labels, train, 4.0), classes_nearby(other, train, 4.0)
    )
    with pytest.raises(ValueError, match="both of the training ground and labelled"):
        classes_nearby(labels, np.zeros_like(train), 4.0)


@pytest.mark.parametrize("cell", [1, 2])
def test_finer_cells_say_the_same_but_closer_to_the_pixel(cell: int) -> None:
    labels, train = _halves()
    coarse = classes_nearby(labels, train, 4.0, classes=4)
    fine = classes_nearby(labels, train, 4.0, classes=4, cell=cell)
    assert np.abs(fine - coarse).max() < 0.15
    right = [(found.argmax(axis=-1) == labels).mean() for found in (coarse, fine)]
    assert right[1] >= right[0]


def test_a_single_opinion_is_kept_and_an_absent_class_stays_out():
    rng = np.random.default_rng(0)
    opinion = rng.dirichlet(np.ones(3), 50)
    frequency = np.array([0.5, 0.3, 0.2])
    np.testing.assert_allclose(fuse([opinion], frequency), opinion, atol=1e-3)
    found = fuse([opinion], np.array([0.5, 0.5, 0.0]))
    assert (found[:, 2] == 0).all()
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-5)


def test_lift_and_trust():
    frequency = np.array([0.9, 0.1])
    unsure = np.array([[0.8, 0.2]])
    assert fuse([unsure], frequency).argmax() == 0
    assert fuse([unsure], frequency, lift=1.0).argmax() == 1
    nearby = np.array([[0.01, 0.99]])
    np.testing.assert_allclose(fuse([unsure], frequency, nearby, trust=0.0), nearby, atol=1e-6)


def test_classes_drawn_more_often_are_taken_back():
    rng = np.random.default_rng(2)
    likelihood = rng.dirichlet(np.ones(3), 20)
    drawn, frequency = np.array([0.3, 0.7, 0.0]), np.array([0.9, 0.1, 0.0])
    biased = likelihood * drawn / (likelihood @ drawn)[:, None]
    found = resampled(biased, drawn, frequency)
    expected = likelihood * frequency / (likelihood @ frequency)[:, None]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
