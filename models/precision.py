"""Precision of arithmetic in layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def precision(policy: str) -> Iterator[None]:
    """Layers made in here have this policy; Keras has its own again afterwards.

    Parameters
    ----------
    policy
        One of Keras' dtype policies, such as ``"mixed_bfloat16"``.
    """
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
