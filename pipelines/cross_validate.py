"""Every block of ground tested once: a network a fold, their test maps scored together."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.errors import ModelError
from cube.sampling import SplitSettings
from models.calibration import Reliability
from models.metrics import Scores
from pipelines.evaluate import evaluate
from pipelines.evaluation import PREDICTORS, BlockCounts, Evaluation, calibration_document
from pipelines.model_folder import ModelFolder
from pipelines.predict import predict
from pipelines.recipe import TrainSettings
from pipelines.train import train

if TYPE_CHECKING:
    from cube.store import Cube

OnFoldEpoch = Callable[[int, int, dict[str, float]], None]
"""Called with the fold and the epoch, both from 1, and the epoch's losses and scores."""

SCORES = "scores.json"


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Scores of all folds together."""

    folds: tuple[Evaluation, ...]
    """Each network on its own test part."""

    @cached_property
    def blocks(self) -> BlockCounts:
        """Counts of all folds by blocks of ground; no pixel is in two."""
        return pooled([fold.blocks for fold in self.folds])

    @cached_property
    def map_blocks(self) -> BlockCounts:
        """As `blocks`, of the folds' maps over all dates."""
        return pooled([fold.map_blocks for fold in self.folds])

    @property
    def scores(self) -> dict[str, Scores]:
        """By predictor, over the test pixels of all folds; the baselines are fitted fold by fold,
        as the network is.
        """
        return self.blocks.scores

    @property
    def all_dates(self) -> dict[str, Scores]:
        """As `scores`, of the folds' maps over all dates."""
        return self.map_blocks.scores

    @cached_property
    def reliability(self) -> Reliability:
        """Of the networks' confidences."""
        return reduce(add, [fold.reliability for fold in self.folds])

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and dictionaries, ready for JSON."""
        first = self.folds[0]
        return {
            "cube": first.cube,
            "split": first.split,
            "class_names": list(first.class_names),
            "scores": {name: value.to_dict() for name, value in self.scores.items()},
            "intervals": self.blocks.to_dict(),
            "all_dates": {name: value.to_dict() for name, value in self.all_dates.items()},
            "all_dates_intervals": self.map_blocks.to_dict(),
            "calibration": calibration_document(self.reliability),
            "folds": [_in_short(fold) for fold in self.folds],
        }


def _in_short(fold: Evaluation) -> dict[str, Any]:
    """What tells a fold from the others; `thermocube evaluate` says all of it."""
    whole = fold.to_dict()
    names = ("run", "model_digest", "snapshot", "plan", "split")
    oa_and_f1 = {
        kind: {
            who: {name: row[name] for name in ("oa", "macro_f1", "pixels")}
            for who, row in whole[kind].items()
        }
        for kind in ("scores", "all_dates")
    }
    return {name: whole[name] for name in names} | oa_and_f1


def pooled(parts: Sequence[BlockCounts]) -> BlockCounts:
    """Counts of several test parts together; those of the same block of ground add up."""
    counts: dict[str, dict[int, Any]] = {name: defaultdict(int) for name in PREDICTORS}
    for part in parts:
        for name, matrices in part.counts.items():
            for number, matrix in zip(part.numbers, matrices, strict=True):
                counts[name][number] = counts[name][number] + matrix
    numbers = tuple(sorted(counts[PREDICTORS[0]]))
    return BlockCounts(
        side=max(part.side for part in parts),
        numbers=numbers,
        counts={name: np.array([found[n] for n in numbers]) for name, found in counts.items()},
    )


def cross_validate(
    cube: Cube,
    folder: str | Path,
    settings: TrainSettings | None = None,
    *,
    folds: int = 5,
    overwrite: bool = False,
    on_epoch: OnFoldEpoch | None = None,
) -> CrossValidation:
    """Train a network for each fold, map the region with it, and score all test parts together.

    Stopped and started again with the same settings it goes on where it was: folds that are
    trained or mapped are not trained or mapped again.

    Parameters
    ----------
    cube
        With a ``labels`` group; all folds are trained on the snapshot that the first one saw.
    folder
        Becomes a folder of model folders ``fold-1`` and so on, and ``scores.json``. Their maps are
        the runs ``<folder>-fold-1`` and so on of the cube.
    settings
        Block, buffer and seed of the split are used, whatever its kind.
    folds
        How many.
    overwrite
        Replace model folders and runs of another cross-validation.
    on_epoch
        Called after each epoch, for progress.

    Raises
    ------
    ModelError
        If something else lies in `folder`.
    SelectionError, PlanError
        See `pipelines.train.train`.
    """
    settings, target = settings or TrainSettings(), Path(folder)
    snapshot = _snapshot(cube, target, _of_fold(settings, folds, 0), overwrite=overwrite)
    found = []
    for fold in range(folds):
        model = target / f"fold-{fold + 1}"
        own = _of_fold(settings, folds, fold)
        if not _is_trained(model, own, snapshot):
            tell = _telling(on_epoch, fold)
            again = overwrite and model.exists()
            train(cube.at(snapshot), model, own, overwrite=again, resume=True, on_epoch=tell)
        run = f"{target.resolve().name}-{model.name}"
        if not _is_mapped(cube, run, model):
            predict(cube, model, run=run, overwrite=overwrite)
        found.append(evaluate(cube, run, model))
    result = CrossValidation(tuple(found))
    text = json.dumps(result.to_dict(), indent=2)
    (target / SCORES).write_text(text, encoding="utf-8")
    return result


def _of_fold(settings: TrainSettings, folds: int, fold: int) -> TrainSettings:
    given = settings.split
    split = SplitSettings(
        kind="folds",
        folds=folds,
        fold=fold,
        block=given.block,
        buffer=given.buffer,
        seed=given.seed,
    )
    return settings.model_copy(update={"split": split})


def _telling(on_epoch: OnFoldEpoch | None, fold: int) -> Callable[[int, dict[str, float]], None]:
    def tell(epoch: int, logs: dict[str, float]) -> None:
        if on_epoch is not None:
            on_epoch(fold + 1, epoch, logs)

    return tell


def _snapshot(cube: Cube, target: Path, first: TrainSettings, *, overwrite: bool) -> str:
    """The snapshot to train on: that of a cross-validation that was begun, else the newest."""
    if not (target / "fold-1").is_dir():
        return cube.snapshot
    recipe = ModelFolder.load(target / "fold-1").recipe
    if recipe.training == first and recipe.lineage.cube == cube.name:
        return recipe.lineage.snapshot
    if overwrite:
        return cube.snapshot
    raise ModelError(
        f"{target} holds a cross-validation with other settings or of another region; give another "
        "folder, or allow overwriting it"
    )


def _is_trained(model: Path, settings: TrainSettings, snapshot: str) -> bool:
    if not model.is_dir():
        return False
    recipe = ModelFolder.load(model).recipe
    return recipe.training == settings and recipe.lineage.snapshot == snapshot


def _is_mapped(cube: Cube, run: str, model: Path) -> bool:
    group = f"predictions/{run}"
    if group not in cube.groups():
        return False
    made_with = cube.dataset(group, chunks=None).attrs.get("model_digest")
    return bool(made_with == ModelFolder.load(model).digest)
