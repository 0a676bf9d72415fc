"""Several devices that share the work of a training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cube.errors import ModelError


@contextmanager
def distributed(count: int | None) -> Iterator[None]:
    """Share each batch of what is built and trained in here among so many devices.

    Data parallel: every device holds the whole network and takes an equal share of each batch,
    and gradients are averaged. On JAX by Keras' distribution API. That API has no TensorFlow
    side yet, so there it is TensorFlow's mirrored strategy, which Keras knows how to train under.

    Parameters
    ----------
    count
        GPUs, or without any, CPU devices. None or 1 changes nothing.

    Raises
    ------
    ModelError
        If there are fewer devices, or the backend cannot share.
    """
    import keras

    if count is None or count == 1:
        yield
        return
    backend = keras.backend.backend()
    if backend not in ("jax", "tensorflow"):
        raise ModelError(
            f"Keras cannot share a training among devices on {backend}; set KERAS_BACKEND to "
            "jax or tensorflow, or leave `devices` out"
        )
    with _on_jax(count) if backend == "jax" else _on_tensorflow(count):
        yield


@contextmanager
def _on_jax(count: int) -> Iterator[None]:
    import keras

    from models.sharing import data_parallel

    listed = keras.distribution.list_devices
    with data_parallel(_enough(listed("gpu") or listed("cpu"), count)):
        yield


@contextmanager
def _on_tensorflow(count: int) -> Iterator[None]:
    import tensorflow as tf

    listed = tf.config.list_logical_devices
    names = [device.name for device in listed("GPU") or listed("CPU")]
    with tf.distribute.MirroredStrategy(_enough(names, count)).scope():
        yield


def _enough(names: Sequence[str], count: int) -> list[str]:
    if len(names) < count:
        raise ModelError(
            f"{count} devices were asked for, but there are {len(names)} "
            f"({', '.join(names) or 'none'}); set `devices` to {max(len(names), 1)} or less, or "
            "leave it out"
        )
    return list(names[:count])
