"""Whether confidence is what it says: reliability, expected calibration error, temperature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Confidence against accuracy in equal bins of confidence; sums of pieces may be added."""

    pixels: Floats
    """Pixels in each bin, (bin,)."""
    confidence_sum: Floats
    """Sum of their confidences."""
    correct: Floats
    """How many of them were mapped right."""

    def __add__(self, other: Self) -> Reliability:
        return Reliability(
            self.pixels + other.pixels,
            self.confidence_sum + other.confidence_sum,
            self.correct + other.correct,
        )

    @property
    def edges(self) -> Floats:
        """Of the bins, (bin + 1,), from 0 to 1."""
        return np.linspace(0.0, 1.0, len(self.pixels) + 1)

    @property
    def confidence(self) -> Floats:
        """Mean confidence in each bin; NaN in an empty one."""
        return _mean(self.confidence_sum, self.pixels)

    @property
    def accuracy(self) -> Floats:
        """Share mapped right in each bin; NaN in an empty one."""
        return _mean(self.correct, self.pixels)

    @property
    def ece(self) -> float:
        """Expected calibration error: mean |accuracy - confidence| over pixels (Naeini et al.
        2015, AAAI; Guo et al. 2017, arXiv 1706.04599, equation 3). NaN without a pixel.
        """
        total = self.pixels.sum()
        gap = np.abs(self.correct - self.confidence_sum).sum()
        return float(gap / total) if total else float("nan")

    @property
    def overconfidence(self) -> float:
        """Mean confidence less accuracy: positive where the map claims too much."""
        total = self.pixels.sum()
        return float((self.confidence_sum - self.correct).sum() / total) if total else float("nan")


def reliability(
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike,
    *,
    valid: npt.ArrayLike | None = None,
    bins: int = 15,
) -> Reliability:
    """Count how often a map is right at each level of confidence.

    Parameters
    ----------
    confidence
        Probability of the class mapped, 0..1, of any shape; NaN where there is none.
    correct
        Whether the class mapped is the true one, of the same shape.
    valid
        Pixels to count, broadcast; leave out those without a label.
    bins
        Number of bins of equal width.

    Raises
    ------
    ValueError
        If a confidence is not in 0..1.
    """
    confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, bool)
    counted = np.isfinite(confidence)
    if valid is not None:
        counted = counted & np.asarray(valid, bool)
    sure, right = confidence[counted], np.broadcast_to(correct, confidence.shape)[counted]
    # Sums of softmax shares in single precision exceed 1 by a few units of the last place.
    if sure.size and not (sure.min() >= 0 and sure.max() <= 1 + 1e-5):
        raise ValueError(
            f"confidences are probabilities 0..1, but these run from {sure.min():g} to "
            f"{sure.max():g}"
        )
    member = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)

    def total(weights: npt.NDArray[Any] | None = None) -> Floats:
        return np.bincount(member, weights, minlength=bins).astype(np.float64)

    return Reliability(total(), total(sure), total(right))


def fit_temperature(
    probabilities: npt.ArrayLike, truth: npt.ArrayLike, weight: npt.ArrayLike | None = None
) -> float:
    """Find the temperature that makes confidences fit, on pixels not trained on.

    Parameters
    ----------
    probabilities
        Of all classes, (..., class); those of class 0 are left out of account.
    truth
        Class codes (...); class 0 does not count.
    weight
        Broadcast to `truth`; 0 for pixels that do not count.

    Returns
    -------
    float
        Between 0.05 and 20: above 1 if the network claims too much. Changes no map, only
        confidences; see `with_temperature`. Guo et al. 2017 (arXiv 1706.04599), section 4.2.

    Raises
    ------
    ValueError
        If no pixel has both a class and a weight.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    codes = np.asarray(truth).astype(np.intp)
    weights = np.where(codes > 0, 1.0 if weight is None else weight, 0.0)
    counted = weights > 0
    if not counted.any():
        raise ValueError("no pixel has both a class and a weight: no temperature can be fitted")
    logs = _logs(np.asarray(probabilities)[counted][:, 1:])
    own = np.take_along_axis(logs, codes[counted][:, np.newaxis] - 1, axis=1)[:, 0]
    weights = weights[counted]

    def surprise(log_temperature: float) -> float:
        cold = np.exp(-log_temperature)
        return float(weights @ (logsumexp(logs * cold, axis=1) - own * cold) / weights.sum())

    bounds = (np.log(0.05), np.log(20.0))
    return float(np.exp(minimize_scalar(surprise, bounds=bounds, method="bounded").x))


def with_temperature(probabilities: npt.ArrayLike, temperature: float) -> npt.NDArray[np.float32]:
    """Soften (above 1) or sharpen (below 1) probabilities (..., class): ``p^(1/T)``, rescaled.

    Classes of probability 0 keep it; the order of classes stays.

    Raises
    ------
    ValueError
        If the temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"a temperature is positive, not {temperature}")
    shares = np.asarray(probabilities, np.float64) ** (1 / temperature)
    return (shares / shares.sum(axis=-1, keepdims=True)).astype(np.float32)


def _logs(probabilities: npt.NDArray[Any]) -> Floats:
    """Logarithms, at least that of the smallest normal number of single precision."""
    return np.log(np.maximum(probabilities.astype(np.float64), float(np.finfo(np.float32).tiny)))


def _mean(total: Floats, number: Floats) -> Floats:
    return np.divide(total, number, out=np.full(len(number), np.nan), where=number > 0)
