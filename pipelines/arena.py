"""The arena: a fixed number of planes in memory, filled ahead by threads, the oldest given up."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future

import numpy as np

from pipelines.blocks import Layout, Window, plane_shape
from pipelines.planes import Reader

_READ, _DATES = 16e6, 16
"""Bytes of imagery and dates in one read, at most: smaller reads cost more calls, larger ones keep
the first batch waiting, and hold more memory on top of the arena. A date is the least."""


class Arena:
    """Planes of all sources in two arrays, so that a batch is cut from many blocks at once.

    What is not needed any more stays until its place is, so blocks that share dates, and epochs
    of a cube that fits, read nothing twice. Used by one epoch at a time and from one thread; only
    the reads run in others.

    Parameters
    ----------
    readers, layouts
        One for each source.
    slots
        Planes held, at most.
    """

    def __init__(
        self, readers: Sequence[Reader], layouts: Sequence[Layout], slots: int, bands: int
    ) -> None:
        self._readers, self._layouts = readers, layouts
        self._first = np.cumsum([0] + [layout.size for layout in layouts])
        height, width = plane_shape(layouts)
        self.x = np.empty((slots, height, width, bands), np.float32)
        self.valid = np.zeros((slots, height, width), np.uint8)
        self._dates = max(1, min(_DATES, int(_READ // (4 * height * width * bands))))
        self._slots: OrderedDict[int, int] = OrderedDict()
        self._free = list(range(slots))[::-1]
        self._users: Counter[int] = Counter()
        self._reads: dict[int, Future[None]] = {}

    def claim(self, window: Window, pool: Executor) -> None:
        """Hold a window's planes, and begin to read those that are not here."""
        planes = window.planes.tolist()
        self._users.update(planes)
        missing = []
        for plane in planes:
            if plane in self._slots:
                self._slots.move_to_end(plane)
            else:
                missing.append(plane)
        for plane in missing:
            self._slots[plane] = self._free.pop() if self._free else self._evict()
        for run in self._runs(np.array(missing, np.int64)):
            read = pool.submit(self._read, *run)
            self._reads.update(dict.fromkeys(run[1].tolist(), read))

    def wait(self, window: Window) -> np.ndarray:
        """Wait until a window's planes are here.

        Returns
        -------
        ndarray of int64, (plane,)
            The place of each of ``window.planes``.
        """
        planes = window.planes.tolist()
        for plane in planes:
            if plane in self._reads:
                self._reads[plane].result()
                del self._reads[plane]
        return np.array([self._slots[plane] for plane in planes], np.int64)

    def release(self, window: Window) -> None:
        """Let go of a window; its planes stay until their places are needed."""
        self._users.subtract(window.planes.tolist())
        self._users += Counter()

    def abandon(self) -> None:
        """Let go of everything once no read runs any more; keep what was read."""
        for plane, read in self._reads.items():
            if read.cancelled() or read.exception() is not None:
                self._free.append(self._slots.pop(plane))
        self._reads.clear()
        self._users.clear()

    def _evict(self) -> int:
        # Windows take at most half of the places each, so there is always one.
        oldest = next(plane for plane in self._slots if not self._users[plane])
        return self._slots.pop(oldest)

    def _runs(self, planes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Planes of one tile on a few dates, with their source."""
        source = np.searchsorted(self._first, planes, side="right") - 1
        tile = np.empty_like(planes)
        for number, layout in enumerate(self._layouts):
            own = source == number
            tile[own], _ = layout.split(planes[own] - self._first[number])
        new = np.flatnonzero((np.diff(source) != 0) | (np.diff(tile) != 0)) + 1
        for run in np.split(planes, new) if len(planes) else ():
            owner = int(np.searchsorted(self._first, run[0], side="right")) - 1
            for start in range(0, len(run), self._dates):
                yield owner, run[start : start + self._dates]

    def _read(self, owner: int, planes: np.ndarray) -> None:
        tiles, dates = self._layouts[owner].split(planes - self._first[owner])
        top, left, bottom, right = self._layouts[owner].tiles[tiles[0]].tolist()
        slots = np.array([self._slots[plane] for plane in planes.tolist()], np.int64)
        place = slice(top, bottom), slice(left, right)
        self._readers[owner].fill(dates, *place, slots, self.x, self.valid)
