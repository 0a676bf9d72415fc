"""The bridge from a cube to a network: whole blocks read by threads, whole batches handed on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cube.errors import PlanError
from cube.patches import paint
from pipelines.blocks import TILE, Block, Pixels, Reader, Window, group_samples, order_windows

if TYPE_CHECKING:
    import xarray as xr

    from cube.sampling import Part, SamplePlan


class Batch(NamedTuple):
    """Patches as a network takes them; the last batch of an epoch may be smaller."""

    x: np.ndarray
    """float32 (n, patch, patch, band), physical units, NaN where not valid."""
    y: np.ndarray
    """uint8 (n, patch, patch), class codes."""
    weight: np.ndarray
    """float32 (n, patch, patch), 0 where a pixel is not valid or has no label."""


def batches(
    dataset: xr.Dataset,
    labels: xr.Dataset,
    plan: SamplePlan,
    part: Part,
    *,
    batch_size: int,
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = True,
    threads: int = 2,
    blocks: int = 32,
    augment: bool = False,
    label_weight: bool = False,
    start: int = 0,
) -> Iterator[Batch]:
    """Go once through all samples of a part, as numpy batches for any Keras backend.

    What comes out depends on plan, part, `batch_size`, `seed`, `epoch`, `blocks` and the
    options, never on the number of threads.

    Parameters
    ----------
    dataset, labels, plan
        See `Reader`.
    part
        ``"train"``, ``"val"`` or ``"test"``.
    batch_size
        Samples a batch.
    seed, epoch
        Order and augmentation; another epoch, another order.
    shuffle
        Blocks in random order, and samples in random order over half of `blocks` at a time.
        Without it the samples come in the order of ``plan.part(part)``.
    threads
        Reading threads.
    blocks
        Blocks in memory, at most: one half goes out while the other is read. With `shuffle` a
        block is one date of at most 256 px square and a patch more; without, as wide as the
        region.
    augment
        Turn and mirror each sample at random, x, y and weight alike.
    label_weight
        Multiply the weight by the labels' ``weight`` layer.
    start
        Leave out this many batches at the beginning, to go on in mid-epoch.

    Yields
    ------
    Batch

    Raises
    ------
    PlanError
        If the plan was made for other data. At the call, not at the first batch.
    """
    for name, value, least in (
        ("batch_size", batch_size, 1),
        ("threads", threads, 1),
        ("blocks", blocks, 2),
        ("start", start, 0),
    ):
        if value < least:
            raise ValueError(f"{name} must be {least} or more, not {value}")
    reader = Reader(dataset, labels, plan, label_weight)
    table = plan.part(part)
    rng = np.random.default_rng([seed, epoch]) if shuffle else None
    windows = order_windows(group_samples(plan, table, TILE if shuffle else None), blocks // 2, rng)
    turns = _turns(len(table), seed, epoch) if augment else np.zeros(len(table), np.int64)
    skip = start * batch_size
    samples = _samples(reader, windows, plan, table, turns, threads, skip)
    return _batched(samples, batch_size, len(table) - skip, plan)


def _turns(count: int, seed: int, epoch: int) -> np.ndarray:
    """Draw one of the square's eight symmetries for each sample of the table."""
    # Tied to the sample, not to its turn in the epoch, and apart from the draws of the order.
    return np.random.default_rng([seed, epoch, 1]).integers(0, 8, size=count)


def _samples(
    reader: Reader,
    windows: list[Window],
    plan: SamplePlan,
    table: np.ndarray,
    turns: np.ndarray,
    threads: int,
    skip: int,
) -> Iterator[Pixels]:
    """Cut sample after sample while the next window is being read."""
    while windows and skip >= len(windows[0].order):
        skip -= len(windows[0].order)
        windows = windows[1:]
    pool = ThreadPoolExecutor(threads, thread_name_prefix="thermocube-read")
    try:
        ahead: list[Future[Pixels]] = []
        for number, window in enumerate(windows):
            reading = ahead or [pool.submit(reader.read, block) for block in window.blocks]
            held = [future.result() for future in reading]
            following = windows[number + 1].blocks if number + 1 < len(windows) else ()
            # Results live as long as their futures.
            reading.clear()
            ahead = [pool.submit(reader.read, block) for block in following]
            for which, row in window.order[skip:]:
                corner = plan.places[table[row, 0]]
                yield _cut(held[which], window.blocks[which], corner, plan.patch, int(turns[row]))
            skip = 0
    finally:
        pool.shutdown(cancel_futures=True)


def _cut(pixels: Pixels, block: Block, corner: np.ndarray, patch: int, turn: int) -> Pixels:
    row, column = int(corner[0]) - block.rows.start, int(corner[1]) - block.columns.start
    window = slice(row, row + patch), slice(column, column + patch)
    return Pixels(*(_turned(layer[window], turn) for layer in pixels))


