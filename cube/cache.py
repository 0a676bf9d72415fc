"""A folder of fetched files: each fetched once, verified whenever it is used again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from cube.fetch import TIMEOUT, Checksum, fetch, filing
from cube.retry import SYSTEM_CLOCK, Clock

if TYPE_CHECKING:
    from requests import Session

GRACE = 300.0
"""Seconds for which a file that was asked for is not thrown out: somebody is reading it."""
STALE = 86_400.0
"""Seconds after which a temporary file belongs to nobody any more."""


@dataclass(frozen=True)
class Cache:
    """Files of other machines, kept by granule id and file name.

    A file counts as there if its bytes are those that were written (SHA-256, kept beside it) and
    what the catalogue says of it, size or checksum, still holds. Several threads and processes
    may share a folder.
    """

    folder: Path
    max_bytes: int | None = None
    """The files that were not asked for the longest go when all of them take more. Files asked
    for within the last five minutes stay, so a limit below what is in use at once is exceeded."""
    clock: Clock = SYSTEM_CLOCK
    timeout: tuple[float, float] = TIMEOUT

    def get(
        self,
        granule: str,
        url: str,
        *,
        session: Session | Callable[[], Session] | None = None,
        size: int | None = None,
        checksum: str | None = None,
        attempts: int = 5,
    ) -> Path:
        """Give a file of a granule, fetched if it is not there.

        Parameters
        ----------
        granule
            Its id.
        url, session, size, checksum, attempts
            As for `cube.fetch.fetch`.

        Raises
        ------
        GranuleError
            As `cube.fetch.fetch`.
        """
        target = self.path(granule, url)
        with filing(target):
            if not _is_whole(target, size, Checksum.parse(checksum)):
                _note(target).unlink(missing_ok=True)
                fetch(
                    url, target, session=session, size=size, checksum=checksum,
                    attempts=attempts, timeout=self.timeout, clock=self.clock,
                )  # fmt: skip
                _note(target).write_text(_digest(target), encoding="ascii")
            now = self.clock.now()
            os.utime(target, (now, now))
            self._make_room()
        return target

    def path(self, granule: str, url: str) -> Path:
        """Where a file of a granule lies, or will lie."""
        name = unquote(urlsplit(url).path).rsplit("/", 1)[-1]
        if not name.strip(".") or not granule.strip("."):
            raise ValueError(f"no file name for granule {granule!r} in {urlsplit(url).path!r}")
        return self.folder / quote(granule, safe=" ") / quote(name, safe=" ")

    def drop(self, granule: str) -> None:
        """Throw out the files of a granule, so that they are fetched anew."""
        for file in self._files(self.path(granule, "file").parent):
            _forget(file)

    def _make_room(self) -> None:
        if self.max_bytes is None:
            return
        now = self.clock.now()
        files = sorted((status.st_mtime, status.st_size, file) for file, status in self._all())
        excess = sum(size for _, size, _ in files) - self.max_bytes
        for used, size, file in files:
            if excess <= 0 or now - used < GRACE:
                break
            _forget(file)
            excess -= size

    def _all(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Every file that counts; left-over temporary ones are removed on the way."""
        for folder in self.folder.iterdir():
            for file in self._files(folder):
                with suppress(FileNotFoundError):  # another process threw it out
                    status = file.stat()
                    if not file.name.startswith("."):
                        yield file, status
                    elif file.suffix == ".part" and self.clock.now() - status.st_mtime > STALE:
                        file.unlink()

    @staticmethod
    def _files(folder: Path) -> list[Path]:
        return list(folder.iterdir()) if folder.is_dir() else []


def _note(target: Path) -> Path:
    return target.with_name(f".{target.name}.sha256")


def _forget(file: Path) -> None:
    file.unlink(missing_ok=True)
    if not file.name.startswith("."):
        _note(file).unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_whole(target: Path, size: int | None, checksum: Checksum | None) -> bool:
    try:
        kept = _note(target).read_text(encoding="ascii")
        return (
            (size is None or target.stat().st_size == size)
            and _digest(target) == kept
            and (checksum is None or checksum.fits(target))
        )
    except (FileNotFoundError, UnicodeDecodeError):
        return False
