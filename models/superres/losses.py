"""Losses that need no fine LST: the map degraded against the input, its texture against NDVI's.

Targets of the self-supervised losses have shape (n, y, x, 2) on the fine grid: the coarse LST
repeated over its blocks (kelvin), and NDVI.
"""

from __future__ import annotations

from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from models.sharpening.degradation import Degradation
from models.sharpening.gradients import SOBEL, gaussian_kernel

Texture = Literal["sobel", "high_pass"]
SECOND_MTF = 0.25
"""Transfer of the smoothing that SIF-CNN-SR2's high-pass filter takes off."""


def degrade(images: Any, degradation: Degradation) -> Any:
    """H, differentiable: (n, scale * y, scale * x, 1) to (n, y, x, 1), as `Degradation` does it."""
    weights, scale = degradation.weights, degradation.scale
    margin = (len(weights) - scale) // 2
    pads = ((0, 0), (margin, margin), (margin, margin), (0, 0))
    padded = ops.pad(images, pads, mode="symmetric") if margin else images
    return _separable(padded, weights, scale)


def smooth(images: Any, mtf: float) -> Any:
    """`models.sharpening.gradients.low_pass`, differentiable, of (n, y, x, 1)."""
    kernel = gaussian_kernel(mtf)
    margin = len(kernel) // 2
    padded = ops.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="reflect")
    return _separable(padded, tuple(kernel.tolist()), 1)


def sobel_responses(images: Any) -> Any:
    """The four signed Sobel responses (n, y - 2, x - 2, 4) of (n, y, x, 1)."""
    kernels = np.moveaxis(np.array(SOBEL, dtype="float32"), 0, -1)[:, :, None, :]
    return ops.conv(images, ops.convert_to_tensor(kernels, dtype=images.dtype))


def sobel_magnitude(images: Any) -> Any:
    """Gradient magnitude (n, y - 2, x - 2, 1) from the two axial Sobel kernels."""
    responses = sobel_responses(images)[..., :2]
    # The root of 0 has no derivative.
    return ops.sqrt(ops.sum(ops.square(responses), axis=-1, keepdims=True) + 1e-12)


def huber(errors: Any) -> Any:
    """``e^2 / 2`` up to an error of 1, linear beyond."""
    size = ops.abs(errors)
    return ops.where(size <= 1, 0.5 * ops.square(errors), size - 0.5)


@keras.saving.register_keras_serializable(package="thermocube")
class ScaledHuber(keras.losses.Loss):
    """Huber loss of standardised LST, with LST in kelvin: that of SC-UNet.

    Parameters
    ----------
    std
        Standard deviation of LST over the training part, kelvin.
    """

    def __init__(self, std: float, name: str = "scaled_huber") -> None:
        super().__init__(name=name)
        self.std = _positive(std, "the standard deviation of LST")

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Mean over channels of (n, y, x, 1), kelvin: (n, y, x)."""
        return ops.mean(huber((y_pred - ops.cast(y_true, y_pred.dtype)) / self.std), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to build the loss again."""
        return {"std": self.std, "name": self.name}


