"""Sentinel-2 L2A: red and near-infrared reflectance, NDVI and scene classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from cube.bands import OPTICAL, Band
from cube.errors import GranuleError
from cube.quality import Flag
from cube.scene import Granule, Reading
from cube.sources.asset import read_asset
from cube.sources.stac import StacSource, platform_name
from cube.sources.stac_items import Home, RawItem, start_time

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from pystac import Item

    from cube.sources.raster import Layer

# Sentinel-2 L2A: reflectance = (DN + offset) / 10 000, offset -1000 since processing baseline
# 04.00 (January 2022), 0 before; DN 0 is no data (Sentinel-2 Products Specification Document,
# BOA_ADD_OFFSET and BOA_QUANTIFICATION_VALUE).
QUANTIFICATION = 1e-4
BOA_ADD_OFFSET = -1000
OFFSET_BASELINE = "04.00"

# Layer to asset name: Earth Search; Planetary Computer and ESA.
LAYERS = {"red": ("red", "B04"), "nir": ("nir", "B08"), "scl": ("scl", "SCL")}

# Less light than ten DN in red and near infrared together: their ratio is noise.
DARK = 1e-3

# Scene classification of Sen2Cor (Level-2A Algorithm Theoretical Basis Document, table of SCL
# classes). 2 dark area, 4 vegetation, 5 bare soil and 7 unclassified are usable ground.
SCL_FLAGS: Mapping[int, Flag] = {
    0: Flag.MISSING,
    1: Flag.POOR_QUALITY,
    2: Flag(0),
    3: Flag.SHADOW,
    4: Flag(0),
    5: Flag(0),
    6: Flag.WATER,
    7: Flag(0),
    8: Flag.CLOUD,
    9: Flag.CLOUD,
    10: Flag.CLOUD,
    11: Flag.SNOW,
}


class Sentinel2Source(StacSource):
    """Sentinel-2 L2A items of Earth Search, Planetary Computer or ESA, bands ``red``, ``nir``, SCL.

    Reflectances are averaged over the pixels with data; NDVI is computed from the averages. A
    pixel takes the flags of the 20 m scene class at its centre (nearest): classes are never
    averaged, and a small cloud that misses the centre stays unflagged. A tile that comes in two
    parts, from two datastrips of one datatake, is mosaicked by the ingest.

    Examples
    --------
    ::

        [[sources]]
        kind = "sentinel2"
        name = "s2"
        path = "sentinel2"

    or over the wire::

        [[sources]]
        kind = "sentinel2"
        name = "s2"
        catalog = "https://earth-search.aws.element84.com/v1"
    """

    modality: ClassVar[str] = "optical"
    collections: ClassVar[tuple[str, ...]] = (
        "sentinel-2-l2a",
        "sentinel-2-c1-l2a",
        "sentinel-2-pre-c1-l2a",
    )

    kind: Literal["sentinel2"]
    boa_offset: Literal["auto", "applied", "apply"] = "auto"
    """Whether the -1000 DN of baseline 04.00 and later are ``applied`` in the files already,
    still to ``apply``, or to be judged from the item. An item's ``raster:bands`` offset is never
    used: Earth Search gives -0.1 there for files that have it applied."""

    def read(self, granule: Granule, grid: GeoBox, bands: Sequence[Band]) -> Reading:
        """Read reflectance, NDVI and scene classes onto the grid.

        Raises
        ------
        GranuleError
            As `cube.sources.raster.read_layer`, and ``bad_quality_word`` for a scene class that
            does not exist (a class map that was averaged or compressed with loss).
        """
        scl = read_asset(
            granule,
            "scl",
            grid,
            resampling="nearest",
            nodata=-1,
            sign=self.sign,
            reader=self.reader,
        )
        if not scl.overlaps:
            return Reading.empty(len(bands), grid)
        flags = decode_scl(scl, granule.id)
        names = {band.name for band in bands}
        wanted = [name for name in ("red", "nir") if name in names or "ndvi" in names]
        values = {}
        for name in wanted:
            layer = self._reflectance(granule, name, grid)
            flags[layer.out_of_range] |= np.uint8(Flag.OUT_OF_RANGE)
            values[name] = layer.values
        if "ndvi" in names:
            values["ndvi"], strange = ndvi(values["red"], values["nir"])
            flags[strange] |= np.uint8(Flag.OUT_OF_RANGE)
        return Reading.build([values[band.name] for band in bands], flags, scl.values)

    def resembles(self, raw: RawItem) -> bool:
        """Tell whether an item that names no collection is of this product."""
        return str((raw.get("properties") or {}).get("s2:product_type")) == "S2MSI2A"

    def granules(self, item: Item, home: Home, grid: GeoBox) -> Iterable[Granule]:
        """Describe an item as a granule."""
        baseline = _baseline(item.properties)
        offset = self._offset(item.properties, baseline)
        sequence = int(item.properties.get("s2:sequence") or 0)
        made = re.sub(r"\D", "", str(item.properties.get("s2:generation_time") or ""))[:14]
        unknown = (
            "neither earthsearch:boa_offset_applied nor s2:processing_baseline says whether the "
            "-1000 DN offset is applied; set `boa_offset` in the region file"
        )
        yield self.describe(
            item,
            home,
            LAYERS,
            key=f"{platform_name(item)}_{_tile(item)}_{_acquisition(item)}",
            version=f"{baseline or '00.00'}-{sequence:02d}-{made}",
            defect=unknown if offset is None else "",
            extra={"boa_offset": offset, "cloud_cover": item.properties.get("eo:cloud_cover")},
        )

    def _offset(self, properties: Mapping[str, Any], baseline: str) -> int | None:
        """DN still to be added to the file's, or None if nothing says it."""
        if self.boa_offset != "auto":
            return BOA_ADD_OFFSET if self.boa_offset == "apply" else 0
        if properties.get("earthsearch:boa_offset_applied") is True:
            return 0
        if not baseline:
            return None
        return BOA_ADD_OFFSET if baseline >= OFFSET_BASELINE else 0

    def _reflectance(self, granule: Granule, name: str, grid: GeoBox) -> Layer:
        band = OPTICAL.bands[name]
        return read_asset(
            granule,
            name,
            grid,
            resampling=band.resampling,
            nodata=0,
            scale=QUANTIFICATION,
            offset=granule.extra["boa_offset"] * QUANTIFICATION,
            valid=(band.valid_min, band.valid_max),
            sign=self.sign,
            reader=self.reader,
        )


