"""Granules of NASA Earthdata: found by its catalogue, read from fetched files, or in S3."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from cube.cache import Cache
from cube.errors import GranuleError
from cube.fetch import TIMEOUT
from cube.retry import SYSTEM_CLOCK, Clock
from cube.scene import Granule
from cube.sources.base import BoundSettings
from cube.sources.earthdata_login import Account, account
from cube.sources.earthdata_records import MALFORMED, Access, facts_of, links_of, size_of
from cube.sources.earthdata_s3 import direct
from cube.sources.earthdata_search import Query, ask, box_of
from cube.sources.ecostress import EcostressSource, LstErrorLimit
from cube.sources.ecostress_layers import BAND_LAYERS
from cube.sources.ecostress_names import UNUSED_LAYERS, parse

if TYPE_CHECKING:
    from earthaccess import DataGranule
    from odc.geo.geobox import GeoBox
    from requests import Session

    from cube.bands import Band
    from cube.scene import Reading
    from cube.sources.aster import AsterSource
    from cube.sources.base import Period
    from cube.sources.modis import ModisSource

SCREENING = ("QC", "cloud", "water")

EXPIRED = ("unauthorised", "login_page")
DAMAGED = ("truncated", "unreadable", "not_a_raster")

S3_CREDENTIALS = "https://data.lpdaac.earthdatacloud.nasa.gov/s3credentials"


class EarthdataFiles(BoundSettings):
    """What the products of Earthdata have in common.

    Credentials are those that earthaccess finds: EARTHDATA_TOKEN, or EARTHDATA_USERNAME and
    EARTHDATA_PASSWORD in the environment, or ``.netrc``. A token that expires during a run is
    renewed. The files are read as the product's local source reads them.
    """

    clock: ClassVar[Clock] = SYSTEM_CLOCK
    timeout: ClassVar[tuple[float, float]] = TIMEOUT
    platform: ClassVar[str]

    kind: str
    name: str
    """Stands in the ledger; unique in the region."""
    short_name: str
    version: str
    """Collection."""

    # What decides nothing about the pixels is left out when the settings are compared.
    cache: Path = Field(default=Path(".cache"), exclude=True)
    """Folder of the fetched files; relative to the region file. Regions may share one."""
    max_cache: float | None = Field(default=None, gt=0, exclude=True)
    """Size of the cache in GB, above which the files that were not used the longest go."""
    cmr: str | None = Field(default=None, exclude=True)
    """URL of another catalogue, e.g. ``https://cmr.uat.earthdata.nasa.gov/search/``."""
    edl: str | None = Field(default=None, exclude=True)
    """Host of another login, e.g. ``uat.urs.earthdata.nasa.gov``."""

    @property
    def modality(self) -> str:
        """By the product."""
        return self._reader.modality

    def search(self, grid: GeoBox, period: Period) -> list[Granule]:
        """Ask the catalogue for the granules of the period that may touch the grid.

        Raises
        ------
        SourceError
            Naming the catalogue, if it cannot be reached, refuses, or its answer is not whole.
        """
        query = Query(self.short_name, self.version, box_of(grid), period)
        records = ask(query, self.cmr, clock=self.clock)
        found = {one.id: one for record in records for one in self._granules(record, grid)}
        return [one for one in found.values() if one.time is None or one.time in period]

    def read(self, granule: Granule, grid: GeoBox, bands: Sequence[Band]) -> Reading:
        """Fetch the layers that the bands need, and read them onto the grid.

        Raises
        ------
        GranuleError
            As `cube.fetch.fetch` and the product's local source.
        """
        files = self._fetch(granule, self._wanted(granule, bands))
        local = dataclasses.replace(granule, assets=files)
        try:
            return self._reader.read(local, grid, bands)
        except GranuleError as error:
            if error.kind in DAMAGED:
                # As the server gave it; the next run shall see whether it gives it better.
                self._cache.drop(_home(granule))
            raise

    @property
    @abstractmethod
    def _reader(self) -> EcostressSource | ModisSource | AsterSource:
        """The source that reads the same files from a folder."""

    @abstractmethod
    def _describe(self, record: DataGranule, grid: GeoBox) -> Iterable[Granule]:
        """The granules of a record; one of `MALFORMED` if it is not understood."""

    def _wanted(self, granule: Granule, bands: Sequence[Band]) -> Mapping[str, str]:
        """Layer to link, of what the bands need."""
        return granule.assets

    @property
    def _account(self) -> Account:
        return account(self.edl, self.clock)

    @property
    def _cache(self) -> Cache:
        limit = None if self.max_cache is None else round(self.max_cache * 1e9)
        return Cache(self.resolve(self.cache), limit, self.clock, self.timeout)

    def _fetch(self, granule: Granule, urls: Mapping[str, str]) -> dict[str, str]:
        with self._account.session() as session:
            try:
                return self._files(granule, urls, session)
            except GranuleError as error:
                if error.kind not in EXPIRED or not self._account.renew(session):
                    raise
        with self._account.session() as session:
            return self._files(granule, urls, session)

    def _files(self, granule: Granule, urls: Mapping[str, str], session: Session) -> dict[str, str]:
        told, home = granule.extra.get("files", {}), _home(granule)
        return {
            layer: str(self._cache.get(home, url, session=session, **told.get(layer, {})))
            for layer, url in urls.items()
        }

    def _granules(self, record: DataGranule, grid: GeoBox) -> list[Granule]:
        try:
            return list(self._describe(record, grid))
        except MALFORMED as error:
            return [self._stranger(record, error)]

    def _stranger(self, record: DataGranule, error: Exception) -> Granule:
        concept = str(record["meta"]["concept-id"])
        return Granule(
            id=concept,
            key=concept,
            version="",
            source=self.name,
            modality=self.modality,
            platform=self.platform,
            time=None,
            assets={},
            defect=f"the catalogue's record {concept} is not understood: {error}",
        )


