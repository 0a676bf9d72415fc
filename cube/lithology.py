"""The fourteen classes of the rock and soil map, with their colours."""

from __future__ import annotations

from enum import IntEnum
from types import MappingProxyType


class Lithology(IntEnum):
    """Rock and soil classes (IGME 1:50 000, grouped as in the Puertollano study)."""

    NODATA = 0
    SAND = 1
    CLAY = 2
    CHALK = 3
    SILT = 4
    PEAT = 5
    LOAM = 6
    DETRITIC = 7
    CARBONATE = 8
    VOLCANIC = 9
    PLUTONIC = 10
    FOLIATED = 11
    NON_FOLIATED = 12
    WATER = 13

    @property
    def label(self) -> str:
        """The class name as people read it, e.g. ``Non-foliated``."""
        return "No data" if self is Lithology.NODATA else self.name.replace("_", "-").capitalize()

    @property
    def colour(self) -> str:
        """Hex colour, close to the usual colours of geological maps."""
        return COLOURS[self]


COLOURS: MappingProxyType[Lithology, str] = MappingProxyType(
    {
        Lithology.NODATA: "#ffffff",
        Lithology.SAND: "#f2d16b",
        Lithology.CLAY: "#8c6d46",
        Lithology.CHALK: "#d9ecc7",
        Lithology.SILT: "#c9b458",
        Lithology.PEAT: "#4d3b2a",
        Lithology.LOAM: "#b98b5e",
        Lithology.DETRITIC: "#f4a95f",
        Lithology.CARBONATE: "#6db3d9",
        Lithology.VOLCANIC: "#b5305c",
        Lithology.PLUTONIC: "#ef7c8e",
        Lithology.FOLIATED: "#7a68b0",
        Lithology.NON_FOLIATED: "#3f8f6b",
        Lithology.WATER: "#2b5fb8",
    }
)

CLASS_COUNT = len(Lithology)
"""Number of softmax outputs, the never-learnt class 0 included."""


def parse(value: int | str) -> Lithology:
    """Read a class from its code or its name, ignoring case, spaces, ``_`` and ``-``.

    Raises
    ------
    ValueError
        If there is no such class; the message lists the classes.
    """
    wanted = _normalise(str(value))
    code = int(value) if isinstance(value, int) or value.strip().isdecimal() else None
    for member in Lithology:
        if code == member or wanted in {_normalise(member.name), _normalise(member.label)}:
            return member
    names = ", ".join(f"{member.value} {member.label}" for member in Lithology)
    raise ValueError(f"no lithology class is called {value!r}; the classes are: {names}")


def _normalise(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
