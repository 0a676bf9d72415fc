"""The cube in its store: all or nothing, whole to every reader, and damage that shows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rioxarray  # noqa: F401 - registers the accessor that reads the grid mapping
import xarray as xr
import zarr

import cube as package
from cube import timeline
from cube.errors import CubeLockedError, CubeNotFoundError, SelectionError, StoreError
from cube.grid import grid_of, require_same
from cube.labels import LabelSettings, rasterise
from cube.ledger import Ledger
from cube.region import Region
from cube.scene import Coverage, Reading
from cube.storage import storage, write_lock
from cube.store import Cube
from cube.timeline import Step

SCHEMA = Path(__file__).resolve().parents[1] / "data" / "schema.json"
START = datetime(2024, 3, 1, 10, tzinfo=UTC)


@pytest.fixture
def region(tmp_path: Path) -> Region:
    tables = {
        "name": "little",
        "area": {"bbox": [-4.10, 38.70, -4.00, 38.78], "resolution": 70.0},
        "period": {"start": "2024-01-01"},
        "modalities": {
            "thermal": {"bands": ["lst", "emissivity"]},
            "modis_lst": {"bands": ["lst"], "resolution": 1000.0},
        },
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
    return Region.parse(tables, tmp_path)


@pytest.fixture
def little(region: Region) -> Cube:
    """A new cube with two thermal scenes of noise, which no codec makes small."""
    made = Cube.create(region)
    with made.transaction("two scenes", {"granules": ["g0", "g1"]}) as change:
        timeline.apply(change.session, "thermal", [], [step(made, 0), step(made, 1)])
    return made


def step(where: Cube, day: int) -> Step:
    rng = np.random.default_rng(day)
    height, width = where.grid.shape
    bands = [rng.uniform(280, 320, (height, width)), rng.uniform(0.9, 1.0, (height, width))]
    qc = rng.choice(np.array([0, 1, 2, 16], np.uint8), (height, width))
    reading = Reading.build(bands, qc, rng.integers(0, 65536, (height, width)))
    time = START + timedelta(days=day)
    return Step(time, reading, (f"g{day}",), "ISS", Coverage.of(reading.qc), 30.0, 12.0)


def test_a_cube_opens_by_place_by_region_and_by_region_file(
    little: Cube, region: Region, tmp_path: Path
) -> None:
    text = (
        'name = "little"\n[area]\nbbox = [-4.10, 38.70, -4.00, 38.78]\n[period]\n'
        'start = 2024-01-01\n[modalities.thermal]\nbands = ["lst", "emissivity"]\n'
        '[[sources]]\nkind = "ecostress"\nname = "e"\npath = "e"\n'
    )
    (tmp_path / "little.toml").write_text(text)
    for where in (region, region.location, Path(region.location), tmp_path / "little.toml"):
        opened = package.open(where)
        assert opened.name == "little"
        assert opened.snapshot == little.snapshot
        require_same(opened.grid, region.grid, "opened")


def test_where_no_cube_is_the_error_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(CubeNotFoundError, match=r"no cube at .*nowhere.*thermocube ingest"):
        Cube.open(tmp_path / "nowhere")


def test_a_repository_of_something_else_is_no_cube(tmp_path: Path) -> None:
    import icechunk

    icechunk.Repository.create(storage(str(tmp_path / "other")))
    with pytest.raises(CubeNotFoundError, match="holds no cube"):
        Cube.open(tmp_path / "other")


def test_an_older_snapshot_shows_what_was_and_refresh_what_is(little: Cube) -> None:
    before = little.snapshot
    reader = Cube.open(little.location)
    with little.transaction("a third", {}) as change:
        timeline.apply(change.session, "thermal", [], [step(little, 2)])
    assert reader.dataset("thermal").sizes["time"] == 2
    assert reader.refresh().dataset("thermal").sizes["time"] == 3
    assert little.at(before).dataset("thermal").sizes["time"] == 2


def test_a_change_that_breaks_off_is_never_seen(little: Cube) -> None:
    before = little.snapshot
    with pytest.raises(RuntimeError, match="in the middle"), little.transaction("no", {}) as change:
        timeline.apply(change.session, "thermal", [], [step(little, 5)])
        raise RuntimeError("in the middle")
    assert Cube.open(little.location).snapshot == before
    with little.transaction("yes", {}) as change:
        timeline.apply(change.session, "thermal", [], [step(little, 5)])
    assert Cube.open(little.location).dataset("thermal").sizes["time"] == 3


def test_history_says_what_was_done_and_from_what(little: Cube) -> None:
    newest = little.history()[0]
    assert newest.message == "two scenes"
    assert newest.metadata["granules"] == ["g0", "g1"]
    assert newest.metadata["code"]
    assert newest.id == little.snapshot


def small() -> xr.Dataset:
    return xr.Dataset({"a": ("x", np.arange(3))})


def test_changes_in_groups_of_their_own_both_land(little: Cube) -> None:
    other = Cube.open(little.location)
    with little.transaction("one", {}, exclusive=False) as first:
        first.write("predictions/one", small())
        with other.transaction("two", {}, exclusive=False) as second:
            second.write("predictions/two", small())
    assert {"predictions/one", "predictions/two"} <= set(little.refresh().groups())


def test_changes_in_one_group_are_a_conflict_and_the_first_stays(little: Cube) -> None:
    other = Cube.open(little.location)
    with (
        pytest.raises(StoreError, match="same group") as caught,
        little.transaction("one", {}, exclusive=False) as first,
    ):
        first.write("predictions/run", small())
        with other.transaction("two", {}, exclusive=False) as second:
            second.write("predictions/run", small() + 10)
    assert caught.value.kind == "conflict"
    stored = other.refresh().dataset("predictions/run")["a"].values
    np.testing.assert_array_equal(stored, [10, 11, 12])


def test_templates_are_filled_piece_by_piece_and_groups_deleted(little: Cube) -> None:
    import dask.array as da

    layer = xr.Dataset({"lst": (("y", "x"), da.zeros((6, 8), chunks=4, dtype=np.float32))})
    with little.transaction("sharpen", {}) as change:
        change.template("sharpened/run", layer, {"y": 4, "x": 4})
        array = change.array("sharpened/run/lst")
        array[:4, :4] = 1.0
        array[4:, 4:] = 2.0
    stored = little.dataset("sharpened/run")["lst"].values
    assert stored[0, 0] == 1.0
    assert stored[5, 7] == 2.0
    with little.transaction("away", {}) as change:
        change.delete("sharpened/run")
    with pytest.raises(SelectionError, match=r"no group 'sharpened/run'.*thermal"):
        little.dataset("sharpened/run")


def test_plain_xarray_reads_a_cube_and_finds_its_grid(little: Cube, region: Region) -> None:
    plain = xr.open_zarr(little.session.store, group="thermal", consolidated=False)
    assert plain["imagery"].dims == ("time", "band", "y", "x")
    assert (np.diff(plain["time"].values) > np.timedelta64(0, "ns")).all()
    assert plain["imagery"].rio.crs.to_epsg() == 32630
    require_same(region.grid, grid_of(plain), "plain")


def test_modalities_have_grids_of_their_own_from_one_corner(little: Cube, region: Region) -> None:
    coarse, fine = little.grid_of("modis_lst"), little.grid_of("thermal")
    require_same(fine, region.grid, "thermal")
    assert coarse.affine.a == 1000.0
    assert (coarse.affine.c, coarse.affine.f) == (fine.affine.c, fine.affine.f)
    assert little.dataset("modis_lst").sizes["y"] == coarse.shape[0]


def chunk_files(where: Cube) -> list[Path]:
    folder = Path(where.location) / "chunks"
    return sorted(folder.rglob("*"), key=lambda file: -file.stat().st_size)


def flip(file: Path, share: float = 0.5) -> None:
    data = bytearray(file.read_bytes())
    data[int(len(data) * share)] ^= 0x01
    file.write_bytes(data)


def test_a_flipped_byte_in_a_chunk_raises_instead_of_being_data(little: Cube) -> None:
    victims = [file for file in chunk_files(little) if file.is_file()]
    assert victims
    for victim in victims:
        flip(victim)
    with pytest.raises(Exception, match=r"(?i)checksum|crc"):
        Cube.open(little.location).dataset("thermal", chunks=None)["imagery"].load()


@pytest.mark.parametrize("share", [0.05, 0.5, 0.999])
def test_a_flipped_byte_in_a_coordinate_raises_too(little: Cube, share: float) -> None:
    before = set(chunk_files(little))
    centres = np.random.default_rng(1).uniform(0, 1, 500)
    layer = xr.Dataset({"a": ("x", np.zeros(500, np.uint8))}, {"x": centres, "place": 7.0})
    with little.transaction("noise", {}) as change:
        change.write("labels", layer)
    (victim,) = (file for file in set(chunk_files(little)) - before if file.stat().st_size > 3500)
    flip(victim, share)
    with pytest.raises(ValueError, match=r"(?i)checksum|crc"):
        Cube.open(little.location).dataset("labels", chunks=None)


def test_every_array_ends_in_a_checksum(little: Cube) -> None:
    import dask.array as da

    layer = xr.Dataset({"a": ("x", da.zeros(8, chunks=4))}, {"x": np.arange(8.0), "run": 1})
    with little.transaction("more groups", {}) as change:
        change.write("labels", layer.compute())
        change.template("predictions/run", layer, {"x": 4})
        change.write("ledger", Ledger().to_dataset())
    root = zarr.open_group(little.session.store, mode="r")
    arrays = {
        path: node for path, node in root.members(max_depth=None) if isinstance(node, zarr.Array)
    }
    assert {"thermal/x", "modis_lst/spatial_ref", "labels/run", "predictions/run/x"} <= set(arrays)
    bare = [
        path
        for path, node in arrays.items()
        if not node.compressors or type(node.compressors[-1]).__name__ != "Crc32cCodec"
    ]
    assert not bare


def test_a_snapshot_that_is_not_there_is_named(little: Cube) -> None:
    for snapshot in ("nonsense", "QZZZZZZZZZZZZZZZZZZ0"):
        with pytest.raises(StoreError, match=f"no snapshot '{snapshot}'.*thermocube history"):
            little.at(snapshot)


@pytest.mark.parametrize("group", ["", "predictions", "thermal/imagery", "thermal/no", "no/where"])
def test_what_is_no_group_of_arrays_cannot_be_opened(little: Cube, group: str) -> None:
    with pytest.raises(SelectionError, match=r"it has modis_lst, thermal"):
        little.dataset(group)


def test_a_group_that_is_not_there_cannot_be_deleted(little: Cube) -> None:
    before = little.snapshot
    with (
        pytest.raises(SelectionError, match=r"no group 'predictions/tyop'"),
        little.transaction("away", {}) as change,
    ):
        change.delete("predictions/tyop")
    assert little.refresh().snapshot == before


def test_two_jobs_that_make_the_same_cube_make_it_once(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one gets in between looking for the cube and making it."""
    original, others = Cube.transaction, []

    def overtaken(self: Cube, *args: Any, **kwargs: Any) -> Any:
        if not others:
            others.append(None)
            others.append(Cube.create(region))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Cube, "transaction", overtaken)
    mine = Cube.create(region)
    assert others[1] is not None
    assert mine.snapshot == others[1].snapshot
    assert mine.groups() == ["modis_lst", "thermal"]


