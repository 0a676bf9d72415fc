"""Sampling: divide the ground or the dates first, then list the patches worth learning from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.bands import modality_of
from cube.errors import PlanError
from cube.patches import lay_patches, paint, window_sums
from cube.quality import is_valid
from cube.sample_checks import check_sizes
from cube.sample_plan import SamplePlan, common_shape
from cube.splits import (
    PARTS,
    Part,
    SplitSettings,
    assign_blocks,
    place_by_blocks,
    split_dates,
)

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["PARTS", "Part", "SamplePlan", "SplitSettings", "make_plan"]

_SLAB_BYTES = 64 * 2**20


def make_plan(
    dataset: xr.Dataset,
    labels: xr.Dataset,
    *,
    patch: int,
    stride: int,
    split: SplitSettings,
    min_valid: float = 0.5,
    snapshot: str = "",
) -> SamplePlan:
    """Divide the ground or the dates, then list the patches that are worth learning from.

    Reads ``qc`` twice, a few dates at a time, and no imagery.

    Parameters
    ----------
    dataset : xarray.Dataset
        With ``qc(time, y, x)`` and coordinates ``time``, ``band``; lazy or in memory.
    labels : xarray.Dataset
        With ``lithology(y, x)``, 0 where there is no label.
    patch
        Side of a patch, pixels.
    stride
        Step between patches, pixels; ``patch // 2`` for 50 % overlap.
    split
        How to divide; see `SplitSettings`.
    min_valid
        A patch at a date is a sample if at least this share of its pixels, and at least one
        pixel, is valid as well as labelled.
    snapshot
        The cube's snapshot id, kept with the plan.

    Raises
    ------
    PlanError
        If the plan cannot be made as asked, e.g. a part would be empty.
    GridError
        If the labels lie on another grid than the imagery.
    """
    shape = common_shape(dataset, labels)
    check_sizes(patch, stride, min_valid, shape)
    split = split.for_patch(patch)
    lithology = np.asarray(labels["lithology"].transpose("y", "x").values, dtype=np.uint8)
    if not lithology.any():
        raise PlanError("the label map holds no class at all (only 0); nothing can be learnt")
    need = max(1, math.ceil(min_valid * patch * patch))
    blocks = np.zeros((0, 0), np.int8)
    if split.by_place:
        blocks = assign_blocks(lithology, patch, split, need)
        places, parts = place_by_blocks(lithology, blocks, patch, stride, split, need)
    else:
        places = lay_patches(np.ones(shape, bool), patch, stride)
        parts = np.zeros(len(places), np.int32)
    samples = _samples(dataset, lithology > 0, places, parts, patch, need)
    if not split.by_place:
        dates, inverse = np.unique(samples[:, 1], return_inverse=True)
        samples[:, 2] = split_dates(len(dates), split)[inverse]
    places, samples = _canonical(places, samples)
    bands = tuple(str(name) for name in dataset["band"].values)
    return SamplePlan(
        patch=patch,
        stride=stride,
        min_valid=float(min_valid),
        split=split,
        snapshot=snapshot,
        modality=modality_of(dataset),
        bands=bands,
        shape=shape,
        times=np.asarray(dataset["time"].values, dtype="datetime64[ns]"),
        places=places,
        samples=samples,
        blocks=blocks,
        facts=_facts(dataset, lithology, places, samples, patch),
    )


def _valid_dates(dataset: xr.Dataset) -> Iterator[tuple[int, np.ndarray]]:
    qc = dataset["qc"]
    step = max(1, _SLAB_BYTES // (qc.sizes["y"] * qc.sizes["x"]))
    for start in range(0, qc.sizes["time"], step):
        slab = qc.isel(time=slice(start, start + step)).load().transpose("time", "y", "x").values
        for offset, flags in enumerate(slab):
            yield start + offset, is_valid(flags)


def _samples(
    dataset: xr.Dataset,
    labelled: np.ndarray,
    places: np.ndarray,
    parts: np.ndarray,
    patch: int,
    need: int,
) -> np.ndarray:
    """List place, time and part wherever at least `need` pixels are valid and labelled."""
    rows = [np.zeros((0, 3), np.int32)]
    for time, valid in _valid_dates(dataset):
        counts = window_sums(valid & labelled, patch)[places[:, 0], places[:, 1]]
        found = np.flatnonzero(counts >= need)
        rows.append(np.stack([found, np.full_like(found, time), parts[found]], axis=1))
    return np.concatenate(rows).astype(np.int32)


def _canonical(places: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop places without a sample; sort places row by row, samples by part, time, place."""
    used = np.unique(samples[:, 0])
    used = used[np.lexsort((places[used, 1], places[used, 0]))]
    index = np.zeros(len(places), np.int32)
    index[used] = np.arange(len(used))
    samples = np.stack([index[samples[:, 0]], samples[:, 1], samples[:, 2]], axis=1)
    return places[used], samples[np.lexsort((samples[:, 0], samples[:, 1], samples[:, 2]))]


def _facts(
    dataset: xr.Dataset, labels: np.ndarray, places: np.ndarray, samples: np.ndarray, patch: int
) -> dict[str, Any]:
    shape = (labels.shape[0], labels.shape[1])
    seen = np.zeros((3, *shape), np.int32)
    by_part = [samples[samples[:, 2] == part] for part in range(3)]
    for time, valid in _valid_dates(dataset):
        learnable = valid & (labels > 0)
        for part, rows in enumerate(by_part):
            first, last = np.searchsorted(rows[:, 1], [time, time + 1])
            if last > first:
                seen[part] += paint(places[rows[first:last, 0]], patch, shape) * learnable
    parts = {
        name: _part_facts(rows, np.bincount(labels.ravel(), weights=counts.ravel()))
        for name, rows, counts in zip(PARTS, by_part, seen, strict=True)
    }
    return {"parts": parts, "baselines": _baselines(labels, seen[0], seen[2])}


def _part_facts(rows: np.ndarray, pixels: np.ndarray) -> dict[str, Any]:
    total = float(pixels.sum())
    return {
        "patches": len(np.unique(rows[:, 0])),
        "samples": len(rows),
        "dates": len(np.unique(rows[:, 1])),
        "labelled_pixels": int(total),
        "class_shares": {str(code): float(pixels[code] / total) for code in np.flatnonzero(pixels)},
    }


def _baselines(labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> dict[str, Any]:
    """Score two predictors that never look at the image; `train`, `test` count pixels."""
    from sklearn.metrics import accuracy_score, f1_score

    there = test > 0
    if not there.any() or not train.any():
        return {}
    truth, weight = labels[there], test[there]
    majority = int(np.bincount(labels.ravel(), weights=train.ravel()).argmax())
    guesses = {
        "majority": np.full_like(truth, majority),
        "memorise_place": np.where(train[there] > 0, truth, majority),
    }
    return {
        name: {
            "oa": float(accuracy_score(truth, guess, sample_weight=weight)),
            "macro_f1": float(
                f1_score(
                    truth,
                    guess,
                    labels=np.unique(truth),
                    average="macro",
                    sample_weight=weight,
                    zero_division=0.0,
                )
            ),
        }
        for name, guess in guesses.items()
    }
