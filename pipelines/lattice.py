"""Where the patches of a region lie, and the windows it is worked through in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cube.errors import ModelError

Window = tuple[slice, slice]
"""Rows and columns of a region, with plain non-negative bounds."""


@dataclass(frozen=True)
class Lattice:
    """The places of all patches of a region.

    Patches start at multiples of `stride`; one more, flush with the border, covers a ragged edge.
    Along an axis shorter than a patch there is one patch, which sticks out of the region.
    """

    shape: tuple[int, int]
    """Rows and columns of the region."""
    patch: int
    """Side of a patch, pixels."""
    stride: int
    """Step from one patch to the next, pixels; at most `patch`, or there would be holes."""

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or not 1 <= self.stride <= self.patch:
            raise ModelError(
                f"patches of {self.patch} px every {self.stride} px cannot cover a region of "
                f"{self.shape[0]} x {self.shape[1]} px: the stride must lie between 1 and the patch"
            )

    @cached_property
    def starts(self) -> tuple[np.ndarray, np.ndarray]:
        """First row, and first column, of the patches; ascending."""
        return self._starts(self.shape[0]), self._starts(self.shape[1])

    def _starts(self, size: int) -> np.ndarray:
        last = max(size - self.patch, 0)
        return np.unique(np.append(np.arange(0, last, self.stride), last))

    def touching(self, window: Window) -> np.ndarray:
        """Find the patches that share a pixel with the window.

        Returns
        -------
        ndarray of int, (n, 2)
            Row and column of the upper-left pixels, row by row.
        """
        rows, columns = (
            starts[(starts < part.stop) & (starts + self.patch > part.start)]
            for starts, part in zip(self.starts, window, strict=True)
        )
        return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)

    def reach(self, window: Window) -> Window:
        """The window and its halo: all pixels that the window's result depends on."""
        origins = self.touching(window)
        first, end = origins.min(axis=0), origins.max(axis=0) + self.patch
        return (
            slice(int(first[0]), min(int(end[0]), self.shape[0])),
            slice(int(first[1]), min(int(end[1]), self.shape[1])),
        )


def windows(shape: tuple[int, int], size: int) -> Iterator[Window]:
    """Cut a region into square windows, row by row; those at the far edges are smaller."""
    for row in range(0, shape[0], size):
        for column in range(0, shape[1], size):
            yield (
                slice(row, min(row + size, shape[0])),
                slice(column, min(column + size, shape[1])),
            )
