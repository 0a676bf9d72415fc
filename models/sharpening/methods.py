"""Every classical method by its name, and one call that also says how consistent its map is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy.typing as npt

from models.sharpening.blocks import Array, pair_of
from models.sharpening.consistency import ConsistencyError, consistency, enforce
from models.sharpening.degradation import Degradation
from models.sharpening.interpolation import bicubic, bilinear, nearest
from models.sharpening.kriging import aatprk, atprk
from models.sharpening.local_slope import local_slope
from models.sharpening.regression import tsharp
from models.sharpening.trees import dms

Sharpener = Callable[[npt.ArrayLike, npt.ArrayLike], Array]
"""Coarse LST (y, x) and fine NDVI (scale * y, scale * x) to fine LST."""


def _without_ndvi(enlarge: Callable[..., Array]) -> Sharpener:
    def sharpener(lst: npt.ArrayLike, ndvi: npt.ArrayLike) -> Array:
        coarse, _, scale = pair_of(lst, ndvi)
        return enlarge(coarse, scale)

    return sharpener


METHODS: Mapping[str, Sharpener] = MappingProxyType(
    {
        "nearest": _without_ndvi(nearest),
        "bilinear": _without_ndvi(bilinear),
        "bicubic": _without_ndvi(bicubic),
        "tsharp": tsharp,
        "atprk": atprk,
        "aatprk": aatprk,
        "dms": dms,
        "local_slope": local_slope,
    }
)


class Sharpened(NamedTuple):
    """A fine map and how far it is from giving back its input."""

    fine: Array
    """(scale * y, scale * x), kelvin, NaN where missing."""
    consistency: ConsistencyError


def sharpen(
    method: str | Sharpener,
    lst: npt.ArrayLike,
    ndvi: npt.ArrayLike,
    *,
    consistent: bool = False,
    degradation: Degradation | None = None,
) -> Sharpened:
    """Sharpen an image by a named method, consistent with its input if wanted.

    Parameters
    ----------
    method
        A name of `METHODS`, or a function of the same kind.
    lst
        Coarse LST (y, x), kelvin, NaN where missing.
    ndvi
        Fine NDVI (scale * y, scale * x), NaN where missing.
    consistent
        Make the map degrade to `lst` (`models.sharpening.consistency.enforce`).
    degradation
        The operator H by which consistency is meant; by default the block mean.

    Raises
    ------
    ValueError
        If there is no such method, the grids do not nest, or there is too little to learn from.
    """
    if isinstance(method, str):
        if method not in METHODS:
            raise ValueError(
                f"no method is called {method!r}; there are {', '.join(sorted(METHODS))}"
            )
        method = METHODS[method]
    fine = method(lst, ndvi)
    if consistent:
        fine = enforce(fine, lst, degradation)
    return Sharpened(fine, consistency(fine, lst, degradation))
