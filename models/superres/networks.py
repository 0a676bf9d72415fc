"""The networks of the two super-resolution studies: one of LST alone, one guided by NDVI."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import layers
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from models.superres.layers import DoubleBilinear, Pad
from models.unet import Standardise

LARGEST_LST = 333.32
"""Kelvin: the training maximum that MR U-Net divides by."""


class SifSettings(BaseModel):
    """Size of the network of SIF-CNN-SR1, SIF-CNN-SR2 and SC-UNet; the defaults are published."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: tuple[PositiveInt, ...] = Field(default=(16, 32, 64, 64), min_length=2)
    """Of the stem, and after each of the poolings."""
    norm_momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Of the moving statistics of batch normalisation; PyTorch's default, which was used."""

    @property
    def step(self) -> int:
        """Image sizes are multiples of this."""
        return 2 ** (len(self.channels) - 1)


class MrUNetSettings(BaseModel):
    """Size and variant of the multi-residual U-Net; the defaults are Nguyen et al.'s."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: tuple[PositiveInt, ...] = Field(default=(64, 128, 256, 512, 1024), min_length=2)
    """Of the stem, and after each halving of the grid."""
    down: Literal["strided", "max_pool"] = "strided"
    """Strided convolutions, or the pooling of the student precursor."""
    up: Literal["transposed", "bilinear"] = "transposed"
    """Transposed convolutions, or the interpolation of the student precursor."""
    norm_momentum: float = Field(default=0.9, ge=0.0, lt=1.0)

    @property
    def step(self) -> int:
        """Image sizes are multiples of this."""
        return 2 ** (len(self.channels) - 1)


def build_sif(
    settings: SifSettings,
    *,
    mean: tuple[float, float],
    std: tuple[float, float],
    size: int | None = None,
) -> keras.Model:
    """Build the network of SIF-CNN-SR1, SIF-CNN-SR2 and SC-UNet, with fresh weights.

    Ait-Bachir et al. 2025 (arXiv 2502.01204): 282,705 trainable parameters with the published
    settings. The three differ in how they are trained only.

    Parameters
    ----------
    settings
        Size.
    mean, std
        Of LST (kelvin) and NDVI over the training part.
    size
        Height and width of images in pixels; None for a network that takes any multiple of
        ``settings.step``.

    Returns
    -------
    keras.Model
        float32 (n, y, x, 2), bicubic LST in kelvin and NDVI on the fine grid, to fine LST
        (n, y, x, 1) in kelvin.

    Raises
    ------
    ValueError
        If the size does not fit the poolings, or statistics are not finite and positive.
    """
    _check_size(size, settings.step)
    inputs = keras.Input((size, size, 2), name="lst_ndvi")
    x = Standardise(mean, std, name="standardise")(inputs)
    x = _convolutions(x, (settings.channels[0],) * 2, "stem", settings.norm_momentum)
    skips = [x]
    for level, width in enumerate(settings.channels[1:], start=1):
        name = f"encoder_{level}"
        x = layers.AveragePooling2D(2, name=f"{name}_pool")(x)
        residual = _convolutions(x, (x.shape[-1],) * 2, name, settings.norm_momentum)
        x = layers.Add(name=f"{name}_add")([x, residual])
        x = _convolutions(x, (width,), f"{name}_widen", settings.norm_momentum)
        skips.append(x)
    for level in reversed(range(len(settings.channels) - 1)):
        name, skip = f"decoder_{level + 1}", skips[level]
        x = DoubleBilinear(name=f"{name}_up")(x)
        x = layers.Concatenate(name=f"{name}_skip")([x, skip])
        width = settings.channels[max(level - 1, 0)]
        x = _convolutions(x, (x.shape[-1] // 2, width), name, settings.norm_momentum)
    # In float32 under any policy: half precision tells kelvins apart by tenths only.
    x = layers.Conv2D(1, 3, dtype="float32", name="head")(Pad(name="head_pad")(x))
    outputs = layers.Rescaling(std[0], offset=mean[0], dtype="float32", name="kelvin")(x)
    return keras.Model(inputs, outputs, name="sif_cnn")


def build_mr_unet(settings: MrUNetSettings, *, size: int | None = None) -> keras.Model:
    """Build the multi-residual U-Net, with fresh weights.

    Nguyen et al. 2022, after the public code: from LST alone, made for 4 km to 1 km.

    Parameters
    ----------
    settings
        Size and variant.
    size
        Height and width of images in pixels; None for any multiple of ``settings.step``.

    Returns
    -------
    keras.Model
        float32 (n, y, x, 1), LST enlarged to the fine grid, kelvin, to fine LST of that shape:
        the network's output is added to its input.

    Raises
    ------
    ValueError
        If the size does not fit the halvings of the grid.
    """
    _check_size(size, settings.step)
    momentum = settings.norm_momentum
    inputs = keras.Input((size, size, 1), name="lst")
    scaled = layers.Rescaling(1 / LARGEST_LST, dtype="float32", name="scale")(inputs)
    # What comes in and goes out is in float32 under any policy: LST over its maximum differs by
    # less than half precision can tell.
    width = settings.channels[0]
    x = _convolutions(scaled, (width,), "stem", momentum, "same", dtype="float32")
    x = _convolutions(x, (width,), "stem_b", momentum, "same")
    skips = []
    for level, width in enumerate(settings.channels[1:], start=1):
        skips.append(x)
        x = _residual_level(x, width, f"encoder_{level}", settings)
    x = _bridge(x, momentum)
    for level in reversed(range(len(skips))):
        name, width = f"decoder_{level + 1}", settings.channels[level]
        x = _enlarged(x, width, f"{name}_up", settings)
        x = layers.Concatenate(name=f"{name}_skip")([x, skips[level]])
        x = _convolutions(x, (width,) * 2, name, momentum, "same")
    # From zero: untrained it is the enlarged input, not 100 K of noise that steps have to undo.
    x = layers.Conv2D(1, 1, kernel_initializer="zeros", dtype="float32", name="head")(x)
    x = layers.Add(dtype="float32", name="residual")([x, scaled])
    outputs = layers.Rescaling(LARGEST_LST, dtype="float32", name="kelvin")(x)
    return keras.Model(inputs, outputs, name="mr_unet")


def _residual_level(x: Any, width: int, name: str, settings: MrUNetSettings) -> Any:
    if settings.down == "strided":
        x = layers.Conv2D(x.shape[-1], 2, strides=2, name=f"{name}_down")(x)
    else:
        x = layers.MaxPooling2D(2, name=f"{name}_down")(x)
    inner = _convolutions(x, (x.shape[-1],) * 2, name, settings.norm_momentum, "same")
    x = layers.Add(name=f"{name}_add")([x, inner])
    return _convolutions(x, (width,), f"{name}_widen", settings.norm_momentum, "same")


def _bridge(x: Any, momentum: float) -> Any:
    """One ResNet block: no activation after the second convolution, nor after the sum."""
    inner = x
    for part in "ab":
        inner = Pad("reflect", name=f"bridge_{part}_pad")(inner)
        inner = layers.Conv2D(x.shape[-1], 3, use_bias=False, name=f"bridge_{part}_conv")(inner)
        inner = _norm(momentum, f"bridge_{part}_norm")(inner)
        if part == "a":
            inner = layers.ReLU(name="bridge_relu")(inner)
    return layers.Add(name="bridge_add")([x, inner])


def _enlarged(x: Any, width: int, name: str, settings: MrUNetSettings) -> Any:
    if settings.up == "transposed":
        return layers.Conv2DTranspose(width, 2, strides=2, name=name)(x)
    return DoubleBilinear(name=name)(x)


def _convolutions(
    x: Any,
    widths: tuple[int, ...],
    name: str,
    momentum: float,
    padding: str = "edge",
    dtype: str | None = None,
) -> Any:
    """3 x 3 convolutions without bias, each with batch normalisation and ReLU."""
    for part, width in zip("abc", widths, strict=False):
        called, valid = f"{name}_{part}", "valid" if padding == "edge" else padding
        if padding == "edge":
            x = Pad(name=f"{called}_pad")(x)
        x = layers.Conv2D(
            width, 3, padding=valid, use_bias=False, dtype=dtype, name=f"{called}_conv"
        )(x)
        x = _norm(momentum, f"{called}_norm", dtype)(x)
        x = layers.ReLU(dtype=dtype, name=f"{called}_relu")(x)
    return x


def _norm(momentum: float, name: str, dtype: str | None = None) -> layers.Layer:
    return layers.BatchNormalization(momentum=momentum, epsilon=1e-5, dtype=dtype, name=name)


def _check_size(size: int | None, step: int) -> None:
    # Mirroring at the coarsest level needs two pixels there.
    if size is not None and (size < 2 * step or size % step):
        raise ValueError(
            f"this network takes images of a multiple of {step} px, {2 * step} or more, not {size}"
        )
