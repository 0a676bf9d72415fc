"""Cutting: whole batches out of planes, into memory that is used again and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipelines.augment import DROPPED, Draws
from pipelines.buffers import Buffers

if TYPE_CHECKING:
    from pipelines.blocks import Layout
    from pipelines.planes import Labels


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
            self._copy(each, Batch(x, y, weight))
        return Batch(x[:, 0] if plan.sequence_length == 1 else x, y, weight)

    def turns(self, spots: Sequence[Spots]) -> np.ndarray:
        """Symmetry of each sample of a batch: uint8 (n,)."""
        out = np.zeros(sum(len(each.at) for each in spots), np.uint8)
        for each in spots:
            drawn = self._draws[each.owner].turns
            if drawn is not None:
                out[each.at] = drawn[each.rows]
        return out

    def _copy(self, spots: Spots, batch: Batch) -> None:
        """Copy one source's samples into their places in the batch."""
        from pipelines.kernels import copy_samples

        pixels, labels = self._pixels[spots.owner], self._labels[spots.owner]
        layout = self._layouts[spots.owner]
        slots, dropped = self._stepped(spots)
        copy_samples(
            _joined_bands(pixels.x),
            pixels.valid,
            slots,
            spots.corners,
            dropped,
            labels.lithology,
            labels.weight,
            layout.plan.places[layout.table[spots.rows, 0]],
            spots.at,
            _joined_bands(batch.x),
            batch.y,
            batch.weight,
        )

    def _stepped(self, spots: Spots) -> tuple[np.ndarray, np.ndarray]:
        """Planes after time jitter, and which of them are to be missing."""
        steps = self._draws[spots.owner].steps
        if steps is None:
            return spots.slots, np.zeros(spots.slots.shape, bool)
        own = steps[spots.rows]
        dropped = own == DROPPED
        date = np.arange(own.shape[1]) + np.where(dropped, 0, own)
        return np.take_along_axis(spots.slots, date, axis=1), dropped


def _joined_bands(layer: np.ndarray) -> np.ndarray:
    """View with columns and bands as one axis."""
    return layer.reshape(*layer.shape[:-2], -1)
