"""Experiments: what a file asks for, runs that are never repeated, and the tables they give."""

from __future__ import annotations

import csv
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cube.errors import ModelError
from cube.joint import DATA_SETS
from cube.lithology import CLASS_COUNT
from cube.store import Cube
from models.calibration import Reliability
from models.class_weights import CLASS_WEIGHTS
from pipelines.cli import app
from pipelines.evaluation import MAJORITY, MEMORISE, NETWORK, BlockCounts
from pipelines.experiment import BUILT_IN, Experiment, Part
from pipelines.experiment_outcome import Outcome, Row
from pipelines.experiment_run import Study
from pipelines.experiment_tables import headline, study_tables
from pipelines.experiment_tasks import tasks
from pipelines.published import FINAL, TABLES, study_network, study_region

RegionOf = Callable[[str], str]

SMALL: dict[str, Any] = {
    "name": "small",
    "settings": {"patch": 8, "epochs": 1, "batch_size": 64, "learning_rate": 5e-3},
    "networks": {"cnn": {"network": "small", "filters": 2}},
    "splits": {"blocks": {}, "thesis": {"kind": "thesis"}},
    "data_sets": ["thermal", "thermal+sar"],
}


def write(folder: Path, **changes: Any) -> Path:
    import tomli_w

    file = folder / "small.toml"
    file.write_text(tomli_w.dumps(SMALL | changes), encoding="utf-8")
    return file


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_experiments_ask_for_what_can_be_trained(name: str) -> None:
    experiment = Experiment.load(name)
    for preset in experiment.presets:
        runs = tasks(experiment, ["puertollano", "santa_olalla"], preset)
        assert len({task.slug for task in runs}) == len(runs)
        assert all(task.settings.network.endswith("study") == (preset == "study") for task in runs)


def test_the_thesis_covers_every_table_of_the_study() -> None:
    experiment = Experiment.load("thesis")
    assert set(experiment.data_sets) == set(DATA_SETS) == {table.data_set for table in TABLES}
    runs = tasks(experiment, ["puertollano"])
    assert {(task.network, task.data_set) for task in runs if task.split == "thesis"} == {
        (network, name) for network in ("cnn", "convlstm") for name in DATA_SETS
    }
    final = next(task for task in runs if task.variant == "final" and task.network == "cnn")
    assert final.settings.loss == "focal" and final.settings.class_weights == "puertollano"
    assert (final.settings.patch, final.settings.stride) == (32, 16)
    folds = [task for task in runs if task.split == "folds" and task.row == runs[0].row]
    assert [task.settings.split.fold for task in folds] == [0, 1, 2, 3, 4]
    radar = next(task for task in runs if task.data_set == "thermal+sar").settings
    assert radar.join[0].modality == "sar" and not radar.join[0].only_dates
    assert next(task for task in runs if task.data_set == "night").settings.time_of_day == "night"


def test_published_figures_are_those_of_the_study() -> None:
    assert [table.number for table in TABLES] == [3, 4, 5, 6, 7, 8, 9]
    assert TABLES[0].rows["Puertollano", "ConvLSTM"] == (0.7090, 0.7299)
    assert TABLES[5].rows["Villoslada", "CNN"] == (0.7010, 0.5901)
    assert TABLES[6].rows["Santa Olalla", "ConvLSTM"] == (0.6179, 0.3442)
    assert FINAL.rows["Puertollano", "ConvLSTM"] == (0.9632, 0.8499)
    assert study_region("santa_olalla") == study_region("Santa-grid-2") == "Santa Olalla"
    assert study_region("los_angeles") is None
    assert (study_network("convlstm-small"), study_network("study")) == ("ConvLSTM", "CNN")


