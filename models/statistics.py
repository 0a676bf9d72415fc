"""What a pixel's series of dates comes to: levels, spread, seasons, waves, and its surroundings.

A static map has one answer a pixel, so that dates are observations of one and the same thing:
statistics over them average out weather, gaps and noise before anything is learnt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
LEAST = 5
"""A group of dates in which a pixel is valid less often says nothing of it."""
TRUNCATE = 2.0
"""Where the Gaussian window of a scale ends, in standard deviations."""


@dataclass(frozen=True, eq=False)
class Features:
    """Features of the pixels of a map."""

    values: Floats
    """(y, x, feature), NaN where missing."""
    names: tuple[str, ...]

    def __add__(self, other: Features) -> Features:
        """Those of both, side by side."""
        values = np.concatenate([self.values, other.values], axis=-1)
        return Features(values, self.names + other.names)


def anomalies(imagery: npt.ArrayLike) -> Floats:
    """Take from each band of each scene its median: what weather and sensor do to all of it.

    Parameters
    ----------
    imagery
        (time, band, y, x) in physical units, NaN where missing.

    Returns
    -------
    ndarray of float32, (time, band, y, x)
        All NaN where a scene has no valid pixel.
    """
    scenes = np.asarray(imagery, np.float32)
    levels = np.full(scenes.shape[:2], np.nan, np.float32)
    for index in np.ndindex(*levels.shape):
        values = scenes[index]
        values = values[np.isfinite(values)]
        if values.size:
            levels[index] = np.median(values)
    return scenes - levels[..., np.newaxis, np.newaxis]


def series_statistics(
    imagery: npt.ArrayLike,
    bands: Sequence[str],
    groups: Mapping[str, npt.ArrayLike],
    quantiles: Sequence[float] = QUANTILES,
) -> Features:
    """Levels and spread of each band: over all dates, and over groups of them.

    Parameters
    ----------
    imagery
        (time, band, y, x), NaN where missing.
    bands
        Names, for those of the features.
    groups
        Name to boolean (time,): day and night, seasons, years.
    quantiles
        Each 0..1; of all dates. Of a group, the median and the standard deviation are taken.

    Returns
    -------
    Features
        Such as ``emissivity q0.25`` and ``emissivity night std``.
    """
    series = np.asarray(imagery, np.float32)
    layers: dict[str, Floats] = {}
    for index, band in enumerate(bands):
        values = series[:, index]
        layers |= {f"{band} {name}": layer for name, layer in _summary(values, quantiles).items()}
        for group, member in groups.items():
            found = _summary(values[np.asarray(member, bool)], (0.5,))
            layers |= {f"{band} {group} {name}": found[name] for name in ("q0.5", "std")}
    return _features(layers)


def _summary(values: Floats, quantiles: Sequence[float]) -> dict[str, Floats]:
    """Mean, standard deviation and quantiles along time; NaN with fewer than `LEAST` dates."""
    ordered = np.sort(values, axis=0)  # missing ones last
    number = np.isfinite(ordered).sum(axis=0)
    filled = np.where(np.isfinite(ordered), ordered, 0)
    count = np.maximum(number, 1)
    mean = filled.sum(axis=0) / count
    variance = np.square(np.where(np.isfinite(ordered), ordered - mean, 0)).sum(axis=0) / count
    layers = {"mean": mean, "std": np.sqrt(variance)}
    if len(values):
        layers |= {f"q{share:g}": _quantile(filled, number, share) for share in quantiles}
    else:
        layers |= {f"q{share:g}": mean for share in quantiles}
    return {
        name: np.where(number >= LEAST, layer, np.nan).astype(np.float32)
        for name, layer in layers.items()
    }


def _quantile(ordered: Floats, number: npt.NDArray[Any], share: float) -> Floats:
    """As `numpy.nanquantile` of values already sorted, which takes a minute for a region."""
    last = np.maximum(number - 1, 0)
    place = last * share
    below = np.floor(place).astype(np.intp)
    above = np.minimum(below + 1, last)
    low, high = (np.take_along_axis(ordered, at[np.newaxis], 0)[0] for at in (below, above))
    return np.asarray(low + (high - low) * (place - below), np.float32)


def waves(
    imagery: npt.ArrayLike, bands: Sequence[str], days: npt.ArrayLike, hours: npt.ArrayLike
) -> Features:
    """Fit one wave a year and one a day to each pixel's series.

    Parameters
    ----------
    imagery
        (time, band, y, x), NaN where missing.
    bands
        Names, for those of the features.
    days, hours
        Day of the year and hour of local solar time of each date, (time,).

    Returns
    -------
    Features
        Cosine and sine of both waves, in the band's unit, and the standard deviation of what
        they leave; NaN with fewer than twice as many dates as coefficients.
    """
    year, day = (
        2 * np.pi * np.asarray(phase, np.float64) / period
        for phase, period in ((days, 365.25), (hours, 24.0))
    )
    design = np.stack([np.ones_like(year), *_circle(year), *_circle(day)], axis=1)
    series = np.asarray(imagery, np.float32)
    layers: dict[str, Floats] = {}
    for index, band in enumerate(bands):
        fitted = _least_squares(design, series[:, index])
        names = ("year cos", "year sin", "day cos", "day sin", "residual")
        layers |= {f"{band} {name}": layer for name, layer in zip(names, fitted[1:], strict=True)}
    return _features(layers)


def _circle(phase: npt.NDArray[np.float64]) -> tuple[Any, Any]:
    return np.cos(phase), np.sin(phase)


def _least_squares(design: npt.NDArray[np.float64], values: Floats) -> Floats:
    """Coefficients of every pixel, and last the deviation of the residual: (k + 1, y, x)."""
    number, size = design.shape
    flat = values.reshape(number, -1)
    there = np.isfinite(flat)
    filled = np.where(there, flat, 0.0)
    products = np.einsum("ti,tj->tij", design, design).reshape(number, -1)
    normal = (products.T @ there.astype(np.float64)).T.reshape(-1, size, size)
    normal += 1e-6 * number * np.eye(size)
    found = np.linalg.solve(normal, (design.T @ filled).T[..., np.newaxis])[..., 0]
    rest = np.where(there, filled - design @ found.T, 0.0)
    spread = np.sqrt(np.square(rest).sum(axis=0) / np.maximum(there.sum(axis=0) - size, 1))
    layers = np.vstack([found.T, spread])
    layers[:, there.sum(axis=0) < 2 * size] = np.nan
    return layers.reshape(size + 1, *values.shape[1:]).astype(np.float32)


def surroundings(features: Features, scales: Sequence[float]) -> Features:
    """Mean and spread of each feature over Gaussian windows around the pixel.

    Parameters
    ----------
    features
        NaN where missing; missing pixels do not count.
    scales
        Standard deviations of the windows, pixels; with none there are no features.

    Returns
    -------
    Features
        Such as ``emissivity mean ~5`` and ``emissivity mean ±5``.

    Notes
    -----
    Depends on the pixels within `receptive_field`: the parts of a split must lie further apart
    than half of it. Labels have no part in it.
    """
    from scipy.ndimage import gaussian_filter

    there = np.isfinite(features.values)
    filled = np.where(there, features.values, 0.0)
    layers, names = [features.values[..., :0]], list[str]()
    for scale in scales:
        width: Any = (scale, scale, 0.0)

        def blurred(values: Any, width: Any = width) -> Any:
            return gaussian_filter(values, width, mode="constant", truncate=TRUNCATE)

        share = blurred(there.astype(np.float32))
        near = share > 1e-3
        share = np.where(near, share, 1.0)
        mean = blurred(filled) / share
        variance = np.maximum(blurred(np.square(filled)) / share - np.square(mean), 0.0)
        layers += [np.where(near, mean, np.nan), np.where(near, np.sqrt(variance), np.nan)]
        names += [f"{name} {sign}{scale:g}" for sign in "~±" for name in features.names]
    return Features(np.concatenate(layers, axis=-1).astype(np.float32), tuple(names))


def receptive_field(scales: Sequence[float]) -> int:
    """Width in pixels, odd, of the window that features with their surroundings depend on."""
    return 2 * max((int(TRUNCATE * scale + 0.5) for scale in scales), default=0) + 1


def _features(layers: Mapping[str, Floats]) -> Features:
    return Features(np.stack(list(layers.values()), axis=-1).astype(np.float32), tuple(layers))
