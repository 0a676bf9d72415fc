"""Another way in for STAC assets: stackstac fetches the window of pixels under the grid."""

from __future__ import annotations

import importlib
import importlib.util
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal
from xml.sax.saxutils import escape

import numpy as np

from cube.errors import GranuleError, SourceError
from cube.sources.files import cause, label, opened
from cube.sources.planes import lay
from cube.sources.raster import Layer, read_layer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affine import Affine
    from odc.geo.geobox import GeoBox

    from cube.bands import Resampling

Reader = Literal["rasterio", "stackstac"]
"""Who fetches the pixels of an asset."""

# The reach of an interpolation, in source pixels, beside a share of the window's own size.
_MARGIN = 256


def require_reader(reader: Reader, where: str) -> None:
    """Make sure that the package of a reader is installed.

    Raises
    ------
    SourceError
        ``missing_package``.
    """
    if reader == "stackstac" and importlib.util.find_spec("stackstac") is None:
        raise SourceError(
            f'{where}: reader = "stackstac" needs the package stackstac, which is not installed; '
            "install it with `pip install thermocube[stackstac]`, or leave `reader` out",
            kind="missing_package",
        )


def read_stacked(
    href: str,
    grid: GeoBox,
    *,
    resampling: Resampling,
    nodata: float | None = None,
    crs: str | None = None,
    transform: Affine | None = None,
    scale: float = 1.0,
    offset: float = 0.0,
    valid: tuple[float, float] | None = None,
    layer: str = "",
) -> Layer:
    """Read a single-band raster onto the grid, its pixels fetched by stackstac.

    stackstac fetches the window in the file's own pixels and numbers; the warp is that of
    `cube.sources.raster.read_layer`. Were it left to stackstac, values out of range (Landsat's
    150 K where nothing was retrieved) would vanish in the averages of their neighbours, and a
    cube would depend on its reader.

    Parameters
    ----------
    href, grid, resampling, nodata, crs, transform, scale, offset, valid, layer
        As in `cube.sources.raster.read_layer`.

    Raises
    ------
    GranuleError
        As `cube.sources.raster.read_layer`; ``unreadable`` also for a file that is rotated, or
        whose CRS has no EPSG code, as stackstac knows neither.
    SourceError
        ``missing_package``.
    """
    from odc.geo.geobox import GeoBox

    require_reader("stackstac", label(href, layer))
    with opened(href, layer) as src:
        fill = src.nodata if nodata is None else nodata
        place = GeoBox(src.shape, transform or src.transform, crs or src.crs.to_wkt())
        window = _window(place, grid, label(href, layer))
        if window is None:
            return read_layer(
                href, grid, resampling=resampling, crs=crs, transform=transform, layer=layer
            )
        with _placed(href, src, place) as view:
            pixels = _stack(view, window, np.dtype(src.dtypes[0]), src.nodata, label(href, layer))
    return lay(
        pixels,
        window,
        grid,
        resampling=resampling,
        nodata=fill,
        scale=scale,
        offset=offset,
        valid=valid,
        layer=layer,
    )


def _stack(
    href: str, box: GeoBox, dtype: np.dtype[Any], nodata: float | None, where: str
) -> np.ndarray:
    """The pixels of a box that lies on the raster's own, (y, x) of the raster's type."""
    from rasterio.errors import RasterioError

    stackstac: Any = importlib.import_module("stackstac")
    assert box.crs is not None  # `_window` saw to it
    epsg = box.crs.to_epsg()
    item = {
        "id": where,
        "type": "Feature",
        "bbox": None,
        "properties": {"datetime": "2000-01-01T00:00:00Z", "proj:epsg": epsg},
        "assets": {"asset": {"href": href, "proj:bbox": list(box.boundingbox.bbox)}},
    }
    stack = stackstac.stack(
        [item],
        assets=["asset"],
        epsg=epsg,
        resolution=(box.affine.a, -box.affine.e),
        bounds=tuple(box.boundingbox.bbox),
        snap_bounds=False,
        chunksize=-1,
        dtype=dtype,
        # Plain Python numbers are taken for float64, and refused beside another type.
        fill_value=dtype.type(0 if nodata is None else nodata),
        rescale=False,
        xy_coords=False,
        properties=False,
        band_coords=False,
        errors_as_nodata=(),
    )
    try:
        pixels: np.ndarray = stack.data.compute(scheduler="synchronous")[0, 0]
    except RuntimeError as error:
        if not isinstance(error.__cause__, RasterioError):
            raise
        raise GranuleError(
            f"{where}: the file is cut short or damaged, a block of it cannot be read "
            f"({cause(error.__cause__)}); download it again",
            kind="truncated",
        ) from error.__cause__
    return pixels


def _window(place: GeoBox, grid: GeoBox, where: str) -> GeoBox | None:
    """The part of a raster under the grid, as a box; None if there is none."""
    from odc.geo.geobox import GeoBox
    from rasterio.transform import from_origin
    from rasterio.warp import transform_bounds

    a, b, left, d, e, top = tuple(place.affine)[:6]
    if (b, d) != (0, 0) or a <= 0 or e >= 0 or place.crs is None or place.crs.to_epsg() is None:
        raise GranuleError(
            f"{where}: stackstac reads rasters that are north-up and whose CRS has an EPSG code; "
            'leave `reader = "stackstac"` out of the region file for this source'
        )
    assert grid.crs is not None  # `region_grid` gives no grid without a CRS
    west, south, east, north = transform_bounds(
        grid.crs.to_wkt(), place.crs.to_wkt(), *grid.boundingbox.bbox, densify_pts=33
    )
    columns = _span((west - left) / a, (east - left) / a, place.shape[1])
    rows = _span((north - top) / e, (south - top) / e, place.shape[0])
    if columns is None or rows is None:
        return None
    corner = from_origin(left + columns.start * a, top + rows.start * e, a, -e)
    return GeoBox((rows.stop - rows.start, columns.stop - columns.start), corner, place.crs)


def _span(first: float, last: float, size: int) -> slice | None:
    if last < 0 or first > size:
        return None
    pad = _MARGIN + int(last - first) // 4
    return slice(max(int(first) - pad, 0), min(int(last) + pad + 1, size))


@contextmanager
def _placed(href: str, src: Any, place: GeoBox) -> Iterator[str]:
    """Offer a raster with the georeference that its item gives it, as a VRT."""
    from rasterio.dtypes import dtype_rev, typename_fwd
    from rasterio.io import MemoryFile

    assert place.crs is not None
    height, width = place.shape
    fill = "" if src.nodata is None else f"<NoDataValue>{src.nodata!r}</NoDataValue>"
    view = (
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">'
        f"<SRS>EPSG:{place.crs.to_epsg()}</SRS>"
        f"<GeoTransform>{', '.join(map(repr, place.affine.to_gdal()))}</GeoTransform>"
        f'<VRTRasterBand dataType="{typename_fwd[dtype_rev[src.dtypes[0]]]}" band="1">{fill}'
        f'<SimpleSource><SourceFilename relativeToVRT="0">{escape(href)}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with MemoryFile(view.encode(), ext=".vrt") as memory:
        yield memory.name
