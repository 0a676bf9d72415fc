"""Scores that are right, and that say what they are worth."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from rich.console import Console

from cube.errors import ModelError, SelectionError
from cube.store import Cube
from models.metrics import confusion, scores
from pipelines.evaluate import MAJORITY, MEMORISE, NETWORK, PREDICTORS, evaluate
from pipelines.model_folder import ModelFolder
from pipelines.predict import predict
from pipelines.scorecard import format_evaluation

WriteModel = Callable[..., ModelFolder]


class Lopsided:
    """Says class 7 for all patches whose pixels are warmer than 298.5 K, else class 8."""

    def predict_on_batch(self, batch: np.ndarray) -> np.ndarray:
        shares = np.zeros((*batch.shape[:3], 14), np.float32)
        warm = np.nan_to_num(batch[..., 0]) > 298.5
        shares[..., 7], shares[..., 8] = warm, ~warm
        return shares


def test_perfect_maps_score_one_beside_baselines_that_do_not(
    tiny_cube: Cube, thermometer: WriteModel
) -> None:
    model = thermometer("perfect")
    result = evaluate(tiny_cube, predict(tiny_cube, model.path), model.path)
    assert set(result.scores) == set(result.all_dates) == set(PREDICTORS)
    assert result.scores[NETWORK].oa == 1.0 and result.all_dates[NETWORK].macro_f1 == 1.0
    assert result.leak_safe and result.headline is result.scores[NETWORK]
    # No test place was seen in training, so remembering places is worth the majority class.
    assert result.scores[MEMORISE] == result.scores[MAJORITY]
    assert result.scores[MAJORITY].oa < 0.6
    assert len({score.pixels for score in result.scores.values()}) == 1


def test_figures_equal_those_computed_at_once_from_all_pixels(
    tiny_cube: Cube, thermometer: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = thermometer("lopsided")
    monkeypatch.setattr(ModelFolder, "network", lambda self: Lopsided())
    run = predict(tiny_cube, model.path)
    result = evaluate(tiny_cube, run, model.path)

    maps = tiny_cube.dataset(f"predictions/{run}").load()
    truth = tiny_cube.dataset("labels").lithology.values
    counted = model.plan.mask("test") & (maps.lithology.values > 0) & (truth > 0)
    every_truth = np.broadcast_to(truth, counted.shape)
    expected = confusion(every_truth[counted], maps.lithology.values[counted], 14)
    np.testing.assert_array_equal(result.confusion, expected)
    assert result.scores[NETWORK] == scores(expected)
    assert 0 < result.scores[NETWORK].oa < 1
    assert sum(date.scores.pixels for date in result.per_date) == expected.sum()
    assert [date.time for date in result.per_date] == list(maps.time.values)

    flat = model.plan.mask("test") & (maps.lithology_all.values > 0) & (truth > 0)
    expected = confusion(truth[flat], maps.lithology_all.values[flat], 14)
    assert result.all_dates[NETWORK] == scores(expected)

    trained = np.bincount(
        np.broadcast_to(truth, counted.shape)[model.plan.mask("train") & (maps.lithology > 0)]
    )
    trained[0] = 0
    majority = int(trained.argmax())
    assert result.scores[MAJORITY].oa == np.mean(every_truth[counted] == majority)


def test_intervals_groups_and_calibration_add_up_to_the_scores(
    tiny_cube: Cube, thermometer: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = thermometer("parts")
    monkeypatch.setattr(ModelFolder, "network", lambda self: Lopsided())
    result = evaluate(tiny_cube, predict(tiny_cube, model.path), model.path)
    total, blocks = result.scores[NETWORK], result.blocks
    assert blocks.side == 8 and len(blocks.numbers) > 1
    for name in PREDICTORS:
        estimate, low, high = blocks.intervals[name]["oa"]
        assert estimate == pytest.approx(result.scores[name].oa) and low <= estimate <= high
    assert blocks.intervals[NETWORK]["oa"].low < blocks.intervals[NETWORK]["oa"].high
    lead = blocks.lead[MAJORITY]["oa"]
    assert lead.estimate == pytest.approx(total.oa - result.scores[MAJORITY].oa)
    assert set(blocks.class_intervals) == {row.code for row in total.per_class if row.support}

    assert set(result.groups) == {"time of day", "season"}
    for members in result.groups.values():
        assert sum(score.pixels for score in members.values()) == total.pixels
    # Scenes of January and September are of the winter half of the year.
    assert sorted(result.groups["season"]) == ["summer", "winter"]

    # It is always sure, and right on a part of the pixels only.
    assert result.reliability.pixels.sum() == total.pixels
    assert result.reliability.ece == pytest.approx(1 - total.oa, abs=1e-6)
    assert result.reliability.overconfidence == pytest.approx(1 - total.oa, abs=1e-6)
    text = _printed(result)
    assert "95 % intervals" in text and "network less majority class" in text
    assert "expected calibration error" in text and "by season" in text
    document = result.to_dict()
    assert document["intervals"]["scores"][NETWORK]["oa"] == list(
        blocks.intervals[NETWORK]["oa"][1:]
    )
    assert document["calibration"]["ece"] == result.reliability.ece

    mapped = result.map_blocks
    assert mapped.side == 8 and mapped.numbers == blocks.numbers
    estimate, low, high = mapped.intervals[NETWORK]["oa"]
    assert estimate == pytest.approx(result.all_dates[NETWORK].oa) and low <= estimate <= high
    assert document["all_dates_intervals"]["scores"][NETWORK]["oa"] == [low, high]


def test_split_by_date_is_called_leaky_and_has_no_headline(
    tiny_cube: Cube, thermometer: WriteModel
) -> None:
    """Defect 8: under a split by date, looking the class up by place scores 1."""
    model = thermometer("leaky", split={"kind": "time", "fractions": (0.5, 0.25, 0.25)})
    result = evaluate(tiny_cube, predict(tiny_cube, model.path), model.path)
    assert not result.leak_safe and "LEAKY" in result.split and result.headline is None
    assert result.scores[MEMORISE].oa == 1.0
    assert [date.time for date in result.per_date] == list(model.plan.times_of("test"))
    assert result.to_dict()["headline"] is None
    assert "not leak-safe" in _printed(result)


def test_terminal_tables_show_network_and_baselines_side_by_side(
    tiny_cube: Cube, thermometer: WriteModel
) -> None:
    model = thermometer("printed")
    text = _printed(evaluate(tiny_cube, predict(tiny_cube, model.path), model.path))
    for words in ("network", "majority class", "memorise the place", "kappa", "Detritic"):
        assert words in text
    assert "leak-safe split" in text


def test_evaluation_is_ready_for_json(tiny_cube: Cube, thermometer: WriteModel) -> None:
    model = thermometer("json")
    result = evaluate(tiny_cube, predict(tiny_cube, model.path), model.path)
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert document["scores"][NETWORK]["oa"] == document["headline"]["oa"] == 1.0
    assert np.array(document["confusion"]).sum() == result.scores[NETWORK].pixels
    assert document["per_date"][0]["time"] == "2024-01-05T00:00:00Z"
    assert document["model_digest"] == model.digest


def test_runs_models_and_cubes_that_do_not_belong_together_are_refused(
    tiny_cube: Cube, thermometer: WriteModel
) -> None:
    first, second = thermometer("first"), thermometer("second", min_valid=0.6)
    run = predict(tiny_cube, first.path)
    with pytest.raises(ModelError, match="made with model 'first'"):
        evaluate(tiny_cube, run, second.path)
    with pytest.raises(SelectionError, match="no run 'nowhere'"):
        evaluate(tiny_cube, "nowhere", first.path)
    with pytest.raises(ModelError, match="no model folder"):
        evaluate(tiny_cube, run, first.path.parent / "nowhere")


def test_run_without_the_plans_dates_has_nothing_to_score(
    tiny_cube: Cube, thermometer: WriteModel
) -> None:
    model = thermometer("dates")
    run = predict(tiny_cube, model.path)
    group = f"predictions/{run}"
    later = tiny_cube.dataset(group, chunks=None).load()
    later = later.assign_coords(time=later.time + np.timedelta64(1, "D")).drop_encoding()
    with tiny_cube.transaction("move the run to other dates", {}) as change:
        change.write(group, later)
    with pytest.raises(ModelError, match="plan"):
        evaluate(tiny_cube, run, model.path)


def _printed(result: object) -> str:
    console = Console(width=160, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(format_evaluation(result))  # type: ignore[arg-type]
    return capture.get()
