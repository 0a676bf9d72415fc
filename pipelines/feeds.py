"""Streams as TensorFlow and Keras take them."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.augment import turn_tensor
from pipelines.planes import Source

if TYPE_CHECKING:
    import xarray as xr

    from cube.sample_plan import SamplePlan
    from cube.splits import Part
    from pipelines.cutter import Batch
    from pipelines.epoch import Cut
    from pipelines.stream import Stream


def tf_dataset(
    dataset: xr.Dataset,
    labels: xr.Dataset,
    plan: SamplePlan,
    part: Part,
    *,
    batch_size: int,
    **options: Any,
) -> Any:
    """The stream of one region as a ``tf.data.Dataset``; see `tf_dataset_of`."""
    return tf_dataset_of([Source(dataset, labels, plan)], part, batch_size=batch_size, **options)


def tf_dataset_of(
    sources: Sequence[Source],
    part: Part,
    *,
    batch_size: int,
    epoch: int = 0,
    start: int = 0,
    prefetch: int = 2,
    normalise: tuple[Sequence[float], Sequence[float]] | None = None,
    device: str | None = None,
    **options: Any,
) -> Any:
    """A stream as a ``tf.data.Dataset``; each pass over it is one epoch further.

    Turning, mirroring and normalising run in TensorFlow's graph; the values are those of
    `pipelines.stream.batches`.

    Parameters
    ----------
    sources, part, batch_size
        See `pipelines.stream.Stream`.
    epoch
        The first pass.
    start
        Leave out this many batches of the first pass, to go on in mid-epoch.
    prefetch
        Batches made ahead.
    normalise
        Mean and standard deviation of each band: x becomes (x - mean) / std, NaN stays NaN. A
        network with a layer of its own for that wants None.
    device
        Copy batches ahead to this device, such as ``"/GPU:0"``; nothing may be chained after it.
    **options
        `seed`, `shuffle`, `threads`, `memory`, `augment`, `jitter`, `label_weight`, `staging`:
        see `pipelines.stream.Stream`.

    Returns
    -------
    tf.data.Dataset
        Of (x, y, weight): float32 (n, [sequence,] patch, patch, band), uint8 and float32
        (n, patch, patch), of known length.

    Raises
    ------
    PlanError
        If a plan was made for other data.
    """
    import tensorflow as tf

    from pipelines.stream import Stream

    stream = Stream(sources, part, batch_size=batch_size, **options)
    starts = itertools.chain([start], itertools.repeat(0))
    passes = zip(itertools.count(epoch), starts, strict=False)
    found = _batches(stream, passes)
    found = found.map(_finish(stream, normalise), num_parallel_calls=2, deterministic=True)
    if not start:
        found = found.apply(tf.data.experimental.assert_cardinality(len(stream)))
    if device is None:
        return found.prefetch(prefetch)
    return found.apply(tf.data.experimental.prefetch_to_device(device, prefetch))


def _batches(stream: Stream, passes: Iterator[tuple[int, int]]) -> Any:
    """Batches and turns, one pass at a time.

    A generator only begins and ends each pass: batches that it yielded would cost twice as much to
    hand over as those that are asked for one by one.
    """
    import tensorflow as tf

    running: dict[int, Generator[Cut]] = {}
    signature = _signature(stream)

    def one_pass() -> Iterator[tuple[int, int]]:
        epoch, start = next(passes)
        running[epoch] = stream.cuts(epoch, start)
        try:
            yield epoch, len(stream) - start
        finally:  # At the end, or when TensorFlow lets go of a pass that was left early.
            running.pop(epoch).close()

    def following(epoch: np.ndarray) -> tuple[np.ndarray, ...]:
        batch, turns = next(running[int(epoch)])
        return (*batch, turns)

    def batches(epoch: Any, count: Any) -> Any:
        def batch(_: Any) -> tuple[Any, ...]:
            layers = tf.numpy_function(following, [epoch], [spec.dtype for spec in signature])
            return tuple(map(tf.ensure_shape, layers, (spec.shape for spec in signature)))

        return tf.data.Dataset.range(count).map(batch)

    number = tf.TensorSpec((), tf.int64)
    return tf.data.Dataset.from_generator(one_pass, output_signature=(number, number)).flat_map(
        batches
    )


def _signature(stream: Stream) -> tuple[Any, ...]:
    import tensorflow as tf

    plan = stream.plan
    square = (plan.patch, plan.patch)
    sequence = (plan.sequence_length,) if plan.sequence_length > 1 else ()
    return (
        tf.TensorSpec((None, *sequence, *square, len(plan.bands)), tf.float32),
        tf.TensorSpec((None, *square), tf.uint8),
        tf.TensorSpec((None, *square), tf.float32),
        tf.TensorSpec((None,), tf.uint8),
    )


def _finish(stream: Stream, normalise: tuple[Sequence[float], Sequence[float]] | None) -> Any:
    """What is done to a batch in the graph."""
    import tensorflow as tf

    def finish(x: Any, y: Any, weight: Any, turns: Any) -> tuple[Any, Any, Any]:
        if stream.augment:
            x, y, weight = (
                turn_tensor(layer, turns, axis)
                for layer, axis in ((x, len(x.shape) - 3), (y, 1), (weight, 1))
            )
        if normalise is not None:
            mean, std = (tf.constant(values, tf.float32) for values in normalise)
            x = (x - mean) / std
        return x, y, weight

    return finish


def keras_dataset(stream: Stream) -> Any:
    """A stream as a ``keras.utils.PyDataset``, for ``model.fit`` on JAX and PyTorch as well.

    Parameters
    ----------
    stream
        Begins with the epoch that it stands in, from its first batch: Keras counts whole epochs.

    Returns
    -------
    keras.utils.PyDataset
        Of (x, y, weight); call ``fit`` with ``shuffle=False``, as the stream has shuffled.
    """
    import keras

    class StreamDataset(keras.utils.PyDataset):
        """Batches in order; asked for another one than the next, it starts anew from there."""

        def __init__(self) -> None:
            super().__init__(workers=1, use_multiprocessing=False)
            self._epoch, self._next = stream.state()["epoch"], 0
            self._batches: Iterator[Batch] = iter(())

        def __len__(self) -> int:
            return len(stream)

        def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
            if index != self._next or not index:
                self._batches = stream.epoch(self._epoch, index)
            self._next = index + 1
            return tuple(next(self._batches))

        def on_epoch_end(self) -> None:
            self._epoch, self._next = self._epoch + 1, 0

    return StreamDataset()