@keras.saving.register_keras_serializable(package="thermocube")
class ScaleInvarianceFree(keras.losses.Loss):
    """``alpha * L_rec + (1 - alpha) * L_tex`` of SIF-CNN-SR1 and SR2.

    L_rec is the Huber loss between the degraded map and the coarse LST; L_tex that between
    the map's texture and `gamma` times NDVI's, both standardised (Ait-Bachir et al. 2025,
    arXiv 2502.01204, after the published code).

    Parameters
    ----------
    alpha
        Weight of the reconstruction, 0 to 1.
    gamma
        Texture of LST for that of NDVI, both in standard deviations.
    texture
        ``"sobel"``: four signed Sobel responses (SR1); ``"high_pass"``: the image minus itself
        smoothed (SR2).
    lst_std, ndvi_std
        Standard deviations over the training part.
    degradation
        H; by default the study's.

    Raises
    ------
    ValueError
        If `alpha` is not in 0..1, the texture is not one of the two, or a standard deviation is
        not positive.
    """

    def __init__(
        self,
        alpha: float,
        gamma: float,
        texture: Texture,
        lst_std: float,
        ndvi_std: float,
        degradation: Degradation | None = None,
        name: str = "scale_invariance_free",
    ) -> None:
        super().__init__(name=name)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha weighs two parts of a loss: it is 0 to 1, not {alpha}")
        if texture not in ("sobel", "high_pass"):
            raise ValueError(f"texture is 'sobel' or 'high_pass', not {texture!r}")
        self.alpha, self.gamma, self.texture = float(alpha), float(gamma), texture
        self.lst_std = _positive(lst_std, "the standard deviation of LST")
        self.ndvi_std = _positive(ndvi_std, "the standard deviation of NDVI")
        self.degradation = degradation or Degradation.published()

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Targets (n, y, x, 2) and maps (n, y, x, 1) in kelvin to one loss an image, (n,)."""
        target = ops.cast(y_true, y_pred.dtype)
        return self.alpha * self.reconstruction(target, y_pred) + (1 - self.alpha) * self.likeness(
            target, y_pred
        )

    def reconstruction(self, y_true: Any, y_pred: Any) -> Any:
        """L_rec of each image, (n,)."""
        scale = self.degradation.scale
        coarse = y_true[:, ::scale, ::scale, :1]
        # The mean is taken off first: float32 holds kelvins to 3e-5 only.
        errors = degrade(y_pred - y_true[..., :1], self.degradation)
        offset = degrade(y_true[..., :1] - ops.mean(coarse), self.degradation)
        return _per_image(huber((errors + offset - coarse + ops.mean(coarse)) / self.lst_std))

    def likeness(self, y_true: Any, y_pred: Any) -> Any:
        """L_tex of each image, (n,)."""
        first = self._texture_of((y_pred - ops.mean(y_pred)) / self.lst_std)
        second = self._texture_of(y_true[..., 1:] / self.ndvi_std)
        return _per_image(huber(first - self.gamma * second))

    def _texture_of(self, images: Any) -> Any:
        if self.texture == "sobel":
            return sobel_responses(images)
        return images - smooth(images, SECOND_MTF)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to build the loss again."""
        return {
            "alpha": self.alpha,
            "gamma": self.gamma,
            "texture": self.texture,
            "lst_std": self.lst_std,
            "ndvi_std": self.ndvi_std,
            "degradation": {
                "name": self.degradation.name,
                "weights": list(self.degradation.weights),
                "scale": self.degradation.scale,
            },
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ScaleInvarianceFree:
        """Build the loss again from `get_config`."""
        stored = config["degradation"]
        degradation = Degradation(stored["name"], tuple(stored["weights"]), stored["scale"])
        return cls(**{**config, "degradation": degradation})


@keras.saving.register_keras_serializable(package="thermocube")
class MixGL(keras.losses.Loss):
    """``alpha * MSE of Sobel magnitudes + (1 - alpha) * MSE`` against fine LST.

    Parameters
    ----------
    alpha
        Weight of the gradients, 0 to 1; 0 is the mean squared error that MR U-Net's repository
        trains with.
    """

    def __init__(self, alpha: float = 0.5, name: str = "mix_gl") -> None:
        super().__init__(name=name)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha weighs two parts of a loss: it is 0 to 1, not {alpha}")
        self.alpha = float(alpha)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """LST (n, y, x, 1) and maps of that shape, kelvin, to one loss an image, (n,)."""
        truth = ops.cast(y_true, y_pred.dtype)
        gradients = _per_image(ops.square(sobel_magnitude(y_pred) - sobel_magnitude(truth)))
        values = _per_image(ops.square(y_pred - truth))
        return self.alpha * gradients + (1 - self.alpha) * values

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to build the loss again."""
        return {"alpha": self.alpha, "name": self.name}


@keras.saving.register_keras_serializable(package="thermocube")
class GuidedGradient(keras.losses.Loss):
    """The student precursor's loss: NDVI guides the gradients, the coarse LST the values.

    ``alpha * MSE`` between the Sobel magnitudes of map and NDVI, each divided by its largest,
    plus ``(1 - alpha) * MSE`` between the degraded map and the coarse LST (Cabeza Gallucci et
    al. 2023).

    Parameters
    ----------
    alpha
        Weight of the gradients, 0 to 1.
    degradation
        H; by default the block mean.
    """

    def __init__(
        self, alpha: float = 0.5, degradation: Degradation | None = None, name: str = "guided"
    ) -> None:
        super().__init__(name=name)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha weighs two parts of a loss: it is 0 to 1, not {alpha}")
        self.alpha, self.degradation = float(alpha), degradation or Degradation.box()

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Targets (n, y, x, 2) and maps (n, y, x, 1) in kelvin to one loss an image, (n,)."""
        target = ops.cast(y_true, y_pred.dtype)
        scale = self.degradation.scale
        values = degrade(y_pred, self.degradation) - target[:, ::scale, ::scale, :1]
        gradients = _normalised(y_pred) - _normalised(target[..., 1:])
        return self.alpha * _per_image(ops.square(gradients)) + (1 - self.alpha) * _per_image(
            ops.square(values)
        )

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to build the loss again."""
        stored = {
            "name": self.degradation.name,
            "weights": list(self.degradation.weights),
            "scale": self.degradation.scale,
        }
        return {"alpha": self.alpha, "degradation": stored, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> GuidedGradient:
        """Build the loss again from `get_config`."""
        stored = config["degradation"]
        degradation = Degradation(stored["name"], tuple(stored["weights"]), stored["scale"])
        return cls(**{**config, "degradation": degradation})


def _normalised(images: Any) -> Any:
    magnitude = sobel_magnitude(images)
    return magnitude / ops.maximum(ops.max(magnitude, axis=(1, 2, 3), keepdims=True), 1e-6)


def _separable(images: Any, weights: tuple[float, ...], stride: int) -> Any:
    kernel = ops.convert_to_tensor(weights, dtype=images.dtype)
    rows = ops.conv(images, ops.reshape(kernel, (-1, 1, 1, 1)), strides=(stride, 1))
    return ops.conv(rows, ops.reshape(kernel, (1, -1, 1, 1)), strides=(1, stride))


def _per_image(values: Any) -> Any:
    return ops.mean(values, axis=(1, 2, 3))


def _positive(value: float, what: str) -> float:
    if not 0 < value < float("inf"):
        raise ValueError(f"{what} is positive and finite, not {value}")
    return float(value)
