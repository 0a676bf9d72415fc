"""What came of a run of an experiment, in a file of its own; and of all folds of a split."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zipfile import BadZipFile

import numpy as np

from models import bootstrap
from models.bootstrap import Interval
from models.calibration import Reliability
from models.metrics import Scores, scores
from pipelines.cross_validate import pooled
from pipelines.evaluation import MAJORITY, MEMORISE, NETWORK, PREDICTORS, BlockCounts

if TYPE_CHECKING:
    import xarray as xr

    from pipelines.evaluation import Evaluation
    from pipelines.model_folder import ModelFolder

FILE = "outcome.npz"
_CURVE = ("pixels", "confidence_sum", "correct")

Status = Literal["done", "not run", "failed"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """Of one training."""

    status: Status
    key: str = ""
    """SHA-256 of all that the run depends on."""
    why: str = ""
    """Of a run that is not done."""
    facts: dict[str, Any] = field(default_factory=dict)
    """``split``, ``leak_safe``, ``seconds``, ``epochs``, ``parameters``, ``plan_digest``,
    ``model_digest``."""
    blocks: BlockCounts | None = None
    reliability: Reliability | None = None
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)
    """``lithology`` uint8 and ``confidence`` float32 over all dates, ``tested`` bool; (y, x)."""

    @classmethod
    def of(cls, key: str, evaluation: Evaluation, folder: ModelFolder, maps: xr.Dataset) -> Outcome:
        """Of a run that was scored."""
        metrics = folder.metrics()
        facts = {
            "split": evaluation.split,
            "leak_safe": evaluation.leak_safe,
            "seconds": metrics["seconds"],
            "epochs": metrics["epochs"],
            "parameters": metrics["parameters"],
            "plan_digest": folder.recipe.lineage.plan_digest,
            "model_digest": evaluation.model_digest,
        }
        plan = folder.plan_of(evaluation.cube)
        drawn = {
            "lithology": maps["lithology_all"].transpose("y", "x").to_numpy(),
            "confidence": maps["confidence_all"].transpose("y", "x").to_numpy(),
            "tested": plan.mask("test"),
        }
        return cls("done", key, "", facts, evaluation.blocks, evaluation.reliability, drawn)

    def save(self, home: Path) -> None:
        """Write the file, whole or not at all; that of a run not done holds the reason only."""
        header: dict[str, Any] = {
            "status": self.status,
            "key": self.key,
            "why": self.why,
            "facts": self.facts,
        }
        arrays: dict[str, np.ndarray] = {f"map-{name}": array for name, array in self.maps.items()}
        if self.blocks is not None:
            header["side"] = self.blocks.side
            arrays["numbers"] = np.array(self.blocks.numbers)
            arrays |= {f"counts-{name}": array for name, array in self.blocks.counts.items()}
        if self.reliability is not None:
            arrays |= {f"curve-{name}": getattr(self.reliability, name) for name in _CURVE}
        home.mkdir(parents=True, exist_ok=True)
        part = home / f".{FILE}.part"
        with part.open("wb") as file:
            np.savez_compressed(
                file, header=np.array(json.dumps(header)), allow_pickle=False, **arrays
            )
        part.replace(home / FILE)

    @classmethod
    def load(cls, home: Path) -> Outcome | None:
        """Read the file; None if it is not there, or not whole."""
        try:
            with (home / FILE).open("rb") as file, np.load(file, allow_pickle=False) as stored:
                header = json.loads(str(stored["header"]))
                arrays = {name: stored[name] for name in stored.files}
        except (FileNotFoundError, BadZipFile, EOFError, KeyError, ValueError):
            return None
        blocks = None
        if (side := header.pop("side", None)) is not None:
            counts = {name: arrays[f"counts-{name}"] for name in PREDICTORS}
            blocks = BlockCounts(side, tuple(arrays["numbers"].tolist()), counts)
        curve = [arrays[f"curve-{name}"] for name in _CURVE if f"curve-{name}" in arrays]
        maps = {
            name.removeprefix("map-"): array
            for name, array in arrays.items()
            if name.startswith("map-")
        }
        return cls(
            **header, blocks=blocks, reliability=Reliability(*curve) if curve else None, maps=maps
        )


@dataclass(frozen=True, eq=False)
class Row:
    """What stands in one row of a table: a run, or all folds of a split together."""

    region: str
    network: str
    data_set: str
    split: str
    variant: str
    about: str
    """Of the variant."""
    kind: str
    """Which of the study's networks stands beside it."""
    outcomes: tuple[Outcome, ...]

    @property
    def name(self) -> str:
        """All but the region, in words."""
        return ", ".join((self.network, self.data_set, self.split, self.variant))

    @property
    def undone(self) -> Outcome | None:
        """The first fold that has no scores, if there is one."""
        return next((one for one in self.outcomes if one.blocks is None), None)

    @property
    def leak_safe(self) -> bool:
        """Whether no test place was seen in training."""
        return bool(self.outcomes[0].facts.get("leak_safe"))

    @cached_property
    def blocks(self) -> BlockCounts:
        """Counts of all folds by blocks of ground."""
        return pooled([one.blocks for one in self.outcomes if one.blocks is not None])

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """By predictor, over the test pixels of all folds."""
        return {name: scores(counts.sum(axis=0)) for name, counts in self.blocks.counts.items()}

    @cached_property
    def reliability(self) -> Reliability:
        """Of the networks' confidences."""
        return reduce(add, [one.reliability for one in self.outcomes if one.reliability])

    def total(self, fact: str) -> float:
        """Sum of a fact over the folds."""
        return sum(one.facts[fact] for one in self.outcomes)

    def maps(self) -> dict[str, np.ndarray]:
        """Class and confidence, each pixel from the network that was tested on it, if one was."""
        first, *others = self.outcomes
        drawn = {name: first.maps[name].copy() for name in ("lithology", "confidence")}
        for one in others:
            for name, layer in drawn.items():
                layer[one.maps["tested"]] = one.maps[name][one.maps["tested"]]
        return drawn

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; figures of the three predictors, and intervals of the network's."""
        document: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("region", "network", "data_set", "split", "variant")
        }
        if (undone := self.undone) is not None:
            return document | {"status": undone.status, "why": undone.why}
        document |= {"status": "done", "leak_safe": self.leak_safe, "folds": len(self.outcomes)}
        for name, short in ((NETWORK, "network"), (MAJORITY, "majority"), (MEMORISE, "memorise")):
            for figure in ("oa", "macro_f1", "kappa", "mean_iou"):
                document[f"{short}_{figure}"] = getattr(self.scores[name], figure)
        for figure in ("oa", "macro_f1"):
            document |= self._spans(figure)
        return document | {
            "pixels": self.scores[NETWORK].pixels,
            "ece": float(self.reliability.ece),
            "parameters": self.outcomes[0].facts["parameters"],
            "seconds": round(self.total("seconds"), 1),
            "plan_digests": [one.facts["plan_digest"] for one in self.outcomes],
        }

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """95 % intervals of the network's scores; empty with a single block of ground."""
        return bootstrap.intervals(self.blocks.counts[NETWORK]) if self.blocks.enough else {}

    @cached_property
    def lead(self) -> dict[str, Interval]:
        """Those of the network's scores less those of the majority class."""
        if not self.blocks.enough:
            return {}
        return bootstrap.difference(self.blocks.counts[NETWORK], self.blocks.counts[MAJORITY])

    def _spans(self, figure: str) -> dict[str, float | None]:
        own, lead = self.intervals.get(figure), self.lead.get(figure)
        return {
            f"network_{figure}_low": own and own.low,
            f"network_{figure}_high": own and own.high,
            f"network_{figure}_lead_low": lead and lead.low,
            f"network_{figure}_lead_high": lead and lead.high,
        }


def undone(rows: Sequence[Row]) -> list[tuple[Row, Outcome]]:
    """The rows without scores, and what stood in their way."""
    return [(row, found) for row in rows if (found := row.undone) is not None]
