"""From a cube to a trained network in a model folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.errors import ModelError, PlanError
from cube.lithology import CLASS_COUNT, Lithology
from cube.sampling import Part, SamplePlan, make_plan
from cube.version import code_version
from pipelines import model_folder
from pipelines.class_weights import class_weights
from pipelines.model_folder import new_folder, require_free
from pipelines.recipe import Lineage, Normalisation, Recipe, TrainSettings

if TYPE_CHECKING:
    import keras
    import xarray as xr

    from cube.store import Cube
    from models.unet import UNetSettings

OnEpoch = Callable[[int, dict[str, float]], None]
"""Called after each epoch with its number, from 1, and its losses and scores."""


@dataclass(frozen=True)
class _Material:
    """What a network is trained on."""

    dataset: xr.Dataset
    labels: xr.Dataset
    plan: SamplePlan
    normalisation: Normalisation


def train(
    cube: Cube,
    folder: str | Path,
    settings: TrainSettings | None = None,
    *,
    overwrite: bool = False,
    on_epoch: OnEpoch | None = None,
) -> Path:
    """Train a network on a cube's snapshot and save it as a model folder.

    Split before samples, statistics of the training part only; stops early and keeps the weights
    of the epoch with the lowest validation loss. Sets the seeds of Python, NumPy and Keras.

    Parameters
    ----------
    cube
        With a ``labels`` group.
    folder
        Where the model goes; appears there when it is complete.
    settings
        Defaults suit a small CPU.
    overwrite
        Replace a model folder that is there.
    on_epoch
        Called after each epoch, for progress.

    Returns
    -------
    Path
        The model folder.

    Raises
    ------
    SelectionError
        If the cube lacks labels, or what the settings select.
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
    unet = _unet(settings)
    material = _material(cube, settings)
    weights = class_weights(settings, material.plan)
    keras.utils.set_random_seed(settings.seed)
    network = _build(unet, material, settings, weights)
    started = time.monotonic()
    logs = _fit(network, material, settings, on_epoch)
    metrics = _metrics(logs, material.plan, network, time.monotonic() - started)
    recipe = _recipe(cube, settings, unet, material, weights)
    with new_folder(target, overwrite=overwrite) as fresh:
        _save(fresh, network, recipe, material.plan, logs, metrics)
    return target


def _unet(settings: TrainSettings) -> UNetSettings:
    """Size of the network; refuses a patch or a buffer that does not fit it."""
    from models.unet import UNetSettings, check_patch, receptive_field

    unet = UNetSettings.preset(settings.network)
    try:
        check_patch(unet, settings.patch)
    except ValueError as error:
        raise ModelError(str(error)) from error
    split = settings.split.for_patch(settings.patch)
    needed = min(receptive_field(unet), settings.patch)
    if split.by_place and (split.buffer or 0) < needed:
        raise PlanError(
            f"a buffer of {split.buffer} px between the parts is too narrow: the network sees "
            f"{needed} px at once, so it would be tested on pixels it was trained beside; take a "
            f"buffer of {needed} px or more"
        )
    return unet


def _material(cube: Cube, settings: TrainSettings) -> _Material:
    from pipelines.stream import band_statistics

    view = cube.at(cube.snapshot)
    dataset, labels = settings.of(view), view.dataset("labels", chunks=None).load()
    plan = make_plan(
        dataset,
        labels,
        patch=settings.patch,
        stride=settings.steps,
        split=settings.split,
        min_valid=settings.min_valid,
        snapshot=view.snapshot,
    )
    mean, std = band_statistics(dataset, plan)
    normalisation = Normalisation(mean=tuple(mean.tolist()), std=tuple(std.tolist()))
    return _Material(dataset, labels, plan, normalisation)


