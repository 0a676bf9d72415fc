"""Fitting a sharpening network: epochs until validation stops getting better, resumable."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.errors import ModelError
from pipelines.checkpoint import Checkpoint
from pipelines.superres_samples import Batch, Samples, Statistics

if TYPE_CHECKING:
    import keras

    from models.superres.recipes import Recipe

OnEpoch = Callable[[int, dict[str, float]], None]
"""Called after each epoch with its number, from 1, and its losses."""


@dataclass
class Fit:
    """The course of one training."""

    network: keras.Model
    patience: int | None
    logs: list[dict[str, float]] = field(default_factory=list)
    best: list[np.ndarray] = field(default_factory=list)
    """Weights of the best epoch."""

    @property
    def best_epoch(self) -> int:
        """Number, from 1, of the epoch with the least validation loss."""
        return int(np.argmin([row["val_loss"] for row in self.logs])) + 1

    @property
    def stopped(self) -> bool:
        """Whether early stopping has ended it."""
        if self.patience is None or not self.logs:
            return False
        return len(self.logs) - self.best_epoch >= self.patience

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep all that the next epoch depends on."""
        values = [_array(variable) for variable in self._variables()]
        checkpoint.save({"logs": self.logs}, variables=values, best=self.best)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint, if there is one."""
        found = checkpoint.load()
        if found is None:
            return
        state, arrays = found
        for variable, value in zip(self._variables(), arrays["variables"], strict=True):
            variable.assign(value)
        self.logs, self.best = state["logs"], arrays["best"]

    def _variables(self) -> list[Any]:
        optimiser = self.network.optimizer
        if not optimiser.built:
            optimiser.build(self.network.trainable_variables)
        return [*self.network.variables, *optimiser.variables]


def compiled(recipe: Recipe, statistics: Statistics, scenes: int, seed: int) -> keras.Model:
    """The network of a recipe with fresh weights, ready to learn from so many scenes."""
    import keras

    from models.precision import precision

    keras.utils.set_random_seed(seed)
    with precision(recipe.precision):
        network = recipe.build(statistics.mean, statistics.std)
    network.compile(optimizer=recipe.optimiser(scenes), loss=recipe.loss(*statistics.std))
    return network


def save(network: keras.Model, recipe: Recipe, statistics: Statistics, path: Path) -> None:
    """Write a trained network, in float32 whatever it was trained in."""
    from models import files

    kept = recipe.build(statistics.mean, statistics.std)
    with files.variables_as_arrays():
        kept.set_weights(network.get_weights())
    files.save(kept, path)


def fit(
    network: keras.Model,
    train: Samples,
    validation: Samples,
    checkpoint: Checkpoint,
    on_epoch: OnEpoch | None = None,
) -> Fit:
    """Train, and leave the network with the weights of its best epoch.

    Parameters
    ----------
    network
        Compiled; trained in place.
    train, validation
        What it learns from, and what it is stopped by. Of one recipe.
    checkpoint
        Written after each epoch; where there is one of this training, it goes on from there.
    on_epoch
        Told of each epoch.

    Raises
    ------
    ModelError
        If the loss is no longer a number, or the checkpoint cannot be read.
    """
    from models.files import variables_as_arrays

    course = Fit(network, train.recipe.patience)
    with variables_as_arrays():
        _go_on(course, train, validation, checkpoint, on_epoch)
    return course


def _go_on(
    course: Fit,
    train: Samples,
    validation: Samples,
    checkpoint: Checkpoint,
    on_epoch: OnEpoch | None,
) -> None:
    network = course.network
    course.restore(checkpoint)
    while len(course.logs) < train.recipe.epochs and not course.stopped:
        started = time.monotonic()
        row = {
            "loss": _mean(network, network.train_on_batch, train.epoch(len(course.logs))),
            "val_loss": _mean(network, network.test_on_batch, validation.plain()),
        }
        _require_numbers(row, len(course.logs) + 1, train.recipe.learning_rate)
        course.logs.append(row | {"seconds": time.monotonic() - started})
        if course.best_epoch == len(course.logs):
            course.best = [_array(variable) for variable in network.variables]
        course.save(checkpoint)
        if on_epoch is not None:
            on_epoch(len(course.logs), row)
    for variable, value in zip(network.variables, course.best, strict=True):
        variable.assign(value)


def _mean(network: keras.Model, step: Callable[..., Any], batches: Iterable[Batch]) -> float:
    """Mean loss of the steps over some batches."""
    network.reset_metrics()
    mean = float("nan")
    for inputs, targets in batches:
        # Keras keeps the mean since the metrics were reset.
        mean = float(np.asarray(step(inputs, targets)))
    return mean


def _array(variable: Any) -> np.ndarray:
    import keras

    array: np.ndarray = np.array(keras.ops.convert_to_numpy(variable))
    return array


def _require_numbers(row: dict[str, float], epoch: int, rate: float) -> None:
    if not np.isfinite(list(row.values())).all():
        raise ModelError(
            f"the loss is {row['loss']} in training and {row['val_loss']} in validation after "
            f"epoch {epoch}; take a lower learning rate than {rate:g}"
        )
