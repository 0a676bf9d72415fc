"""The quality words of the MODIS land products, decoded to the cube's flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np

from cube.quality import Flag, refuse_word

FINE = Flag(0)

UNPRODUCED = Flag.MISSING
"""What "not produced for other reasons than cloud" becomes unless the settings say otherwise.

The user's guide puts under it whatever is no clear-sky land in the swath: open sea, gaps between
swaths, missing or bad input. The layer holds fill there and nothing more is said, as in every
other product of the cube where it is ``MISSING``; as ``POOR_QUALITY`` it would count against
`max_bad`, and a coastal region or one at a swath's edge would lose all its scenes."""


@dataclass(frozen=True, slots=True)
class Field:
    """Some bits of a quality word. A pattern that is not in `meanings` is undefined."""

    name: str
    shift: int
    width: int
    meanings: Mapping[int, tuple[str, Flag]]


def _field(name: str, shift: int, width: int, *meanings: tuple[str, Flag] | str | None) -> Field:
    known = {
        pattern: (entry, FINE) if isinstance(entry, str) else entry
        for pattern, entry in enumerate(meanings)
        if entry is not None
    }
    return Field(name, shift, width, MappingProxyType(known))


MOD11A1 = (
    _field(
        "mandatory",
        0,
        2,
        "produced, good quality",
        "produced, other quality",
        ("not produced: cloud", Flag.CLOUD),
        ("not produced: other than cloud", UNPRODUCED),
    ),
    _field("data_quality", 2, 2, "good", "other quality", None, None),
    _field("emissivity_error", 4, 2, "<= 0.01", "<= 0.02", "<= 0.04", "> 0.04"),
    _field("lst_error", 6, 2, "<= 1 K", "<= 2 K", "<= 3 K", "> 3 K"),
)
"""``QC_Day`` and ``QC_Night`` of M*D11A1, 8 bits.

MODIS LST Products User's Guide, Collection 6, Table 13. The word has no fill. Open sea is "not
produced: other than cloud" too, by day and by night.
"""

MOD21A1 = (
    _field(
        "mandatory",
        0,
        2,
        "produced, good quality",
        # Emissivity of bands 31 and 32 below 0.95, nearby cloud or humid air: the first is what
        # bare rock looks like, so only the other fields refuse a pixel.
        "produced, unreliable",
        ("not produced: cloud", Flag.CLOUD),
        ("not produced: other than cloud", UNPRODUCED),
    ),
    _field(
        "data_quality",
        2,
        2,
        "good",
        ("missing pixel", Flag.POOR_QUALITY),
        "fairly calibrated",
        ("poorly calibrated, not processed", Flag.POOR_QUALITY),
    ),
    _field(
        "cloud",
        4,
        2,
        "free",
        ("thin cirrus", Flag.CLOUD),
        ("within two pixels of a cloud", Flag.POOR_QUALITY),
        ("cloudy", Flag.CLOUD),
    ),
    _field("iterations", 6, 2, ">= 7", "6", "5", "< 5"),
    _field("opacity", 8, 2, ">= 0.3", "0.2 - 0.3", "0.1 - 0.2", "< 0.1"),
    _field("mmd", 10, 2, "> 0.15", "0.1 - 0.15", "0.03 - 0.1", "< 0.03"),
    _field("emissivity_accuracy", 12, 2, "> 0.02", "0.015 - 0.02", "0.01 - 0.015", "< 0.01"),
    _field("lst_accuracy", 14, 2, "> 2 K", "1.5 - 2 K", "1 - 1.5 K", "< 1 K"),
)
"""``QC`` of M*D21A1D and M*D21A1N, 16 bits; its ``QA_Legend`` attribute, Collection 6.1."""

_BAND = (
    "highest",
    *(None,) * 6,
    ("noisy detector", Flag.POOR_QUALITY),
    ("dead detector, interpolated", Flag.POOR_QUALITY),
    ("sun below 4 degrees", Flag.POOR_QUALITY),
    ("sun at 4 to 5 degrees", Flag.POOR_QUALITY),
    ("missing input", Flag.MISSING),
    ("a constant in place of climatology", Flag.POOR_QUALITY),
    ("correction out of bounds", Flag.POOR_QUALITY),
    ("faulty L1B", Flag.POOR_QUALITY),
    ("not processed: deep ocean or cloud", UNPRODUCED),
)

