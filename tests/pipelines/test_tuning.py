"""Tuning: a search that is kept, prunes, goes on after a kill, and says what mattered."""

from __future__ import annotations

import csv
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cube.errors import ModelError
from cube.store import Cube
from pipelines.cli import app
from pipelines.model_folder import ModelFolder
from pipelines.recipe import TrainSettings
from pipelines.tuning import TRIALS, tune
from pipelines.tuning_space import SPACE, Vary, load_space

optuna = pytest.importorskip("optuna", reason="needs Optuna: install thermocube[tune]")

RegionOf = Callable[[str], str]
SHORT = TrainSettings(patch=8, epochs=2, batch_size=64, filters=2)


def test_the_space_is_that_of_the_study_or_a_file(tmp_path: Path) -> None:
    assert set(SPACE) == {"learning_rate", "l2", "batch_size", "filters"}
    file = tmp_path / "space.toml"
    text = '[loss]\nchoices = ["weighted", "focal"]\n["split.block"]\nlow = 4\nhigh = 16\n'
    file.write_text(text, encoding="utf-8")
    space = load_space(file)
    assert space["loss"].choices == ("weighted", "focal") and space["split.block"].low == 4
    file.write_text("[loss]\nlow = 3\nhigh = 2\n", encoding="utf-8")
    with pytest.raises(ModelError, match="low < high, or choices"):
        load_space(file)
    with pytest.raises(ModelError, match="cannot be read"):
        load_space(tmp_path / "none.toml")


class Fits:
    """Stands in for the training itself: a score by the learning rate, epoch by epoch.

    The search is what is tested with it; `test_tuning_trains_networks` uses the real one.
    """

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.stop_at: int | None = None

    def __call__(
        self, cube: Cube, place: Path, settings: TrainSettings, *, resume: bool, on_epoch: Any
    ) -> Path:
        assert resume
        self.rates.append(settings.learning_rate)
        if len(self.rates) == self.stop_at:
            raise KeyboardInterrupt
        if settings.learning_rate > 5e-3:
            raise ModelError("the loss is nan")
        score = settings.learning_rate * 100
        for epoch in (1, 2, 3, 4, 5, 6):
            on_epoch(epoch, {"val_macro_f1": score})
        place.mkdir(parents=True)
        (place / "metrics.json").write_text(json.dumps({"best": {"val_macro_f1": score}}))
        return place


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> Fits:
    stand_in = Fits()
    monkeypatch.setattr("pipelines.train.train", stand_in)
    monkeypatch.setattr(ModelFolder, "load", classmethod(lambda cls, path: cls(path, None)))
    return stand_in


def test_a_search_prunes_keeps_the_best_and_goes_on(
    tiny_cube: Cube, tmp_path: Path, fits: Fits
) -> None:
    space = {"learning_rate": Vary(low=1e-4, high=1e-2, log=True)}
    fits.stop_at = 12
    with pytest.raises(KeyboardInterrupt):
        tune(tiny_cube, tmp_path, SHORT, trials=16, space=space)
    stopped = fits.rates[-1]
    fits.stop_at = None
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.journal"))
    study = optuna.load_study(
        study_name="thermocube", storage=optuna.storages.JournalStorage(backend)
    )
    killed = study.ask().suggest_float("learning_rate", 1e-4, 1e-2, log=True)
    found = tune(tiny_cube, tmp_path, SHORT, trials=16, space=space)
    assert fits.rates[12:14] == [stopped, killed], "what was cut off is done again"
    assert len(fits.rates) == 17
    counts = found.counts()
    assert counts["pruned"] > 0 and counts["fail"] >= 2 and sum(counts.values()) == 18
    good = [rate for rate in fits.rates if rate <= 5e-3]
    assert found.settings.learning_rate == max(good)
    assert found.value == pytest.approx(100 * max(good))
    assert [path.name for path in (tmp_path / TRIALS).iterdir()] != []
    assert len(list((tmp_path / TRIALS).iterdir())) == 1, "only the best model is kept"
    assert tomllib.loads((tmp_path / "best.toml").read_text())["learning_rate"] == max(good)

    again = tune(tiny_cube, tmp_path, SHORT, trials=16, space=space)
    assert len(fits.rates) == 17 and again.value == found.value
    with pytest.raises(ModelError, match="search with other settings"):
        tune(tiny_cube, tmp_path, SHORT.model_copy(update={"epochs": 9}), space=space)
    with pytest.raises(ModelError, match=r"speed: Extra inputs"):
        tune(tiny_cube, tmp_path / "x", SHORT, trials=1, space={"speed": Vary(choices=(1, 2))})


def test_what_mattered_is_said_and_drawn(tiny_cube: Cube, tmp_path: Path, fits: Fits) -> None:
    space = {
        "learning_rate": Vary(low=1e-4, high=5e-3),
        "smoothing": Vary(low=0.0, high=0.5),
        "loss": Vary(choices=("weighted", "focal")),
    }
    found = tune(tiny_cube, tmp_path, SHORT, trials=12, space=space, prune=False)
    assert found.importances["learning_rate"] > 0.8
    assert sum(found.importances.values()) == pytest.approx(1)
    with (tmp_path / "trials.csv").open(encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    assert len(rows) == 12 and {row["state"] for row in rows} == {"complete"}
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml") == 2 and "test part was not looked at" in page


@pytest.mark.train
def test_tuning_trains_networks(region_of: RegionOf, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="needs TensorFlow: install thermocube[train]")
    region, folder = region_of("tuned"), tmp_path / "search"
    space = tmp_path / "space.toml"
    space.write_text("[learning_rate]\nchoices = [0.004]\n", encoding="utf-8")
    words = [f"{name}={value}" for name, value in
             {"patch": 8, "epochs": 1, "batch_size": 64, "filters": 2}.items()]  # fmt: skip
    settings = [word for pair in words for word in ("-s", pair)]
    command = ["tune", region, str(folder), *settings, "--trials", "1", "--space", str(space)]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["trials"] == {"complete": 1} and 0 <= result["value"] <= 1
    (place,) = (folder / TRIALS).iterdir()
    model = ModelFolder.load(place)
    assert model.recipe.training.learning_rate == 0.004
    assert model.history()["val_macro_f1"] == [pytest.approx(result["value"])]
    assert model.recipe.network["filters"] == 2
