"""The arrays of a run: which there are, and how a piece of them becomes chunks."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.encoding import put
from cube.labels import LITHOLOGY_ATTRS
from pipelines.lattice import Window, windows

if TYPE_CHECKING:
    import icechunk
    import xarray as xr

CUBIC, FLAT, CLASSED = ("time", "y", "x"), ("y", "x"), ("time", "class", "y", "x")


def decide(probabilities: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choose the most probable class of each pixel.

    Parameters
    ----------
    probabilities : ndarray of float, (y, x, class)
        That of class 0 is not looked at.
    valid : ndarray of bool, (y, x)

    Returns
    -------
    lithology : ndarray of uint8, (y, x)
        0 where not valid, and nowhere else.
    confidence : ndarray of float32, (y, x)
        Probability of the class chosen; NaN where not valid.
    """
    ground = probabilities[..., 1:]
    best = ground.argmax(axis=-1)
    share = np.take_along_axis(ground, best[..., None], axis=-1)[..., 0]
    lithology = np.where(valid, 1 + best, 0).astype(np.uint8)
    confidence = np.where(valid, share, np.nan).astype(np.float32)
    return lithology, confidence


@dataclass(frozen=True)
class Layers:
    """Which arrays a run has beside class and confidence."""

    probability: bool = False
    entropy: bool = False
    passes: bool = False
    """Whether there are several stochastic passes to compare."""

    def template(
        self, dataset: xr.Dataset, classes: int, chunk: int, attrs: Mapping[str, Any]
    ) -> xr.Dataset:
        """Coordinates and not yet computed arrays of a run over a selection."""
        import dask.array as da
        import xarray as xr

        sizes = {"class": classes - 1, **{dim: dataset.sizes[dim] for dim in CUBIC}}
        chunks = chunks_of(chunk, classes)
        layers = {}
        for name, (dims, dtype, described) in self._arrays().items():
            shape = tuple(sizes[dim] for dim in dims)
            parts = tuple(min(chunks[dim], sizes[dim]) for dim in dims)
            data = da.zeros(shape, dtype=dtype, chunks=parts)
            layers[name] = xr.Variable(dims, data, {**described, "grid_mapping": "spatial_ref"})
        coords: dict[str, Any] = {name: _bare(dataset[name]) for name in (*CUBIC, "spatial_ref")}
        if self.probability:
            codes = np.arange(1, classes, dtype=np.uint8)
            coords["class"] = ("class", codes, _class_attrs("class"))
        return xr.Dataset(layers, coords, dict(attrs))

    def _arrays(self) -> dict[str, tuple[tuple[str, ...], str, dict[str, Any]]]:
        share = "probability of the class chosen"
        arrays = {
            "lithology": (CUBIC, "uint8", _class_attrs("most probable class on the date")),
            "confidence": (CUBIC, "float32", _share_attrs(share)),
            "lithology_all": (FLAT, "uint8", _class_attrs("most probable class over all dates")),
            "confidence_all": (FLAT, "float32", _share_attrs(f"{share}, mean over all dates")),
        }
        if self.probability:
            arrays["probability"] = (CLASSED, "float32", _share_attrs("probability of each class"))
        if self.entropy:
            arrays["entropy"] = (
                CUBIC, "float32", _plain("entropy of the class probabilities, in nats")
            )  # fmt: skip
        if self.passes:
            arrays["mutual_information"] = (
                CUBIC, "float32",
                _plain("mutual information of class and dropout mask, in nats"),
            )  # fmt: skip
            arrays["variance"] = (
                CUBIC, "float32",
                _plain("variance over dropout passes of the probability of the class chosen"),
            )  # fmt: skip
        return arrays


def chunks_of(chunk: int, classes: int) -> dict[str, int]:
    """Chunk lengths by dimension: a date, a square of ground, all classes."""
    return {"class": classes - 1, "time": 1, "y": chunk, "x": chunk}


