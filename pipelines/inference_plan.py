"""A run before it is begun: what is to be mapped, from what, and the lineage that will say so."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cube.errors import ModelError
from cube.version import code_version
from pipelines.inference import Job, Options
from pipelines.inference_layout import Layout
from pipelines.lattice import Lattice
from pipelines.model_folder import ModelFolder

if TYPE_CHECKING:
    import xarray as xr

    from cube.store import Cube

CHUNK = 256
"""Side of a chunk of a map, pixels; several go into a window that is worked on at once."""


@dataclass(frozen=True)
class InferencePlan:
    """A run before it is begun."""

    job: Job
    template: xr.Dataset
    lineage: dict[str, str]

    @classmethod
    def of(
        cls,
        cube: Cube,
        folder: ModelFolder,
        options: Options,
        stride: int | None,
        run: str,
    ) -> InferencePlan:
        """Look up what a model asks of a cube; reads no pixel.

        Raises
        ------
        ModelError
            If the options do not fit the model.
        SelectionError
            If the cube lacks what the recipe selects.
        """
        _require_sensible(options, folder)
        lineage = _lineage(cube, folder, run)
        recipe = folder.recipe
        classes = len(recipe.classes)
        dataset = recipe.selection.of(cube.at(cube.snapshot))
        title = f"Lithology predicted by {folder.name}"
        attrs = {"title": title, "Conventions": "CF-1.11", **lineage, **_asked(options, folder)}
        template = options.layers.template(dataset, classes, CHUNK, attrs)
        job = Job(
            repository=cube.repository,
            location=cube.location,
            snapshot=cube.snapshot,
            selection=recipe.selection,
            dates=dataset.sizes["time"],
            lattice=_lattice(dataset, recipe.patch, stride),
            classes=classes,
            taught=_taught(folder),
            sequence=folder.sequence,
            options=options,
            layout=Layout.of(template, CHUNK, classes),
        )
        return cls(job, template, lineage)

    @property
    def digest(self) -> str:
        """SHA-256 over everything that the maps depend on, but for the size of the batches."""
        job = self.job
        known = {
            **self.lineage,
            "selection": job.selection.model_dump(mode="json"),
            "lattice": dataclasses.asdict(job.lattice),
            "options": dataclasses.asdict(dataclasses.replace(job.options, batch_size=0)),
            "taught": sorted(job.taught),
            "sequence": job.sequence,
            "columns": repr(list(job.columns())),
            "layout": {name: text.decode() for name, text in job.layout.documents.items()},
        }
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _require_sensible(options: Options, folder: ModelFolder) -> None:
    if options.batch_size < 1 or options.step < 1 or options.mc_dropout < 0:
        raise ModelError("batch_size and step are at least 1, mc_dropout is not negative")
    if options.mc_dropout == 1:
        raise ModelError("one pass of mc_dropout has nothing to differ from: ask for 2 or more")
    if options.step > 1 and folder.sequence is None:
        raise ModelError(
            f"model {folder.name} maps every date by itself; `step` is for networks that take "
            "sequences"
        )


def _taught(folder: ModelFolder) -> frozenset[int]:
    shares = folder.facts["parts"]["train"]["class_shares"]
    return frozenset(int(code) for code in shares) | frozenset(folder.recipe.taught)


def _lattice(dataset: xr.Dataset, patch: int, stride: int | None) -> Lattice:
    shape = (dataset.sizes["y"], dataset.sizes["x"])
    return Lattice(shape, patch, stride or max(patch // 2, 1))


def _lineage(cube: Cube, folder: ModelFolder, run: str) -> dict[str, str]:
    lineage = folder.recipe.lineage
    return {
        "run": run,
        "model": folder.name,
        "model_digest": folder.digest,
        "training_cube": lineage.cube,
        "training_snapshot": lineage.snapshot,
        "input_snapshot": cube.snapshot,
        "plan_digest": lineage.plan_digest,
        "code": code_version(),
    }


def _asked(options: Options, folder: ModelFolder) -> dict[str, Any]:
    """What of the options shows in the maps, as attributes of the run."""
    asked: dict[str, Any] = {}
    if options.tta:
        asked["test_time_augmentation"] = "mean over the eight symmetries of the square"
    if options.mc_dropout:
        asked["mc_dropout_passes"] = options.mc_dropout
    if folder.sequence is not None:
        asked |= {"sequence": folder.sequence, "sequence_step": options.step}
        asked["sequence_map"] = "stands at the last date of each sequence"
    return asked
