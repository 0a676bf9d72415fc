"""Layers whole and as they are stored, and how they are brought onto a grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.errors import GranuleError
from cube.sources.files import cause, label, opened
from cube.sources.raster import Layer, read_layer

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from cube.bands import Resampling


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """A layer as it is stored."""

    values: np.ndarray
    """(y, x), the file's own integers."""
    attributes: Mapping[str, Any]
    """Of the layer."""
    metadata: str = ""
    """``StructMetadata.0`` of the file."""
    delivery: str = ""
    """What the file calls itself in ``CoreMetadata.0``."""


def read_geotiff(href: str | Path, layer: str) -> tuple[Plane, GeoBox]:
    """Read a single-layer GeoTIFF whole, in its own integers, and where it lies.

    Raises
    ------
    GranuleError
        As `cube.sources.base.read_layer`.
    """
    from odc.geo.geobox import GeoBox
    from rasterio.errors import RasterioIOError

    where = label(href, layer)
    with opened(href, layer) as src:
        if src.crs is None or src.transform.is_identity or src.count != 1:
            raise GranuleError(f"{where}: not a single georeferenced band; it cannot be placed")
        attributes: dict[str, Any] = src.tags() | src.tags(1)
        if src.scales[0] != 1:
            attributes.setdefault("scale_factor", src.scales[0])
        try:
            values = src.read(1)
        except RasterioIOError as error:
            raise GranuleError(
                f"{where}: the file is cut short or damaged, a block of it cannot be read "
                f"({cause(error)}); delete {href} and download it again",
                kind="truncated",
            ) from error
        return Plane(values, attributes), GeoBox(src.shape, src.transform, src.crs.to_wkt())


def lay(
    values: np.ndarray,
    box: GeoBox,
    grid: GeoBox,
    *,
    resampling: Resampling,
    nodata: float | None = None,
    scale: float = 1.0,
    offset: float = 0.0,
    valid: tuple[float, float] | None = None,
    layer: str = "",
) -> Layer:
    """Warp an array that is in memory, as `cube.sources.base.read_layer` does a file.

    Parameters
    ----------
    values : ndarray, (y, x)
        In the file's own integers.
    box
        Where they lie.
    grid
        Target grid.
    resampling, nodata, scale, offset, valid, layer
        As in `read_layer`.
    """
    from rasterio.io import MemoryFile

    assert box.crs is not None  # whoever placed the values gave them a CRS
    height, width = values.shape
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            height=height,
            width=width,
            count=1,
            dtype=values.dtype,
            crs=box.crs.to_wkt(),
            transform=box.affine,
        ) as dataset:
            dataset.write(values, 1)
        return read_layer(
            memory.name,
            grid,
            resampling=resampling,
            nodata=nodata,
            scale=scale,
            offset=offset,
            valid=valid,
            layer=layer,
        )