def _build(
    unet: UNetSettings,
    material: _Material,
    settings: TrainSettings,
    weights: tuple[float, ...] | None,
) -> keras.Model:
    import keras

    from models.losses import weighted_crossentropy
    from models.unet import build_unet

    statistics = material.normalisation
    network = build_unet(
        unet,
        len(material.plan.bands),
        CLASS_COUNT,
        settings.patch,
        statistics.mean,
        statistics.std,
    )
    network.compile(
        optimizer=keras.optimizers.Adam(settings.learning_rate),
        loss=weighted_crossentropy(weights, settings.gamma if settings.loss == "focal" else 0.0),
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    return network


def _fit(
    network: keras.Model, material: _Material, settings: TrainSettings, on_epoch: OnEpoch | None
) -> list[dict[str, float]]:
    """Train until the validation loss stops falling; the logs of each epoch."""
    from models.files import variables_as_arrays
    from pipelines.stream import tf_dataset

    def stream(part: Part, *, shuffle: bool) -> Any:
        return tf_dataset(
            material.dataset,
            material.labels,
            material.plan,
            part,
            batch_size=settings.batch_size,
            seed=settings.seed,
            shuffle=shuffle,
            augment=shuffle and settings.augment,
            label_weight=settings.label_weight,
        )

    logs: list[dict[str, float]] = []
    with variables_as_arrays():
        network.fit(
            stream("train", shuffle=True),
            validation_data=stream("val", shuffle=False),
            epochs=settings.epochs,
            shuffle=False,  # the stream does, and Keras would warn
            verbose=0,
            callbacks=_callbacks(settings, logs, on_epoch),
        )
    return logs


def _callbacks(
    settings: TrainSettings, logs: list[dict[str, float]], on_epoch: OnEpoch | None
) -> list[keras.callbacks.Callback]:
    import keras

    def record(epoch: int, values: dict[str, Any]) -> None:
        row = {name: float(value) for name, value in values.items()}
        if not np.isfinite([row["loss"], row["val_loss"]]).all():
            raise ModelError(
                f"the loss is {row['loss']} in training and {row['val_loss']} in validation after "
                f"epoch {epoch + 1}; take a lower learning rate than {settings.learning_rate:g}"
            )
        logs.append(row)
        if on_epoch is not None:
            on_epoch(epoch + 1, dict(row))

    return [
        keras.callbacks.ReduceLROnPlateau(
            monitor="val_loss", factor=0.5, patience=max(settings.patience // 2, 1)
        ),
        keras.callbacks.EarlyStopping(
            monitor="val_loss", patience=settings.patience, restore_best_weights=True
        ),
        keras.callbacks.LambdaCallback(on_epoch_end=record),
    ]


def _metrics(
    logs: list[dict[str, float]], plan: SamplePlan, network: keras.Model, seconds: float
) -> dict[str, Any]:
    best = int(np.argmin([row["val_loss"] for row in logs]))
    return {
        "epochs": len(logs),
        "best_epoch": best + 1,
        "best": logs[best],
        "seconds": round(seconds, 3),
        "parameters": int(network.count_params()),
        "plan": plan.summary,
    }


def _recipe(
    cube: Cube,
    settings: TrainSettings,
    unet: UNetSettings,
    material: _Material,
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
        network=unet.model_dump(mode="json"),
        training=settings,
        lineage=Lineage(
            cube=cube.name,
            snapshot=plan.snapshot,
            plan_digest=plan.digest,
            code_version=code_version(),
            libraries=_libraries(),
        ),
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


def _save(
    folder: Path,
    network: keras.Model,
    recipe: Recipe,
    plan: SamplePlan,
    logs: list[dict[str, float]],
    metrics: dict[str, Any],
) -> None:
    from models import files

    files.save(network, folder / model_folder.NETWORK)
    recipe.save(folder / model_folder.RECIPE)
    plan.save(folder / model_folder.PLAN)
    model_folder.write_history(folder / model_folder.HISTORY, logs)
    text = json.dumps(metrics, indent=2)
    (folder / model_folder.METRICS).write_text(text, encoding="utf-8")
