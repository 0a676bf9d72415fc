"""Cutting: whole batches out of planes, into memory that is used again and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pipelines.augment import DROPPED, Draws
from pipelines.buffers import Buffers

if TYPE_CHECKING:
    from pipelines.blocks import Layout
    from pipelines.planes import Labels


_AT_ONCE = 6
"""Samples whose validity is looked at together: what that takes stays in the processor's cache."""


class Batch(NamedTuple):
    """Patches as a network takes them; the last batch of an epoch may be smaller."""

    x: np.ndarray
    """float32 (n, patch, patch, band), with sequences (n, sequence, patch, patch, band); physical
    units, NaN where not valid."""
    y: np.ndarray
    """uint8 (n, patch, patch), class codes."""
    weight: np.ndarray
    """float32 (n, patch, patch), 0 where a pixel is valid at no date or has no label."""


class Pixels(NamedTuple):
    """Planes to cut from."""

    x: np.ndarray
    """float32 (place, y, x, band)"""
    valid: np.ndarray
    """uint8 (place, y, x)"""


@dataclass(frozen=True, eq=False)
class Spots:
    """Where the samples of one source lie that go into one batch."""

    owner: int
    rows: np.ndarray
    """int64 (n,): rows of the part's table."""
    slots: np.ndarray
    """int64 (n, sequence): planes in `Pixels`."""
    corners: np.ndarray
    """int64 (n, 2): upper-left pixels there."""
    at: np.ndarray
    """int64 (n,): positions in the batch."""


class Cutter:
    """Cuts batches; may be used by threads.

    Parameters
    ----------
    layouts, labels
        One for each source.
    pixels
        One for each source; sources may share it.
    draws
        For each source, what `pipelines.augment.draw` gave; its time steps are taken here, its
        turns are not.
    buffers
        Where batches go.
    """

    def __init__(
        self,
        layouts: Sequence[Layout],
        labels: Sequence[Labels],
        pixels: Sequence[Pixels],
        draws: Sequence[Draws],
        buffers: Buffers,
    ) -> None:
        self._layouts, self._labels, self._buffers = layouts, labels, buffers
        self._pixels, self._draws = pixels, draws

    def cut(self, spots: Sequence[Spots]) -> Batch:
        """Cut one batch."""
        plan = self._layouts[0].plan
        count, square = sum(len(each.at) for each in spots), (plan.patch, plan.patch)
        shape = count, plan.sequence_length, *square, len(plan.bands)
        x = self._buffers.empty(shape, np.float32)
        y = self._buffers.empty((count, *square), np.uint8)
        weight = self._buffers.empty((count, *square), np.float32)
        for each in spots:
            slots, dropped = self._stepped(each)
            _copy_imagery(self._pixels[each.owner].x, slots, each, x)
            if dropped is not None:
                sample, date = np.nonzero(dropped)
                x[each.at[sample], date] = np.nan
            for start in range(0, len(each.at), _AT_ONCE):
                some = slice(start, start + _AT_ONCE)
                gone = None if dropped is None else dropped[some]
                self._copy_ground(each, some, slots[some], gone, y, weight)
        return Batch(x[:, 0] if plan.sequence_length == 1 else x, y, weight)

    def turns(self, spots: Sequence[Spots]) -> np.ndarray:
        """Symmetry of each sample of a batch: uint8 (n,)."""
        out = np.zeros(sum(len(each.at) for each in spots), np.uint8)
        for each in spots:
            drawn = self._draws[each.owner].turns
            if drawn is not None:
                out[each.at] = drawn[each.rows]
        return out

    def _copy_ground(
        self,
        spots: Spots,
        some: slice,
        slots: np.ndarray,
        dropped: np.ndarray | None,
        y: np.ndarray,
        weight: np.ndarray,
    ) -> None:
        """Copy codes and weights of a few samples into their places in the batch."""
        layout, labels = self._layouts[spots.owner], self._labels[spots.owner]
        patch, at = layout.plan.patch, spots.at[some]
        row, column = spots.corners[some].T
        valid = _patches(self._pixels[spots.owner].valid, patch)
        found = valid[slots, row[:, np.newaxis], column[:, np.newaxis]]
        if dropped is not None:
            found[dropped] = 0
        seen = np.bitwise_or.reduce(found, axis=1)
        top, left = layout.plan.places[layout.table[spots.rows[some], 0]].T
        y[at] = _patches(labels.lithology, patch)[top, left]
        weight[at] = _patches(labels.weight, patch)[top, left] * seen

    def _stepped(self, spots: Spots) -> tuple[np.ndarray, np.ndarray | None]:
        """Planes after time jitter, and which of them are to be missing."""
        steps = self._draws[spots.owner].steps
        if steps is None:
            return spots.slots, None
        own = steps[spots.rows]
        dropped = own == DROPPED
        date = np.arange(own.shape[1]) + np.where(dropped, 0, own)
        return np.take_along_axis(spots.slots, date, axis=1), dropped


def _copy_imagery(planes: np.ndarray, slots: np.ndarray, spots: Spots, x: np.ndarray) -> None:
    """Copy every sample into its place in the batch.

    One copy a sample where its dates lie one after another, else one a date: indexing with arrays
    would do it in one go, but into fresh memory only, which takes twice as long (see `Buffers`).
    The copies let go of the GIL.
    """
    side = x.shape[2]
    in_a_row = (np.diff(slots, axis=1) == 1).all(axis=1)
    rows = zip(spots.at.tolist(), slots.tolist(), spots.corners.tolist(), in_a_row, strict=True)
    for at, dates, (row, column), whole in rows:
        window = slice(row, row + side), slice(column, column + side)
        if whole:
            x[at] = planes[dates[0] : dates[-1] + 1, *window]
        else:
            for date, slot in enumerate(dates):
                x[at, date] = planes[slot, *window]


def _patches(layer: np.ndarray, patch: int) -> np.ndarray:
    """View (..., row, column, patch, patch)."""
    return sliding_window_view(layer, (patch, patch), axis=(-2, -1))
