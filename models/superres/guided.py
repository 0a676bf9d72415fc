"""A network that corrects the map of local slope, rather than make one from nothing."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from models.layers import Standardise
from models.superres.layers import Pad

CENTRE = (0.0, 0.0, 0.6, 0.0)
SPREAD = (2.0, 4.0, 0.2, 0.05)
"""Of the channels after the first, `models.sharpening.features.features`: fixed, so that neither a
scene nor a season decides on the scale of detail."""


class SlopeSettings(BaseModel):
    """Size of the network that corrects local slope."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: tuple[PositiveInt, ...] = Field(default=(24, 32, 48), min_length=2)
    """At full size, and after each of the poolings."""
    amplitude: float = Field(default=2.0, gt=0.0)
    """Kelvin that an output of 1 stands for."""

    @property
    def step(self) -> int:
        """Image sizes are multiples of this; tiles start on multiples of it."""
        return 2 ** (len(self.channels) - 1)


def build_slope(settings: SlopeSettings, *, size: int | None = None) -> keras.Model:
    """Build the network, with fresh weights: its map is that of local slope until it is trained.

    A U-Net without normalisation. Detail is looked at without its absolute level, so that the
    correction does not depend on how warm the season is. Every layer moves with the image by
    multiples of ``settings.step``: a tile with a margin is mapped like the whole.

    Parameters
    ----------
    settings
        Size.
    size
        Height and width of images in pixels; None for any multiple of ``settings.step``.

    Returns
    -------
    keras.Model
        float32 (n, y, x, 5), see `models.sharpening.features.features`, to fine LST (n, y, x, 1)
        in kelvin.

    Raises
    ------
    ValueError
        If the size does not fit the poolings.
    """
    if size is not None and (size < settings.step or size % settings.step):
        raise ValueError(
            f"this network takes images of a multiple of {settings.step} px, not {size}"
        )
    inputs = keras.Input((size, size, 1 + len(CENTRE)), name="features")
    base = inputs[..., :1]
    x = Standardise(CENTRE, SPREAD, name="standardise")(inputs[..., 1:])
    skips = []
    for level, width in enumerate(settings.channels):
        if level:
            skips.append(x)
            x = layers.AveragePooling2D(2, name=f"pool_{level}")(x)
        x = _convolutions(x, width, f"encoder_{level}")
    for level in reversed(range(len(skips))):
        x = layers.UpSampling2D(2, interpolation="bilinear", name=f"up_{level}")(x)
        x = layers.Concatenate(name=f"skip_{level}")([x, skips[level]])
        x = _convolutions(x, settings.channels[level], f"decoder_{level}")
    x = layers.Conv2D(1, 3, kernel_initializer="zeros", name="head")(Pad(name="head_pad")(x))
    x = layers.Rescaling(settings.amplitude, name="correction")(x)
    outputs = layers.Add(name="kelvin", dtype="float32")([base, x])
    return keras.Model(inputs, outputs, name="slope")


def _convolutions(x: Any, width: int, name: str) -> Any:
    for part in "ab":
        x = Pad(name=f"{name}_{part}_pad")(x)
        x = layers.Conv2D(width, 3, activation="relu", kernel_initializer="he_normal",
                          name=f"{name}_{part}")(x)  # fmt: skip
    return x
