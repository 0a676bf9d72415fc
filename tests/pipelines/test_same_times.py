"""Times that occur twice: in one pass, in two passes, in a cube that others wrote."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from cube.errors import StoreError
from cube.ledger import Status
from cube.region import Region
from cube.store import Cube
from inspection import Figures, Inspector, Known
from pipelines.check import check
from pipelines.ingest import ingest
from upstream import DELIVERIES, Archive

SIZE, LEFT, TOP, STEP = 8, 399_960.0, 4_300_020.0, 70.0
NOON = np.datetime64("2024-01-01T12:00", "ns")

REGION = f"""
name = "twice"
[area]
bounds = [{LEFT}, {TOP - SIZE * STEP}, {LEFT + SIZE * STEP}, {TOP}]
crs = "EPSG:32630"
resolution = {STEP}
[period]
start = "2024-01-01"
[modalities.thermal]
bands = ["lst"]
max_bad = 1.0
"""
SOURCE = f"""
[[sources]]
kind = "netcdf"
name = "{{name}}"
path = "{{name}}.nc"
platform = "{{name}}"
bands = {{{{ lst = "lst" }}}}
placement = {{{{ crs = "EPSG:32630", upper_left = [{LEFT}, {TOP}], pixel_size = {STEP} }}}}
"""


def made(home: Path, **times: list[np.datetime64]) -> Region:
    """A region of NetCDF files, each of a platform of its own, with scenes at these times."""
    tables = REGION
    for seed, (name, stamps) in enumerate(times.items()):
        rng = np.random.default_rng(seed)
        image = rng.uniform(290, 310, (len(stamps), SIZE, SIZE)).astype(np.float32)
        image[rng.random(image.shape) < 0.4] = np.nan
        scenes = xr.Dataset({"lst": (("time", "y", "x"), image)}, {"time": stamps})
        scenes.to_netcdf(home / f"{name}.nc", engine="h5netcdf")
        tables += SOURCE.format(name=name)
    (home / "region.toml").write_text(tables)
    return Region.load(home / "region.toml")


def assert_right(region: Region, scenes: int) -> Cube:
    """So many scenes, each the mosaic of what the ledger lists for it, and nothing to find."""
    cube, figures = Cube.open(region), Figures()
    assert Inspector(region, Known(region, cube), figures).look() == scenes
    assert not figures.half_visible_scenes + figures.wrong_pixels, str(figures)
    assert check(cube, region, deep=True).healthy
    assert not ingest(region).changed
    return cube


def test_two_granules_of_a_pass_with_one_time_are_one_scene_in_whatever_order_they_come(
    tmp_path: Path,
) -> None:
    archive = Archive(tmp_path / "archive")
    names = [versions[-1] for versions in DELIVERIES["at once"]]
    stacks = []
    for index, order in enumerate(permutations(names)):
        home = tmp_path / str(index)
        region = archive.at(home)
        for name in order:
            archive.show(home, name)
            ingest(region)
        stacks.append(assert_right(region, 1).dataset("thermal", chunks=None).load())
    xr.testing.assert_identical(*stacks)
    assert str(stacks[0]["granules"].values[0]).split() == sorted(names)


def test_passes_of_two_platforms_in_one_second_are_two_scenes(tmp_path: Path) -> None:
    region = made(tmp_path, a=[NOON], b=[NOON + np.timedelta64(400, "ms")])
    ingest(region)
    scenes = assert_right(region, 2).dataset("thermal", chunks=None)
    assert list(scenes["platform"].values) == ["a", "b"]


@pytest.mark.parametrize("first", ["a", "b"])
def test_passes_of_two_platforms_in_one_millisecond_are_one_scene(
    tmp_path: Path, first: str
) -> None:
    """Whichever comes first; the rest of the run goes on."""
    day = np.timedelta64(1, "D")
    region = made(tmp_path, a=[NOON], b=[NOON + np.timedelta64(7, "us"), NOON + day])
    late = tmp_path / f"{'ab'.replace(first, '')}.nc"
    whole = late.read_bytes()
    late.write_bytes(b"")
    with pytest.raises(Exception, match=late.name):
        ingest(region)
    alone = made_of(region, first)
    ingest(alone)
    late.write_bytes(whole)
    ingest(region)
    cube = assert_right(region, 2)
    assert str(cube.dataset("thermal", chunks=None)["platform"].values[0]) == "a+b"
    assert {row.status for row in cube.ledger} == {Status.INGESTED}


def made_of(region: Region, name: str) -> Region:
    """The same region with one of its sources."""
    only = tuple(source for source in region.sources if source.name == name)
    return region.model_copy(update={"sources": only})


def test_a_time_that_stands_twice_in_a_file_of_others_is_one_scene(tmp_path: Path) -> None:
    day = np.timedelta64(1, "D")
    region = made(tmp_path, cube=[NOON + 2 * day, NOON, NOON + day, NOON, NOON + day])
    report = ingest(region)
    assert not report.failures
    scenes = assert_right(region, 3).dataset("thermal", chunks=None)
    assert [len(str(ids).split()) for ids in scenes["granules"].values] == [2, 2, 1]


def test_a_cube_in_which_others_wrote_a_time_twice_is_told_and_not_made_worse(
    tmp_path: Path,
) -> None:
    days = np.timedelta64(1, "D") * np.arange(4)
    region = made(tmp_path, a=list(NOON + days[:3]))
    ingest(region)
    cube = Cube.open(region)
    with cube.transaction("by others", {}) as change:
        times = change.array("thermal/time")
        values = times[:]
        values[1] = values[0]
        times[:] = values
    before = Cube.open(region).dataset("thermal", chunks=None).load()
    assert "time_order" in {entry.kind for entry in check(Cube.open(region)).errors}
    made(tmp_path, a=list(NOON + days))
    with pytest.raises(StoreError, match="2024-01-01 12:00:00") as caught:
        ingest(region)
    assert caught.value.kind == "time_order"
    assert "thermocube check" in str(caught.value)
    xr.testing.assert_identical(Cube.open(region).dataset("thermal", chunks=None).load(), before)
    assert datetime(2024, 1, 1, 12, tzinfo=UTC) in {row.scene for row in cube.ledger}
