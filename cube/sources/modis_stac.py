"""MODIS temperature from STAC items: the COGs that catalogues make of the HDF files' layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from cube.scene import Granule, Reading
from cube.sources.modis import ModisSource
from cube.sources.modis_grid import tiles_of
from cube.sources.modis_names import Part, TileFile, layers_of, parse
from cube.sources.stac import StacSource, asset_size, out_of_reach, pick_assets, resolve
from cube.sources.stac_items import Home, RawItem
from cube.sun import centre

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from pystac import Item

    from cube.bands import Band

ProductName = Literal["MOD11A1", "MYD11A1", "MOD21A1D", "MOD21A1N", "MYD21A1D", "MYD21A1N"]


class ModisStacSource(StacSource):
    """Items of a daily MODIS temperature product, e.g. of Planetary Computer.

    Read as `cube.sources.modis.ModisSource` reads the same layers in a folder; the settings are
    explained there. The items date a tile by its day alone, and so the time is the nominal one,
    as there. A collection may hold Terra and Aqua; `product` says which of them.

    Examples
    --------
    ::

        [[sources]]
        kind = "modis-stac"
        name = "aqua-lst"
        product = "MYD11A1"
        catalog = "https://planetarycomputer.microsoft.com/api/stac/v1"
        sign = "planetary-computer"
    """

    modality: ClassVar[str] = "modis_lst"
    collections: ClassVar[tuple[str, ...]] = ("modis-11A1-061",)

    kind: Literal["modis-stac"]
    product: ProductName
    max_lst_error: float | None = None
    near_cloud: bool = False
    not_produced: Literal["poor_quality", "missing"] = "missing"
    reader: Literal["rasterio"] = Field(default="rasterio", exclude=True)
    """stackstac does not know the sinusoidal grid."""

    @model_validator(mode="after")
    def _fits_the_product(self) -> Self:
        _ = self._folder  # whose own checks are these settings' too
        return self

    def read(self, granule: Granule, grid: GeoBox, bands: Sequence[Band]) -> Reading:
        """Read a granule onto the grid: LST in K.

        Raises
        ------
        GranuleError
            As `cube.sources.modis.ModisSource.read` and `cube.sources.remote.retrieve`.
        """
        return self._folder.read_from(granule, grid, bands, self.sign)

    def wants(self, raw: RawItem) -> bool:
        """Tell from the bare JSON whether an item is of this product."""
        return str(raw.get("id")).startswith(f"{self.product}.") and super().wants(raw)

    def resembles(self, raw: RawItem) -> bool:
        """Tell whether an item that names no collection is of this product."""
        return True  # by its id, as `wants` saw

    def granules(self, item: Item, home: Home, grid: GeoBox) -> Iterable[Granule]:
        """Describe the overpasses of an item, if its tile touches the grid."""
        file = _file(item)
        if (file.h, file.v) in tiles_of(grid):
            for part in self._folder.parts:
                yield self._part(item, home, file, part, grid)

    @property
    def _folder(self) -> ModisSource:
        return ModisSource(
            kind="modis",
            name=self.name,
            path=Path(),
            product=self.product,
            max_lst_error=self.max_lst_error,
            near_cloud=self.near_cloud,
            not_produced=self.not_produced,
        )

    def _part(self, item: Item, home: Home, file: TileFile, part: Part, grid: GeoBox) -> Granule:
        layers = layers_of(part)
        found = pick_assets(item, {layer: (layer,) for layer in layers})
        assets = {layer: resolve(asset.href, home) for layer, asset in sorted(found.items())}
        lacking = [layer for layer in layers if layer not in found]
        defect = (
            f"the item has no asset for {' and '.join(lacking)}"
            if lacking
            else out_of_reach(assets, wire=self.catalog is not None)
        )
        size = sum(asset_size(assets[layer], asset) for layer, asset in found.items())
        return self._folder.describe(file, part, centre(grid)[0], assets, size, defect)


def _file(item: Item) -> TileFile:
    """What the names of an item's files say; its id may lack the time of production."""
    for asset in item.assets.values():
        name = urlsplit(asset.href).path.rsplit("/", 1)[-1]
        if name.endswith((".tif", ".tiff")):
            return parse(name)
    raise ValueError("none of its assets is a GeoTIFF")