def test_class_weights_of_the_region() -> None:
    experiment = Experiment.load("thesis")
    found = {
        task.region: task.settings.class_weights
        for task in tasks(experiment, ["villoslada", "la"], only={"variant": ["final"]})
    }
    assert found == {"villoslada": "villoslada", "la": "balanced"}
    assert "villoslada" in CLASS_WEIGHTS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_sets": ["dusk"]}, "no data set is called 'dusk'"),
        ({"network": {}}, "network: Extra inputs"),
        ({"splits": {"a b": {}}}, "cannot be the name of a folder"),
        ({"splits": {"f": {"kind": "folds", "options": {"folds": 2}}}}, "greater than or equal"),
        ({"networks": {}}, "networks: Dictionary should have at least 1 item"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_by_its_keys(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        Experiment.load(write(tmp_path, **changes))


def test_settings_that_contradict_each_other_are_named_with_their_run(tmp_path: Path) -> None:
    networks = {"lstm": {"network": "convlstm-small"}}
    experiment = Experiment.load(write(tmp_path, networks=networks))
    with pytest.raises(ModelError, match=r"(?s)lstm, thermal, split blocks.*sequence.length"):
        tasks(experiment, ["a"])
    with pytest.raises(ModelError, match="no axis 'model'"):
        tasks(Experiment.load("thesis"), ["a"], only={"model": ["cnn"]})
    with pytest.raises(ModelError, match="no run that is network mlp"):
        tasks(Experiment.load("thesis"), ["a"], only={"network": ["mlp"]})
    with pytest.raises(ModelError, match="no preset 'huge'; it has small, tiny, study"):
        tasks(Experiment.load("thesis"), ["a"], "huge")
    with pytest.raises(ModelError, match="built-in experiments are thesis and ablation"):
        Experiment.load(tmp_path / "none.toml")


def test_a_built_in_experiment_is_listed_and_copied(tmp_path: Path, region_of: RegionOf) -> None:
    region = region_of("listed")
    command = ["experiment", "show", "thesis", region, "--only", "network=cnn", "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    runs = json.loads(done.stdout)["runs"]
    assert "listed/cnn/thermal/folds/initial/fold-1" in runs
    assert not any("convlstm" in run for run in runs)
    file = tmp_path / "mine.toml"
    assert CliRunner().invoke(app, ["experiment", "copy", "thesis", str(file)]).exit_code == 0
    assert tomllib.loads(file.read_text(encoding="utf-8"))["name"] == "thesis"
    assert Experiment.load(file) == Experiment.load("thesis")
    refused = CliRunner().invoke(app, ["experiment", "run", str(file), "--out", str(tmp_path)])
    assert refused.exit_code == 2 and "names no regions" in refused.output


@pytest.mark.train
@pytest.mark.timeout(900)
def test_an_experiment_runs_resumes_and_writes_its_tables(
    tmp_path: Path, region_of: RegionOf
) -> None:
    pytest.importorskip("tensorflow", reason="needs TensorFlow: install thermocube[train]")
    region, out = region_of("puertollano_test"), tmp_path / "study"
    file = write(tmp_path, regions=[region])
    command = ["experiment", "run", str(file), "--out", str(out), "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    study = json.loads(done.stdout)
    assert (study["trained"], study["resumed"]) == (2, 0)
    assert Cube.open(region).groups() == ["labels", "thermal"], "nothing enters the cube"
    rows = {(row["data_set"], row["split"]): row for row in study["rows"]}
    # A data set that the cube has no data for is no error, and says why.
    radar = rows["thermal+sar", "blocks"]
    assert radar["status"] == "not run" and "no group 'sar'" in radar["why"]
    safe, leaky = rows["thermal", "blocks"], rows["thermal", "thesis"]
    assert safe["leak_safe"] and safe["memorise_oa"] == safe["majority_oa"]
    assert safe["network_oa_low"] <= safe["network_oa"] <= safe["network_oa_high"]
    assert not leaky["leak_safe"] and leaky["memorise_oa"] == leaky["memorise_macro_f1"] == 1

    with (out / "tables" / "table-3.csv").open(encoding="utf-8") as text:
        (first,) = list(csv.DictReader(text))
    assert first["published OA / F1"] == "0.713 / 0.674"
    assert first["memorise the place"] == "1.000 / 1.000"
    ours = f"{safe['network_oa']:.3f} / {safe['network_macro_f1']:.3f}"
    assert first["ours leak-safe OA / F1"] == ours
    page = (out / "study.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64") == 4 and "<script" not in page
    assert "looks the class up by place" in page and "no group &#39;sar&#39;" in page
    words = (out / "study.md").read_text(encoding="utf-8")
    assert "on ground never seen in training OA" in words
    assert words.index("Leak-safe scores") < words.index("Table 3 of the study")

    # Again: nothing is trained twice, and a run whose maps were cut off is mapped again.
    models = {path: path.stat().st_mtime_ns for path in out.rglob("model.keras")}
    cut = out / "runs/puertollano_test/cnn/thermal/blocks/base"
    before = Outcome.load(cut)
    (cut / "outcome.npz").write_bytes(b"half of it")
    study = json.loads(CliRunner().invoke(app, command).stdout)
    assert (study["trained"], study["resumed"]) == (1, 1)
    assert models == {path: path.stat().st_mtime_ns for path in out.rglob("model.keras")}
    after = Outcome.load(cut)
    assert before is not None and after is not None
    assert after.facts == before.facts and after.key == before.key

    # Other settings need another folder, or a word.
    write(tmp_path, regions=[region], settings=SMALL["settings"] | {"epochs": 3})
    refused = CliRunner().invoke(app, command)
    assert isinstance(refused.exception, ModelError) and "other settings" in str(refused.exception)


def outcome(right: int, *, leak_safe: bool = True, tested: slice = slice(None)) -> Outcome:
    """Of two classes in four blocks of 20 pixels, so many of each block mapped right."""
    counts = np.zeros((4, CLASS_COUNT, CLASS_COUNT), np.int64)
    counts[:, 7, 7], counts[:, 7, 8] = right, 20 - right
    majority = np.zeros_like(counts)
    majority[:, 7, 8] = 20
    mask = np.zeros((4, 4), bool)
    mask[tested] = True
    return Outcome(
        "done",
        facts={"leak_safe": leak_safe, "plan_digest": "d", "parameters": 5, "seconds": 1.0},
        blocks=BlockCounts(
            8, (0, 1, 2, 3), {NETWORK: counts, MAJORITY: majority, MEMORISE: majority}
        ),
        reliability=Reliability(np.ones(3), np.ones(3), np.ones(3)),
        maps={
            "lithology": np.full((4, 4), right, np.uint8),
            "confidence": np.ones((4, 4), np.float32),
            "tested": mask,
        },
    )


def row(split: str, variant: str, *outcomes: Outcome) -> Row:
    return Row("puertollano", "lstm", "thermal", split, variant, "", "ConvLSTM", outcomes)


def test_variants_are_compared_with_the_first_on_the_same_blocks(tmp_path: Path) -> None:
    variants = {"initial": Part(), "final": Part()}
    experiment = Experiment.load(write(tmp_path)).model_copy(update={"variants": variants})
    rows = [
        row("blocks", "initial", outcome(12)),
        row("thesis", "initial", outcome(20, leak_safe=False)),
        row("blocks", "final", outcome(15)),
        row("thesis", "final", outcome(19, leak_safe=False)),
        row("blocks", "broken", Outcome("failed", why="the loss is nan")),
    ]
    study = Study(experiment, tmp_path, {}, rows)
    tables = {table.name: table for table in study_tables(study)}
    names = ["leak-safe", "table-3", "table-10-final", "ablation", "leaky", "not-run"]
    assert list(tables) == names
    (final,) = tables["table-10-final"].rows
    assert final[:4] == ("puertollano", "lstm", "0.963 / 0.850", "0.950 / 0.974")
    (changed,) = tables["ablation"].rows
    assert changed[6:8] == ("0.750", "+0.150 [+0.150 to +0.150]")
    assert tables["not-run"].rows[0][-2:] == ("failed", "the loss is nan")
    assert len(study.failed) == 1
    (sentence,) = headline(rows)
    assert "OA 0.600" in sentence and "against 0.000" in sentence
    for table in tables.values():
        lines = table.markdown().splitlines()
        assert {line.count("|") for line in lines if line.startswith("|")} == {len(table.head) + 1}


def test_folds_are_scored_together_and_each_pixel_by_the_network_tested_on_it() -> None:
    halves = outcome(10, tested=slice(0, 2)), outcome(20, tested=slice(2, 4))
    both = row("folds", "initial", *halves)
    assert both.scores[NETWORK].oa == 0.75 and both.scores[NETWORK].pixels == 160
    assert np.unique(both.maps()["lithology"], axis=1).ravel().tolist() == [10, 10, 20, 20]
    assert both.to_dict()["folds"] == 2 and both.to_dict()["seconds"] == 2


def test_an_outcome_comes_back_from_its_file(tmp_path: Path) -> None:
    outcome(12).save(tmp_path)
    again = Outcome.load(tmp_path)
    assert again is not None and again.blocks is not None and again.reliability is not None
    expected = outcome(12)
    assert expected.blocks is not None
    for name, counts in expected.blocks.counts.items():
        np.testing.assert_array_equal(again.blocks.counts[name], counts)
    assert again.facts == expected.facts and again.reliability.ece == 0
    np.testing.assert_array_equal(again.maps["tested"], expected.maps["tested"])
    assert Outcome.load(tmp_path / "elsewhere") is None
