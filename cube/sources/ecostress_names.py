"""File names of ECOSTRESS LSTE layers, read exactly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

LAYERS = {
    "LST": "LST",
    "LST_err": "LST_err",
    "EmisWB": "EmisWB",
    "QC": "QC",
    "cloud": "cloud",
    "cloud_mask": "cloud",
    "water": "water",
    "water_mask": "water",
    "view_zenith": "view_zenith",
}
"""Layer as the file is called (exactly, capitals too) to layer as it is called here."""

UNUSED_LAYERS = frozenset({"height"})
"""Layers of the product that the cube has no use for."""

COLLECTIONS = ("002", "003")
"""Collections with the QC word and encodings of the user guide, version 3."""

_APPEEARS = re.compile(
    r"(?P<product>ECO_L2T?_LSTE)\.(?P<collection>\d{3})_(?P<layer>\w+)"
    r"_doy(?P<time>\d{13})_(?P<area>aid\d+)(?:_(?P<zone>\d{2}[NS]))?"
)
_TILE = re.compile(
    r"ECOv(?P<collection>\d{3})_L2T_LSTE_(?P<orbit>\d{5})_(?P<scene>\d{3})_(?P<tile>\d{2}[A-Z]{3})"
    r"_(?P<time>\d{8}T\d{6})_(?P<build>\d{4})_(?P<iteration>\d{2})_(?P<layer>\w+)"
)


@dataclass(frozen=True, slots=True)
class LayerFile:
    """What the name of a layer's file says."""

    granule: str
    """The name without the layer: the same for all layers of one granule."""
    key: str
    """The acquisition without collection, build and iteration."""
    version: str
    """Sorts as text; for AppEEARS the collection only, as its names hold no build."""
    layer: str
    """A value of `LAYERS`, or a member of `UNUSED_LAYERS`."""
    time: datetime
    extra: Mapping[str, str] = field(default_factory=dict)
    """Orbit, scene, tile and build, as far as the name holds them."""


def parse(stem: str) -> LayerFile:
    """Read a file name (without its extension).

    Two patterns are understood: AppEEARS extracts, ``ECO_L2_LSTE.002_<layer>_doyYYYYDDDhhmmss_
    aidNNNN`` with ``_ZZN`` behind for ``ECO_L2T_LSTE``, and layers of the tiled product,
    ``ECOv002_L2T_LSTE_<orbit>_<scene>_<tile>_<YYYYMMDDThhmmss>_<build>_<iteration>_<layer>``.
    Everything counts, capitals too: ``LST_err`` and ``LST_clipped`` are not ``LST``.

    Raises
    ------
    ValueError
        Saying what part of the name is not as it should be.
    """
    for pattern, build in ((_APPEEARS, _appeears), (_TILE, _tile)):
        match = pattern.fullmatch(stem)
        if match:
            parts = match.groupdict()
            _check_collection(parts["collection"])
            return build(parts, _layer(parts["layer"]))
    raise ValueError("the name is not that of a layer of ECOSTRESS L2 or L2T LSTE")


def _appeears(parts: dict[str, str], layer: str) -> LayerFile:
    zone = f"_{parts['zone']}" if parts["zone"] else ""
    tail = f"doy{parts['time']}_{parts['area']}{zone}"
    return LayerFile(
        granule=f"{parts['product']}.{parts['collection']}_{tail}",
        key=f"{parts['product']}_{tail}",
        version=parts["collection"],
        layer=layer,
        time=_time(parts["time"], "%Y%j%H%M%S"),
    )


def _tile(parts: dict[str, str], layer: str) -> LayerFile:
    place = f"{parts['orbit']}_{parts['scene']}_{parts['tile']}_{parts['time']}"
    version = f"{parts['build']}_{parts['iteration']}"
    return LayerFile(
        granule=f"ECOv{parts['collection']}_L2T_LSTE_{place}_{version}",
        key=f"L2T_LSTE_{place}",
        version=f"{parts['collection']}_{version}",
        layer=layer,
        time=_time(parts["time"], "%Y%m%dT%H%M%S"),
        extra={name: parts[name] for name in ("orbit", "scene", "tile", "build")},
    )


def _layer(name: str) -> str:
    if name in LAYERS:
        return LAYERS[name]
    if name in UNUSED_LAYERS:
        return name
    known = ", ".join([*LAYERS, *sorted(UNUSED_LAYERS)])
    raise ValueError(f"{name!r} is not a layer of the product; its layers are {known}")


def _check_collection(number: str) -> None:
    if number not in COLLECTIONS:
        raise ValueError(
            f"collection {number} is not supported, its quality word may mean something else; "
            f"supported are {' and '.join(COLLECTIONS)}"
        )


def _time(text: str, form: str) -> datetime:
    try:
        return datetime.strptime(text, form).replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"{text!r} in the name is not a date and time") from None