MOD09GQ = (
    _field(
        "mandatory",
        0,
        2,
        "produced, ideal",
        # Which band, and why, stands in the bands' own fields.
        "produced, less than ideal",
        ("not produced: cloud", Flag.CLOUD),
        ("not produced: other reasons, or fill", UNPRODUCED),
    ),
    _field("spare", 2, 2, "unused", None, None, None),
    _field("band_1", 4, 4, *_BAND),
    _field("band_2", 8, 4, *_BAND),
)
"""``QC_250m_1`` of M*D09GQ, 16 bits, of which 12 to 15 tell about processing steps only.

MODIS Surface Reflectance User's Guide, Collection 6, v1.4, table of the 250 m QA. Its fill, 2995,
is "not produced, missing input" in both bands. "Not produced: cloud" is rare: reflectance is
computed over clouds as well, and the cloud mask stands in M*D09GA, which is another product.
"""

WORDS = MappingProxyType({"11A1": MOD11A1, "21A1": MOD21A1, "09GQ": MOD09GQ})

LST_ERROR_LIMITS: Mapping[str, Mapping[float, tuple[str, frozenset[int]]]] = MappingProxyType(
    {
        "11A1": {
            1.0: ("lst_error", frozenset({1, 2, 3})),
            2.0: ("lst_error", frozenset({2, 3})),
            3.0: ("lst_error", frozenset({3})),
        },
        "21A1": {
            1.0: ("lst_accuracy", frozenset({0, 1, 2})),
            1.5: ("lst_accuracy", frozenset({0, 1})),
            2.0: ("lst_accuracy", frozenset({0})),
        },
    }
)
"""By word and limit (K): the field that tells, and its patterns that are worse."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings change about a table."""

    max_lst_error: float | None = None
    near_cloud: bool = False
    """MOD21: take pixels within two pixels of a cloud."""
    band_quality: frozenset[int] = frozenset({0})
    """MOD09GQ: patterns of the bands' fields that count as good."""
    unproduced: Flag = UNPRODUCED
    """What "not produced for other reasons than cloud" becomes."""


def modis_flags(word: np.ndarray, name: str, rules: Rules, where: str) -> np.ndarray:
    """Turn MODIS quality words into the cube's flags.

    A pixel that was seen to be cloud is ``CLOUD`` and never ``MISSING``.

    Parameters
    ----------
    word : ndarray of integers
        Quality words, any shape.
    name
        ``11A1``, ``21A1`` or ``09GQ``.
    rules
        From the settings.
    where
        Granule, for messages.

    Returns
    -------
    ndarray of uint8
        `Flag` bits, same shape.

    Raises
    ------
    GranuleError
        ``bad_quality_word``: a word with more bits than the product's, or with a pattern that
        the user guide does not define.
    """
    word = np.asarray(word)
    table, undefined = _table(name, rules)
    outside = (word < 0) | (word >= table.size)
    if outside.any():
        refuse_word(word, outside, f"is outside the {table.size.bit_length() - 1} bits", where)
    bad = undefined[word] != 0
    if bad.any():
        first = int(word[bad].flat[0])
        field = WORDS[name][int(undefined[first]) - 1]
        pattern = (first >> field.shift) & (2**field.width - 1)
        reason = f"has {pattern:0{field.width}b} in field {field.name}, which is undefined"
        refuse_word(word, bad, reason, where)
    flags: np.ndarray = table[word]
    return flags


@cache
def _table(name: str, rules: Rules) -> tuple[np.ndarray, np.ndarray]:
    """Flags of every word there is, and the number (from 1) of the field that is undefined."""
    words = np.arange(2**8 if name == "11A1" else 2**16)
    flags = np.zeros(words.size, np.uint8)
    undefined = np.zeros(words.size, np.uint8)
    for number, field in enumerate(WORDS[name], start=1):
        meant = np.full(2**field.width, -1)
        for pattern in field.meanings:
            meant[pattern] = int(_meaning(name, field, pattern, rules))
        each = meant[(words >> field.shift) & (2**field.width - 1)]
        flags |= np.where(each < 0, 0, each).astype(np.uint8)
        undefined[(each < 0) & (undefined == 0)] = number
    cloudy = (flags & np.uint8(Flag.CLOUD)) != 0
    flags[cloudy] &= ~np.uint8(Flag.MISSING)
    return flags, undefined


def _meaning(name: str, field: Field, pattern: int, rules: Rules) -> Flag:
    text, flag = field.meanings[pattern]
    if rules.max_lst_error is not None:
        tells, worse = LST_ERROR_LIMITS[name][rules.max_lst_error]
        if field.name == tells and pattern in worse:
            return Flag.POOR_QUALITY
    if field.name.startswith("band_") and pattern in rules.band_quality:
        return FINE
    if field.name == "cloud" and pattern == 2 and rules.near_cloud:
        return FINE
    unproduced = text.startswith("not produced: other") or text.startswith("not processed")
    return rules.unproduced if unproduced else flag
