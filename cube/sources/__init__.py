"""Sources: where granules come from, one module a product family, one small Protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Protocol, runtime_checkable

from pydantic import Field

from cube.sources.aster import AsterSource
from cube.sources.earthdata import EarthdataSource
from cube.sources.earthdata_products import EarthdataAsterSource, EarthdataModisSource
from cube.sources.ecostress import EcostressSource
from cube.sources.landsat import LandsatSource
from cube.sources.modis import ModisSource
from cube.sources.modis_stac import ModisStacSource
from cube.sources.netcdf import NetcdfSource
from cube.sources.sentinel import Sentinel1Source, Sentinel2Source

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from cube.bands import Band
    from cube.scene import Granule, Reading
    from cube.sources.base import Period

__all__ = [
    "AnySource",
    "AsterSource",
    "EarthdataAsterSource",
    "EarthdataModisSource",
    "EarthdataSource",
    "EcostressSource",
    "LandsatSource",
    "ModisSource",
    "ModisStacSource",
    "NetcdfSource",
    "Sentinel1Source",
    "Sentinel2Source",
    "Source",
]


@runtime_checkable
class Source(Protocol):
    """What the ingest needs of a product: find granules, and read one onto a grid."""

    name: str
    modality: str

    def search(self, grid: GeoBox, period: Period) -> list[Granule]:
        """Find every granule of the period that may touch the grid, in any order.

        Granules that were found but cannot be used come back with a `defect`.

        Raises
        ------
        SourceError
            If the source as a whole cannot be searched. Never an empty list instead.
        """
        ...

    def read(self, granule: Granule, grid: GeoBox, bands: Sequence[Band]) -> Reading:
        """Read one granule onto the grid, in physical units, with common flags.

        A granule that does not touch the grid gives ``Reading.empty``.

        Raises
        ------
        GranuleError
            If a file cannot be read, or what it holds must not be trusted.
        """
        ...


AnySource = Annotated[
    AsterSource
    | EarthdataAsterSource
    | EarthdataModisSource
    | EarthdataSource
    | EcostressSource
    | LandsatSource
    | ModisSource
    | ModisStacSource
    | NetcdfSource
    | Sentinel1Source
    | Sentinel2Source,
    Field(discriminator="kind"),
]
"""The union that a region file's ``[[sources]]`` tables are parsed into."""
