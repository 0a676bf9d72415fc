"""MODIS land-surface temperature and reflectance from local folders: HDF4-EOS, or single layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator

from cube.quality import Flag
from cube.scene import Granule, Reading
from cube.sources.base import SourceSettings
from cube.sources.modis_grid import tiles_of
from cube.sources.modis_hdf import require_pyhdf
from cube.sources.modis_layers import WHOLE, read_granule, view_time
from cube.sources.modis_names import (
    PRODUCTS,
    Part,
    Product,
    ProductName,
    TileFile,
    layers_of,
    nominal_time,
    parse,
)
from cube.sources.modis_qc import LST_ERROR_LIMITS, Rules
from cube.sun import centre

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from cube.bands import Band
    from cube.sources.base import Period

# With more than this share of its values out of range, a layer is not what it is said to be.
_WRONG_LAYER_SHARE = 0.5
_SUFFIXES = (".hdf", ".tif", ".tiff")


class ModisSource(SourceSettings):
    """A folder of one MODIS product's tiles; sub-folders are searched too.

    Files are recognised by their exact names (`cube.sources.modis_names.parse`), whole HDF4-EOS
    files and the GeoTIFFs of single layers that catalogues make of them. A file that begins with
    the product's name and is not understood comes back from `search` as a granule with a defect.
    Tiles elsewhere are none of the region's business. Where a delivery lies in the folder as HDF
    and as GeoTIFFs, the HDF is read.

    M*D11A1 holds a day and a night overpass: two granules of one file, ``<name>:day`` and
    ``<name>:night``. Their time is the satellite's nominal one
    (`cube.sources.modis_names.nominal_time`), the same for all tiles of the region, so that
    neighbouring tiles become one scene; `observed_time` reads the true one.

    Do not let two products of one modality and satellite (MOD11A1 and MOD21A1D) into one region:
    their times are the same, and the cube would take them for tiles of one pass.

    Examples
    --------
    ::

        [[sources]]
        kind = "modis"
        name = "terra-lst"
        path = "modis"
        product = "MOD11A1"
        max_lst_error = 2.0
    """

    kind: Literal["modis"]
    product: ProductName
    max_lst_error: float | None = None
    """Refuse LST that the quality word calls worse: 1, 2 or 3 K (M*D11A1), 1, 1.5 or 2 K
    (M*D21A1)."""
    near_cloud: bool = False
    """M*D21A1: take pixels within two pixels of a cloud as well."""
    band_quality: tuple[int, ...] = (0,)
    """M*D09GQ: patterns of the bands' quality that count as good: 0 highest, 7 noisy detector,
    8 interpolated, 12 a constant in place of climatology."""
    not_produced: Literal["poor_quality", "missing"] = "missing"
    """What "not produced for other reasons than cloud" counts as. Open sea and gaps between
    swaths are among it; ``poor_quality`` counts them against `max_bad`, which suits a region that
    is all land and wants scenes with failed retrievals rejected."""

    @model_validator(mode="after")
    def _fits_the_product(self) -> Self:
        limits = LST_ERROR_LIMITS.get(self._product.word, {})
        if self.max_lst_error is not None and self.max_lst_error not in limits:
            known = ", ".join(f"{limit:g}" for limit in limits) or "no limits at all"
            raise ValueError(
                f"max_lst_error: the quality word of {self.product} tells {known} K apart, "
                f"not {self.max_lst_error:g}"
            )
        usable = {0, 7, 8, 9, 10, 12, 13}
        if not set(self.band_quality) <= usable:
            raise ValueError(f"band_quality: patterns with a value are {sorted(usable)}")
        return self

    @property
    def modality(self) -> str:
        """``modis_lst`` or ``modis_ndvi``, by the product."""
        return self._product.modality

    @property
    def parts(self) -> tuple[Part, ...]:
        """The overpasses that one file of the product holds."""
        return self._product.parts

    @property
    def _product(self) -> Product:
        return PRODUCTS[self.product[3:]]

    @property
    def _rules(self) -> Rules:
        return Rules(
            self.max_lst_error,
            self.near_cloud,
            frozenset(self.band_quality),
            Flag[self.not_produced.upper()],
        )

    def search(self, grid: GeoBox, period: Period) -> list[Granule]:
        """Find the granules of the period whose tile touches the grid; no file is opened.

        Raises
        ------
        SourceError
            If the folder is not there or cannot be listed; ``missing_package`` if there are
            HDF4 files and pyhdf is not installed.
        """
        longitude, _ = centre(grid)
        tiles = tiles_of(grid)
        deliveries: dict[str, list[tuple[TileFile, Path]]] = {}
        strangers = []
        for path in self._files():
            try:
                file = parse(path.name)
            except ValueError as error:
                strangers.append(self._stranger(path, str(error)))
                continue
            if (file.h, file.v) in tiles:
                deliveries.setdefault(file.stem, []).append((file, path))
        found = [
            self._granule(files, part, longitude)
            for _, files in sorted(deliveries.items())
            for part in self.parts
        ]
        # Of a file of two overpasses, the GeoTIFFs of one may be all that was asked for.
        return [
            one for one in found if one.assets and one.time is not None and one.time in period
        ] + strangers

    def read(self, granule: Granule, grid: GeoBox, bands: Sequence[Band]) -> Reading:
        """Read a granule onto the grid: LST in K, or reflectances and NDVI in 1.

        The quality word is taken by nearest neighbour. Pixels that it refuses take no part in
        the interpolation of their neighbours. NDVI is computed from the interpolated
        reflectances. A tile of which nothing was produced inside the region, and no cloud seen
        either, is empty.

        Raises
        ------
        GranuleError
            A file that cannot be read (see `read_planes`, `read_layer`), ``missing_layer``,
            ``wrong_layer`` (another encoding, or most values out of the band's range),
            ``bad_quality_word``.
        """
        return self.read_from(granule, grid, bands)

    def read_from(
        self, granule: Granule, grid: GeoBox, bands: Sequence[Band], sign: str | None = None
    ) -> Reading:
        """As `read`; GeoTIFFs may lie on another machine, `sign` says who signs their URLs."""
        return read_granule(granule, grid, bands, self._product, self._rules, sign)

    def observed_time(self, granule: Granule, grid: GeoBox) -> datetime | None:
        """When the region was observed: the median of its valid pixels' view times, UTC.

        To 0.1 h. None if nothing was observed, or the product (M*D09GQ) does not say.

        Raises
        ------
        GranuleError
            As `read`.
        """
        return view_time(granule, grid, self._product)

    def _files(self) -> list[Path]:
        found = self.files(
            lambda name: name.startswith(self.product) and name.lower().endswith(_SUFFIXES)
        )
        if any(path.suffix == ".hdf" for path in found):
            require_pyhdf(f"source {self.name!r}")
        return found

    def _granule(
        self, files: Sequence[tuple[TileFile, Path]], part: Part, longitude: float
    ) -> Granule:
        found, defect = _assets(files, part)
        assets = {layer: str(path) for layer, path in sorted(found.items())}
        size = sum(path.stat().st_size for path in found.values())
        return self.describe(files[0][0], part, longitude, assets, size, defect)

    def describe(
        self,
        file: TileFile,
        part: Part,
        longitude: float,
        assets: Mapping[str, str],
        size: int,
        defect: str = "",
    ) -> Granule:
        """Make the granule of one overpass of a file.

        Parameters
        ----------
        longitude
            Degrees east of the region's centre, for the time.
        assets
            `cube.sources.modis_layers.WHOLE`, or layers, to path or URL.
        """
        suffix = f":{part.phase}" if len(self.parts) > 1 else ""
        return Granule(
            id=file.stem + suffix,
            key=file.key + suffix,
            version=file.version,
            source=self.name,
            modality=self.modality,
            platform=file.platform,
            time=nominal_time(file, part.phase, longitude),
            assets=assets,
            size=size,
            defect=defect,
            extra={"stem": file.stem, "phase": part.phase},
        )

    def _stranger(self, path: Path, reason: str) -> Granule:
        name = path.relative_to(self.location).as_posix()
        return Granule(
            id=name,
            key=name,
            version="",
            source=self.name,
            modality=self.modality,
            platform="",
            time=None,
            assets={"file": str(path)},
            size=path.stat().st_size,
            defect=reason,
        )


def _assets(files: Sequence[tuple[TileFile, Path]], part: Part) -> tuple[dict[str, Path], str]:
    """The files of one granule by layer (``hdf`` holds all), and what is wrong with them."""
    assets: dict[str, Path] = {}
    whole = any(file.layer is None for file, _ in files)
    needed = {None} if whole else {*layers_of(part), part.view_time}
    for file, path in files:
        if file.layer not in needed:
            continue
        first = assets.setdefault(file.layer or WHOLE, path)
        if first.stat().st_size != path.stat().st_size:
            return assets, f"two different files of one name: {first} and {path}"
    lacking = [] if whole else [name for name in layers_of(part) if name not in assets]
    if lacking:
        return assets, f"layer {' and '.join(lacking)} missing; there is only {', '.join(assets)}"
    return assets, ""
