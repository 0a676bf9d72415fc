"""Splits: which ground, or which dates, are for training, for validation and for test."""

from __future__ import annotations

import math
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cube.errors import PlanError
from cube.patches import lay_patches, paint, spread, widen, window_sums

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")

# The study's protocol: the last 15 % of the dates are test, the last 15 % of the rest validation.
THESIS_FRACTIONS = (0.85 * 0.85, 0.85 * 0.15, 0.15)

# An assignment of blocks costs a few passes over the map; large maps are given fewer tries.
_PIXELS_SEARCHED = 40_000_000
_MIN_TRIES, _MAX_TRIES = 32, 256


class SplitSettings(BaseModel):
    """How samples are divided; made before any sample is drawn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["blocks", "time", "thesis"] = "blocks"
    """``blocks``: by place, leak-safe. ``time``: by date, every place in all parts.
    ``thesis``: the study's 85/15 in time order, 15 % of the 85 for validation."""
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    """Train, validation, test; sum 1. Not used by ``thesis``."""
    block: int | None = Field(default=None, ge=1)
    """Side of a square block, pixels; by default half a patch. Only for ``blocks``."""
    buffer: int | None = Field(default=None, ge=1)
    """At least so many pixels lie between two parts, in rows or in columns; by default
    one patch. Only for ``blocks``."""
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if min(self.fractions) <= 0 or not math.isclose(sum(self.fractions), 1, abs_tol=1e-6):
            raise ValueError(f"fractions are three positive shares of sum 1, not {self.fractions}")
        return self

    @property
    def by_place(self) -> bool:
        """Whether the parts are pieces of ground rather than spans of time."""
        return self.kind == "blocks"

    def for_patch(self, patch: int) -> SplitSettings:
        """Fill in the defaults that depend on the patch."""
        if not self.by_place:
            return self
        block, buffer = self.block or max(1, patch // 2), self.buffer or patch
        return self.model_copy(update={"block": block, "buffer": buffer})


def block_map(blocks: np.ndarray, block: int, shape: tuple[int, int]) -> np.ndarray:
    """Blow the table of blocks up to pixels.

    Parameters
    ----------
    blocks : ndarray of int8, (block row, block column)
        Index into `PARTS`.
    block
        Side of a block, pixels; the last row and column of blocks may be cut by the border.
    shape
        Rows and columns of the map.
    """
    rows, columns = (np.arange(size) // block for size in shape)
    return blocks[np.ix_(rows, columns)]


def assign_blocks(
    labels: np.ndarray, patch: int, split: SplitSettings, need: int = 1
) -> np.ndarray:
    """Assign square blocks to parts so that every class has its share in every part.

    Validation and test are one to three rectangles of blocks each: compact pieces lose the
    least ground to the buffer, all of which is taken from the train part (and from the
    validation part where it meets test). Of a bounded number of seeded draws the best is kept;
    see `_score`.

    Parameters
    ----------
    labels : ndarray of uint8, (y, x)
        0 where there is no label.
    patch
        Side of a patch, pixels.
    split
        With `block` and `buffer` filled in.
    need
        Ground counts only under patches with at least so many labelled pixels.

    Returns
    -------
    ndarray of int8, (block row, block column)
        Index into `PARTS`.

    Raises
    ------
    PlanError
        If no draw leaves labelled ground for a patch in each part.
    """
    assert split.block is not None and split.buffer is not None
    rng = np.random.default_rng(split.seed)
    lattice = (math.ceil(labels.shape[0] / split.block), math.ceil(labels.shape[1] / split.block))
    tries = int(np.clip(_PIXELS_SEARCHED // labels.size, _MIN_TRIES, _MAX_TRIES))
    worth = window_sums(labels > 0, patch) >= need
    pieces: dict[int, list[tuple[slice, slice]]] = {}
    best, best_score = None, -math.inf
    for _ in range(tries):
        # Once there is something to better, one part or the other is drawn anew, or both.
        redrawn = (1, 2) if best is None else ((1,), (2,), (1, 2))[rng.integers(0, 3)]
        trial = pieces | {part: _draw(rng, lattice, split.fractions[part]) for part in redrawn}
        blocks = _assigned(lattice, trial)
        parts = block_map(blocks, split.block, labels.shape)
        ground = _ground(parts, worth, patch, split.buffer)
        score = _score(labels, ground, split.fractions)
        if score > best_score:
            best, best_score, pieces = blocks, score, trial
    if best is None:
        raise PlanError(
            f"no split: in none of {tries} assignments of {lattice[0]} x {lattice[1]} blocks of "
            f"{split.block} px, on a map of {labels.shape[0]} x {labels.shape[1]} px, did train, "
            f"val and test all keep labelled ground for one patch of {patch} px with "
            f"{split.buffer} px between the parts; take a smaller patch, buffer or block"
        )
    return best


def _draw(
    rng: np.random.Generator, lattice: tuple[int, int], fraction: float
) -> list[tuple[slice, slice]]:
    """Draw one to three rectangles of blocks that make up about `fraction` of the map."""
    pieces = int(rng.integers(1, 4))
    # The train part shrinks by the buffers, so that less than the fraction asked for often
    # ends up nearer to it.
    size = fraction * lattice[0] * lattice[1] * rng.uniform(0.3, 1.2) / pieces
    rectangles = []
    for _ in range(pieces):
        aspect = math.exp(rng.uniform(-0.7, 0.7))
        height = int(np.clip(round(math.sqrt(size * aspect)), 1, lattice[0]))
        width = int(np.clip(round(size / height), 1, lattice[1]))
        row = _edge_loving(rng, lattice[0] - height)
        column = _edge_loving(rng, lattice[1] - width)
        rectangles.append((slice(row, row + height), slice(column, column + width)))
    return rectangles


def _assigned(lattice: tuple[int, int], pieces: dict[int, list[tuple[slice, slice]]]) -> np.ndarray:
    blocks = np.zeros(lattice, np.int8)
    for part in sorted(pieces):
        for rectangle in pieces[part]:
            blocks[rectangle] = part
    return blocks


def _edge_loving(rng: np.random.Generator, last: int) -> int:
    """Draw a position, half of the time at one of the ends, where a buffer costs least."""
    ends = rng.random() < 0.5
    return int(rng.integers(0, 2)) * last if ends else int(rng.integers(0, last + 1))


def _ground(parts: np.ndarray, worth: np.ndarray, patch: int, buffer: int) -> list[np.ndarray]:
    """Ground that patches of each part can cover; test yields to none, train to both others."""
    covers, taken = {}, np.zeros(parts.shape, bool)
    for part in (2, 1, 0):
        fits = window_sums((parts == part) & ~taken, patch) == patch * patch
        covers[part] = spread(fits & worth, patch) > 0
        taken |= widen(covers[part], buffer)
    return [covers[part] for part in range(3)]


def _score(
    labels: np.ndarray, ground: list[np.ndarray], fractions: tuple[float, float, float]
) -> float:
    """Rate an assignment: class coverage less the deviation from the fractions asked for.

    Coverage is the mean over parts and classes of the root of the share of its due that a
    class got, 1 at most: the root makes the first pixels of a rare class count most.
    """
    codes = int(labels.max()) + 1
    counts = np.stack([np.bincount(labels[cover], minlength=codes)[1:] for cover in ground])
    if not counts.sum(axis=1).all():
        return -math.inf
    total = np.bincount(labels.ravel(), minlength=codes)[1:]
    due = np.outer(fractions, total[total > 0])
    coverage = np.sqrt(np.minimum(counts[:, total > 0] / due, 1)).mean()
    shares = counts.sum(axis=1) / counts.sum()
    return float(coverage - np.abs(shares - fractions).sum() / 2)


def place_by_blocks(
    labels: np.ndarray, blocks: np.ndarray, patch: int, stride: int, split: SplitSettings, need: int
) -> tuple[np.ndarray, np.ndarray]:
    """Lay each part's patches inside its own blocks, `split.buffer` pixels from the others.

    Parameters
    ----------
    labels : ndarray of uint8, (y, x)
    blocks : ndarray of int8
        From `assign_blocks`.
    patch, stride
        Pixels.
    split
        With `block` and `buffer` filled in.
    need
        A patch with fewer labelled pixels is left out, and needs no buffer.

    Returns
    -------
    places : ndarray of int32, (n, 2)
    parts : ndarray of int32, (n,)
    """
    assert split.block is not None and split.buffer is not None
    shape = (labels.shape[0], labels.shape[1])
    ground = block_map(blocks, split.block, shape)
    labelled = window_sums(labels > 0, patch)
    places, parts, taken = [], [], np.zeros(shape, bool)
    for part in (2, 1, 0):
        found = lay_patches((ground == part) & ~taken, patch, stride)
        found = found[labelled[found[:, 0], found[:, 1]] >= need]
        taken |= widen(paint(found, patch, shape) > 0, split.buffer)
        places.append(found)
        parts.append(np.full(len(found), part, np.int32))
    return np.concatenate(places), np.concatenate(parts)


def split_dates(count: int, split: SplitSettings) -> np.ndarray:
    """Cut a row of dates into train, validation and test, in order of time.

    Parameters
    ----------
    count
        Number of dates that have samples.

    Returns
    -------
    ndarray of int32, (count,)
        Index into `PARTS`, never falling.

    Raises
    ------
    PlanError
        If there are fewer than three dates.
    """
    if count < 3:
        raise PlanError(
            f"a {split.kind!r} split needs at least 3 dates with samples, one a part; there "
            f"are {count}: lower min_valid, ingest more scenes, or split by blocks"
        )
    fractions = THESIS_FRACTIONS if split.kind == "thesis" else split.fractions
    first_test = min(max(2, round(count * (fractions[0] + fractions[1]))), count - 1)
    first_val = min(max(1, round(count * fractions[0])), first_test - 1)
    return np.searchsorted([first_val, first_test], np.arange(count), side="right").astype(np.int32)
