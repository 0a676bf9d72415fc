"""The layers of one MODIS granule, brought onto a grid."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from cube.bands import MODIS_NDVI, Band
from cube.errors import GranuleError
from cube.quality import Flag, is_valid
from cube.scene import Granule, Reading
from cube.sources.base import Layer
from cube.sources.modis_grid import place
from cube.sources.modis_hdf import read_planes
from cube.sources.modis_names import Encoding, Part, Product, TileFile, parse, solar_to_utc
from cube.sources.modis_qc import Rules, modis_flags
from cube.sources.planes import Plane, lay, read_geotiff
from cube.sources.remote import retrieve
from cube.sources.sentinel2 import ndvi
from cube.sun import centre

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

WHOLE = "hdf"
"""Asset of a granule that is one file with all layers."""

VIEW_TIME_FILL = 255

# With more than this share of its values out of range, a layer is not what it is said to be.
_WRONG_LAYER_SHARE = 0.5

Placed = tuple[Plane, "GeoBox"]


def read_granule(
    granule: Granule,
    grid: GeoBox,
    bands: Sequence[Band],
    product: Product,
    rules: Rules,
    sign: str | None = None,
) -> Reading:
    """Read a granule; see `cube.sources.modis.ModisSource.read`."""
    where = f"granule {granule.id}"
    part = part_of(granule, product)
    wanted = _to_read(bands)
    layers = {name: part.images[name] for name in wanted}
    planes = _planes(granule, product, [*layers.values(), part.quality], sign)
    for layer in layers.values():
        attributes = planes[layer][0].attributes
        product.encoding.check(attributes, f"{where}, {layer}", required=WHOLE in granule.assets)
    stored, box = planes[part.quality]
    word = lay(stored.values, box, grid, resampling="nearest", layer=part.quality)
    usable = is_valid(modis_flags(stored.values, product.word, rules, where))
    images = {
        name: _image(planes[layers[name]], usable, grid, band, product.encoding, where)
        for name, band in wanted.items()
    }
    if not _produced(word):
        return Reading.empty(len(bands), grid)
    qc = np.full(word.values.shape, int(Flag.MISSING), np.uint8)
    qc[word.covered] = modis_flags(word.values[word.covered], product.word, rules, where)
    for image in images.values():
        qc[image.out_of_range] |= np.uint8(Flag.OUT_OF_RANGE)
    values = {name: image.values for name, image in images.items()}
    if any(band.name == "ndvi" for band in bands):
        values["ndvi"], strange = ndvi(values["red"], values["nir"])
        qc[strange] |= np.uint8(Flag.OUT_OF_RANGE)
    return Reading.build([values[band.name] for band in bands], qc, word.values)


def view_time(granule: Granule, grid: GeoBox, product: Product) -> datetime | None:
    """Median time of observation; see `cube.sources.modis.ModisSource.observed_time`."""
    part = part_of(granule, product)
    if part.view_time is None:
        return None
    plane, box = _planes(granule, product, [part.view_time])[part.view_time]
    hours = lay(plane.values, box, grid, resampling="nearest", nodata=VIEW_TIME_FILL)
    if not hours.covered.any():
        return None
    local = float(np.median(hours.values[hours.covered])) / 10
    return solar_to_utc(_file(granule).date, local, centre(grid)[0])


def part_of(granule: Granule, product: Product) -> Part:
    """Which of the product's overpasses a granule is."""
    return next(part for part in product.parts if part.phase == granule.extra["phase"])


def _file(granule: Granule) -> TileFile:
    return parse(f"{granule.extra['stem']}.hdf")


def _planes(
    granule: Granule, product: Product, layers: Sequence[str], sign: str | None = None
) -> dict[str, Placed]:
    if WHOLE not in granule.assets:
        return {name: _geotiff(granule, name, sign) for name in layers}
    file = _file(granule)
    planes = read_planes(granule.assets[WHOLE], layers)
    return {name: (plane, _place(plane, name, file, product)) for name, plane in planes.items()}


def _place(plane: Plane, layer: str, file: TileFile, product: Product) -> GeoBox:
    height, width = plane.values.shape
    where = f"{file.stem}.hdf (layer {layer})"
    if plane.delivery and plane.delivery.removesuffix(".hdf") != file.stem:
        raise GranuleError(
            f"{where}: the file calls itself {plane.delivery} (CoreMetadata.0, LOCALGRANULEID); "
            "it was renamed, so its date and tile cannot be trusted; give it its own name back",
            kind="wrong_layer",
        )
    return place(plane.metadata, layer, (height, width), (file.h, file.v), product.pixels, where)


def _image(
    placed: Placed, usable: np.ndarray, grid: GeoBox, band: Band, encoding: Encoding, where: str
) -> Layer:
    """Warp a band; pixels that are not `usable` take no part in the interpolation of others."""
    plane, box = placed
    where = f"{where}, band {band.name}"
    if plane.values.shape != usable.shape:
        raise GranuleError(
            f"{where}: {plane.values.shape} pixels, but its quality layer has {usable.shape}"
        )
    image = lay(
        np.where(usable, plane.values, np.asarray(encoding.fill, plane.values.dtype)),
        box,
        grid,
        resampling=band.resampling,
        nodata=encoding.fill,
        scale=encoding.factor,
        valid=(band.valid_min, band.valid_max),
        layer=band.name,
    )
    _require_plausible(image, band, where)
    return image


def _produced(word: Layer) -> bool:
    """Whether anything was produced on the grid, or a cloud seen there.

    Bits 1-0 are 11 in all the products' words where nothing was produced, by cause other than
    cloud: outside the swath, or at sea.
    """
    return bool((word.covered & ((word.values & 3) != 3)).any())


def _geotiff(granule: Granule, layer: str, sign: str | None) -> Placed:
    def read(path: str) -> Placed:
        return read_geotiff(path, layer)

    return retrieve(_href(granule, layer), layer, read, sign)


def _href(granule: Granule, layer: str) -> str:
    if layer not in granule.assets:
        raise GranuleError(
            f"granule {granule.id}: layer {layer} is not there; "
            f"there is only {', '.join(granule.assets)}",
            kind="missing_layer",
        )
    return granule.assets[layer]


def _to_read(bands: Sequence[Band]) -> dict[str, Band]:
    """The bands that are read for those that are wanted: NDVI needs red and near infrared."""
    if any(band.name == "ndvi" for band in bands):
        return {name: MODIS_NDVI.bands[name] for name in ("red", "nir")}
    return {band.name: band for band in bands}


def _require_plausible(image: Layer, band: Band, where: str) -> None:
    low, median, high = image.seen
    if not image.covered.any() or band.valid_min <= median <= band.valid_max:
        return
    share = float(image.out_of_range[image.covered].mean())
    if share > _WRONG_LAYER_SHARE:
        raise GranuleError(
            f"{where}: the layer holds {low:g} to {high:g} (median {median:g}) {band.units}, but "
            f"{band.long_name} lies within {band.valid_min:g} to {band.valid_max:g} {band.units}; "
            f"{share:.0%} of its pixels are out of range. Another layer was taken for it",
            kind="wrong_layer",
        )
