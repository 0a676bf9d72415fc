"""STAC items as granules: the settings, the search and the description that sources share."""

from __future__ import annotations

import os
import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self
from urllib.parse import unquote, urljoin, urlsplit

from pydantic import Field, model_validator

from cube.grid import lonlat_bounds
from cube.scene import Granule
from cube.sources import stac_api, stac_folder
from cube.sources.asset import Georeference
from cube.sources.base import Period, SourceSettings
from cube.sources.remote import is_remote, require_signer
from cube.sources.stac_items import MALFORMED, Found, Home, RawItem, footprint, start_time
from cube.sources.stacked import Reader, require_reader

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from pystac import Asset, Item

# Footprints are polygons of a few corners in degrees; a curved tile edge bulges past them.
FOOTPRINT_MARGIN = 0.02


class StacSource(SourceSettings):
    """What the sources have in common whose granules are STAC items.

    The items lie in a folder with their files beside them (`path`), or a STAC API finds them and
    the files are read over the wire, only the window and the bands that are needed (`catalog`).
    """

    modality: ClassVar[str]
    collections: ClassVar[tuple[str, ...]]
    """What the catalogues call this product's collection; an API is asked for the first."""

    path: Path = Path()
    """Folder or JSON file with items, relative to the region file. Either this or `catalog`."""
    catalog: str | None = None
    """URL of a STAC API."""
    collection: str | None = None
    """Collection of the items, if it is none of those that the catalogues use."""
    sign: Literal["planetary-computer"] | None = None
    """Who signs the URLs of the assets; the package ``planetary-computer`` must be installed."""
    reader: Reader = Field(default="rasterio", exclude=True)
    """Who fetches the pixels: rasterio, which took the least time and memory and is GDAL's warp to
    the last bit, or ``stackstac``, a package of its own. Values and flags are the same."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if ("path" in self.model_fields_set) == (self.catalog is not None):
            raise ValueError(
                "give either path (a folder with STAC items) or catalog (the URL of a STAC API), "
                "and not both"
            )
        if self.sign and self.catalog is None:
            raise ValueError("sign is for the assets of a catalog; leave it out with path")
        url = urlsplit(self.catalog or "")
        if self.catalog is not None and (url.scheme not in ("http", "https") or not url.netloc):
            raise ValueError(f"catalog is the http(s) URL of a STAC API, not {self.catalog!r}")
        if "@" in url.netloc:
            raise ValueError("no credentials in a region file: put user and password into ~/.netrc")
        return self

    def search(self, grid: GeoBox, period: Period) -> list[Granule]:
        """Find the items of the period that touch the grid; of two copies, the one that is usable.

        Raises
        ------
        SourceError
            If the folder cannot be searched, or the API does not answer, answers with an error,
            or with something else than items.
        """
        require_signer(self.sign)
        require_reader(self.reader, f"source {self.name!r}")
        granules: dict[str, Granule] = {}
        for found in self._find(grid, period):
            if found.item is not None and not touches(found.item, grid):
                continue
            for granule in self._granules(found, grid):
                if granule.time is None or granule.time in period:
                    keep_usable(granules, granule)
        return list(granules.values())

    def wants(self, raw: RawItem) -> bool:
        """Tell from the bare JSON whether an item is of this product."""
        collection = raw.get("collection")
        if self.collection:
            return bool(collection == self.collection)
        return collection in self.collections if collection else self.resembles(raw)

    @abstractmethod
    def resembles(self, raw: RawItem) -> bool:
        """Tell whether an item that names no collection is of this product."""

    @abstractmethod
    def granules(self, item: Item, home: Home, grid: GeoBox) -> Iterable[Granule]:
        """Describe an item's granules; `home` is where its relative hrefs start."""

    def _find(self, grid: GeoBox, period: Period) -> Iterable[Found]:
        if self.catalog is None:
            return stac_folder.find_items(self.location, self.wants)
        collection = self.collection or self.collections[0]
        return stac_api.find_items(self.catalog, collection, grid, period, self.wants)

    def _granules(self, found: Found, grid: GeoBox) -> Iterable[Granule]:
        if found.item is None:
            return [self._broken(found)]
        try:
            return list(self.granules(found.item, found.home, grid))
        except MALFORMED as error:
            return [self._broken(found.malformed(found.item.id, error))]

    def _broken(self, found: Found) -> Granule:
        home = found.home
        if isinstance(home, Path):
            home = os.path.relpath(home, self.location.parent)
        # Two sources may look at one folder, and ids are unique in a region.
        name = found.id or f"{self.name}:{home}"
        return Granule(
            id=name,
            key=name,
            version="",
            source=self.name,
            modality=self.modality,
            platform="",
            time=None,
            assets={"item": str(found.home)},
            size=_local_size(str(found.home)),
            defect=found.defect,
        )

    def describe(
        self,
        item: Item,
        home: Home,
        layers: Mapping[str, tuple[str, ...]],
        *,
        key: str,
        version: str,
        name: str = "",
        defect: str = "",
        extra: Mapping[str, Any] | None = None,
    ) -> Granule:
        """Make the granule of an item; a missing time, asset or file is a defect.

        Parameters
        ----------
        layers
            Layer name to the asset names that the catalogues give it.
        name
            Id of the granule, if not that of the item.
        key, version, extra
            As in `cube.scene.Granule`; the checksums that the item gives are added to `extra`.
        defect
            What the product itself has to object.
        """
        found = pick_assets(item, layers)
        assets = {layer: resolve(asset.href, home) for layer, asset in found.items()}
        absent = [
            f"{layer} ({' or '.join(layers[layer])})" for layer in layers if layer not in found
        ]
        time = start_time(item)
        problems = [
            defect,
            "no acquisition time in the item" if time is None else "",
            f"the item has no asset for {', '.join(absent)}" if absent else "",
            out_of_reach(assets, wire=self.catalog is not None),
        ]
        return Granule(
            id=name or item.id,
            key=key,
            version=version,
            source=self.name,
            modality=self.modality,
            platform=platform_name(item),
            time=time,
            assets=assets,
            size=sum(asset_size(assets[layer], asset) for layer, asset in found.items()),
            defect=next((problem for problem in problems if problem), ""),
            extra={
                "georeference": {
                    layer: Georeference.of(item, asset) for layer, asset in found.items()
                },
                "checksum": {
                    layer: str(asset.extra_fields["file:checksum"])
                    for layer, asset in found.items()
                    if asset.extra_fields.get("file:checksum")
                },
                **(extra or {}),
            },
        )


