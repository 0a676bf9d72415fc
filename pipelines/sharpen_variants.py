"""The methods that the table of sharpening compares: as published, as corrected, and trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from models.sharpening import (
    METHODS,
    Degradation,
    aatprk,
    atprk,
    consistency,
    displacement,
    dms,
    enforce,
    shifted,
    tsharp,
)
from models.sharpening.methods import Sharpener
from pipelines.pairs import Array
from pipelines.sharpen_protocol import Inputs, Method, Protocol, registered
from pipelines.sharpen_slopes import SLOPES

if TYPE_CHECKING:
    from pipelines.superres_folder import Trained

REGISTERED = "-registered"
"""Ending of the names of methods that bring NDVI to its true place first."""
ALIGNED = "-aligned"
"""Ending of the names of methods that first bring NDVI to where it resembles LST most."""
RIM = 2
"""Coarse pixels at the border that registration leaves without their whole surroundings."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One method in one form."""

    name: str
    about: str
    """A line for tables."""
    method: Method
    ending: str = ""
    """`REGISTERED` or `ALIGNED` if it brings NDVI to its place first, under the paper's protocol
    too."""
    digest: str = ""
    """Of the trained networks in it."""

    @property
    def key(self) -> str:
        """What its rows are kept under: another network of the same name has other rows."""
        return f"{self.name}@{self.digest}" if self.digest else self.name

    def make(self, inputs: Inputs) -> Array:
        """The fine map (4 y, 4 x), kelvin, on the grid of the NDVI as the protocol takes it."""
        return registered(self.method)(self._placed(inputs)) if self.ending else self.method(inputs)

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
        offset = self._placed(inputs).offset if self.ending else (0, 0)
        if offset != (0, 0):
            fine = shifted(fine, offset)
            coarse = np.full_like(coarse, np.nan)
            coarse[RIM:-RIM, RIM:-RIM] = inputs.lst[RIM:-RIM, RIM:-RIM]
        return consistency(fine, coarse, degradation).rmse

    def _placed(self, inputs: Inputs) -> Inputs:
        """The inputs with the offset that this variant goes by."""
        if self.ending == ALIGNED:
            return inputs._replace(offset=displacement(inputs.lst, inputs.ndvi).offset)
        return inputs


class Catalogue:
    """Every variant that can be asked for: those built in, trained ones, and means of others."""

    def __init__(self, models: Sequence[Trained] = ()) -> None:
        built_in = [*_ALL, *(_variant_of(model) for model in models)]
        self._known = {variant.name: variant for variant in built_in}
        for model in models:
            self._add_registered(model.name)

    def names(self) -> tuple[str, ...]:
        """Names of all but the means."""
        return tuple(self._known)

    def get(self, name: str) -> Variant | None:
        """The variant of a name; ``a+b`` is the mean of the maps of `a` and `b`."""
        if name in self._known:
            return self._known[name]
        if name in SLOPES:
            method = partial(METHODS["local_slope"], **SLOPES[name])
            return Variant(name, "ours, with these settings", _plain(method))
        for ending in (REGISTERED, ALIGNED):
            if name.endswith(ending):
                plain = self.get(name.removesuffix(ending))
                return plain and _placing(plain, ending)
        parts = name.split("+") if "+" in name else []
        found = [part for part in map(self.get, parts) if part is not None and not part.ending]
        return _mean(name, found) if len(found) == len(parts) > 1 else None

    def chosen(self, protocol: Protocol, wanted: Sequence[str] | None) -> dict[str, Variant]:
        """The variants of these names, all for None, but those equal to another by a protocol."""
        found = {name: self.get(name) for name in wanted or self._known}
        same = REGISTERED if protocol is Protocol.REGISTERED else None
        return {
            name: variant
            for name, variant in found.items()
            if variant is not None and variant.ending != same
        }

    def _add_registered(self, name: str) -> None:
        variant = _placing(self._known[name], REGISTERED)
        self._known[variant.name] = variant


def names() -> tuple[str, ...]:
    """Names of the built-in variants, in the order of the table."""
    return tuple(variant.name for variant in _ALL)


def _variant_of(model: Trained) -> Variant:
    def method(inputs: Inputs) -> Array:
        return model.sharpen(inputs.lst, inputs.ndvi, location=inputs.location)

    return Variant(model.name, "trained without ASTER", method, digest=model.digest[:12])


def _placing(variant: Variant, ending: str) -> Variant:
    return replace(variant, name=variant.name + ending, ending=ending)


def _mean(name: str, parts: Sequence[Variant]) -> Variant:
    def method(inputs: Inputs) -> Array:
        mean: Array = np.mean([part.method(inputs) for part in parts], axis=0)
        return mean

    digests = [part.digest for part in parts if part.digest]
    return Variant(name, "mean of their maps", method, digest="-".join(digests))


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
        ending=REGISTERED,
    ),
    Variant(
        "local_slope-exact",
        "ours; averages back to the input exactly",
        _consistent(METHODS["local_slope"]),
    ),
)
