"""Quality: the flags common to all sensors, and the products' own words decoded to them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import numpy as np

from cube.errors import GranuleError

if TYPE_CHECKING:
    import xarray as xr


class Flag(IntFlag):
    """Bits of the cube's ``qc`` variable (CF ``flag_masks`` / ``flag_meanings``).

    A pixel of ``imagery`` is finite in every band if and only if none of the ``BAD`` bits is set.
    """

    MISSING = 1
    """Nothing was measured: outside the swath, or fill."""
    CLOUD = 2
    POOR_QUALITY = 4
    """Measured, but the retrieval failed or is worse than the region file accepts."""
    OUT_OF_RANGE = 8
    """A value, or a neighbour it was interpolated from, lies outside the band's valid range."""
    WATER = 16
    """Information, not a defect: the pixel stays valid."""
    SHADOW = 32
    SNOW = 64
    UNSCREENED = 128
    """Information: the granule came without its quality or cloud layer, so less was checked."""


BAD = Flag.MISSING | Flag.CLOUD | Flag.POOR_QUALITY | Flag.OUT_OF_RANGE | Flag.SHADOW | Flag.SNOW

NO_PRODUCT_QC = -1
"""Value of ``product_qc`` where the product gave no quality word."""

FLAG_ATTRS = {
    "long_name": "quality flags common to all sensors",
    "standard_name": "quality_flag",
    "flag_masks": [int(flag) for flag in Flag],
    "flag_meanings": " ".join(str(flag.name).lower() for flag in Flag),
}


def is_valid(qc: np.ndarray) -> np.ndarray:
    """Tell which pixels hold a value that may be used.

    Parameters
    ----------
    qc : ndarray of uint8
        Flags of any shape.

    Returns
    -------
    ndarray of bool
        Same shape; True where no ``BAD`` bit is set.
    """
    valid: np.ndarray = (np.asarray(qc) & np.uint8(BAD)) == 0
    return valid


def mask(dataset: xr.Dataset, *flags: str | Flag) -> xr.Dataset:
    """Set ``imagery`` to NaN where any of the flags is set. Lazy.

    Invalid pixels are NaN in the cube already; this is for the informative flags,
    above all ``"water"``.

    Parameters
    ----------
    dataset : xarray.Dataset
        With ``imagery(time, band, y, x)`` and ``qc(time, y, x)``.
    *flags
        Names (``"water"``) or members of `Flag`.

    Raises
    ------
    SelectionError
        If a flag has no such name.
    """
    keep = (dataset["qc"] & np.uint8(merge(*flags))) == 0
    return dataset.assign(imagery=dataset["imagery"].where(keep))


def merge(*flags: str | Flag) -> Flag:
    """Merge flags, by name or as they are, into one.

    Raises
    ------
    SelectionError
        If a flag has no such name.
    """
    bits = Flag(0)
    for flag in flags:
        bits |= flag if isinstance(flag, Flag) else _flag(flag)
    return bits


def _flag(name: str) -> Flag:
    from cube.errors import SelectionError

    try:
        return Flag[name.upper()]
    except KeyError:
        known = ", ".join(str(flag.name).lower() for flag in Flag)
        raise SelectionError(f"no quality flag is called {name!r}; the flags are {known}") from None


@dataclass(frozen=True, slots=True)
class BitField:
    """Two bits of a product's quality word."""

    name: str
    shift: int
    meanings: tuple[str | None, str | None, str | None, str | None]
    """What 00, 01, 10 and 11 mean; None where the user guide leaves a pattern undefined."""


ECOSTRESS_QC = (
    BitField(
        "mandatory",
        0,
        (
            "produced",
            "produced, nominal: emissivity of bands 4 and 5 < 0.95, or low transmissivity, "
            "or filled stripe",
            None,
            "not produced",
        ),
    ),
    BitField(
        "data_quality",
        2,
        ("good L1B", "missing stripe in bands 1 and 5", None, "missing or bad L1B"),
    ),
    BitField("cloud_ocean", 4, ("reserved",) * 4),
    BitField("iterations", 6, ("slow convergence", "nominal", "nominal", "fast")),
    BitField("opacity", 8, (">= 0.3", "0.2 - 0.3", "0.1 - 0.2", "< 0.1")),
    BitField("mmd", 10, ("> 0.15", "0.1 - 0.15", "0.03 - 0.1", "< 0.03")),
    BitField("emissivity_accuracy", 12, ("> 0.02", "0.015 - 0.02", "0.01 - 0.015", "< 0.01")),
    BitField("lst_accuracy", 14, ("> 2 K", "1.5 - 2 K", "1 - 1.5 K", "< 1 K")),
)
"""Fields of the ECOSTRESS L2 ``QC`` word, Collection 2 and 3 (ECOL2 User Guide V3, Table 6).

``cloud_ocean`` is no longer set and says nothing: cloud and water come from layers of their own.
"""

