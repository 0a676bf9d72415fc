"""Cross-entropy that never learns from missing pixels; class weights, focus and Dice if wanted."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

import keras
from keras import ops

from models.class_weights import CLASS_WEIGHTS as CLASS_WEIGHTS


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
    smoothing
        Share of each label that is spread over all classes but class 0 (Szegedy et al. 2016):
        ``-log p`` becomes ``-(1 - s) log p - s mean_k(log p_k)``. For maps whose borders are
        drawn by hand.
    dice
        Share of a soft Dice term in the loss: ``1 - mean_c 2 sum(p_c y_c) / sum(p_c + y_c)``,
        over valid pixels and the classes there are in the batch (Milletari et al. 2016, arXiv
        1606.04797). Cross-entropy goes by pixels; this goes by classes, as the macro F1 does
        (Eelbode et al. 2020, arXiv 2010.13499).

    Raises
    ------
    ValueError
        If a weight is negative or not finite, all are 0, `gamma` is negative, `smoothing` or
        `dice` is not a share, or (when called) there are not as many weights as softmax outputs.

    Notes
    -----
    Called with labels (n, y, x), softmax probabilities (n, y, x, class) and optionally sample
    weights (n, y, x); gives a scalar. Focal loss: Lin et al. 2017 (arXiv 1708.02002), equation 5.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        gamma: float = 0.0,
        smoothing: float = 0.0,
        dice: float = 0.0,
        name: str = "weighted_crossentropy",
    ) -> None:
        super().__init__(name=name, reduction="mean_with_sample_weight")
        self.class_weights = None if class_weights is None else _checked(class_weights)
        self.gamma = float(gamma)
        if not 0 <= self.gamma < float("inf"):
            raise ValueError(f"gamma of the focal loss is 0 or more and finite, not {gamma}")
        self.smoothing, self.dice = float(smoothing), float(dice)
        for share, value in (("smoothing of labels", smoothing), ("share of the Dice term", dice)):
            if not 0 <= value < 1:
                raise ValueError(f"the {share} is in [0, 1), not {value}")

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
        loss = super().__call__(labels, y_pred, weights)
        if self.dice == 0:
            return loss
        return (1 - self.dice) * loss + self.dice * _dice_loss(labels, y_pred, weights > 0)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Focal cross-entropy of each pixel, (n, y, x), before any weight."""
        # One row a pixel: PyTorch 2.13 cannot take the gradient of its own cross-entropy of images.
        rows = ops.reshape(y_pred, (-1, y_pred.shape[-1]))
        labels = ops.reshape(ops.cast(y_true, "int32"), (-1,))
        loss = truth = ops.sparse_categorical_crossentropy(labels, rows)
        if self.smoothing:
            others = -ops.log(ops.maximum(rows[:, 1:], keras.config.epsilon()))
            loss = (1 - self.smoothing) * truth + self.smoothing * ops.mean(others, axis=-1)
        if self.gamma:
            # 1 - p, kept off 0 where the derivative of a power below 1 is infinite.
            miss = ops.maximum(-ops.expm1(-truth), keras.config.epsilon())
            loss = ops.power(miss, self.gamma) * loss
        return ops.reshape(loss, ops.shape(y_true))

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
        shares = {"smoothing": self.smoothing, "dice": self.dice}
        return {"class_weights": weights, "gamma": self.gamma, **shares, "name": self.name}


def weighted_crossentropy(
    class_weights: Sequence[float] | None = None,
    gamma: float = 0.0,
    smoothing: float = 0.0,
    dice: float = 0.0,
) -> WeightedCrossentropy:
    """Loss for ``model.compile``; the study's final one has its region's weights and gamma 2.

    Raises
    ------
    ValueError
        See `WeightedCrossentropy`.
    """
    return WeightedCrossentropy(class_weights, gamma, smoothing, dice)


def _dice_loss(labels: Any, probabilities: Any, counted: Any) -> Any:
    """1 less the mean soft Dice over classes that are in the labels; 0 if none is."""
    classes = probabilities.shape[-1]
    counted = ops.reshape(ops.cast(counted, probabilities.dtype), (-1, 1))
    truth = ops.one_hot(ops.reshape(labels, (-1,)), classes, dtype=probabilities.dtype) * counted
    rows = ops.reshape(probabilities, (-1, classes)) * counted
    support = ops.sum(truth, axis=0)
    there = ops.cast(support > 0, rows.dtype)
    overlap = 2 * ops.sum(truth * rows, axis=0) / ops.maximum(support + ops.sum(rows, axis=0), 1.0)
    return ops.sum(there * (1 - overlap)) / ops.maximum(ops.sum(there), 1.0)


def _checked(weights: Sequence[float]) -> tuple[float, ...]:
    checked = (0.0, *(float(weight) for weight in weights[1:]))
    if not all(isfinite(weight) and weight >= 0 for weight in checked) or not any(checked):
        raise ValueError(
            "class weights are finite, not negative, and not all 0 beside that of class 0, "
            f"which never counts; got {', '.join(f'{float(weight):g}' for weight in weights)}"
        )
    return checked
