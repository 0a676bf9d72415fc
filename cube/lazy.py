"""Lazy arrays without Dask: imagery put together from others, read when it is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from cube.quality import BAD

Key = int | slice | np.ndarray
Index = tuple[Key, ...]


class Reader(Protocol):
    """Something that reads windows of an array that is nowhere as a whole."""

    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole array."""
        ...

    def read(self, key: Index) -> np.ndarray:
        """Read a window: a slice or an array of indices each dimension; none is dropped."""
        ...


class _Array(BackendArray):
    """What xarray asks of an array that is read piece by piece."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.shape = reader.shape
        self.dtype = reader.dtype

    def __getitem__(self, key: Any) -> Any:
        outer = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, outer, self._read)

    def _read(self, key: Index) -> np.ndarray:
        whole = tuple(slice(k, k + 1) if isinstance(k, int | np.integer) else k for k in key)
        dropped = tuple(0 if isinstance(k, int | np.integer) else slice(None) for k in key)
        return np.asarray(self.reader.read(whole)[dropped])


def variable(dims: tuple[str, ...], reader: Reader, like: xr.Variable) -> xr.Variable:
    """Wrap a reader as a variable, with the attributes and chunks of another."""
    lazy = indexing.LazilyIndexedArray(_Array(reader))
    chunks = like.encoding.get("preferred_chunks", {})
    known = {dim: size for dim, size in chunks.items() if dim in ("time", "y", "x")}
    encoding = {"preferred_chunks": known} if known else {}
    return xr.Variable(dims, lazy, attrs=like.attrs, encoding=encoding)


@dataclass(frozen=True, eq=False)
class Layer:
    """Some of the bands, and the scene that they are taken from at each time."""

    imagery: xr.Variable
    """(time, band, y, x)"""
    qc: xr.Variable
    """(time, y, x)"""
    times: np.ndarray
    """int (time,): index into the layer's own times."""

    @property
    def bands(self) -> int:
        """How many."""
        return int(self.imagery.sizes["band"])


@dataclass(frozen=True, eq=False)
class SideBySide:
    """Imagery (time, band, y, x): the bands of each layer, one layer after the other."""

    layers: Sequence[Layer]
    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole array."""
        first = self.layers[0]
        height, width = first.imagery.sizes["y"], first.imagery.sizes["x"]
        return len(first.times), sum(layer.bands for layer in self.layers), height, width

    def read(self, key: Index) -> np.ndarray:
        """Read a window."""
        bands = np.arange(self.shape[1])[key[1]]
        pieces, first = [], 0
        for layer in self.layers:
            mine = bands[(bands >= first) & (bands < first + layer.bands)] - first
            # An empty key asks for the other sizes all the same.
            if len(mine) or not len(bands):
                pieces.append(scenes(layer.imagery, layer.times[key[0]], key[2:])[:, mine])
            first += layer.bands
        joined = np.concatenate(pieces, axis=1)
        # They come layer by layer; the key may ask for another order.
        owner = np.searchsorted(np.cumsum([layer.bands for layer in self.layers]), bands, "right")
        return np.asarray(joined[:, np.argsort(np.argsort(owner, kind="stable"))])


@dataclass(frozen=True, eq=False)
class CombinedFlags:
    """Flags (time, y, x): those of the first layer, and what is bad in any other."""

    layers: Sequence[Layer]
    dtype = np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole array."""
        first = self.layers[0]
        return len(first.times), first.qc.sizes["y"], first.qc.sizes["x"]

    def read(self, key: Index) -> np.ndarray:
        """Read a window."""
        first, *others = self.layers
        flags = scenes(first.qc, first.times[key[0]], key[1:])
        for layer in others:
            flags = flags | (scenes(layer.qc, layer.times[key[0]], key[1:]) & np.uint8(BAD))
        return flags


@dataclass(frozen=True, eq=False)
class Masked:
    """Imagery (time, band, y, x) that is NaN where any of some flags is set."""

    imagery: xr.Variable
    qc: xr.Variable
    bits: int
    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole array."""
        return tuple(self.imagery.sizes[dim] for dim in ("time", "band", "y", "x"))

    def read(self, key: Index) -> np.ndarray:
        """Read a window."""
        time, band, *space = key
        times = np.arange(self.shape[0])[time]
        flags = scenes(self.qc, times, tuple(space))
        pixels = scenes(self.imagery, times, tuple(space))
        pixels = pixels[:, np.arange(self.shape[1])[band]]
        return np.where((flags & np.uint8(self.bits))[:, np.newaxis] == 0, pixels, np.nan)


def scenes(stored: xr.Variable, times: np.ndarray, space: Index) -> np.ndarray:
    """Read scenes in the order given, each once, in runs."""
    wanted, back = np.unique(times, return_inverse=True)
    window = dict(zip(("y", "x"), space, strict=True))
    # Slices, never lists of scenes: a Zarr array reads those two to three times as slowly.
    runs = np.split(wanted, np.flatnonzero(np.diff(wanted) != 1) + 1)
    spans = [slice(int(run[0]), int(run[-1]) + 1) if len(run) else slice(0) for run in runs]
    dims = ("time", "band", "y", "x") if stored.ndim == 4 else ("time", "y", "x")
    pieces = [
        np.asarray(stored.isel({"time": span, **window}).transpose(*dims).values) for span in spans
    ]
    whole = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    return whole if np.array_equal(back, np.arange(len(whole))) else whole[back]
