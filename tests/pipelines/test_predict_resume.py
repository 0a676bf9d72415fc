"""Runs that break off: nothing of them is seen, and the next one goes on where they were."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from cube.errors import CubeLockedError, StoreError
from cube.lithology import CLASS_COUNT
from cube.store import Cube
from pipelines.expire import expire
from pipelines.inference_work import default_place
from pipelines.model_folder import ModelFolder
from pipelines.predict import PredictTally, predict

WriteModel = Callable[..., ModelFolder]
ROOT = Path(__file__).resolve().parents[2]


class Stop(Exception):
    pass


def stop_after(count: int) -> Callable[[int, int], None]:
    calls: list[int] = []

    def stop(done: int, total: int) -> None:
        calls.append(done)
        if len(calls) == count:
            raise Stop

    return stop


@pytest.fixture(autouse=True)
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two dates at a time on two windows: four units."""
    monkeypatch.setattr("pipelines.inference.DATES", 2)


def leftovers(cube: Cube, run: str) -> list[Path]:
    """The work folders of a run; other tests leave theirs beside the same cube."""
    return sorted(default_place(cube.location).glob(f"{run}.*"))


def assert_same_maps(cube: Cube, left: str, right: str) -> None:
    one, two = (cube.dataset(f"predictions/{run}", chunks=None).load() for run in (left, right))
    xr.testing.assert_equal(one, two)


@pytest.mark.parametrize("units", [1, 2, 3, 4])
def test_broken_run_shows_nothing_and_goes_on_where_it_was(
    tiny_cube: Cube, thermometer: WriteModel, units: int
) -> None:
    model = thermometer("resumed").path
    predict(tiny_cube, model, run="whole", overwrite=True, entropy=True)
    before = tiny_cube.snapshot
    run = f"resumed-{units}"
    with pytest.raises(Stop):
        predict(tiny_cube, model, run=run, entropy=True, on_scene=stop_after(units))
    after = Cube.open(tiny_cube.location)
    assert after.snapshot == before and f"predictions/{run}" not in after.groups()
    tally = PredictTally()
    steps: list[tuple[int, int]] = []
    predict(
        tiny_cube, model, run=run, entropy=True, batch_size=5, tally=tally,
        on_scene=lambda done, total: steps.append((done, total)),
    )  # fmt: skip
    assert (tally.resumed, tally.units) == (units, 4)
    assert steps == [(done, 8) for done in range(2 * units + 2, 9, 2)]
    assert_same_maps(tiny_cube, run, "whole")
    assert len(tiny_cube.history()) == len(Cube.open(tiny_cube.location).at(before).history()) + 1
    assert not leftovers(tiny_cube, run)


def test_other_options_or_another_snapshot_begin_anew_and_clear_up(
    tiny_cube: Cube, thermometer: WriteModel
) -> None:
    model = thermometer("anew").path

    def broken(**options: bool) -> None:
        with pytest.raises(Stop):
            predict(tiny_cube, model, run="anew", on_scene=stop_after(1), **options)

    broken()
    first = leftovers(tiny_cube, "anew")
    broken(entropy=True)
    assert len(leftovers(tiny_cube, "anew")) == len(first) and leftovers(tiny_cube, "anew") != first
    with tiny_cube.transaction("touch", {}) as change:
        change.set_attrs({"touched": True})
    tally = PredictTally()
    predict(tiny_cube, model, run="anew", entropy=True, tally=tally)
    assert tally.resumed == 0 and not leftovers(tiny_cube, "anew")


@pytest.mark.parametrize("name", ["0.zip", "sums.npz"])
def test_file_that_is_not_whole_is_done_again(
    tiny_cube: Cube, thermometer: WriteModel, tmp_path: Path, name: str
) -> None:
    model = thermometer("torn").path
    predict(tiny_cube, model, run="whole", overwrite=True)
    run = f"torn-{name.split('.')[0]}"
    with pytest.raises(Stop):
        predict(tiny_cube, model, run=run, work=tmp_path / "work", on_scene=stop_after(3))
    for file in (tmp_path / "work").rglob(name):
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
    tally = PredictTally()
    predict(tiny_cube, model, run=run, work=tmp_path / "work", tally=tally)
    assert tally.resumed < 3
    assert_same_maps(tiny_cube, run, "whole")
    assert not (tmp_path / "work").exists()


