"""What a report is made from: a cube, a run of it, its model and its scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cube.errors import SelectionError
from cube.sampling import PARTS, SamplePlan
from pipelines import maps, report_tables
from pipelines.evaluate import evaluate
from pipelines.evaluation import Evaluation
from pipelines.model_folder import ModelFolder

if TYPE_CHECKING:
    import xarray as xr

    from cube.store import Cube


@dataclass(frozen=True, eq=False)
class Material:
    """What a report is made from."""

    cube: Cube
    run: str | None
    folder: ModelFolder | None
    evaluation: Evaluation | None
    unscored: str
    """Why there are no scores; empty if there are, or if no run is shown."""

    @classmethod
    def of(cls, cube: Cube, run: str | None, model: Path | None) -> Material:
        """Bring a cube, a run and a model together; scores the run where that is possible."""
        view = cube.at(cube.snapshot)
        folder = ModelFolder.load(model) if model is not None else None
        runs = report_tables.runs(view)
        if run is None and folder is not None and folder.name in runs:
            run = folder.name
        if run is not None and run not in runs:
            raise SelectionError(
                f"cube {view.location} has no run {run!r}; its runs are "
                f"{', '.join(runs) or 'none yet'}"
            )
        unscored = _unscored(view, folder) if run is not None else ""
        evaluation = None
        if run is not None and folder is not None and not unscored:
            evaluation = evaluate(view, run, folder.path)
        return cls(view, run, folder, evaluation, unscored)

    @cached_property
    def labels(self) -> np.ndarray | None:
        """The label map, thinned; None if the cube has none."""
        if "labels" not in self.cube.groups():
            return None
        return thinned(self.cube.dataset("labels", chunks=None)["lithology"])

    @cached_property
    def predicted(self) -> dict[str, np.ndarray]:
        """The run's maps over all dates, thinned, by name; empty without a run."""
        if self.run is None:
            return {}
        dataset = self.cube.dataset(f"predictions/{self.run}", chunks=None)
        return {name: thinned(dataset[name]) for name in ("lithology_all", "confidence_all")}

    @cached_property
    def parts(self) -> dict[str, np.ndarray]:
        """Masks of the plan's parts, thinned; empty if the model is not of this region."""
        plan = self.plan
        if plan is None:
            return {}
        return {name: maps.thin(plan.mask(name)) for name in PARTS}

    @cached_property
    def plan(self) -> SamplePlan | None:
        """The sample plan; None if the model is not of this region."""
        if self.folder is None or not _of_this_region(self.cube, self.folder):
            return None
        return self.folder.plan_of(self.cube.name)


def _unscored(cube: Cube, folder: ModelFolder | None) -> str:
    if folder is None:
        return "no model folder was given, and the split is kept there"
    if "labels" not in cube.groups():
        return "the cube has no label map"
    if not _of_this_region(cube, folder):
        return f"the model was trained on region {folder.recipe.lineage.cube!r}"
    if not len(folder.plan_of(cube.name).part("test")):
        return "the model has no test part in this region"
    return ""


def _of_this_region(cube: Cube, folder: ModelFolder) -> bool:
    return cube.name in folder.plans


def thinned(layer: xr.DataArray) -> np.ndarray:
    """A layer as it is drawn, (y, x)."""
    return maps.thin(layer.transpose("y", "x")).to_numpy()
