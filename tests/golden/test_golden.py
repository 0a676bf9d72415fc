"""A small cube of every release is read, and added to, by the code of today."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import cube as thermocube
from cube.ledger import Status
from cube.region import Region
from cube.store import Cube
from golden import CUBE, RUN, SETTINGS, checksum, describe, unpack
from pipelines.check import check
from pipelines.ingest import ingest
from pipelines.simulate import deliver_late, simulate

ARCHIVES = sorted(Path(__file__).parent.glob("v*.tar.xz"))


@pytest.fixture(params=ARCHIVES, ids=lambda archive: archive.name.removesuffix(".tar.xz"))
def archive(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture
def recorded(archive: Path) -> dict[str, Any]:
    """What the release itself read from the cube."""
    figures = archive.with_name(archive.name.replace(".tar.xz", ".json"))
    document: dict[str, Any] = json.loads(figures.read_text())
    return document


@pytest.fixture
def home(archive: Path, tmp_path: Path) -> Path:
    assert unpack(archive, tmp_path) == tmp_path / CUBE
    return tmp_path


def test_there_are_golden_cubes_and_they_are_small() -> None:
    assert ARCHIVES
    assert all(archive.stat().st_size < 200_000 for archive in ARCHIVES)


def assert_holds(found: dict[str, Any], recorded: dict[str, Any]) -> None:
    """All that was recorded is found; what later releases add beside it is no matter."""
    for name in ("name", "transform", "history"):
        assert found[name] == recorded[name]
    for group, variables in recorded["groups"].items():
        if group != "ledger":  # kept as its release saw fit, and compared row by row
            for name, figures in variables.items():
                assert found["groups"][group][name] == figures, f"{group}/{name}"
    assert len(found["ledger"]) == len(recorded["ledger"])
    rows = {row["granule"]: row for row in found["ledger"]}
    for row in recorded["ledger"]:
        assert rows[row["granule"]].items() >= row.items()


def test_values_ledger_and_history_are_those_of_the_release(
    home: Path, recorded: dict[str, Any]
) -> None:
    cube = Cube.open(home / CUBE)
    assert_holds(describe(cube), recorded)
    older = cube.at(recorded["history"][-3]["id"])
    assert len(older.history()) < len(cube.history())
    assert not any(finding.severity == "error" for finding in check(cube, deep=True).findings)


def test_a_scientist_opens_and_selects(home: Path, recorded: dict[str, Any]) -> None:
    opened = thermocube.open(home / "region.toml")
    day, night = (opened.select("thermal", time_of_day=time) for time in ("day", "night"))
    whole = opened.dataset("thermal")
    assert day.sizes["time"] + night.sizes["time"] == whole.sizes["time"] > 2
    assert 250 < float(day["imagery"].sel(band="lst").mean()) < 340
    maps = opened.dataset(f"predictions/{RUN}")
    assert maps["lithology"].dims == ("time", "y", "x")
    assert set(np.unique(maps["lithology"])) <= set(range(14))


def test_plain_xarray_opens_every_group(home: Path, recorded: dict[str, Any]) -> None:
    import icechunk

    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(home / CUBE)))
    store = repository.readonly_session("main").store
    for group in ("thermal", "sar", "optical", "labels", f"predictions/{RUN}"):
        dataset = xr.open_zarr(store, group=group, consolidated=False, chunks=None)
        for name, figures in recorded["groups"][group].items():
            assert list(dataset[name].dims) == figures["dims"]
            assert checksum(dataset[name].values) == figures["sha256"]


def test_the_region_file_is_understood_and_a_late_scene_finds_its_place(
    home: Path, recorded: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    region = Region.load(home / "region.toml")
    before = Cube.open(region).dataset("thermal", chunks=None).load()
    folder = tmp_path_factory.mktemp("today")
    simulate(folder, SETTINGS)
    late = [name for name in deliver_late(folder, SETTINGS) if _is_new(name, recorded)]
    for place in ("ecostress", "sentinel1", "sentinel2"):
        (home / place).mkdir()
    for file in (folder / "ecostress").glob(f"{late[0]}_*.tif"):
        shutil.copyfile(file, home / "ecostress" / file.name)
    report = ingest(region)
    assert not report.failures
    assert report.scenes["written"] == 1
    assert not ingest(region).changed
    cube = Cube.open(region)
    after = cube.dataset("thermal", chunks=None).load()
    assert after.sizes["time"] == before.sizes["time"] + 1
    assert (np.diff(after["time"].values) > np.timedelta64(0)).all()
    xr.testing.assert_equal(after.sel(time=before["time"]), before)
    row = cube.ledger.get(late[0])
    assert row is not None and row.status is Status.INGESTED
    assert not check(cube, region, deep=True).errors


def _is_new(granule: str, recorded: dict[str, Any]) -> bool:
    """Whether it is another acquisition than all in the golden cube, not a newer version of one."""
    acquired = granule.rsplit("_", 2)[0]
    return not any(row["granule"].startswith(acquired) for row in recorded["ledger"])
