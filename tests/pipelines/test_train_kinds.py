"""Ways to train beyond one date in one region: sequences, several regions, folds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cube.errors import ModelError, PlanError
from cube.store import Cube
from pipelines.cli import app
from pipelines.cli_settings import parse_settings
from pipelines.cross_validate import cross_validate
from pipelines.evaluate import MAJORITY, MEMORISE, NETWORK, evaluate
from pipelines.model_folder import ModelFolder
from pipelines.predict import predict
from pipelines.recipe import TrainSettings
from pipelines.report import write_report
from pipelines.train import train

RegionOf = Callable[[str], str]

QUICK = {"patch": 8, "epochs": 1, "batch_size": 32, "learning_rate": 5e-3}
SHORT = [word for name, value in QUICK.items() for word in ("-s", f"{name}={value}")]


@pytest.mark.train
def test_convlstm_trains_maps_and_is_scored(tiny_cube: Cube, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="needs TensorFlow: install thermocube[train]")
    settings = TrainSettings.model_validate(
        QUICK
        | {
            "network": "convlstm-small",
            "sequence": {"length": 2, "stride": 1},
            "epochs": 5,
            "missing_channels": True,
            "residual": True,
            "jitter": 0.1,
            "smoothing": 0.05,
            "dice": 0.2,
        }
    )
    model = ModelFolder.load(train(tiny_cube, tmp_path / "recurrent", settings))
    assert model.recipe.network["kind"] == "convlstm" and model.recipe.network["residual"]
    assert model.sequence == 2 and model.network().input_shape == (None, 2, 8, 8, 2)
    run = predict(tiny_cube, model.path)
    result = evaluate(tiny_cube, run, model.path)
    # The first date has none before it, and so no map.
    assert len(result.per_date) == len(model.plan.times) - 1
    assert result.leak_safe and result.scores[NETWORK].oa > result.scores[MAJORITY].oa
    page = write_report(tiny_cube, tmp_path / "r.html", run=run, model=model.path)
    text = page.read_text(encoding="utf-8")
    assert "2 dates each" in text and "4 of 4 scenes selected" in text


@pytest.mark.train
def test_several_regions_are_trained_on_and_another_is_tested(
    region_of: RegionOf, tmp_path: Path
) -> None:
    pytest.importorskip("tensorflow", reason="needs TensorFlow: install thermocube[train]")
    files = {name: region_of(name) for name in ("east", "west", "north")}
    cubes = {name: Cube.open(file) for name, file in files.items()}
    settings = TrainSettings.model_validate(QUICK | {"loss": "focal"})
    with pytest.raises(PlanError, match="held out"):
        train(cubes, tmp_path / "model", settings)
    with pytest.raises(PlanError, match="only buffer and seed"):
        by_date = settings.model_copy(update={"split": settings.split.model_copy(
            update={"kind": "time"})})  # fmt: skip
        train(cubes, tmp_path / "model", by_date, held_out="west")
    with pytest.raises(PlanError, match="only one region"):
        train(cubes["east"], tmp_path / "model", settings, held_out="west")

    folder = tmp_path / "model"
    options = ["--held-out", "west", "--validation", "0.25", "-s", "loss=focal", *SHORT]
    done = CliRunner().invoke(app, ["train", *files.values(), str(folder), *options])
    assert done.exit_code == 0, done.output
    assert not list(tmp_path.glob(".model*")), "no checkpoint is left"
    model = ModelFolder.load(folder)
    assert set(model.plans) == {"east", "west", "north"}
    assert model.recipe.lineage.cube == "east+west+north"
    assert model.facts["parts"]["train"]["samples"] == sum(
        len(model.plans[name].part("train")) for name in ("east", "north")
    )
    with pytest.raises(ModelError, match="plan_of"):
        _ = model.plan

    run = predict(cubes["west"], folder)
    result = evaluate(cubes["west"], run, folder)
    assert result.leak_safe and "the whole region for test" in result.split
    assert result.scores[MEMORISE] == result.scores[MAJORITY]
    truth = cubes["west"].dataset("labels").lithology.values
    mapped = cubes["west"].dataset(f"predictions/{run}").lithology.values
    scored = model.plan_of("west").mask("test") & (truth > 0) & (mapped > 0)
    assert result.scores[NETWORK].pixels == scored.sum()
    page = write_report(cubes["west"], tmp_path / "r.html", run=run, model=folder)
    assert "the whole region for test" in page.read_text(encoding="utf-8")

    predict(cubes["east"], folder)
    with pytest.raises(ModelError, match="no test part in region 'east'"):
        evaluate(cubes["east"], run, folder)
    page = write_report(cubes["east"], tmp_path / "e.html", run=run, model=folder)
    assert "no test part in this region" in page.read_text(encoding="utf-8")


@pytest.mark.train
def test_anomalies_are_what_a_network_is_trained_on_and_maps(
    tiny_cube: Cube, tmp_path: Path
) -> None:
    pytest.importorskip("tensorflow", reason="needs TensorFlow: install thermocube[train]")
    settings = parse_settings([word for word in SHORT if word != "-s"] + ['anomalies=["lst"]'])
    model = ModelFolder.load(train(tiny_cube, tmp_path / "relative", settings))
    level = dict(zip(model.recipe.bands, model.recipe.normalisation.mean, strict=True))
    assert abs(level["lst"]) < 10 and level["emissivity"] > 0.5
    run = predict(tiny_cube, model.path)
    assert evaluate(tiny_cube, run, model.path).scores[NETWORK].pixels > 0


@pytest.mark.train
def test_every_block_is_tested_once_over_the_folds(region_of: RegionOf, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="needs TensorFlow: install thermocube[train]")
    file = region_of("folded")
    cube, settings = Cube.open(file), TrainSettings.model_validate(QUICK)
    epochs: list[tuple[int, int]] = []
    result = cross_validate(
        cube,
        tmp_path / "cv",
        settings,
        folds=3,
        on_epoch=lambda fold, epoch, logs: epochs.append((fold, epoch)),
    )
    assert epochs == [(1, 1), (2, 1), (3, 1)]
    models = [ModelFolder.load(tmp_path / "cv" / f"fold-{n}") for n in (1, 2, 3)]
    covered = np.sum([model.plan.mask("test").astype(int) for model in models], axis=0)
    assert covered.max() == 1 and len({model.plan.snapshot for model in models}) == 1
    assert result.scores[NETWORK].pixels == sum(
        fold.scores[NETWORK].pixels for fold in result.folds
    )
    confusion = sum(fold.confusion for fold in result.folds)
    np.testing.assert_array_equal(result.blocks.counts[NETWORK].sum(axis=0), confusion)
    low, high = result.blocks.intervals[NETWORK]["oa"][1:]
    assert low <= result.scores[NETWORK].oa <= high
    maps = result.all_dates[NETWORK]
    assert maps.pixels == sum(fold.all_dates[NETWORK].pixels for fold in result.folds)
    assert maps.pixels < result.scores[NETWORK].pixels
    low, high = result.map_blocks.intervals[NETWORK]["oa"][1:]
    assert low <= maps.oa <= high
    stored = json.loads((tmp_path / "cv" / "scores.json").read_text(encoding="utf-8"))
    assert stored == json.loads(json.dumps(result.to_dict()))

    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "cv").glob("fold-*/*")}
    command = ["train", file, str(tmp_path / "cv"), "--folds", "3", *SHORT]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "every block of ground tested once" in done.stdout and "fold 3" in done.stdout
    assert "The maps over all dates" in done.stdout
    after = {file: file.stat().st_mtime_ns for file in (tmp_path / "cv").glob("fold-*/*")}
    assert after == before, "nothing is trained twice"
    with pytest.raises(ModelError, match="other settings"):
        cross_validate(cube, tmp_path / "cv", settings, folds=4)
