"""From region to region: fine-tuning, replay, and what is forgotten."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cube.errors import ModelError
from cube.store import Cube
from pipelines.forgetting import Transfer
from pipelines.material import Material
from pipelines.model_folder import ModelFolder
from pipelines.recipe import TrainSettings
from pipelines.transfer import continual, fine_tune, thinned

RegionOf = Callable[[str], str]
SHORT = TrainSettings(patch=8, epochs=1, batch_size=64, learning_rate=5e-3, filters=2)


def course(**changes: np.ndarray) -> Transfer:
    matrix = np.array([[0.9, 0.5, 0.2], [0.6, 0.8, 0.3], [0.7, 0.4, 0.9]])
    known = {"scratch": np.array([0.9, 0.7, 0.8]), "majority": np.full(3, 0.1)} | changes
    return Transfer(
        "cnn", ("a", "b", "c"), 0.2, {"oa": matrix, "macro_f1": matrix},
        *({"oa": values, "macro_f1": values} for values in known.values()),
    )  # fmt: skip


def test_forgetting_is_measured_as_defined() -> None:
    """Lopez-Paz & Ranzato 2017, equations 2 to 4; Chaudhry et al. 2018, equation 3."""
    found = course()
    assert found.backward("oa") == pytest.approx((0.7 - 0.9 + 0.4 - 0.8) / 2)
    assert found.forgetting("oa") == pytest.approx((0.9 - 0.7 + 0.8 - 0.4) / 2)
    assert found.forward("oa") == pytest.approx((0.5 - 0.1 + 0.3 - 0.1) / 2)
    assert found.fine_tuned("oa") == pytest.approx((0.8 - 0.7 + 0.9 - 0.8) / 2)
    (table, _) = found.tables()
    assert table.head == ("", "on a", "on b", "on c")
    assert table.rows[1] == ("after b", "0.600", "0.800", "0.300")
    assert "Backward transfer -0.300, forgetting 0.300" in table.note
    assert json.loads(json.dumps(found.to_dict()))["macro_f1"]["forgetting"] == pytest.approx(0.3)
    assert "20% of earlier samples shown again" in found.title


def test_the_course_is_drawn() -> None:
    pytest.importorskip("matplotlib", reason="needs Matplotlib: install thermocube[plot]")
    (axes,) = course().figure().get_axes()
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["on a", "on b", "on c"]


def test_replay_draws_a_share_and_leaves_the_test_part(tiny_cube: Cube) -> None:
    source = Material.of_cube(tiny_cube, SHORT).sources["tiny"]
    less = thinned(source, 0.25, seed=3).plan
    for part in ("train", "val"):
        whole = len(source.plan.part(part))
        assert len(less.part(part)) == int(np.ceil(0.25 * whole))
    np.testing.assert_array_equal(less.mask("test"), source.plan.mask("test"))
    train, kept = (set(map(tuple, plan.part("train"))) for plan in (source.plan, less))
    assert kept < train
    counted = less.summary["parts"]["train"]
    assert counted["samples"] == len(kept) and counted["labelled_pixels"] > 0
    assert thinned(source, 0.25, seed=3).plan == less != thinned(source, 0.25, seed=4).plan
    assert thinned(source, 1.0, seed=0).plan == source.plan


@pytest.mark.train
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_network_goes_through_two_regions_and_is_tested_on_both(
    region_of: RegionOf, tmp_path: Path
) -> None:
    pytest.importorskip("tensorflow", reason="needs TensorFlow: install thermocube[train]")
    cubes = {name: Cube.open(region_of(name)) for name in ("east", "west")}
    settings = dict.fromkeys(cubes, SHORT)
    lines: list[str] = []
    options = {"later": {"learning_rate": 1e-3}, "replay": 0.5, "tell": lines.append}
    found = continual(cubes, tmp_path / "course", settings, **options)
    assert found.scores["oa"].shape == (2, 2) and found.scratch["oa"][0] == found.scores["oa"][0, 0]
    first, second = (ModelFolder.load(tmp_path / "course" / f"step-{n}") for n in (1, 2))
    assert second.recipe.lineage.started_from == first.digest
    assert second.recipe.training.learning_rate == 1e-3
    assert second.recipe.normalisation == first.recipe.normalisation
    assert set(second.recipe.taught) >= {7, 8, 9} and first.recipe.taught == ()
    assert list(second.plans) == ["west", "east"]
    shown = len(second.plan_of("east").part("train")), len(first.plan_of("east").part("train"))
    assert shown[0] == np.ceil(shown[1] / 2)
    assert all(cube.refresh().groups() == ["labels", "thermal"] for cube in cubes.values())

    lines.clear()
    again = continual(cubes, tmp_path / "course", settings, **options)
    assert not lines, "nothing is trained or scored twice"
    np.testing.assert_array_equal(again.scores["oa"], found.scores["oa"])
    with pytest.raises(ModelError, match="course with other settings"):
        continual(cubes, tmp_path / "course", settings, replay=0.1)
    with pytest.raises(ModelError, match="two regions or more"):
        continual({"east": cubes["east"]}, tmp_path / "one", settings)

    wider = SHORT.model_copy(update={"filters": 4})
    with pytest.raises(ModelError, match="other size or options"):
        fine_tune(cubes["west"], first.path, tmp_path / "wider", wider)
    bands = SHORT.model_copy(update={"bands": ("lst",)})
    with pytest.raises(ModelError, match="takes bands lst, emissivity"):
        fine_tune(cubes["west"], first.path, tmp_path / "bands", bands)
