"""Layers that Keras lacks: bands with gaps standardised, a convolutional LSTM that skips gaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="thermocube")
class Standardise(layers.Layer):
    """``(x - mean) / std`` per band; what is not finite becomes 0, the mean.

    Always computes in float32: kelvins lose a quarter of a degree in half precision.

    Parameters
    ----------
    mean, std
        One number a band, in the units of the input.

    Raises
    ------
    ValueError
        If they differ in length, are not finite, or a standard deviation is not positive.

    Notes
    -----
    Input and output have shape (..., band).
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})
        self.mean = tuple(float(value) for value in mean)
        self.std = tuple(float(value) for value in std)
        if len(self.mean) != len(self.std):
            raise ValueError(f"{len(self.mean)} means but {len(self.std)} standard deviations")
        infinity = float("inf")
        for band, (centre, spread) in enumerate(zip(self.mean, self.std, strict=True)):
            # Written so that NaN fails both comparisons.
            if not (abs(centre) < infinity and 0 < spread < infinity):
                raise ValueError(
                    f"band {band} has mean {centre:g} and standard deviation {spread:g}; both "
                    "must be finite and the latter positive: is the band constant or all missing?"
                )

    def call(self, inputs: Any) -> Any:
        """Standardise an array of shape (..., band)."""
        mean = ops.convert_to_tensor(self.mean, dtype=self.compute_dtype)
        std = ops.convert_to_tensor(self.std, dtype=self.compute_dtype)
        # Replaced before the arithmetic, not after: a NaN in the branch not taken by `where`
        # would still poison the gradient.
        return (ops.where(ops.isfinite(inputs), inputs, mean) - mean) / std

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to build the layer again."""
        return {**super().get_config(), "mean": list(self.mean), "std": list(self.std)}


@keras.saving.register_keras_serializable(package="thermocube")
class Present(layers.Layer):
    """1 where a value is there, 0 where it is missing (not finite).

    Parameters
    ----------
    per_band
        True: (..., band) to (..., band). False: to (..., 1), 1 where any band is there.
    """

    def __init__(self, per_band: bool, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})
        self.per_band = per_band

    def call(self, inputs: Any) -> Any:
        """Say where an array of shape (..., band) has values."""
        there = ops.isfinite(inputs)
        there = there if self.per_band else ops.any(there, axis=-1, keepdims=True)
        return ops.cast(there, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the input, or with a last dimension of 1."""
        return input_shape if self.per_band else (*input_shape[:-1], 1)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to build the layer again."""
        return {**super().get_config(), "per_band": self.per_band}


@keras.saving.register_keras_serializable(package="thermocube")
class ConvLSTM(layers.Layer):
    """A 3x3 convolutional LSTM that keeps its state over pixels and dates that are missing.

    With every pixel there it computes what `keras.layers.ConvLSTM2D` does, from the same weights.
    Keras's layer takes images of one fixed size, cannot skip single pixels, and makes eight
    convolutions a date inside a loop; here they are one over all dates at once and one a date
    (measured on CPU: a training step takes 0.8 of the time on TensorFlow, 0.1 on JAX).

    Parameters
    ----------
    filters
        Channels of the output and of both states.
    activation
        Of the candidate and of the output: ``tanh`` (Shi et al. 2015) or ``relu``.
    l2
        Penalty on the kernel of the inputs.

    Notes
    -----
    Called with inputs (n, time, y, x, channel), optionally `present` (n, time, y, x, 1), 1 or 0,
    and the states (hidden, cell) to start from, each (n, y, x, filters). Gives the hidden states
    of all dates (n, time, y, x, filters) and the last (hidden, cell). Where `present` is 0, the
    states of the date before are kept. Shi et al. 2015 (arXiv 1506.04214), equation 3, without
    peepholes; the forget gate starts open (Jozefowicz et al. 2015).
    """

    def __init__(
        self, filters: int, activation: str = "tanh", l2: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.activation = keras.activations.get(activation)
        self.l2 = l2

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make kernel, recurrent kernel and bias, laid out as in `keras.layers.ConvLSTM2D`."""
        filters = self.filters
        self.kernel = self.add_weight(
            name="kernel",
            shape=(3, 3, input_shape[-1], 4 * filters),
            initializer="he_normal",
            regularizer=keras.regularizers.L2(self.l2) if self.l2 else None,
        )
        self.recurrent_kernel = self.add_weight(
            name="recurrent_kernel", shape=(3, 3, filters, 4 * filters), initializer="orthogonal"
        )
        self.bias = self.add_weight(name="bias", shape=(4 * filters,), initializer=_forget_open)

    def call(
        self, inputs: Any, present: Any = None, states: Sequence[Any] | None = None
    ) -> tuple[Any, Any, Any]:
        """Run over all dates; the hidden states of all, and the last hidden and cell state."""
        gates = self._gates(inputs)
        hidden, cell = (None, None) if states is None else states
        outputs = []
        for date in range(inputs.shape[1]):
            before = (hidden, cell)
            hidden, cell = self._step(gates[:, date], hidden, cell)
            if present is not None:
                there = ops.cast(present[:, date], hidden.dtype)
                hidden, cell = (
                    _keep(there, new, old) for new, old in zip((hidden, cell), before, strict=True)
                )
            outputs.append(hidden)
        return ops.stack(outputs, axis=1), hidden, cell

    def _gates(self, inputs: Any) -> Any:
        """What the inputs add to the gates: all dates in one convolution."""
        dates, channels = inputs.shape[1], inputs.shape[-1]
        rows, columns = ops.shape(inputs)[2:4]
        images = ops.reshape(inputs, (-1, rows, columns, channels))
        gates = ops.conv(images, self.kernel, padding="same") + self.bias
        return ops.reshape(gates, (-1, dates, rows, columns, 4 * self.filters))

    def _step(self, gates: Any, hidden: Any, cell: Any) -> tuple[Any, Any]:
        if hidden is not None:
            gates = gates + ops.conv(hidden, self.recurrent_kernel, padding="same")
        write, forget, candidate, read = ops.split(gates, 4, axis=-1)
        new = ops.sigmoid(write) * self.activation(candidate)
        if cell is not None:
            new = ops.sigmoid(forget) * cell + new
        return ops.sigmoid(read) * self.activation(new), new

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> Any:
        """Shapes of the sequence and of both states."""
        n, dates, rows, columns, _channels = input_shape
        state = (n, rows, columns, self.filters)
        return (n, dates, rows, columns, self.filters), state, state

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to build the layer again."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "activation": keras.activations.serialize(self.activation),
            "l2": self.l2,
        }


def _keep(there: Any, new: Any, old: Any) -> Any:
    return there * new if old is None else there * new + (1 - there) * old


def _forget_open(shape: tuple[int, ...], dtype: Any = None) -> Any:
    """Bias 0, but 1 for the forget gate, the second quarter."""
    quarter = shape[0] // 4
    start = [0.0] * quarter + [1.0] * quarter + [0.0] * 2 * quarter
    return ops.convert_to_tensor(start, dtype=dtype)
