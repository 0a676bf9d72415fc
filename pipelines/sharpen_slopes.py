"""Settings of local slope that are candidates, by a name that says them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from types import MappingProxyType
from typing import Any

from models.sharpening import Degradation

DEGREES = {"line": 1, "cubic": 3}
RESIDUALS = ("spread", "interpolated")
GAINS = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
SIGMAS = (1.5, 2.5)
"""Of the point spread function, fine pixels; the default is 2."""
RADII = (2, 5)
"""Of the windows, coarse pixels; the default is 3."""


def _settings() -> Iterator[tuple[str, dict[str, Any]]]:
    for (shape, degree), residual, gain in product(DEGREES.items(), RESIDUALS, GAINS):
        name = f"local_slope[{shape},{residual},{gain:g}]"
        yield name, {"degree": degree, "residual": residual, "gain": gain}
    for sigma in SIGMAS:
        yield f"local_slope[sigma {sigma:g}]", {"degradation": Degradation.gaussian(sigma)}
    for radius in RADII:
        yield f"local_slope[radius {radius}]", {"radius": radius}


SLOPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(dict(_settings()))
"""By name: arguments of `models.sharpening.local_slope`."""
