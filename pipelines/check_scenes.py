"""Stored scenes, one by one: decode, checksum, value ranges, flags and coordinates."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.bands import MODALITIES
from cube.quality import is_valid
from cube.scene import Coverage
from cube.timeline import LAYERS
from pipelines.findings import REREAD, Finding, error

if TYPE_CHECKING:
    import xarray as xr
    import zarr

    from cube.store import Cube

_CLOSE = 1e-6
"""Shares are quotients of pixel counts; what differs by more was not counted from these flags."""


@dataclass(frozen=True)
class SceneCheck:
    """Checks scenes of one modality's group; safe to use from several threads."""

    cube: Cube
    modality: str
    coords: xr.Dataset
    """The group, its coordinates loaded."""

    @property
    def bands(self) -> list[str]:
        """Names along ``band``."""
        return [str(name) for name in self.coords["band"].values]

    def where(self, index: int) -> str:
        """Name a scene for people."""
        time = self.coords["time"].values[index].astype("datetime64[s]")
        return f"{self.modality} {str(time).replace('T', ' ')}"

    def granules(self, index: int) -> tuple[str, ...]:
        """Granules of a scene."""
        return tuple(str(self.coords["granules"].values[index]).split())

    def check(self, index: int) -> list[Finding]:
        """Read a scene chunk by chunk and hold it against its flags, bands and coordinates."""
        arrays = {name: open_array(self.cube, f"{self.modality}/{name}") for name in LAYERS}
        found: list[Finding] = []
        qc = np.zeros(arrays["qc"].shape[1:], np.uint8)
        tally = _Tally(len(self.bands))
        for part in _parts(arrays["qc"]):
            tiles = {name: self._read(array, index, part, found) for name, array in arrays.items()}
            if tiles["qc"] is not None:
                qc[part] = tiles["qc"]
                if tiles["imagery"] is not None:
                    tally.add(tiles["imagery"], tiles["qc"], self._limits)
        if found:
            return found  # What could not be read is what is wrong; the rest would follow from it.
        return [*self._values(index, tally), *self._fractions(index, qc)]

    @property
    def _limits(self) -> np.ndarray:
        known = MODALITIES[self.modality].bands
        ends = [(known[name].valid_min, known[name].valid_max) for name in self.bands]
        return np.array(ends, np.float32)  # as the values: 0.45 of float32 is less than 0.45

    def _read(
        self, array: zarr.Array[Any], index: int, part: tuple[slice, slice], found: list[Finding]
    ) -> np.ndarray | None:
        try:
            return np.asarray(array[(index, ..., *part)])
        except unreadable() as problem:
            rows, columns = part
            where = (
                f"{self.where(index)}, {array.name.lstrip('/')}, "
                f"rows {rows.start}-{rows.stop - 1}, columns {columns.start}-{columns.stop - 1}"
            )
            found.append(damaged(where, problem, self.granules(index)))
            return None

    def _values(self, index: int, tally: _Tally) -> Iterator[Finding]:
        where, granules = self.where(index), self.granules(index)
        for name, (low, high), seen in zip(self.bands, self._limits, tally.seen, strict=True):
            if seen.outside:
                what = (
                    f"{seen.outside} pixels of {name} lie outside {low:g} to {high:g}: "
                    f"{seen.least:g} to {seen.most:g} was found"
                )
                yield error("value_out_of_range", where, what, REREAD, granules)
        if tally.finite_but_bad:
            what = f"{tally.finite_but_bad} pixels hold a value although their flags say bad"
            yield error("value_under_bad_flag", where, what, REREAD, granules)
        if tally.valid_but_nan:
            what = f"{tally.valid_but_nan} pixels hold no value although their flags say valid"
            yield error("no_value_under_good_flag", where, what, REREAD, granules)

    def _fractions(self, index: int, qc: np.ndarray) -> Iterator[Finding]:
        counted = Coverage.of(qc)
        for name in ("cloud_fraction", "bad_fraction", "valid_fraction"):
            stored, fresh = float(self.coords[name].values[index]), getattr(counted, name)
            if not abs(stored - fresh) <= _CLOSE:
                what = f"{name} says {stored:.4f}, the flags give {fresh:.4f}"
                where, granules = self.where(index), self.granules(index)
                yield error("wrong_coordinate", where, what, REREAD, granules)


@dataclass
class _Seen:
    outside: int = 0
    least: float = np.inf
    most: float = -np.inf


