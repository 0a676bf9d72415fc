"""How Landsat's products and their layers are called, and files that are known by name alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Self

from cube.sources.stac_folder import files_below


class Encoding(NamedTuple):
    """How a layer is called and stored; physical value = DN * scale + offset."""

    suffix: str
    """End of the file name."""
    assets: tuple[str, ...]
    """Names of the asset in the catalogues."""
    scale: float
    offset: float
    fill: float


# Landsat 8-9 Collection 2 Level 2 Science Product Guide (USGS LSDS-1619), surface temperature.
LAYERS: Mapping[str, Encoding] = {
    "lst": Encoding("ST_B10", ("lwir11", "ST_B10"), 0.00341802, 149.0, 0),
    "emissivity": Encoding("ST_EMIS", ("emis", "ST_EMIS"), 1e-4, 0.0, -9999),
    "lst_err": Encoding("ST_QA", ("qa", "ST_QA"), 0.01, 0.0, -9999),
    # Every word means something; fill is one of its flags.
    "qa": Encoding("QA_PIXEL", ("qa_pixel", "QA_PIXEL"), 1.0, 0.0, -1),
}
REQUIRED = ("lst", "qa")

_BY_SUFFIX = {encoding.suffix: layer for layer, encoding in LAYERS.items()}

TIERS = ("RT", "T2", "T1")
"""Real time, until the definitive calibration; not good enough for tier 1; tier 1."""

_PRODUCT = re.compile(
    r"(?P<id>LC0(?P<craft>[89])_(?P<level>L2S[PR])_(?P<place>\d{6})_(?P<day>\d{8})_"
    r"(?P<made>\d{8})_02_(?P<tier>RT|T1|T2))"
)
_CENTRE_TIME = re.compile(r"SCENE_CENTER_TIME\W+(\d\d:\d\d:\d\d(?:\.\d{1,6})?)")


@dataclass(frozen=True, slots=True)
class Product:
    """What the name of a product says."""

    id: str
    key: str
    """Sensor, path and row, day: the same for all processings."""
    version: str
    """Day of processing, then the tier's place in `TIERS`: ``20200913-1``."""
    platform: str
    day: str
    level: str

    @classmethod
    def named_in(cls, *texts: str) -> Self:
        """Find the first product name in some texts, such as file names.

        Raises
        ------
        ValueError
            If there is none.
        """
        for text in texts:
            if match := _PRODUCT.search(text):
                key = f"LC0{match['craft']}_{match['place']}_{match['day']}"
                version = f"{match['made']}-{TIERS.index(match['tier'])}"
                craft = f"Landsat-{match['craft']}"
                return cls(match["id"], key, version, craft, match["day"], match["level"])
        raise ValueError(f"no name of a Landsat 8 or 9 Collection 2 Level 2 product in {texts}")

    @property
    def defect(self) -> str:
        """What the product as such lacks; empty if nothing."""
        lacks = "an L2SR product holds reflectance only, no surface temperature"
        return lacks if self.level == "L2SR" else ""


@dataclass
class Bare:
    """The files of one product in a folder, or a file that only looks like one."""

    name: str
    product: Product | None
    layers: dict[str, Path] = field(default_factory=dict)
    """Layer, as in `LAYERS`, to file."""
    clash: str = ""
    """Says which two different files go for one layer."""

    def add(self, layer: str, path: Path) -> None:
        """Take a file; a second one for the same layer must be a copy."""
        first = self.layers.setdefault(layer, path)
        if first.stat().st_size != path.stat().st_size:
            self.clash = f"two different files of one name: {first} and {path}"

    def time(self) -> datetime | None:
        """Middle of the acquisition, UTC, from the product's MTL file beside the layers."""
        for folder in sorted({path.parent for path in self.layers.values()}):
            for kind in ("json", "txt", "xml"):
                file = folder / f"{self.name}_MTL.{kind}"
                text = file.read_text(errors="replace") if file.is_file() else ""
                if self.product and (match := _CENTRE_TIME.search(text)):
                    moment = datetime.fromisoformat(f"{self.product.day}T{match[1]}")
                    return moment.replace(tzinfo=UTC)
        return None

    def defect(self) -> str:
        """Why the product cannot be used; empty if it can."""
        if self.product is None:
            return f"{self.name} is not named as a layer of a Landsat product"
        lacking = [LAYERS[layer].suffix for layer in REQUIRED if layer not in self.layers]
        undated = (
            f"no {self.name}_MTL.json, .txt or .xml beside the files, so that the time of day is "
            "not known; put it there"
        )
        problems = (
            self.clash,
            self.product.defect,
            f"layer {' and '.join(lacking)} missing" if lacking else "",
            "" if self.time() else undated,
        )
        return next((problem for problem in problems if problem), "")


def find_bare(location: Path) -> Iterator[Bare]:
    """Find products by the exact names of their files; only the extension may be in capitals.

    A file that begins like a product of level 2 and is not understood comes alone.

    Raises
    ------
    SourceError
        If the folder cannot be listed.
    """
    products: dict[str, Bare] = {}
    for path in files_below(location, ".tif", ".tiff"):
        if not re.match(r"LC0[89]_L2", path.name, re.IGNORECASE):
            continue
        match = re.fullmatch(rf"{_PRODUCT.pattern}_(?P<suffix>[A-Z0-9_]+)", path.stem)
        if match is None:
            yield Bare(path.relative_to(location).as_posix(), None, {"file": path})
            continue
        bare = products.setdefault(match["id"], Bare(match["id"], Product.named_in(match["id"])))
        if match["suffix"] in _BY_SUFFIX:
            bare.add(_BY_SUFFIX[match["suffix"]], path)
    yield from products.values()