def _turned(layer: np.ndarray, turn: int) -> np.ndarray:
    layer = np.rot90(layer, turn % 4) if turn % 4 else layer
    return layer[:, ::-1] if turn >= 4 else layer


def _batched(
    samples: Iterator[Pixels], batch_size: int, count: int, plan: SamplePlan
) -> Iterator[Batch]:
    side = plan.patch
    for start in range(0, count, batch_size):
        size = min(batch_size, count - start)
        batch = Batch(
            np.empty((size, side, side, len(plan.bands)), np.float32),
            np.empty((size, side, side), np.uint8),
            np.empty((size, side, side), np.float32),
        )
        for index, sample in enumerate(itertools.islice(samples, size)):
            for layer, values in zip(batch, sample, strict=True):
                layer[index] = values
            # Views of their block: kept, they would hold it while the next window is read.
            del sample, values
        yield batch


def tf_dataset(
    dataset: xr.Dataset,
    labels: xr.Dataset,
    plan: SamplePlan,
    part: Part,
    *,
    batch_size: int,
    seed: int = 0,
    shuffle: bool = True,
    prefetch: int = 2,
    epoch: int = 0,
    **options: Any,
) -> Any:
    """Wrap `batches` as a ``tf.data.Dataset``; each pass over it is one epoch further.

    Parameters
    ----------
    dataset, labels, plan, part, batch_size, seed, shuffle
        See `batches`.
    prefetch
        Batches made ahead.
    epoch
        The first pass.
    **options
        `threads`, `blocks`, `augment`, `label_weight`: see `batches`.

    Returns
    -------
    tf.data.Dataset
        Of (x, y, weight): float32 (n, patch, patch, band), uint8 and float32 (n, patch, patch),
        of known length.

    Raises
    ------
    PlanError
        If the plan was made for other data.
    """
    import tensorflow as tf

    plan.require(dataset, labels)
    epochs = itertools.count(epoch)
    side, bands = plan.patch, len(plan.bands)

    def one_epoch() -> Iterator[tuple[np.ndarray, ...]]:
        settings: dict[str, Any] = {"seed": seed, "epoch": next(epochs), "shuffle": shuffle}
        # A plain tuple: tf.data takes a named one for another structure than the signature.
        stream = batches(dataset, labels, plan, part, batch_size=batch_size, **settings, **options)
        return map(tuple, stream)

    signature = (
        tf.TensorSpec((None, side, side, bands), tf.float32),
        tf.TensorSpec((None, side, side), tf.uint8),
        tf.TensorSpec((None, side, side), tf.float32),
    )
    length = math.ceil(len(plan.part(part)) / batch_size)
    stream = tf.data.Dataset.from_generator(one_epoch, output_signature=signature)
    return stream.apply(tf.data.experimental.assert_cardinality(length)).prefetch(prefetch)


def band_statistics(dataset: xr.Dataset, plan: SamplePlan) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each band over the valid pixels of the train samples.

    Pixels count as often as they stand in a sample; labels play no part. Moments of the blocks
    are merged pairwise (Chan, Golub and LeVeque 1983), so that kelvins near 300
    lose no digits.

    Parameters
    ----------
    dataset : xarray.Dataset
        See `Reader`.
    plan : SamplePlan

    Returns
    -------
    mean, std : ndarray of float32, (band,)
        In the units of the bands, in the order of ``plan.bands``. A band that never changes
        has a std of 1, so that dividing by it is harmless.

    Raises
    ------
    PlanError
        If the plan was made for other data, or no train sample has a valid pixel.
    """
    reader = Reader(dataset, None, plan)
    table = plan.part("train")
    count, mean = 0.0, np.zeros(len(plan.bands))
    squares = np.zeros(len(plan.bands))
    for block in group_samples(plan, table, None):
        x = reader.read(block).x.astype(np.float64)
        corners = plan.places[table[block.samples, 0]] - (block.rows.start, block.columns.start)
        times_seen = paint(corners, plan.patch, x.shape[:2]) * np.isfinite(x).all(axis=-1)
        there = times_seen > 0
        weight, values = times_seen[there], x[there]
        if not len(values):
            continue
        own_mean = np.average(values, axis=0, weights=weight)
        own_squares = (weight[:, np.newaxis] * (values - own_mean) ** 2).sum(axis=0)
        total = count + weight.sum()
        step = own_mean - mean
        squares += own_squares + step**2 * (count * weight.sum() / total)
        mean += step * (weight.sum() / total)
        count = total
    if not count:
        raise PlanError("no pixel of any train sample is valid; is this the dataset of the plan?")
    std = np.sqrt(squares / count)
    return mean.astype(np.float32), np.where(std > 0, std, 1).astype(np.float32)
