"""Augmentation: the eight symmetries of the square, and time jitter for sequences."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

DROPPED = 2
"""Step of a date that becomes missing; -1, 0 and 1 take that date or its neighbour."""


class Draws(NamedTuple):
    """What happens to each sample of a part's table in one epoch.

    Tied to the sample and not to its turn in the epoch, and drawn apart from the order.
    """

    turns: np.ndarray | None
    """uint8 (sample,): number of a symmetry, 0 leaves the sample as it is."""
    steps: np.ndarray | None
    """int8 (sample, date): -1, 0, 1 or `DROPPED`."""

    def between(self, first: int, last: int) -> Draws:
        """Draws of a range of samples."""
        return Draws(*(None if each is None else each[first:last] for each in self))


def draw(count: int, length: int, seed: int, epoch: int, *, augment: bool, jitter: float) -> Draws:
    """Draw for all samples of an epoch.

    Parameters
    ----------
    count, length
        Samples, and dates a sample.
    seed, epoch
        Another epoch, other draws.
    augment
        Draw symmetries.
    jitter
        Probability that a date of a sequence is dropped or taken from its neighbour, half each.
        The last date, which a map is made for, stays.
    """
    turns = steps = None
    if augment:
        turns = np.random.default_rng([seed, epoch, 1]).integers(0, 8, count, dtype=np.uint8)
    if jitter and length > 1:
        chance = np.random.default_rng([seed, epoch, 2]).random((count, length), np.float32)
        steps = np.zeros((count, length), np.int8)
        steps[chance < jitter] = DROPPED
        steps[chance < jitter / 2] = 1
        steps[chance < jitter / 4] = -1
        steps[:, -1] = 0
        # The first date has no neighbour before it.
        steps[:, 0] = np.where(steps[:, 0] == -1, 1, steps[:, 0])
    return Draws(turns, steps)


def moves(turns: Any) -> tuple[Any, Any, Any]:
    """Take symmetries apart into transposing, then mirroring rows, then columns.

    Symmetry ``k`` is ``np.rot90`` k % 4 times, then mirrored left to right if k >= 4.

    Parameters
    ----------
    turns : array of integers, (n,)

    Returns
    -------
    transpose, rows, columns : array of bool, (n,)
    """
    quarter = turns % 4
    rows = (quarter == 1) | (quarter == 2)
    return quarter % 2 == 1, rows, (quarter >= 2) ^ (turns >= 4)


def turn(layer: np.ndarray, turns: np.ndarray, axis: int) -> np.ndarray:
    """Turn and mirror each sample's square, as `turn_tensor` does in TensorFlow's graph.

    Parameters
    ----------
    layer : ndarray, (n, ..., patch, patch, ...)
    turns : ndarray of uint8, (n,)
    axis
        The rows' axis; columns come after it.
    """
    out = np.empty_like(layer)
    for kind in np.unique(turns):
        chosen = turns == kind
        part = np.rot90(layer[chosen], int(kind) % 4, axes=(axis, axis + 1))
        out[chosen] = np.flip(part, axis + 1) if kind >= 4 else part
    return out


def turn_tensor(layer: Any, turns: Any, axis: int) -> Any:
    """The same as `turn` for tensors."""
    import tensorflow as tf

    order = list(range(len(layer.shape)))
    order[axis], order[axis + 1] = axis + 1, axis
    transpose, rows, columns = moves(tf.cast(turns, tf.int32))

    def where(chosen: Any, changed: Any) -> Any:
        column = tf.reshape(chosen, [-1] + [1] * (len(layer.shape) - 1))
        return tf.where(column, changed, layer)

    layer = where(transpose, tf.transpose(layer, order))
    layer = where(rows, tf.reverse(layer, [axis]))
    return where(columns, tf.reverse(layer, [axis + 1]))