def test_a_transaction_without_a_change_is_no_commit(little: Cube) -> None:
    before = little.snapshot
    with little.transaction("nothing", {}):
        pass
    assert little.snapshot == before


def describe(where: Cube) -> dict[str, Any]:
    """What a reader may rely on: names, dimensions, types, attributes, codecs; no sizes."""
    root = zarr.open_group(where.session.store, mode="r")
    found: dict[str, Any] = {}
    place = {"proj:code", "proj:wkt2", "proj:transform", "proj:shape", "label_report", "source"}
    for path, node in sorted(root.members(max_depth=None)):
        attrs = {
            key: value
            for key, value in sorted(node.attrs.items())
            if key not in place and "spatial_ref" not in path
        }
        if isinstance(node, zarr.Array):
            found[path] = {
                "dims": list(node.metadata.dimension_names or ()),
                "dtype": str(node.dtype),
                "fill": str(node.fill_value),
                "codecs": [type(codec).__name__ for codec in node.compressors],
                "attrs": attrs,
            }
        else:
            found[path] = {"attrs": attrs}
    return found


def labels(folder: Path, region: Region) -> xr.Dataset:
    """A label map of one square."""
    corners = [[-4.08, 38.72], [-4.02, 38.72], [-4.02, 38.76], [-4.08, 38.76], [-4.08, 38.72]]
    geometry = {"type": "Polygon", "coordinates": [corners]}
    square = {"type": "Feature", "properties": {"class": 7}, "geometry": geometry}
    file = folder / "square.geojson"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": [square]}))
    return rasterise(LabelSettings(path=file, column="class"), region.grid)


