"""A training's state after an epoch, kept on disk, so that a killed training goes on exactly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from cube.errors import ModelError

if TYPE_CHECKING:
    import keras

_STOPPER = ("best", "wait", "best_epoch", "stopped_epoch")
_SLOWER = ("best", "wait", "cooldown_counter")


@dataclass(frozen=True)
class Checkpoint:
    """A file beside the model folder that is to come."""

    path: Path
    key: str
    """Of all that a training depends on; what another training has left is not used."""

    @classmethod
    def beside(cls, target: Path, key: str) -> Checkpoint:
        """That of the model folder `target`."""
        target = target.resolve()
        return cls(target.with_name(f".{target.name}.checkpoint.npz"), key)

    def save(self, state: dict[str, Any], **arrays: Sequence[np.ndarray]) -> None:
        """Replace the file; one that is there is whole at any time."""
        named = {
            f"{name}-{number}": value
            for name, values in arrays.items()
            for number, value in enumerate(values)
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        with part.open("wb") as file:
            header = json.dumps({"key": self.key} | state)
            np.savez(file, header=np.array(header), allow_pickle=False, **named)
        part.replace(self.path)

    def load(self) -> tuple[dict[str, Any], dict[str, list[np.ndarray]]] | None:
        """State and arrays; None if there is no file, or one of another training.

        Raises
        ------
        ModelError
            If the file cannot be read.
        """
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                state = json.loads(str(stored["header"]))
                if state["key"] != self.key:
                    return None
                arrays: dict[str, list[np.ndarray]] = {}
                for name in stored.files:  # in the order in which they were saved
                    arrays.setdefault(name.partition("-")[0], []).append(stored[name])
        except FileNotFoundError:
            return None
        except (OSError, BadZipFile, EOFError, KeyError, ValueError) as error:
            raise ModelError(
                f"the checkpoint {self.path} cannot be read ({error}); delete it to train from the "
                "beginning"
            ) from error
        return state, arrays

    def clear(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


@dataclass(eq=False)
class Course:
    """What changes while a network is trained."""

    network: keras.Model
    stopper: keras.callbacks.EarlyStopping
    slower: keras.callbacks.Callback
    """A schedule that goes by the epoch alone has no state of its own."""
    logs: list[dict[str, float]]
    seconds: float = 0.0
    """Spent before this process."""
    stopped: bool = False
    """By early stopping, before this process."""
    _callbacks: tuple[dict[str, Any], dict[str, Any], list[np.ndarray] | None] | None = field(
        default=None, init=False
    )

    def save(self, checkpoint: Checkpoint, seconds: float) -> None:
        """Keep everything that the next epoch depends on."""
        state = {
            "logs": self.logs,
            "seconds": self.seconds + seconds,
            "stopped": bool(self.network.stop_training),
            "stopper": _attributes(self.stopper, _STOPPER),
            "slower": _attributes(self.slower, _SLOWER),
        }
        checkpoint.save(
            state,
            variables=_values(self._variables()),
            best=self.stopper.best_weights or [],
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where a checkpoint was made, if there is one; before `fit`."""
        found = checkpoint.load()
        if found is None:
            return
        state, arrays = found
        for variable, value in zip(self._variables(), arrays["variables"], strict=True):
            variable.assign(value)
        self.logs += state["logs"]
        self.seconds, self.stopped = state["seconds"], state["stopped"]
        self._callbacks = state["stopper"], state["slower"], arrays.get("best")

    def begin(self, _: Any = None) -> None:
        """Give the callbacks their state back; after they have begun anew, as `fit` makes them."""
        if self._callbacks is None:
            return
        stopper, slower, best = self._callbacks
        for callback, values in ((self.stopper, stopper), (self.slower, slower)):
            for name, value in values.items():
                setattr(callback, name, value)
        self.stopper.best_weights = best

    def _variables(self) -> list[Any]:
        """Weights, states of the random numbers of dropout, and those of the optimiser."""
        optimiser = self.network.optimizer
        if not optimiser.built:
            optimiser.build(self.network.trainable_variables)
        return [*self.network.variables, *optimiser.variables]


def _attributes(callback: Any, names: Sequence[str]) -> dict[str, Any]:
    values = {name: getattr(callback, name) for name in names if hasattr(callback, name)}
    return {
        name: float(value) if isinstance(value, np.floating) else value
        for name, value in values.items()
    }


def _values(variables: Sequence[Any]) -> list[np.ndarray]:
    import keras

    return [keras.ops.convert_to_numpy(variable) for variable in variables]
