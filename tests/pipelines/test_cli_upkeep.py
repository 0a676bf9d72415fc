"""The upkeep commands as a user and a scheduler meet them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import typer
import xarray as xr
from typer.testing import CliRunner, Result

from cube.errors import SelectionError, StoreError
from cube.store import Cube
from deliveries import at_home, granules_of
from pipelines import cli_upkeep
from pipelines.ingest import ingest
from pipelines.simulate import Simulation

app = typer.Typer(pretty_exceptions_enable=False)
for command in (cli_upkeep.check, cli_upkeep.rollback, cli_upkeep.expire, cli_upkeep.export):
    app.command()(command)


def run(*arguments: object) -> Result:
    """Run a command; an error of ours is raised, as `pipelines.cli.main` prints it."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def made(complete: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    ingest(at_home(complete, folder, granules_of(complete)), batch=2)
    return folder


@pytest.fixture
def region(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "home")) / "region.toml"


def test_check_exits_by_what_it_finds(region: Path) -> None:
    healthy = run("check", region)
    assert healthy.exit_code == 0
    assert "no findings" in healthy.stdout and "scenes read" in healthy.stdout
    text = region.read_text()
    region.write_text("\n".join(line for line in text.splitlines() if not line.startswith("end")))
    stale = run("check", region, "--max-age", 1, "--json")
    assert stale.exit_code == 3
    assert json.loads(stale.stdout)["findings"][0]["kind"] == "stale"
    cube = Cube.open(region)
    with cube.transaction("spoil", {}) as change:
        fractions = change.array("thermal/cloud_fraction")
        fractions[:] = fractions[:] + 0.5
    wrong = run("check", region, "--no-sources")
    assert wrong.exit_code == 1
    assert "error (wrong_coordinate) thermal 20" in wrong.stdout
    repaired = run("check", region, "--repair")
    assert "read anew by the next" in repaired.stdout
    from cube.region import Region

    ingest(Region.load(region))
    assert run("check", region, "--deep").exit_code == 0


def test_rollback_says_what_it_left_behind_and_how_to_undo_it(region: Path) -> None:
    cube = Cube.open(region)
    before = cube.dataset("thermal").time.values
    target = cube.history()[1].id
    done = run("rollback", region, target[:8])
    assert done.exit_code == 0
    assert f"the cube is as it was at {target}" in done.stdout
    undo = done.stdout.split("to undo: thermocube ")[1].split()
    assert run(*undo).exit_code == 0
    np.testing.assert_array_equal(cube.refresh().dataset("thermal").time.values, before)
    with pytest.raises(SelectionError, match="last ones"):
        run("rollback", region, "NOSUCHSNAPSHOT")


def test_expire_shows_what_would_go_and_refuses_a_short_grace(region: Path) -> None:
    done = run("expire", region, "--older-than", 0, "--keep", 1, "--dry-run", "--json")
    assert done.exit_code == 0
    assert len(json.loads(done.stdout)["snapshots"]) == len(Cube.open(region).history()) - 2
    shown = run("expire", region, "--older-than", 0, "--keep", 1)
    assert "gone; " in shown.stdout
    with pytest.raises(SelectionError, match="at least one hour"):
        run("expire", region, "--grace", 0.5)


def test_the_name_of_the_target_says_the_format(region: Path) -> None:
    home = region.parent
    cube = Cube.open(region)
    whole = cube.dataset("thermal", chunks=None)
    first = str(whole.time.values[0])

    assert run("export", region, "all", home / "la.zarr", "--overviews", 1).exit_code == 0
    store = xr.open_zarr(home / "la.zarr", group="thermal/0")
    np.testing.assert_array_equal(store.lst, whole.imagery.sel(band="lst"))
    root = json.loads((home / "la.zarr" / "zarr.json").read_text())
    assert root["attributes"]["thermocube_snapshot"] == cube.snapshot

    chosen = ("--band", "lst", "--period", first[:10])
    assert run("export", region, "thermal", home / "la.nc", *chosen).exit_code == 0
    with xr.open_dataset(home / "la.nc") as file:
        assert file.sizes["time"] == 1 and "emissivity" not in file
        assert json.loads(file.attrs["selection"])["kept"] == 1

    done = run("export", region, "thermal,labels", home / "stac", "--json")
    assert json.loads(done.stdout)["file"].endswith("stac/collection.json")
    assert len(list((home / "stac").glob("*/lst.tif"))) == whole.sizes["time"]

    one = ("--band", "lst", "--time", first)
    assert run("export", region, "thermal/imagery", home / "lst.tif", *one).exit_code == 0
    with rasterio.open(home / "lst.tif") as layer:
        np.testing.assert_array_equal(layer.read(1), whole.imagery.sel(band="lst")[0])


def test_an_export_that_makes_no_sense_is_refused(region: Path) -> None:
    home = region.parent
    with pytest.raises(SelectionError, match=r"what kind of export is la\.xyz"):
        run("export", region, "thermal", home / "la.xyz")
    with pytest.raises(SelectionError, match="takes one group"):
        run("export", region, "all", home / "la.nc")
    with pytest.raises(SelectionError, match="no group 'sar'; it has labels, thermal"):
        run("export", region, "thermal,sar", home / "la.zarr")
    with pytest.raises(StoreError, match="--overwrite"):
        run("export", region, "thermal", home)
