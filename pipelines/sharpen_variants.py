"""The methods that the table of sharpening compares, as published and as corrected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np

from models.sharpening import METHODS, Degradation, aatprk, atprk, consistency, dms, enforce, tsharp
from models.sharpening.methods import Sharpener
from pipelines.pairs import Array, shifted
from pipelines.sharpen_protocol import Inputs, Method, Protocol, registered

RIM = 2
"""Coarse pixels at the border that registration leaves without their whole surroundings."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One method in one form."""

    name: str
    about: str
    """A line for tables."""
    method: Method
    registered: bool = False
    """Whether it brings NDVI to its true place first, also under the paper's protocol."""

    def make(self, inputs: Inputs) -> Array:
        """The fine map (4 y, 4 x), kelvin, on the grid of the NDVI as the protocol takes it."""
        return registered(self.method)(inputs) if self.registered else self.method(inputs)

    def misfit(self, fine: Array, inputs: Inputs, degradation: Degradation | None = None) -> float:
        """RMSE between the degraded map and the coarse input, kelvin.

        Parameters
        ----------
        fine
            What `make` gave.
        inputs
            It was made from.
        degradation
            H; by default the block mean.
        """
        coarse = inputs.lst
        if self.registered and inputs.offset != (0, 0):
            fine = shifted(fine, inputs.offset)
            coarse = np.full_like(coarse, np.nan)
            coarse[RIM:-RIM, RIM:-RIM] = inputs.lst[RIM:-RIM, RIM:-RIM]
        return consistency(fine, coarse, degradation).rmse


def variants(protocol: Protocol) -> Mapping[str, Variant]:
    """Every variant by its name; those that a protocol makes equal to another are left out."""
    known = {variant.name: variant for variant in _ALL}
    if protocol is Protocol.REGISTERED:
        known = {name: variant for name, variant in known.items() if not variant.registered}
    return MappingProxyType(known)


def names() -> tuple[str, ...]:
    """Names of all variants, in the order of the table."""
    return tuple(variant.name for variant in _ALL)


def chosen(protocol: Protocol, wanted: Sequence[str] | None) -> Mapping[str, Variant]:
    """The variants of these names that a protocol has; all for None."""
    known = variants(protocol)
    return {name: known[name] for name in wanted or known if name in known}


def _plain(sharpener: Sharpener) -> Method:
    return lambda inputs: sharpener(inputs.lst, inputs.ndvi)


def _consistent(sharpener: Sharpener) -> Method:
    return lambda inputs: enforce(sharpener(inputs.lst, inputs.ndvi), inputs.lst)


def _published_dms(inputs: Inputs) -> Array:
    return dms(inputs.lst, inputs.ndvi, offset=inputs.offset)


_ALL = (
    Variant("nearest", "each coarse pixel repeated", _plain(METHODS["nearest"])),
    Variant("bilinear", "no NDVI", _plain(METHODS["bilinear"])),
    Variant("bicubic", "no NDVI; cubic convolution, a = -0.75", _plain(METHODS["bicubic"])),
    Variant("bicubic-exact", "averages back to the input exactly", _consistent(METHODS["bicubic"])),
    Variant("tsharp-published", "NDVI to 1 km by 4-norm", _plain(partial(tsharp, published=True))),
    Variant("tsharp", "corrected: NDVI to 1 km by mean", _plain(tsharp)),
    Variant(
        "atprk-published",
        "4-norm, defect of the regularisation, rim without residual",
        _plain(partial(atprk, published=True)),
    ),
    Variant("atprk", "corrected", _plain(atprk)),
    Variant(
        "aatprk-published",
        "4-norm, defect of the regularisation, global line at the rim",
        _plain(partial(aatprk, published=True)),
    ),
    Variant("aatprk", "corrected", _plain(aatprk)),
    Variant("dms", "heeds the true place of NDVI where it averages it", _published_dms),
    Variant("local_slope", "ours; NDVI as stacked by the protocol", _plain(METHODS["local_slope"])),
    Variant(
        "local_slope-registered",
        "ours; NDVI brought to its true place first",
        _plain(METHODS["local_slope"]),
        registered=True,
    ),
    Variant(
        "local_slope-exact",
        "ours; averages back to the input exactly",
        _consistent(METHODS["local_slope"]),
    ),
)
