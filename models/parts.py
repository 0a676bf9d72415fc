"""What both U-Nets are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from models.layers import Present, Standardise
from models.settings import NetworkSettings

Statistics = Sequence[float]


def check_input(
    bands: int,
    classes: int,
    patch: int | None,
    sequence: int | None,
    mean: Statistics,
    std: Statistics,
) -> None:
    """Refuse what no network can be built for.

    Raises
    ------
    ValueError
        Saying what does not fit.
    """
    if (patch is not None and patch < 1) or (sequence is not None and sequence < 1):
        raise ValueError(
            f"a sample has 1 pixel and 1 date or more, not a side of {patch} px and {sequence} "
            "dates"
        )
    if bands < 1 or classes < 2:
        raise ValueError(f"a network needs 1 band and 2 classes or more, not {bands} and {classes}")
    if not len(mean) == len(std) == bands:
        raise ValueError(
            f"the network has {bands} bands, but there are {len(mean)} means and {len(std)} "
            "standard deviations: take the statistics of the same bands"
        )


def standardised(inputs: Any, settings: NetworkSettings, mean: Statistics, std: Statistics) -> Any:
    """What the network sees of its inputs: standardised bands, and where they are if wanted."""
    x = Standardise(mean, std, name="standardise")(inputs)
    if not settings.missing_channels:
        return x
    there = Present(per_band=True, name="present_bands")(inputs)
    return layers.Concatenate(name="bands")([x, there])


def padding(patch: int | None, depth: int) -> tuple[int, int]:
    """Pixels before and after a patch that make it a multiple of ``2 ** depth``; 0 for None."""
    lacking = 0 if patch is None else -patch % 2**depth
    return lacking // 2, lacking - lacking // 2


def cropped(x: Any, sides: tuple[int, int]) -> Any:
    """Cut padding off an image (n, y, x, channel)."""
    return x if sides == (0, 0) else layers.Cropping2D((sides, sides), name="crop")(x)


def convolution(x: Any, filters: int, settings: NetworkSettings, name: str) -> Any:
    """Convolve 3x3, batch norm, ReLU."""
    return layers.ReLU(name=f"{name}_relu")(_normalised(x, filters, settings, name))


def convolutions(x: Any, filters: int, settings: NetworkSettings, name: str) -> Any:
    """Two convolutions, around which the input goes as well if the network is residual."""
    once = convolution(x, filters, settings, f"{name}_a")
    if not settings.residual:
        return convolution(once, filters, settings, f"{name}_b")
    twice = _normalised(once, filters, settings, f"{name}_b")
    if x.shape[-1] != filters:
        x = layers.Conv2D(filters, 1, name=f"{name}_shortcut", **kernel(settings.l2))(x)
    total = layers.Add(name=f"{name}_add")([twice, x])
    return layers.ReLU(name=f"{name}_b_relu")(total)


def dropout(x: Any, rate: float, name: str) -> Any:
    """Drop single values."""
    return layers.Dropout(rate, name=f"{name}_dropout")(x) if rate else x


def softmax(classes: int, settings: NetworkSettings, name: str = "lithology") -> Any:
    """The layer that gives probabilities (n, y, x, class)."""
    # In float32 even under a mixed-precision policy, where the loss would lose them.
    options = kernel(settings.l2)
    return layers.Conv2D(classes, 1, activation="softmax", dtype="float32", name=name, **options)


def kernel(l2: float) -> dict[str, Any]:
    """How kernels start, and what they cost."""
    penalty = keras.regularizers.L2(l2) if l2 else None
    return {"kernel_initializer": "he_normal", "kernel_regularizer": penalty}


def _normalised(x: Any, filters: int, settings: NetworkSettings, name: str) -> Any:
    x = layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv", **kernel(settings.l2))(x)
    return layers.BatchNormalization(momentum=settings.norm_momentum, name=f"{name}_norm")(x)
