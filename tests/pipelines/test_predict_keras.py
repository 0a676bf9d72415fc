"""Real networks: dropout that stays on, and workers that are killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from cube.errors import ModelError
from cube.lithology import CLASS_COUNT
from cube.store import Cube
from pipelines import model_folder
from pipelines.cluster import local_cluster
from pipelines.model_folder import ModelFolder
from pipelines.predict import PredictTally, predict

pytestmark = [
    pytest.mark.train,
    pytest.mark.timeout(600),
    # TensorFlow's own, on NumPy 2; see `models.files.variables_as_arrays`.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy"),
]


def small_network(rate: float) -> Any:
    import keras
    from keras import layers

    from models.layers import Standardise

    keras.utils.set_random_seed(3)
    inputs = keras.Input((8, 8, 2))
    x = Standardise((298.0, 0.95), (1.0, 0.01))(inputs)
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Dropout(rate)(x) if rate else x
    outputs = layers.Conv2D(CLASS_COUNT, 3, padding="same", activation="softmax")(x)
    return keras.Model(inputs, outputs)


@pytest.fixture
def write(tiny_cube: Cube, thermometer: Callable[..., ModelFolder]) -> Callable[..., Path]:
    """Model folders with real networks."""
    from models import files

    def make(name: str, rate: float = 0.3) -> Path:
        folder = thermometer(name)
        files.save(small_network(rate), folder.path / model_folder.NETWORK)
        return folder.path

    return make


@pytest.fixture
def keras_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks are read from their files again, which `thermometer` keeps from happening."""
    monkeypatch.setattr(ModelFolder, "network", NETWORK_OF)


NETWORK_OF = ModelFolder.network


def maps(cube: Cube, run: str) -> xr.Dataset:
    return cube.dataset(f"predictions/{run}", chunks=None).load()


def assert_alike(left: xr.Dataset, right: xr.Dataset) -> None:
    for name in right.data_vars:
        np.testing.assert_allclose(left[name], right[name], atol=1e-5, err_msg=str(name))


def test_passes_with_dropout_tell_what_the_network_is_unsure_of(
    tiny_cube: Cube, write: Callable[..., Path], keras_network: None
) -> None:
    model = write("passes")
    predict(tiny_cube, model, run="single", probability=True)
    options: dict[str, Any] = {"mc_dropout": 6, "probability": True, "entropy": True}
    predict(tiny_cube, model, run="passes", **options)
    predict(tiny_cube, model, run="passes-again", batch_size=7, workers=1, **options)
    found = maps(tiny_cube, "passes")
    assert_alike(maps(tiny_cube, "passes-again"), found)
    assert found.attrs["mc_dropout_passes"] == 6

    seen = found.lithology.values > 0
    information, spread = found.mutual_information.values, found.variance.values
    assert (information[seen] >= 0).all() and (information[seen] > 1e-4).mean() > 0.5
    assert (information[seen] <= found.entropy.values[seen] + 1e-5).all()
    assert (spread[seen] >= 0).all() and (spread[seen] <= 0.25).all() and spread[seen].max() > 1e-4
    assert np.isnan(information[~seen]).all() and np.isnan(spread[~seen]).all()
    single = maps(tiny_cube, "single").probability.values
    gap = np.abs(found.probability.values - single)
    assert np.nanmax(gap) > 1e-4 and np.nanmean(gap) < 0.1


def test_passes_need_dropout(
    tiny_cube: Cube, write: Callable[..., Path], keras_network: None
) -> None:
    with pytest.raises(ModelError, match="no dropout layer"):
        predict(tiny_cube, write("firm", rate=0), mc_dropout=3)


def test_a_worker_killed_in_mid_inference_costs_a_retry(
    tiny_cube: Cube,
    write: Callable[..., Path],
    keras_network: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipelines.inference.DATES", 1)
    model = write("victim")
    options: dict[str, Any] = {"mc_dropout": 3, "probability": True, "batch_size": 16}
    predict(tiny_cube, model, run="threads", **options)
    killed: list[int] = []
    tally = PredictTally()
    with local_cluster(2) as client:

        def kill(done: int, total: int) -> None:
            # Both workers hold results or work of this run by now; a nanny starts another.
            if not killed:
                killed.append(sorted(client.run(os.getpid).values())[0])
                os.kill(killed[0], signal.SIGKILL)

        predict(tiny_cube, model, run="workers", client=client, on_scene=kill, tally=tally,
                **options)  # fmt: skip
        assert killed[0] not in client.run(os.getpid).values()
        assert not any("predict" in name for name in client.run(_plugins).popitem()[1])
    assert (tally.units, tally.resumed) == (8, 0)
    assert_alike(maps(tiny_cube, "workers"), maps(tiny_cube, "threads"))


def _plugins(dask_worker: Any) -> list[str]:
    return list(dask_worker.plugins)
