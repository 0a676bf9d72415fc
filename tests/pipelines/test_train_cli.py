"""`thermocube train`: the settings that it reads, and what is refused at the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cube.errors import ModelError
from pipelines.cli import app
from pipelines.cli_settings import parse_settings
from pipelines.model_folder import ModelFolder

RegionOf = Callable[[str], str]


def _train(*words: str) -> Result:
    return CliRunner().invoke(app, ["train", *words])


def test_settings_of_networks_and_sequences_are_read_and_checked() -> None:
    chosen = parse_settings(
        ["network=convlstm-small", "sequence.length=5", "sequence.stride=3", "dice=0.3"]
    )
    assert (chosen.sequence.length, chosen.sequence.stride, chosen.dice) == (5, 3, 0.3)
    with pytest.raises(ModelError, match=r"sequence\.length"):
        parse_settings(["network=convlstm-study"])
    with pytest.raises(ModelError, match="corrects twice"):
        parse_settings(["drawing=balanced", "loss=focal"])
    with pytest.raises(ModelError, match=r"colour: Extra inputs.*(?s:.)*the settings are modality"):
        parse_settings(["colour=red"])


def test_settings_come_from_a_file_and_single_ones_over_it(
    thermometer: Callable[..., ModelFolder], tmp_path: Path
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('patch = 64\nloss = "focal"\n[split]\nkind = "thesis"\n', encoding="utf-8")
    chosen = parse_settings(["patch=16", "split.seed=3"], file)
    assert (chosen.patch, chosen.loss, chosen.split.seed) == (16, "focal", 3)
    assert chosen.split.kind == "thesis"
    remade = thermometer("model", epochs=3)
    assert parse_settings([], remade.path / "recipe.toml") == remade.recipe.training
    with pytest.raises(ModelError, match="cannot be read"):
        parse_settings([], tmp_path / "none.toml")


def test_ways_that_do_not_go_together_are_bad_usage(region_of: RegionOf, tmp_path: Path) -> None:
    region = region_of("one")
    two = _train(region, region, str(tmp_path / "model"), "--held-out", "one")
    assert two.exit_code == 2 and "same name" in two.output
    folds = _train(region, str(tmp_path / "model"), "--folds", "3", "--held-out", "one")
    assert folds.exit_code == 2
    assert _train(str(tmp_path / "model")).exit_code == 2
