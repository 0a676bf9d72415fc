"""Staging: a plan's imagery decoded once and kept, to be cut at memory speed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cube.errors import PlanError, StoreError
from pipelines.planes import Reader

if TYPE_CHECKING:
    import xarray as xr

    from cube.sample_plan import SamplePlan

_FORMAT = 1
_DATES = 8
_INDEX = "stage.json"


@dataclass(frozen=True, eq=False)
class Staged:
    """All dates of a plan, decoded, in memory or mapped from files."""

    x: np.ndarray
    """float32 (time, y, x, band), in the order of the plan's bands; NaN where not valid."""
    valid: np.ndarray
    """uint8 (time, y, x), 1 where valid."""

    @property
    def nbytes(self) -> int:
        """Bytes in memory or on disk."""
        return self.x.nbytes + self.valid.nbytes


def staged_bytes(plan: SamplePlan) -> int:
    """Bytes that staging a plan takes: 4 a band and 1 for each pixel and date."""
    rows, columns = plan.shape
    return len(plan.times) * rows * columns * (4 * len(plan.bands) + 1)


def stage(
    dataset: xr.Dataset, plan: SamplePlan, folder: str | Path | None, *, threads: int = 2
) -> Staged:
    """Decode the imagery of a plan, or take what an earlier run has left.

    Two uncompressed ``.npy`` files lie in a folder of their own, named by the plan's digest, which
    covers the snapshot, the dates, the bands and the number of valid pixels. It appears when it is
    complete; two runs that stage at once both succeed. Nothing is deleted by itself: see `prune`.

    Parameters
    ----------
    dataset : xarray.Dataset
        See `pipelines.planes.Source`.
    plan : SamplePlan
        Made from a snapshot, where files are wanted.
    folder
        Where staged plans are kept. None: in memory, for this process.
    threads
        Reading threads.

    Raises
    ------
    PlanError
        If the plan was made for other data, or files are wanted and it names no snapshot.
    StoreError
        If the folder cannot be written, has too little space, or holds what was staged from
        other pixels.
    """
    reader = Reader(dataset, plan)
    if folder is None:
        staged = Staged(*(np.empty(shape, dtype) for shape, dtype in _arrays(plan)))
        _decode(reader, plan, staged, threads)
        return staged
    if not plan.snapshot:
        raise PlanError(
            "a plan that names no snapshot cannot be staged on disk, since nothing would tell when "
            "the files are out of date; make it with `snapshot=cube.snapshot`, or stage in memory"
        )
    target = Path(folder) / _key(plan)
    if not (target / _INDEX).exists():
        _write(reader, plan, target, threads)
    staged = _open(target, plan)
    _compare(reader, plan, staged, target)
    return staged


def prune(folder: str | Path, max_bytes: int) -> list[Path]:
    """Delete staged plans, those used longest ago first, until the rest is small enough.

    A run that has one open keeps it: mapped files live until they are closed.

    Parameters
    ----------
    folder
        As given to `stage`. Leftovers of runs that were killed go as well.
    max_bytes
        What may stay; 0 deletes all.

    Returns
    -------
    list of Path
        What was deleted.
    """
    there = sorted(Path(folder).glob("*/"), key=_last_use)
    whole = [path for path in there if (path / _INDEX).exists()]
    doomed = [path for path in there if path.suffix == ".part" and _is_stale(path)]
    size = sum(_size(path) for path in whole)
    for path in whole:
        if size <= max_bytes:
            break
        size -= _size(path)
        doomed.append(path)
    for path in doomed:
        shutil.rmtree(path, ignore_errors=True)
    return doomed


def _arrays(plan: SamplePlan) -> Iterator[tuple[tuple[int, ...], type]]:
    size = (len(plan.times), *plan.shape)
    yield (*size, len(plan.bands)), np.float32
    yield size, np.uint8


def _key(plan: SamplePlan) -> str:
    return hashlib.sha256(f"{_FORMAT} {plan.snapshot} {plan.digest}".encode()).hexdigest()[:32]


def _decode(reader: Reader, plan: SamplePlan, staged: Staged, threads: int) -> None:
    rows, columns = (slice(0, side) for side in plan.shape)

    def fill(first: int) -> None:
        dates = np.arange(first, min(first + _DATES, len(plan.times)))
        reader.fill(dates, rows, columns, dates, staged.x, staged.valid)

    with ThreadPoolExecutor(threads, thread_name_prefix="thermocube-stage") as pool:
        for _ in pool.map(fill, range(0, len(plan.times), _DATES)):
            pass


def _write(reader: Reader, plan: SamplePlan, target: Path, threads: int) -> None:
    with _failures_named(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        free, need = shutil.disk_usage(target.parent).free, staged_bytes(plan)
        if need > free:
            raise StoreError(
                f"staging the plan takes {need / 1e6:.0f} MB and {target.parent} has "
                f"{free / 1e6:.0f} MB free; give another folder, delete staged plans with "
                "`pipelines.staging.prune`, or train without staging",
                kind="disk_full",
            )
        part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f"{target.name}-", suffix=".part"))
        try:
            arrays = [
                np.lib.format.open_memmap(part / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)
                for name, (shape, dtype) in zip(("x", "valid"), _arrays(plan), strict=True)
            ]
            _decode(reader, plan, Staged(*arrays), threads)
            for array in arrays:
                array.flush()
            index = {"format": _FORMAT, "plan": plan.digest, "snapshot": plan.snapshot}
            (part / _INDEX).write_text(json.dumps(index), encoding="utf-8")
            try:
                part.rename(target)
            except OSError:
                if not (target / _INDEX).exists():  # else another run was faster: the same files
                    raise
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _open(target: Path, plan: SamplePlan) -> Staged:
    with _failures_named(target):
        os.utime(target / _INDEX)
        staged = Staged(
            *(np.load(target / f"{name}.npy", mmap_mode="r") for name in ("x", "valid"))
        )
    found = [(array.shape, array.dtype) for array in (staged.x, staged.valid)]
    if found != [(shape, np.dtype(dtype)) for shape, dtype in _arrays(plan)]:
        raise StoreError(f"{target} does not hold what was staged there; delete it and run again")
    return staged


def _compare(reader: Reader, plan: SamplePlan, staged: Staged, target: Path) -> None:
    """Read one date anew: files of another cube, or torn ones, must not pass for this one."""
    last = len(plan.times) - 1
    bands, valid = reader.read(np.array([last]), *(slice(0, side) for side in plan.shape))
    fresh = np.stack([np.where(valid[0], band[0], np.nan) for band in bands], axis=-1)
    if not np.array_equal(fresh, staged.x[last], equal_nan=True):
        raise StoreError(
            f"{target} was staged from other pixels than the dataset has at {plan.times[last]}; "
            "hand over the dataset the plan was made from, or delete the folder",
            kind="stale_stage",
        )


@contextlib.contextmanager
def _failures_named(target: Path) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except (OSError, ValueError) as error:
        raise StoreError(
            f"cannot stage at {target}: {error}; delete it, or give another folder"
        ) from error


def _last_use(path: Path) -> float:
    index = path / _INDEX
    with contextlib.suppress(FileNotFoundError):
        return (index if index.exists() else path).stat().st_mtime
    return 0.0


def _is_stale(path: Path) -> bool:
    return time.time() - _last_use(path) > 24 * 3600


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.glob("*"))
