"""Layers that Keras lacks: an edge-replicating pad and a corner-aligned enlargement."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="thermocube")
class Pad(layers.Layer):
    """Pad images by one pixel on each side.

    Parameters
    ----------
    mode
        ``"edge"`` repeats the outermost pixels, ``"reflect"`` mirrors at them.

    Notes
    -----
    (n, y, x, channel) to (n, y + 2, x + 2, channel).
    """

    def __init__(self, mode: str = "edge", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if mode not in ("edge", "reflect"):
            raise ValueError(f"images are padded by 'edge' or 'reflect', not {mode!r}")
        self.mode = mode

    def call(self, inputs: Any) -> Any:
        """Pad an array of shape (n, y, x, channel)."""
        # At a width of one pixel, mirroring with the edge is repeating it.
        mode = "symmetric" if self.mode == "edge" else "reflect"
        return ops.pad(inputs, ((0, 0), (1, 1), (1, 1), (0, 0)), mode=mode)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Two pixels more along y and x."""
        batch, rows, columns, channels = input_shape
        return batch, rows and rows + 2, columns and columns + 2, channels

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to build the layer again."""
        return {**super().get_config(), "mode": self.mode}


@keras.saving.register_keras_serializable(package="thermocube")
class DoubleBilinear(layers.Layer):
    """Enlarge two times by linear interpolation with the corner pixels' centres aligned.

    The convention of the published networks (``align_corners``); `keras.layers.UpSampling2D`
    aligns the corners of the images instead.

    Notes
    -----
    (n, y, x, channel) to (n, 2 y, 2 x, channel).
    """

    def call(self, inputs: Any) -> Any:
        """Enlarge an array of shape (n, y, x, channel)."""
        rows, columns = (_weights(ops.shape(inputs)[axis]) for axis in (1, 2))
        rows, columns = (ops.cast(one, inputs.dtype) for one in (rows, columns))
        # Products of matrices: the derivative of gathering pixels is slow.
        tall = ops.einsum("ij,njxc->nixc", rows, inputs)
        return ops.einsum("ij,nyjc->nyic", columns, tall)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Twice as many pixels along y and x."""
        batch, rows, columns, channels = input_shape
        return batch, rows and 2 * rows, columns and 2 * columns, channels


def _weights(size: Any) -> Any:
    """Shares (2 size, size) of the pixels of a line in those of the enlarged line."""
    # In float32 always: half precision knows no fractions of large places.
    length = ops.cast(size, "float32")
    places = ops.arange(2 * size, dtype="float32") * (length - 1) / (2 * length - 1)
    apart = ops.abs(places[:, None] - ops.arange(size, dtype="float32"))
    return ops.maximum(1 - apart, 0)
