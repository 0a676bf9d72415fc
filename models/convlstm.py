"""The ConvLSTM U-Net of the rock-and-soil study, and its feedback variant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import layers

from models.layers import ConvLSTM, Present
from models.parts import (
    check_input,
    cropped,
    kernel,
    padding,
    softmax,
    standardised,
)
from models.settings import ConvLSTMSettings as ConvLSTMSettings

States = dict[str, list[Any]]
"""Hidden and cell state of each recurrent layer, by its name."""


def build_convlstm(
    settings: ConvLSTMSettings,
    bands: int,
    classes: int,
    patch: int | None = None,
    sequence: int = 5,
    *,
    mean: Sequence[float],
    std: Sequence[float],
) -> keras.Model:
    """Build the network, with fresh weights, not compiled.

    Pixels without any band on a date leave the state of the recurrent cells as it was, at every
    scale; so do dates that are missing as a whole. Single missing bands count as their mean.

    Parameters
    ----------
    settings
        Size and regularisation.
    bands
        Number of input bands.
    classes
        Number of softmax outputs, the never-learnt class 0 included.
    patch
        Height and width in pixels. One that is no multiple of ``2 ** settings.depth`` is padded
        with missing pixels on both sides, and the result cropped. None for a network that takes
        images of any size that is such a multiple.
    sequence
        Dates of a sample.
    mean, std
        Statistics of each band over the training part, in the input's physical units.

    Returns
    -------
    keras.Model
        float32 (n, sequence, y, x, band) in physical units, NaN where missing, to float32
        probabilities (n, y, x, class).

    Raises
    ------
    ValueError
        If there is no pixel, band, date or class, or the statistics do not fit the bands.

    Notes
    -----
    Feedback after Shibuya & Hotta 2022 (doi 10.1007/s00371-021-02221-3): both rounds share all
    weights; in the first the probability map is 0 everywhere, "no opinion yet". Only the second
    round's map is the output, and is learnt from.
    """
    check_input(bands, classes, patch, sequence, mean, std)
    inputs = keras.Input((sequence, patch, patch, bands), name="imagery")
    x = standardised(inputs, settings, mean, std)
    present = Present(per_band=False, name="present")(inputs)
    sides = padding(patch, settings.depth)
    if sides != (0, 0):
        x, present = (
            layers.ZeroPadding3D(((0, 0), sides, sides), name=name)(image)
            for name, image in (("pad", x), ("pad_present", present))
        )
    network = _Network(settings, classes)
    if settings.feedback:
        x = network.around(x, present, sequence)
    else:
        x, _ = network.forward(x, present, {})
    return keras.Model(inputs, cropped(x, sides), name="convlstm_unet")


def receptive_field(settings: ConvLSTMSettings, sequence: int = 5) -> int:
    """Width in pixels of the smallest centred window that a pixel's prediction can depend on.

    Wider than that of a CNN: what a date adds spreads by one more pixel of its scale on every
    later date. Meaning, use and limits are those of `models.unet.receptive_field`.

    Parameters
    ----------
    settings
        Size; with feedback the window is an upper bound, twice as wide as without.
    sequence
        Dates of a sample.
    """
    halo = max(_reach(settings, pixel, sequence) for pixel in range(2**settings.depth))
    return 2 * halo * (2 if settings.feedback else 1) + 1


def _reach(settings: ConvLSTMSettings, pixel: int, sequence: int) -> int:
    """Largest distance from an output pixel to an input pixel of any date it depends on."""
    low, high = pixel - 1, pixel + 1  # the head
    skips = []
    for _ in range(settings.depth):
        low, high = low - 1, high + 1
        skips.append((low, high))
        low, high = low // 2, high // 2  # upsampling
    # Steps back in time widen most at the coarsest scale; a path has sequence - 1 of them, and
    # those from a skip connection have the scale of their stage.
    low, high = low - sequence, high + sequence
    for skip_low, skip_high in reversed(skips):
        low, high = 2 * low, 2 * high + 1  # pooling
        low, high = min(low, skip_low - sequence + 1), max(high, skip_high + sequence - 1)
        low, high = low - 2, high + 2
    return max(pixel - low, high - pixel)


@dataclass(frozen=True)
class _Network:
    """Layers that are made when first met, so that a second round takes those of the first."""

    settings: ConvLSTMSettings
    classes: int
    made: dict[str, Any] = field(default_factory=dict)

    def around(self, x: Any, present: Any, sequence: int) -> Any:
        """Two rounds; the map of the second, (n, y, x, class)."""
        none = keras.ops.repeat(keras.ops.zeros_like(x[..., :1]), self.classes, axis=-1)
        first, states = self.forward(layers.Concatenate(name="round_1")([x, none]), present, {})
        opinion = keras.ops.repeat(keras.ops.expand_dims(first, 1), sequence, axis=1)
        second = layers.Concatenate(name="round_2")([x, keras.ops.cast(opinion, x.dtype)])
        return self.forward(second, present, states)[0]

    def forward(self, x: Any, present: Any, start: States) -> tuple[Any, States]:
        """One round: the map (n, y, x, class), and the states that the cells end with."""
        ends: States = {}
        skips = []
        for stage, rate in enumerate(self.settings.encoder_dropout):
            name = f"encoder_{stage + 1}"
            x = self._encode(x, present, self.settings.stage_filters[stage], name, start, ends)
            if rate:
                x = self._once(f"{name}_dropout", layers.SpatialDropout3D, rate)(x)
            skips.append(x[:, -1])
            x = self._once(f"{name}_pool", layers.MaxPooling3D, (1, 2, 2))(x)
            present = self._once(f"{name}_pool_present", layers.MaxPooling3D, (1, 2, 2))(present)
        x = self._bottleneck(x, present, start, ends)
        for stage in reversed(range(self.settings.depth)):
            x = self._decode(x, skips[stage], stage)
        x = self._convolution(x, self.settings.filters, "head")
        return self._once("lithology", softmax, self.classes, self.settings)(x), ends

    def _encode(
        self, x: Any, present: Any, filters: int, name: str, start: States, ends: States
    ) -> Any:
        inputs = x
        for part in ("a", "b"):
            cell = f"{name}_{part}_lstm"
            x, *ends[cell] = self._cell(cell, filters)(x, present, start.get(cell))
            x = self._normalised(x, f"{name}_{part}_norm")
        return self._added(x, inputs, name)

    def _bottleneck(self, x: Any, present: Any, start: States, ends: States) -> Any:
        """The last hidden state only."""
        if rate := self.settings.bottleneck_dropout:
            # The same values on all dates, as `dropout` of `keras.layers.ConvLSTM2D` does.
            shape = (None, 1, None, None, None)
            x = self._once("bottleneck_dropout", layers.Dropout, rate, noise_shape=shape)(x)
        cell = self._cell("bottleneck_lstm", self.settings.stage_filters[-1])
        _, hidden, memory = cell(x, present, start.get(cell.name))
        ends[cell.name] = [hidden, memory]
        return hidden

    def _decode(self, x: Any, skip: Any, stage: int) -> Any:
        name = f"decoder_{stage + 1}"
        x = self._once(f"{name}_up", layers.UpSampling2D, 2)(x)
        inputs = self._once(f"{name}_skip", layers.Concatenate)([x, skip])
        x = self._convolution(inputs, self.settings.stage_filters[stage], name)
        x = self._normalised(x, f"{name}_norm")
        return self._added(x, inputs, name)

    def _convolution(self, x: Any, filters: int, name: str) -> Any:
        """Convolve 3x3, ReLU."""
        options = kernel(self.settings.l2) | {"padding": "same"}
        x = self._once(f"{name}_conv", layers.Conv2D, filters, 3, **options)(x)
        return self._once(f"{name}_relu", layers.ReLU)(x)

    def _normalised(self, x: Any, name: str) -> Any:
        momentum = self.settings.norm_momentum
        return self._once(name, layers.BatchNormalization, momentum=momentum)(x)

    def _added(self, x: Any, inputs: Any, name: str) -> Any:
        """Add the input of a stage to its output, if the network is residual."""
        if not self.settings.residual:
            return x
        if inputs.shape[-1] != x.shape[-1]:
            make = layers.Conv3D if len(x.shape) == 5 else layers.Conv2D
            options = kernel(self.settings.l2)
            inputs = self._once(f"{name}_shortcut", make, x.shape[-1], 1, **options)(inputs)
        return self._once(f"{name}_add", layers.Add)([x, inputs])

    def _cell(self, name: str, filters: int) -> Any:
        return self._once(name, ConvLSTM, filters, self.settings.activation, self.settings.l2)

    def _once(self, name: str, make: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """The layer of that name, made if it is not there yet."""
        if name not in self.made:
            self.made[name] = make(*args, name=name, **options)
        return self.made[name]
