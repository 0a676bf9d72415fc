"""The command as a user meets it: what it prints, what it exits with, how it says no."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import pytest
import rasterio
from shapely.geometry import box

from cube.region import Region
from cube.store import Cube
from deliveries import assert_same, at_home, granules_of
from pipelines.simulate import Simulation

ROOT = Path(__file__).resolve().parents[2]


def thermocube(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "pipelines.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def home(complete: Simulation, tmp_path: Path) -> Path:
    """A region's folder with all granules."""
    at_home(complete, tmp_path, granules_of(complete))
    return tmp_path


def test_plan_ingest_status_history_export(home: Path) -> None:
    region = home / "region.toml"
    planned = thermocube("plan", region, "--json")
    assert planned.returncode == 0
    assert json.loads(planned.stdout)["sources"]["ecostress"]["new"] > 0
    first = thermocube("ingest", region)
    assert first.returncode == 0, first.stderr
    assert "ingested" in first.stdout
    assert "[1/" in first.stderr
    again = thermocube("ingest", region)
    assert again.returncode == 0
    assert "nothing changed: the cube is up to date" in again.stdout
    status = thermocube("status", region)
    assert status.returncode == 0
    assert "thermal (lst, emissivity)" in status.stdout
    assert "max_cloud" in status.stdout
    document = json.loads(thermocube("status", region, "--json").stdout)
    assert document["ledger"]["failed"] == 0
    history = json.loads(thermocube("history", region, "--json").stdout)
    assert history["commits"][0]["metadata"]["code"]
    time = document["modalities"]["thermal"]["times"][0]
    target = home / "lst.tif"
    done = thermocube("export", region, "thermal/imagery", target, "--band", "lst", "--time", time)
    assert done.returncode == 0, done.stderr
    with rasterio.open(target) as exported:
        assert exported.crs.to_epsg() == 32630
        assert 250 < exported.read(1, masked=True).mean() < 340


