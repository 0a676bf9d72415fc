"""An asset of a STAC item onto a grid; the item says where it lies if the file does not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cube.errors import GranuleError
from cube.scene import Granule
from cube.sources.files import label, opened
from cube.sources.raster import Layer, read_layer, read_opened
from cube.sources.remote import retrieve
from cube.sources.stacked import Reader, read_stacked

if TYPE_CHECKING:
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from pystac import Asset, Item

    from cube.bands import Band, Resampling

View = Callable[[str, Any, float | None], AbstractContextManager[str]]
"""Offers a file (path, opened raster, fill value) as another raster, e.g. in other units."""


@dataclass(frozen=True, slots=True)
class Georeference:
    """Where an asset lies, as its item says it (STAC projection extension)."""

    crs: str | None
    transform: tuple[float, ...] | None
    """``proj:transform``: the six numbers of an affine transform, pixel to CRS."""
    shape: tuple[int, int] | None
    """``proj:shape``: rows, columns that the transform belongs to."""
    nodata: float | None
    """Fill value of ``raster:bands``."""

    @classmethod
    def unknown(cls) -> Georeference:
        """Where there is no item: the file alone says where it lies."""
        return cls(None, None, None, None)

    @classmethod
    def of(cls, item: Item, asset: Asset) -> Georeference:
        """Take the asset's own projection fields, else those of the item."""
        fields = {**item.properties, **asset.extra_fields}
        code, epsg = fields.get("proj:code"), fields.get("proj:epsg")
        transform, shape = fields.get("proj:transform"), fields.get("proj:shape")
        return cls(
            code or (f"EPSG:{epsg}" if epsg else fields.get("proj:wkt2")),
            tuple(float(value) for value in transform[:6]) if transform else None,
            (int(shape[0]), int(shape[1])) if shape else None,
            _nodata(asset),
        )

    def fit(self, shape: tuple[int, int], where: str) -> Affine:
        """Scale the transform to a file of another size, e.g. a reduced copy of the asset.

        Raises
        ------
        GranuleError
            ``wrong_layer`` if the file's proportions are not those of the asset: it would be
            stretched, and every pixel would lie in the wrong place.
        """
        from affine import Affine

        if self.crs is None or self.transform is None:
            raise GranuleError(
                f"{where}: neither the file nor its STAC item says where on Earth it lies "
                "(no CRS, or no proj:transform); deliver the file georeferenced",
                kind="unreadable",
            )
        height, width = self.shape or shape
        down, across = height / shape[0], width / shape[1]
        if abs(shape[0] * across - height) > max(1.0, across):
            raise GranuleError(
                f"{where}: the file has {shape[0]} x {shape[1]} pixels (rows by columns), which is "
                f"no even reduction of the {height} x {width} that its item gives as proj:shape; "
                "correct the item or deliver the file georeferenced",
                kind="wrong_layer",
            )
        a, b, c, d, e, f = self.transform
        return Affine(a * across, b * down, c, d * across, e * down, f)


def _nodata(asset: Asset) -> float | None:
    bands = asset.extra_fields.get("raster:bands") or [{}]
    value = bands[0].get("nodata", asset.extra_fields.get("nodata"))
    # The raster extension writes NaN as text; NaN is fill without being named.
    return float(value) if isinstance(value, int | float) else None


def require_layers(granule: Granule, bands: Iterable[Band]) -> None:
    """Refuse a granule that lacks a layer of one of the bands.

    Raises
    ------
    GranuleError
        ``missing_layer``.
    """
    for band in bands:
        if band.name not in granule.assets:
            raise GranuleError(
                f"{granule.id}: the region wants {band.name!r}, the granule has only "
                f"{', '.join(granule.assets)}; leave the band or the granule out",
                kind="missing_layer",
            )


def read_asset(
    granule: Granule,
    name: str,
    grid: GeoBox,
    *,
    resampling: Resampling,
    nodata: float | None = None,
    scale: float = 1.0,
    offset: float = 0.0,
    valid: tuple[float, float] | None = None,
    view: View | None = None,
    sign: str | None = None,
    reader: Reader = "rasterio",
) -> Layer:
    """Read one layer of a granule onto the grid, as `cube.sources.raster.read_layer`.

    The file's georeference counts where it has one, else that of the item, scaled if the file
    is a reduced copy. Of a file on another machine, only the window under the grid is fetched.

    Parameters
    ----------
    nodata
        Fill value; by default the file's, else the item's.
    view
        Through which to look at the file.
    sign
        Who signs the URL, as in `cube.sources.remote.signed`.
    reader
        Who fetches the pixels; the values are the same.

    Raises
    ------
    GranuleError
        As `read_layer`; ``wrong_layer`` if the file's proportions are not the item's; over the
        wire ``not_found``, ``unauthorised``, ``unavailable``.
    """
    item: Georeference = granule.extra["georeference"][name]

    def read(path: str) -> Layer:
        with opened(path, name) as src:
            where = label(path, name)
            crs, transform = _place(src, item, where)
            declared = item.nodata if src.nodata is None else src.nodata
            fill = declared if nodata is None else nodata
            how: dict[str, Any] = {
                "resampling": resampling,
                "nodata": None if view else fill,
                "crs": crs,
                "transform": transform,
                "scale": scale,
                "offset": offset,
                "valid": valid,
            }
            if reader == "rasterio" and view is None:
                return read_opened(src, grid, **how, where=where)
            read_with = read_stacked if reader == "stackstac" else read_layer
            with view(path, src, fill) if view else nullcontext(path) as seen:
                return read_with(seen, grid, **how, layer=name)

    return retrieve(granule.assets[name], name, read, sign)


def _place(src: Any, item: Georeference, where: str) -> tuple[str | None, Affine]:
    if src.crs is not None and not src.transform.is_identity:
        return src.crs.to_wkt(), src.transform
    return item.crs, item.fit(src.shape, where)
