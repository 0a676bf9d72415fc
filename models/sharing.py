"""A batch shared among devices by Keras' distribution API."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras


@contextmanager
def data_parallel(devices: Sequence[str]) -> Iterator[None]:
    """Let every device hold the whole network and take an equal share of each batch.

    Of networks that are built in here; gradients are averaged. On JAX.

    Parameters
    ----------
    devices
        Names, such as of ``keras.distribution.list_devices("gpu")``.
    """
    before = keras.distribution.distribution()
    # Keras would otherwise shard a data set itself, which the streams are not made for.
    shared = keras.distribution.DataParallel(devices=list(devices), auto_shard_dataset=False)
    keras.distribution.set_distribution(shared)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)
