"""MODIS land products: their layers and encodings, their file names, when they were acquired."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Literal

from cube.errors import GranuleError

ProductName = Literal[
    "MOD11A1", "MYD11A1", "MOD21A1D", "MOD21A1N", "MYD21A1D", "MYD21A1N", "MOD09GQ", "MYD09GQ"
]
Phase = Literal["day", "night"]

COLLECTIONS = ("006", "061")
"""Collections with the quality words and encodings of the tables here."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a layer holds a physical quantity: value = stored number x `factor`."""

    factor: float
    stated: tuple[float, ...]
    """What the file's ``scale_factor`` may be. Not `factor` in every product: MOD09GQ states
    10 000 and means that the stored number is to be divided by it."""
    fill: int

    def check(self, attributes: Mapping[str, object], where: str, *, required: bool) -> None:
        """Compare with the attributes of the file.

        Parameters
        ----------
        attributes
            Of the layer; numbers, or numbers as text.
        where
            File and layer, for messages.
        required
            Whether a layer without ``scale_factor`` is refused too.

        Raises
        ------
        GranuleError
            ``wrong_layer``.
        """
        scale = _number(attributes.get("scale_factor"))
        known = " or ".join(f"{value:g}" for value in self.stated)
        if scale is None and required:
            raise GranuleError(
                f"{where}: the layer states no scale_factor, where {known} belongs; "
                "the file was written by something else than the product's own software",
                kind="wrong_layer",
            )
        expected = (
            ("scale_factor", scale, self.stated),
            ("add_offset", _number(attributes.get("add_offset")), (0.0,)),
            ("_FillValue", _number(attributes.get("_FillValue")), (float(self.fill),)),
        )
        for name, stated, allowed in expected:
            if stated is not None and all(abs(stated - one) > 1e-9 * abs(one) for one in allowed):
                raise GranuleError(
                    f"{where}: {name} is {stated:g}, but the product's is "
                    f"{' or '.join(f'{one:g}' for one in allowed)}; this is another layer or "
                    "another product, and its numbers would be scaled wrongly",
                    kind="wrong_layer",
                )


# DN 0 is fill; 7500 is 150 K (MODIS LST Products User's Guide, Collection 6, Table 8;
# MOD21 User Guide, Collection 6, table of the scientific data sets).
LST = Encoding(0.02, (0.02,), 0)
# Valid -100..16000 (MODIS Surface Reflectance User's Guide, Collection 6, v1.4, Table 3).
REFLECTANCE = Encoding(1e-4, (10000.0, 1e-4), -28672)


@dataclass(frozen=True, slots=True)
class Part:
    """One granule's worth of a file: the layers of one overpass."""

    phase: Phase
    images: Mapping[str, str]
    """Band to layer."""
    quality: str
    """Layer with the quality word."""
    view_time: str | None = None
    """Layer with the local solar time of observation, 0.1 h."""


@dataclass(frozen=True, slots=True)
class Product:
    """One product family, Terra and Aqua alike."""

    modality: str
    pixels: int
    """Rows and columns of a whole tile."""
    encoding: Encoding
    word: Literal["11A1", "21A1", "09GQ"]
    """Which table decodes the quality word; see `cube.sources.modis_qc`."""
    parts: tuple[Part, ...]

    @property
    def layers(self) -> frozenset[str]:
        """Every layer that is read."""
        return frozenset(name for part in self.parts for name in layers_of(part))


def layers_of(part: Part) -> tuple[str, ...]:
    """The layers that one granule needs."""
    return (*part.images.values(), part.quality)


def _split_window(name: str, phase: Phase) -> Part:
    return Part(phase, {"lst": f"LST_{name}_1km"}, f"QC_{name}", f"{name}_view_time")


def _tes(phase: Phase) -> Product:
    part = Part(phase, {"lst": "LST_1KM"}, "QC", "View_Time")
    return Product("modis_lst", 1200, LST, "21A1", (part,))


_REFLECTANCE = Part("day", {"red": "sur_refl_b01_1", "nir": "sur_refl_b02_1"}, "QC_250m_1")

PRODUCTS: Mapping[str, Product] = MappingProxyType(
    {
        "11A1": Product(
            "modis_lst",
            1200,
            LST,
            "11A1",
            (_split_window("Day", "day"), _split_window("Night", "night")),
        ),
        "21A1D": _tes("day"),
        "21A1N": _tes("night"),
        "09GQ": Product("modis_ndvi", 4800, REFLECTANCE, "09GQ", (_REFLECTANCE,)),
    }
)
"""By the name's end: ``MOD11A1`` and ``MYD11A1`` are both ``11A1``."""

