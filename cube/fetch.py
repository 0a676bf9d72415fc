"""Files over HTTP: fetched whole, verified, resumed and tried again."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cube.errors import GranuleError, SourceError
from cube.retry import (
    CREDENTIALS,
    PASSING_STATUS,
    SYSTEM_CLOCK,
    Clock,
    PassingError,
    judge,
    refusal,
    retry_after,
    retrying,
)

if TYPE_CHECKING:
    from requests import Response, Session

TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and between two pieces of a body."""
_PIECE = 1 << 16
_FULL = {errno.ENOSPC, errno.EDQUOT}
_WEB_PAGE = (b"<!doctype html", b"<html")


def fetch(
    url: str,
    target: str | Path,
    *,
    session: Session | Callable[[], Session] | None = None,
    size: int | None = None,
    checksum: str | None = None,
    attempts: int = 5,
    timeout: tuple[float, float] = TIMEOUT,
    clock: Clock = SYSTEM_CLOCK,
) -> Path:
    """Download a file; it appears under its name only when it is whole.

    What arrives goes to a temporary name beside the target, so that two processes that fetch one
    file at the same time end in one whole file. A body that breaks off is continued where it
    stopped, if the server names the version of the file (ETag, Last-Modified) and it is the same.

    Parameters
    ----------
    url
        HTTP or HTTPS. A query, where signatures stand, is never shown in a message.
    target
        File; its folder is made, a file of that name is replaced.
    session
        With credentials, or a function that opens one; by default one without.
    size
        Bytes that the file must have.
    checksum
        ``<algorithm>:<hexadecimal digest>``, e.g. ``md5:...`` or ``sha256:...``.
    attempts
        Tries in all, for what can pass: 408, 425, 429, 500, 502, 503, 504, timeouts, broken
        connections, cut bodies, wrong length or checksum.
    timeout
        Seconds to connect, and between two pieces of the body.
    clock
        Waits between the tries.

    Returns
    -------
    Path
        The target.

    Raises
    ------
    GranuleError
        ``unauthorised`` (401), ``forbidden`` (403), ``not_found`` (404, 410), ``refused`` (other
        answers), ``login_page`` (a web page in place of the file), ``disk_full``; and when all
        tries are spent ``unavailable``, ``timeout``, ``truncated``, ``wrong_length``, ``checksum``.
    """
    target = Path(target)
    transfer = _Transfer(url, target, size, Checksum.parse(checksum), timeout, clock)
    with filing(target), transfer.temporary():
        with _open(session) as transfer.session:
            try:
                retrying(attempts, clock, transfer.label)(transfer.attempt)
            except PassingError as error:
                raise GranuleError(
                    f"{transfer.label}: {error}, {_tries(attempts, error)}; this may pass, the "
                    "next run tries again",
                    kind=error.kind,
                ) from None
        transfer.part.replace(target)
    return target


def _tries(attempts: int, error: PassingError) -> str:
    if error.wait:
        return f"and asks to wait {error.wait:.0f} s"
    return f"{attempts} times in a row" if attempts > 1 else "once"


@contextmanager
def _open(session: Session | Callable[[], Session] | None) -> Iterator[Session]:
    import requests

    if isinstance(session, requests.Session):
        yield session
        return
    with (session or requests.Session)() as opened:
        yield opened


@contextmanager
def filing(target: Path) -> Iterator[None]:
    """Turn what the local disk has to object into an error of the granule.

    Raises
    ------
    GranuleError
        ``disk_full`` or ``unreadable``.
    """
    try:
        yield
    except SourceError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise GranuleError(
                f"the disk is full: {target} cannot be written; make room in {target.parent}, or "
                "give the cache another folder or a limit",
                kind="disk_full",
            ) from error
        raise GranuleError(f"{target} cannot be written: {error}") from error


@dataclass(frozen=True, slots=True)
class Checksum:
    """A digest that a file must have."""

    algorithm: str
    digest: str

    @classmethod
    def parse(cls, text: str | None) -> Checksum | None:
        """Read ``<algorithm>:<hexadecimal digest>``; a ValueError if it is anything else."""
        if text is None:
            return None
        algorithm, _, digest = text.partition(":")
        if algorithm not in hashlib.algorithms_guaranteed or not digest:
            raise ValueError(f"{text!r} is no checksum of the form 'md5:...' or 'sha256:...'")
        return cls(algorithm, digest.lower())

    def fits(self, path: Path) -> bool:
        """Compare with a file's bytes."""
        with path.open("rb") as file:
            return hashlib.file_digest(file, self.algorithm).hexdigest() == self.digest


