"""Training of sharpening networks by folds, from MODIS alone; applying them; tiles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.train
pytest.importorskip("keras", reason="needs Keras and a backend: install thermocube[train]")

import thermal_pairs  # noqa: E402

from cube.errors import ModelError, PairsError, StoreError  # noqa: E402
from models.superres import Recipe  # noqa: E402
from models.superres.recipes import STUDY_STD  # noqa: E402
from modis_scenes import scene, write_patches, write_scenes  # noqa: E402
from pipelines.sharpen import compare  # noqa: E402
from pipelines.sharpen_engine import Facts, Part  # noqa: E402
from pipelines.sharpen_protocol import Protocol  # noqa: E402
from pipelines.superres_folder import SETTINGS, Trained, recipe_of  # noqa: E402
from pipelines.superres_patches import by_place, train_on_patches  # noqa: E402
from pipelines.superres_samples import Samples, Statistics  # noqa: E402
from pipelines.superres_scenes import scenes_of_pairs, scenes_of_patches  # noqa: E402
from pipelines.superres_train import train  # noqa: E402

TINY = {"channels": (4, 4, 4), "epochs": 2, "batch": 4, "draws": 1}


def recipe(name: str = "slope_net", **changes: object) -> Recipe:
    return Recipe(**{**Recipe.preset(name).model_dump(), **TINY, **changes})


@pytest.fixture(scope="module")
def scenes_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes") / "scenes.nc", count=5, places=5)


@pytest.fixture(scope="module")
def trained(scenes_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained") / "tiny"
    found = train(recipe(), scenes_file, folder, count=2)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def blended(scenes_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained") / "tiny_sif"
    changes = {"crop": 64, "level": "scene", "epochs": 1, "symmetries": "all"}
    found = train(recipe("sif_sr2", **changes), scenes_file, folder, count=1)
    assert found is not None
    return found


def test_every_place_is_left_out_once_and_its_network_asked(trained: Trained) -> None:
    folds = trained.settings["folds"]
    assert sorted(place for fold in folds for place in fold["left_out"]) == list(range(5))
    assert [len(fold["logs"]) for fold in folds] == [2, 2]
    assert all(fold["logs"][-1]["val_loss"] < 1.2 * fold["logs"][0]["val_loss"] for fold in folds)
    place = folds[1]["left_out"][0]
    assert list(trained.folds_for(place)) == [1]
    assert list(trained.folds_for(None)) == [0, 1]
    lst, ndvi = scene(32, 0)
    maps = [trained.sharpen(lst, ndvi, location=one) for one in (folds[0]["left_out"][0], place)]
    both = trained.sharpen(lst, ndvi)
    np.testing.assert_allclose(both, (maps[0] + maps[1]) / 2, atol=1e-3)
    assert np.abs(maps[0] - maps[1]).max() > 1e-4


def test_maps_are_missing_where_an_input_is_and_nowhere_else(
    trained: Trained, blended: Trained
) -> None:
    lst, ndvi = scene(32, 1)
    lst[4:6, 7] = np.nan
    ndvi[40, 50] = np.nan
    gaps = np.isnan(ndvi)
    gaps[16:24, 28:32] = True
    for model in (trained, blended):
        fine = model.sharpen(lst, ndvi)
        np.testing.assert_array_equal(np.isnan(fine), gaps)
        assert np.abs(fine[~gaps] - np.nanmean(lst)).max() < 60


def test_a_killed_training_goes_on_to_the_same_network(
    scenes_file: Path, trained: Trained, tmp_path: Path
) -> None:
    class Killed(Exception):
        pass

    def kill(fold: int, epoch: int, _: dict[str, float]) -> None:
        if (fold, epoch) == (2, 1):
            raise Killed

    folder = tmp_path / "again"
    wanted = {"count": 2, "only": [1]}
    with pytest.raises(Killed):
        train(recipe(), scenes_file, folder, on_epoch=kill, **wanted)
    assert not (folder / "fold-1.keras").exists()
    epochs: list[tuple[int, int]] = []
    found = train(
        recipe(), scenes_file, folder, on_epoch=lambda *where: epochs.append(where[:2]), **wanted
    )
    assert found is None and epochs == [(2, 2)]  # fold 1 is lacking yet
    assert not (folder / SETTINGS).exists() and not list(folder.glob(".*checkpoint*"))
    again, whole = (
        json.loads((one / "fold-1.json").read_text())["logs"] for one in (folder, trained.path)
    )
    for first, second in zip(again, whole, strict=True):
        assert first["val_loss"] == pytest.approx(second["val_loss"], rel=1e-4)


def test_networks_of_another_recipe_are_not_mixed_in(scenes_file: Path, trained: Trained) -> None:
    with pytest.raises(StoreError, match="another recipe") as caught:
        train(recipe(noise=0.1), scenes_file, trained.path, count=2)
    assert caught.value.kind == "exists"


@pytest.mark.parametrize("which", ["trained", "blended"])
def test_a_tile_of_a_network_is_as_the_whole(which: str, request: pytest.FixtureRequest) -> None:
    model: Trained = request.getfixturevalue(which)
    lst, ndvi = scene(96, 3)
    part = Part.of(model.name, {model.name: model})
    shape, whole = (96, 96), (slice(0, 96), slice(0, 96))
    from models.sharpening import Degradation, Response

    response = Response.fit(lst, ndvi, Degradation.gaussian())
    facts = Facts({"response": response} if which == "trained" else {"level": float(lst.mean())})

    def read(window: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = (slice(4 * side.start, 4 * side.stop) for side in window)
        return lst[window], ndvi[rows, columns]

    expected = part.map(read, whole, shape, facts)
    for window in ((slice(0, 40), slice(32, 64)), (slice(40, 96), slice(64, 96))):
        rows, columns = (slice(4 * side.start, 4 * side.stop) for side in window)
        found = part.map(read, window, shape, facts)
        np.testing.assert_allclose(found, expected[rows, columns], atol=1e-3)


def test_trained_methods_and_means_are_scored_beside_the_others(
    trained: Trained, tmp_path: Path
) -> None:
    pairs = thermal_pairs.write_pairs(tmp_path / "pairs.nc")
    name = trained.name
    wanted = ["bicubic", "local_slope", name, f"{name}-registered", f"local_slope+{name}"]
    found = compare(pairs, tmp_path, methods=wanted, models=[trained.path], figures=0)
    assert found.rows == 9 and not found.failures
    paper, registered = found.tables[Protocol.PAPER].means, found.tables[Protocol.REGISTERED].means
    assert set(paper) == set(wanted) and set(registered) == set(wanted) - {f"{name}-registered"}
    # Hardly trained, it is still the map of local slope.
    slope, net = (registered[one]["rmse"].estimate for one in ("local_slope", name))
    assert net == pytest.approx(slope, rel=0.3)
    digest = trained.digest[:12]
    assert f'"{name}@{digest}"' in (tmp_path / "scores.jsonl").read_text()
    with pytest.raises(ModelError, match="no method is called sharper"):
        compare(pairs, tmp_path, methods=["sharper"])


def test_recipes_come_from_presets_and_files(tmp_path: Path) -> None:
    assert recipe_of("sc_unet") == Recipe.preset("sc_unet")
    file = tmp_path / "recipe.toml"
    file.write_text('preset = "sif_sr1"\nepochs = 7\nlevel = "scene"\n')
    assert recipe_of(str(file)).epochs == 7 and recipe_of(str(file)).gamma == -0.5
    for text, expected in (("speed = 3\n", "speed"), ("epochs = 0\n", "epochs"), ("=", "read")):
        file.write_text('preset = "sif_sr1"\n' + text)
        with pytest.raises(ModelError, match=expected):
            recipe_of(str(file))
    with pytest.raises(ModelError, match="slope_net"):
        recipe_of("sif_sr3")


def test_gamma_is_told_in_the_deviations_of_the_recipe(scenes_file: Path) -> None:
    scenes = scenes_of_pairs(scenes_file)
    published = recipe("sif_sr1")
    assert Statistics.of(scenes, published).std == STUDY_STD
    own = Statistics.of(scenes, published.model_copy(update={"std": None, "level": "scene"}))
    lst = np.stack([scene.lst - scene.lst.mean() for scene in scenes])
    assert own.std[0] == pytest.approx(lst.std()) and own.mean[0] == pytest.approx(0, abs=1e-9)


def test_learning_from_the_four_norm_keeps_the_level_of_a_scene(scenes_file: Path) -> None:
    scenes = scenes_of_pairs(scenes_file)[:1]
    changes = {"level": "scene", "crop": 16, "symmetries": "all", "channels": None}
    learnt = Samples(scenes, recipe("sc_unet", **changes))
    inputs, targets = next(learnt.epoch(0))
    assert inputs.shape == (1, 16, 16, 2)
    # Both are told from the mean of the part that was cut out.
    assert abs(float(targets.mean())) < 1e-3
    assert float(inputs[..., 0].mean()) == pytest.approx(float(targets.mean()), abs=0.1)
    coarse = Samples(scenes, recipe("sc_unet", guide="psf", channels=None))
    deviations = [next(one.plain())[0][..., 1].std() for one in (learnt, coarse)]
    assert deviations[0] > 1.1 * deviations[1]  # what is decimated is not smoothed


def test_a_network_trained_in_half_precision_is_kept_in_full(
    scenes_file: Path, tmp_path: Path
) -> None:
    changes = {"precision": "mixed_bfloat16", "level": "scene", "epochs": 1}
    found = train(recipe("sc_unet", **changes), scenes_file, tmp_path, count=1)
    assert found is not None
    network = found.network(0)
    assert {layer.compute_dtype for layer in network.layers} == {"float32"}
    lst, ndvi = scene(32, 2)
    assert np.isfinite(found.sharpen(lst, ndvi)).all()


def test_a_network_of_lst_alone_is_judged_on_places_it_has_not_seen(tmp_path: Path) -> None:
    patches = write_patches(tmp_path / "patches.nc", count=16, places=8)
    tiny = recipe("mr_unet", epochs=2)
    folder = tmp_path / "mr_unet"
    epochs: list[int] = []
    again = [
        train_on_patches(tiny, patches, folder, on_epoch=lambda epoch, _: epochs.append(epoch))
        for _ in range(2)
    ]
    assert epochs == [1, 2] and again[0].to_dict() == again[1].to_dict()
    standing = again[0]
    assert (standing.patches, standing.places) == (8, 2)
    day, night = (standing.table[when] for when in ("day", "night"))
    assert 0 < night["bicubic"]["rmse"][0] < day["bicubic"]["rmse"][0] < day["network"]["rmse"][0]
    assert "| night | `network` |" in standing.markdown()
    split = by_place(scenes_of_patches(patches, guided=False), 0.25, 0)
    learnt, stopped, judged = ({one.corner for one in part} for part in split.parts)
    assert learnt and stopped and judged
    assert not (learnt & stopped or learnt & judged or stopped & judged)
    with pytest.raises(ModelError, match="LST alone"):
        train_on_patches(recipe("sc_unet"), patches, tmp_path / "other")
    with pytest.raises(PairsError, match="too few"):
        train_on_patches(tiny, write_patches(tmp_path / "one.nc"), tmp_path / "other")


def test_recipes_of_the_page_are_the_published_ones_but_for_their_course() -> None:
    folder = Path(__file__).resolve().parents[2] / "docs" / "sharpening"
    files = sorted(folder.glob("*.toml"))
    assert {file.stem for file in files} == {"mr_unet", "sc_unet", "sif_sr1", "sif_sr2"}
    kept = ("objective", "alpha", "gamma", "std", "scale_invariant", "coarsening", "guide", "noise")
    for file in files:
        found, published = recipe_of(str(file)), Recipe.preset(file.stem)
        assert found != published
        assert all(getattr(found, name) == getattr(published, name) for name in kept)


def test_folders_that_are_none_are_refused(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no trained sharpening method"):
        Trained.load(tmp_path)
    (tmp_path / SETTINGS).write_text((trained.path / SETTINGS).read_text())
    with pytest.raises(ModelError, match=r"missing fold-0\.keras"):
        Trained.load(tmp_path)
    (tmp_path / SETTINGS).write_text("{}")
    with pytest.raises(ModelError, match="cannot be read"):
        Trained.load(tmp_path)