LST_ACCURACY_LIMITS = {2.0: 1, 1.5: 2, 1.0: 3}
"""Limit (K) to the least value of the field ``lst_accuracy`` that keeps it."""


class EcostressQuality(NamedTuple):
    """The fields of ECOSTRESS QC words, each uint8 0..3, of the words' shape.

    `ECOSTRESS_QC` says what the numbers mean.
    """

    mandatory: np.ndarray
    data_quality: np.ndarray
    cloud_ocean: np.ndarray
    iterations: np.ndarray
    opacity: np.ndarray
    mmd: np.ndarray
    emissivity_accuracy: np.ndarray
    lst_accuracy: np.ndarray


def decode_ecostress(word: np.ndarray, where: str = "ECOSTRESS QC") -> EcostressQuality:
    """Take ECOSTRESS Collection 2 QC words apart.

    Fill has to be masked before: ``-99999 & 3 == 1`` would read as nominal.

    Parameters
    ----------
    word : ndarray of integers
        QC words, any shape.
    where
        Granule, for messages.

    Raises
    ------
    GranuleError
        ``bad_quality_word``: a word outside 16 bits, or a pattern the user guide does not define
        (mandatory 10 was cloud in Collection 1 and is nothing in Collection 2).

    References
    ----------
    ECOSTRESS Level-2 User Guide V3, Table 6.
    """
    word = np.asarray(word)
    _require_defined(word, where)
    return _fields(word)


def ecostress_flags(
    word: np.ndarray,
    *,
    accept_mandatory: tuple[int, ...] = (0, 1),
    max_lst_error: float | None = None,
    where: str = "ECOSTRESS QC",
) -> np.ndarray:
    """Turn ECOSTRESS QC words into the cube's flags.

    ``POOR_QUALITY`` is set where nothing was produced or the L1B input is missing or bad.
    Mandatory 01, nominal, is valid by default: emissivity below 0.95 in bands 4 and 5 (10.5 and
    12.1 um) is what bare rock looks like, and refusing it would take out the very classes that
    are to be mapped.

    Parameters
    ----------
    word : ndarray of integers
        QC words without fill, any shape.
    accept_mandatory
        Values of the mandatory field that count as good.
    max_lst_error
        Refuse pixels whose LST accuracy is worse: 2.0, 1.5 or 1.0 K; by default none. In some
        clear scenes every pixel is 1.5 to 2 K, so that 1.5 refuses them whole.
    where
        Granule, for messages.

    Returns
    -------
    ndarray of uint8
        `Flag` bits, same shape.

    Raises
    ------
    GranuleError
        As `decode_ecostress`.
    ValueError
        If `max_lst_error` is not one of the limits that the word tells apart.
    """
    if max_lst_error is not None and max_lst_error not in LST_ACCURACY_LIMITS:
        raise ValueError(f"max_lst_error is 2.0, 1.5 or 1.0 K, not {max_lst_error}")
    word = np.asarray(word)
    _require_defined(word, where)
    quality = _fields(np.arange(0x10000))
    poor = ~np.isin(quality.mandatory, accept_mandatory) | (quality.data_quality == 3)
    if max_lst_error is not None:
        poor |= quality.lst_accuracy < LST_ACCURACY_LIMITS[max_lst_error]
    flags: np.ndarray = np.where(poor, np.uint8(Flag.POOR_QUALITY), np.uint8(0))[word]
    return flags


def _fields(word: np.ndarray) -> EcostressQuality:
    return EcostressQuality(
        *(((word >> field.shift) & 3).astype(np.uint8) for field in ECOSTRESS_QC)
    )


def _require_defined(word: np.ndarray, where: str) -> None:
    outside = (word < 0) | (word > 0xFFFF)
    if outside.any():
        refuse_word(word, outside, "is outside the 16 bits of the word", where)
    every = np.arange(0x10000)
    for field in ECOSTRESS_QC:
        for pattern, meaning in enumerate(field.meanings):
            undefined = ((every >> field.shift) & 3) == pattern
            if meaning is None and (bad := undefined[word]).any():
                reason = (
                    f"has {pattern:02b} in field {field.name}, which the user guide leaves open"
                )
                refuse_word(word, bad, reason, where)


def refuse_word(word: np.ndarray, bad: np.ndarray, reason: str, where: str) -> NoReturn:
    """Refuse a granule for its quality words.

    Parameters
    ----------
    word, bad : ndarray
        The words, and which of them are meant.
    reason
        What is wrong with them: "is outside the 16 bits of the word".
    where
        Granule, for the message.

    Raises
    ------
    GranuleError
        ``bad_quality_word``.
    """
    first = int(word[bad].flat[0])
    raise GranuleError(
        f"{where}: quality word {first} (binary {first:b}) {reason}; "
        f"{int(bad.sum())} pixel(s) like it. Is this another collection, or another layer?",
        kind="bad_quality_word",
    )
