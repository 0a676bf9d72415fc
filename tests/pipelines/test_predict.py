"""Maps in the cube: whole, traceable, and independent of how they were worked through."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from cube.errors import ModelError, SelectionError, StoreError
from cube.lithology import CLASS_COUNT
from cube.store import Cube
from pipelines.model_folder import ModelFolder
from pipelines.predict import PredictTally, decide, predict, taught_classes

WriteModel = Callable[..., ModelFolder]


class Thermometer:
    """Reads the class off the temperature, as the tiny cube's truth has it."""

    def predict_on_batch(self, batch: np.ndarray) -> np.ndarray:
        guess = np.clip(np.rint(np.nan_to_num(batch[..., 0], nan=298.0) - 290.0), 1, 13)
        return (np.arange(CLASS_COUNT) == guess[..., None]).astype(np.float32)


def test_maps_hold_the_class_and_nodata_exactly_where_the_input_is_invalid(
    tiny_cube: Cube, thermometer: WriteModel
) -> None:
    run = predict(tiny_cube, thermometer("plain").path, probability=True)
    assert run == "plain"
    maps = tiny_cube.dataset(f"predictions/{run}").load()
    imagery = tiny_cube.dataset("thermal").imagery.load()
    valid = np.isfinite(imagery).all("band").to_numpy()
    truth = tiny_cube.dataset("labels").lithology.to_numpy()

    assert maps.lithology.dtype == np.uint8 and maps.confidence.dtype == np.float32
    np.testing.assert_array_equal(maps.lithology > 0, valid)
    np.testing.assert_array_equal(np.isfinite(maps.confidence), valid)
    seen = valid & (truth > 0)
    np.testing.assert_array_equal(
        maps.lithology.values[seen], np.broadcast_to(truth, seen.shape)[seen]
    )
    np.testing.assert_array_equal(maps.time, imagery.time)
    np.testing.assert_array_equal(maps.y, imagery.y)
    np.testing.assert_array_equal(maps["class"], np.arange(1, CLASS_COUNT))

    # The network gives class 0 a share of 0.6, the class it sees 0.3, and the other twelve 0.1
    # together; what remains of these are the two others of the three classes in the training part.
    expected = 0.3 / (0.3 + 2 * 0.1 / 12)
    np.testing.assert_allclose(maps.confidence.values[seen].max(), expected, rtol=1e-5)
    assert set(np.unique(maps.lithology)) == {0, 7, 8, 9}
    np.testing.assert_allclose(maps.probability.sum("class").values[valid], 1, rtol=1e-5)
    assert np.isnan(maps.probability.values[:, 0][~valid]).all()


def test_map_over_all_dates_is_the_mean_of_probabilities_of_valid_dates(
    tiny_cube: Cube, thermometer: WriteModel
) -> None:
    run = predict(tiny_cube, thermometer("mean").path, probability=True)
    maps = tiny_cube.dataset(f"predictions/{run}").load()
    mean = maps.probability.mean("time")  # leaves NaN out
    np.testing.assert_allclose(maps.confidence_all, mean.max("class"), rtol=1e-5)
    never = mean.isnull().all("class")
    assert (maps.lithology_all.values[never.values] == 0).all()
    assert (maps.lithology_all.values[~never.values] > 0).all()
    # The corner is outside the swath on some dates, and mapped from the others.
    assert never.sum() > 0 and (~maps.lithology.astype(bool).all("time") & ~never).sum() > 0


