"""Blocks: a tile at a run of dates, the samples that begin in it, and the order of an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cube.errors import PlanError
from cube.timeline import CHUNK

if TYPE_CHECKING:
    from cube.sample_plan import SamplePlan
    from cube.splits import Part

TILE = 256
"""Side of the smallest tiles, pixels; others are whole multiples of it."""

_TILES = (1, 2, 4, 8)
_RUNS = (1, 2, 4, 8, 16, 32)
_BLOCKS = (12, 6, 3)
"""Blocks that samples are shuffled over, at least: the first if that is to be had without decoding
more than `_EXCESS` times what is needed, else the next."""
_EXCESS = 2.5


@dataclass(frozen=True, slots=True)
class Shape:
    """How the samples are grouped: larger blocks read less twice, smaller ones shuffle better."""

    tile: int
    """Side of the ground in which a block's samples begin, pixels."""
    run: int
    """Dates on which a block's samples begin."""


class Layout:
    """Which samples of a part lie in which block, for one source.

    Parameters
    ----------
    plan : SamplePlan
    part
        ``"train"``, ``"val"`` or ``"test"``.
    shape
        Of the blocks.
    shuffle
        Blocks of tiles and runs; without it the samples keep the order of ``plan.part(part)``
        and a block is as wide as the region.
    """

    def __init__(self, plan: SamplePlan, part: Part, shape: Shape, shuffle: bool) -> None:
        self.plan, self.table = plan, plan.part(part)
        self._dates = len(plan.times)
        place_tile, self.tiles = _tiles(plan, self.table, shape.tile)
        self.tile_of_place = place_tile
        keys = self._keys(shape, shuffle)
        self._order = np.argsort(keys, kind="stable") if shuffle else np.arange(len(keys))
        found = keys[self._order]
        bounds = np.r_[0, np.flatnonzero(np.diff(found)) + 1, len(found)]
        self._starts, self._ends = bounds[:-1], bounds[1:]
        if not len(found):
            self._starts = self._ends = np.zeros(0, np.int64)

    def _keys(self, shape: Shape, shuffle: bool) -> np.ndarray:
        if shuffle:
            run = self.plan.sequences[self.table[:, 1], 0] // shape.run
            return run.astype(np.int64) * len(self.tiles) + self.tile_of_place[self.table[:, 0]]
        strips = self.plan.places[self.table[:, 0], 0] // shape.tile
        return self.table[:, 1].astype(np.int64) * (self.plan.shape[0] + 1) + strips

    @property
    def count(self) -> int:
        """Number of blocks."""
        return len(self._starts)

    def samples(self, block: int) -> np.ndarray:
        """Rows of the part's table that are in a block."""
        return self._order[self._starts[block] : self._ends[block]]

    def planes(self, block: int) -> np.ndarray:
        """Planes that a block needs: tile times the number of dates, plus the date."""
        rows = self.table[self.samples(block)]
        tiles = np.unique(self.tile_of_place[rows[:, 0]])
        dates = np.unique(self.plan.sequences[np.unique(rows[:, 1])])
        return (tiles[:, np.newaxis] * self._dates + dates).ravel()

    def split(self, planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tile and date of planes."""
        return planes // self._dates, planes % self._dates

    def plane(self, tiles: np.ndarray, dates: np.ndarray) -> np.ndarray:
        """Planes of tiles and dates."""
        return tiles * self._dates + dates

    @property
    def size(self) -> int:
        """Planes that there can be."""
        return len(self.tiles) * self._dates


def _tiles(plan: SamplePlan, table: np.ndarray, tile: int) -> tuple[np.ndarray, np.ndarray]:
    """Tile of each place, and first row, first column, end row, end column of each tile.

    A tile is as small as the part's patches that begin in it allow.
    """
    corners = plan.places
    across = plan.shape[1] // tile + 1
    used = np.unique(table[:, 0])
    ids = corners[used, 0] // tile * across + corners[used, 1] // tile
    _, index = np.unique(ids, return_inverse=True)
    of_place = np.zeros(len(corners), np.int64)
    of_place[used] = index
    count = int(index.max()) + 1 if len(index) else 0
    boxes = np.zeros((count, 4), np.int64)
    boxes[:, :2] = max(plan.shape)
    np.minimum.at(boxes[:, :2], index, corners[used])
    np.maximum.at(boxes[:, 2:], index, corners[used] + plan.patch)
    return of_place, boxes


def plane_bytes(layouts: Sequence[Layout], bands: int) -> int:
    """Bytes of a plane that every tile fits in: float32 imagery and one byte of validity."""
    height, width = plane_shape(layouts)
    return height * width * (4 * bands + 1)


def plane_shape(layouts: Sequence[Layout]) -> tuple[int, int]:
    """Rows and columns of a plane that every tile fits in."""
    sides = np.concatenate([layout.tiles[:, 2:] - layout.tiles[:, :2] for layout in layouts])
    height, width = sides.max(axis=0, initial=1)
    return int(height), int(width)


def choose_shape(plans: Sequence[SamplePlan], memory: float) -> Shape:
    """Choose the blocks that decode least in excess, of those that leave enough to shuffle over.

    A tile is read with a patch more on two sides, whole chunks at a time, and a run with the
    dates of its last sequence; both weigh less the larger the block is.

    Parameters
    ----------
    plans
        Of all sources.
    memory
        Bytes that the planes of all blocks in memory may take.
    """
    for blocks in _BLOCKS:
        shape, excess = _least_excess(plans, memory / (2 * blocks))
        if excess <= _EXCESS:
            break
    return shape


def _least_excess(plans: Sequence[SamplePlan], memory: float) -> tuple[Shape, float]:
    """The shape that decodes least in excess, of those that take no more memory."""
    best, least = Shape(TILE, 1), np.inf
    for tile in (factor * TILE for factor in _TILES):
        sides = [[min(tile + plan.patch - 1, side) for side in plan.shape] for plan in plans]
        plane = max(h * w for h, w in sides) * (4 * len(plans[0].bands) + 1)
        space = max(_excess_of_tile(plan, tile) for plan in plans)
        for run in _RUNS if plans[0].sequence_length > 1 else (1,):
            dates = max(_dates_of_run(plan, run) for plan in plans)
            excess = space * dates / run
            if excess < least and dates * plane <= memory:
                best, least = Shape(tile, run), excess
    return best, least


def _excess_of_tile(plan: SamplePlan, tile: int) -> float:
    """Chunks decoded for a tile in proportion to the chunks that it is, on average."""
    first = np.arange(0, max(tile, CHUNK), tile)
    excess = 1.0
    for side in plan.shape:
        there = -(-side // CHUNK)
        last = first + tile + plan.patch - 2
        touched = np.minimum(last // CHUNK - first // CHUNK + 1, there)
        excess *= float(touched.mean()) / min(tile / CHUNK, there)
    return excess


def _dates_of_run(plan: SamplePlan, run: int) -> int:
    """Dates that a run's sequences stand on, at most."""
    if not len(plan.sequences):
        return run
    runs = plan.sequences[:, 0] // run
    pairs = np.unique(
        np.repeat(runs, plan.sequence_length).astype(np.int64) * len(plan.times)
        + plan.sequences.ravel()
    )
    return int(np.bincount(pairs // len(plan.times)).max())


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Blocks that are in memory together, and the order in which their samples go out."""

    planes: np.ndarray
    """int64 (plane,): plane numbers over all sources, increasing."""
    order: np.ndarray
    """int64 (sample,): sample numbers over all sources."""


def windows(
    layouts: Sequence[Layout], limit: int, rng: np.random.Generator | None
) -> Iterator[Window]:
    """Decide the order of an epoch; reads nothing.

    Parameters
    ----------
    layouts
        One for each source.
    limit
        Planes in a window, at most. The first windows of a shuffled epoch hold fewer, so that
        its first batch does not wait for half of the memory to be filled.
    rng
        Shuffles the blocks, then the samples within each window; None keeps the order.

    Raises
    ------
    PlanError
        If a single block has more planes than `limit`.
    """
    first_plane = np.cumsum([0] + [layout.size for layout in layouts])
    first_sample = np.cumsum([0] + [len(layout.table) for layout in layouts])
    owners = np.repeat(np.arange(len(layouts)), [layout.count for layout in layouts])
    numbers = np.concatenate([np.arange(layout.count) for layout in layouts])
    turn = np.arange(len(owners)) if rng is None else rng.permutation(len(owners))
    planes: set[int] = set()
    samples: list[np.ndarray] = []
    room = limit if rng is None else max(limit // 12, 1)
    for owner, number in zip(owners[turn].tolist(), numbers[turn].tolist(), strict=True):
        layout = layouts[owner]
        wanted = set((layout.planes(number) + first_plane[owner]).tolist())
        if len(wanted) > limit:
            raise PlanError(
                f"a block of {len(wanted)} planes does not fit into the memory, which holds "
                f"2 x {limit}; allow {-(-len(wanted) // max(limit, 1))} times the memory"
            )
        if samples and len(planes | wanted) > room:
            yield _window(planes, samples, rng)
            planes, samples, room = set(), [], min(2 * room, limit)
        planes |= wanted
        samples.append(layout.samples(number) + first_sample[owner])
    if samples:
        yield _window(planes, samples, rng)


def _window(planes: set[int], samples: list[np.ndarray], rng: np.random.Generator | None) -> Window:
    order = np.concatenate(samples)
    if rng is not None:
        order = order[rng.permutation(len(order))]
    return Window(np.array(sorted(planes), np.int64), order)
