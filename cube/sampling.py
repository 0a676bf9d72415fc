"""Sampling: divide the ground or the dates first, then list the patches worth learning from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.balance import place_shares, repeat_factors
from cube.bands import modality_of
from cube.errors import PlanError
from cube.folds import assign_folds
from cube.ground import assign_blocks, place_by_blocks
from cube.patches import lay_patches, window_sums
from cube.plan_facts import count_facts, pool_facts, valid_dates
from cube.sample_checks import check_sizes
from cube.sample_plan import Drawing, SamplePlan, common_shape, single_dates
from cube.sequences import SINGLE, Sequence, chain
from cube.splits import PARTS, Part, SplitSettings, split_dates

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "PARTS",
    "Drawing",
    "Part",
    "SamplePlan",
    "Sequence",
    "SplitSettings",
    "leave_one_out",
    "make_plan",
    "pool_facts",
]


def make_plan(
    dataset: xr.Dataset,
    labels: xr.Dataset,
    *,
    patch: int,
    stride: int,
    split: SplitSettings,
    sequence: Sequence = SINGLE,
    drawing: Drawing = "uniform",
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
    sequence
        How many dates of a place make a sample, and which; by default every date is one.
    drawing
        ``"uniform"``: a training sample goes out once an epoch. ``"balanced"``: samples of rare
        classes more often; see `cube.balance.repeat_factors`.
    min_valid
        A patch at a date is a sample, or may be in a sequence, if at least this share of its
        pixels, and at least one pixel, is valid as well as labelled.
    snapshot
        The cube's snapshot id, kept with the plan.

    Raises
    ------
    PlanError
        If the plan cannot be made as asked, e.g. a part would be empty.
    GridError
        If the labels lie on another grid than the imagery.

    Examples
    --------
    >>> plan = make_plan(
    ...     thermal, labels, patch=64, stride=32,
    ...     split=SplitSettings(kind="folds", folds=5, fold=0),
    ...     sequence=Sequence(length=5, stride=3, max_gap=30),
    ... )  # doctest: +SKIP
    """
    shape = common_shape(dataset, labels)
    check_sizes(patch, stride, min_valid, shape)
    split = split.for_patch(patch)
    lithology = np.asarray(labels["lithology"].transpose("y", "x").values, dtype=np.uint8)
    if not lithology.any():
        raise PlanError("the label map holds no class at all (only 0); nothing can be learnt")
    need = max(1, math.ceil(min_valid * patch * patch))
    times = np.asarray(dataset["time"].values, dtype="datetime64[ns]")
    blocks, places, parts = _ground(lithology, patch, stride, split, need)
    single = _samples(dataset, lithology > 0, places, parts, patch, need)
    single = _by_date(single, split)
    sequences = single_dates(len(times))
    if sequence.length > 1:
        single, sequences = chain(single, times, sequence)
    places, samples = _canonical(places, single)
    return SamplePlan(
        patch=patch,
        stride=stride,
        min_valid=float(min_valid),
        split=split,
        snapshot=snapshot,
        modality=modality_of(dataset),
        bands=tuple(str(name) for name in dataset["band"].values),
        shape=shape,
        times=times,
        places=places,
        samples=samples,
        blocks=blocks,
        facts=count_facts(dataset, lithology, places, samples, sequences, patch),
        sequence=sequence,
        sequences=sequences,
        drawing=drawing,
        repeats=_repeats(lithology, places, samples, patch, split.seed, drawing),
    )