def decode_scl(scl: Layer, where: str) -> np.ndarray:
    """Translate scene classes to common flags, uint8 (y, x); not covered is ``MISSING``.

    Raises
    ------
    GranuleError
        ``bad_quality_word`` for a class that does not exist.
    """
    flags = np.full(scl.values.shape, int(Flag.MISSING), np.uint8)
    for value in np.unique(scl.values[scl.covered]).tolist():
        if value not in SCL_FLAGS:
            raise GranuleError(
                f"{where}: the scene classification holds class {value}, defined are 0 to 11; the "
                "file was resampled by averaging or compressed with loss, so its other classes "
                "cannot be trusted either; download it again",
                kind="bad_quality_word",
            )
        flags[scl.covered & (scl.values == value)] = int(SCL_FLAGS[value])
    return flags


def ndvi(red: np.ndarray, nir: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normalised difference vegetation index, (nir - red) / (nir + red) (Rouse et al. 1974).

    Returns
    -------
    values : ndarray of float32
        NaN where there is no ratio to speak of.
    strange : ndarray of bool
        Where both reflectances are there but their sum is close to zero or negative, or the
        index leaves [-1, 1] because one of them is negative.
    """
    total = nir + red
    bright = total > DARK
    values = np.full(total.shape, np.nan, np.float32)
    np.divide(nir - red, total, out=values, where=bright)
    strange = np.isfinite(total) & ~(np.abs(values) <= 1)
    return values, strange


def _baseline(properties: Mapping[str, Any]) -> str:
    """Processing baseline as ``05.09``; empty if the item does not say."""
    stated = properties.get("s2:processing_baseline") or properties.get("processing:version")
    match = re.match(r"(\d{1,2})\.(\d{1,2})$", str(stated or ""))
    match = match or re.search(r"_N(\d{2})(\d{2})_", str(properties.get("s2:product_uri") or ""))
    return f"{match[1]:0>2}.{match[2]:0>2}" if match else ""


def _tile(item: Item) -> str:
    """MGRS tile as ``33TWL``."""
    grid_code = str(item.properties.get("grid:code") or "").removeprefix("MGRS-")
    tile = str(item.properties.get("s2:mgrs_tile") or grid_code)
    match = re.search(r"_T?(\d{2}[A-Z]{3})_", item.id)
    return tile.zfill(5) if tile else match[1] if match else ""


def _acquisition(item: Item) -> str:
    """Start of the datatake and of the datastrip, the same for every delivery of an acquisition.

    A datatake that is downlinked in two strips can leave a tile in two products, each with a part
    of it (``…_0_L2A`` and ``…_1_L2A`` of Earth Search). They are two acquisitions, to be
    mosaicked; a reprocessing has the strip's start of the first processing.
    """
    strip = re.search(r"_S(\d{8}T\d{6})_", str(item.properties.get("s2:datastrip_id") or ""))
    return f"{_datatake(item)}{f'_S{strip[1]}' if strip else ''}"


def _datatake(item: Item) -> str:
    for field in ("s2:datatake_id", "s2:product_uri"):
        match = re.search(r"_(\d{8}T\d{6})_", str(item.properties.get(field) or ""))
        if match:
            return match[1]
    time = start_time(item)
    return f"{time:%Y%m%dT%H%M%S}" if time else item.id
