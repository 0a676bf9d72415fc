"""Running an experiment: each run in a folder of its own, finished ones never twice."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cube.errors import GridError, ModelError, PlanError, SelectionError
from pipelines.experiment import Experiment
from pipelines.experiment_outcome import Outcome, Row, undone
from pipelines.experiment_tasks import Task, tasks
from pipelines.published import study_network

if TYPE_CHECKING:
    from cube.store import Cube
    from pipelines.forgetting import Transfer

RUNS, PINS, RUN = "runs", "regions.json", "run.json"
Progress = Callable[[int, int, str], None]
"""Called with the runs done, all runs, and a line about the one that goes on."""


@dataclass(eq=False)
class Study:
    """An experiment that was run."""

    experiment: Experiment
    folder: Path
    snapshots: Mapping[str, str]
    """Of each region; all runs read the same one."""
    rows: list[Row] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    resumed: int = 0
    """Runs that were done before."""
    trained: int = 0
    files: list[Path] = field(default_factory=list)

    @property
    def failed(self) -> list[tuple[Row, Outcome]]:
        """Rows that broke off, unlike those that the cubes have no data for."""
        return [(row, found) for row, found in undone(self.rows) if found.status == "failed"]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "experiment": self.experiment.name,
            "folder": str(self.folder),
            "snapshots": dict(self.snapshots),
            "resumed": self.resumed,
            "trained": self.trained,
            "rows": [row.to_dict() for row in self.rows],
            "transfer": [transfer.to_dict() for transfer in self.transfers],
            "files": [str(file) for file in self.files],
        }


def run_experiment(
    experiment: Experiment,
    cubes: Mapping[str, Cube],
    folder: str | Path,
    *,
    preset: str | None = None,
    only: Mapping[str, Sequence[str]] | None = None,
    overwrite: bool = False,
    on_step: Progress | None = None,
) -> Study:
    """Train, map and score every run of an experiment, and write its tables and its page.

    Stopped and started again it goes on where it was: finished runs are not repeated, one that
    was killed goes on from its last whole epoch. All runs read the snapshots that the first one
    saw. Nothing is written to the cubes.

    Parameters
    ----------
    experiment
        From `Experiment.load`.
    cubes
        By name of the region.
    folder
        Of the study.
    preset, only
        See `pipelines.experiment_tasks.tasks`.
    overwrite
        Replace runs that were made with other settings, and move on to the newest snapshots.
    on_step
        Told of progress.

    Returns
    -------
    Study
        With a row for every combination; those that a cube has no data for say why.

    Raises
    ------
    ModelError
        If the folder holds a run with other settings, or settings contradict each other.
    """
    folder = Path(folder)
    planned = tasks(experiment, list(cubes), preset, only)
    views = _pinned(cubes, folder, overwrite=overwrite)
    study = Study(experiment, folder, {name: view.snapshot for name, view in views.items()})
    bench = _Bench(study, views, overwrite, on_step or (lambda done, total, line: None))
    found: dict[tuple[str, ...], list[tuple[Task, Outcome]]] = {}
    for number, task in enumerate(planned):
        outcome = bench.settle(task, number, len(planned))
        found.setdefault(task.row, []).append((task, outcome))
    study.rows = [_row(experiment, each) for each in found.values()]
    _transfers(study, views, preset, only, bench)
    from pipelines.experiment_page import write_study

    study.files = write_study(study, views)
    return study


def _transfers(
    study: Study,
    views: Mapping[str, Cube],
    preset: str | None,
    only: Mapping[str, Sequence[str]] | None,
    bench: _Bench,
) -> None:
    """Courses over the regions, if the file asks for them and there are two or more."""
    if study.experiment.transfer is None or len(views) < 2 or set(only or ()) - {"network"}:
        return
    from pipelines.transfer import transfers

    networks = (only or {}).get("network")
    study.transfers = transfers(
        study.experiment, views, study.folder / "transfer", preset, networks, bench.tell
    )


def _row(experiment: Experiment, found: Sequence[tuple[Task, Outcome]]) -> Row:
    task = found[0][0]
    return Row(
        *task.row,
        about=experiment.variants[task.variant].about,
        kind=study_network(task.settings.network),
        outcomes=tuple(outcome for _, outcome in found),
    )


def _pinned(cubes: Mapping[str, Cube], folder: Path, *, overwrite: bool) -> dict[str, Cube]:
    """The cubes at the snapshots that the experiment began with."""
    file = folder / PINS
    known: dict[str, dict[str, str]] = {}
    if file.is_file() and not overwrite:
        known = json.loads(file.read_text(encoding="utf-8"))
    for name, cube in cubes.items():
        pin = known.setdefault(name, {"location": cube.location, "snapshot": cube.snapshot})
        if pin["location"] != cube.location:
            raise ModelError(
                f"{folder} holds runs on region {name!r} of the cube {pin['location']}, not "
                f"{cube.location}; give another folder"
            )
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(known, indent=2), encoding="utf-8")
    return {name: cube.at(known[name]["snapshot"]) for name, cube in cubes.items()}


class _Bench:
    """Does one run after the other."""

    def __init__(
        self, study: Study, views: Mapping[str, Cube], overwrite: bool, on_step: Progress
    ) -> None:
        self._study = study
        self._views = views
        self._overwrite = overwrite
        self._on_step = on_step
        self._place = (0, 1)

    def tell(self, line: str) -> None:
        """A line of progress, at the place of the run that goes on."""
        self._on_step(*self._place, line)

    def settle(self, task: Task, number: int, total: int) -> Outcome:
        """The outcome of a run: found, made, or the reason why there is none."""
        self._place = number, total
        home = self._study.folder / RUNS / task.slug
        key = self._claim(task, home)
        found = Outcome.load(home)
        if found is not None and found.key == key and found.status == "done":
            self._study.resumed += 1
            return found
        self.tell(task.slug)
        outcome = self._try(task, home, key)
        outcome.save(home)
        return outcome

    def _claim(self, task: Task, home: Path) -> str:
        """Name the run in its folder; refuse one with other settings."""
        views = self._regions_of(task)
        depends = {
            "settings": task.settings.model_dump(mode="json"),
            "regions": {name: view.snapshot for name, view in views.items()},
            "held_out": task.held_out and [task.region, task.validation],
        }
        key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
        file = home / RUN
        if file.is_file() and json.loads(file.read_text(encoding="utf-8"))["key"] != key:
            if not self._overwrite:
                raise ModelError(
                    f"{home} holds a run with other settings or of other regions; give another "
                    "folder, or allow overwriting it"
                )
            shutil.rmtree(home)
        home.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"key": key} | depends, indent=2), encoding="utf-8")
        return key

    def _regions_of(self, task: Task) -> Mapping[str, Cube]:
        return self._views if task.held_out else {task.region: self._views[task.region]}

    def _try(self, task: Task, home: Path, key: str) -> Outcome:
        try:
            return self._perform(task, home, key)
        except (SelectionError, PlanError, GridError) as problem:
            return Outcome("not run", key, str(problem))
        except ModelError as problem:
            return Outcome("failed", key, str(problem))

    def _perform(self, task: Task, home: Path, key: str) -> Outcome:
        from pipelines.aside import map_aside
        from pipelines.evaluate import score
        from pipelines.model_folder import ModelFolder

        model = home / "model"
        if not model.exists():
            self._train(task, model)
        folder, view = ModelFolder.load(model), self._views[task.region]
        self.tell(f"{task.slug}: maps")
        batch = max(task.settings.batch_size, 16)
        maps = map_aside(view, folder, home / "work", batch_size=batch)
        self._study.trained += 1
        return Outcome.of(key, score(view, maps, folder, folder.name), folder, maps)

    def _train(self, task: Task, model: Path) -> None:
        from pipelines.console import epoch_line
        from pipelines.train import train

        if task.held_out and len(self._views) < 2:
            raise PlanError(
                f"only region {task.region!r} was given, and a network that is tested on all of "
                "it has nowhere to learn; give more regions"
            )
        cubes = self._regions_of(task)
        train(
            cubes if task.held_out else cubes[task.region],
            model,
            task.settings,
            held_out=task.region if task.held_out else None,
            validation=task.validation,
            resume=True,
            on_epoch=lambda epoch, logs: self.tell(
                f"{task.slug}: epoch {epoch} of {task.settings.epochs}, {epoch_line(logs)}"
            ),
        )
