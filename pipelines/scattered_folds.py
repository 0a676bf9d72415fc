"""Folds of scattered blocks, with known ground close around each: gaps in a surveyed area."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

SPACING = 4
"""Every so many blocks, down and across, one is tested at the same time."""


@dataclass(frozen=True, eq=False)
class ScatteredFolds:
    """Every pixel is in the test ground of one fold; a fold's blocks lie on a lattice.

    The lattice looks at no label, so that nothing is chosen by it.
    """

    number: np.ndarray
    """Fold of each pixel, int (y, x)."""
    block: int
    """Side of a block, pixels."""
    buffer: int
    """Pixels between a tested block and known ground, in rows or in columns."""

    @classmethod
    def of(cls, shape: tuple[int, int], block: int, buffer: int) -> ScatteredFolds:
        """Lay the lattice over a map.

        Parameters
        ----------
        shape
            Rows and columns of the map.
        block, buffer
            Pixels.

        Raises
        ------
        ValueError
            If the buffers around the blocks of a fold leave no ground between them.
        """
        if 2 * buffer >= (SPACING - 1) * block:
            raise ValueError(
                f"buffers of {buffer} px on both sides fill the {(SPACING - 1) * block} px between "
                f"the blocks of a fold; take larger blocks than {block} px, or a smaller buffer"
            )
        rows, columns = (np.arange(side) // block % SPACING for side in shape)
        return cls(rows[:, np.newaxis] * SPACING + columns, block, buffer)

    @property
    def count(self) -> int:
        """Number of folds."""
        return SPACING**2

    @property
    def digests(self) -> list[str]:
        """SHA-256 of what each fold depends on."""
        grid = f"{self.number.shape} {self.block} {self.buffer} {SPACING}"
        return [
            hashlib.sha256(f"scattered {grid} {fold}".encode()).hexdigest()
            for fold in range(self.count)
        ]

    @property
    def in_words(self) -> str:
        """How known and tested ground differ."""
        return (
            f"blocks of {self.block} px, every {SPACING}th down and across tested at a time, "
            f"{self.buffer} px apart"
        )

    def train(self, *held_out: int) -> np.ndarray:
        """Ground whose labels may be known while these folds are tested: bool (y, x)."""
        return np.asarray(self.distance(*held_out) > self.buffer)

    def distance(self, *held_out: int) -> np.ndarray:
        """From each pixel to the test ground of these folds, in rows or columns, pixels (y, x)."""
        from scipy.ndimage import distance_transform_cdt

        elsewhere = ~np.isin(self.number, held_out)
        return np.asarray(distance_transform_cdt(elsewhere, metric="chessboard"))

    def inner(self, fold: int, groups: int) -> list[tuple[int, ...]]:
        """Single folds half a lattice away, each to be tested within this fold's training.

        More than one at a time would leave no ground to learn from.
        """
        half = SPACING // 2
        row, column = divmod(fold, SPACING)
        offsets = [(0, half), (half, 0), (half, half)]
        return [
            ((row + down) % SPACING * SPACING + (column + across) % SPACING,)
            for down, across in offsets[:groups]
        ]
