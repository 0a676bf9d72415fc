"""Training: what a model folder holds, how it was made, and what is refused."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from cube.errors import ModelError, PlanError, SelectionError
from cube.store import Cube
from pipelines import model_folder
from pipelines.class_weights import class_weights
from pipelines.compiled import network_of
from pipelines.evaluate import NETWORK, evaluate
from pipelines.model_folder import ModelFolder, new_folder
from pipelines.predict import predict
from pipelines.recipe import Recipe, TrainSettings
from pipelines.train import train

WriteModel = Callable[..., ModelFolder]

SHORT = TrainSettings(patch=8, stride=8, epochs=2, batch_size=32, learning_rate=3e-3)


@pytest.fixture(scope="module")
def trained(tiny_cube_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    pytest.importorskip("tensorflow", reason="needs TensorFlow: install thermocube[train]")
    cube = Cube.open(tiny_cube_folder / "tiny.icechunk")
    epochs: list[tuple[int, dict[str, float]]] = []
    target = tmp_path_factory.mktemp("models") / "trained"
    folder = ModelFolder.load(
        train(cube, target, SHORT, on_epoch=lambda epoch, logs: epochs.append((epoch, logs)))
    )
    assert [epoch for epoch, _ in epochs] == [1, 2]
    assert epochs[0][1]["loss"] == folder.history()["loss"][0]
    return folder


@pytest.mark.train
def test_model_folder_says_how_it_was_made(trained: ModelFolder, tiny_cube: Cube) -> None:
    recipe = trained.recipe
    assert sorted(path.name for path in trained.path.iterdir()) == sorted(model_folder.FILES)
    assert recipe.bands == ("lst", "emissivity") and recipe.classes[9] == "Volcanic"
    assert recipe.training == SHORT and recipe.network["depth"] == 3
    assert recipe.lineage.plan_digest == trained.plan.digest
    assert recipe.lineage.snapshot == trained.plan.snapshot
    assert recipe.lineage.libraries["keras"]
    assert recipe.lineage.snapshot in [commit.id for commit in tiny_cube.history()]
    assert trained.metrics()["epochs"] == len(trained.history()["val_loss"]) == 2
    assert trained.metrics()["plan"] == trained.plan.summary


@pytest.mark.train
def test_normalisation_comes_from_the_training_part_only(
    trained: ModelFolder, tiny_cube: Cube
) -> None:
    values = tiny_cube.dataset("thermal").imagery.transpose("band", "time", "y", "x").values
    inside = values[:, :, trained.plan.mask("train")]
    np.testing.assert_allclose(
        trained.recipe.normalisation.mean, np.nanmean(inside, axis=(1, 2)), rtol=1e-3
    )
    layer = trained.network().get_layer("standardise")
    np.testing.assert_allclose(layer.mean, trained.recipe.normalisation.mean)
    np.testing.assert_allclose(layer.std, trained.recipe.normalisation.std)


@pytest.mark.train
def test_trained_network_maps_the_cube_and_is_scored(trained: ModelFolder, tiny_cube: Cube) -> None:
    run = predict(tiny_cube, trained.path, run="trained", stride=8)
    result = evaluate(tiny_cube, run, trained.path)
    assert result.model_digest == trained.digest
    assert result.scores[NETWORK].pixels == result.confusion.sum() > 0
    mapped = set(np.unique(tiny_cube.dataset(f"predictions/{run}").lithology))
    assert mapped <= {0, 7, 8, 9}


@pytest.mark.train
def test_same_seed_gives_the_same_network(
    trained: ModelFolder, tiny_cube: Cube, tmp_path: Path
) -> None:
    cube = tiny_cube.at(trained.recipe.lineage.snapshot)
    again = ModelFolder.load(train(cube, tmp_path / "again", SHORT))
    np.testing.assert_allclose(again.history()["loss"], trained.history()["loss"], rtol=1e-4)
    assert again.recipe == trained.recipe


@pytest.mark.train
def test_mixed_precision_and_logs_for_tensorboard(tiny_cube: Cube, tmp_path: Path) -> None:
    keras = pytest.importorskip("keras", reason="needs Keras: install thermocube[train]")
    pytest.importorskip("tensorboard", reason="needs TensorBoard")
    mixed = SHORT.model_copy(update={"precision": "mixed_bfloat16", "epochs": 1})
    folder = train(tiny_cube, tmp_path / "mixed", mixed, tensorboard=tmp_path / "logs")
    network = ModelFolder.load(folder).network()
    assert network.get_layer("encoder_1_a_conv").compute_dtype == "bfloat16"
    assert network.get_layer("encoder_1_a_conv").variable_dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"
    assert {path.parent.name for path in (tmp_path / "logs").rglob("events.out.*")} >= {"train"}


@pytest.mark.train
def test_narrow_buffer_is_refused_before_anything_is_trained(
    tiny_cube: Cube, tmp_path: Path
) -> None:
    """Defect 8: a network must not be tested on pixels it was trained beside."""
    pytest.importorskip("keras", reason="needs Keras: install thermocube[train]")
    narrow = TrainSettings.model_validate({"patch": 8, "split": {"kind": "blocks", "buffer": 4}})
    with pytest.raises(PlanError, match="buffer of 8 px or more"):
        train(tiny_cube, tmp_path / "narrow", narrow)
    only_train = TrainSettings.model_validate({"patch": 8, "split": {"fractions": (0.8, 0, 0.2)}})
    with pytest.raises(PlanError, match="no part 'val'"):
        train(tiny_cube, tmp_path / "unchecked", only_train)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.train
def test_training_that_breaks_off_leaves_nothing(tiny_cube: Cube, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="needs TensorFlow: install thermocube[train]")

    class Stop(Exception):
        pass

    def stop(epoch: int, logs: dict[str, float]) -> None:
        raise Stop

    with pytest.raises(Stop):
        train(tiny_cube, tmp_path / "stopped", SHORT, on_epoch=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.train
def test_selection_that_the_cube_does_not_have_is_refused(tiny_cube: Cube, tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="needs Keras: install thermocube[train]")
    with pytest.raises(SelectionError, match="lst_err"):
        train(tiny_cube, tmp_path / "band", TrainSettings(patch=8, bands=("lst_err",)))
    with pytest.raises(SelectionError, match="sar"):
        train(tiny_cube, tmp_path / "sar", TrainSettings(patch=8, modality="sar"))


def test_recipe_survives_a_round_trip_and_refuses_unknown_keys(
    thermometer: WriteModel, tmp_path: Path
) -> None:
    recipe = thermometer("round", season="winter", class_weights=(0.0, *[1.5] * 13)).recipe
    recipe.save(tmp_path / "recipe.toml")
    assert Recipe.load(tmp_path / "recipe.toml") == recipe
    text = (tmp_path / "recipe.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text)["selection"]["bands"] == ["lst", "emissivity"]
    (tmp_path / "recipe.toml").write_text("pach = 8\n" + text, encoding="utf-8")
    with pytest.raises(ModelError, match="pach"):
        Recipe.load(tmp_path / "recipe.toml")
    (tmp_path / "recipe.toml").write_text("patch = ", encoding="utf-8")
    with pytest.raises(ModelError, match="not valid TOML"):
        Recipe.load(tmp_path / "recipe.toml")


@pytest.mark.parametrize("name", model_folder.FILES)
def test_incomplete_model_folder_is_refused_by_the_name_of_what_is_missing(
    thermometer: WriteModel, name: str
) -> None:
    model = thermometer()
    (model.path / name).unlink()
    with pytest.raises(ModelError, match=name):
        ModelFolder.load(model.path)


def test_plan_of_another_model_is_refused(thermometer: WriteModel) -> None:
    one, other = thermometer("one"), thermometer("other", min_valid=0.6)
    other.plan.save(one.path / model_folder.PLAN)
    with pytest.raises(ModelError, match="different models"):
        _ = ModelFolder.load(one.path).plan


def test_digest_changes_with_the_network_and_with_the_recipe(thermometer: WriteModel) -> None:
    model = thermometer()
    digests = {model.digest}
    (model.path / model_folder.NETWORK).write_bytes(b"other weights")
    digests.add(ModelFolder.load(model.path).digest)
    model.recipe.model_copy(update={"stride": 3}).save(model.path / model_folder.RECIPE)
    digests.add(ModelFolder.load(model.path).digest)
    assert len(digests) == 3


def test_model_folder_appears_whole_and_replaces_only_models(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with pytest.raises(RuntimeError), new_folder(target) as fresh:
        (fresh / model_folder.RECIPE).write_text("half", encoding="utf-8")
        assert not target.exists()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []

    for content in ("first", "second"):
        with new_folder(target, overwrite=True) as fresh:
            (fresh / model_folder.RECIPE).write_text(content, encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (target / model_folder.RECIPE).read_text(encoding="utf-8") == "second"
    with pytest.raises(ModelError, match="there already"), new_folder(target):
        pass

    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work", encoding="utf-8")
    thesis = new_folder(tmp_path / "thesis", overwrite=True)
    with pytest.raises(ModelError, match="not a model folder"), thesis:
        pass


def test_class_weights_are_those_asked_for(thermometer: WriteModel) -> None:
    facts = thermometer().plan.summary
    assert class_weights(TrainSettings(), facts) is None
    balanced = class_weights(TrainSettings(loss="focal"), facts)
    assert balanced is not None and [code for code in range(14) if balanced[code]] == [7, 8, 9]
    shares = facts["parts"]["train"]["class_shares"]
    for code, share in shares.items():
        assert balanced[int(code)] * share == pytest.approx(1 / 3)
    assert balanced == class_weights(TrainSettings(loss="focal", class_weights="inverse"), facts)
    effective = class_weights(TrainSettings(loss="focal", class_weights="effective"), facts)
    assert effective is not None and effective != balanced
    given = TrainSettings(loss="weighted", class_weights=(9.0, *[2.0] * 13))
    assert class_weights(given, facts) == (0.0, *[2.0] * 13)
    with pytest.raises(ModelError, match="14 classes"):
        class_weights(TrainSettings(loss="weighted", class_weights=(1.0, 2.0)), facts)


def test_class_weights_of_the_studys_regions(thermometer: WriteModel) -> None:
    facts = thermometer().plan.summary
    weights = class_weights(TrainSettings(loss="weighted", class_weights="puertollano"), facts)
    assert weights is not None and weights[:5] == (0, 10, 10, 1, 7.5)
    with pytest.raises(ModelError, match="villoslada"):
        class_weights(TrainSettings(loss="weighted", class_weights="madrid"), facts)


def test_size_and_regularisation_of_a_preset_can_be_changed() -> None:
    given = {"depth": 4, "dropout": 0.0, "l2": 0.0, "norm_momentum": 0.5, "filters": 3}
    size = network_of(TrainSettings.model_validate({"network": "study"} | given))
    assert size.stage_filters == (3, 6, 12, 24, 48)
    assert size.encoder_dropout == (0, 0, 0, 0) and size.bottleneck_dropout == 0
    assert (size.l2, size.norm_momentum) == (0, 0.5)
    kept = network_of(TrainSettings(network="study"))
    assert kept.encoder_dropout == (0, 0, 0, 0.2, 0.2) and kept.norm_momentum == 0.99


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"drawing": "balanced", "loss": "focal"}, "corrects twice"),
        ({"drawing": "balanced", "loss": "weighted", "class_weights": "effective"}, "twice"),
        ({"network": "convlstm-small"}, "sequence.length"),
        ({"feedback": True}, "ConvLSTM"),
        ({"jitter": 0.1}, "sequence.length"),
        ({"depth": 4}, "dropout"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    settings: dict[str, object], why: str
) -> None:
    with pytest.raises(ValidationError, match=why):
        TrainSettings.model_validate(settings)
    TrainSettings(drawing="balanced")  # plain cross-entropy: corrected once
