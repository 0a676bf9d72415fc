"""From a cube, or from several, to a trained network in a model folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.errors import PlanError
from cube.lithology import CLASS_COUNT, Lithology
from cube.version import code_version
from pipelines import model_folder
from pipelines.checkpoint import Checkpoint, Course
from pipelines.class_weights import class_weights
from pipelines.fitting import OnEpoch, fit
from pipelines.material import Material
from pipelines.model_folder import new_folder, require_free
from pipelines.recipe import Lineage, Recipe, RegionLineage, TrainSettings

if TYPE_CHECKING:
    import keras

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
    import keras

    settings = settings or TrainSettings()
    target = Path(folder)
    require_free(target, overwrite=overwrite)
    size = network_of(settings)
    _require_buffer(size, settings)
    material = _material(cube, settings, held_out, validation)
    weights = class_weights(settings, material.facts)
    keras.utils.set_random_seed(settings.seed)
    network = _build(size, material, settings, weights)
    recipe = _recipe(settings, size, material, weights)
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


def network_of(settings: TrainSettings) -> Settings:
    """Size and options of the network that the settings ask for."""
    from models.networks import KINDS

    kind, _, size = settings.network.rpartition("-")
    options = {"residual": settings.residual, "missing_channels": settings.missing_channels}
    if kind:
        options["feedback"] = settings.feedback
    return KINDS[kind or "unet"].preset(size).model_copy(update=options)


def _sequence(settings: TrainSettings) -> int | None:
    return settings.sequence.length if settings.sequence.length > 1 else None


def _require_buffer(size: Settings, settings: TrainSettings) -> None:
    """Refuse a buffer that lets a network be tested on pixels it was trained beside."""
    from models.networks import receptive_field

    split = settings.split.for_patch(settings.patch)
    needed = min(receptive_field(size, _sequence(settings)), settings.patch)
    if split.by_place and (split.buffer or 0) < needed:
        raise PlanError(
            f"a buffer of {split.buffer} px between the parts is too narrow: the network sees "
            f"{needed} px at once, so it would be tested on pixels it was trained beside; take a "
            f"buffer of {needed} px or more"
        )


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


def _build(
    size: Settings, material: Material, settings: TrainSettings, weights: tuple[float, ...] | None
) -> keras.Model:
    import keras

    from models.losses import weighted_crossentropy
    from models.networks import build_network

    with _precision(settings.precision):
        network = build_network(
            size,
            len(material.plan.bands),
            CLASS_COUNT,
            patch=settings.patch,
            mean=material.normalisation.mean,
            std=material.normalisation.std,
            sequence=_sequence(settings),
        )
    network.compile(
        optimizer=_optimiser(settings),
        loss=weighted_crossentropy(
            weights,
            settings.gamma if settings.loss == "focal" else 0.0,
            settings.smoothing,
            settings.dice,
        ),
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    return network


def _optimiser(settings: TrainSettings) -> keras.optimizers.Optimizer:
    import keras

    adam = keras.optimizers.Adam(settings.learning_rate)
    # Gradients in half precision vanish unless the loss is scaled up.
    half = settings.precision == "mixed_float16"
    return keras.optimizers.LossScaleOptimizer(adam) if half else adam


@contextmanager
def _precision(policy: str) -> Iterator[None]:
    """Layers made in here have this policy; Keras has its own again afterwards."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _recipe(
    settings: TrainSettings,
    size: Settings,
    material: Material,
    weights: tuple[float, ...] | None,
) -> Recipe:
    plan = material.plan
    return Recipe(
        classes=tuple(member.label for member in Lithology),
        patch=plan.patch,
        stride=plan.stride,
        class_weights=weights,
        selection=settings.selection.model_copy(update={"bands": plan.bands}),
        normalisation=material.normalisation,
        network=size.model_dump(mode="json"),
        training=settings,
        lineage=_lineage(material),
    )


def _lineage(material: Material) -> Lineage:
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
    text = json.dumps(_metrics(course, material), indent=2)
    (folder / model_folder.METRICS).write_text(text, encoding="utf-8")


def _metrics(course: Course, material: Material) -> dict[str, Any]:
    logs = course.logs
    best = int(np.argmin([row["val_loss"] for row in logs]))
    return {
        "epochs": len(logs),
        "best_epoch": best + 1,
        "best": logs[best],
        "seconds": round(course.seconds, 3),
        "parameters": int(course.network.count_params()),
        "plan": material.facts,
    }
