"""Finished rows of a comparison, one JSON line each, so that a stopped one can go on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from cube.errors import StoreError
from pipelines.sharpen_protocol import Protocol, Score

FILE = "scores.jsonl"
FORMAT = 1
Key = tuple[str, int, str]
"""Protocol, pair, method."""


class Rows:
    """What is finished, in memory and in a file that only ever grows."""

    def __init__(self, path: Path, file: IO[str], done: dict[Key, Score]) -> None:
        self.path = path
        self._file = file
        self._done = done
        self.resumed = len(done)
        """Rows that an earlier attempt had finished."""

    @classmethod
    @contextmanager
    def at(
        cls, folder: Path, settings: Mapping[str, Any], *, overwrite: bool = False
    ) -> Iterator[Rows]:
        """Open the rows of a folder, those of an earlier attempt with the same settings kept.

        Parameters
        ----------
        folder
            Made if it is not there.
        settings
            All that figures depend on but protocol, pair and method. JSON-able.
        overwrite
            Drop rows that were made with other settings.

        Raises
        ------
        StoreError
            If the folder holds rows of other settings and `overwrite` is False, another job
            writes to it, or it cannot be written.
        """
        path = folder / FILE
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            done = _read(path, digest(settings), overwrite=overwrite)
            head = {"format": FORMAT, "digest": digest(settings), "settings": dict(settings)}
            with writing(folder):
                _rewrite(path, head, done)
            with path.open("a", encoding="utf-8") as file:
                yield cls(path, file, done)

    def __contains__(self, key: Key) -> bool:
        return key in self._done

    def add(self, score: Score) -> None:
        """Keep a row; it outlives this process at once."""
        with writing(self.path.parent):
            self._file.write(json.dumps(score.to_dict()) + "\n")
            self._file.flush()
        self._done[key_of(score)] = score

    def get(self, key: Key) -> Score | None:
        """The row of a protocol, pair and method, if it is finished."""
        return self._done.get(key)


def key_of(score: Score) -> Key:
    """What a row is found by."""
    return str(score.protocol), score.pair, score.method


def digest(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings, hexadecimal."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn the system's refusal to write to a folder into an error that names it."""
    try:
        yield
    except OSError as problem:
        raise StoreError(
            f"{folder} cannot be written: {problem}; free some space or give another folder"
        ) from problem


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        with writing(path.parent):
            lock.acquire(timeout=0)
    except Timeout:
        raise StoreError(
            f"another job writes to {path}; wait for it, or give another folder", kind="locked"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _read(path: Path, wanted: str, *, overwrite: bool) -> dict[Key, Score]:
    if not path.exists():
        return {}
    first, *lines = path.read_text(encoding="utf-8").split("\n")
    head = _parsed(first)
    if head is None or head.get("digest") != wanted or head.get("format") != FORMAT:
        if overwrite:
            return {}
        raise StoreError(
            f"{path} holds rows made from another pairs file, with other settings or by other "
            "code; give another folder, or allow overwriting them",
            kind="rows_exist",
        )
    # A line that a kill cut short does not parse; its row is made again.
    rows = (_parsed(line) for line in lines)
    return {key_of(score): score for score in map(_score, filter(None, rows))}


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _score(row: dict[str, Any]) -> Score:
    where = {name: row.pop(name) for name in ("pair", "method", "protocol")}
    return Score(where["pair"], where["method"], Protocol(where["protocol"]), row)


def _rewrite(path: Path, head: Mapping[str, Any], done: Mapping[Key, Score]) -> None:
    """Head and whole rows only, replaced in one step."""
    lines = [json.dumps(head), *(json.dumps(score.to_dict()) for score in done.values())]
    new = path.with_name(f".{path.name}.new")
    new.write_text("\n".join(lines) + "\n", encoding="utf-8")
    new.replace(path)
