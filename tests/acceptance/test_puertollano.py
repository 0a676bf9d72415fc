"""The study's own pixels of Puertollano: NetCDF in, labels, splits, and the whole loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import cube
from cube.ledger import Status
from cube.quality import Flag, is_valid
from cube.region import Region
from cube.sampling import SamplePlan, SplitSettings, make_plan
from cube.store import Cube
from models.baselines import Majority, MemorisePlace
from models.metrics import confusion, scores
from pipelines.ingest import ingest

SHAPE = (256, 384)
LEFT, TOP = 396880.0, 4299300.0
UNDATED = ("0018", "0026", "0029")
PLACE = {
    "crs": "est_crs",
    "upper_left": ["est_upper_left_x", "est_upper_left_y"],
    "pixel_size": "pixel_size_m",
}

WriteRegion = Callable[..., Region]


def tables(file: Path, end: date, *bands: str, **mapping: str) -> dict[str, Any]:
    """The study's file from 2019 on, with bands of the cube mapped to its own."""
    return {
        "name": "puertollano",
        "area": {
            "bounds": [LEFT, TOP - 70 * SHAPE[0], LEFT + 70 * SHAPE[1], TOP],
            "crs": "EPSG:32630",
            "resolution": 70.0,
        },
        "period": {"start": date(2019, 1, 1), "end": end},
        "modalities": {"thermal": {"bands": list(bands), "max_cloud": 1.0, "max_bad": 1.0}},
        "sources": [
            {
                "kind": "netcdf",
                "name": "study",
                "path": str(file),
                "platform": "ISS",
                "variable": "thermal",
                "bands": mapping,
                "time": "datetime_utc",
                "placement": PLACE,
                "flags": {
                    "variable": "valid_flag",
                    "values": {"1": "poor_quality", "2": "missing", "3": "missing"},
                },
            }
        ],
        "labels": {"path": str(file), "variable": "labels", "placement": PLACE},
    }


@pytest.fixture(scope="module")
def file(real: Callable[[str], Path]) -> Path:
    return real("thesis_puertollano.nc")


@pytest.fixture(scope="module")
def study(file: Path) -> xr.Dataset:
    """What the file holds, read by xarray alone."""
    names = ["thermal", "valid_flag", "labels", "datetime_utc"]
    with xr.open_dataset(file, engine="h5netcdf") as dataset:
        return dataset[names].load()


@pytest.fixture(scope="module")
def opened(file: Path, write_region: WriteRegion, tmp_path_factory: pytest.TempPathFactory) -> Cube:
    """To March 2020: 19 dates, four of them the second granule of a pass."""
    folder = tmp_path_factory.mktemp("puertollano")
    mapping = {"lst_err": "LST_err", "emissivity": "EmisWB"}
    region = write_region(
        folder, **tables(file, date(2020, 3, 31), "lst_err", "emissivity", **mapping)
    )
    report = ingest(region)
    assert not report.failures and report.labels == "label map written"
    return cube.open(region)


@pytest.fixture(scope="module")
def thermal(opened: Cube) -> xr.Dataset:
    return opened.dataset("thermal", chunks=None).load()


@pytest.fixture(scope="module")
def labels(opened: Cube) -> xr.Dataset:
    return opened.dataset("labels", chunks=None).load()


def steps_of(scene: xr.Dataset) -> list[int]:
    """The file's time steps that a scene was made of."""
    return [int(name.split(":")[1]) for name in str(scene["granules"].item()).split()]


def test_pixels_are_those_of_the_file(thermal: xr.Dataset, study: xr.Dataset) -> None:
    """Defects 1 and 2: band by name, dimensions by name, nothing moved."""
    assert thermal["band"].values.tolist() == ["lst_err", "emissivity"]
    for index in range(thermal.sizes["time"]):
        scene = thermal.isel(time=index)
        steps = steps_of(scene)
        flags = study["valid_flag"].isel(time=steps).values
        source = study["thermal"].isel(time=steps).sel(band=["LST_err", "EmisWB"])
        # The first granule of the pass in which the pixel is valid.
        first = (flags == 0).argmax(axis=0)
        expected = np.take_along_axis(source.values, first[None, None], axis=0)[0]
        valid = (flags == 0).any(axis=0)
        np.testing.assert_array_equal(is_valid(scene["qc"].values), valid)
        found = scene["imagery"].values
        np.testing.assert_array_equal(found[:, valid], expected[:, valid].astype(np.float32))
        assert np.isnan(found[:, ~valid]).all()


def test_labels_are_those_of_the_file(labels: xr.Dataset, study: xr.Dataset) -> None:
    expected = study["labels"].fillna(0).values.astype(np.uint8)
    np.testing.assert_array_equal(labels["lithology"].values, expected)
    assert ((labels["weight"].values > 0) <= (expected > 0)).all()
    assert labels["x"].values[0] == LEFT + 35 and labels["y"].values[0] == TOP - 35


