"""The CNN U-Net of the rock-and-soil study (after Ronneberger et al. 2015, arXiv 1505.04597)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Self

import keras
from keras import layers, ops
from pydantic import BaseModel, ConfigDict, Field, model_validator

Rate = Annotated[float, Field(ge=0.0, lt=1.0)]


class UNetSettings(BaseModel):
    """Size and regularisation of a U-Net; the defaults are the study's.

    Raises
    ------
    pydantic.ValidationError
        A `ValueError`: unknown key, value out of range, or a number of dropout rates that is
        not `depth`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    filters: int = Field(default=16, ge=1)
    """Filters of the first encoder stage; each stage has twice those of the one before."""
    depth: int = Field(default=5, ge=1, le=8)
    """Number of 2x2 poolings: `patch` is a multiple of ``2 ** depth``."""
    l2: float = Field(default=0.05, ge=0.0)
    """Penalty on the kernels of the ordinary convolutions."""
    encoder_dropout: tuple[Rate, ...] = (0.0, 0.0, 0.0, 0.2, 0.2)
    """One rate a stage, finest first."""
    bottleneck_dropout: Rate = 0.3
    norm_momentum: Rate = 0.99
    """Of the moving statistics of batch normalisation; 0.99 needs some 500 batches to settle."""

    @model_validator(mode="after")
    def _one_rate_a_stage(self) -> Self:
        if len(self.encoder_dropout) != self.depth:
            raise ValueError(
                f"encoder_dropout has {len(self.encoder_dropout)} rates for depth {self.depth}; "
                "give one for each encoder stage"
            )
        return self

    @classmethod
    def study(cls) -> Self:
        """The study's network: 8.66 million parameters with two bands and 14 classes."""
        return cls()

    @classmethod
    def small(cls) -> Self:
        """A network that a CPU trains in minutes: 0.5 million parameters."""
        return cls(
            depth=3,
            l2=1e-4,
            encoder_dropout=(0.0, 0.0, 0.1),
            bottleneck_dropout=0.2,
            norm_momentum=0.9,
        )

    @classmethod
    def preset(cls, name: str) -> Self:
        """Look up ``study`` or ``small``.

        Raises
        ------
        ValueError
            If there is no preset of that name.
        """
        match name:
            case "study":
                return cls.study()
            case "small":
                return cls.small()
        raise ValueError(f"no U-Net preset is called {name!r}; there are 'study' and 'small'")

    @property
    def stage_filters(self) -> tuple[int, ...]:
        """Filters of each encoder stage, finest first, the bottleneck last."""
        return tuple(self.filters * 2**stage for stage in range(self.depth + 1))


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


def build_unet(
    settings: UNetSettings,
    bands: int,
    classes: int,
    patch: int | None,
    mean: Sequence[float],
    std: Sequence[float],
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
        Height and width in pixels, a multiple of ``2 ** settings.depth``; None for a network
        that takes images of any such size.
    mean, std
        Statistics of each band over the training part, in the input's physical units.

    Returns
    -------
    keras.Model
        float32 (n, y, x, band) in physical units, NaN where missing, to float32 probabilities
        (n, y, x, class).

    Raises
    ------
    ValueError
        If the patch does not fit the depth, or the statistics do not fit the bands.
    """
    check_patch(settings, patch)
    if bands < 1 or classes < 2:
        raise ValueError(f"a network needs 1 band and 2 classes or more, not {bands} and {classes}")
    if not len(mean) == len(std) == bands:
        raise ValueError(
            f"the network has {bands} bands, but there are {len(mean)} means and {len(std)} "
            "standard deviations: take the statistics of the same bands"
        )
    inputs = keras.Input((patch, patch, bands), name="imagery")
    x = Standardise(mean, std, name="standardise")(inputs)
    x, skips = _encode(x, settings)
    x = _convolutions(x, settings.stage_filters[-1], settings, "bottleneck")
    x = _dropout(x, settings.bottleneck_dropout, "bottleneck")
    x = _decode(x, skips, settings)
    x = _convolution(x, settings.filters, settings, "head")
    # Probabilities in float32 even under a mixed-precision policy, where the loss would lose them.
    outputs = layers.Conv2D(
        classes, 1, activation="softmax", dtype="float32", name="lithology", **_kernel(settings.l2)
    )(x)
    return keras.Model(inputs, outputs, name="unet")


def check_patch(settings: UNetSettings, patch: int | None) -> None:
    """Refuse a patch that the poolings would not divide evenly.

    Raises
    ------
    ValueError
        Naming the sizes that fit.
    """
    step = 2**settings.depth
    if patch is not None and (patch < step or patch % step):
        nearest = max(step, round(patch / step) * step)
        raise ValueError(
            f"a U-Net of depth {settings.depth} takes patches of a multiple of {step} px, "
            f"not {patch}; the nearest is {nearest}"
        )


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
        x = _convolutions(x, settings.stage_filters[stage], settings, name)
        x = _dropout(x, rate, name)
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
    return x, skips


def _decode(x: Any, skips: list[Any], settings: UNetSettings) -> Any:
    for stage in reversed(range(settings.depth)):
        name, filters = f"decoder_{stage + 1}", settings.stage_filters[stage]
        x = layers.Conv2DTranspose(filters, 3, strides=2, padding="same", name=f"{name}_up")(x)
        x = layers.Concatenate(name=f"{name}_skip")([x, skips[stage]])
        x = _convolutions(x, filters, settings, name)
    return x


def _convolutions(x: Any, filters: int, settings: UNetSettings, name: str) -> Any:
    x = _convolution(x, filters, settings, f"{name}_a")
    return _convolution(x, filters, settings, f"{name}_b")


def _convolution(x: Any, filters: int, settings: UNetSettings, name: str) -> Any:
    x = layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv", **_kernel(settings.l2))(x)
    x = layers.BatchNormalization(momentum=settings.norm_momentum, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _dropout(x: Any, rate: float, name: str) -> Any:
    return layers.Dropout(rate, name=f"{name}_dropout")(x) if rate else x


def _kernel(l2: float) -> dict[str, Any]:
    penalty = keras.regularizers.L2(l2) if l2 else None
    return {"kernel_initializer": "he_normal", "kernel_regularizer": penalty}
