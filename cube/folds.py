"""Folds: the blocks of a map in compact groups, each of them the test ground once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cube import ground
from cube.errors import PlanError
from cube.patches import window_sums
from cube.splits import SplitSettings

_MIN_TRIES, _MAX_TRIES = 4, 24

Piece = tuple[slice, slice]


def assign_folds(labels: np.ndarray, patch: int, split: SplitSettings, need: int = 1) -> np.ndarray:
    """Assign blocks to parts: one fold is test, the next one validation, the rest train.

    Parameters
    ----------
    labels, patch, split, need
        See `ground.assign_blocks`.

    Returns
    -------
    ndarray of int8, (block row, block column)
        Index into `PARTS`.

    Raises
    ------
    PlanError
        See `fold_map`.
    """
    test, count = split.fold_numbers
    return _parts(fold_map(labels, patch, split, need), test, count)


def fold_map(labels: np.ndarray, patch: int, split: SplitSettings, need: int = 1) -> np.ndarray:
    """Divide the blocks into folds of about as much labelled ground each.

    The map is cut in two, and each piece again, until there are as many rectangles as folds:
    compact pieces lose the least ground to the buffer. Of a few seeded ways to cut, the one is
    kept whose worst fold has the best mix of classes; see `ground.score`. Which fold is test
    plays no part in it.

    Parameters
    ----------
    labels, patch, split, need
        See `ground.assign_blocks`.

    Returns
    -------
    ndarray of int, (block row, block column)
        Fold of each block, from 0.

    Raises
    ------
    PlanError
        If some fold would leave a part without labelled ground for a patch.
    """
    assert split.block is not None and split.buffer is not None
    count = split.fold_numbers[1]
    rng = np.random.default_rng(split.seed)
    weight = _block_sums(labels > 0, split.block)
    worth = window_sums(labels > 0, patch) >= need
    tries = int(np.clip(ground.PIXELS_SEARCHED // (labels.size * count), _MIN_TRIES, _MAX_TRIES))
    best, best_score, seen = None, -np.inf, set()
    for _ in range(tries):
        folds = _cut_up(weight, count, rng)
        if folds is None or folds.tobytes() in seen:
            continue
        seen.add(folds.tobytes())
        score = min(
            ground.score(labels, _parts(folds, fold, count), worth, patch, split)
            for fold in range(count)
        )
        if score > best_score:
            best, best_score = folds, score
    if best is None:
        raise PlanError(
            f"no {count} folds: on a map of {labels.shape[0]} x {labels.shape[1]} px, some part of "
            f"some fold would be left without labelled ground for one patch of {patch} px, with "
            f"{split.buffer} px between the parts; take fewer folds, or a smaller patch or buffer"
        )
    return best


def _parts(folds: np.ndarray, test: int, count: int) -> np.ndarray:
    return np.select([folds == test, folds == (test + 1) % count], [2, 1], 0).astype(np.int8)


def _block_sums(mask: np.ndarray, block: int) -> np.ndarray:
    rows = np.add.reduceat(mask.astype(np.int64), np.arange(0, mask.shape[0], block), axis=0)
    return np.asarray(np.add.reduceat(rows, np.arange(0, mask.shape[1], block), axis=1))


def _cut_up(weight: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray | None:
    """Number `count` rectangles of about the same weight; None if the map has too few blocks."""
    folds = np.zeros(weight.shape, np.int64)
    pieces = list(
        _halves(weight, (slice(0, weight.shape[0]), slice(0, weight.shape[1])), count, rng)
    )
    if len(pieces) < count:
        return None
    for number, piece in enumerate(pieces):
        folds[piece] = number
    return folds


def _halves(
    weight: np.ndarray, piece: Piece, count: int, rng: np.random.Generator
) -> Iterator[Piece]:
    """Cut a piece in two, in proportion to the folds that each half gets, and so on."""
    sizes = [side.stop - side.start for side in piece]
    if count == 1 or max(sizes) < 2:
        yield piece
        return
    axis = int(np.argmax(sizes))
    if min(sizes) > 1 and rng.random() < 0.3:
        axis = 1 - axis
    first = count // 2 if rng.random() < 0.5 else count - count // 2
    along = np.cumsum(weight[piece].sum(axis=1 - axis))
    cut = int(np.abs(along[:-1] - along[-1] * first / count).argmin()) + 1
    middle = piece[axis].start + cut
    for side, share in (
        (slice(piece[axis].start, middle), first),
        (slice(middle, piece[axis].stop), count - first),
    ):
        half = (side, piece[1]) if axis == 0 else (piece[0], side)
        yield from _halves(weight, half, share, rng)
