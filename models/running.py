"""Scores that are worked out batch by batch, for a network's training curves."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("thermocube")
class MacroF1(keras.metrics.Metric):
    """Mean F1 over the classes in the truth, over all pixels that count.

    The same figure as `models.metrics.Scores.macro_f1`: class 0 is neither learnt nor said, and
    each pixel of weight above 0 counts once, whatever its weight. The counts are kept in float32
    and exact up to 16.8 million pixels a pair of classes.

    Parameters
    ----------
    classes
        Number of softmax outputs, class 0 included.
    name
        As in the logs.
    """

    def __init__(self, classes: int, name: str = "macro_f1", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.classes = classes
        self.counts = self.add_weight(
            shape=(classes, classes), initializer="zeros", name="counts", dtype="float32"
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count a batch: labels (n, y, x), probabilities (n, y, x, class), weights (n, y, x)."""
        labels = ops.reshape(ops.cast(y_true, "int32"), (-1,))
        said = 1 + ops.argmax(ops.reshape(y_pred, (-1, self.classes))[:, 1:], axis=-1)
        counted = ops.cast(labels > 0, "float32")
        if sample_weight is not None:
            counted = counted * ops.cast(ops.reshape(sample_weight, (-1,)) > 0, "float32")
        truth = ops.one_hot(labels, self.classes, dtype="float32") * counted[:, None]
        guess = ops.one_hot(said, self.classes, dtype="float32")
        self.counts.assign_add(ops.matmul(ops.transpose(truth), guess))

    def result(self) -> Any:
        """Mean F1 so far; 0 before any pixel was counted."""
        support, said = ops.sum(self.counts, axis=1), ops.sum(self.counts, axis=0)
        f1 = 2 * ops.diagonal(self.counts) / ops.maximum(support + said, 1.0)
        there = ops.cast(support > 0, "float32")
        return ops.sum(there * f1) / ops.maximum(ops.sum(there), 1.0)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to build the metric again."""
        return {**super().get_config(), "classes": self.classes}
