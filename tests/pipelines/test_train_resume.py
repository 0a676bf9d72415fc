"""A training that is killed goes on exactly; another training's checkpoint is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cube.errors import ModelError
from cube.store import Cube
from pipelines.checkpoint import Checkpoint
from pipelines.model_folder import ModelFolder
from pipelines.recipe import TrainSettings
from pipelines.train import train

ROOT = Path(__file__).resolve().parents[2]

# Two of three epochs before the kill.
JOB = """
import os, signal, sys
import tensorflow as tf
tf.config.experimental.enable_op_determinism()
from cube.store import Cube
from pipelines.recipe import TrainSettings
from pipelines.train import train

cube, snapshot, folder, kill_after = sys.argv[1:]
settings = TrainSettings(patch=8, epochs=3, patience=2, batch_size=32, learning_rate=3e-3)

def tell(epoch, logs):
    print(epoch, flush=True)
    if epoch == int(kill_after):
        os.kill(os.getpid(), signal.SIGKILL)

cube = Cube.open(cube).at(snapshot)
train(cube, folder + "/whole", settings, overwrite=True) if kill_after != "0" else None
train(cube, folder + "/killed", settings, resume=True, on_epoch=tell)
"""


def _job(cube: Cube, folder: Path, kill_after: int) -> tuple[int, list[int]]:
    """Exit status, and the epochs of the training that may be killed."""
    command = [sys.executable, "-c", JOB, cube.location, cube.snapshot, str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(
        [*command, str(kill_after)], env=environment, check=False, stdout=subprocess.PIPE, text=True
    )
    return done.returncode, [int(line) for line in done.stdout.split()]


@pytest.mark.train
def test_killed_training_goes_on_to_the_very_same_network(tiny_cube: Cube, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="needs TensorFlow: install thermocube[train]")
    assert _job(tiny_cube, tmp_path, 2) == (-signal.SIGKILL, [1, 2])
    assert not (tmp_path / "killed").exists()
    assert len(list(tmp_path.glob(".killed*"))) == 1
    assert _job(tiny_cube, tmp_path, 0) == (0, [3])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "whole"]

    whole, resumed = (ModelFolder.load(tmp_path / name) for name in ("whole", "killed"))
    assert resumed.history() == whole.history()
    assert resumed.metrics()["best_epoch"] == whole.metrics()["best_epoch"]
    pairs = zip(whole.network().get_weights(), resumed.network().get_weights(), strict=True)
    for ours, theirs in pairs:
        np.testing.assert_array_equal(theirs, ours)


@pytest.mark.train
def test_training_that_had_stopped_by_itself_is_only_written_out(
    tiny_cube: Cube, tmp_path: Path
) -> None:
    pytest.importorskip("tensorflow", reason="needs TensorFlow: install thermocube[train]")
    settings = TrainSettings(patch=8, epochs=9, patience=1, batch_size=64, learning_rate=1e-7)

    kept: list[bytes] = []
    checkpoint = tmp_path / ".model.checkpoint.npz"

    def tell(epoch: int, logs: dict[str, float]) -> None:
        kept.append(checkpoint.read_bytes())

    train(tiny_cube, tmp_path / "model", settings, resume=True, on_epoch=tell)
    assert not checkpoint.exists()
    first = ModelFolder.load(tmp_path / "model")
    assert len(kept) < 9, "early stopping has to happen for this test"
    checkpoint.write_bytes(kept[-1])
    epochs: list[int] = []
    train(
        tiny_cube.at(first.recipe.lineage.snapshot),
        tmp_path / "model",
        settings,
        overwrite=True,
        resume=True,
        on_epoch=lambda epoch, logs: epochs.append(epoch),
    )
    again = ModelFolder.load(tmp_path / "model")
    assert epochs == [] and again.history() == first.history()
    for ours, theirs in zip(
        first.network().get_weights(), again.network().get_weights(), strict=True
    ):
        np.testing.assert_array_equal(theirs, ours)


@pytest.mark.train
def test_learning_rate_falls_by_the_epoch_also_in_a_training_that_goes_on(
    tiny_cube: Cube, tmp_path: Path
) -> None:
    pytest.importorskip("tensorflow", reason="needs TensorFlow: install thermocube[train]")
    settings = TrainSettings.model_validate(
        {"patch": 8, "epochs": 3, "batch_size": 64, "schedule": "cosine", "monitor": "macro_f1"}
        | {"filters": 2, "depth": 1, "dropout": 0.0}
    )
    checkpoint, kept = tmp_path / ".model.checkpoint.npz", list[bytes]()

    def tell(epoch: int, logs: dict[str, float]) -> None:
        kept.append(checkpoint.read_bytes())

    train(tiny_cube, tmp_path / "model", settings, resume=True, on_epoch=tell)
    first = ModelFolder.load(tmp_path / "model")
    np.testing.assert_allclose(first.history()["learning_rate"], [1e-3, 7.5e-4, 2.5e-4], rtol=1e-5)
    assert first.metrics()["best"]["val_macro_f1"] == max(first.history()["val_macro_f1"])
    checkpoint.write_bytes(kept[1])
    cube = tiny_cube.at(first.recipe.lineage.snapshot)
    train(cube, tmp_path / "model", settings, overwrite=True, resume=True)
    again = ModelFolder.load(tmp_path / "model")
    assert again.history() == first.history()
    for ours, theirs in zip(
        first.network().get_weights(), again.network().get_weights(), strict=True
    ):
        np.testing.assert_array_equal(theirs, ours)


def test_checkpoint_of_another_training_is_not_used_and_a_damaged_one_is_named(
    tmp_path: Path,
) -> None:
    mine = Checkpoint.beside(tmp_path / "model", "mine")
    assert mine.load() is None
    mine.save({"epoch": 3}, weights=[np.arange(3.0), np.zeros((2, 2))], best=[])
    found = mine.load()
    assert found is not None and found[0]["epoch"] == 3
    np.testing.assert_array_equal(found[1]["weights"][0], np.arange(3.0))
    assert "best" not in found[1]
    assert Checkpoint.beside(tmp_path / "model", "another").load() is None
    assert [path.name for path in tmp_path.iterdir()] == [".model.checkpoint.npz"]
    mine.path.write_bytes(mine.path.read_bytes()[:-40])
    with pytest.raises(ModelError, match="delete it"):
        mine.load()
    mine.clear()
    mine.clear()
    assert list(tmp_path.iterdir()) == []
