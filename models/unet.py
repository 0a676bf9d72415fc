"""The CNN U-Net of the rock-and-soil study (after Ronneberger et al. 2015, arXiv 1505.04597)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from models.layers import Standardise as Standardise
from models.parts import (
    check_input,
    convolution,
    convolutions,
    cropped,
    dropout,
    padding,
    softmax,
    standardised,
)
from models.settings import UNetSettings as UNetSettings


def build_unet(
    settings: UNetSettings,
    bands: int,
    classes: int,
    patch: int | None,
    mean: Sequence[float],
    std: Sequence[float],
    sequence: int | None = None,
) -> keras.Model:
    """Build the network, with fresh weights, not compiled.

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
    mean, std
        Statistics of each band over the training part, in the input's physical units.
    sequence
        Dates of a sample, for a network on time-stacked bands; None for one date.

    Returns
    -------
    keras.Model
        float32 (n, y, x, band), or (n, sequence, y, x, band), in physical units, NaN where
        missing, to float32 probabilities (n, y, x, class).

    Raises
    ------
    ValueError
        If there is no pixel, band, date or class, or the statistics do not fit the bands.
    """
    check_input(bands, classes, patch, sequence, mean, std)
    dates = () if sequence is None else (sequence,)
    inputs = keras.Input((*dates, patch, patch, bands), name="imagery")
    x = standardised(inputs, settings, mean, std)
    if sequence is not None:
        x = layers.Concatenate(name="stack")([x[:, date] for date in range(sequence)])
    sides = padding(patch, settings.depth)
    if sides != (0, 0):
        x = layers.ZeroPadding2D((sides, sides), name="pad")(x)
    x, skips = _encode(x, settings)
    x = convolutions(x, settings.stage_filters[-1], settings, "bottleneck")
    x = dropout(x, settings.bottleneck_dropout, "bottleneck")
    x = _decode(x, skips, settings)
    x = convolution(x, settings.filters, settings, "head")
    return keras.Model(inputs, cropped(softmax(classes, settings)(x), sides), name="unet")


def receptive_field(settings: UNetSettings) -> int:
    """Width in pixels of the smallest centred window that a pixel's prediction can depend on.

    Always odd: ``receptive_field(settings) // 2`` pixels on each side are the halo that makes
    a prediction independent of where its patch was cut, and the buffer that keeps two parts of
    a split from seeing each other.

    Notes
    -----
    Follows the interval of pixels that reach one output pixel back through the layers, for
    every position of that pixel on the coarsest grid, as pooling and stride-2 transposed
    convolution do not treat all positions alike. At inference: in training, batch normalisation
    makes every pixel depend on the whole batch.
    """
    return 2 * max(_reach(settings, pixel) for pixel in range(2**settings.depth)) + 1


def _reach(settings: UNetSettings, pixel: int) -> int:
    """Largest distance from an output pixel to an input pixel it depends on."""
    low, high = pixel - 1, pixel + 1  # the head
    skips = []
    for _ in range(settings.depth):
        low, high = low - 2, high + 2  # two 3x3 convolutions
        skips.append((low, high))
        low, high = (low - 1) // 2, high // 2  # pixel i is spread over 2i .. 2i + 2
    low, high = low - 2, high + 2
    for skip_low, skip_high in reversed(skips):
        low, high = min(2 * low, skip_low), max(2 * high + 1, skip_high)  # pooling of 2i, 2i + 1
        low, high = low - 2, high + 2
    return max(pixel - low, high - pixel)


def _encode(x: Any, settings: UNetSettings) -> tuple[Any, list[Any]]:
    skips = []
    for stage, rate in enumerate(settings.encoder_dropout):
        name = f"encoder_{stage + 1}"
        x = convolutions(x, settings.stage_filters[stage], settings, name)
        x = dropout(x, rate, name)
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
    return x, skips


def _decode(x: Any, skips: list[Any], settings: UNetSettings) -> Any:
    for stage in reversed(range(settings.depth)):
        name, filters = f"decoder_{stage + 1}", settings.stage_filters[stage]
        x = layers.Conv2DTranspose(filters, 3, strides=2, padding="same", name=f"{name}_up")(x)
        x = layers.Concatenate(name=f"{name}_skip")([x, skips[stage]])
        x = convolutions(x, filters, settings, name)
    return x
