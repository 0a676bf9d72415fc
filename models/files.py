"""Networks on disk, in Keras's own ``.keras`` format."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras

# Imported for what they register: without them Keras does not know layers, loss and metric.
from models import layers as layers
from models import losses as losses
from models import running as running


def save(model: keras.Model, path: Path) -> None:
    """Write the network, its weights and, if it was compiled, its loss and optimiser."""
    with variables_as_arrays():
        model.save(path)


def load(path: Path, *, compiled: bool = False) -> keras.Model:
    """Read a network; `compiled` restores loss and optimiser as well, to train on.

    Raises
    ------
    ValueError
        If there is no such file, or it is not a complete Keras model of known layers.
    """
    try:
        with variables_as_arrays():
            return keras.saving.load_model(path, compile=compiled)
    except (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile) as error:
        # What Keras raises depends on which of the archive's members is damaged.
        raise ValueError(
            f"{path} is damaged, or no network whose layers are known here: {error}"
        ) from error


@contextmanager
def variables_as_arrays() -> Iterator[None]:
    """For code in which Keras copies TensorFlow variables into NumPy arrays.

    Saving, ``get_weights`` and the callbacks that keep the best weights do. TensorFlow 2.21's
    ``__array__`` has no `copy` argument; NumPy 2 then copies all the same, and warns.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "__array__ implementation doesn't accept a copy", DeprecationWarning
        )
        yield
