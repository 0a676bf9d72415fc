"""File names of ASTER surface kinetic temperature (AST_08), read exactly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

LayerName = Literal["SKT", "QA", "HDF"]
"""Temperature, its first quality plane, or the swath that holds both."""

_NAME = re.compile(
    r"(?P<granule>AST_08_(?P<collection>003|004)(?P<time>\d{14})_(?P<made>\d{14})(?:_\d+)?)"
    r"(?P<layer>_SKT(?:_QA_DataPlane2?)?\.tiff?|\.hdf|"
    r"\.SurfaceKineticTemperature\.(?:KineticTemperature|QA_DataPlane2?)\.tiff?)"
)
_LAYERS: Mapping[str, LayerName] = {
    "_SKT": "SKT",
    "_SKT_QA_DataPlane": "QA",
    ".SurfaceKineticTemperature.KineticTemperature": "SKT",
    ".SurfaceKineticTemperature.QA_DataPlane": "QA",
    ".hdf": "HDF",
}


@dataclass(frozen=True, slots=True)
class AsterFile:
    """What the name of a file says."""

    granule: str
    """The name without the layer: the same for all files of one granule."""
    key: str
    """The acquisition, whatever version."""
    version: str
    """Collection and time of production."""
    layer: LayerName | None
    """None for a layer that the cube has no use for."""
    time: datetime


def parse(name: str) -> AsterFile:
    """Read a file's name.

    Understood are ``AST_08_003<MMDDYYYYhhmmss>_<production>_<number>.hdf``, the GeoTIFFs of
    version 3 (``.SurfaceKineticTemperature.KineticTemperature.tif``) and of version 4
    (``_SKT.tif``), and the quality planes beside them.

    Raises
    ------
    ValueError
        If the name is another.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError("the name is not that of AST_08, version 3 or 4, or of a layer of it")
    try:
        time = datetime.strptime(match["time"], "%m%d%Y%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"{match['time']!r} in the name is not a date and time") from None
    return AsterFile(
        granule=match["granule"],
        key=f"AST_08_{match['time']}",
        version=f"{match['collection']}_{match['made']}",
        layer=_LAYERS.get(re.sub(r"\.tiff?$", "", match["layer"])),
        time=time,
    )
