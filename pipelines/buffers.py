"""Memory of batches, used again once nobody holds a batch any more."""

from __future__ import annotations

import sys
import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

_ALIGNMENT = 64
"""Bytes; TensorFlow takes arrays over without a copy where they begin at a multiple of it."""


class Buffers:
    """Gives out arrays for batches; may be used by threads.

    Fresh memory costs as much as cutting does: each of its pages is first cleared by the system,
    the more so as TensorFlow has the C library give freed memory back at once. An array is given
    out again only when nothing refers to it: every view, tensor or buffer made from it does.

    Parameters
    ----------
    most
        Arrays of one size that are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: defaultdict[int, list[np.ndarray]] = defaultdict(list)
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array of any content, as `numpy.empty` gives it."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        with self._lock:
            return self._memory(size)[:size].view(dtype).reshape(shape)

    def _memory(self, size: int) -> np.ndarray:
        kept = self._kept[size]
        for number in range(len(kept)):
            if _references(kept, number) == _IDLE:
                return _aligned(kept[number])
        fresh = np.empty(size + _ALIGNMENT, np.uint8)
        if len(kept) < self._most:
            kept.append(fresh)
        return _aligned(fresh)


def _aligned(memory: np.ndarray) -> np.ndarray:
    return memory[-memory.ctypes.data % _ALIGNMENT :]


def _references(kept: Sequence[np.ndarray], number: int) -> int:
    return sys.getrefcount(kept[number])


_IDLE = _references([np.empty(1)], 0)