class _Tally:
    """Counts over the tiles of one scene."""

    def __init__(self, bands: int) -> None:
        self.seen = [_Seen() for _ in range(bands)]
        self.finite_but_bad = 0
        self.valid_but_nan = 0

    def add(self, imagery: np.ndarray, qc: np.ndarray, limits: np.ndarray) -> None:
        """Count one tile: imagery (band, y, x), qc (y, x)."""
        finite, valid = np.isfinite(imagery), is_valid(qc)
        self.finite_but_bad += int((finite.any(axis=0) & ~valid).sum())
        self.valid_but_nan += int((~finite.all(axis=0) & valid).sum())
        for seen, band, held, (low, high) in zip(self.seen, imagery, finite, limits, strict=True):
            values = band[held]
            if values.size:
                seen.least = min(seen.least, float(values.min()))
                seen.most = max(seen.most, float(values.max()))
                seen.outside += int(((values < low) | (values > high)).sum())


def check_scenes(
    checks: Sequence[tuple[SceneCheck, int]], workers: int, tell: Any
) -> list[Finding]:
    """Check scenes with several threads, in the order given."""
    found: list[Finding] = []
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(lambda entry: entry[0].check(entry[1]), checks)
        for done, ((check, index), result) in enumerate(zip(checks, results, strict=True), 1):
            found += result
            tell(done, len(checks), f"{check.where(index)}: {len(result) or 'no'} findings")
    return found


def open_array(cube: Cube, path: str) -> zarr.Array[Any]:
    """An array of the cube, for reading."""
    import zarr

    return zarr.open_array(cube.session.store, path=path, mode="r")


def unreadable() -> tuple[type[BaseException], ...]:
    """What reading raises when bytes are damaged or gone.

    The checksum raises ValueError, the decompressor RuntimeError, Icechunk its own; a column that
    is not there KeyError.
    """
    import icechunk

    return (ValueError, RuntimeError, OSError, KeyError, icechunk.IcechunkError)


def damaged(where: str, problem: BaseException, granules: Iterable[str] = ()) -> Finding:
    """A chunk that does not decode."""
    reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
    names = tuple(granules)
    advice = REREAD if names else "Bring the store back from a copy, or make the group anew"
    return error("damaged_chunk", where, f"it cannot be read: {reason}", advice, names)


def _parts(array: zarr.Array[Any]) -> Iterator[tuple[slice, slice]]:
    """Spatial windows that hold one chunk each."""
    height, width = array.shape[-2:]
    tall, wide = array.chunks[-2:]
    for row, column in itertools.product(range(0, height, tall), range(0, width, wide)):
        yield slice(row, min(row + tall, height)), slice(column, min(column + wide, width))


def decode_all(cube: Cube, path: str) -> Iterator[Finding]:
    """Decode every chunk of an array that is no scene layer."""
    array = open_array(cube, path)
    grid = [range(ceil(size / step)) for size, step in zip(array.shape, array.chunks, strict=True)]
    for place in itertools.product(*grid):
        window = tuple(
            slice(index * step, (index + 1) * step)
            for index, step in zip(place, array.chunks, strict=True)
        )
        try:
            array[window]
        except unreadable() as problem:
            yield damaged(f"{path}, chunk {'/'.join(map(str, place))}", problem)


def missing_chunks(cube: Cube, path: str) -> tuple[int, list[tuple[int, ...]]]:
    """How many chunks an array must have, and those it has not.

    From the manifests alone; nothing is read. All chunks of a scene are always written, also
    those that hold nothing but fill, so one that is absent was lost: it would read as NaN.
    """
    array = open_array(cube, path)
    grid = [range(ceil(size / step)) for size, step in zip(array.shape, array.chunks, strict=True)]

    async def there() -> set[tuple[int, ...]]:
        return {tuple(place) async for place in cube.session.chunk_coordinates(f"/{path}")}

    # In a thread of its own, since a notebook runs an event loop already.
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(lambda: asyncio.run(there())).result()
    wanted = list(itertools.product(*grid))
    return len(wanted), [place for place in wanted if place not in held]


def lost(check: SceneCheck, name: str, places: Sequence[tuple[int, ...]]) -> Iterator[Finding]:
    """Findings for the chunks of a scene layer that are absent, one a scene."""
    for index, group in itertools.groupby(places, key=lambda place: place[0]):
        count = len(list(group))
        where = f"{check.where(index)}, {check.modality}/{name}"
        what = f"{count} of its chunks are not there and would read as nothing measured"
        yield error("missing_chunk", where, what, REREAD, check.granules(index))
