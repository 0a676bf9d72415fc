"""Fitting a network: streams in, weights of the best epoch out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cube.errors import ModelError
from cube.sampling import Part
from pipelines.checkpoint import Checkpoint, Course
from pipelines.material import Material
from pipelines.recipe import TrainSettings

if TYPE_CHECKING:
    import keras

BETTER: dict[str, Literal["min", "max"]] = {"loss": "min", "macro_f1": "max"}
"""Which way a score of the validation part gets better."""

OnEpoch = Callable[[int, dict[str, float]], None]
"""Called after each epoch with its number, from 1, and its losses and scores."""


def fit(
    network: keras.Model,
    material: Material,
    settings: TrainSettings,
    *,
    checkpoint: Checkpoint | None = None,
    on_epoch: OnEpoch | None = None,
    tensorboard: Path | None = None,
) -> Course:
    """Train until the validation score gets no better, and take the weights of the best epoch.

    Parameters
    ----------
    network
        Compiled; trained in place.
    material
        Samples.
    settings
        How.
    checkpoint
        Written after each epoch; where there is one, training goes on from it.
    on_epoch
        Called after each epoch, for progress.
    tensorboard
        Folder for TensorBoard's logs.

    Raises
    ------
    ModelError
        If the loss is no longer a number, the checkpoint cannot be read, or TensorBoard is not
        installed.
    """
    import keras

    from models.files import variables_as_arrays

    course = Course(
        network,
        keras.callbacks.EarlyStopping(
            patience=settings.patience, restore_best_weights=True, **_watched(settings)
        ),
        _slower(settings),
        logs=[],
    )
    started = time.monotonic()
    with variables_as_arrays():
        if checkpoint is not None:
            course.restore(checkpoint)
        done = settings.epochs if course.stopped else len(course.logs)
        network.fit(
            stream(material, "train", settings, done),
            validation_data=stream(material, "val", settings),
            initial_epoch=done,
            epochs=settings.epochs,
            shuffle=False,  # the stream does, and Keras would warn
            verbose=0,
            callbacks=_callbacks(course, settings, checkpoint, on_epoch, tensorboard),
        )
    course.seconds += time.monotonic() - started
    return course


def _watched(settings: TrainSettings) -> dict[str, Any]:
    return {"monitor": f"val_{settings.monitor}", "mode": BETTER[settings.monitor]}


def _slower(settings: TrainSettings) -> keras.callbacks.Callback:
    """Lowers the learning rate; as the validation loss goes, or epoch by epoch."""
    import keras

    if settings.schedule == "plateau":
        return keras.callbacks.ReduceLROnPlateau(
            factor=0.5, patience=max(settings.patience // 2, 1), **_watched(settings)
        )
    cosine = keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.epochs)
    return keras.callbacks.LearningRateScheduler(lambda epoch, _: float(cosine(epoch)))


def best_epoch(logs: Sequence[Mapping[str, float]], monitor: str) -> int:
    """Index of the epoch whose weights were kept: the first of the best."""
    values = [row[f"val_{monitor}"] for row in logs]
    return int(np.argmin(values) if BETTER[monitor] == "min" else np.argmax(values))


def stream(material: Material, part: Part, settings: TrainSettings, epoch: int = 0) -> Any:
    """A part's samples as ``fit`` takes them with the backend in use.

    Parameters
    ----------
    material, part, settings
        What is streamed, and how.
    epoch
        To begin with.
    """
    import keras

    from pipelines.staging import staged_bytes
    from pipelines.stream import IN_MEMORY, Stream, keras_dataset, tf_dataset_of

    training, sources = part == "train", material.part(part)
    memory = settings.memory / 2  # the other half is for the other part
    # Decoded once and cut from there, where it fits: an epoch is then as fast as memory.
    fits = sum(staged_bytes(source.plan) for source in sources) <= memory * 1e6
    options: dict[str, Any] = {
        "batch_size": settings.batch_size,
        "seed": settings.seed,
        "shuffle": training,
        "augment": training and settings.augment,
        "jitter": settings.jitter if training else 0.0,
        "label_weight": settings.label_weight,
        "memory": memory,
        "staging": IN_MEMORY if fits else None,
    }
    if keras.backend.backend() == "tensorflow":
        return tf_dataset_of(sources, part, epoch=epoch, **options)
    batches = Stream(sources, part, **options)
    batches.restore(batches.state() | {"epoch": epoch})
    return keras_dataset(batches)


def _callbacks(
    course: Course,
    settings: TrainSettings,
    checkpoint: Checkpoint | None,
    on_epoch: OnEpoch | None,
    tensorboard: Path | None,
) -> list[keras.callbacks.Callback]:
    import keras

    started = time.monotonic()

    def record(epoch: int, values: dict[str, Any]) -> None:
        row = {name: float(value) for name, value in values.items()}
        if not np.isfinite([row["loss"], row["val_loss"]]).all():
            raise ModelError(
                f"the loss is {row['loss']} in training and {row['val_loss']} in validation after "
                f"epoch {epoch + 1}; take a lower learning rate than {settings.learning_rate:g}"
            )
        course.logs.append(row)
        if checkpoint is not None:
            course.save(checkpoint, time.monotonic() - started)
        if on_epoch is not None:
            on_epoch(epoch + 1, dict(row))

    # In this order: what the checkpoint keeps is what the two before it have decided.
    own = keras.callbacks.LambdaCallback(on_train_begin=course.begin, on_epoch_end=record)
    return [course.slower, course.stopper, *_board(tensorboard), own]


def _board(folder: Path | None) -> list[keras.callbacks.Callback]:
    if folder is None:
        return []
    import keras

    if find_spec("tensorboard") is None:
        raise ModelError(
            "TensorBoard's logs were asked for, but the package tensorboard is not installed; "
            "install it, or read the curves in the model folder's history.csv"
        )
    return [keras.callbacks.TensorBoard(str(folder))]
