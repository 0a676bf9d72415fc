"""Cubes for `benchmarks/stream.py`: Icechunk, zstd with shuffle, crc32c, and any chunks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from cube.quality import Flag
from cube.sampling import SamplePlan, SplitSettings, make_plan
from cube.sequences import Sequence
from cube.storage import open_repository
from cube.timeline import codecs
from pipelines.planes import Source

BANDS = ("lst", "emissivity")
GROUP = "thermal"


class Chunks(NamedTuple):
    """How imagery is cut: `side` None is one chunk a date; `shard` None is none."""

    dates: int = 1
    side: int | None = 512
    shard: int | None = None


def scenes(dates: int, shape: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """LST and emissivity as rough as real ones, in steps of the products, 15 % cloud in blobs."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    imagery = np.empty((dates, 2, *shape), np.float32)
    qc = np.zeros((dates, *shape), np.uint8)
    for date in range(dates):
        lst = 295 + 10 * np.sin(rows / 37) * np.cos(columns / 23) + 5 * rng.standard_normal()
        emissivity = 0.95 + 0.03 * np.cos(rows / 51) * np.sin(columns / 19)
        imagery[date, 0] = np.round((lst + rng.normal(0, 0.3, shape)) / 0.02) * 0.02
        imagery[date, 1] = np.round((emissivity + rng.normal(0, 0.004, shape)) / 0.002) * 0.002
        noise = gaussian_filter(rng.standard_normal(tuple(side // 8 + 1 for side in shape)), 2)
        cloud = np.kron(noise > np.quantile(noise, 0.85), np.ones((8, 8), bool))
        qc[date][cloud[: shape[0], : shape[1]]] = Flag.CLOUD
        imagery[date][:, qc[date] > 0] = np.nan
    return imagery, qc


def write(
    where: str,
    imagery: np.ndarray,
    qc: np.ndarray,
    chunks: Chunks,
    options: Mapping[str, Any] | None = None,
    repeat: int = 1,
) -> None:
    """Write a cube; `repeat` times the same scenes, one batch of them after the other."""
    dates, _, *shape = imagery.shape
    sides = [min(chunks.side or side, side) for side in shape]
    step = min(chunks.dates, dates)
    encoding: dict[str, Any] = {
        "imagery": {"chunks": (step, len(BANDS), *sides), "fill_value": np.nan},
        "qc": {"chunks": (step, *sides), "fill_value": 1},
    }
    for name, entry in encoding.items():
        entry["compressors"] = codecs()
        if chunks.shard:
            covers = [-(-chunks.shard // side) * side for side in sides]
            entry["shards"] = (step, *((len(BANDS),) if name == "imagery" else ()), *covers)
    session = open_repository(where, options, create=True).writable_session("main")
    for number in range(repeat):
        part = _dataset(imagery, qc, first=number * dates)
        how: dict[str, Any] = {"append_dim": "time"} if number else {"encoding": encoding}
        part.to_zarr(session.store, group=GROUP, mode="a", consolidated=False, zarr_format=3, **how)
    session.commit("benchmark")


def _dataset(imagery: np.ndarray, qc: np.ndarray, first: int) -> xr.Dataset:
    dates, _, rows, columns = imagery.shape
    hours = (first + np.arange(dates)) * np.timedelta64(9, "h")
    return xr.Dataset(
        {"imagery": (("time", "band", "y", "x"), imagery), "qc": (("time", "y", "x"), qc)},
        coords={
            "time": np.datetime64("2018-01-01", "ns") + hours,
            "band": list(BANDS),
            "y": 4.3e6 - 70.0 * np.arange(rows),
            "x": 4.0e5 + 70.0 * np.arange(columns),
        },
    )


def read(where: str, options: Mapping[str, Any] | None = None) -> tuple[xr.Dataset, str]:
    """Open a cube lazily, without Dask, and say which snapshot it is."""
    repository = open_repository(where, options)
    snapshot = repository.lookup_branch("main")
    store = repository.readonly_session(snapshot_id=snapshot).store
    return xr.open_zarr(store, group=GROUP, chunks=None, consolidated=False), snapshot


def labels_for(dataset: xr.Dataset) -> xr.Dataset:
    """A map of 13 classes in patches, all of it labelled."""
    shape = dataset.sizes["y"], dataset.sizes["x"]
    coarse = np.random.default_rng(1).integers(1, 14, tuple(side // 20 + 1 for side in shape))
    codes = np.kron(coarse, np.ones((20, 20), int))[: shape[0], : shape[1]].astype(np.uint8)
    coords = {"y": dataset["y"], "x": dataset["x"]}
    return xr.Dataset({"lithology": (("y", "x"), codes)}, coords=coords)


def source_of(
    where: str,
    *,
    patch: int = 64,
    length: int = 5,
    stride: int = 32,
    options: Mapping[str, Any] | None = None,
    plan: SamplePlan | None = None,
) -> Source:
    """A cube with all its samples for training; with `plan`, opened only."""
    dataset, snapshot = read(where, options)
    labels = labels_for(dataset)
    if plan is None:
        plan = make_plan(
            dataset,
            labels,
            patch=patch,
            stride=stride,
            split=SplitSettings(kind="whole", part="train"),
            sequence=Sequence(length=length, stride=1 if length > 1 else None),
            min_valid=0.05,
            snapshot=snapshot,
        )
    return Source(dataset, labels, plan)
