"""MODIS and ASTER from NASA Earthdata, beside the ECOSTRESS of `cube.sources.earthdata`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from cube.scene import Granule
from cube.sources import aster_names, modis_names
from cube.sources.aster import AsterSource
from cube.sources.earthdata import EarthdataFiles
from cube.sources.earthdata_records import facts_of, links_of, size_of
from cube.sources.modis import ModisSource
from cube.sources.modis_grid import tiles_of
from cube.sources.modis_hdf import require_pyhdf
from cube.sources.modis_layers import WHOLE
from cube.sun import centre

if TYPE_CHECKING:
    from earthaccess import DataGranule
    from odc.geo.geobox import GeoBox

    from cube.sources.base import Period


class EarthdataModisSource(EarthdataFiles):
    """One MODIS product's tiles of the LP DAAC, HDF4-EOS fetched into a cache.

    Read as `cube.sources.modis.ModisSource` reads a folder; the settings are explained there.

    Examples
    --------
    ::

        [[sources]]
        kind = "earthdata-modis"
        name = "terra-lst"
        short_name = "MOD11A1"
    """

    platform: ClassVar[str] = ""

    kind: Literal["earthdata-modis"]
    short_name: modis_names.ProductName
    version: Literal["006", "061"] = "061"
    max_lst_error: float | None = None
    near_cloud: bool = False
    band_quality: tuple[int, ...] = (0,)
    not_produced: Literal["poor_quality", "missing"] = "missing"

    @model_validator(mode="after")
    def _fits_the_product(self) -> Self:
        _ = self._reader  # whose own checks are these settings' too
        return self

    def search(self, grid: GeoBox, period: Period) -> list[Granule]:
        """Ask the catalogue for the tiles that touch the grid.

        Raises
        ------
        SourceError
            As `EarthdataFiles.search`; ``missing_package`` if pyhdf is not installed.
        """
        require_pyhdf(f"source {self.name!r}")
        return super().search(grid, period)

    @property
    def _reader(self) -> ModisSource:
        return ModisSource(
            kind="modis",
            name=self.name,
            path=self.cache,
            product=self.short_name,
            max_lst_error=self.max_lst_error,
            near_cloud=self.near_cloud,
            band_quality=self.band_quality,
            not_produced=self.not_produced,
        )

    def _describe(self, record: DataGranule, grid: GeoBox) -> Iterable[Granule]:
        name = str(record["umm"]["GranuleUR"]).removesuffix(".hdf")
        file = modis_names.parse(f"{name}.hdf")
        if (file.h, file.v) not in tiles_of(grid):
            return
        links = links_of(record, lambda path: WHOLE if path.name == f"{name}.hdf" else None)
        facts = facts_of(record, links)
        defect = "" if links else f"the catalogue links no file {name}.hdf"
        for part in self._reader.parts:
            granule = self._reader.describe(
                file, part, centre(grid)[0], links, size_of(record, facts), defect
            )
            yield dataclasses.replace(granule, extra={**granule.extra, "files": facts})


class EarthdataAsterSource(EarthdataFiles):
    """AST_08 of the LP DAAC, its GeoTIFFs (version 4) or swaths fetched into a cache.

    Read as `cube.sources.aster.AsterSource` reads a folder.

    Examples
    --------
    ::

        [[sources]]
        kind = "earthdata-aster"
        name = "aster"
    """

    platform: ClassVar[str] = "Terra"

    kind: Literal["earthdata-aster"]
    short_name: Literal["AST_08"] = "AST_08"
    version: Literal["003", "004"] = "004"
    border: int | None = Field(default=None, ge=0)
    """As in `cube.sources.aster.AsterSource`."""

    @property
    def _reader(self) -> AsterSource:
        return AsterSource(kind="aster", name=self.name, path=self.cache, border=self.border)

    def _describe(self, record: DataGranule, grid: GeoBox) -> Iterable[Granule]:
        name = str(record["umm"]["GranuleUR"])

        def layer_of(path: PurePosixPath) -> str | None:
            file = aster_names.parse(path.name)
            return file.layer if file.granule == name else None

        file = aster_names.parse(f"{name.removesuffix('.hdf')}.hdf")
        name = file.granule
        links: dict[str, Any] = links_of(record, layer_of)
        whole = {"HDF": links["HDF"]} if "HDF" in links else links
        facts = facts_of(record, whole)
        there = ", ".join(sorted(links)) or "no layer of use"
        yield Granule(
            id=file.granule,
            key=file.key,
            version=file.version,
            source=self.name,
            modality=self.modality,
            platform=self.platform,
            time=file.time,
            assets=whole,
            size=size_of(record, facts),
            defect=""
            if {"HDF", "SKT"} & set(links)
            else f"the catalogue links no layer SKT; there is only {there}",
            extra={"files": facts},
        )
