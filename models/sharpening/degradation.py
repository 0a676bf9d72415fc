"""The degradation operator H: how a fine map would look to the coarse sensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from models.sharpening.blocks import Array, image_of
from models.sharpening.gradients import gaussian_kernel
from models.sharpening.interpolation import enlarge

_CUBIC = (-0.09375, 0.59375, 0.59375, -0.09375)
"""Weights half-way between two pixels of a line."""


@dataclass(frozen=True, slots=True)
class Degradation:
    """A separable weighted mean around each coarse pixel's centre, the same for all of them."""

    name: str
    weights: tuple[float, ...]
    """Of fine pixels along one axis, centred on the coarse pixel; of sum 1."""
    scale: int = 4
    """Fine pixels along one side of a coarse pixel."""

    def __post_init__(self) -> None:
        extra = len(self.weights) - self.scale
        if extra < 0 or extra % 2 or not np.isclose(sum(self.weights), 1.0):
            raise ValueError(
                f"degradation {self.name!r} has {len(self.weights)} weights of sum "
                f"{sum(self.weights):g}: it needs {self.scale}, or an even number more, of sum 1"
            )

    @classmethod
    def box(cls, scale: int = 4) -> Self:
        """The mean over the coarse pixel's block."""
        return cls("box", (1 / scale,) * scale, scale)

    @classmethod
    def gaussian(cls, sigma: float = 2.0, scale: int = 4) -> Self:
        """A Gaussian point spread function, cut at 3 `sigma`.

        Parameters
        ----------
        sigma
            In fine pixels. 2.0 fits MODIS to ASTER best (0.903 K of disagreement remain at 1 km;
            1.002 K with `box`).
        scale
            Fine pixels along one side of a coarse pixel.
        """
        margin = max(0, int(np.ceil(3 * sigma - scale / 2)))
        places = np.arange(scale + 2 * margin) - (scale + 2 * margin - 1) / 2
        weights = np.exp(-(places**2) / (2 * sigma**2))
        return cls(f"gaussian {sigma:g}", tuple((weights / weights.sum()).tolist()), scale)

    @classmethod
    def published(cls, mtf: float = 0.1, scale: int = 4) -> Self:
        """The study's H: a Gaussian by its transfer, then bicubic decimation (a = -0.75).

        Ait-Bachir et al. 2025 (arXiv 2502.01204). The two are one kernel of 12 weights.
        """
        if scale % 2:
            raise ValueError(f"bicubic decimation is defined here for even ratios, not {scale}")
        weights = np.convolve(gaussian_kernel(mtf, scale), _CUBIC)
        return cls("published", tuple(weights.tolist()), scale)

    @classmethod
    def decimation(cls) -> Self:
        """Bicubic decimation by 4 (a = -0.75) with nothing to smooth first: what is finer folds."""
        return cls("decimation", _CUBIC, 4)

    def __call__(self, fine: npt.ArrayLike) -> Array:
        """Degrade a fine map (scale * y, scale * x) to (y, x), the border mirrored.

        Missing pixels take no part; a coarse pixel around which almost nothing is there is missing.

        Raises
        ------
        ValueError
            If the map is not a whole number of coarse pixels.
        """
        values = image_of(fine, "the fine map")
        if values.shape[0] % self.scale or values.shape[1] % self.scale:
            raise ValueError(
                f"a map of {values.shape} pixels is not a whole number of blocks of {self.scale}"
            )
        missing = np.isnan(values)
        if not missing.any():
            return self._apply(values)
        weight = self._apply(1.0 - missing)
        total = self._apply(np.where(missing, 0.0, values))
        return np.divide(
            total, weight, out=np.full_like(total, np.nan), where=weight > 0.5 / self.scale**2
        )

    def spread(self, coarse: npt.ArrayLike) -> Array:
        """Give each coarse pixel back to the fine pixels that it saw, as far as it saw them.

        The transpose of the operator, its weights brought to a sum of 1 at each fine pixel:
        what a matched filter makes of noise, smoother than any interpolation between points.

        Parameters
        ----------
        coarse
            (y, x), NaN where missing.

        Returns
        -------
        ndarray
            (scale * y, scale * x); a missing coarse pixel is missing as a whole block.
        """
        margin = (len(self.weights) - self.scale) // 2
        reach = -(-margin // self.scale)
        places = np.arange(self.scale)[:, None] + margin
        seen = places - self.scale * np.arange(-reach, reach + 1)
        inside = (seen >= 0) & (seen < len(self.weights))
        weights = np.where(inside, np.array(self.weights)[np.where(inside, seen, 0)], 0.0)
        return enlarge(image_of(coarse, "LST"), weights / weights.sum(axis=1, keepdims=True))

    def _apply(self, fine: Array) -> Array:
        margin = (len(self.weights) - self.scale) // 2
        kernel = np.array(self.weights)
        padded = np.pad(fine, margin, mode="symmetric")
        for axis in (0, 1):
            windows = np.lib.stride_tricks.sliding_window_view(padded, len(kernel), axis=axis)
            steps = [slice(None), slice(None)]
            steps[axis] = slice(None, None, self.scale)
            padded = windows[tuple(steps)] @ kernel
        return padded
