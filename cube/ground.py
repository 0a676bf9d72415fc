"""Ground: which blocks of a map belong to which part, and the patches laid inside them."""

from __future__ import annotations

import math

import numpy as np

from cube.errors import PlanError
from cube.patches import lay_patches, paint, spread, widen, window_sums
from cube.splits import SplitSettings

# An assignment of blocks costs a few passes over the map; large maps are given fewer tries.
PIXELS_SEARCHED = 40_000_000
_MIN_TRIES, _MAX_TRIES = 32, 256


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
    see `score`.

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
    tries = int(np.clip(PIXELS_SEARCHED // labels.size, _MIN_TRIES, _MAX_TRIES))
    worth = window_sums(labels > 0, patch) >= need
    held_out = tuple(part for part in (1, 2) if split.shares[part] > 0)
    choices = (*((part,) for part in held_out), held_out)
    pieces: dict[int, list[tuple[slice, slice]]] = {}
    best, best_score = None, -math.inf
    for _ in range(tries):
        # Once there is something to better, one part or the other is drawn anew, or both.
        redrawn = held_out if best is None else choices[rng.integers(0, len(choices))]
        trial = pieces | {part: _draw(rng, lattice, split.shares[part]) for part in redrawn}
        blocks = _assigned(lattice, trial)
        rating = score(labels, blocks, worth, patch, split)
        if rating > best_score:
            best, best_score, pieces = blocks, rating, trial
    if best is None:
        raise PlanError(
            f"no split: in none of {tries} assignments of {lattice[0]} x {lattice[1]} blocks of "
            f"{split.block} px, on a map of {labels.shape[0]} x {labels.shape[1]} px, did "
            f"{', '.join(split.parts)} all keep labelled ground for one patch of {patch} px with "
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


def score(
    labels: np.ndarray, blocks: np.ndarray, worth: np.ndarray, patch: int, split: SplitSettings
) -> float:
    """Rate an assignment: class coverage less the deviation from the shares asked for.

    Coverage is the mean over parts and classes of the root of the share of its due that a
    class got, 1 at most: the root makes the first pixels of a rare class count most.

    Parameters
    ----------
    labels : ndarray of uint8, (y, x)
    blocks : ndarray of int8, (block row, block column)
        Index into `PARTS`.
    worth : ndarray of bool, (y - patch + 1, x - patch + 1)
        Upper-left pixels of the patches with labels enough.
    patch
        Pixels.
    split
        With `block` and `buffer` filled in.

    Returns
    -------
    float
        At most 1; minus infinity if a part that there must be has no ground.
    """
    assert split.block is not None and split.buffer is not None
    covers = _ground(block_map(blocks, split.block, labels.shape), worth, patch, split.buffer)
    wanted = np.flatnonzero(split.shares)
    shares = np.array(split.shares)[wanted]
    codes = int(labels.max()) + 1
    counts = np.stack([np.bincount(labels[covers[part]], minlength=codes)[1:] for part in wanted])
    if not counts.sum(axis=1).all():
        return -math.inf
    total = np.bincount(labels.ravel(), minlength=codes)[1:]
    due = np.outer(shares, total[total > 0])
    coverage = np.sqrt(np.minimum(counts[:, total > 0] / due, 1)).mean()
    reached = counts.sum(axis=1) / counts.sum()
    return float(coverage - np.abs(reached - shares).sum() / 2)


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
