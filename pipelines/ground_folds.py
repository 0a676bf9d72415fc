"""Folds of ground for classifiers of pixels, from sample plans: one split serves all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from cube.sampling import SamplePlan, SplitSettings, make_plan

if TYPE_CHECKING:
    import xarray as xr

PATCH = 8
"""Side of a plan's patches, pixels: small, so that they fill the blocks."""


class Folds(Protocol):
    """A division of ground: each fold is tested once, by what is known away from it."""

    @property
    def number(self) -> np.ndarray:
        """Fold of each pixel, int (y, x); -1 where there is none."""

    @property
    def count(self) -> int:
        """Number of folds."""

    @property
    def digests(self) -> list[str]:
        """SHA-256 of each fold's plan."""

    @property
    def in_words(self) -> str:
        """How known and tested ground differ."""

    def train(self, *held_out: int) -> np.ndarray:
        """Ground whose labels may be known while these folds are tested: bool (y, x)."""

    def inner(self, fold: int, groups: int) -> list[tuple[int, ...]]:
        """Other folds, in groups, each to be tested within this fold's training."""


@dataclass(frozen=True, eq=False)
class GroundFolds:
    """Every labelled place is in the test ground of one fold, and of one only."""

    plans: tuple[SamplePlan, ...]

    @classmethod
    def of(
        cls,
        dataset: xr.Dataset,
        labels: xr.Dataset,
        *,
        folds: int,
        block: int,
        buffer: int,
        seed: int = 0,
        snapshot: str = "",
    ) -> GroundFolds:
        """Make one plan a fold.

        Raises
        ------
        PlanError
            If the map is too small for so many folds; see `cube.sampling.make_plan`.
        """
        return cls(
            tuple(
                make_plan(
                    dataset,
                    labels,
                    patch=PATCH,
                    stride=PATCH,
                    split=SplitSettings(
                        kind="folds", folds=folds, fold=fold, block=block, buffer=buffer, seed=seed
                    ),
                    min_valid=0.0,
                    snapshot=snapshot,
                )
                for fold in range(folds)
            )
        )

    @property
    def count(self) -> int:
        """Number of folds."""
        return len(self.plans)

    @property
    def digests(self) -> list[str]:
        """Of the plans."""
        return [plan.digest for plan in self.plans]

    @property
    def in_words(self) -> str:
        """How known and tested ground differ."""
        return self.plans[0].split.in_words.split(" of ", 2)[2]

    @cached_property
    def number(self) -> np.ndarray:
        """Fold of each pixel, int (y, x); -1 where no plan has it in its test ground."""
        found = np.full(self.plans[0].shape, -1)
        for fold, plan in enumerate(self.plans):
            found[plan.mask("test")] = fold
        return found

    @cached_property
    def _known(self) -> tuple[np.ndarray, ...]:
        return tuple(plan.mask("train") | plan.mask("val") for plan in self.plans)

    def train(self, *held_out: int) -> np.ndarray:
        """Ground whose labels may be known while these folds are tested: bool (y, x).

        The buffer lies between it and each of them.
        """
        return np.logical_and.reduce([self._known[fold] for fold in held_out])

    def inner(self, fold: int, groups: int) -> list[tuple[int, ...]]:
        """Deal the other folds out into groups, each to be tested within this fold's training."""
        others = [other for other in range(len(self.plans)) if other != fold]
        return [tuple(others[start::groups]) for start in range(groups)]
