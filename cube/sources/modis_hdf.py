"""Reading layers of HDF4-EOS files, and of single-layer GeoTIFFs, with their attributes."""

from __future__ import annotations

import importlib.util
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.errors import GranuleError, SourceError
from cube.sources.base import Layer, read_layer
from cube.sources.files import cause, label, opened, read_header

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from cube.bands import Resampling

_MAGIC = b"\x0e\x03\x13\x01"

# The HDF4 library keeps its table of open files in static memory, unguarded.
_lock = threading.Lock()


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


def require_pyhdf(where: str) -> None:
    """Make sure that HDF4 can be read at all.

    Raises
    ------
    SourceError
        ``missing_package``.
    """
    if importlib.util.find_spec("pyhdf") is None:
        raise SourceError(
            f"{where}: HDF4 files are read by the package pyhdf, which is not installed; "
            "install it with `pip install thermocube[modis]`",
            kind="missing_package",
        )


def read_planes(href: str | Path, layers: Sequence[str]) -> dict[str, Plane]:
    """Read layers of an HDF4 file whole. Safe in threads: one file is read at a time.

    Parameters
    ----------
    href
        Path of the file.
    layers
        Names of scientific data sets, (y, x) each.

    Raises
    ------
    GranuleError
        ``not_a_raster`` (a web page, another format), ``truncated``, ``missing_layer`` or
        ``unreadable``.
    SourceError
        ``missing_package``.
    """
    require_pyhdf(label(href, ""))
    from pyhdf.error import HDF4Error

    _require_hdf4(Path(href))
    with _lock:
        try:
            with _file(href) as file:
                return {name: _plane(file, name, href) for name in layers}
        except HDF4Error as error:
            raise GranuleError(
                f"{label(href, '')}: begins like HDF4 but is cut short or damaged ({error}); "
                f"delete {href} and download it again",
                kind="truncated",
            ) from error


@contextmanager
def _file(href: str | Path) -> Iterator[Any]:
    from pyhdf.SD import SD, SDC

    file = SD(str(href), SDC.READ)
    try:
        yield file
    finally:
        file.end()


def _plane(file: Any, name: str, href: str | Path) -> Plane:
    there = file.datasets()
    if name not in there:
        raise GranuleError(
            f"{label(href, name)}: there is no such layer; there are {', '.join(there)}",
            kind="missing_layer",
        )
    sds = file.select(name)
    try:
        values, attributes = np.asarray(sds[:]), dict(sds.attributes())
    finally:
        sds.endaccess()
    if values.ndim != 2:
        raise GranuleError(f"{label(href, name)}: {values.ndim} dimensions, not rows and columns")
    of_file = file.attributes()
    own = re.search(
        r'LOCALGRANULEID\b.*?VALUE\s*=\s*"([^"]*)"', str(of_file.get("CoreMetadata.0")), re.DOTALL
    )
    return Plane(
        values, attributes, str(of_file.get("StructMetadata.0", "")), own[1] if own else ""
    )


def _require_hdf4(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
    except OSError as error:
        raise GranuleError(f"{path.name}: cannot be opened ({error})") from error
    if head == _MAGIC:
        return
    # Says whether it is empty, a login page or nothing known at all.
    read_header(path)
    raise GranuleError(
        f"{path.name}: this is not HDF4, although it is called so; download it again",
        kind="not_a_raster",
    )


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
    resampling, nodata, scale, valid, layer
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
            valid=valid,
            layer=layer,
        )