PLATFORMS = {"MOD": "Terra", "MYD": "Aqua"}

# Local solar hour at which the satellite passes the equator: 10:30 descending for Terra, 13:30
# ascending for Aqua, and twelve hours later.
OVERPASS = {
    ("Terra", "day"): 10.5,
    ("Terra", "night"): 22.5,
    ("Aqua", "day"): 13.5,
    ("Aqua", "night"): 1.5,
}

_NAME = re.compile(
    r"(?P<product>(?P<family>M[OY]D)(?P<kind>11A1|21A1[DN]|09GQ))\.A(?P<date>\d{7})"
    r"\.h(?P<h>\d{2})v(?P<v>\d{2})\.(?P<collection>\d{3})\.(?P<made>\d{13})"
    r"(?P<tail>\.hdf|_(?P<layer>\w+)\.tiff?)",
)


@dataclass(frozen=True, slots=True)
class TileFile:
    """What the name of a file says."""

    stem: str
    """The delivery, e.g. ``MOD11A1.A2020123.h18v04.061.2021008155123``."""
    product: str
    platform: str
    date: datetime
    """Midnight (UTC) at which the file's day begins."""
    h: int
    v: int
    version: str
    """Collection and production time."""
    layer: str | None
    """None for an HDF file, which holds all layers."""

    @property
    def tile(self) -> str:
        """``h18v04``."""
        return f"h{self.h:02d}v{self.v:02d}"

    @property
    def key(self) -> str:
        """Names the acquisition, whatever delivery."""
        return f"{self.product}.A{self.date:%Y%j}.{self.tile}"


def parse(name: str) -> TileFile:
    """Read a file's name.

    Understood are ``<product>.A<YYYYDDD>.h<HH>v<VV>.<collection>.<production>.hdf`` and single
    layers of such a file, ``<the same>_<layer>.tif``.

    Raises
    ------
    ValueError
        Saying what part of the name is not as it should be.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(
            "the name is not <product>.A<YYYYDDD>.h<HH>v<VV>.<collection>.<production>.hdf, "
            "nor that of a layer of such a file, ..._<layer>.tif"
        )
    parts = match.groupdict()
    if parts["collection"] not in COLLECTIONS:
        raise ValueError(
            f"collection {parts['collection']} is not supported, its quality word may mean "
            f"something else; supported are {' and '.join(COLLECTIONS)}"
        )
    h, v = int(parts["h"]), int(parts["v"])
    if h > 35 or v > 17:
        raise ValueError(f"there is no tile h{h:02d}v{v:02d}; tiles are h00..h35, v00..v17")
    try:
        date = datetime.strptime(parts["date"], "%Y%j").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"{parts['date']!r} in the name is not a year and day of year") from None
    return TileFile(
        stem=name.removesuffix(parts["tail"]),
        product=parts["product"],
        platform=PLATFORMS[parts["family"]],
        date=date,
        h=h,
        v=v,
        version=f"{parts['collection']}.{parts['made']}",
        layer=parts["layer"],
    )


def solar_to_utc(date: datetime, hours: float, longitude: float) -> datetime:
    """Turn a local solar time of a daily product into UTC.

    A daily file covers a UTC day, and its solar times are UTC + longitude / 15 h, folded into
    0..24 (MODIS LST Products User's Guide, Collection 6, on ``Day_view_time``). So the UTC time
    lies on the file's date always, also where the sun's date is another.

    Parameters
    ----------
    date
        Midnight (UTC) of the file's day.
    hours
        Local solar time.
    longitude
        Degrees, east positive.
    """
    # A tiny negative number modulo 24 rounds to 24.0 itself; and `timedelta` rounds, so that the
    # last half microsecond of a day would be the next one's.
    elapsed = (hours - longitude / 15) % 24 % 24
    return date + timedelta(microseconds=int(elapsed * 3.6e9))


def nominal_time(file: TileFile, phase: Phase, longitude: float) -> datetime:
    """When the satellite passes: its nominal solar time of day, at a longitude, to the minute.

    Exact to about one hour at mid-latitudes, where the swath's edges differ by as much; the
    observed time stands in the file's view-time layer. Being the same for all tiles of a day, it
    makes one scene of the tiles of a pass.
    """
    time = solar_to_utc(file.date, OVERPASS[file.platform, phase], longitude)
    return time.replace(second=0, microsecond=0)


def _number(value: object) -> float | None:
    # MOD21 states "n/a" where there is no scale.
    if isinstance(value, (list, tuple)):
        value = value[0] if len(value) == 1 else None
    try:
        return None if value is None else float(str(value))
    except ValueError:
        return None
