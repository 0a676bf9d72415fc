"""Networks carried from region to region: fine-tuning, and continual training with replay."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.errors import ModelError
from cube.plan_facts import count_facts
from cube.splits import PARTS
from pipelines.experiment import Experiment
from pipelines.experiment_tasks import merged_settings
from pipelines.forgetting import FIGURES, Transfer
from pipelines.material import Material
from pipelines.planes import Source
from pipelines.recipe import TrainSettings

if TYPE_CHECKING:
    from cube.store import Cube
    from pipelines.evaluation import Evaluation

SCORES, COURSE = "scores", "course.json"
Tell = Callable[[str], None]


def fine_tune(
    cube: Cube,
    start: str | Path,
    folder: str | Path,
    settings: TrainSettings,
    **options: Any,
) -> Path:
    """Train on another region, beginning with the weights of a model that is there.

    Parameters
    ----------
    cube
        Of the new region.
    start
        Model folder to begin with; its normalisation is kept.
    folder, settings, **options
        See `pipelines.train.train`. The learning rate is best lower than it was.

    Raises
    ------
    ModelError
        If the settings are of another network, or of other bands.
    """
    from pipelines.train import train

    return train(cube, folder, settings, start=start, **options)


def continual(
    cubes: Mapping[str, Cube],
    folder: str | Path,
    settings: Mapping[str, TrainSettings],
    *,
    later: Mapping[str, Any] | None = None,
    replay: float = 0.2,
    network: str = "network",
    tell: Tell = lambda line: None,
) -> Transfer:
    """Train on one region after the other, and measure after each what is known of all.

    Each step begins with the weights of the one before. Stopped and started again it goes on
    where it was. Nothing is written to the cubes.

    Parameters
    ----------
    cubes
        By name, in the order of training; each is split by its settings.
    folder
        Becomes a folder of model folders ``step-1`` and so on, and ``scratch-2`` and so on.
    settings
        By region; of the same network and bands.
    later
        Settings laid over those of every region after the first.
    replay
        Share of each earlier region's training and validation samples that is shown again.
    network
        What it is called.
    tell
        Told of progress.

    Raises
    ------
    ModelError
        If the folder holds another course, or there are fewer than two regions.
    SelectionError, PlanError
        See `pipelines.train.train`.
    """
    course = _Course(cubes, Path(folder), settings, dict(later or {}), replay, tell)
    steps = [course.step(number) for number in range(len(cubes))]
    alone = [steps[0], *(course.scratch(number) for number in range(1, len(cubes)))]
    found = [[course.score(model, region) for region in cubes] for model in steps]
    lone = [course.score(model, region) for model, region in zip(alone, cubes, strict=True)]
    return Transfer(
        network=network,
        regions=tuple(cubes),
        replay=replay,
        scores={name: np.array([[one["network"][name] for one in row] for row in found])
                for name in FIGURES},
        scratch={name: np.array([one["network"][name] for one in lone]) for name in FIGURES},
        majority={name: np.array([one["majority"][name] for one in lone]) for name in FIGURES},
    )  # fmt: skip


class _Course:
    """The trainings and scores of one course over the regions."""

    def __init__(
        self,
        cubes: Mapping[str, Cube],
        folder: Path,
        settings: Mapping[str, TrainSettings],
        later: dict[str, Any],
        replay: float,
        tell: Tell,
    ) -> None:
        if len(cubes) < 2:
            raise ModelError("a course goes through two regions or more; give more")
        if not 0 <= replay <= 1:
            raise ModelError(f"replay is a share of samples, 0 to 1, not {replay}")
        self._cubes, self._folder, self._tell, self._replay = cubes, folder, tell, replay
        self._settings = {
            name: one if number == 0 else TrainSettings.model_validate(one.model_dump() | later)
            for number, (name, one) in enumerate(settings.items())
        }
        self._alone = settings
        self._names = list(cubes)
        self._sources: dict[str, Source] = {}
        self._claim()

    def _claim(self) -> None:
        depends = {
            "regions": {name: cube.snapshot for name, cube in self._cubes.items()},
            "settings": {name: one.model_dump(mode="json") for name, one in self._settings.items()},
            "replay": self._replay,
        }
        key = hashlib.sha256(json.dumps(depends).encode()).hexdigest()
        file = self._folder / COURSE
        if file.is_file() and json.loads(file.read_text(encoding="utf-8"))["key"] != key:
            raise ModelError(
                f"{self._folder} holds a course with other settings or regions; give another folder"
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"key": key} | depends, indent=2), encoding="utf-8")

    def _source(self, name: str) -> Source:
        if name not in self._sources:
            material = Material.of_cube(self._cubes[name], self._settings[name])
            self._sources[name] = material.sources[name]
        return self._sources[name]

    def step(self, number: int) -> Path:
        """The network after so many regions more than one."""
        model = self._folder / f"step-{number + 1}"
        if not model.exists():
            name = self._names[number]
            sources = {name: self._source(name)}
            for before in self._names[:number] if self._replay else ():
                seed = self._settings[name].seed
                sources[before] = thinned(self._source(before), self._replay, seed)
            start = self._folder / f"step-{number}" if number else None
            self._train(model, Material(sources), self._settings[name], start)
        return model

    def scratch(self, number: int) -> Path:
        """A network trained on that region alone."""
        model, name = self._folder / f"scratch-{number + 1}", self._names[number]
        if not model.exists():
            self._train(model, Material({name: self._source(name)}), self._alone[name], None)
        return model

    def _train(
        self, model: Path, material: Material, settings: TrainSettings, start: Path | None
    ) -> None:
        from pipelines.compiled import require_buffer
        from pipelines.console import epoch_line
        from pipelines.train import train_on

        require_buffer(settings)
        train_on(
            material,
            model,
            settings,
            resume=True,
            start=start,
            on_epoch=lambda epoch, logs: self._tell(
                f"{model.parent.name}/{model.name}: epoch {epoch}, {epoch_line(logs)}"
            ),
        )

    def score(self, model: Path, region: str) -> dict[str, dict[str, float]]:
        """Scores of a network on a region's test part, kept in a file."""
        file = self._folder / SCORES / f"{model.name}-{region}.json"
        if not file.is_file():
            self._tell(f"{model.parent.name}/{model.name}: scores on {region}")
            found = self._evaluation(model, region).scores
            text = json.dumps(
                {
                    short: {figure: getattr(found[name], figure) for figure in FIGURES}
                    for short, name in (("network", "network"), ("majority", "majority class"))
                }
            )
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        document: dict[str, dict[str, float]] = json.loads(file.read_text(encoding="utf-8"))
        return document

    def _evaluation(self, model: Path, region: str) -> Evaluation:
        from pipelines.aside import map_aside
        from pipelines.evaluate import score
        from pipelines.model_folder import ModelFolder

        folder, view = ModelFolder.load(model), self._cubes[region]
        view = view.at(view.snapshot)
        maps = map_aside(view, folder, self._folder / "work")
        return score(view, maps, folder, folder.name, self._source(region).plan)


