"""How good a run's maps are on ground the network never saw, beside two baselines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cube.errors import ModelError, SelectionError
from cube.sampling import SamplePlan
from models.metrics import Scores, scores
from pipelines.evaluation import (
    MAJORITY,
    MEMORISE,
    NETWORK,
    PREDICTORS,
    DateScores,
    Evaluation,
)
from pipelines.held_out import HeldOut
from pipelines.model_folder import ModelFolder

if TYPE_CHECKING:
    import xarray as xr

    from cube.store import Cube

__all__ = [
    "MAJORITY",
    "MEMORISE",
    "NETWORK",
    "PREDICTORS",
    "DateScores",
    "Evaluation",
    "describe_split",
    "evaluate",
    "score",
]


def evaluate(cube: Cube, run: str, model: str | Path) -> Evaluation:
    """Score a run on the test part of its network's plan.

    Reads one date's class map at a time.

    Parameters
    ----------
    cube
        Read at its snapshot; with ``labels`` and ``predictions/<run>``.
    run
        Name of the run, as given back by `pipelines.predict.predict`.
    model
        The model folder that the run was made with.

    Raises
    ------
    SelectionError
        If the cube has no such run, or no labels.
    ModelError
        If the run was made with another model, the model was trained on another region, or
        there is no pixel to score.
    """
    folder = ModelFolder.load(model)
    view = cube.at(cube.snapshot)
    return score(view, _predictions(view, run), folder, run)


def score(
    cube: Cube,
    predictions: xr.Dataset,
    folder: ModelFolder,
    run: str,
    plan: SamplePlan | None = None,
) -> Evaluation:
    """Score maps that need not be in the cube.

    Parameters
    ----------
    cube
        With ``labels``, and the modality that was mapped.
    predictions
        As in ``predictions/<run>``.
    folder, run
        The model that made them, and what they are called.
    plan
        Whose test part is scored; by default that of the network's own plan in this region.

    Raises
    ------
    ModelError
        See `evaluate`.
    """
    _require_its_model(run, predictions, folder)
    plan = plan or _plan(cube, folder)
    test = HeldOut(plan, folder.facts, predictions, _truth(cube))
    tally = test.tally()
    if not tally.by_date:
        raise ModelError(
            f"run {run!r} of cube {cube.location}: no test pixel is both labelled and valid on a "
            "date of the run, so there is nothing to score; predict the scenes of the model's plan"
        )
    return Evaluation(
        cube=cube.name,
        snapshot=cube.snapshot,
        run=run,
        model=folder.name,
        model_digest=folder.digest,
        split=describe_split(plan),
        plan={"digest": plan.digest, "patch": plan.patch, "stride": plan.stride},
        leak_safe=not plan.leaky,
        class_names=folder.recipe.classes,
        blocks=tally.blocks(test.side),
        map_blocks=test.all_dates(),
        per_date=tuple(DateScores(time, scores(count)) for time, count in tally.by_date),
        groups=_groups(cube, plan.modality, tally.by_date),
        reliability=tally.reliability,
    )


def describe_split(plan: SamplePlan) -> str:
    """Say in a sentence how a plan was divided, and what its scores are worth."""
    if plan.leaky:
        return f"split by date: {plan.split.in_words}. LEAKY: {plan.leak_reason}"
    return f"leak-safe split: {plan.split.in_words}; no test place was seen in training"


def _groups(
    cube: Cube, modality: str, by_date: Sequence[tuple[np.datetime64, np.ndarray]]
) -> dict[str, dict[str, Scores]]:
    """Scores of the dates of a time of day and of a season together."""
    from cube.seasons import in_season

    times = np.array([time for time, _ in by_date])
    sun = cube.dataset(modality, chunks=None)["sun_elevation"].load().reindex(time=times)
    winter = in_season(sun.to_dataset(name="sun"), "winter")
    members = {
        "time of day": {"day": sun.values > 0, "night": sun.values <= 0},
        "season": {"winter": winter, "summer": ~winter},
    }
    counts = np.array([count for _, count in by_date])
    return {
        kind: {
            name: scores(counts[which].sum(axis=0)) for name, which in found.items() if which.any()
        }
        for kind, found in members.items()
    }


def _predictions(cube: Cube, run: str) -> xr.Dataset:
    group = f"predictions/{run}"
    if group not in cube.groups():
        runs = [
            name.removeprefix("predictions/") for name in cube.groups() if "predictions/" in name
        ]
        raise SelectionError(
            f"cube {cube.location} has no run {run!r}; its runs are {', '.join(runs) or 'none yet'}"
        )
    return cube.dataset(group, chunks=None)


def _truth(cube: Cube) -> np.ndarray:
    labels = cube.dataset("labels", chunks=None)["lithology"]
    return np.asarray(labels.transpose("y", "x").to_numpy(), dtype=np.uint8)


def _require_its_model(run: str, predictions: xr.Dataset, folder: ModelFolder) -> None:
    """Refuse a run that was made with another model."""
    made_with = predictions.attrs.get("model_digest", "")
    if made_with != folder.digest:
        raise ModelError(
            f"run {run!r} was made with model {predictions.attrs.get('model')!r} (digest "
            f"{made_with[:12]}), not with {folder.path} ({folder.digest[:12]}); predict again, or "
            "name the run's own model"
        )


def _plan(cube: Cube, folder: ModelFolder) -> SamplePlan:
    """The plan whose test part lies in this region."""
    plan, shape = folder.plan_of(cube.name), tuple(cube.grid.shape)
    if plan.shape != shape:
        raise ModelError(
            f"model {folder.path} was trained on region {cube.name!r} of {plan.shape[0]} x "
            f"{plan.shape[1]} px: its test part means nothing on one of {shape[0]} x {shape[1]} px"
        )
    if not len(plan.part("test")):
        raise ModelError(
            f"model {folder.path} has no test part in region {cube.name!r} "
            f"({plan.split.in_words}); score it where one was held out"
        )
    return plan
