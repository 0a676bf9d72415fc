"""What a run has mapped so far, kept outside the cube until all of it can be committed.

Chunks that were put into a store but not committed are lost with their process, and while they
wait they are what garbage collection removes. Finished units therefore lie as files in a folder
of their own, and go into the cube in one short transaction at the end: one commit, nothing half
visible, nothing in the store that nobody refers to, and `expire` may run meanwhile. A folder of
a killed run is found again by the digest of everything its maps depend on.
"""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cube.errors import CubeLockedError, StoreError
from cube.storage import is_url
from pipelines.inference import Job, Part, Unit
from pipelines.inference_layout import Encoded
from pipelines.lattice import Window

SUMS = "sums.npz"
OVERALL = "overall.zip"


def default_place(location: str) -> Path:
    """Where the unfinished runs of a cube lie: beside it, or in the user's cache for a URL."""
    if not is_url(location):
        return Path(f"{Path(location).resolve()}.work")
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "thermocube" / "predict" / re.sub(r"[^A-Za-z0-9.-]+", "_", location)


@dataclass
class _Sums:
    """Sums over the first units of a window."""

    units: int
    total: np.ndarray
    dates: np.ndarray


class Work:
    """The folder of one run; take units from `todo`, in order, and give back parts to `add`."""

    def __init__(self, folder: Path, job: Job) -> None:
        self._folder = folder
        self._job = job
        self._sums: dict[Path, _Sums] = {}
        self._columns = {self._home(units[0].window): units for units in job.columns()}

    @classmethod
    @contextmanager
    def at(cls, place: Path, run: str, digest: str, job: Job) -> Iterator[Work]:
        """Open the folder of a run, alone; those of other attempts at the same run are removed.

        Raises
        ------
        CubeLockedError
            If another process works on the very same run.
        StoreError
            If nothing can be written there.
        """
        with run_folder(place, run, digest) as folder:
            yield cls(folder, job)

    @property
    def units(self) -> int:
        """Units of the whole run."""
        return sum(len(units) for units in self._columns.values())

    def todo(self) -> list[Unit]:
        """Units that are not done, window by window in order of time.

        A file that is not whole, as after a loss of power, is done again.
        """
        return [
            unit
            for home, units in self._columns.items()
            for unit in units[self._done(home, units) :]
        ]

    def _done(self, home: Path, units: Sequence[Unit]) -> int:
        if is_whole(home / OVERALL) and all(is_whole(self._file(unit)) for unit in units):
            return len(units)
        (home / OVERALL).unlink(missing_ok=True)
        sums = _load(home / SUMS)
        if sums is None or not all(is_whole(self._file(unit)) for unit in units[: sums.units]):
            return 0
        self._sums[home] = sums
        return sums.units

    def add(self, unit: Unit, part: Part) -> None:
        """Keep what came of the next unit of its window.

        Raises
        ------
        StoreError
            If it cannot be written.
        """
        home = self._home(unit.window)
        with written(home):
            home.mkdir(exist_ok=True)
            save(self._file(unit), part.chunks)
            sums = self._added(home, part)
            if sums.units < len(self._columns[home]):
                with _replaced(home / SUMS) as fresh, fresh.open("wb") as file:
                    np.savez(file, units=sums.units, total=sums.total, dates=sums.dates)
                return
            save(home / OVERALL, self._job.overall(unit.window, sums.total, sums.dates))
            del self._sums[home]
            (home / SUMS).unlink(missing_ok=True)

    def _added(self, home: Path, part: Part) -> _Sums:
        sums = self._sums.get(home)
        if sums is None:
            sums = _Sums(0, np.zeros(part.total.shape), np.zeros(part.dates.shape, np.int32))
            self._sums[home] = sums
        sums.units += 1
        sums.total += part.total
        sums.dates += part.dates
        return sums

    def chunks(self) -> Iterator[Encoded]:
        """All chunks of the finished run, file by file."""
        for home, units in self._columns.items():
            for file in (*map(self._file, units), home / OVERALL):
                with zipfile.ZipFile(file) as archive:
                    yield {name: archive.read(name) for name in archive.namelist()}

    def clear(self) -> None:
        """Remove the folder; the run is in the cube."""
        shutil.rmtree(self._folder)

    def _home(self, window: Window) -> Path:
        return self._folder / f"{window[0].start}-{window[1].start}"

    def _file(self, unit: Unit) -> Path:
        return self._home(unit.window) / f"{unit.start}.zip"


@contextmanager
def run_folder(place: Path, run: str, digest: str) -> Iterator[Path]:
    """Open the folder of a run, alone; those of other attempts at the same run are removed.

    Parameters
    ----------
    place
        Where runs of one kind, of one cube, have their folders.
    run
        Its name.
    digest
        SHA-256 of everything the run's result depends on.

    Raises
    ------
    CubeLockedError
        If another process works on the very same run.
    StoreError
        If nothing can be written there.
    """
    folder = place / f"{run}.{digest[:16]}"
    with written(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _held(folder) as mine:
        if not mine:
            raise CubeLockedError(
                f"another process is computing run {run!r} in {folder}; wait for it, or "
                "stop it and run again: what it has mapped is kept"
            )
        with written(folder):
            _sweep(place, run, folder)
        try:
            yield folder
        finally:
            remove_if_empty(folder)
    remove_if_empty(place)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder, unless there is something in it."""
    with suppress(OSError):
        folder.rmdir()


@contextmanager
def written(place: Path) -> Iterator[None]:
    """Tell what cannot be written, and what to do about it.

    Raises
    ------
    StoreError
        Instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{place} cannot be written: {error}; make room or see to it, or give another work "
            "folder, and run again: what is mapped is kept"
        ) from error


def save(path: Path, chunks: Encoded) -> None:
    """Keep chunks in a file, which appears whole or not at all."""
    with _replaced(path) as fresh, zipfile.ZipFile(fresh, "w") as archive:
        for name, content in chunks.items():
            archive.writestr(name, content)


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """A file that appears whole or not at all."""
    fresh = path.with_name(f".{path.name}.part")
    yield fresh
    fresh.replace(path)


def is_whole(path: Path) -> bool:
    """Whether a file of chunks is there, and as it was saved."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (FileNotFoundError, zipfile.BadZipFile):
        return False


def _load(path: Path) -> _Sums | None:
    try:
        # Opened here: NumPy leaves a file open that it cannot read.
        with path.open("rb") as opened, np.load(opened) as file:
            return _Sums(int(file["units"]), file["total"], file["dates"])
    except (FileNotFoundError, EOFError, ValueError, zipfile.BadZipFile):
        return None


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Whether the right to a folder could be had; let go of by the system if its holder dies."""
    from filelock import FileLock, Timeout

    path = folder.with_name(f".{folder.name}.lock")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        if not folder.exists():
            path.unlink(missing_ok=True)
        lock.release()


def _sweep(place: Path, run: str, mine: Path) -> None:
    """Remove what earlier attempts at a run left, with other input or options."""
    for folder in place.iterdir():
        if folder != mine and re.fullmatch(rf"{re.escape(run)}\.[0-9a-f]{{16}}", folder.name):
            with _held(folder) as abandoned:
                if abandoned:
                    shutil.rmtree(folder)