def keep_usable(granules: dict[str, Granule], granule: Granule) -> None:
    """Add a granule; of two with one id the first counts, or the one without a defect."""
    known = granules.get(granule.id)
    if known is None or (known.defect and not granule.defect):
        granules[granule.id] = granule


def platform_name(item: Item) -> str:
    """Normalise ``sentinel-2a``, ``S2A_…``, ``LANDSAT_8``, ``LC08_…`` to ``Sentinel-2A``, …."""
    stated = str(item.properties.get("platform") or "")
    for text in (stated, item.id):
        if match := re.match(r"s(?:entinel)?[-_ ]?(\d)([a-z])(?![a-z])", text, re.IGNORECASE):
            return f"Sentinel-{match[1]}{match[2].upper()}"
        if match := re.match(r"(?:landsat|l[a-z])[-_ ]?0?(\d)(?!\d)", text, re.IGNORECASE):
            return f"Landsat-{match[1]}"
    return stated


def pick_assets(item: Item, names: Mapping[str, tuple[str, ...]]) -> dict[str, Asset]:
    """Look layers up under the names that the catalogues give them; exact names only."""
    found = {}
    for layer, keys in names.items():
        for key in keys:
            if key in item.assets:
                found[layer] = item.assets[key]
                break
    return found


def resolve(href: str, home: Home) -> str:
    """Turn an asset's href into a local path or an absolute URL."""
    url = urlsplit(href)
    if url.scheme == "file":
        return unquote(url.path)
    if "://" in href:
        return href
    return str(home.parent / href) if isinstance(home, Path) else urljoin(home, href)


def out_of_reach(assets: Mapping[str, str], *, wire: bool) -> str:
    """Say which asset cannot be read; empty if all can.

    Parameters
    ----------
    assets
        Layer to path or URL.
    wire
        Whether files of other machines are to be read where they lie.
    """
    for layer, href in assets.items():
        if wire and is_remote(href):
            continue
        if "://" in href and not wire:
            return (
                f"asset not here: {layer} lies at {href}; download it and let the item point to it"
            )
        if "://" in href:
            return f"asset out of reach: {layer} lies at {href}; http(s) and s3 can be read"
        if not Path(href).is_file():
            return f"asset not here: {layer} should be the file {href}"
    return ""


def asset_size(href: str, asset: Asset) -> int:
    """Bytes of an asset, as the item says or the local file has; 0 if unknown."""
    return int(asset.extra_fields.get("file:size") or 0) if "://" in href else _local_size(href)


def _local_size(href: str) -> int:
    path = Path(href)
    return path.stat().st_size if "://" not in href and path.is_file() else 0


def touches(item: Item, grid: GeoBox) -> bool:
    """Tell whether the item's footprint may overlap the grid; True if it gives none in degrees."""
    box = footprint(item)
    if box is None:
        return True
    west, south, east, north = box
    left, bottom, right, top = lonlat_bounds(grid)
    margin = FOOTPRINT_MARGIN
    # A box that crosses the antimeridian has west > east; only its latitudes are compared.
    wraps = west > east or left > right
    across = wraps or (west <= right + margin and left <= east + margin)
    return across and south <= top + margin and bottom <= north + margin