def test_passes_seconds_apart_are_one_scene(thermal: xr.Dataset, study: xr.Dataset) -> None:
    """Defect 16: adjacent granules of one pass, one and 52 s apart, stood as two dates."""
    dates = study["datetime_utc"].values
    dates = dates[(dates >= np.datetime64("2019-01-01")) & (dates < np.datetime64("2020-04-01"))]
    gaps = np.diff(np.sort(dates)) / np.timedelta64(1, "s")
    assert sorted(gaps[gaps <= 120]) == [1, 1, 52, 52]
    assert thermal.sizes["time"] == len(dates) - 4
    assert (np.diff(thermal["time"].values) > np.timedelta64(120, "s")).all()
    pairs = [ids.split() for ids in thermal["granules"].values if " " in ids]
    assert [len(pair) for pair in pairs] == [2, 2, 2, 2]


def test_steps_without_a_date_are_in_the_ledger(opened: Cube) -> None:
    undated = [row for row in opened.ledger if row.time is None]
    assert [row.granule for row in undated] == [f"thesis_puertollano:{n}" for n in UNDATED]
    for row in undated:
        assert (row.status, row.rule) == (Status.REJECTED, "incomplete")
        assert "no acquisition time" in row.reason and "NaT" in row.reason


def test_poor_and_missing_pixels_keep_their_reason(thermal: xr.Dataset, study: xr.Dataset) -> None:
    for index in range(thermal.sizes["time"]):
        scene = thermal.isel(time=index)
        steps = steps_of(scene)
        if len(steps) > 1:
            continue
        flag, qc = study["valid_flag"].values[steps[0]], scene["qc"].values
        np.testing.assert_array_equal(scene["product_qc"].values, flag)
        np.testing.assert_array_equal((qc & Flag.POOR_QUALITY) != 0, flag == 1)
        np.testing.assert_array_equal((qc & Flag.MISSING) != 0, np.isin(flag, (2, 3)))


def test_uncertainty_mapped_as_temperature_never_gets_in(
    file: Path, write_region: WriteRegion, tmp_path: Path
) -> None:
    """Defect 1, the study's own: LST_err, about 1 K, taken for LST."""
    wrong = tables(file, date(2019, 4, 30), "lst", "emissivity", lst="LST_err", emissivity="EmisWB")
    region = write_region(tmp_path, **wrong)
    report = ingest(region)
    assert report.ledger["ingested"] == 0 and report.ledger["failed"] == len(report.failures) > 3
    refused = cube.open(region)
    assert refused.dataset("thermal", chunks=None).sizes["time"] == 0
    for row in refused.ledger:
        if row.time is not None:
            assert (row.status, row.rule) == (Status.FAILED, "wrong_layer")
            assert "'lst'" in row.reason and "170 to 380 K" in row.reason


# --- splits and what they are worth -----------------------------------------------------------


def parts_seen(plan: SamplePlan, thermal: xr.Dataset, part: Any) -> np.ndarray:
    """How often each pixel is valid on a date of a part, counted straight from the cube."""
    valid = is_valid(thermal.sel(time=plan.times_of(part))["qc"].values)
    return np.where(plan.mask(part), valid.sum(axis=0), 0)


def baseline_scores(
    plan: SamplePlan, thermal: xr.Dataset, labels: xr.Dataset
) -> dict[str, tuple[float, float]]:
    """OA and macro F1 on the test part of two predictors that see no image."""
    truth = labels["lithology"].values
    seen = parts_seen(plan, thermal, "train")
    valid = is_valid(thermal.sel(time=plan.times_of("test"))["qc"].values)
    test = plan.mask("test") & (truth > 0) & valid
    stack = np.broadcast_to(truth, test.shape)
    result = {}
    for name, guess in (
        ("majority", Majority.fit(truth, seen).predict(truth.shape)),
        ("memorise_place", MemorisePlace.fit(truth, seen).predict()),
    ):
        found = scores(confusion(stack, np.broadcast_to(guess, test.shape), 14, valid=test))
        result[name] = (found.oa, found.macro_f1)
    return result


def test_under_the_studys_split_the_place_gives_the_class_away(
    thermal: xr.Dataset, labels: xr.Dataset
) -> None:
    """Defect 8: OA 1.000 without looking at the image; the majority class has about .62."""
    plan = make_plan(
        thermal, labels, patch=64, stride=64, split=SplitSettings(kind="thesis"), min_valid=0.1
    )
    assert plan.leaky and "does not change with time" in plan.leak_reason
    assert plan.times_of("train").max() < plan.times_of("test").min()
    found = baseline_scores(plan, thermal, labels)
    assert found["memorise_place"] == (1.0, 1.0)
    assert found["majority"][0] == pytest.approx(0.62, abs=0.03)
    assert found["majority"][1] < 0.10
    summary = plan.summary["baselines"]
    assert summary["memorise_place"]["oa"] == 1.0
    assert summary["majority"]["oa"] == pytest.approx(0.62, abs=0.03)


