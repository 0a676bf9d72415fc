"""Scores worked out batch by batch agree with those of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from models.metrics import confusion, scores


@pytest.mark.train
def test_macro_f1_of_batches_is_that_of_all_pixels(keras):
    from models.running import MacroF1

    random = np.random.default_rng(3)
    labels = random.integers(0, 5, (6, 7, 4)).astype(np.uint8)
    shares = random.random((6, 7, 4, 6)).astype(np.float32)
    shares[..., 0] = 9  # class 0 is never said, whatever its share
    weight = random.choice([0.0, 0.3, 2.0], labels.shape).astype(np.float32)
    metric = MacroF1(6)
    assert float(metric.result()) == 0
    for rows in (slice(0, 4), slice(4, 6)):
        metric.update_state(labels[rows], shares[rows], weight[rows])
    said = 1 + shares[..., 1:].argmax(axis=-1)
    expected = scores(confusion(labels, said, 6, valid=weight > 0)).macro_f1
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)
    metric.reset_state()
    metric.update_state(labels, shares)
    whole = scores(confusion(labels, said, 6)).macro_f1
    assert float(metric.result()) == pytest.approx(whole, abs=1e-6)
    assert MacroF1.from_config(metric.get_config()).classes == 6
