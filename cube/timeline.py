"""Scenes on the time axis: a modality's arrays, kept in order of time whatever comes when."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.encoding import Encoded
from cube.errors import StoreError
from cube.scene import Coverage, Reading
from cube.timeline_layout import CHUNK as CHUNK
from cube.timeline_layout import SCENE_COORDS as SCENE_COORDS
from cube.timeline_layout import codecs as codecs
from cube.timeline_layout import create as create

if TYPE_CHECKING:
    import icechunk
    import zarr

LAYERS = ("imagery", "qc", "product_qc")


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What is written for one scene."""

    time: datetime
    reading: Reading | Encoded
    granules: tuple[str, ...]
    platform: str
    coverage: Coverage
    sun_elevation: float
    local_solar_time: float

    @property
    def coords(self) -> dict[str, str | float]:
        """Values of the scene coordinates, by name."""
        return {
            "granules": " ".join(self.granules),
            "platform": self.platform,
            "cloud_fraction": self.coverage.cloud_fraction,
            "bad_fraction": self.coverage.bad_fraction,
            "valid_fraction": self.coverage.valid_fraction,
            "sun_elevation": self.sun_elevation,
            "local_solar_time": self.local_solar_time,
        }


def milliseconds(time: datetime) -> int:
    """A time as the cube keeps it: whole milliseconds since 1970, UTC."""
    return round(time.astimezone(UTC).timestamp() * 1000)


def apply(
    session: icechunk.Session, modality: str, remove: Iterable[datetime], insert: Sequence[Step]
) -> None:
    """Take scenes out of a group and put scenes in, keeping it in order of time.

    Scenes that only change place are not rewritten: their chunks are re-indexed, so a late scene
    costs no more than a new one.

    Parameters
    ----------
    session
        Writable; nothing is visible to readers before it commits.
    modality
        Name of the group.
    remove
        Times to take out; times that are not there are ignored.
    insert
        Scenes to put in, in any order.

    Raises
    ------
    StoreError
        If two scenes would stand at the same time; ``time_order`` if some do already.
    """
    group = _Group(session, modality)
    old = group.values("time").tolist()
    _require_order(old, modality)
    gone = {milliseconds(time) for time in remove}
    steps = {milliseconds(step.time): step for step in insert}
    first = bisect_left(old, min(gone | steps.keys(), default=math.inf))
    kept = [time for time in old[first:] if time not in gone]
    if len(steps) < len(insert) or not steps.keys().isdisjoint(kept):
        clash = sorted(steps.keys() & set(kept)) or sorted(steps)
        raise StoreError(
            f"two {modality} scenes would stand at {datetime.fromtimestamp(clash[0] / 1000, UTC)}; "
            "every scene needs a time of its own"
        )
    new = sorted([*kept, *steps])
    place = {time: first + index for index, time in enumerate(new)}
    # A removed time that is also inserted is no move: the place is written anew.
    moves = {
        first + index: place[time]
        for index, time in enumerate(old[first:])
        if time in place and time not in gone
    }
    group.move(len(old), first + len(new), first, moves)
    for time, step in steps.items():
        group.write_scene(place[time], step.reading)
    group.write_coords(first, old[first:], new, steps)


def _require_order(times: Sequence[int], modality: str) -> None:
    steps = np.diff(np.array(times, np.int64))
    if (steps <= 0).any():
        wrong = datetime.fromtimestamp(times[int(np.argmax(steps <= 0)) + 1] / 1000, UTC)
        raise StoreError(
            f"the cube's {modality} scene of {wrong} comes twice or out of order, so no scene has "
            "a place of its own: somebody wrote past the ledger. See `thermocube check`, and "
            "`thermocube rollback` to before it",
            kind="time_order",
        )


def read_step(session: icechunk.Session, modality: str, time: datetime) -> Reading:
    """Read one stored scene back as a reading.

    Raises
    ------
    StoreError
        If there is no scene at that time.
    """
    group = _Group(session, modality)
    found = np.flatnonzero(group.values("time") == milliseconds(time))
    if found.size == 0:
        raise StoreError(f"the cube holds no {modality} scene at {time}")
    return Reading(*(np.asarray(group.array(name)[int(found[0])]) for name in LAYERS))


class _Group:
    """The arrays of one modality's group in a session."""

    def __init__(self, session: icechunk.Session, modality: str) -> None:
        self._session = session
        self.modality = modality

    def array(self, name: str) -> zarr.Array[Any]:
        """Open an array, for writing if the session allows it.

        Chunks that hold nothing but fill are written all the same: a chunk that is absent then
        always means damage, and re-indexing never meets a hole.
        """
        import zarr

        return zarr.open_array(**self._place(name))

    def _place(self, name: str) -> dict[str, Any]:
        return {
            "store": self._session.store,
            "path": f"{self.modality}/{name}",
            "mode": "r" if self._session.read_only else "r+",
            "config": {"write_empty_chunks": True},
        }

    def values(self, name: str) -> np.ndarray:
        """All values of a one-dimensional array."""
        return np.asarray(self.array(name)[:])

    def move(self, before: int, after: int, first: int, moves: dict[int, int]) -> None:
        """Give the scenes that stay their new places, without rewriting them.

        Those before `first` keep theirs.
        """
        moved = any(source != target for source, target in moves.items())

        def forward(index: Iterable[int]) -> list[int] | None:
            time, *rest = index
            if time < first:
                return [time, *rest]
            # A removed scene's chunks stay where they are: each place is overwritten by what
            # moves or is written there, or falls off the end.
            return [moves[time], *rest] if time in moves else None

        for name in LAYERS:
            layer = self.array(name)
            if after > before:
                layer.resize((after, *layer.shape[1:]))
            if moved:
                self._session.reindex_array(f"/{self.modality}/{name}", forward)
            if after < before:
                layer.resize((after, *layer.shape[1:]))

    def write_scene(self, index: int, reading: Reading | Encoded) -> None:
        """Fill one place on the time axis."""
        if isinstance(reading, Encoded):
            reading.place(self._session, self.modality, index)
            return
        for name in LAYERS:
            self.array(name)[index] = getattr(reading, name)

    def write_coords(
        self, first: int, old: Sequence[int], new: Sequence[int], steps: dict[int, Step]
    ) -> None:
        """Rewrite the coordinates on the time axis from place `first` on.

        Parameters
        ----------
        first
            Everything before it stays.
        old, new
            Times from there on, as they were and as they are to be.
        steps
            Scenes by time that are new.
        """
        from zarr.api.asynchronous import open_array
        from zarr.core.sync import sync

        times = np.array(new, dtype=np.int64)
        fresh = [index for index, time in enumerate(new) if time in steps]
        kept = np.ones(len(new), dtype=bool)
        kept[fresh] = False
        # Both are in order of time, so what is kept stands in the same order in either.
        source = np.isin(np.array(old, dtype=np.int64), times[kept])

        async def write(name: str) -> None:
            array = await open_array(**self._place(name))
            values = times
            if name in SCENE_COORDS:
                values = np.empty(len(new), dtype=array.dtype)
                if source.any():
                    values[kept] = np.asarray(await array.getitem(slice(first, None)))[source]
                for index in fresh:
                    values[index] = steps[new[index]].coords[name]
            await array.resize((first + len(new),))
            if new:
                await array.setitem(slice(first, None), values)

        async def write_all() -> None:
            # One after the other: the store came to a stand where arrays shrank side by side.
            for name in (*SCENE_COORDS, "time"):
                await write(name)

        sync(write_all())
