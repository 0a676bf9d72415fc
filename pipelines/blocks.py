"""Whole space-time blocks: which samples lie in which, in what order, and reading them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cube.errors import PlanError
from cube.quality import is_valid

if TYPE_CHECKING:
    import xarray as xr

    from cube.sampling import SamplePlan

# A block is one date of one tile: the chunk of the cube on disk, and the patches that begin in it.
TILE = 256


class Pixels(NamedTuple):
    """What was read of one block: imagery (y, x, band), labels and weight (y, x)."""

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True, slots=True)
class Block:
    """One date of one tile, as small as its patches allow."""

    time: int
    rows: slice
    columns: slice
    samples: np.ndarray
    """Indices into the part's table, increasing."""


@dataclass(frozen=True, slots=True)
class Window:
    """Blocks that are in memory together, and the order in which their samples go out."""

    blocks: tuple[Block, ...]
    order: tuple[tuple[int, int], ...]
    """Pairs: which of `blocks`, index into the part's table."""


class Reader:
    """Reads blocks of one dataset; holds the label map, no imagery, and may be used by threads.

    Parameters
    ----------
    dataset : xarray.Dataset
        ``imagery``, ``qc`` on Zarr, opened with ``chunks=None``: Dask inside a loader costs
        half of the speed and more.
    labels : xarray.Dataset
        ``lithology(y, x)``, and ``weight(y, x)`` if it is asked for. None: labels are all 0.
    plan : SamplePlan
        Gives the order of the bands.
    label_weight
        Multiply the weight by the labels' ``weight``.
    """

    def __init__(
        self,
        dataset: xr.Dataset,
        labels: xr.Dataset | None,
        plan: SamplePlan,
        label_weight: bool = False,
    ) -> None:
        plan.require(dataset, labels)
        self._imagery, self._qc = dataset["imagery"], dataset["qc"]
        stored = [str(name) for name in dataset["band"].values]
        # Bands are put in order after the read: asking Zarr for a list of indices is 2-3x slower.
        self._bands = [stored.index(name) for name in plan.bands]
        self._labels = np.zeros(plan.shape, np.uint8)
        if labels is not None:
            self._labels = _plane(labels, "lithology", np.uint8)
        self._weight = (self._labels > 0).astype(np.float32)
        if labels is not None and label_weight:
            self._weight *= _plane(labels, "weight", np.float32)

    def read(self, block: Block) -> Pixels:
        """Read one block whole; a pixel that is not valid is NaN in every band."""
        place = {"time": block.time, "y": block.rows, "x": block.columns}
        x = self._imagery.isel(place).load().transpose("y", "x", "band").values
        x = x[:, :, self._bands].astype(np.float32)
        valid = is_valid(self._qc.isel(place).load().transpose("y", "x").values)
        valid &= np.isfinite(x).all(axis=-1)
        x[~valid] = np.nan
        window = block.rows, block.columns
        return Pixels(x, self._labels[window], self._weight[window] * valid)


def _plane(labels: xr.Dataset, name: str, dtype: type) -> np.ndarray:
    if name not in labels:
        raise PlanError(
            f"the labels have no layer {name!r}; they have {', '.join(map(str, labels.data_vars))}"
        )
    return np.asarray(labels[name].transpose("y", "x").values, dtype=dtype)


def group_samples(plan: SamplePlan, table: np.ndarray, tile: int | None) -> list[Block]:
    """Group samples by date and tile; without `tile`, by date and strip of rows.

    Parameters
    ----------
    plan : SamplePlan
    table : ndarray of int32, (n, 2)
        ``plan.part(...)``: place index, time index.
    tile
        Width of a tile, pixels.

    Returns
    -------
    list of Block
        In order of time, row, column. Without `tile` their samples follow one another as in
        `table`.
    """
    corners = plan.places[table[:, 0]]
    columns = corners[:, 1] // tile if tile else np.zeros(len(table), np.int64)
    keys = np.stack([table[:, 1], corners[:, 0] // TILE, columns], axis=1)
    _, group = np.unique(keys, axis=0, return_inverse=True)
    order = np.argsort(group, kind="stable")
    blocks = []
    for samples in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        first, last = corners[samples].min(axis=0), corners[samples].max(axis=0) + plan.patch
        rows, cols = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
        blocks.append(Block(int(table[samples[0], 1]), rows, cols, samples))
    return blocks


def order_windows(blocks: list[Block], size: int, rng: np.random.Generator | None) -> list[Window]:
    """Decide the order of an epoch before anything is read.

    Parameters
    ----------
    blocks
        All blocks of a part.
    size
        Blocks a window.
    rng
        Shuffles the blocks, then the samples within each window; None keeps the order.
    """
    if rng is not None:
        blocks = [blocks[index] for index in rng.permutation(len(blocks))]
    windows = []
    for start in range(0, len(blocks), size):
        held = tuple(blocks[start : start + size])
        order = [(number, int(row)) for number, block in enumerate(held) for row in block.samples]
        if rng is not None:
            order = [order[index] for index in rng.permutation(len(order))]
        windows.append(Window(held, tuple(order)))
    return windows