def test_result_does_not_depend_on_batches_nor_on_chunks(
    tiny_cube: Cube, thermometer: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = thermometer("batches").path
    predict(tiny_cube, model, run="large", batch_size=64, probability=True)
    monkeypatch.setattr("pipelines.inference_plan.CHUNK", 64)
    predict(tiny_cube, model, run="small", batch_size=3, probability=True)
    large, small = (tiny_cube.dataset(f"predictions/{run}").load() for run in ("large", "small"))
    for name in large.data_vars:
        np.testing.assert_allclose(small[name], large[name], atol=1e-6, err_msg=str(name))


def test_run_can_be_traced_from_its_attributes_and_its_commit(
    tiny_cube: Cube, thermometer: WriteModel
) -> None:
    model = thermometer("traced")
    before = tiny_cube.snapshot
    predict(tiny_cube, model.path, run="traced")
    lineage = {
        "run": "traced",
        "model": "traced",
        "model_digest": model.digest,
        "training_cube": "tiny",
        "training_snapshot": model.recipe.lineage.snapshot,
        "input_snapshot": before,
        "plan_digest": model.plan.digest,
    }
    commit = tiny_cube.history()[0]
    assert commit.metadata.items() >= lineage.items() and "code" in commit.metadata
    assert "traced" in commit.message
    maps = tiny_cube.dataset("predictions/traced")
    assert maps.attrs.items() >= lineage.items()
    assert maps.lithology.attrs["flag_meanings"].split()[7] == "detritic"
    assert list(maps.lithology.attrs["flag_values"]) == list(range(CLASS_COUNT))


def test_run_of_the_same_name_is_replaced_only_when_asked(
    tiny_cube: Cube, thermometer: WriteModel
) -> None:
    model = thermometer("again").path
    predict(tiny_cube, model, probability=True)
    before = tiny_cube.snapshot
    with pytest.raises(StoreError, match="overwriting") as caught:
        predict(tiny_cube, model)
    assert caught.value.kind == "run_exists"
    assert Cube.open(tiny_cube.location).snapshot == before
    predict(tiny_cube, model, overwrite=True)
    assert "probability" not in tiny_cube.dataset("predictions/again")


def test_progress_counts_every_scene_on_every_window(
    tiny_cube: Cube, thermometer: WriteModel
) -> None:
    steps: list[tuple[int, int]] = []
    model = thermometer("progress").path
    predict(tiny_cube, model, on_scene=lambda done, total: steps.append((done, total)))
    assert steps == [(4, 8), (8, 8)]  # four dates at once on two windows


def test_tally_says_what_was_done(tiny_cube: Cube, thermometer: WriteModel) -> None:
    tally = PredictTally()
    before = tiny_cube.snapshot
    predict(tiny_cube, thermometer("tally").path, entropy=True, tally=tally)
    assert (tally.run, tally.snapshot) == ("tally", before)
    assert (tally.scenes, tally.mapped, tally.units, tally.resumed) == (4, 4, 2, 0)
    # Class, confidence and entropy of four dates and two chunks; the maps over all dates.
    assert tally.chunks == 3 * 4 * 2 + 2 * 2
    assert tally.seconds > 0 and tally.to_dict()["scenes"] == 4


def test_entropy_is_that_of_the_probabilities(tiny_cube: Cube, thermometer: WriteModel) -> None:
    run = predict(tiny_cube, thermometer("entropy").path, probability=True, entropy=True)
    maps = tiny_cube.dataset(f"predictions/{run}").load()
    shares = maps.probability.transpose("time", "y", "x", "class").values
    expected = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(-1)
    np.testing.assert_allclose(maps.entropy, expected, atol=1e-5)
    np.testing.assert_array_equal(np.isnan(maps.entropy), maps.lithology == 0)


def test_options_that_make_no_sense_are_refused(tiny_cube: Cube, thermometer: WriteModel) -> None:
    model = thermometer("options").path
    for wrong in ({"mc_dropout": 1}, {"mc_dropout": -1}, {"batch_size": 0}, {"step": 2}):
        with pytest.raises(ModelError):
            predict(tiny_cube, model, **wrong)


class Film:
    """Takes sequences of three dates; the class is that of the first date's temperature."""

    def predict_on_batch(self, batch: np.ndarray) -> np.ndarray:
        assert batch.ndim == 5 and batch.shape[1] == 3
        return Thermometer().predict_on_batch(batch[:, 0])


@pytest.mark.parametrize(("step", "mapped"), [(1, [2, 3]), (2, [2])])
def test_network_of_sequences_maps_the_last_date_of_each(
    tiny_cube: Cube,
    thermometer: WriteModel,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    mapped: list[int],
) -> None:
    model = thermometer(f"film-{step}").path
    monkeypatch.setattr(ModelFolder, "network", lambda self: Film())
    monkeypatch.setattr(ModelFolder, "sequence", 3)
    monkeypatch.setattr("pipelines.inference.DATES", 3)
    tally = PredictTally()
    run = predict(tiny_cube, model, step=step, tally=tally)
    assert tally.mapped == len(mapped)
    maps = tiny_cube.dataset(f"predictions/{run}").load()
    imagery = tiny_cube.dataset("thermal").imagery.load()
    valid = np.isfinite(imagery).all("band").to_numpy()
    truth = tiny_cube.dataset("labels").lithology.to_numpy()
    for date in range(4):
        found = maps.lithology.values[date]
        if date not in mapped:
            assert (found == 0).all() and np.isnan(maps.confidence.values[date]).all()
            continue
        np.testing.assert_array_equal(found > 0, valid[date - 2 : date + 1].any(0))
        seen = valid[date - 2] & (truth > 0)
        np.testing.assert_array_equal(found[seen], truth[seen])
    assert maps.attrs["sequence"] == 3 and maps.attrs["sequence_step"] == step


def test_only_the_recipes_selection_is_mapped(tiny_cube: Cube, thermometer: WriteModel) -> None:
    split = {"kind": "blocks"}
    run = predict(tiny_cube, thermometer("night", time_of_day="night", split=split).path)
    hours = tiny_cube.dataset(f"predictions/{run}").time.dt.hour
    assert set(hours.values.tolist()) == {0}


def test_bands_reach_the_network_by_name_in_the_recipes_order(
    tiny_cube: Cube, thermometer: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Defect 2: arrays were reshaped by position, and pixels and bands were scrambled."""
    seen: list[np.ndarray] = []

    class Watching:
        def predict_on_batch(self, batch: np.ndarray) -> np.ndarray:
            seen.append(np.nanmean(batch, axis=(0, 1, 2)))
            return np.ones((*batch.shape[:3], CLASS_COUNT), np.float32)

    monkeypatch.setattr(ModelFolder, "network", lambda self: Watching())
    predict(tiny_cube, thermometer("swapped", bands=("emissivity", "lst")).path)
    assert all(0.9 < emissivity < 1 and lst > 290 for emissivity, lst in seen)


def test_cube_that_lacks_the_recipes_bands_is_refused(
    tiny_cube: Cube, thermometer: WriteModel
) -> None:
    model = thermometer("bands")
    recipe = (model.path / "recipe.toml").read_text(encoding="utf-8")
    (model.path / "recipe.toml").write_text(recipe.replace('"emissivity"', '"lst_err"'), "utf-8")
    with pytest.raises(SelectionError, match="lst_err"):
        predict(tiny_cube, model.path)


def test_network_that_gives_nan_is_refused(
    tiny_cube: Cube, thermometer: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def predict_on_batch(self, batch: np.ndarray) -> np.ndarray:
            return np.full((*batch.shape[:3], CLASS_COUNT), np.nan, np.float32)

    model = thermometer("nan").path
    monkeypatch.setattr(ModelFolder, "network", lambda self: Broken())
    with pytest.raises(ModelError, match="weights are broken"):
        predict(tiny_cube, model)


def test_run_names_that_are_no_group_names_are_refused(
    tiny_cube: Cube, thermometer: WriteModel
) -> None:
    with pytest.raises(ModelError, match="cannot be called"):
        predict(tiny_cube, thermometer("named").path, run="../thermal")


def test_class_zero_is_never_chosen() -> None:
    """Defect 13: no data was trained and scored as a class."""
    shares = np.zeros((1, 2, 3, CLASS_COUNT), np.float32)
    shares[..., 0] = 1.0
    shares[0, 0, 0, [0, 5, 7]] = [0.9, 0.04, 0.06]
    known = taught_classes(lambda batch: shares, {0, 5, 7})(np.zeros((1, 2, 3, 1)))
    valid = np.array([[True, True, True], [False, True, True]])
    lithology, confidence = decide(known[0], valid)
    assert lithology[0, 0] == 7
    np.testing.assert_allclose(confidence[0, 0], 0.6, rtol=1e-6)
    assert (lithology[valid] > 0).all() and lithology[1, 0] == 0
    assert np.isnan(confidence[1, 0])


def test_class_that_was_not_taught_is_never_chosen() -> None:
    shares = np.full((1, 1, 1, CLASS_COUNT), 0.01, np.float32)
    shares[..., 11], shares[..., 3], shares[..., 9] = 0.7, 0.12, 0.08
    known = taught_classes(lambda batch: shares, frozenset({3, 9}))(np.zeros((1, 1, 1, 1)))
    np.testing.assert_allclose(known[0, 0, 0, [3, 9, 11]], [0.6, 0.4, 0.0], rtol=1e-6)


def test_runs_open_with_plain_xarray(tiny_cube: Cube, thermometer: WriteModel) -> None:
    run = predict(tiny_cube, thermometer("xarray").path)
    plain = xr.open_zarr(
        tiny_cube.session.store, group=f"predictions/{run}", consolidated=False, chunks=None
    )
    assert plain.lithology.dtype == np.uint8
    assert plain.lithology.attrs["grid_mapping"] == "spatial_ref" or "grid_mapping" in (
        plain.lithology.encoding
    )
