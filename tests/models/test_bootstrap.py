from __future__ import annotations

import numpy as np
import pytest

from models.bootstrap import (
    FIGURES,
    block_counts,
    class_intervals,
    difference,
    ground_blocks,
    intervals,
)
from models.metrics import confusion, scores


def _patchy(seed: int, error: float, side: int = 8, across: int = 12):
    """A map that is right or wrong in whole squares, so that pixels are far from independent."""
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.integers(1, 4, (across, across)), np.ones((side, side), int))
    wrong = np.kron(rng.random((across, across)) < error, np.ones((side, side), bool))
    return truth, np.where(wrong, truth % 3 + 1, truth)


def test_blocks_are_squares_of_ground():
    blocks = ground_blocks((5, 7), 3)
    np.testing.assert_array_equal(blocks[0], [0, 0, 0, 1, 1, 1, 2])
    np.testing.assert_array_equal(blocks[:, 0], [0, 0, 0, 3, 3])
    with pytest.raises(ValueError, match="1 px or more"):
        ground_blocks((5, 7), 0)


def test_blocks_add_up_to_the_whole_over_all_dates():
    truth, predicted = _patchy(0, 0.3)
    series = np.stack([predicted, truth])
    counts = block_counts(truth, series, 4, ground_blocks(truth.shape, 20))
    assert counts.shape == (25, 4, 4)
    whole = confusion(np.stack([truth] * 2), series, 4)
    np.testing.assert_array_equal(counts.sum(axis=0), whole)


def test_intervals_hold_the_estimate_and_depend_on_the_seed_only():
    truth, predicted = _patchy(1, 0.3)
    counts = block_counts(truth, predicted, 4, ground_blocks(truth.shape, 8))
    found = intervals(counts, resamples=200, seed=3)
    assert tuple(found) == FIGURES
    result = scores(counts.sum(axis=0))
    for name, value in found.items():
        assert value.estimate == pytest.approx(getattr(result, name))
        assert value.low < value.estimate < value.high
    assert intervals(counts, resamples=200, seed=3) == found
    assert intervals(counts, resamples=200, seed=4) != found


def test_intervals_cover_the_true_accuracy_and_those_of_pixels_do_not():
    covered = {8: 0, 1: 0}
    for seed in range(40):
        truth, predicted = _patchy(seed, 0.3)
        for side in covered:
            blocks = ground_blocks(truth.shape, side)
            counts = block_counts(truth, predicted, 4, blocks)
            if side == 1:
                # Pixels as observations of their own: the usual binomial interval.
                low, high = np.quantile(
                    np.random.default_rng(0).binomial(truth.size, (truth == predicted).mean(), 500)
                    / truth.size,
                    (0.025, 0.975),
                )
            else:
                _, low, high = intervals(counts, resamples=150)["oa"]
            covered[side] += low <= 0.7 <= high
    assert covered[8] >= 33
    assert covered[1] <= 20


def test_intervals_of_classes_leave_out_draws_without_them():
    truth, predicted = _patchy(2, 0.2)
    truth = np.where(np.arange(96) < 4, 5, truth)
    counts = block_counts(truth, predicted, 6, ground_blocks(truth.shape, 16))
    found = class_intervals(counts, resamples=100)
    assert list(found) == [1, 2, 3, 5]
    assert set(found[1]) == {"precision", "recall", "f1", "iou"}
    assert found[5]["recall"] == (0.0, 0.0, 0.0)
    assert found[1]["f1"].low < found[1]["f1"].estimate < found[1]["f1"].high


def test_a_difference_is_told_where_the_intervals_overlap():
    truth, first = _patchy(3, 0.4)
    second = first.copy()
    rng = np.random.default_rng(0)
    second[rng.random(truth.shape) < 0.05] = 0  # a little worse everywhere
    blocks = ground_blocks(truth.shape, 8)
    one, other = (block_counts(truth, map_, 4, blocks) for map_ in (first, second))
    assert intervals(one)["oa"].low < intervals(other)["oa"].high
    found = difference(one, other, resamples=300)["oa"]
    assert 0 < found.low < found.estimate < found.high
    assert difference(one, one, resamples=20)["macro_f1"] == (0.0, 0.0, 0.0)


def test_what_cannot_be_resampled_is_refused():
    truth, predicted = _patchy(4, 0.3)
    counts = block_counts(truth, predicted, 4, ground_blocks(truth.shape, 8))
    with pytest.raises(ValueError, match="1 blocks of ground"):
        intervals(counts[:1])
    with pytest.raises(ValueError, match="between 0 and 1"):
        intervals(counts, level=95)
    with pytest.raises(ValueError, match="dimensions"):
        intervals(counts[0])
    with pytest.raises(ValueError, match="same labelled pixels"):
        difference(counts, counts[::-1] * 2)
