"""ECOSTRESS L2T LSTE from NASA Earthdata: found by its catalogue, read from fetched files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field

from cube.cache import Cache
from cube.errors import GranuleError
from cube.fetch import TIMEOUT
from cube.retry import SYSTEM_CLOCK, Clock
from cube.scene import Granule
from cube.sources.base import BoundSettings
from cube.sources.earthdata_login import Account, account
from cube.sources.earthdata_search import Query, ask, box_of
from cube.sources.ecostress import EcostressSource, LstErrorLimit
from cube.sources.ecostress_layers import BAND_LAYERS
from cube.sources.ecostress_names import UNUSED_LAYERS, LayerFile, parse

if TYPE_CHECKING:
    from earthaccess import DataGranule
    from odc.geo.geobox import GeoBox
    from requests import Session

    from cube.bands import Band
    from cube.scene import Reading
    from cube.sources.base import Period

SCREENING = ("QC", "cloud", "water")

# Names of UMM-G to those of hashlib; the others of its list are no digests that hashlib has.
ALGORITHMS = {
    "MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512",
}  # fmt: skip

EXPIRED = ("unauthorised", "login_page")
# What a record raises whose values have other types than they should.
MALFORMED = (LookupError, TypeError, ValueError, AttributeError)
DAMAGED = ("truncated", "unreadable", "not_a_raster")


class EarthdataSource(BoundSettings):
    """ECOSTRESS L2T LSTE granules of the LP DAAC, the layers that are needed fetched into a cache.

    Credentials are those that earthaccess finds: EARTHDATA_TOKEN, or EARTHDATA_USERNAME and
    EARTHDATA_PASSWORD in the environment, or ``.netrc``. A token that expires during a run is
    renewed. The files are read as `cube.sources.ecostress.EcostressSource` reads local ones.

    Examples
    --------
    ::

        [[sources]]
        kind = "earthdata"
        name = "ecostress"
    """

    clock: ClassVar[Clock] = SYSTEM_CLOCK
    timeout: ClassVar[tuple[float, float]] = TIMEOUT

    kind: Literal["earthdata"]
    name: str
    """Stands in the ledger; unique in the region."""
    short_name: str = "ECO_L2T_LSTE"
    version: str = "002"
    """Collection."""
    allow_missing: tuple[Literal["QC", "cloud"], ...] = ()
    """Screening layers a granule may lack; its pixels are then flagged ``UNSCREENED``."""
    max_lst_error: LstErrorLimit | None = None
    """Refuse pixels with a worse LST accuracy by QC: 2.0, 1.5 or 1.0 K."""

    # What decides nothing about the pixels is left out when the settings are compared.
    cache: Path = Field(default=Path(".cache"), exclude=True)
    """Folder of the fetched files; relative to the region file. Regions may share one."""
    max_cache: float | None = Field(default=None, gt=0, exclude=True)
    """Size of the cache in GB, above which the files that were not used the longest go."""
    access: Literal["https"] = Field(default="https", exclude=True)
    """How files are fetched; direct access to S3 works inside its own region only."""
    cmr: str | None = Field(default=None, exclude=True)
    """URL of another catalogue, e.g. ``https://cmr.uat.earthdata.nasa.gov/search/``."""
    edl: str | None = Field(default=None, exclude=True)
    """Host of another login, e.g. ``uat.urs.earthdata.nasa.gov``."""

    @property
    def modality(self) -> str:
        """Always ``thermal``."""
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
        found = {granule.id: granule for granule in map(self._granule, records)}
        return [one for one in found.values() if one.time is None or one.time in period]

    def read(self, granule: Granule, grid: GeoBox, bands: Sequence[Band]) -> Reading:
        """Fetch the layers that the bands need, and read them onto the grid.

        Raises
        ------
        GranuleError
            As `cube.fetch.fetch` and `cube.sources.ecostress.EcostressSource.read`.
        """
        wanted = {BAND_LAYERS[band.name] for band in bands} | set(SCREENING)
        urls = {layer: url for layer, url in granule.assets.items() if layer in wanted}
        files = self._fetch(granule, urls)
        local = dataclasses.replace(granule, assets=files)
        try:
            return self._reader.read(local, grid, bands)
        except GranuleError as error:
            if error.kind in DAMAGED:
                # As the server gave it; the next run shall see whether it gives it better.
                self._cache.drop(granule.id)
            raise

    @property
    def _reader(self) -> EcostressSource:
        return EcostressSource(
            kind="ecostress",
            name=self.name,
            path=self.cache,
            allow_missing=self.allow_missing,
            max_lst_error=self.max_lst_error,
        )

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
        told = granule.extra.get("files", {})
        return {
            layer: str(self._cache.get(granule.id, url, session=session, **told.get(layer, {})))
            for layer, url in urls.items()
        }

    def _granule(self, record: DataGranule) -> Granule:
        try:
            name = str(record["umm"]["GranuleUR"])
            # Any layer's name tells what the granule's own name says.
            return self._found(parse(f"{name}_LST"), record)
        except MALFORMED as error:
            return self._stranger(record, error)

    def _found(self, file: LayerFile, record: DataGranule) -> Granule:
        links = _links(record, file.granule)
        told = _files(record, links)
        known = sum(facts.get("size", 0) for facts in told.values())
        return Granule(
            id=file.granule,
            key=file.key,
            version=file.version,
            source=self.name,
            modality=self.modality,
            platform="ISS",
            time=file.time,
            assets=links,
            # earthaccess adds up what the record says of all files, in MB.
            size=known or round(float(record["size"]) * 2**20),
            defect=self._lacks(links),
            extra={**file.extra, "files": told},
        )

    def _lacks(self, links: Mapping[str, str]) -> str:
        lacking = self._reader.lacking(links)
        if not lacking:
            return ""
        there = ", ".join(sorted(links)) or "no layer of use"
        return f"the catalogue links no layer {' and '.join(lacking)}; there is only {there}"

    def _stranger(self, record: DataGranule, error: Exception) -> Granule:
        concept = str(record["meta"]["concept-id"])
        return Granule(
            id=concept,
            key=concept,
            version="",
            source=self.name,
            modality=self.modality,
            platform="ISS",
            time=None,
            assets={},
            defect=f"the catalogue's record {concept} is not understood: {error}",
        )


