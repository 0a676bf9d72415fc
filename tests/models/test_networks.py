"""All networks, by one door, and on all of Keras's backends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.networks import build_network, network_settings, receptive_field
from models.settings import ConvLSTMSettings, UNetSettings

ROOT = Path(__file__).resolve().parents[2]
TINY = {"filters": 2, "depth": 1, "l2": 1e-4, "encoder_dropout": (0.1,)}
CASES = {
    "unet": (UNetSettings(**TINY), None),
    "residual": (UNetSettings(**TINY, residual=True, missing_channels=True), None),
    "stacked": (UNetSettings(**TINY), 3),
    "convlstm": (ConvLSTMSettings(**TINY), 3),
    "feedback": (ConvLSTMSettings(**TINY, feedback=True, residual=True), 2),
}


def _imagery(sequence: int | None) -> np.ndarray:
    dates = () if sequence is None else (sequence,)
    imagery = np.random.default_rng(0).normal(300, 9, (2, *dates, 5, 5, 2)).astype(np.float32)
    imagery[0, ..., :2, :, :] = np.nan
    return imagery


def test_settings_need_no_keras():
    code = "import sys, models.networks; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("name", CASES)
def test_settings_come_back_from_plain_tables(name):
    settings, _ = CASES[name]
    again = network_settings(settings.model_dump(mode="json"))
    assert again == settings
    assert type(again) is type(settings)


def test_tables_without_a_kind_are_those_of_a_unet():
    table = UNetSettings.small().model_dump(mode="json")
    del table["kind"], table["residual"], table["missing_channels"]
    assert network_settings(table) == UNetSettings.small()
    with pytest.raises(ValueError, match="kind 'transformer'; there are 'unet', 'convlstm'"):
        network_settings({"kind": "transformer"})


@pytest.mark.train
@pytest.mark.parametrize("name", CASES)
def test_every_network_trains_saves_and_comes_back(keras, tmp_path, name):
    from models.files import load, save
    from models.losses import weighted_crossentropy

    settings, sequence = CASES[name]
    model = build_network(
        settings, 2, 14, patch=5, mean=[300.0, 300.0], std=[9.0, 9.0], sequence=sequence
    )
    model.compile("adam", weighted_crossentropy(gamma=2.0, dice=0.2))
    imagery = _imagery(sequence)
    labels = np.random.default_rng(1).integers(0, 14, (2, 5, 5)).astype(np.uint8)
    assert np.isfinite(model.train_on_batch(imagery, labels, np.ones((2, 5, 5), np.float32)))
    save(model, tmp_path / "model.keras")
    again = load(tmp_path / "model.keras")
    output = model.predict_on_batch(imagery)
    assert output.shape == (2, 5, 5, 14)
    np.testing.assert_allclose(again.predict_on_batch(imagery), output, atol=1e-6)


@pytest.mark.train
def test_a_convlstm_takes_sequences_only(keras):
    with pytest.raises(ValueError, match="sequences of dates"):
        build_network(ConvLSTMSettings(**TINY), 2, 14, patch=4, mean=[0, 0], std=[1, 1])


@pytest.mark.train
def test_receptive_fields_of_either_network(keras):
    assert receptive_field(UNetSettings.small()) == 119
    assert receptive_field(UNetSettings.small(), 5) == 119
    assert receptive_field(ConvLSTMSettings.small(), 5) == 139


@pytest.mark.train
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_networks_carry_over_to_other_backends(keras, tmp_path, backend):
    """What one backend saves, another reads, predicts alike, and trains on."""
    python = os.environ.get(f"THERMOCUBE_{backend.upper()}_PYTHON", sys.executable)
    probe = subprocess.run([python, "-c", f"import {backend}"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(
            f"{backend} is not installed; install it, or name a Python that has Keras and "
            f"{backend} in THERMOCUBE_{backend.upper()}_PYTHON"
        )
    from models.files import save

    for name in ("residual", "feedback"):
        settings, sequence = CASES[name]
        model = build_network(
            settings, 2, 14, patch=5, mean=[300.0] * 2, std=[9.0] * 2, sequence=sequence
        )
        save(model, tmp_path / f"{name}.keras")
        np.savez(
            tmp_path / f"{name}.npz",
            imagery=_imagery(sequence),
            output=model.predict_on_batch(_imagery(sequence)),
        )
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from models.files import load\n"
        "from models.losses import weighted_crossentropy\n"
        "for name in ('residual', 'feedback'):\n"
        "    model = load(Path(sys.argv[1]) / f'{name}.keras')\n"
        "    with np.load(Path(sys.argv[1]) / f'{name}.npz') as saved:\n"
        "        x, expected = saved['imagery'], saved['output']\n"
        "    np.testing.assert_allclose(model.predict_on_batch(x), expected, atol=1e-4)\n"
        "    model.compile('sgd', weighted_crossentropy(gamma=2.0, dice=0.2))\n"
        "    labels = np.full((2, 5, 5), 3, np.uint8)\n"
        "    first = float(model.train_on_batch(x, labels))\n"
        "    assert np.isfinite(first) and float(model.train_on_batch(x, labels)) != first\n"
        "import keras; print(keras.backend.backend())\n"
    )
    run = subprocess.run(
        [python, "-c", code, str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.split()[-1] == backend
