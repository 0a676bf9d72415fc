"""One epoch: windows are read and batches are cut ahead of who takes them, in a fixed order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple

import numpy as np

from pipelines.arena import Arena
from pipelines.blocks import Layout, Window
from pipelines.cutter import Batch, Cutter, Spots


class Cut(NamedTuple):
    """A batch, and the symmetry that each of its samples is still to be turned by."""

    batch: Batch
    turns: np.ndarray


def run(
    layouts: Sequence[Layout],
    windows: Iterator[Window],
    cutter: Cutter,
    arena: Arena | None,
    *,
    batch_size: int,
    skip: int,
    threads: int,
) -> Iterator[Cut]:
    """Go through an epoch.

    Parameters
    ----------
    layouts
        One for each source.
    windows
        The epoch's order.
    cutter
        Cuts from the arena, or from what was staged.
    arena
        None if everything is staged: nothing is read then.
    batch_size
        Samples a batch.
    skip
        Samples to leave out at the beginning.
    threads
        For reading, and as many for cutting.

    Yields
    ------
    Cut
    """
    readers = ThreadPoolExecutor(threads, thread_name_prefix="thermocube-read")
    cutters = ThreadPoolExecutor(threads, thread_name_prefix="thermocube-cut")
    feed = _Feed(_Finder(layouts), cutter, arena, readers, cutters, _skipped(windows, skip))
    ahead: deque[list[Future[Cut]]] = deque()
    try:
        while True:
            while len(ahead) <= threads and (pieces := feed.take(batch_size)):
                ahead.append(pieces)
            if not ahead:
                return
            yield _joined([piece.result() for piece in ahead.popleft()])
    finally:
        cutters.shutdown(cancel_futures=True)
        readers.shutdown(cancel_futures=True)
        if arena is not None:
            arena.abandon()


def _skipped(windows: Iterator[Window], skip: int) -> Iterator[Window]:
    """Leave out samples at the beginning, and windows of which nothing is left."""
    for window in windows:
        if skip < len(window.order):
            yield Window(window.planes, window.order[skip:]) if skip else window
        skip = max(skip - len(window.order), 0)


def _joined(pieces: list[Cut]) -> Cut:
    """One batch of what was cut from several windows."""
    if len(pieces) == 1:
        return pieces[0]
    batch = Batch(
        *(np.concatenate(layers) for layers in zip(*(p.batch for p in pieces), strict=True))
    )
    return Cut(batch, np.concatenate([piece.turns for piece in pieces]))


class _Finder:
    """Finds where samples are in the planes."""

    def __init__(self, layouts: Sequence[Layout]) -> None:
        self._layouts = layouts
        self._first_sample = np.cumsum([0] + [len(layout.table) for layout in layouts])
        self._first_plane = np.cumsum([0] + [layout.size for layout in layouts])

    def find(self, window: Window, samples: np.ndarray, slots: np.ndarray | None) -> list[Spots]:
        """Group samples of a window by source; without `slots` everything is staged."""
        owners = np.searchsorted(self._first_sample, samples, side="right") - 1
        spots = []
        for owner in np.unique(owners).tolist():
            at = np.flatnonzero(owners == owner)
            layout, rows = self._layouts[owner], samples[at] - self._first_sample[owner]
            place, sequence = layout.table[rows].T
            dates, corners = layout.plan.sequences[sequence], layout.plan.places[place]
            if slots is not None:
                tiles = layout.tile_of_place[place]
                planes = layout.plane(tiles[:, np.newaxis], dates) + self._first_plane[owner]
                dates = slots[np.searchsorted(window.planes, planes)]
                corners = corners - layout.tiles[tiles, :2]
            spots.append(Spots(owner, rows, dates, corners, at))
        return spots


class _Feed:
    """Cuts samples in order; holds the window in use and the one after it, which is being read."""

    def __init__(
        self,
        finder: _Finder,
        cutter: Cutter,
        arena: Arena | None,
        readers: ThreadPoolExecutor,
        cutters: ThreadPoolExecutor,
        windows: Iterator[Window],
    ) -> None:
        self._finder, self._cutter, self._arena = finder, cutter, arena
        self._readers, self._cutters, self._windows = readers, cutters, windows
        self._claimed: deque[Window] = deque()
        self._current: Window | None = None
        self._slots: np.ndarray | None = None
        self._at = 0
        self._running: list[Future[Cut]] = []
        self._claim()

    def take(self, size: int) -> list[Future[Cut]]:
        """Begin to cut the next samples; a piece for each window that they are in."""
        pieces = []
        while size:
            if self._current is None or self._at == len(self._current.order):
                if not self._advance():
                    break
                continue
            samples = self._current.order[self._at : self._at + size]
            piece = self._cutters.submit(self._cut, self._current, samples, self._slots)
            pieces.append(piece)
            self._running.append(piece)
            self._at += len(samples)
            size -= len(samples)
        # Results live as long as their futures: only those that are not there yet are kept.
        self._running = [piece for piece in self._running if not piece.done()]
        return pieces

    def _cut(self, window: Window, samples: np.ndarray, slots: np.ndarray | None) -> Cut:
        spots = self._finder.find(window, samples, slots)
        return Cut(self._cutter.cut(spots), self._cutter.turns(spots))

    def _advance(self) -> bool:
        """Go on to the next window once nothing is cut from this one any more."""
        if self._current is not None:
            wait(self._running)
            if self._arena is not None:
                self._arena.release(self._current)
        self._claim()
        self._current = self._claimed.popleft() if self._claimed else None
        if self._current is None:
            return False
        self._at = 0
        if self._arena is not None:
            self._slots = self._arena.wait(self._current)
        return True

    def _claim(self) -> None:
        window = next(self._windows, None)
        if window is not None:
            self._claimed.append(window)
            if self._arena is not None:
                self._arena.claim(window, self._readers)