def test_under_spatial_blocks_remembering_places_is_worth_no_more_than_the_majority(
    thermal: xr.Dataset, labels: xr.Dataset
) -> None:
    plan = make_plan(thermal, labels, patch=32, stride=32, split=SplitSettings(), min_valid=0.3)
    assert not plan.leaky
    found = baseline_scores(plan, thermal, labels)
    assert found["memorise_place"] == found["majority"]
    summary = plan.summary
    assert summary["baselines"]["memorise_place"] == summary["baselines"]["majority"]
    for one, other in (("train", "test"), ("train", "val"), ("val", "test")):
        nearest = _gap(plan.mask(one), plan.mask(other))
        assert nearest > 32, f"{one} and {other} are {nearest - 1} px apart"
    codes = set(np.unique(labels["lithology"].values)) - {0}
    assert {int(code) for code in summary["parts"]["test"]["class_shares"]} <= codes
    assert len(summary["parts"]["train"]["class_shares"]) >= 3


def _gap(one: np.ndarray, other: np.ndarray) -> int:
    """Chessboard distance between two masks, pixels."""
    from scipy.ndimage import distance_transform_cdt

    return int(distance_transform_cdt(~other, metric="chessboard")[one].min())


# --- the whole loop ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Loop:
    evaluation: Any
    maps: xr.Dataset
    plan: SamplePlan


@pytest.fixture(scope="module")
def loop(opened: Cube, tmp_path_factory: pytest.TempPathFactory) -> Loop:
    pytest.importorskip("tensorflow", reason="needs TensorFlow: install thermocube[train]")
    from pipelines.evaluate import evaluate
    from pipelines.model_folder import ModelFolder
    from pipelines.predict import predict
    from pipelines.recipe import TrainSettings
    from pipelines.train import train

    model = tmp_path_factory.mktemp("models") / "unet"
    train(opened, model, TrainSettings(patch=32, epochs=2, min_valid=0.3, seed=1))
    run = predict(opened, model, stride=32)
    result = evaluate(opened, run, model)
    maps = opened.dataset(f"predictions/{run}", chunks=None).load()
    return Loop(result, maps, ModelFolder.load(model).plan)


@pytest.mark.train
@pytest.mark.slow
def test_every_date_has_a_map_of_class_and_confidence(loop: Loop, thermal: xr.Dataset) -> None:
    np.testing.assert_array_equal(loop.maps["time"].values, thermal["time"].values)
    lithology, confidence = loop.maps["lithology"].values, loop.maps["confidence"].values
    valid = np.isfinite(thermal["imagery"].values).all(axis=1)
    np.testing.assert_array_equal(lithology > 0, valid)
    np.testing.assert_array_equal(np.isfinite(confidence), valid)
    assert confidence[valid].min() > 1 / 14 and confidence[valid].max() <= 1
    taught = {int(code) for code in loop.plan.summary["parts"]["train"]["class_shares"]}
    assert set(np.unique(lithology[valid])) <= taught


@pytest.mark.train
@pytest.mark.slow
def test_the_scores_are_those_of_scikit_learn(loop: Loop, labels: xr.Dataset) -> None:
    from sklearn import metrics

    result, truth = loop.evaluation, labels["lithology"].values
    assert result.leak_safe and result.headline is result.scores["network"]
    maps = loop.maps.sel(time=loop.plan.times_of("test"))["lithology"].values
    counted = (loop.plan.mask("test") & (truth > 0)) & (maps > 0)
    said, true = maps[counted], np.broadcast_to(truth, maps.shape)[counted]
    classes = np.arange(14)
    np.testing.assert_array_equal(
        result.confusion, metrics.confusion_matrix(true, said, labels=classes)
    )
    network = result.scores["network"]
    present = np.unique(true)
    f1 = metrics.f1_score(true, said, labels=present, average="macro", zero_division=0)
    recall = metrics.recall_score(true, said, labels=present, average="macro", zero_division=0)
    assert network.pixels == result.confusion.sum() == counted.sum() > 10_000
    assert network.oa == pytest.approx(metrics.accuracy_score(true, said))
    assert network.kappa == pytest.approx(metrics.cohen_kappa_score(true, said))
    assert network.macro_f1 == pytest.approx(f1) and network.aa == pytest.approx(recall)
    dates = sum(date.scores.pixels for date in result.per_date)
    assert dates == network.pixels
    for row in network.per_class:
        assert row.support == (true == row.code).sum()


@pytest.mark.train
@pytest.mark.slow
def test_both_baselines_stand_beside_the_network_on_the_same_pixels(
    loop: Loop, thermal: xr.Dataset, labels: xr.Dataset
) -> None:
    result = loop.evaluation
    assert len({value.pixels for value in result.scores.values()}) == 1
    found = baseline_scores(loop.plan, thermal, labels)
    for name, ours in (("majority", "majority class"), ("memorise_place", "memorise the place")):
        expected = (result.scores[ours].oa, result.scores[ours].macro_f1)
        assert found[name] == pytest.approx(expected)
    assert result.scores["memorise the place"].oa < 0.9