def expect_one_clear_error(run: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert run.returncode == code, run.stderr
    assert "Traceback" not in run.stderr
    assert run.stderr.startswith("error (")
    for word in words:
        assert word in run.stderr


def test_a_misspelt_key_is_named_with_a_suggestion(home: Path) -> None:
    region = home / "region.toml"
    region.write_text(region.read_text().replace("resolution", "resolutoin"))
    run = thermocube("ingest", region)
    expect_one_clear_error(run, 2, "area.resolutoin", "did you mean 'resolution'")
    assert not list(home.glob("*.icechunk"))


def test_a_folder_that_is_not_there_is_named(home: Path) -> None:
    shutil.rmtree(home / "ecostress")
    run = thermocube("ingest", home / "region.toml")
    expect_one_clear_error(run, 1, str(home / "ecostress"))


def test_a_region_file_that_is_not_there(tmp_path: Path) -> None:
    expect_one_clear_error(thermocube("plan", tmp_path / "no.toml"), 2, "no.toml", "init")


def test_a_cube_that_is_not_there(home: Path) -> None:
    expect_one_clear_error(thermocube("status", home / "region.toml"), 1, "no cube", "ingest")


def test_failed_granules_show_in_the_exit_code(home: Path) -> None:
    victim = next((home / "ecostress").glob("*_LST.tif"))
    victim.write_text("<html>login</html>")
    run = thermocube("ingest", home / "region.toml", "--json")
    assert run.returncode == 3, run.stderr
    assert "Traceback" not in run.stderr
    document = json.loads(run.stdout)
    assert document["ledger"]["failed"] == 1
    assert len(document["failures"]) == 1


def test_a_failure_in_json_says_what_why_and_how_often(home: Path) -> None:
    victim = next((home / "ecostress").glob("*_LST.tif"))
    victim.write_text("<html>login</html>")
    thermocube("ingest", home / "region.toml")
    document = json.loads(thermocube("ingest", home / "region.toml", "--json").stdout)
    (failure,) = document["failures"]
    assert failure["granule"] == victim.name.removesuffix("_LST.tif")
    assert (failure["kind"], failure["tries"]) == ("not_a_raster", 2)
    assert failure["reason"]
    assert document["bytes_read"] > 0
    assert document["seconds"] > 0
    assert document["granules"] == {"failed": 1}


def test_days_and_sources_narrow_a_run(home: Path) -> None:
    region = home / "region.toml"
    every = json.loads(thermocube("plan", region, "--json").stdout)["scenes"]
    day = every[-1]["time"][:10]
    narrowed = thermocube("plan", region, "--since", day, "--only", "ecostress", "--json")
    scenes = json.loads(narrowed.stdout)["scenes"]
    assert scenes == [scene for scene in every if scene["time"] >= day]
    none = thermocube("ingest", region, "--until", "2001-01-01", "--json")
    assert none.returncode == 0, none.stderr
    assert json.loads(none.stdout)["scenes"] == {"skipped": 0}
    expect_one_clear_error(thermocube("ingest", region, "--only", "ecostres"), 2, "'ecostress'")
    assert thermocube("plan", region, "--since", "yesterday").returncode == 2


def test_processes_of_this_machine_read_as_well_as_threads(home: Path, reference: Cube) -> None:
    run = thermocube("ingest", home / "region.toml", "--dask", "2")
    assert run.returncode == 0, run.stderr
    assert_same(Cube.open(home / "region.toml"), reference)
    both = thermocube("ingest", home / "region.toml", "--dask", "2", "--scheduler", "tcp://x:1")
    assert both.returncode == 2


def test_a_region_from_a_polygon_file_of_another_crs(tmp_path: Path) -> None:
    corners = gpd.GeoSeries([box(-4.2, 38.6, -3.8, 38.9)], crs=4326).segmentize(0.01)
    corners.to_crs(3035).to_file(tmp_path / "outline.gpkg")
    path = tmp_path / "region.toml"
    options = ("--polygon", tmp_path / "outline.gpkg", "--start", "2024-01-01")
    done = thermocube("init", path, *options)
    assert done.returncode == 0, done.stderr
    bbox = Region.load(path).area.bbox
    assert bbox == pytest.approx((-4.2, 38.6, -3.8, 38.9), abs=1e-4)
    assert bbox is not None
    assert bbox[0] <= -4.2
    assert bbox[3] >= 38.9
    assert thermocube("init", path, "--start", "2024-01-01").returncode == 2
    missing = thermocube("init", path, "--force", "--polygon", "no.gpkg", "--start", "2024-01-01")
    expect_one_clear_error(missing, 2, "no.gpkg")
    nowhere = gpd.GeoSeries([box(0, 0, 1, 1)])
    with pytest.warns(UserWarning, match="crs"):
        nowhere.to_file(tmp_path / "nowhere.gpkg")
    options = ("--polygon", tmp_path / "nowhere.gpkg", "--start", "2024-01-01")
    expect_one_clear_error(thermocube("init", path, "--force", *options), 2, "CRS", "--bbox")


def test_init_writes_a_region_that_loads_and_does_not_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "los-angeles.toml"
    box = "--bbox=-118.5,33.8,-118.1,34.2"
    done = thermocube("init", path, box, "--start", "2023-06-01")
    assert done.returncode == 0, done.stderr
    assert "EPSG:32611" in done.stdout
    assert path.exists()
    expect_one_clear_error(thermocube("init", path, box, "--start", "2023-06-01"), 2, "--force")
    wrong = thermocube("init", tmp_path / "x.toml", "--bbox=5,5,1,1", "--start", "2023-06-01")
    expect_one_clear_error(wrong, 2, "west < east")


def test_a_wrong_training_setting_is_named(home: Path) -> None:
    thermocube("ingest", home / "region.toml")
    run = thermocube("train", home / "region.toml", home / "model", "-s", "epoch=3")
    expect_one_clear_error(run, 1, "epoch", "epochs")


@pytest.mark.parametrize(
    "command",
    ["init", "plan", "ingest", "status", "history", "export", "check", "rollback",
     "expire", "train", "predict", "evaluate",
     "report", "demo"],
)  # fmt: skip
def test_every_command_has_help_with_an_example(command: str) -> None:
    run = thermocube(command, "--help")
    assert run.returncode == 0
    assert "Example: thermocube" in " ".join(run.stdout.split())
