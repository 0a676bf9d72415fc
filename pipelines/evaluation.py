"""The result of an evaluation: scores of a run beside two baselines, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from models import bootstrap
from models.bootstrap import Interval
from models.calibration import Reliability
from models.metrics import Scores, scores

NETWORK, MAJORITY, MEMORISE = "network", "majority class", "memorise the place"
PREDICTORS = (NETWORK, MAJORITY, MEMORISE)

Intervals = dict[str, Interval]
"""By field of `models.metrics.Scores`."""


@dataclass(frozen=True)
class DateScores:
    """Scores of one date's map on the test part."""

    time: np.datetime64
    """UTC."""
    scores: Scores

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        time = np.datetime_as_string(self.time, unit="s") + "Z"
        return {"time": time, "scores": self.scores.to_dict()}


@dataclass(frozen=True, eq=False)
class BlockCounts:
    """Confusion matrices of the blocks of ground that are drawn for the intervals."""

    side: int
    """Of a block, pixels."""
    numbers: tuple[int, ...]
    """Of the blocks with a scored pixel; see `models.bootstrap.ground_blocks`."""
    counts: Mapping[str, np.ndarray]
    """By predictor, int64 (block, class, class), in the order of `numbers`."""

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """By predictor, over all blocks."""
        return {name: scores(counts.sum(axis=0)) for name, counts in self.counts.items()}

    @property
    def enough(self) -> bool:
        """Whether there is more than one block to draw from."""
        return len(self.numbers) > 1

    @cached_property
    def intervals(self) -> dict[str, Intervals]:
        """95 % intervals of the scores of each predictor; empty with a single block."""
        if not self.enough:
            return {}
        return {name: bootstrap.intervals(counts) for name, counts in self.counts.items()}

    @cached_property
    def class_intervals(self) -> dict[int, Intervals]:
        """Those of the network's scores by class."""
        return bootstrap.class_intervals(self.counts[NETWORK]) if self.enough else {}

    @cached_property
    def lead(self) -> dict[str, Intervals]:
        """Those of the network's scores less those of each baseline, on the same draws."""
        if not self.enough:
            return {}
        network = self.counts[NETWORK]
        return {
            name: bootstrap.difference(network, self.counts[name]) for name in (MAJORITY, MEMORISE)
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; without the matrices."""
        return {
            "level": 0.95,
            "block_px": self.side,
            "blocks": len(self.numbers),
            "scores": _plain_by_name(self.intervals),
            "per_class": {
                str(code): _plain(figures) for code, figures in self.class_intervals.items()
            },
            "network_less": _plain_by_name(self.lead),
        }


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of a run on the test part of the plan that its network was trained with.

    All predictors are scored on the same pixels: labelled, in the test part, and valid on the
    date; a pixel counts once a date.
    """

    cube: str
    snapshot: str
    """Snapshot of the cube that was scored."""
    run: str
    model: str
    model_digest: str
    split: str
    """The split in words, and whether it leaks."""
    plan: Mapping[str, str | int]
    """Of the plan whose test part is scored: digest, and side and step of patches in pixels."""
    leak_safe: bool
    class_names: tuple[str, ...]
    blocks: BlockCounts
    """The counts of all test dates by blocks of ground, and the intervals from them."""
    map_blocks: BlockCounts
    """As `blocks`, of the one map made from all dates of the run. Under a split by time it is
    made from training dates too."""
    per_date: tuple[DateScores, ...]
    """Of the network, in order of time; dates without a valid test pixel are left out."""
    groups: dict[str, dict[str, Scores]]
    """Of the network, by time of day and by season."""
    reliability: Reliability
    """Of the network's confidence on all test dates."""

    @cached_property
    def confusion(self) -> np.ndarray:
        """int64 (class, class) of the network, rows true, columns predicted, class 0 included."""
        return np.asarray(self.blocks.counts[NETWORK].sum(axis=0))

    @property
    def scores(self) -> dict[str, Scores]:
        """By predictor (`PREDICTORS`), over all pixels of all test dates."""
        return self.blocks.scores

    @property
    def all_dates(self) -> dict[str, Scores]:
        """By predictor, of the one map made from all dates."""
        return self.map_blocks.scores

    @property
    def headline(self) -> Scores | None:
        """The network's leak-safe scores; None under a split that leaks."""
        return self.scores[NETWORK] if self.leak_safe else None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and dictionaries, ready for JSON."""
        return {
            "cube": self.cube,
            "snapshot": self.snapshot,
            "run": self.run,
            "model": self.model,
            "model_digest": self.model_digest,
            "split": self.split,
            "plan": dict(self.plan),
            "leak_safe": self.leak_safe,
            "headline": self.headline.to_dict() if self.headline else None,
            "class_names": list(self.class_names),
            "confusion": self.confusion.tolist(),
            "scores": {name: value.to_dict() for name, value in self.scores.items()},
            "intervals": self.blocks.to_dict(),
            "calibration": calibration_document(self.reliability),
            "all_dates": {name: value.to_dict() for name, value in self.all_dates.items()},
            "all_dates_intervals": self.map_blocks.to_dict(),
            "groups": {
                kind: {name: value.to_dict() for name, value in members.items()}
                for kind, members in self.groups.items()
            },
            "per_date": [date.to_dict() for date in self.per_date],
        }


def calibration_document(reliability: Reliability) -> dict[str, Any]:
    """A reliability curve as JSON takes it."""
    return {
        "ece": _number(reliability.ece),
        "overconfidence": _number(reliability.overconfidence),
        "edges": reliability.edges.tolist(),
        "pixels": reliability.pixels.astype(int).tolist(),
        "confidence": [_number(value) for value in reliability.confidence],
        "accuracy": [_number(value) for value in reliability.accuracy],
    }


def _plain_by_name(values: Mapping[str, Intervals]) -> dict[str, Any]:
    return {name: _plain(figures) for name, figures in values.items()}


def _plain(figures: Intervals) -> dict[str, Any]:
    return {name: [_number(interval.low), _number(interval.high)]
            for name, interval in figures.items()}  # fmt: skip


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return float(value) if math.isfinite(value) else None