@dataclass(frozen=True)
class Layout:
    """How a run's arrays are chunked and compressed, as a store would say it.

    A few kilobytes, so that it travels to a worker which never opens the run.
    """

    chunk: int
    documents: Mapping[str, bytes]
    """Array to Zarr metadata."""

    @classmethod
    def of(cls, template: xr.Dataset, chunk: int, classes: int) -> Layout:
        """Let a store in memory say how it would keep the arrays of a template."""
        import icechunk
        from zarr.core.buffer import default_buffer_prototype
        from zarr.core.sync import sync

        from cube.transaction import Transaction

        icechunk.set_logs_filter("error")
        repository = icechunk.Repository.create(icechunk.in_memory_storage())
        change = Transaction(repository.writable_session("main"))
        change.template("run", template, chunks_of(chunk, classes))
        documents = {}
        for name in map(str, template.data_vars):
            found = sync(
                change.session.store.get(f"run/{name}/zarr.json", default_buffer_prototype())
            )
            assert found is not None
            documents[name] = found.to_bytes()
        return cls(chunk, documents)

    def encode(self, name: str, time: int | None, window: Window, values: np.ndarray) -> Encoded:
        """Chunk, compress and checksum a piece of an array as the store would.

        Parameters
        ----------
        time
            Index of the date; None for an array without time.
        window
            Starts on a chunk's corner, and ends on one or at the region's edge.
        values : ndarray, (y, x) or (class, y, x)
            Of the window's size.

        Returns
        -------
        dict of str to bytes
            By key below the run's group.
        """
        import zarr
        from zarr.core.buffer import Buffer, default_buffer_prototype
        from zarr.storage import MemoryStore

        piece = values if time is None else values[None]
        document = json.loads(self.documents[name])
        document |= {"shape": piece.shape, "attributes": {}}
        buffer = default_buffer_prototype().buffer
        entries: dict[str, Buffer] = {"zarr.json": buffer.from_bytes(json.dumps(document).encode())}
        store = MemoryStore(store_dict=entries)
        zarr.open_array(store, mode="r+", config={"write_empty_chunks": True})[...] = piece
        del entries["zarr.json"]
        corner = [part.start // self.chunk for part in window]
        return {
            f"{name}/{_moved(key, time, corner)}": content.to_bytes()
            for key, content in entries.items()
        }


def _moved(key: str, time: int | None, corner: list[int]) -> str:
    """The key of a chunk of a piece, as it is in the whole array."""
    head, *indices, row, column = key.split("/")
    if time is not None:
        indices[0] = str(time)
    return "/".join([head, *indices, str(int(row) + corner[0]), str(int(column) + corner[1])])


Encoded = dict[str, bytes]
"""Chunks by their key below a run's group."""


def place(session: icechunk.Session, group: str, chunks: Mapping[str, bytes]) -> None:
    """Put encoded chunks into a run's group, without decoding them."""
    put(session, {f"{group}/{key}": content for key, content in chunks.items()})


BUDGET = 128 * 2**20
"""Bytes of the sums that a window is blended in: bounds memory, whatever the network gives."""


def tiles(shape: tuple[int, int], chunk: int, stride: int, channels: int) -> Iterator[Window]:
    """Cut a region into windows of whole chunks, to be worked through one by one.

    Patches on a window's border are computed for both sides: with 24 steps of the lattice to a
    side that is a tenth more work than one window would take. Where so many do not fit into
    `BUDGET`, memory counts for more; a chunk is the least.
    """
    wanted = -(-24 * stride // chunk)
    affordable = math.isqrt(BUDGET // (8 * channels)) // chunk
    yield from windows(shape, max(1, min(wanted, affordable)) * chunk)


def _bare(coordinate: xr.DataArray) -> xr.Variable:
    """A coordinate without the chunks and codecs of the array it was read from."""
    variable = coordinate.variable.copy(deep=False)
    keep = ("units", "calendar", "dtype") if coordinate.name == "time" else ()
    variable.encoding = {key: variable.encoding[key] for key in keep if key in variable.encoding}
    return variable


def _class_attrs(long_name: str) -> dict[str, Any]:
    return {**LITHOLOGY_ATTRS, "long_name": long_name}


def _share_attrs(long_name: str) -> dict[str, Any]:
    return {"long_name": long_name, "units": "1", "valid_range": [0.0, 1.0]}


def _plain(long_name: str) -> dict[str, Any]:
    return {"long_name": long_name, "units": "1"}