@dataclass(eq=False)
class _Transfer:
    """One file on its way: what has arrived, and of which version of it."""

    url: str
    target: Path
    size: int | None
    checksum: Checksum | None
    timeout: tuple[float, float]
    clock: Clock
    total: int | None = None
    """Bytes of the whole file, as the server says."""
    validator: str = ""
    """Names the version of the file (RFC 9110, section 13.1.5)."""
    session: Session = field(init=False)
    part: Path = field(init=False)

    def __post_init__(self) -> None:
        self.part = self.target.with_name(f".{self.target.name}.{uuid.uuid4().hex[:12]}.part")

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or "the server"

    @property
    def label(self) -> str:
        """The URL without query and credentials."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @contextmanager
    def temporary(self) -> Iterator[None]:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield
        finally:
            self.part.unlink(missing_ok=True)

    def attempt(self) -> None:
        """Fetch what is missing of the file, and verify it."""
        from requests import RequestException

        try:
            with self._ask() as response:
                self._refuse(response)
                self._receive(response)
        except RequestException as error:
            verdict = judge(error, self.host)
            if isinstance(verdict, GranuleError):
                verdict = GranuleError(f"{self.label}: {verdict}", kind=verdict.kind)
            raise verdict from None
        self._verify()

    @property
    def _held(self) -> int:
        return self.part.stat().st_size if self.validator and self.part.exists() else 0

    def _ask(self) -> Response:
        headers = {"Accept-Encoding": "identity"}
        if self._held:
            headers |= {"Range": f"bytes={self._held}-", "If-Range": self.validator}
        return self.session.get(self.url, headers=headers, timeout=self.timeout, stream=True)

    def _refuse(self, response: Response) -> None:
        """Raise unless the answer is the file, or the rest of it."""
        status = response.status_code
        if status in PASSING_STATUS:
            wait = retry_after(response.headers.get("Retry-After"), self.clock)
            raise PassingError(f"{self.host} answers {status} {response.reason}", wait=wait)
        if status == 416:
            raise self._again("has another file there now (416)", "truncated")
        if status not in (200, 206):
            raise refusal(self.label, status)
        if response.headers.get("Content-Type", "").lower().startswith("text/html"):
            raise self._web_page(response)

    def _receive(self, response: Response) -> None:
        start = self._start(response)
        with self.part.open("ab" if start else "wb") as file:
            for piece in response.iter_content(_PIECE):
                if not start and piece[:64].lstrip().lower().startswith(_WEB_PAGE):
                    raise self._web_page(response)
                start += file.write(piece)
            file.flush()
            os.fsync(file.fileno())

    def _start(self, response: Response) -> int:
        """Byte at which the body belongs; learn the file's length and version."""
        headers = response.headers
        if response.status_code == 200:
            plain = headers.get("Content-Encoding", "identity") == "identity"
            length = headers.get("Content-Length", "")
            self.total = int(length) if plain and length.isdigit() else None
            self.validator = _validator(headers) if plain else ""
            return 0
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
        if not match or int(match[1]) != self._held or not self._same(headers):
            raise self._again("sent another part than was asked for", "truncated")
        self.total = int(match[2])
        return self._held

    def _same(self, headers: Mapping[str, str]) -> bool:
        # The rest of a file may come without its version; if it has one, it must be the same.
        return _validator(headers) in (self.validator, "")

    def _verify(self) -> None:
        arrived = self.part.stat().st_size
        if not arrived:
            raise self._again("sent an empty file", "truncated")
        for expected, by in ((self.total, "the server"), (self.size, "the catalogue")):
            if expected is not None and arrived != expected:
                reason = f"sent {arrived} bytes, but by {by} the file has {expected}"
                raise self._again(reason, "wrong_length")
        if self.checksum is not None and not self.checksum.fits(self.part):
            reason = f"sent a file whose {self.checksum.algorithm} is not that of the catalogue"
            raise self._again(reason, "checksum")

    def _again(self, reason: str, kind: str) -> PassingError:
        """Nothing that arrived can be used: start over."""
        self.validator = ""
        return PassingError(f"{self.host} {reason}", kind)

    def _web_page(self, response: Response) -> GranuleError:
        host = urlsplit(response.url).hostname or self.host
        return GranuleError(
            f"{self.label}: {host} delivered a web page in place of the file, as servers do that "
            f"want a login first; {CREDENTIALS}",
            kind="login_page",
        )


def _validator(headers: Mapping[str, str]) -> str:
    tag = headers.get("ETag", "")
    # A weak tag says that two files mean the same, not that their bytes are the same.
    return headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag
