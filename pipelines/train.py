"""From a cube, or from several, to a trained network in a model folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cube.errors import PlanError
from cube.lithology import Lithology
from cube.version import code_version
from pipelines import model_folder
from pipelines.checkpoint import Checkpoint, Course
from pipelines.class_weights import class_weights
from pipelines.compiled import build, network_of, require_buffer
from pipelines.devices import distributed
from pipelines.fitting import OnEpoch, best_epoch, fit
from pipelines.material import Material
from pipelines.model_folder import new_folder, require_free
from pipelines.origin import Origin
from pipelines.recipe import Lineage, Normalisation, Recipe, RegionLineage, TrainSettings

if TYPE_CHECKING:
    from cube.store import Cube
    from models.networks import Settings


def train(
    cube: Cube | Mapping[str, Cube],
    folder: str | Path,
    settings: TrainSettings | None = None,
    *,
    held_out: str | None = None,
    validation: float | str = 0.15,
    overwrite: bool = False,
    resume: bool = False,
    on_epoch: OnEpoch | None = None,
    tensorboard: str | Path | None = None,
    start: str | Path | None = None,
) -> Path:
    """Train a network on a cube's snapshot and save it as a model folder.

    Split before samples, statistics of the training part only; stops early and keeps the weights
    of the epoch with the lowest validation loss. Sets the seeds of Python, NumPy and Keras.

    Parameters
    ----------
    cube
        With a ``labels`` group. Several, by name of the region: one is held out for the test.
    folder
        Where the model goes; appears there when it is complete.
    settings
        Defaults suit a small CPU.
    held_out, validation
        Of several regions the one to test on, and the one to validate on, or the share of the
        others' ground that is set apart for it; see `cube.sampling.leave_one_out`.
    overwrite
        Replace a model folder that is there.
    resume
        Keep a checkpoint beside the folder after each epoch, until the model is complete; where
        a training with the same settings, snapshots and plans has left one, go on from there, to
        the same weights that it would have come to.
    on_epoch
        Called after each epoch, for progress.
    tensorboard
        Folder for TensorBoard's logs; needs the package ``tensorboard``.
    start
        Model folder to begin with the weights of, for fine-tuning; its normalisation is kept.

    Returns
    -------
    Path
        The model folder.

    Raises
    ------
    SelectionError
        If a cube lacks labels, or what the settings select.
    PlanError
        If the split leaves a part empty, or its buffer is too narrow for the network.
    ModelError
        If something else lies at `folder`, the settings contradict each other, or the loss
        is no longer a number.
    """
    settings = settings or TrainSettings()
    require_free(Path(folder), overwrite=overwrite)
    require_buffer(settings)
    return train_on(
        _material(cube, settings, held_out, validation),
        folder,
        settings,
        overwrite=overwrite,
        resume=resume,
        on_epoch=on_epoch,
        tensorboard=tensorboard,
        start=start,
    )


def train_on(
    material: Material,
    folder: str | Path,
    settings: TrainSettings,
    *,
    overwrite: bool = False,
    resume: bool = False,
    on_epoch: OnEpoch | None = None,
    tensorboard: str | Path | None = None,
    start: str | Path | None = None,
) -> Path:
    """Train on samples that are chosen already; all else as `train`.

    Raises
    ------
    ModelError
        See `train`; or if the model to begin with is another network or takes other bands.
    """
    import keras

    target, size = Path(folder), network_of(settings)
    weights = class_weights(settings, material.facts)
    keras.utils.set_random_seed(settings.seed)
    origin = Origin.of(start, size, material.plan.bands) if start is not None else None
    normalisation = origin.normalisation if origin else material.normalisation
    with distributed(settings.devices):
        network = build(size, material.plan.bands, settings, weights, normalisation)
        if origin is not None:
            origin.give(network)
        recipe = _recipe(settings, size, material, weights, normalisation, origin)
        checkpoint = Checkpoint.beside(target, _key(recipe)) if resume else None
        board = Path(tensorboard) if tensorboard else None
        course = fit(
            network, material, settings, checkpoint=checkpoint, on_epoch=on_epoch, tensorboard=board
        )
    with new_folder(target, overwrite=overwrite) as fresh:
        _save(fresh, course, recipe, material)
    if checkpoint is not None:
        checkpoint.clear()
    return target


def _material(
    cube: Cube | Mapping[str, Cube],
    settings: TrainSettings,
    held_out: str | None,
    validation: float | str,
) -> Material:
    if isinstance(cube, Mapping):
        if held_out is None:
            raise PlanError(f"say which of the regions {', '.join(cube)} is held out for the test")
        return Material.of_regions(cube, held_out, validation, settings)
    if held_out is not None:
        raise PlanError(
            f"region {held_out!r} cannot be held out: only one region was given; the split "
            "divides its ground or its dates"
        )
    return Material.of_cube(cube, settings)


def _recipe(
    settings: TrainSettings,
    size: Settings,
    material: Material,
    weights: tuple[float, ...] | None,
    normalisation: Normalisation,
    origin: Origin | None,
) -> Recipe:
    plan = material.plan
    return Recipe(
        classes=tuple(member.label for member in Lithology),
        patch=plan.patch,
        stride=plan.stride,
        class_weights=weights,
        selection=settings.selection.model_copy(update={"bands": plan.bands}),
        normalisation=normalisation,
        network=size.model_dump(mode="json"),
        training=settings,
        taught=origin.taught if origin else (),
        lineage=_lineage(material, origin.digest if origin else None),
    )


def _lineage(material: Material, started_from: str | None) -> Lineage:
    plans = material.plans
    regions = {
        name: RegionLineage(snapshot=plan.snapshot, plan_digest=plan.digest)
        for name, plan in plans.items()
    }
    digest = material.plan.digest
    if len(plans) > 1:
        together = "".join(plan.digest for plan in plans.values())
        digest = hashlib.sha256(together.encode()).hexdigest()
    return Lineage(
        cube="+".join(plans),
        snapshot="+".join(plan.snapshot for plan in plans.values()),
        plan_digest=digest,
        regions=regions if len(plans) > 1 else {},
        started_from=started_from,
        code_version=code_version(),
        libraries=_libraries(),
    )


def _libraries() -> dict[str, str]:
    import keras

    backend = keras.backend.backend()
    found = {"backend": str(backend)}
    for name in ("keras", backend, f"{backend}-cpu", "numpy", "xarray", "zarr", "icechunk"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _key(recipe: Recipe) -> str:
    """SHA-256 of all that the weights depend on."""
    return hashlib.sha256(recipe.model_dump_json().encode()).hexdigest()


def _save(folder: Path, course: Course, recipe: Recipe, material: Material) -> None:
    from models import files

    files.save(course.network, folder / model_folder.NETWORK)
    recipe.save(folder / model_folder.RECIPE)
    model_folder.save_plans(folder, material.plans)
    model_folder.write_history(folder / model_folder.HISTORY, course.logs)
    text = json.dumps(_metrics(course, material, recipe.training.monitor), indent=2)
    (folder / model_folder.METRICS).write_text(text, encoding="utf-8")


def _metrics(course: Course, material: Material, monitor: str) -> dict[str, Any]:
    logs = course.logs
    best = best_epoch(logs, monitor)
    return {
        "epochs": len(logs),
        "best_epoch": best + 1,
        "best": logs[best],
        "seconds": round(course.seconds, 3),
        "parameters": int(course.network.count_params()),
        "plan": material.facts,
    }
