"""Opening rasters and reading their headers; saying what is wrong with those that do not open."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cube.errors import GranuleError

_SNIFF = 65_536
_RASTER_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")

# `warnings.catch_warnings` swaps process-wide state: two threads inside it at once can leave
# the filters of one behind.
_warnings_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Header:
    """What a raster says about itself without a pixel being read."""

    dtype: str
    nodata: float | None
    scale: float
    """Of the band (GDAL), else of the tag ``scale_factor``, else 1."""
    offset: float
    """Of the band (GDAL), else of the tag ``add_offset``, else 0."""
    units: str
    """Of the band, else of the tag ``units``, else empty."""
    tags: Mapping[str, str]


def walk(root: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """Files below a folder whose names are wanted, sorted.

    Folders behind symbolic links are not entered.

    Raises
    ------
    OSError
        If the folder, or one below it, cannot be listed; their granules would vanish unseen.
    """
    found = [
        folder / name
        for folder, _, names in root.walk(on_error=_raise)
        for name in names
        if wanted(name)
    ]
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error


@contextmanager
def opened(href: str | Path, layer: str) -> Iterator[Any]:
    """Open a raster with rasterio; close it at the end of the ``with`` block.

    Whether a missing georeference matters is for the caller to say, so GDAL's warning about it
    is held back.

    Raises
    ------
    GranuleError
        ``not_a_raster``, ``truncated`` or ``unreadable``, naming file and layer.
    """
    import rasterio
    from rasterio.errors import RasterioIOError

    # With more threads, GDAL's JPEG 2000 reader reports a block that it cannot decode from
    # another thread, where rasterio does not hear it, and hands out noise in its place.
    with rasterio.Env(GDAL_NUM_THREADS="1"):
        try:
            src = _open(href)
        except RasterioIOError as error:
            raise _cannot_open(href, layer, error) from error
        with src:
            yield src


def _open(href: str | Path) -> Any:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    try:
        with _warnings_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(href)
    except NotGeoreferencedWarning:
        # Another thread put the filters back in between, and they make errors of warnings.
        # Through a VRT the same file has an identity transform that is there on purpose.
        return rasterio.open(f"vrt://{href}?a_gt=0,1,0,0,0,1")


def read_header(href: str | Path, layer: str = "") -> Header:
    """Read a raster's encoding and tags.

    Raises
    ------
    GranuleError
        As `opened`.
    """
    with opened(href, layer) as src:
        tags = src.tags() | src.tags(1)
        scale, offset = src.scales[0], src.offsets[0]
        if (scale, offset) == (1.0, 0.0):
            scale = _number(tags.get("scale_factor"), 1.0)
            offset = _number(tags.get("add_offset"), 0.0)
        units = src.units[0] or tags.get("units", "")
        return Header(src.dtypes[0], src.nodata, scale, offset, units, tags)


def _cannot_open(href: str | Path, layer: str, error: Exception) -> GranuleError:
    where = label(href, layer)
    path = Path(href)
    if not path.is_file():
        return GranuleError(f"{where}: cannot be opened ({cause(error)})")
    with path.open("rb") as file:
        head = file.read(_SNIFF)
    if not head:
        return GranuleError(f"{where}: the file is empty; download it again", kind="truncated")
    if b"<html" in head[:4096].lower() or b"<!doctype html" in head[:4096].lower():
        return GranuleError(f"{where}: {_web_page(head.lower())}", kind="not_a_raster")
    if head.startswith(_RASTER_MAGIC):
        return GranuleError(
            f"{where}: begins like a raster but is cut short or damaged ({cause(error)}); "
            "download it again",
            kind="truncated",
        )
    return GranuleError(f"{where}: not in any raster format that GDAL knows", kind="not_a_raster")


def _web_page(head: bytes) -> str:
    login = any(word in head for word in (b"login", b"log in", b"sign in", b"password"))
    looks = (
        "it looks like a login page, so the download was not signed in"
        if login
        else "probably a server's error message"
    )
    return f"an HTML page saved under a raster's name; {looks}; download the file again"


def cause(error: BaseException) -> str:
    """GDAL's own words for an error, on one line."""
    inner = error.__cause__ or error
    return " ".join(str(inner).split())


def label(href: str | Path, layer: str) -> str:
    """Name a file and its layer in a message."""
    name = str(href).rsplit("/", 1)[-1]
    return f"{name} (layer {layer})" if layer else name


def _number(text: str | None, default: float) -> float:
    try:
        return default if text is None else float(text)
    except ValueError:
        return default