def _home(granule: Granule) -> str:
    """Folder of a granule's files in the cache; two overpasses may share a file."""
    return str(granule.extra.get("stem", granule.id))


class EarthdataSource(EarthdataFiles):
    """ECOSTRESS L2T LSTE granules of the LP DAAC, the layers that are needed fetched into a cache.

    Inside the AWS region us-west-2, ``access = "s3"`` reads only the windows under the grid, and
    nothing is kept; checksums are those of the catalogue's HTTPS files and are not compared then.

    Examples
    --------
    ::

        [[sources]]
        kind = "earthdata"
        name = "ecostress"
    """

    platform: ClassVar[str] = "ISS"

    kind: Literal["earthdata"]
    short_name: str = "ECO_L2T_LSTE"
    version: str = "002"
    allow_missing: tuple[Literal["QC", "cloud"], ...] = ()
    """Screening layers a granule may lack; its pixels are then flagged ``UNSCREENED``."""
    max_lst_error: LstErrorLimit | None = None
    """Refuse pixels with a worse LST accuracy by QC: 2.0, 1.5 or 1.0 K."""

    access: Access = Field(default="https", exclude=True)
    """``https``: files are fetched whole and verified. ``s3``: read where they lie, with the
    temporary credentials that the data centre gives for its own AWS region, us-west-2."""
    s3_credentials: str = Field(default=S3_CREDENTIALS, pattern="^https://", exclude=True)
    """URL at which the data centre gives out credentials for S3."""

    def read(self, granule: Granule, grid: GeoBox, bands: Sequence[Band]) -> Reading:
        """Fetch the layers that the bands need, or read them in S3, onto the grid.

        Raises
        ------
        GranuleError
            As `cube.fetch.fetch`, `cube.sources.earthdata_s3.direct` and
            `cube.sources.ecostress.EcostressSource.read`.
        """
        if self.access == "https":
            return super().read(granule, grid, bands)
        links = self._wanted(granule, bands)
        with direct(links, self._account.s3_credentials(self.s3_credentials)) as paths:
            return self._reader.read(dataclasses.replace(granule, assets=paths), grid, bands)

    @property
    def _reader(self) -> EcostressSource:
        return EcostressSource(
            kind="ecostress",
            name=self.name,
            path=self.cache,
            allow_missing=self.allow_missing,
            max_lst_error=self.max_lst_error,
        )

    def _wanted(self, granule: Granule, bands: Sequence[Band]) -> Mapping[str, str]:
        wanted = {BAND_LAYERS[band.name] for band in bands} | set(SCREENING)
        return {layer: url for layer, url in granule.assets.items() if layer in wanted}

    def _describe(self, record: DataGranule, grid: GeoBox) -> Iterable[Granule]:
        # Any layer's name tells what the granule's own name says.
        file = parse(f"{record['umm']['GranuleUR']}_LST")

        def layer_of(path: PurePosixPath) -> str | None:
            layer = parse(path.stem)
            ours = path.suffix == ".tif" and layer.granule == file.granule
            return layer.layer if ours and layer.layer not in UNUSED_LAYERS else None

        links = links_of(record, layer_of, self.access)
        facts = facts_of(record, links)
        yield Granule(
            id=file.granule,
            key=file.key,
            version=file.version,
            source=self.name,
            modality=self.modality,
            platform=self.platform,
            time=file.time,
            assets=links,
            size=size_of(record, facts),
            defect=self._lacks(links),
            extra={**file.extra, "files": facts},
        )

    def _lacks(self, links: Mapping[str, Any]) -> str:
        lacking = self._reader.lacking(links)
        if not lacking:
            return ""
        there = ", ".join(sorted(links)) or "no layer of use"
        return f"the catalogue links no layer {' and '.join(lacking)}; there is only {there}"
