"""Choosing a method without ASTER: held-out reconstruction of MODIS itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cube.errors import ModelError, PairsError
from modis_scenes import write_patches, write_scenes
from pipelines.cli import app
from pipelines.sharpen_choice import DAY, NIGHT, PAIRS, choose, standings
from pipelines.sharpen_heldout import CLEAN, NOISY, held_out, makers, noise_of
from pipelines.sharpen_slopes import SLOPES
from pipelines.superres_scenes import folds, scenes_of_pairs, scenes_of_patches

runner = CliRunner()
FEW = ["nearest", "tsharp", "local_slope", "local_slope[line,interpolated,0.8]"]


@pytest.fixture(scope="module")
def scenes_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes") / "scenes.nc")


def test_the_choice_is_made_by_modis_alone(scenes_file: Path, tmp_path: Path) -> None:
    patches = write_patches(tmp_path / "patches.nc")
    choice = choose(
        scenes_file, tmp_path / "out", methods=FEW, mixtures=["bicubic+tsharp"], patches=patches
    )
    assert choice.chosen not in ("nearest", "bicubic")
    assert choice.scenes == {PAIRS: 6, DAY: 2, NIGHT: 2}
    by_name = {one.method: one for one in choice.sets[PAIRS]}
    assert set(by_name) == {"bicubic", "bicubic+tsharp", *FEW}
    best = choice.sets[PAIRS][0]
    assert best.behind.estimate == 0 and best.gain.low > 0
    assert by_name["bicubic"].gain.estimate == 0
    assert all(one.rmse[NOISY] > one.rmse[CLEAN] for one in (best, by_name["bicubic"]))
    # By night nothing but noise is left of LST, and NDVI can only do harm.
    night = {one.method: one.rmse[CLEAN] for one in choice.sets[NIGHT]}
    assert night["bicubic"] < 1.05 * min(night.values())
    stored = json.loads((tmp_path / "out" / "choice.json").read_text())
    assert stored["chosen"] == choice.chosen
    lines = (tmp_path / "out" / "held_out.csv").read_text().splitlines()
    assert len(lines) == 1 + (6 + 2 + 2) * 2 * len(by_name)
    assert f"`{choice.chosen}`" in (tmp_path / "out" / "held_out.md").read_text()


def test_the_command_prints_names_with_their_brackets(scenes_file: Path, tmp_path: Path) -> None:
    name = "local_slope[cubic,spread,1]"
    options = ["--out", str(tmp_path), "--method", name]
    found = runner.invoke(app, ["sharpen", "held-out", str(scenes_file), *options])
    assert found.exit_code == 0, found.output
    assert f"Chosen: `{name}` (greatest SSIM: `{name}`)" in found.output
    found = runner.invoke(app, ["sharpen", "held-out", str(scenes_file), *options[:3], "sharper"])
    assert "no method is called sharper" in str(found.exception)


def test_noise_is_told_from_the_images(scenes_file: Path) -> None:
    assert noise_of(scenes_of_pairs(scenes_file)) == pytest.approx(0.3, abs=0.15)


def test_water_without_ndvi_is_scored_for_no_method(tmp_path: Path) -> None:
    scenes = scenes_of_patches(write_patches(tmp_path / "patches.nc"))
    assert np.isnan(scenes[0].coarse_ndvi[:3, :3]).all()
    rows = list(held_out(scenes[:1], {"bicubic": makers()["bicubic"]}, 0.0))
    assert np.isfinite([row.rmse for row in rows]).all()


def test_scenes_that_share_ground_are_never_on_two_sides(tmp_path: Path) -> None:
    scenes = scenes_of_pairs(write_scenes(tmp_path / "scenes.nc", count=10, places=5, side=8))
    patches = scenes_of_patches(write_patches(tmp_path / "patches.nc"))
    near = [replace(one, corner=(100, 180)) for one in patches]
    dealt = folds(scenes, 3, more=[*patches, *near])
    assert sorted(one.name for fold in dealt for one in fold.test) == sorted(s.name for s in scenes)
    for fold in dealt:
        places = [{one.location for one in part if one.location is not None}
                  for part in (fold.train, fold.validation, fold.test)]  # fmt: skip
        assert all(places) and sum(map(len, places)) == 5
        assert not set.intersection(*map(set, [places[0], places[1] | places[2]]))
        held = [*fold.validation, *fold.test]
        assert not any(a.overlaps(b) for a in fold.train if a.location is None for b in held)
        assert set(patches) <= set(fold.train)
    with pytest.raises(PairsError, match="cannot be dealt"):
        folds(scenes, 5)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PairsError, match="no file at") as caught:
        scenes_of_pairs(tmp_path / "none.nc")
    assert caught.value.kind == "pairs"
    with pytest.raises(PairsError, match="lacks lst"):
        scenes_of_patches(write_scenes(tmp_path / "scenes.nc", side=8))
    with pytest.raises(PairsError, match="no scene"):
        standings([])
    assert {*SLOPES, "dms"} <= set(makers())
    with pytest.raises(ModelError, match="no method is called sharper"):
        makers(mixtures=["dms+sharper"])
