"""Cross-entropy that never learns from missing pixels, class-weighted and focal if wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from types import MappingProxyType
from typing import Any

import keras
from keras import ops

CLASS_WEIGHTS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "puertollano": (0, 10, 10, 1, 7.5, 1, 4, 1, 1.5, 3, 1, 15, 2.5, 1),
        "santa_olalla": (0, 8, 1, 8, 4, 1, 1, 2.5, 3, 3, 3, 1, 4, 4),
        "villoslada": (0, 3.5, 2.5, 1, 4, 5, 1, 1, 2, 1, 1, 1, 1, 1),
    }
)
"""Weights of classes 0..13 in the study's three regions: its Table 12, but for class 0 (no data),
which the study weighted 1.5, 1.5 and 1 and which is never learnt here."""


@keras.saving.register_keras_serializable(package="thermocube")
class WeightedCrossentropy(keras.losses.Loss):
    """Mean over valid pixels of ``w_c (1 - p)^gamma (-log p)``, `p` of the true class c.

    The mean is taken with the weights ``w_c * sample_weight``: it neither depends on how many
    pixels of a batch are missing nor on a common factor of the weights, and is 0 for a batch
    without a valid pixel. Labels of class 0, labels that are no class, and pixels of sample
    weight 0 have weight 0.

    Parameters
    ----------
    class_weights
        One number for each softmax output; that of class 0 is taken as 0 whatever it says.
        None: all classes alike.
    gamma
        Focusing parameter of the focal loss; 0 is plain cross-entropy.

    Raises
    ------
    ValueError
        If a weight is negative or not finite, all are 0, `gamma` is negative, or (when called)
        there are not as many weights as softmax outputs.

    Notes
    -----
    Called with labels (n, y, x), softmax probabilities (n, y, x, class) and optionally sample
    weights (n, y, x); gives a scalar. Focal loss: Lin et al. 2017 (arXiv 1708.02002), equation 5.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        gamma: float = 0.0,
        name: str = "weighted_crossentropy",
    ) -> None:
        super().__init__(name=name, reduction="mean_with_sample_weight")
        self.class_weights = None if class_weights is None else _checked(class_weights)
        self.gamma = float(gamma)
        if not 0 <= self.gamma < float("inf"):
            raise ValueError(f"gamma of the focal loss is 0 or more and finite, not {gamma}")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Weigh labels (n, y, x) by class and sample, and take the weighted mean."""
        classes = y_pred.shape[-1]
        labels = ops.cast(y_true, "int32")
        if len(labels.shape) == len(y_pred.shape):
            labels = ops.squeeze(labels, -1)
        counts = ops.logical_and(labels > 0, labels < classes)
        labels = ops.where(counts, labels, 0)
        weights = ops.take(self._weights(classes), labels)
        if sample_weight is not None:
            weights = weights * ops.reshape(
                ops.cast(sample_weight, weights.dtype), ops.shape(weights)
            )
        return super().__call__(labels, y_pred, weights)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Focal cross-entropy of each pixel, (n, y, x), before any weight."""
        loss = ops.sparse_categorical_crossentropy(ops.cast(y_true, "int32"), y_pred)
        if self.gamma == 0:
            return loss
        # 1 - p, kept off 0 where the derivative of a power below 1 is infinite.
        miss = ops.maximum(-ops.expm1(-loss), keras.config.epsilon())
        return ops.power(miss, self.gamma) * loss

    def _weights(self, classes: int) -> Any:
        weights = self.class_weights or (0.0,) + (1.0,) * (classes - 1)
        if len(weights) != classes:
            raise ValueError(
                f"the network has {classes} classes, but there are {len(weights)} class weights: "
                "give one for each class, class 0 included"
            )
        return ops.convert_to_tensor(weights, dtype=self.dtype)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to build the loss again."""
        weights = None if self.class_weights is None else list(self.class_weights)
        return {"class_weights": weights, "gamma": self.gamma, "name": self.name}


def weighted_crossentropy(
    class_weights: Sequence[float] | None = None, gamma: float = 0.0
) -> WeightedCrossentropy:
    """Loss for ``model.compile``; the study's final one has its region's weights and gamma 2.

    Raises
    ------
    ValueError
        See `WeightedCrossentropy`.
    """
    return WeightedCrossentropy(class_weights, gamma)


def _checked(weights: Sequence[float]) -> tuple[float, ...]:
    checked = (0.0, *(float(weight) for weight in weights[1:]))
    if not all(isfinite(weight) and weight >= 0 for weight in checked) or not any(checked):
        raise ValueError(
            "class weights are finite, not negative, and not all 0 beside that of class 0, "
            f"which never counts; got {', '.join(f'{float(weight):g}' for weight in weights)}"
        )
    return checked
