"""`thermocube predict`: options, and what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli_w
from typer.testing import CliRunner

from cube.errors import ModelError
from cube.store import Cube
from pipelines.cli import app
from pipelines.model_folder import ModelFolder


@pytest.fixture
def region(tiny_cube: Cube, tmp_path: Path) -> Path:
    """A region file whose cube is the tiny one."""
    tables = {
        "name": "tiny",
        "store": tiny_cube.location,
        "area": {"bbox": [-4.10, 38.70, -3.88, 38.714], "resolution": 70.0},
        "period": {"start": "2024-01-01"},
        "modalities": {"thermal": {"bands": ["lst", "emissivity"]}},
        "sources": [
            {
                "kind": "netcdf",
                "name": "none",
                "path": "none.nc",
                "platform": "ISS",
                "bands": {"lst": "lst", "emissivity": "emissivity"},
            }
        ],
    }
    file = tmp_path / "tiny.toml"
    file.write_text(tomli_w.dumps(tables), encoding="utf-8")
    return file


def test_options_reach_the_run_and_the_tally_is_printed(
    region: Path, tiny_cube: Cube, thermometer: Callable[..., ModelFolder], tmp_path: Path
) -> None:
    model = thermometer("cli").path
    command = ["predict", str(region), str(model), "--run", "from-cli", "--entropy", "--tta"]
    command += ["--batch", "9", "--workers", "1", "--work", str(tmp_path / "work"), "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    tally = json.loads(done.stdout)
    assert tally["run"] == "from-cli" and tally["scenes"] == 4 and tally["resumed"] == 0
    maps = tiny_cube.refresh().dataset("predictions/from-cli")
    assert "entropy" in maps and "test_time_augmentation" in maps.attrs
    assert not (tmp_path / "work").exists()


def test_a_line_says_what_was_done(region: Path, thermometer: Callable[..., ModelFolder]) -> None:
    done = CliRunner().invoke(app, ["predict", str(region), str(thermometer("line").path)])
    assert done.exit_code == 0, done.output
    assert "run: line" in done.output and "4 of 4 dates" in done.output


def test_scheduler_and_processes_exclude_each_other(
    region: Path, thermometer: Callable[..., ModelFolder]
) -> None:
    command = ["predict", str(region), str(thermometer("both").path)]
    done = CliRunner().invoke(app, [*command, "--scheduler", "tcp://127.0.0.1:9", "--dask", "2"])
    assert done.exit_code == 2


def test_patches_further_apart_than_they_are_wide_are_refused(
    region: Path, thermometer: Callable[..., ModelFolder]
) -> None:
    command = ["predict", str(region), str(thermometer("apart").path), "--stride", "99"]
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, ModelError)
    assert "every 99 px cannot cover" in str(done.exception)