def test_the_same_run_twice_at_once_is_refused(tiny_cube: Cube, thermometer: WriteModel) -> None:
    model = thermometer("twice").path

    def again(done: int, total: int) -> None:
        with pytest.raises(CubeLockedError, match="another process"):
            predict(Cube.open(tiny_cube.location), model)

    predict(tiny_cube, model, on_scene=again)
    assert "predictions/twice" in tiny_cube.groups()


def test_work_folder_that_cannot_be_made_is_told(
    tiny_cube: Cube, thermometer: WriteModel, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="work folder"):
        predict(tiny_cube, thermometer("noplace").path, work=tmp_path / "file" / "work")


def test_a_run_of_that_name_that_came_meanwhile_is_not_replaced(
    tiny_cube: Cube, thermometer: WriteModel, tmp_path: Path
) -> None:
    model = thermometer("meanwhile").path
    done: list[str] = []

    def other(steps: int, total: int) -> None:
        if not done:
            cube = Cube.open(tiny_cube.location)
            done.append(predict(cube, model, entropy=True, work=tmp_path / "other"))

    with pytest.raises(StoreError) as caught:
        predict(tiny_cube, model, on_scene=other)
    assert caught.value.kind == "run_exists"
    assert "entropy" in Cube.open(tiny_cube.location).dataset("predictions/meanwhile")
    predict(tiny_cube.refresh(), model, overwrite=True)
    assert not leftovers(tiny_cube, "meanwhile")


KILLED = """
import os, signal, sys
import numpy as np
from cube.store import Cube
from pipelines import inference
from pipelines.model_folder import ModelFolder
from pipelines.predict import predict

class Network:
    def predict_on_batch(self, batch):
        shares = np.zeros((*batch.shape[:3], int(sys.argv[4])), np.float32)
        shares[..., 7] = shares[..., 8] = np.nan_to_num(batch[..., 0])
        shares[..., 8] += 1
        return shares

def kill(done, total):
    if done == 6:
        os.kill(os.getpid(), signal.SIGKILL)

inference.DATES = 2
ModelFolder.network = lambda self: Network()
predict(Cube.open(sys.argv[1]), sys.argv[2], run=sys.argv[3], on_scene=kill)
"""


def test_killed_run_survives_expiry_and_goes_on(
    tiny_cube: Cube, thermometer: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = thermometer("killed").path
    arguments = [tiny_cube.location, str(model), "killed", str(CLASS_COUNT)]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=ROOT)
    assert done.returncode == -9
    after = Cube.open(tiny_cube.location)
    assert after.snapshot == tiny_cube.snapshot and "predictions/killed" not in after.groups()
    expire(after, timedelta(0), keep=1, grace=timedelta(hours=1))

    asked: list[int] = []

    class Network:
        def predict_on_batch(self, batch: np.ndarray) -> np.ndarray:
            asked.append(len(batch))
            shares = np.zeros((*batch.shape[:3], CLASS_COUNT), np.float32)
            shares[..., 7] = shares[..., 8] = np.nan_to_num(batch[..., 0])
            shares[..., 8] += 1
            return shares

    monkeypatch.setattr(ModelFolder, "network", lambda self: Network())
    tally = PredictTally()
    predict(after, model, run="killed", tally=tally)
    resumed = sum(asked)
    assert (tally.resumed, tally.units) == (3, 4)
    predict(after, model, run="undisturbed")
    assert 0 < resumed < sum(asked) / 4
    assert_same_maps(after, "killed", "undisturbed")
    assert not leftovers(after, "killed")


def test_unfinished_work_lies_beside_a_local_cube_else_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert default_place(str(tmp_path / "a.icechunk")) == tmp_path / "a.icechunk.work"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place = default_place("s3://bucket/cubes/a")
    assert place.is_relative_to(tmp_path) and place.name == "s3_bucket_cubes_a"
