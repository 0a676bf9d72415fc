"""Local STAC items: finding them, resolving their assets, and the granules they describe."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlparse

from cube.errors import SourceError
from cube.scene import Granule, utc
from cube.sources.asset import Georeference
from cube.sources.base import Period

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from pystac import Asset, Item

# Footprints are polygons of a few corners in degrees; a curved tile edge bulges past them.
FOOTPRINT_MARGIN = 0.02

RawItem = dict[str, Any]

# What parsing raises on JSON whose values have other types than they should.
MALFORMED = (ValueError, TypeError, LookupError, AttributeError)


class StacSource(Protocol):
    """What `search` needs of a source whose granules are STAC items."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def modality(self) -> str: ...  # noqa: D102
    @property
    def location(self) -> Path: ...  # noqa: D102

    def wants(self, raw: RawItem) -> bool:
        """Tell from the bare JSON whether an item is of this source's product."""
        ...

    def granule(self, item: Item, file: Path) -> Granule:
        """Describe an item as a granule."""
        ...


@dataclass(frozen=True)
class Found:
    """One STAC item on disk, or what stood in its place."""

    file: Path
    item: Item | None
    defect: str = ""
    """Why there is no item although the file looks like one."""
    id: str = ""
    """The id that a malformed item gives itself."""


def search(source: StacSource, grid: GeoBox, period: Period) -> list[Granule]:
    """Find the items of the period that touch the grid; of two copies, the one that is usable.

    Raises
    ------
    SourceError
        If the folder cannot be searched.
    """
    granules: dict[str, Granule] = {}
    for found in find_items(source.location, source.wants):
        if found.item is None:
            granule = _broken(source, found)
        elif not touches(found.item, grid):
            continue
        else:
            granule = _granule(source, found.item, found.file)
        if granule.time is not None and granule.time not in period:
            continue
        known = granules.get(granule.id)
        if known is None or (known.defect and not granule.defect):
            granules[granule.id] = granule
    return list(granules.values())


def describe(
    source: StacSource,
    item: Item,
    file: Path,
    layers: Mapping[str, tuple[str, ...]],
    *,
    key: str,
    version: str,
    defect: str = "",
    extra: Mapping[str, Any] | None = None,
) -> Granule:
    """Make the granule of an item; a missing time, asset or file is a defect.

    Parameters
    ----------
    layers
        Layer name to the asset names that the catalogues give it.
    key, version, extra
        As in `cube.scene.Granule`.
    defect
        What the product itself has to object.
    """
    found = pick_assets(item, layers)
    assets = {layer: resolve(asset.href, file) for layer, asset in found.items()}
    absent = [f"{layer} ({' or '.join(layers[layer])})" for layer in layers if layer not in found]
    time = start_time(item)
    problems = [
        "no acquisition time in the item" if time is None else "",
        f"the item has no asset for {', '.join(absent)}" if absent else "",
        missing_files(assets),
        defect,
    ]
    return Granule(
        id=item.id,
        key=key,
        version=version,
        source=source.name,
        modality=source.modality,
        platform=platform_name(item),
        time=time,
        assets=assets,
        size=total_size(assets),
        defect=next((problem for problem in problems if problem), ""),
        extra={
            "georeference": {name: Georeference.of(item, asset) for name, asset in found.items()},
            **(extra or {}),
        },
    )


def _granule(source: StacSource, item: Item, file: Path) -> Granule:
    try:
        return source.granule(item, file)
    except MALFORMED as error:
        return _broken(source, _malformed(file, item.id, error))


def _broken(source: StacSource, found: Found) -> Granule:
    # Two sources may look at one folder, and ids are unique in a region.
    name = found.id or f"{source.name}:{os.path.relpath(found.file, source.location.parent)}"
    return Granule(
        id=name,
        key=name,
        version="",
        source=source.name,
        modality=source.modality,
        platform="",
        time=None,
        assets={"item": str(found.file)},
        size=total_size({"item": str(found.file)}),
        defect=found.defect,
    )


def find_items(location: Path, wanted: Callable[[RawItem], bool]) -> Iterator[Found]:
    """Find the STAC items in a folder, its subfolders, or one JSON file.

    A file may hold one item, a list of items or a FeatureCollection. JSON that is no STAC item,
    or one that is not wanted, is passed over; what cannot be parsed is not.

    Raises
    ------
    SourceError
        If the folder, or one below it, is not there or cannot be listed.
    """
    for file in _json_files(location):
        try:
            content = json.loads(file.read_bytes())
        except (OSError, ValueError) as error:
            yield Found(file, None, f"{file.name} cannot be read as JSON: {error}")
            continue
        for raw in _features(content):
            if "stac_version" in raw and wanted(raw):
                yield _parse(file, raw)