def _links(record: DataGranule, granule: str) -> dict[str, str]:
    """Layer to https link, of the layers that the cube has a use for."""
    links: dict[str, str] = {}
    for related in record["umm"]["RelatedUrls"]:
        url = str(related["URL"])
        path = PurePosixPath(urlsplit(url).path)
        # The session shows its token to the host of the link: never without encryption.
        if related["Type"] != "GET DATA" or not url.startswith("https://"):
            continue
        with suppress(ValueError):  # a picture, or another file that is no layer
            file = parse(path.stem)
            if (
                path.suffix == ".tif"
                and file.granule == granule
                and file.layer not in UNUSED_LAYERS
            ):
                links.setdefault(file.layer, url)
    return links


def _files(record: DataGranule, links: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Layer to size and checksum, as far as the record holds them (UMM-G, archive information)."""
    archive = record["umm"].get("DataGranule", {}).get("ArchiveAndDistributionInformation", [])
    by_name = {entry.get("Name"): entry for entry in archive}
    told = {}
    for layer, url in links.items():
        entry = by_name.get(PurePosixPath(urlsplit(url).path).name, {})
        facts: dict[str, Any] = {}
        if "SizeInBytes" in entry:
            facts["size"] = int(entry["SizeInBytes"])
        checksum = entry.get("Checksum", {})
        if checksum.get("Algorithm") in ALGORITHMS:
            facts["checksum"] = f"{ALGORITHMS[checksum['Algorithm']]}:{checksum['Value']}"
        told[layer] = facts
    return told
