"""Landsat 8 and 9, Collection 2 Level 2: surface temperature of TIRS band 10."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from cube.bands import Band
from cube.errors import GranuleError
from cube.quality import Flag
from cube.scene import Granule, Reading
from cube.sources.asset import Georeference, read_asset, require_layers
from cube.sources.base import Period
from cube.sources.landsat_names import LAYERS, REQUIRED, Bare, Product, find_bare
from cube.sources.raster import Layer
from cube.sources.stac import StacSource, keep_usable
from cube.sources.stac_items import Home, RawItem

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from pystac import Item

# Landsat 8-9 Collection 2 Level 1 Data Format Control Book (USGS LSDS-1822), QA_PIXEL. Bit 6,
# clear, is the absence of 1 and 3. Bits 8-9, 10-11, 12-13 and 14-15 are the confidences in cloud,
# shadow, snow and cirrus (00 not determined, 01 low, 10 medium, 11 high); bits 3, 4, 5 and 2 are
# set where they are high, so they say nothing more that would decide on a pixel.
QA_FILL = 0
QA_FLAGS: Mapping[int, Flag] = {
    1: Flag.CLOUD,  # dilated: some pixels around a cloud
    2: Flag.CLOUD,  # cirrus
    3: Flag.CLOUD,
    4: Flag.SHADOW,
    5: Flag.SNOW,
    7: Flag.WATER,
}
RESERVED: Mapping[str, int] = {"shadow": 10, "snow": 12, "cirrus": 14}
"""Confidences that are never medium, by their lower bit."""


class LandsatSource(StacSource):
    """Landsat 8/9 surface temperature: from a STAC API, a folder with items, or bare files.

    Bare files are known by their exact names, ``LC08_L2SP_…_ST_B10.TIF`` and ``…_QA_PIXEL.TIF``;
    the time of day comes from the ``…_MTL.json`` (or ``.txt``, ``.xml``) beside them. Bands:
    ``lst`` from ST_B10, ``emissivity`` from ST_EMIS, ``lst_err`` from ST_QA.

    Where no temperature could be retrieved the product holds DN 293, 150 K, most often under
    cloud: that is out of range, and so is every pixel with a share of it.

    Examples
    --------
    ::

        [[sources]]
        kind = "landsat"
        name = "landsat"
        catalog = "https://planetarycomputer.microsoft.com/api/stac/v1"
        sign = "planetary-computer"
    """

    modality: ClassVar[str] = "thermal"
    collections: ClassVar[tuple[str, ...]] = ("landsat-c2-l2", "landsat-c2l2-st")

    kind: Literal["landsat"]

    def search(self, grid: GeoBox, period: Period) -> list[Granule]:
        """Find the granules of the period; where bare files lie shows only when they are read.

        Raises
        ------
        SourceError
            If the folder or the API cannot be searched.
        """
        granules = {granule.id: granule for granule in super().search(grid, period)}
        for bare in find_bare(self.location) if self.catalog is None else ():
            granule = self._bare(bare)
            if granule.time is None or granule.time in period:
                keep_usable(granules, granule)
        return list(granules.values())

    def read(self, granule: Granule, grid: GeoBox, bands: Sequence[Band]) -> Reading:
        """Read temperature (K), emissivity (1) or the temperature's uncertainty (K).

        A pixel takes the flags of the QA_PIXEL word at its centre (nearest). Where that word is
        not fill, yet a band has no value, the retrieval failed (``POOR_QUALITY``).

        Raises
        ------
        GranuleError
            As `cube.sources.asset.read_asset`; ``missing_layer`` for a band that the granule does
            not have, ``bad_quality_word``, and ``wrong_layer`` if most clear pixels are out of
            the band's range.
        """
        require_layers(granule, bands)
        qa = self._layer(granule, "qa", grid)
        if not qa.overlaps:
            return Reading.empty(len(bands), grid)
        flags = np.full(qa.values.shape, int(Flag.MISSING), np.uint8)
        flags[qa.covered] = decode_qa_pixel(qa.values[qa.covered], granule.id)
        measured = (flags & np.uint8(Flag.MISSING)) == 0
        clear = measured & ((flags & np.uint8(Flag.CLOUD)) == 0)
        values = []
        for band in bands:
            layer = self._layer(granule, band.name, grid, band)
            _require_plausible(layer, clear, band, granule)
            flags[layer.out_of_range] |= np.uint8(Flag.OUT_OF_RANGE)
            flags[measured & ~layer.covered] |= np.uint8(Flag.POOR_QUALITY)
            values.append(layer.values)
        return Reading.build(values, flags, qa.values)

    def wants(self, raw: RawItem) -> bool:
        """Tell from the bare JSON whether an item is of Landsat 8 or 9 and of this product."""
        platform = str((raw.get("properties") or {}).get("platform") or raw.get("id"))
        ours = re.match(r"(?:landsat[-_ ]?|LC0)[89]", platform, re.IGNORECASE)
        return ours is not None and super().wants(raw)

    def resembles(self, raw: RawItem) -> bool:
        """Tell whether an item that names no collection is of this product."""
        return re.match(r"LC0[89]_L2S[PR]_\d{6}_", str(raw.get("id"))) is not None

    def granules(self, item: Item, home: Home, grid: GeoBox) -> Iterable[Granule]:
        """Describe an item as a granule, under the name that its files have."""
        there = {
            layer: encoding.assets
            for layer, encoding in LAYERS.items()
            if layer in REQUIRED or set(encoding.assets) & set(item.assets)
        }
        keys = [key for names in there.values() for key in names if key in item.assets]
        files = [item.assets[key].href.rsplit("/", 1)[-1] for key in keys]
        product = Product.named_in(*files, item.id)
        yield self.describe(
            item,
            home,
            there,
            name=product.id,
            key=product.key,
            version=product.version,
            defect=product.defect,
        )

    def _bare(self, bare: Bare) -> Granule:
        product = bare.product
        return Granule(
            id=bare.name,
            key=product.key if product else bare.name,
            version=product.version if product else "",
            source=self.name,
            modality=self.modality,
            platform=product.platform if product else "",
            time=bare.time(),
            assets={layer: str(path) for layer, path in bare.layers.items()},
            size=sum(path.stat().st_size for path in bare.layers.values()),
            defect=bare.defect(),
            extra={"georeference": dict.fromkeys(bare.layers, Georeference.unknown())},
        )

    def _layer(self, granule: Granule, name: str, grid: GeoBox, band: Band | None = None) -> Layer:
        encoding = LAYERS[name]
        return read_asset(
            granule,
            name,
            grid,
            resampling=band.resampling if band else "nearest",
            nodata=encoding.fill,
            scale=encoding.scale,
            offset=encoding.offset,
            valid=(band.valid_min, band.valid_max) if band else None,
            sign=self.sign,
            reader=self.reader,
        )


def decode_qa_pixel(word: np.ndarray, where: str = "QA_PIXEL") -> np.ndarray:
    """Translate QA_PIXEL words to common flags.

    Parameters
    ----------
    word : ndarray of integers
        Words of 16 bits, any shape.
    where
        Granule, for messages.

    Returns
    -------
    ndarray of uint8
        `Flag` bits, same shape; fill is ``MISSING`` whatever else it says.

    Raises
    ------
    GranuleError
        ``bad_quality_word`` for a word of more bits, or with a reserved pattern.
    """
    word = np.asarray(word)
    bad = (word < 0) | (word > 0xFFFF)
    for shift in RESERVED.values():
        bad |= ((word >> shift) & 3) == 2
    if bad.any():
        first = int(word[bad].flat[0])
        raise GranuleError(
            f"{where}: QA_PIXEL holds {first} (binary {first:016b}), which has more than 16 bits "
            f"or a confidence (bits {', '.join(f'{bit}-{bit + 1}' for bit in RESERVED.values())}) "
            f"of 10, which is reserved; {int(bad.sum())} pixel(s) like it. Was the file resampled "
            "by averaging, or is it another layer? Download it again",
            kind="bad_quality_word",
        )
    flags = np.zeros(word.shape, np.uint8)
    for bit, flag in QA_FLAGS.items():
        flags[((word >> bit) & 1) == 1] |= np.uint8(flag)
    flags[((word >> QA_FILL) & 1) == 1] = np.uint8(Flag.MISSING)
    return flags


def _require_plausible(layer: Layer, clear: np.ndarray, band: Band, granule: Granule) -> None:
    looked = clear & layer.covered
    share = float(layer.out_of_range[looked].mean()) if looked.any() else 0.0
    if share > 0.5:
        low, median, high = layer.seen
        raise GranuleError(
            f"{granule.id}: {share:.0%} of the clear pixels of {LAYERS[band.name].suffix} are out "
            f"of the range of {band.long_name} ({band.valid_min:g} to {band.valid_max:g} "
            f"{band.units}); the layer holds {low:g} to {high:g}, median {median:g}. Is it another "
            "layer under this name? Download it again",
            kind="wrong_layer",
        )
