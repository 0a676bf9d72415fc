"""The pixels held out for the test, and what the network and two baselines say of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.errors import ModelError
from cube.lithology import CLASS_COUNT
from cube.sampling import Part, SamplePlan
from models.baselines import Majority, MemorisePlace
from models.bootstrap import ground_blocks
from models.calibration import Reliability, reliability
from models.metrics import confusion_by_group
from pipelines.class_weights import training_pixels
from pipelines.evaluation import MAJORITY, MEMORISE, NETWORK, PREDICTORS, BlockCounts

if TYPE_CHECKING:
    import xarray as xr


@dataclass(eq=False)
class Tally:
    """What was counted, date by date."""

    by_block: dict[str, dict[int, np.ndarray]] = field(
        default_factory=lambda: {name: defaultdict(_nothing) for name in PREDICTORS}
    )
    """By predictor and block of ground, int64 (class, class)."""
    by_date: list[tuple[np.datetime64, np.ndarray]] = field(default_factory=list)
    """Of the network; dates with a scored pixel."""
    reliability: Reliability = field(default_factory=lambda: reliability([], []))

    def blocks(self, side: int) -> BlockCounts:
        """As arrays; all predictors are scored on the same pixels, and so in the same blocks."""
        numbers = sorted(self.by_block[NETWORK])
        counts = {
            name: np.array([counts[number] for number in numbers], np.int64)
            for name, counts in self.by_block.items()
        }
        return BlockCounts(side, tuple(numbers), counts)


def _nothing() -> np.ndarray:
    return np.zeros((CLASS_COUNT, CLASS_COUNT), np.int64)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The pixels of the test part, and what each predictor says of them."""

    plan: SamplePlan
    facts: Mapping[str, Any]
    """Of all regions that were trained on; see `pipelines.model_folder.ModelFolder.facts`."""
    predictions: xr.Dataset
    truth: np.ndarray
    """uint8 (y, x); 0 without a label."""

    @property
    def side(self) -> int:
        """Of the blocks of ground that the intervals are drawn from, pixels."""
        return max(self.plan.patch, self.plan.split.block or 0)

    @cached_property
    def mask(self) -> np.ndarray:
        """Labelled pixels of the test part: bool (y, x)."""
        return self.plan.mask("test") & (self.truth > 0)

    @cached_property
    def baselines(self) -> dict[str, np.ndarray]:
        """What the two baselines say of the test pixels, fitted to the training part."""
        shape = (int(self.mask.sum()),)
        if self.plan.split.kind == "whole":
            # Trained in other regions, of which no place can be remembered here.
            majority = Majority(int(training_pixels(self.facts).argmax())).predict(shape)
            return {MAJORITY: majority, MEMORISE: majority}
        seen = np.zeros(self.plan.shape, np.int64)
        for _, scene in self._scenes("train"):
            seen += _layer(scene, "lithology") > 0
        weight = np.where(self.plan.mask("train"), seen, 0)
        if not weight[self.truth > 0].any():
            raise ModelError(
                "no pixel of the training part is both labelled and valid on a date of the run; "
                "predict the scenes of the model's plan"
            )
        return {
            MAJORITY: Majority.fit(self.truth, weight).predict(shape),
            MEMORISE: MemorisePlace.fit(self.truth, weight).predict()[self.mask],
        }

    def tally(self) -> Tally:
        """Count the pixels of all test dates; reads one date's map at a time."""
        tally, truth = Tally(), self.truth[self.mask]
        for time, scene in self._scenes("test"):
            network = _layer(scene, "lithology")[self.mask]
            if not network.any():
                continue
            tally.by_date.append((time, self._count(network, tally)))
            sure = _layer(scene, "confidence")[self.mask]
            tally.reliability += reliability(sure, network == truth, valid=network > 0)
        return tally

    def all_dates(self) -> BlockCounts:
        """Count the pixels of the one map made from all dates."""
        tally = Tally()
        self._count(_layer(self.predictions, "lithology_all")[self.mask], tally)
        return tally.blocks(self.side)

    def _count(self, network: np.ndarray, tally: Tally) -> np.ndarray:
        """Add what each predictor says where the network says something; the network's total."""
        truth, total = self.truth[self.mask], _nothing()
        blocks = ground_blocks(self.plan.shape, self.side)[self.mask]
        for name, said in ({NETWORK: network} | self.baselines).items():
            found = confusion_by_group(truth, said, CLASS_COUNT, blocks, valid=network > 0)
            for number, counts in found.items():
                tally.by_block[name][number] += counts
                total += counts if name == NETWORK else 0
        return total

    def _scenes(self, part: Part) -> Iterator[tuple[np.datetime64, xr.Dataset]]:
        """Maps of the run on the dates of a part, one at a time."""
        times = self.predictions["time"].values
        for index in np.flatnonzero(np.isin(times, self.plan.times_of(part))):
            yield times[index], self.predictions.isel(time=int(index))


def _layer(scene: xr.Dataset, name: str) -> np.ndarray:
    return scene[name].transpose("y", "x").to_numpy()
