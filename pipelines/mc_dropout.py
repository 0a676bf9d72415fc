"""Monte Carlo dropout: a network whose dropout masks stay on and are set from outside.

Import it late: it needs Keras.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from cube.errors import ModelError


class FixedMask(layers.Layer):
    """Dropout by a mask that is the same for every patch until another one is set.

    A mask drawn anew for each batch would make a map depend on how its patches were batched. One
    mask for all patches makes each pass a network of its own, a sample of the weights, as the
    method has it (Gal and Ghahramani 2016, arXiv 1506.02142, section 3).

    Parameters
    ----------
    rate
        Share of the activations that is dropped.
    shared
        Axes along which the mask is the same, without the batch's.
    """

    def __init__(self, rate: float, shared: Collection[int] = (), **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self.rate = rate
        self.shared = frozenset(shared)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make room for a mask of the inputs' shape."""
        shape = [1 if axis in self.shared else size for axis, size in enumerate(input_shape)]
        self.mask = self.add_weight(
            shape=(1, *shape[1:]), initializer="ones", trainable=False, name="mask"
        )

    def call(self, inputs: Any) -> Any:
        """Multiply (n, ..., channel) by the mask."""
        return inputs * ops.cast(self.mask, inputs.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the input."""
        return input_shape

    def sample(self, *seed: int) -> np.ndarray:
        """Draw a mask; survivors are scaled up so that the mean stays.

        Returns
        -------
        ndarray of float32, (1, ..., channel)
        """
        kept = np.random.default_rng(seed).random(self.mask.shape) >= self.rate
        return (kept / (1.0 - self.rate)).astype(np.float32)


class Stochastic:
    """A trained network with its dropout left on; all else, normalisation above all, as in use.

    Parameters
    ----------
    network
        A functional Keras network with `keras.layers.Dropout` layers; its weights are shared.
        Dropout inside recurrent layers stays off.
    shape
        Of one input, without the batch: (patch, patch, band) or (sequence, patch, patch, band).
    count
        Number of passes.

    Raises
    ------
    ModelError
        If the network has no dropout layer.
    """

    def __init__(self, network: keras.Model, shape: tuple[int, ...], count: int) -> None:
        masks: dict[str, FixedMask] = {}
        self._model = keras.models.clone_model(
            network,
            input_tensors=keras.Input(shape),
            clone_function=lambda layer: _stay_on(layer, masks),
        )
        found = list(masks.values())
        if not found:
            raise ModelError(
                "the network has no dropout layer, so all passes would be alike; leave "
                "mc_dropout out, or train a network with dropout"
            )
        self._masks = [
            [(layer.mask, layer.sample(number, place)) for place, layer in enumerate(found)]
            for number in range(count)
        ]

    def draw(self, number: int) -> None:
        """Set the masks of a pass; the same number gives the same masks everywhere."""
        for mask, values in self._masks[number]:
            mask.assign(values)

    def predict_on_batch(self, batch: np.ndarray) -> np.ndarray:
        """Answers (n, y, x, class) of the pass that was drawn last."""
        return self._model.predict_on_batch(batch)


def _stay_on(layer: Any, masks: dict[str, FixedMask]) -> Any:
    """Put a mask in place of a dropout layer, the same one wherever the layer is used."""
    if not isinstance(layer, layers.Dropout) or layer.rate == 0:
        return layer
    if layer.name not in masks:
        masks[layer.name] = FixedMask(
            layer.rate, _shared(layer), name=layer.name, dtype=layer.dtype_policy
        )
    return masks[layer.name]


def _shared(layer: Any) -> Collection[int]:
    spatial = (
        (layers.SpatialDropout1D, (1,)),
        (layers.SpatialDropout2D, (1, 2)),
        (layers.SpatialDropout3D, (1, 2, 3)),
    )
    for kind, axes in spatial:
        if isinstance(layer, kind):
            return axes
    return [axis for axis, size in enumerate(layer.noise_shape or ()) if size == 1]
