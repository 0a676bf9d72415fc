"""Sentinel-1 RTC: terrain-corrected gamma nought in VV and VH."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from cube.bands import Band
from cube.errors import GranuleError
from cube.quality import Flag
from cube.scene import Granule, Reading
from cube.sources.asset import read_asset, require_layers
from cube.sources.decibel import power_view, to_decibel
from cube.sources.stac import StacSource
from cube.sources.stac_items import Home, RawItem

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from pystac import Item

    from cube.sources.raster import Layer

# Layer to asset name; the first versions of the RTC items have the longer ones.
LAYERS = {"vv": ("vv", "vv-rtc"), "vh": ("vh", "vh-rtc")}


class Sentinel1Source(StacSource):
    """Sentinel-1 RTC items (gamma nought, ``vv`` and ``vh``), e.g. of Planetary Computer.

    Backscatter is averaged as linear power and turned to decibels afterwards. Radar sees through
    cloud and the product has no quality layer by design, so nothing is flagged ``unscreened``;
    layover and shadow come as nodata. The slices of one orbit are granules of their own and are
    mosaicked by the ingest.

    Examples
    --------
    ::

        [[sources]]
        kind = "sentinel1"
        name = "s1"
        path = "sentinel1"
        units = "linear"

    or over the wire::

        [[sources]]
        kind = "sentinel1"
        name = "s1"
        catalog = "https://planetarycomputer.microsoft.com/api/stac/v1"
        sign = "planetary-computer"
    """

    modality: ClassVar[str] = "sar"
    collections: ClassVar[tuple[str, ...]] = ("sentinel-1-rtc",)

    kind: Literal["sentinel1"]
    units: Literal["linear", "dB"] = "linear"
    """What the files hold: linear power, or decibels."""

    def read(self, granule: Granule, grid: GeoBox, bands: Sequence[Band]) -> Reading:
        """Read backscatter onto the grid, dB.

        Raises
        ------
        GranuleError
            ``missing_layer`` for a polarisation that the granule does not have, ``wrong_layer``
            if VH is a copy of VV or the files are not in `units`, and as
            `cube.sources.raster.read_layer`.
        """
        names = [band.name for band in bands]
        require_layers(granule, bands)
        # VV is the yardstick for VH even where the region does not ask for it.
        needed = {*names, "vv"} & set(granule.assets) if "vh" in names else set(names)
        power = {name: self._power(granule, name, grid) for name in sorted(needed)}
        if not any(layer.overlaps for layer in power.values()):
            return Reading.empty(len(bands), grid)
        _refuse_copy(power, granule.id)
        flags = np.zeros(grid.shape, np.uint8)
        values = []
        for band in bands:
            layer = power[band.name]
            decibel = to_decibel(layer.values)
            outside = (decibel < band.valid_min) | (decibel > band.valid_max)
            flags[layer.out_of_range | outside] |= np.uint8(Flag.OUT_OF_RANGE)
            values.append(decibel)
        return Reading.build(values, flags)

    def resembles(self, raw: RawItem) -> bool:
        """Tell whether an item that names no collection is of this product."""
        platform = str((raw.get("properties") or {}).get("platform")).lower()
        return platform.startswith("sentinel-1") and str(raw.get("id")).lower().endswith("_rtc")

    def granules(self, item: Item, home: Home, grid: GeoBox) -> Iterable[Granule]:
        """Describe an item as a granule."""
        there = {name: keys for name, keys in LAYERS.items() if set(keys) & set(item.assets)}
        bands = ", ".join(map(str, item.properties.get("sar:polarizations") or item.assets))
        yield self.describe(
            item,
            home,
            there,
            key=item.id,
            version="0",
            defect="" if there else f"the item has neither VV nor VH, only {bands}",
        )

    def _power(self, granule: Granule, name: str, grid: GeoBox) -> Layer:
        view = power_view if self.units == "dB" else None
        layer = read_asset(
            granule,
            name,
            grid,
            view=view,
            resampling="average",
            valid=(0.0, np.inf),
            sign=self.sign,
            reader=self.reader,
        )
        _refuse_units(layer, self.units, f"{granule.id}: {name}")
        return layer


def _refuse_copy(power: Mapping[str, Layer], where: str) -> None:
    if not {"vv", "vh"} <= set(power):
        return
    vv, vh = power["vv"], power["vh"]
    if vv.covered.any() and np.array_equal(vv.values, vh.values, equal_nan=True):
        raise GranuleError(
            f"{where}: VV and VH are the same values, pixel for pixel: one polarisation was stored "
            "twice; download the granule again",
            kind="wrong_layer",
        )


def _refuse_units(layer: Layer, units: str, where: str) -> None:
    low, median, _ = layer.seen
    if units == "linear" and median < 0:
        problem = f"half of its power values are negative (median {median:g}); is it in decibels?"
    elif units == "dB" and low >= 1:
        problem = "none of its values is below 0 dB; is it linear power?"
    else:
        return
    raise GranuleError(f"{where}: {problem} Check `units` in the region file", kind="wrong_layer")