def _ground(
    labels: np.ndarray, patch: int, stride: int, split: SplitSettings, need: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Table of blocks, places, and the part of each place as far as ground decides it."""
    if split.by_place:
        assign = assign_folds if split.kind == "folds" else assign_blocks
        blocks = assign(labels, patch, split, need)
        return blocks, *place_by_blocks(labels, blocks, patch, stride, split, need)
    places = lay_patches(np.ones(labels.shape, bool), patch, stride)
    part = PARTS.index(split.part or "train")
    return np.zeros((0, 0), np.int8), places, np.full(len(places), part, np.int32)


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
    for time, valid in valid_dates(dataset):
        counts = window_sums(valid & labelled, patch)[places[:, 0], places[:, 1]]
        found = np.flatnonzero(counts >= need)
        rows.append(np.stack([found, np.full_like(found, time), parts[found]], axis=1))
    return np.concatenate(rows).astype(np.int32)


def _by_date(samples: np.ndarray, split: SplitSettings) -> np.ndarray:
    """Give samples the part of their date; where ground has a say too, both must agree."""
    if not split.by_date:
        return samples
    dates, inverse = np.unique(samples[:, 1], return_inverse=True)
    parts = split_dates(len(dates), split)[inverse]
    if split.by_place:
        return np.asarray(samples[samples[:, 2] == parts])
    return np.column_stack([samples[:, :2], parts])


def _canonical(places: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop places without a sample; sort places row by row, samples by part, time, place."""
    used = np.unique(samples[:, 0])
    used = used[np.lexsort((places[used, 1], places[used, 0]))]
    index = np.zeros(len(places), np.int32)
    index[used] = np.arange(len(used))
    samples = np.stack([index[samples[:, 0]], samples[:, 1], samples[:, 2]], axis=1)
    return places[used], samples[np.lexsort((samples[:, 0], samples[:, 1], samples[:, 2]))]


def _repeats(
    labels: np.ndarray,
    places: np.ndarray,
    samples: np.ndarray,
    patch: int,
    seed: int,
    drawing: Drawing,
) -> np.ndarray:
    repeats = np.ones(len(samples), np.int32)
    if drawing == "balanced":
        train = samples[:, 2] == PARTS.index("train")
        shares = place_shares(labels, places, patch)
        repeats[train] = repeat_factors(shares[samples[train, 0]], seed)
    return repeats


def leave_one_out(
    regions: Mapping[str, tuple[xr.Dataset, xr.Dataset]],
    held_out: str,
    *,
    validation: float | str = 0.15,
    buffer: int | None = None,
    seed: int = 0,
    snapshots: Mapping[str, str] | None = None,
    **options: Any,
) -> dict[str, SamplePlan]:
    """Plan to train on all regions but one, and to test on all of that one.

    Parameters
    ----------
    regions
        Name to imagery and labels; see `make_plan`.
    held_out
        The region to test on.
    validation
        The region to validate on; or the share of every training region that is set apart for
        it in blocks.
    buffer, seed
        Of those blocks; see `SplitSettings`.
    snapshots
        Name to the cube's snapshot.
    **options
        ``patch``, ``stride``, ``sequence``, ``drawing``, ``min_valid``: see `make_plan`.

    Returns
    -------
    dict of SamplePlan
        One a region, with the parts it contributes; `pool_facts` sums them up.

    Raises
    ------
    PlanError
        If a region is not there, nothing is left to train on, or a plan cannot be made.
    """
    splits = _region_splits(list(regions), held_out, validation, buffer, seed)
    plans = {}
    for name, split in splits.items():
        dataset, labels = regions[name]
        snapshot = (snapshots or {}).get(name, "")
        try:
            plans[name] = make_plan(dataset, labels, split=split, snapshot=snapshot, **options)
        except PlanError as error:
            raise PlanError(f"region {name!r}: {error}") from error
    bands = {plan.bands for plan in plans.values()}
    if len(bands) > 1:
        found = "; ".join(f"{name}: {', '.join(plan.bands)}" for name, plan in plans.items())
        raise PlanError(f"the regions have different bands, or in another order ({found})")
    return plans


def _region_splits(
    names: list[str], held_out: str, validation: float | str, buffer: int | None, seed: int
) -> dict[str, SplitSettings]:
    others: dict[str, Part] = {held_out: "test"}
    if isinstance(validation, str):
        others[validation] = "val"
    unknown = [name for name in others if name not in names]
    if unknown or len(names) <= len(others) or validation == held_out:
        raise PlanError(
            f"cannot leave out {held_out!r} with validation {validation!r} of the regions "
            f"{', '.join(names)}: each must be one of them, and one more is needed to train on"
        )
    train = SplitSettings(kind="whole", part="train")
    if isinstance(validation, float):
        if not 0 < validation < 1:
            raise PlanError(f"validation is a share between 0 and 1, or a region; not {validation}")
        fractions = (1 - validation, validation, 0.0)
        train = SplitSettings(kind="blocks", fractions=fractions, buffer=buffer, seed=seed)
    return {
        name: SplitSettings(kind="whole", part=others[name]) if name in others else train
        for name in names
    }