def test_the_schema_is_the_reviewed_one(little: Cube, region: Region, tmp_path: Path) -> None:
    """To change it on purpose: raise SCHEMA_VERSION, delete the file, run once, review the diff."""
    with little.transaction("labels and ledger", {}) as change:
        change.write("labels", labels(tmp_path, region))
        change.write("ledger", Ledger().to_dataset())
    found = json.loads(json.dumps(describe(little)))
    if not SCHEMA.exists():
        SCHEMA.parent.mkdir(exist_ok=True)
        SCHEMA.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        pytest.fail(f"wrote {SCHEMA}: review it and run again")
    assert found == json.loads(SCHEMA.read_text())


HOLD = """
import sys, time
from cube.storage import write_lock
with write_lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_waits_then_says_who_is_in_the_way_and_a_dead_one_lets_go(
    little: Cube,
) -> None:
    root = Path(__file__).resolve().parents[2]
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, little.location], cwd=root, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "held"
        with (
            pytest.raises(CubeLockedError, match=r"another job.*\.lock"),
            write_lock(little.location, timeout=0.2),
        ):
            pytest.fail("two writers at once")
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()
    with write_lock(little.location, timeout=5):
        pass


@pytest.mark.parametrize("location", ["s3://bucket/cubes/la", "gs://bucket/la"])
def test_object_stores_are_accepted(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    options = {"region": "eu-central-1"} if location.startswith("s3") else {}
    assert "bucket" in repr(storage(location, options))


def test_other_places_and_unknown_options_are_refused() -> None:
    with pytest.raises(StoreError, match=r"ftp://host/cube.*s3://bucket/prefix"):
        storage("ftp://host/cube")
    with pytest.raises(StoreError, match=r"storage_options.*endpoint"):
        storage("s3://bucket/cube", {"endpoint": "http://127.0.0.1:1"})