def _json_files(location: Path) -> list[Path]:
    if location.is_file():
        return [location]
    try:
        return sorted(
            Path(folder) / name
            for folder, _, names in os.walk(location, onerror=_raise)
            for name in names
            if name.lower().endswith(".json")
        )
    except OSError as error:
        raise SourceError(
            f"the folder {location} cannot be searched for STAC items: {error}; "
            "check `path` in the region file"
        ) from error


def _raise(error: OSError) -> None:
    # os.walk and Path.rglob pass over folders they may not list; granules would vanish unseen.
    raise error


def _features(content: Any) -> list[RawItem]:
    if isinstance(content, dict) and content.get("type") == "FeatureCollection":
        content = content.get("features")
    candidates = content if isinstance(content, list) else [content]
    return [raw for raw in candidates if isinstance(raw, dict) and raw.get("type") == "Feature"]


def _parse(file: Path, raw: RawItem) -> Found:
    import pystac
    from shapely.errors import ShapelyError

    try:
        item = pystac.Item.from_dict(raw, migrate=False)
        start_time(item)
        _bounds(item)
    except (pystac.STACError, ShapelyError, *MALFORMED) as error:
        return _malformed(file, str(raw.get("id") or ""), error)
    return Found(file, item)


def _malformed(file: Path, name: str, error: Exception) -> Found:
    reason = f"{type(error).__name__}: {error}"
    defect = f"STAC item {name or 'without id'} in {file.name} is malformed ({reason})"
    return Found(file, None, defect, name)


def start_time(item: Item) -> datetime | None:
    """Start of acquisition, UTC: ``start_datetime`` where given, else ``datetime``."""
    start = item.properties.get("start_datetime")
    if start:
        return utc(datetime.fromisoformat(str(start)))
    return utc(item.datetime) if item.datetime else None


def platform_name(item: Item) -> str:
    """Normalise ``sentinel-2a``, ``SENTINEL-2A``, ``S2A_…`` to ``Sentinel-2A``."""
    for text in (str(item.properties.get("platform") or ""), item.id):
        match = re.match(r"s(?:entinel)?[-_ ]?(\d)([a-z])(?![a-z])", text, re.IGNORECASE)
        if match:
            return f"Sentinel-{match[1]}{match[2].upper()}"
    return str(item.properties.get("platform") or "")


def pick_assets(item: Item, names: Mapping[str, tuple[str, ...]]) -> dict[str, Asset]:
    """Look layers up under the names that the catalogues give them; exact names only."""
    found = {}
    for layer, keys in names.items():
        for key in keys:
            if key in item.assets:
                found[layer] = item.assets[key]
                break
    return found


def resolve(href: str, file: Path) -> str:
    """Turn an asset's href into a path, or leave it if it is the URL of another machine."""
    url = urlparse(href)
    if url.scheme == "file":
        return unquote(url.path)
    return href if "://" in href else str(file.parent / href)


def missing_files(assets: Mapping[str, str]) -> str:
    """Say which assets are no local files; empty if all are."""
    for layer, href in assets.items():
        if "://" in href:
            return (
                f"asset not here: {layer} lies at {href}; download it and let the item point to it"
            )
        if not Path(href).is_file():
            return f"asset not here: {layer} should be the file {href}"
    return ""


def total_size(assets: Mapping[str, str]) -> int:
    """Bytes of all assets that are local files."""
    paths = [Path(href) for href in assets.values() if "://" not in href]
    return sum(path.stat().st_size for path in paths if path.is_file())


def touches(item: Item, grid: GeoBox) -> bool:
    """Tell whether the item's footprint may overlap the grid; True if it gives none in degrees."""
    box = _bounds(item)
    if box is None:
        return True
    west, south, east, north = box
    left, bottom, right, top = lonlat_bounds(grid)
    margin = FOOTPRINT_MARGIN
    # A box that crosses the antimeridian has west > east; only its latitudes are compared.
    wraps = west > east or left > right
    across = wraps or (west <= right + margin and left <= east + margin)
    return across and south <= top + margin and bottom <= north + margin


def lonlat_bounds(grid: GeoBox) -> tuple[float, float, float, float]:
    """West, south, east, north of a grid in degrees; west > east across the antimeridian."""
    from rasterio.warp import transform_bounds

    assert grid.crs is not None  # a region's grid always has one
    west, south, east, north = transform_bounds(
        grid.crs.to_wkt(), "EPSG:4326", *grid.boundingbox.bbox
    )
    return west, south, east, north


def _bounds(item: Item) -> tuple[float, float, float, float] | None:
    from shapely.geometry import shape

    boxes = [shape(item.geometry).bounds if item.geometry else None, item.bbox]
    for box in boxes:
        if not box:
            continue
        half = len(box) // 2
        west, south, east, north = (float(box[index]) for index in (0, 1, half, half + 1))
        # The first Sentinel-1 RTC items give footprint and bbox in UTM metres.
        if max(abs(west), abs(east)) <= 180 and max(abs(south), abs(north)) <= 90:
            return west, south, east, north
    return None
