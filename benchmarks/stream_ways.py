"""Ways to feed a network from one cube: ours, its ceilings and its peers. Batches of 32 each."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.planes import Reader, Source
from pipelines.stream import tf_dataset_of

BATCH = 32


def pace(batches: Iterable[Any], most: int | None = None) -> dict[str, float]:
    """Samples a second, seconds to the first batch, CPU seconds."""
    begin, cpu = time.perf_counter(), time.process_time()
    count, first = 0, None
    for batch in batches:
        count += int(batch[0].shape[0])
        first = first or time.perf_counter() - begin
        if most and count >= most:
            break
    wall = time.perf_counter() - begin
    used = time.process_time() - cpu
    return {"per_s": count / wall, "first_s": first or wall, "cpu_s": used, "samples": count}


def first_epoch(source: Source, **options: Any) -> dict[str, float]:
    """Ours: a new stream, from the compressed cube."""
    return pace(tf_dataset_of([source], "train", batch_size=BATCH, **options))


def staged(source: Source, folder: str | Path) -> dict[str, float]:
    """Ours: an epoch of a cube that was staged before."""
    return pace(tf_dataset_of([source], "train", batch_size=BATCH, staging=folder, epoch=1))


def xbatcher(source: Source, most: int) -> dict[str, float]:
    """xbatcher's loader: it has no batch axis, and separate generators of images and labels."""
    import tensorflow as tf
    from xbatcher import BatchGenerator
    from xbatcher.loaders.keras import CustomTFDataset

    plan = source.plan
    sizes = {"y": plan.patch, "x": plan.patch}
    overlap = dict.fromkeys(sizes, plan.patch // 2)
    if (length := plan.sequence_length) > 1:
        overlap = overlap | {"time": length - 1}
    dates = {"time": length}
    imagery = source.dataset["imagery"].transpose("time", "y", "x", "band")
    images = BatchGenerator(imagery, input_dims=dates | sizes, input_overlap=overlap)
    flat = {name: step for name, step in overlap.items() if name != "time"}
    ground = BatchGenerator(source.labels["lithology"], input_dims=sizes, input_overlap=flat)
    loader = CustomTFDataset(images, images)
    places = len(ground)
    turn = np.random.default_rng(0).permutation(len(images))[:most]

    def batches() -> Iterator[tuple[Any]]:
        for start in range(0, len(turn), BATCH):
            found = []
            for index in turn[start : start + BATCH]:
                # Once for the image, once for the label: `loader[index]` would read images twice.
                found.append(tf.convert_to_tensor(loader.X_generator[int(index)].data))
                tf.convert_to_tensor(ground[int(index) % places].data)
            yield (tf.stack(found),)

    return pace(batches())


def one_read_a_sample(source: Source, most: int) -> dict[str, float]:
    """A generator of single samples, each read from Zarr for itself."""
    import tensorflow as tf

    plan, reader = source.plan, Reader(source.dataset, source.plan)
    codes = source.labels["lithology"].values
    table = np.random.default_rng(0).permutation(plan.part("train"))[:most]

    def samples() -> Iterator[tuple[np.ndarray, ...]]:
        for place, row in table:
            top, left = plan.places[place].tolist()
            window = slice(top, top + plan.patch), slice(left, left + plan.patch)
            bands, valid = reader.read(plan.sequences[row], *window)
            x = np.stack([np.where(valid, band, np.nan) for band in bands], axis=-1)
            yield x, codes[window], valid.any(axis=0).astype(np.float32)

    square = (plan.patch, plan.patch)
    signature = (
        tf.TensorSpec((plan.sequence_length, *square, len(plan.bands)), tf.float32),
        tf.TensorSpec(square, tf.uint8),
        tf.TensorSpec(square, tf.float32),
    )
    stream = tf.data.Dataset.from_generator(samples, output_signature=signature)
    return pace(stream.batch(BATCH).prefetch(2))


class Constant:
    """The whole decoded cube as a TensorFlow constant, samples cut by `tf.slice`: the ceiling."""

    def __init__(self, source: Source) -> None:
        import tensorflow as tf

        self._plan = plan = source.plan
        every = (slice(None), slice(None))
        bands, valid = Reader(source.dataset, plan).read(np.arange(len(plan.times)), *every)
        cube = np.stack([np.where(valid, band, np.nan) for band in bands], axis=-1)
        with tf.device("/CPU:0"):
            self._cube = tf.constant(cube)
            self._codes = tf.constant(source.labels["lithology"].values)
            self._weight = tf.constant((source.labels["lithology"].values > 0).astype(np.float32))

    def run(self) -> dict[str, float]:
        """One shuffled epoch of the plan's samples; gaps in sequences are not minded."""
        import tensorflow as tf

        plan = self._plan
        table = np.random.default_rng(0).permutation(plan.part("train"))
        first = np.minimum(plan.sequences[table[:, 1], 0], len(plan.times) - plan.sequence_length)
        corners = np.concatenate([first[:, None], plan.places[table[:, 0]]], axis=1)
        side, length = plan.patch, plan.sequence_length

        def cut(corner: Any) -> tuple[Any, Any, Any]:
            begin = tf.concat([corner, [0]], axis=0)
            x = tf.slice(self._cube, begin, [length, side, side, len(plan.bands)])
            ground = tf.slice(self._codes, corner[1:], [side, side])
            return x, ground, tf.slice(self._weight, corner[1:], [side, side])

        stream = tf.data.Dataset.from_tensor_slices(corners.astype(np.int32))
        return pace(stream.map(cut, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH).prefetch(2))


class Ready:
    """Samples cut beforehand, in memory: nothing is left to do but to put them into batches."""

    def __init__(self, source: Source, count: int) -> None:
        batches = tf_dataset_of([source], "train", batch_size=BATCH).take(-(-count // BATCH))
        found = zip(*batches.as_numpy_iterator(), strict=True)
        self._layers = tuple(np.concatenate(layers) for layers in found)

    def run(self, repeat: int) -> dict[str, float]:
        """Go through them several times."""
        import tensorflow as tf

        stream = tf.data.Dataset.from_tensor_slices(self._layers).repeat(repeat)
        return pace(stream.batch(BATCH).prefetch(2))
