"""What a sample plan must never be; run whenever one is made or loaded."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from cube.errors import PlanError
from cube.splits import PARTS, Part, block_map

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
    _check_table(plan)
    for number, name in enumerate(PARTS):
        if not (plan.samples[:, 2] == number).any():
            sizes = ", ".join(f"{part} {len(plan.part(part))}" for part in PARTS)
            raise PlanError(
                f"the {name} part is empty (samples: {sizes}); lower min_valid, take a smaller "
                "patch or buffer, or other fractions"
            )
    if plan.split.by_place:
        _check_blocks(plan)
    else:
        _check_dates(plan)


def _check_table(plan: SamplePlan) -> None:
    """Refuse indices that point nowhere, and an order that is not the one of the digest."""
    room = np.array(plan.shape) - plan.patch
    if plan.places.ndim != 2 or (plan.places < 0).any() or (plan.places > room).any():
        raise PlanError(f"a patch of {plan.patch} px reaches out of the region {plan.shape}")
    if len(plan.times) and not (np.diff(plan.times.astype(np.int64)) > 0).all():
        raise PlanError("the plan's dates are not strictly increasing")
    limits = (len(plan.places), len(plan.times), len(PARTS))
    if plan.samples.ndim != 2 or (plan.samples < 0).any() or (plan.samples >= limits).any():
        raise PlanError("a sample points at a place, date or part that the plan does not have")
    for table, keys, sizes in (
        (plan.places, (0, 1), plan.shape),
        (plan.samples, (2, 1, 0), limits[::-1]),
    ):
        order = np.ravel_multi_index([table[:, key] for key in keys], sizes)
        if (np.diff(order) <= 0).any():
            raise PlanError("the plan lists a place or a sample twice, or out of order")


def _check_blocks(plan: SamplePlan) -> None:
    block, buffer = plan.split.block, plan.split.buffer
    if (
        block is None
        or buffer is None
        or plan.blocks.shape != tuple(-(-size // block) for size in plan.shape)
    ):
        raise PlanError("a plan by blocks needs block, buffer, and a table of all blocks")
    masks = {name: plan.mask(name) for name in PARTS}
    require_apart(masks, buffer)
    ground = block_map(plan.blocks, block, plan.shape)
    for number, name in enumerate(PARTS):
        stray = np.argwhere(masks[name] & (ground != number))
        if len(stray):
            raise PlanError(
                f"{len(stray)} pixels of {name} patches lie outside the blocks of {name}, "
                f"the first at row {stray[0][0]}, column {stray[0][1]}"
            )


def _check_dates(plan: SamplePlan) -> None:
    for earlier, later in itertools.pairwise(PARTS):
        last, first = plan.times_of(earlier)[-1], plan.times_of(later)[0]
        if last < first:
            continue
        shared = np.intersect1d(plan.times_of(earlier), plan.times_of(later))
        found = f"share {len(shared)} dates" if len(shared) else "are not in order of time"
        raise PlanError(
            f"{earlier} and {later} {found}: {earlier} ends at "
            f"{np.datetime_as_string(last, unit='m')}, {later} begins at "
            f"{np.datetime_as_string(first, unit='m')}"
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