def thinned(source: Source, share: float, seed: int) -> Source:
    """A share of a region's training and validation samples, drawn at random; its test part whole.

    Parameters
    ----------
    source
        With a plan that has all three parts.
    share
        Above 0; of each of the two parts at least one sample is kept.
    seed
        Of the draw.
    """
    plan = source.plan
    random = np.random.default_rng(seed)
    kept = [np.flatnonzero(plan.samples[:, 2] == PARTS.index("test"))]
    for part in ("train", "val"):
        rows = np.flatnonzero(plan.samples[:, 2] == PARTS.index(part))
        number = max(1, math.ceil(share * len(rows)))
        kept.append(random.choice(rows, number, replace=False))
    rows = np.sort(np.concatenate(kept))
    samples = plan.samples[rows]
    lithology = np.asarray(source.labels["lithology"].transpose("y", "x").values, dtype=np.uint8)
    facts = count_facts(source.dataset, lithology, plan.places, samples, plan.sequences, plan.patch)
    less = dataclasses.replace(plan, samples=samples, repeats=plan.repeats[rows], facts=facts)
    return source._replace(plan=less)


def transfers(
    experiment: Experiment,
    cubes: Mapping[str, Cube],
    folder: Path,
    preset: str | None,
    networks: Sequence[str] | None,
    tell: Tell,
) -> list[Transfer]:
    """The courses of an experiment: each network, each share of replay."""
    asked = experiment.transfer
    assert asked is not None
    size = experiment.preset(preset)
    found = []
    for network in asked.networks or tuple(experiment.networks):
        if networks is not None and network not in networks:
            continue
        tables = (
            experiment.settings, size.settings, experiment.networks[network],
            size.networks.get(network, {}), asked.settings,
        )  # fmt: skip
        where = f"experiment {experiment.name!r}: transfer of {network}"
        settings = {name: merged_settings(tables, name, where) for name in cubes}
        for replay in asked.replay:
            home = folder / f"{network}-{round(100 * replay)}"
            found.append(
                continual(
                    cubes, home, settings,
                    later=asked.fine_tune, replay=replay, network=network, tell=tell,
                )
            )  # fmt: skip
    return found
