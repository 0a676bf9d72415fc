"""Reading layers of HDF4-EOS files with their attributes."""

from __future__ import annotations

import importlib.util
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cube.errors import GranuleError, SourceError
from cube.sources.files import label, read_header
from cube.sources.planes import Plane

_MAGIC = b"\x0e\x03\x13\x01"

# The HDF4 library keeps its table of open files in static memory, unguarded.
_lock = threading.Lock()


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
