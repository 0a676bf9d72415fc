"""One training shared by several devices: the same as on one, or a clear refusal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cube.errors import ModelError
from pipelines.devices import distributed

ROOT = Path(__file__).resolve().parents[2]

# Without normalisation over the batch and dropout, two halves of a batch give the same gradient.
SHARED = """
import numpy as np, keras
from keras import layers
def weights(share):
    keras.utils.set_random_seed(1)
    with share:
        network = keras.Sequential([keras.Input((4, 4, 2)), layers.Conv2D(3, 3, padding="same"),
                                    layers.Conv2D(4, 1, activation="softmax")])
        network.compile("sgd", "sparse_categorical_crossentropy")
        x = np.random.default_rng(0).normal(size=(8, 4, 4, 2)).astype("float32")
        network.fit(x, (x[..., 0] > 0).astype("uint8"), batch_size=4, shuffle=False, verbose=0)
        return network.get_weights()
"""
TENSORFLOW = """
import contextlib, warnings
import tensorflow as tf
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from pipelines.devices import distributed
with distributed(2):
    assert tf.distribute.get_strategy().num_replicas_in_sync == 2
assert tf.distribute.get_strategy().num_replicas_in_sync == 1
alone, shared = weights(contextlib.nullcontext()), weights(distributed(2))
for one, two in zip(alone, shared, strict=True):
    np.testing.assert_allclose(one, two, atol=1e-5)
print("shared")
"""
JAX = """
import contextlib
from models.sharing import data_parallel
devices = keras.distribution.list_devices("cpu")
assert len(devices) == 2, devices
alone, shared = weights(contextlib.nullcontext()), weights(data_parallel(devices))
for one, two in zip(alone, shared, strict=True):
    np.testing.assert_allclose(one, two, atol=1e-5)
assert keras.distribution.distribution() is None
print("shared")
"""


def run(python: str, code: str, **environment: str) -> None:
    done = subprocess.run(
        [python, "-c", SHARED + code],
        cwd=ROOT,
        env=os.environ | environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-1] == "shared"


@pytest.mark.train
def test_two_devices_train_as_one_on_tensorflow() -> None:
    pytest.importorskip("tensorflow", reason="needs TensorFlow: install thermocube[train]")
    run(sys.executable, TENSORFLOW, KERAS_BACKEND="tensorflow")


@pytest.mark.train
def test_two_devices_train_as_one_on_jax_by_keras_distribution_api() -> None:
    python = os.environ.get("THERMOCUBE_JAX_PYTHON", sys.executable)
    probe = subprocess.run(
        [python, "-c", "import jax, keras"],
        env=os.environ | {"KERAS_BACKEND": "jax"},
        capture_output=True,
        check=False,
    )
    if probe.returncode:
        pytest.skip(
            "jax is not installed; install it, or name a Python that has Keras and jax in "
            "THERMOCUBE_JAX_PYTHON"
        )
    flags = "--xla_force_host_platform_device_count=2"
    run(python, JAX, KERAS_BACKEND="jax", XLA_FLAGS=flags)


@pytest.mark.train
def test_more_devices_than_there_are_is_refused() -> None:
    pytest.importorskip("tensorflow", reason="needs TensorFlow: install thermocube[train]")
    with pytest.raises(ModelError, match="64 devices were asked for"), distributed(64):
        pass
