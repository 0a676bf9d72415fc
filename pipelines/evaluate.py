"""How good a run's maps are on ground the network never saw, beside two baselines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.errors import ModelError, SelectionError
from cube.lithology import CLASS_COUNT
from cube.sampling import Part, SamplePlan
from models.baselines import Majority, MemorisePlace
from models.metrics import Scores, confusion, scores
from pipelines.model_folder import ModelFolder

if TYPE_CHECKING:
    import xarray as xr

    from cube.store import Cube

NETWORK, MAJORITY, MEMORISE = "network", "majority class", "memorise the place"
PREDICTORS = (NETWORK, MAJORITY, MEMORISE)


@dataclass(frozen=True)
class DateScores:
    """Scores of one date's map on the test part."""

    time: np.datetime64
    """UTC."""
    scores: Scores


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
    leak_safe: bool
    class_names: tuple[str, ...]
    confusion: np.ndarray
    """int64 (class, class) of the network, rows true, columns predicted, class 0 included."""
    scores: dict[str, Scores]
    """By predictor (`PREDICTORS`), over all pixels of all test dates."""
    all_dates: dict[str, Scores]
    """The same for the one map made from all dates of the run. Under a split by time it is made
    from training dates too."""
    per_date: tuple[DateScores, ...]
    """Of the network, in order of time; dates without a valid test pixel are left out."""

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
            "leak_safe": self.leak_safe,
            "headline": self.headline.to_dict() if self.headline else None,
            "class_names": list(self.class_names),
            "confusion": self.confusion.tolist(),
            "scores": {name: value.to_dict() for name, value in self.scores.items()},
            "all_dates": {name: value.to_dict() for name, value in self.all_dates.items()},
            "per_date": [
                {
                    "time": np.datetime_as_string(date.time, unit="s") + "Z",
                    "scores": date.scores.to_dict(),
                }
                for date in self.per_date
            ],
        }


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
    predictions = _predictions(view, run)
    test = _TestPart(folder.plan, predictions, _truth(view))
    _require_fit(view, run, predictions, folder, test)
    counts, per_date = test.by_date()
    if not counts[NETWORK].any():
        raise ModelError(
            f"run {run!r} of cube {cube.location}: no test pixel is both labelled and valid on a "
            "date of the run, so there is nothing to score; predict the scenes of the model's plan"
        )
    return Evaluation(
        cube=view.name,
        snapshot=view.snapshot,
        run=run,
        model=folder.name,
        model_digest=folder.digest,
        split=describe_split(folder.plan),
        leak_safe=not folder.plan.leaky,
        class_names=folder.recipe.classes,
        confusion=counts[NETWORK],
        scores={name: scores(count) for name, count in counts.items()},
        all_dates={name: scores(count) for name, count in test.all_dates().items()},
        per_date=tuple(DateScores(time, scores(count)) for time, count in per_date),
    )


def describe_split(plan: SamplePlan) -> str:
    """Say in a sentence how a plan was divided, and what its scores are worth."""
    split = plan.split
    if plan.leaky:
        return f"split {split.kind!r} by date. LEAKY: {plan.leak_reason}"
    return (
        f"leak-safe split into spatial blocks of {split.block} px, {split.buffer} px apart: "
        "no test place was seen in training"
    )


@dataclass(frozen=True, eq=False)
class _TestPart:
    """The pixels of the test part, and what each predictor says of them."""

    plan: SamplePlan
    predictions: xr.Dataset
    truth: np.ndarray
    """uint8 (y, x); 0 without a label."""

    @cached_property
    def mask(self) -> np.ndarray:
        return self.plan.mask("test") & (self.truth > 0)

    @cached_property
    def baselines(self) -> dict[str, np.ndarray]:
        """What the two baselines say of the test pixels, fitted to the training part."""
        seen = np.zeros(self.plan.shape, np.int64)
        for _, lithology in self._maps("train"):
            seen += lithology > 0
        weight = np.where(self.plan.mask("train"), seen, 0)
        if not weight[self.truth > 0].any():
            raise ModelError(
                "no pixel of the training part is both labelled and valid on a date of the run; "
                "predict the scenes of the model's plan"
            )
        shape = (int(self.mask.sum()),)
        return {
            MAJORITY: Majority.fit(self.truth, weight).predict(shape),
            MEMORISE: MemorisePlace.fit(self.truth, weight).predict()[self.mask],
        }

    def by_date(self) -> tuple[dict[str, np.ndarray], list[tuple[np.datetime64, np.ndarray]]]:
        """Confusion matrix of each predictor, and of the network on each date."""
        total = {name: np.zeros((CLASS_COUNT, CLASS_COUNT), np.int64) for name in PREDICTORS}
        per_date = []
        for time, lithology in self._maps("test"):
            counts = self._count(lithology)
            for name, count in counts.items():
                total[name] += count
            if counts[NETWORK].any():
                per_date.append((time, counts[NETWORK]))
        return total, per_date

    def all_dates(self) -> dict[str, np.ndarray]:
        """Confusion matrix of each predictor on the one map made from all dates."""
        return self._count(self.predictions["lithology_all"].transpose("y", "x").to_numpy())

    def _count(self, lithology: np.ndarray) -> dict[str, np.ndarray]:
        truth, network = self.truth[self.mask], lithology[self.mask]
        said = {NETWORK: network, **self.baselines}
        return {
            name: confusion(truth, said[name], CLASS_COUNT, valid=network > 0)
            for name in PREDICTORS
        }

    def _maps(self, part: Part) -> Iterator[tuple[np.datetime64, np.ndarray]]:
        """Class maps (y, x) of the run on the dates of a part, one at a time."""
        times = self.predictions["time"].values
        for index in np.flatnonzero(np.isin(times, self.plan.times_of(part))):
            scene = self.predictions["lithology"].isel(time=int(index))
            yield times[index], scene.transpose("y", "x").to_numpy()


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


def _require_fit(
    cube: Cube, run: str, predictions: xr.Dataset, folder: ModelFolder, test: _TestPart
) -> None:
    """Refuse a run, a model and a cube that do not belong together."""
    made_with = predictions.attrs.get("model_digest", "")
    if made_with != folder.digest:
        raise ModelError(
            f"run {run!r} was made with model {predictions.attrs.get('model')!r} (digest "
            f"{made_with[:12]}), not with {folder.path} ({folder.digest[:12]}); predict again, or "
            "name the run's own model"
        )
    if (folder.recipe.lineage.cube, folder.plan.shape) != (cube.name, test.truth.shape):
        raise ModelError(
            f"model {folder.path} was trained on region {folder.recipe.lineage.cube!r} "
            f"({folder.plan.shape[0]} x {folder.plan.shape[1]} px): its test part means nothing "
            f"in region {cube.name!r} ({test.truth.shape[0]} x {test.truth.shape[1]} px)"
        )
