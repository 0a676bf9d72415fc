"""Cubes on an S3 server as on disk: made, read, changed, kept well, and never lost to a race."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr

from cube.errors import StoreError
from cube.region import Region
from cube.store import Cube
from deliveries import assert_same, at_home, granules_of
from inspection import Figures, Inspector
from pipelines.check import check
from pipelines.expire import expire
from pipelines.ingest import ingest
from pipelines.rollback import rollback
from s3_server import Bucket, s3_bucket

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with s3_bucket(monkeypatch) as made:
        yield made


def remote_region(delivery: Any, home: Path, bucket: Bucket, prefix: str = "a/region") -> Region:
    """A region with all granules at hand and its cube in the bucket."""
    at_home(delivery.simulation, home, granules_of(delivery.simulation))
    text = (home / "region.toml").read_text()
    (home / "region.toml").write_text(bucket.tables(prefix) + text)
    return Region.load(home / "region.toml")


def thermocube(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_cube_on_s3_is_the_cube_on_disk(delivery: Any, tmp_path: Path, bucket: Bucket) -> None:
    import icechunk

    region = remote_region(delivery, tmp_path, bucket)
    assert ingest(region, batch=2).changed
    assert not ingest(region).changed
    cube = Cube.open(region)
    assert_same(cube, delivery.complete)
    assert_same(
        Cube.open(bucket.url("a/region"), storage_options=bucket.options), delivery.complete
    )
    assert not list(tmp_path.glob("*.icechunk*"))
    options = {**bucket.options, "from_env": True}
    storage = icechunk.s3_storage(bucket=bucket.name, prefix="a/region", **options)
    session = icechunk.Repository.open(storage).readonly_session("main")
    plain = xr.open_zarr(session.store, group="thermal", consolidated=False, chunks=None)
    xr.testing.assert_identical(plain.load(), cube.dataset("thermal", chunks=None).load())


def test_upkeep_of_a_cube_on_s3(delivery: Any, tmp_path: Path, bucket: Bucket) -> None:
    region = remote_region(delivery, tmp_path, bucket)
    ingest(region, batch=1)
    cube = Cube.open(region)
    assert not check(cube, region, deep=True).findings
    values = xr.Dataset({"lithology": (("y", "x"), np.ones(cube.grid.shape, np.uint8))})
    with cube.transaction("predict run", {"job": "predict"}, exclusive=False) as change:
        change.write("predictions/run", values)
    assert "predictions/run" in cube.groups()
    rollback(cube, cube.history()[3].id)
    assert "predictions/run" not in cube.groups()
    report = ingest(region)
    assert report.scenes["written"] == 2, report
    assert_same(cube.refresh(), delivery.complete)
    before = len(cube.history())
    expire(cube, older_than=timedelta(0), keep=1, now=datetime.now(UTC) + timedelta(days=2))
    again = Cube.open(region)
    assert len(again.history()) < before
    assert_same(again, delivery.complete)
    assert not check(again, region, deep=True).errors


def test_the_command_line_works_on_s3(delivery: Any, tmp_path: Path, bucket: Bucket) -> None:
    region = remote_region(delivery, tmp_path, bucket)
    file = tmp_path / "region.toml"
    ingest(region)
    status = thermocube("status", file, "--json")
    assert status.returncode == 0, status.stderr
    document = json.loads(status.stdout)
    assert document["cube"] == bucket.url("a/region")
    time = document["modalities"]["thermal"]["times"][0]
    target = tmp_path / "lst.tif"
    wanted = ("thermal/imagery", target, "--band", "lst", "--time", time)
    done = thermocube("export", file, *wanted)
    assert done.returncode == 0, done.stderr
    with rasterio.open(target) as exported:
        found = exported.read(1)
    expected = delivery.complete.dataset("thermal")["imagery"].sel(band="lst", time=time)
    np.testing.assert_array_equal(found, expected.squeeze())


@pytest.mark.slow
def test_two_jobs_at_once_on_s3_lose_nothing(delivery: Any, tmp_path: Path, bucket: Bucket) -> None:
    """No lock keeps them apart: conditional writes do. The cube is there already."""
    region = remote_region(delivery, tmp_path, bucket)
    Cube.create(region)
    assert_both_finish(region, tmp_path, delivery)


def test_two_jobs_that_make_a_cube_on_s3_at_once(
    delivery: Any, tmp_path: Path, bucket: Bucket
) -> None:
    assert_both_finish(remote_region(delivery, tmp_path, bucket), tmp_path, delivery)


def assert_both_finish(region: Region, home: Path, delivery: Any) -> None:
    command = [sys.executable, "-m", "pipelines.cli", "ingest", str(home / "region.toml")]
    jobs = [
        subprocess.Popen([*command, "--batch", "1"], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    errors = [job.communicate(timeout=240)[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], errors
    cube = Cube.open(region)
    assert_same(cube, delivery.complete)
    told = [name for each in cube.history() for name in each.metadata.get("granules", [])]
    assert len(told) == len(set(told)), "a scene was committed twice"


@pytest.mark.slow  # the store's client tries for most of a minute
def test_a_store_that_is_away_is_one_clear_error_and_loses_nothing(
    delivery: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = Figures()
    with s3_bucket(monkeypatch) as bucket:
        region = remote_region(delivery, tmp_path, bucket)
        ingest(region)
        inspector = Inspector(region, delivery.known, figures)
        inspector.finish()
        figures.faults["store away"] += 1
        away = bucket.tables("a/region")
        text = (tmp_path / "region.toml").read_text()
        (tmp_path / "region.toml").write_text(
            text.replace(away, Bucket("http://127.0.0.1:9").tables("a/region"))
        )
        with pytest.raises(StoreError, match="cannot be opened"):
            ingest(Region.load(tmp_path / "region.toml"))
        inspector.finish()
    figures.assert_clean()
