"""Rasters of other machines: how GDAL fetches them, and what it means when it cannot."""

from __future__ import annotations

import importlib
import logging
import os
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from cube.errors import GranuleError, SourceError
from cube.sources.files import label

GDAL_OPTIONS = {
    # No listing of the folder for side-car files: the catalogue names what belongs together.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # 429, 5xx and timeouts; GDAL doubles the delay (seconds) each time, with jitter.
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": "120",
    # A transfer that stalls: fewer than 1000 bytes a second for 30 seconds.
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1000",
    "GDAL_HTTP_LOW_SPEED_TIME": "30",
    # GDAL remembers files, and that they were not there, for the life of the process: a file
    # that was replaced would be read in part from memory, and a failure would never pass.
    "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/",
}
"""GDAL's settings for files of other machines; an environment variable of the same name wins."""

_DRIVERS = {"http": "/vsicurl/http://", "https": "/vsicurl/https://", "s3": "/vsis3/"}

_MISSING = re.compile(r"NoSuchKey|NoSuchBucket|does not exist", re.IGNORECASE)
_REFUSED = re.compile(
    r"AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|AuthenticationFailed"
    r"|InvalidCredentials|AWS_SECRET_ACCESS_KEY|forbidden",
    re.IGNORECASE,
)
_STATUS = re.compile(r"HTTP(?: response code|/[\d.]+| error code)?\s*:?\s*(\d{3})")


def is_remote(href: str) -> bool:
    """Tell whether a href is one that `retrieve` fetches: http(s) or s3."""
    return urlsplit(href).scheme in _DRIVERS


def gdal_path(href: str) -> str:
    """Path under which GDAL reads a href: ``/vsicurl/…``, ``/vsis3/…``, or the href itself."""
    scheme, _, rest = href.partition("://")
    return _DRIVERS[scheme] + rest if scheme in _DRIVERS and rest else href


def retrieve[T](href: str, layer: str, read: Callable[[str], T], sign: str | None = None) -> T:
    """Read from a file, which may lie on another machine.

    A local path is read as it is. Over the wire GDAL fetches only the blocks that `read` asks
    for. It tries again by itself where the server says what is wrong; where a body was cut or a
    connection broke, the whole of `read` is done once more. A signature never leaves this function:
    neither messages nor the ledger show the query of a URL.

    Parameters
    ----------
    href
        Path or URL.
    layer
        For messages.
    read
        Given the path for GDAL.
    sign
        As in `signed`.

    Raises
    ------
    GranuleError
        Whatever `read` raises, and over the wire ``not_found``, ``unauthorised``, or
        ``unavailable`` for what may pass.
    """
    import rasterio

    if not is_remote(href):
        return read(href)
    path = gdal_path(signed(href, sign))
    options = {name: value for name, value in GDAL_OPTIONS.items() if name not in os.environ}
    with rasterio.Env(**options):
        try:
            return read(path)
        except GranuleError as error:
            if _status(error) or error.kind not in ("truncated", "unreadable"):
                raise explain(error, href, layer) from None
        try:
            return read(path)
        except GranuleError as error:
            raise explain(error, href, layer) from None


def explain(error: GranuleError, href: str, layer: str) -> GranuleError:
    """Say what an error over the wire means, without the query of any URL."""
    where, address = label(_bare(href), layer), _bare(href)
    told, status = _told(error), _status(error)
    if status in (404, 410) or _MISSING.search(told):
        return GranuleError(
            f"{where}: there is no file at {address}, although the catalogue names it; the next "
            "run looks again. If it stays so, the catalogue is out of date",
            kind="not_found",
        )
    if status in (400, 401, 403) or _REFUSED.search(told):
        return GranuleError(f"{where}: {_refusal(address, status)}", kind="unauthorised")
    if status or "CURL error" in told or "timed out" in told.lower():
        host = urlsplit(href).netloc
        return GranuleError(
            f"{where}: {host} could not deliver {address} ({_last(told)}); this may pass, the "
            "next run tries again",
            kind="unavailable",
        )
    if error.kind == "unreadable" and "not recognized as" in told:
        return GranuleError(
            f"{where}: what lies at {address} is in no raster format that GDAL knows; a login or "
            "error page, if the server wants credentials",
            kind="not_a_raster",
        )
    return GranuleError(_bare(str(error)), kind=error.kind)


def _refusal(address: str, status: int | None) -> str:
    code = f" (HTTP {status})" if status else ""
    if address.startswith("s3://"):
        return (
            f"access to {address} is refused{code}; set AWS_PROFILE or the AWS_… variables, "
            "AWS_REQUEST_PAYER=requester where the reader pays, AWS_NO_SIGN_REQUEST=YES if public"
        )
    return (
        f"access to {address} is refused{code}; set `sign` in the region file if the catalogue "
        "signs its URLs, else put user and password into ~/.netrc"
    )


def _told(error: BaseException) -> str:
    """Everything that GDAL said on the way."""
    words: list[str] = []
    link: BaseException | None = error
    while link is not None:
        words.append(" ".join(str(link).split()))
        link = link.__cause__
    return " | ".join(words)


def _last(told: str) -> str:
    return _bare(told.rsplit(" | ", 1)[-1])


def _status(error: BaseException) -> int | None:
    match = _STATUS.search(_told(error))
    return int(match[1]) if match else None


def _bare(text: str) -> str:
    """Drop the queries of URLs, where signatures and tokens stand."""
    return re.sub(r"\?[^\s;,)'\"]+", "", text)


def require_signer(sign: str | None) -> Any:
    """Import the package that signs URLs, if one is asked for.

    Raises
    ------
    SourceError
        If it is not installed.
    """
    if sign is None:
        return None
    try:
        return importlib.import_module("planetary_computer")
    except ImportError as error:
        raise SourceError(
            f"sign = {sign!r} needs the package planetary-computer, which is not installed "
            f"({error}); `pip install planetary-computer`, or leave `sign` out"
        ) from error


def signed(href: str, sign: str | None) -> str:
    """Sign a URL if one is asked for; tokens are cached by the package until they expire.

    Raises
    ------
    SourceError
        If the signing package is not installed.
    GranuleError
        ``unavailable`` if the token service cannot be reached.
    """
    from requests.exceptions import RequestException

    signer = require_signer(sign)
    if signer is None:
        return href
    _hush()
    try:
        return str(signer.sign(href))
    except RequestException as error:
        raise GranuleError(
            f"{_bare(href)} cannot be signed by {sign} ({type(error).__name__}); this may pass, "
            "the next run tries again",
            kind="unavailable",
        ) from error


class _NoQueries(logging.Filter):
    """Drops the queries of URLs from what is logged."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = _bare(record.getMessage()), ()
        return True


_no_queries = _NoQueries()


def _hush() -> None:
    # GDAL warns of every retry with the whole URL, and rasterio logs it.
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("rasterio"):
            logging.getLogger(name).addFilter(_no_queries)
