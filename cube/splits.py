"""Splits: which ground, or which dates, are for training, for validation and for test."""

from __future__ import annotations

import math
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cube.errors import PlanError

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
Kind = Literal["blocks", "folds", "blocks+time", "time", "thesis", "70/30", "random", "whole"]

STUDIES: dict[str, tuple[float, float, float]] = {
    "thesis": (0.85 * 0.85, 0.85 * 0.15, 0.15),
    "70/30": (0.7 * 0.85, 0.7 * 0.15, 0.3),
}
"""Fractions of the study's protocol and of its proposal: the last 15 % (30 %) of the dates are
test, the last 15 % of the rest validation."""


class SplitSettings(BaseModel):
    """How samples are divided; made before any sample is drawn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = "blocks"
    """By place, leak-safe: ``blocks``; ``folds``, k-fold blocks, of which this is one fold;
    ``blocks+time``, other places and, in order of time, other dates too.

    By date, every place in all parts, so that memory is rewarded: ``time``, in order of time;
    ``thesis``, the study's 85/15, 15 % of the 85 for validation; ``70/30``, that of its proposal;
    ``random``, dates drawn at random.

    ``whole``: the whole region is one part; for leaving out one of several regions."""
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    """Train, validation, test; sum 1; 0 leaves validation or test out. For ``blocks``, ``time``,
    ``random``, and ``blocks+time``, which takes them of the ground and of the dates."""
    block: int | None = Field(default=None, ge=1)
    """Side of a square block, pixels; by default half a patch. For splits by place."""
    buffer: int | None = Field(default=None, ge=1)
    """At least so many pixels lie between two parts, in rows or in columns; by default
    one patch. For splits by place."""
    seed: int = Field(default=0, ge=0)
    folds: int | None = Field(default=None, ge=3)
    """How many folds there are; by default 5. Only for ``folds``."""
    fold: int | None = Field(default=None, ge=0)
    """The fold that is test, from 0; the next one is validation. By default 0."""
    part: Part | None = None
    """What the whole region is for. Only for ``whole``, which needs it."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        train, *others = self.fractions
        if train <= 0 or min(others) < 0 or not math.isclose(sum(self.fractions), 1, abs_tol=1e-6):
            raise ValueError(
                f"fractions are three shares of sum 1, that of train above 0; not {self.fractions}"
            )
        return self

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        if (self.folds, self.fold) != (None, None) and self.kind != "folds":
            raise ValueError(f"folds and fold are for a split of kind 'folds', not {self.kind!r}")
        if self.kind == "folds" and self.fold_numbers[0] >= self.fold_numbers[1]:
            raise ValueError(
                f"fold {self.fold} is none of {self.fold_numbers[1]} folds, counted from 0"
            )
        if (self.part is None) == (self.kind == "whole"):
            raise ValueError("a split of kind 'whole' needs the part it is for, and no other does")
        return self

    @property
    def by_place(self) -> bool:
        """Whether the parts are pieces of ground, of this region."""
        return self.kind in ("blocks", "folds", "blocks+time")

    @property
    def by_date(self) -> bool:
        """Whether no two parts have a date in common."""
        return self.kind in ("time", "thesis", "70/30", "random", "blocks+time")

    @property
    def leaky(self) -> bool:
        """Whether the parts have their places in common."""
        return self.by_date and not self.by_place

    @property
    def fold_numbers(self) -> tuple[int, int]:
        """The fold that is test, and how many there are; defaults filled in."""
        return self.fold or 0, 5 if self.folds is None else self.folds

    @property
    def shares(self) -> tuple[float, float, float]:
        """Fractions of train, validation and test, whatever the kind."""
        if self.kind == "folds":
            count = self.fold_numbers[1]
            return (count - 2) / count, 1 / count, 1 / count
        if self.kind == "whole":
            train, val, test = (float(part == self.part) for part in PARTS)
            return train, val, test
        return STUDIES.get(self.kind, self.fractions)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that a plan divided so must have."""
        return tuple(part for part, share in zip(PARTS, self.shares, strict=True) if share > 0)

    @property
    def in_words(self) -> str:
        """How the parts differ, for a sentence about scores."""
        if self.kind == "whole":
            return f"the whole region for {self.part}"
        if not self.by_place:
            order = "dates drawn at random" if self.kind == "random" else "dates in order of time"
            return f"{order} ({self.kind}), every place in all parts"
        ground = f"spatial blocks of {self.block} px, {self.buffer} px apart"
        if self.kind == "folds":
            fold, count = self.fold_numbers
            return f"fold {fold + 1} of {count} of {ground}"
        return f"{ground}, and dates in order of time" if self.by_date else ground

    def for_patch(self, patch: int) -> SplitSettings:
        """Fill in the defaults that depend on the patch, and the folds."""
        if not self.by_place:
            return self
        filled = {"block": self.block or max(1, patch // 2), "buffer": self.buffer or patch}
        if self.kind == "folds":
            filled["fold"], filled["folds"] = self.fold_numbers
        return self.model_copy(update=filled)


def split_dates(count: int, split: SplitSettings) -> np.ndarray:
    """Cut a row of dates into the parts: in order of time, or at random.

    Parameters
    ----------
    count
        Number of dates that have samples.

    Returns
    -------
    ndarray of int32, (count,)
        Index into `PARTS`; never falling, unless the split is ``random``.

    Raises
    ------
    PlanError
        If there are fewer dates than parts.
    """
    shares = np.array(split.shares)
    wanted = np.flatnonzero(shares)
    if count < len(wanted):
        raise PlanError(
            f"a {split.kind!r} split needs at least {len(wanted)} dates with samples, one a part; "
            f"there are {count}: lower min_valid, ingest more scenes, or split by blocks"
        )
    ends = [count]
    for before in range(len(wanted) - 1, 0, -1):
        end = round(count * float(shares[: wanted[before]].sum()))
        ends.insert(0, min(max(before, end), ends[0] - 1))
    parts = wanted[np.searchsorted(ends, np.arange(count), side="right")].astype(np.int32)
    if split.kind == "random":
        return np.asarray(np.random.default_rng(split.seed).permutation(parts))
    return np.asarray(parts)
