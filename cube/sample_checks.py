"""What a sample plan must never be; run whenever one is made or loaded."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from cube.errors import PlanError
from cube.ground import block_map
from cube.sequences import longest
from cube.splits import PARTS, Part

if TYPE_CHECKING:
    from cube.sample_plan import SamplePlan


def check_sizes(patch: int, stride: int, min_valid: float, shape: tuple[int, int]) -> None:
    """Refuse sizes that no plan can have.

    Raises
    ------
    PlanError
    """
    if patch < 1 or stride < 1:
        raise PlanError(f"patch and stride are pixels, 1 or more; not {patch} and {stride}")
    if patch > min(shape):
        raise PlanError(
            f"a patch of {patch} px does not fit into a region of {shape[0]} x {shape[1]} px; "
            "take a smaller patch"
        )
    if not 0 <= min_valid <= 1:
        raise PlanError(f"min_valid is a share between 0 and 1, not {min_valid}")


def check_plan(plan: SamplePlan) -> None:
    """Refuse a plan whose parts touch, share a date or are empty, or whose tables are broken.

    Raises
    ------
    PlanError
        With the figures: which parts, how close, where.
    """
    check_sizes(plan.patch, plan.stride, plan.min_valid, plan.shape)
    _check_places(plan)
    _check_sequences(plan)
    _check_table(plan)
    _check_parts(plan)
    if plan.split.by_place:
        _check_blocks(plan)
    if plan.split.kind == "random":
        _check_apart_in_time(plan)
    elif plan.split.by_date:
        _check_order_in_time(plan)


def _check_places(plan: SamplePlan) -> None:
    room = np.array(plan.shape) - plan.patch
    if plan.places.ndim != 2 or (plan.places < 0).any() or (plan.places > room).any():
        raise PlanError(f"a patch of {plan.patch} px reaches out of the region {plan.shape}")
    if len(plan.times) and not (np.diff(plan.times.astype(np.int64)) > 0).all():
        raise PlanError("the plan's dates are not strictly increasing")


def _check_sequences(plan: SamplePlan) -> None:
    """Refuse sequences whose dates are not there, not in order, or too far apart."""
    length, sequences = plan.sequence.length, plan.sequences
    if sequences.ndim != 2 or sequences.shape[1] != length:
        raise PlanError(
            f"the plan's sequences are a table {sequences.shape}, not of {length} dates"
        )
    if (sequences < 0).any() or (sequences >= len(plan.times)).any():
        raise PlanError("a sequence points at a date that the plan does not have")
    if (np.diff(sequences, axis=1) <= 0).any():
        raise PlanError("the dates of a sequence are not strictly increasing")
    if len(np.unique(sequences, axis=0)) < len(sequences) or _falls(sequences):
        raise PlanError("the plan lists a sequence twice, or out of order")
    limit = plan.sequence.max_gap
    gaps = np.diff(plan.times[sequences], axis=1)
    if limit is not None and (gaps > longest(limit)).any():
        raise PlanError(
            f"a sequence has {gaps.max() / np.timedelta64(1, 'D'):.1f} days between two dates, "
            f"where max_gap is {limit:g}"
        )


def _falls(table: np.ndarray) -> bool:
    """Whether the rows are not in lexicographic order."""
    return not np.array_equal(np.lexsort(table.T[::-1]), np.arange(len(table)))


def _check_table(plan: SamplePlan) -> None:
    """Refuse indices that point nowhere, and an order that is not the one of the digest."""
    limits = (len(plan.places), len(plan.sequences), len(PARTS))
    if plan.samples.ndim != 2 or (plan.samples < 0).any() or (plan.samples >= limits).any():
        raise PlanError("a sample points at a place, date or part that the plan does not have")
    for table, keys, sizes in (
        (plan.places, (0, 1), plan.shape),
        (plan.samples, (2, 1, 0), limits[::-1]),
    ):
        order = np.ravel_multi_index([table[:, key] for key in keys], sizes)
        if (np.diff(order) <= 0).any():
            raise PlanError("the plan lists a place or a sample twice, or out of order")
    if plan.repeats.shape != (len(plan.samples),) or (plan.repeats < 1).any():
        raise PlanError("every sample goes out once an epoch or more, and has its number of times")
    if plan.samples[plan.repeats > 1, 2].any():
        raise PlanError("only train samples may go out more than once an epoch")


def _check_parts(plan: SamplePlan) -> None:
    """Refuse a part that is empty and should not be, or the other way round."""
    for number, name in enumerate(PARTS):
        there = bool((plan.samples[:, 2] == number).any())
        if there == (name in plan.split.parts):
            continue
        sizes = ", ".join(f"{part} {len(plan.part(part))}" for part in PARTS)
        if there:
            raise PlanError(
                f"a split of kind {plan.split.kind!r} has no {name} part, but the plan has "
                f"(samples: {sizes})"
            )
        advice = "lower min_valid, take a smaller patch or buffer, or other fractions"
        if plan.sequence_length > 1:
            advice = f"take sequences of fewer than {plan.sequence_length} dates, {advice}"
        raise PlanError(f"the {name} part is empty (samples: {sizes}); {advice}")


def _check_blocks(plan: SamplePlan) -> None:
    block, buffer = plan.split.block, plan.split.buffer
    if (
        block is None
        or buffer is None
        or plan.blocks.shape != tuple(-(-size // block) for size in plan.shape)
    ):
        raise PlanError("a plan by blocks needs block, buffer, and a table of all blocks")
    masks = {name: plan.mask(name) for name in plan.split.parts}
    require_apart(masks, buffer)
    ground = block_map(plan.blocks, block, plan.shape)
    for name, mask in masks.items():
        stray = np.argwhere(mask & (ground != PARTS.index(name)))
        if len(stray):
            raise PlanError(
                f"{len(stray)} pixels of {name} patches lie outside the blocks of {name}, "
                f"the first at row {stray[0][0]}, column {stray[0][1]}"
            )


def _check_order_in_time(plan: SamplePlan) -> None:
    _check_apart_in_time(plan)
    for earlier, later in itertools.pairwise(plan.split.parts):
        last, first = plan.times_of(earlier)[-1], plan.times_of(later)[0]
        if last > first:
            raise PlanError(
                f"{earlier} and {later} are not in order of time: {earlier} ends at "
                f"{np.datetime_as_string(last, unit='m')}, {later} begins at "
                f"{np.datetime_as_string(first, unit='m')}"
            )


def _check_apart_in_time(plan: SamplePlan) -> None:
    for one, other in itertools.combinations(plan.split.parts, 2):
        shared = np.intersect1d(plan.times_of(one), plan.times_of(other))
        if len(shared):
            raise PlanError(
                f"{one} and {other} share {len(shared)} dates, the first of them "
                f"{np.datetime_as_string(shared[0], unit='m')}"
            )


def require_apart(masks: dict[Part, np.ndarray], buffer: int) -> None:
    """Refuse parts that overlap, or between which fewer than `buffer` pixels lie.

    Parameters
    ----------
    masks
        Part to bool (y, x); none of them empty.
    buffer
        Pixels, counted along rows or columns, whichever is more (Chebyshev).

    Raises
    ------
    PlanError
        Naming the parts, how close they come, and where.
    """
    from scipy.ndimage import distance_transform_cdt

    for one, other in itertools.combinations(masks, 2):
        away = distance_transform_cdt(~masks[one], metric="chessboard")
        away = np.where(masks[other], away, np.iinfo(np.int32).max)
        row, column = np.unravel_index(int(away.argmin()), away.shape)
        distance = int(away[row, column])
        if distance > buffer:
            continue
        found = "overlap" if distance == 0 else f"have only {distance - 1} px between them"
        raise PlanError(
            f"{one} and {other} {found} at row {row}, column {column}, where the buffer asks for "
            f"{buffer} px: such a plan would measure memory, not skill; make a new one"
        )
