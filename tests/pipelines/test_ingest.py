"""Ingest in any order, twice, in halves, with broken granules: the same cube, nothing lost."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from cube.bands import Band
from cube.errors import CubeNotFoundError, GridError, SourceError, StoreError
from cube.ledger import Status
from cube.quality import is_valid
from cube.region import Region
from cube.scene import Granule, Reading
from cube.sources import EcostressSource
from cube.sources.base import Period
from cube.store import Cube
from deliveries import assert_same, at_home, deliver, granules_of
from pipelines.ingest import ingest, plan
from pipelines.plan import Action
from pipelines.simulate import Simulation


def test_the_reference_is_what_was_simulated(complete: Simulation, reference: Cube) -> None:
    scenes = reference.dataset("thermal", chunks=None).load()
    truth = complete.truth
    assert scenes.sizes["time"] >= 4
    finite = np.isfinite(scenes["imagery"]).all("band").values
    np.testing.assert_array_equal(finite, is_valid(scenes["qc"].values))
    when = {np.datetime64(time, "s"): index for index, time in enumerate(truth.time)}
    for index, time in enumerate(scenes["time"].values.astype("datetime64[s]")):
        lst = scenes["imagery"].sel(band="lst").values[index]
        true = truth.lst[when[time]]
        clear = np.isfinite(lst)
        assert not (clear & truth.cloud[when[time]]).any()
        assert abs(np.median(lst[clear] - true[clear])) < 2.0
        assert np.std(lst[clear] - true[clear]) < 2.0


@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_order_any_halves_twice_is_the_same_cube(
    complete: Simulation,
    reference: Cube,
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
) -> None:
    names = data.draw(st.permutations(granules_of(complete)))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(names) - 1), min_size=1, max_size=3)))
    parts = [names[start:end] for start, end in zip([0, *cuts], [*cuts, len(names)], strict=True)]
    region = at_home(complete, tmp_path_factory.mktemp("shuffled"), parts[0])
    batch = data.draw(st.integers(1, 4))
    ingest(region, batch=batch, workers=data.draw(st.integers(1, 3)))
    for part in parts[1:]:
        deliver(complete, region.sources[0].location.parent, part)
        ingest(region, batch=batch)
    assert_same(Cube.open(region), reference)


def test_a_second_ingest_changes_nothing_and_says_so(complete: Simulation, tmp_path: Path) -> None:
    region = at_home(complete, tmp_path, granules_of(complete))
    first = ingest(region)
    again = ingest(region)
    assert first.changed
    assert not again.changed
    assert again.snapshot == first.snapshot
    assert again.scenes == {"skipped": len(plan(region).work)}
    assert not plan(region).todo


def test_what_is_no_longer_there_stays_in_the_cube(
    complete: Simulation, reference: Cube, tmp_path: Path
) -> None:
    region = at_home(complete, tmp_path, granules_of(complete))
    ingest(region)
    shutil.rmtree(tmp_path / "ecostress")
    (tmp_path / "ecostress").mkdir()
    report = ingest(region)
    assert not report.changed
    assert_same(Cube.open(region), reference)


def test_a_source_that_cannot_be_searched_stops_the_run_and_changes_nothing(
    complete: Simulation, reference: Cube, tmp_path: Path
) -> None:
    region = at_home(complete, tmp_path, granules_of(complete))
    ingest(region)
    shutil.rmtree(tmp_path / "ecostress")
    with pytest.raises(SourceError, match="ecostress"):
        ingest(region)
    assert_same(Cube.open(region), reference)


def test_one_pass_in_two_granules_is_one_scene(complete: Simulation, reference: Cube) -> None:
    """Defect 16: one overpass was kept as two dates."""
    scenes = reference.dataset("thermal", chunks=None)
    pairs = [str(ids).split(" ") for ids in scenes["granules"].values if " " in str(ids)]
    assert pairs
    gaps = np.diff(scenes["time"].values).astype("timedelta64[s]").astype(int)
    assert (gaps > 120).all()
    for first, second in pairs:
        assert reference.ledger.get(first) is not None
        assert reference.ledger.get(first).scene == reference.ledger.get(second).scene  # type: ignore[union-attr]


def test_the_newer_version_is_used_and_the_older_one_accounted_for(
    complete: Simulation, reference: Cube
) -> None:
    ledger = reference.ledger
    (older,) = (row for row in ledger if row.status is Status.SUPERSEDED)
    (newer,) = (row for row in ledger.of(older.key) if row is not older)
    assert newer.status is Status.INGESTED
    assert newer.version > older.version
    assert newer.granule in older.reason


def test_files_are_taken_in_order_of_time_not_of_their_names(reference: Cube) -> None:
    """Defect 7: string-sorted names put "10" before "2"."""
    times = reference.dataset("thermal", chunks=None)["time"].values
    assert (np.diff(times) > np.timedelta64(0, "ns")).all()


def test_every_granule_considered_has_a_row_that_says_why(
    complete: Simulation, reference: Cube
) -> None:
    ledger = reference.ledger
    assert {row.granule for row in ledger} == set(granules_of(complete))
    for row in ledger:
        assert row.status is Status.INGESTED or row.reason
        assert (row.scene is not None) == (row.status is Status.INGESTED)
    orphan = ledger.get(complete.orphan)
    assert orphan is not None
    assert orphan.rule == "incomplete"
    assert "LST" in orphan.reason
    cloudy = [row for row in ledger if row.rule == "max_cloud"]
    assert cloudy
    assert all(row.figure > row.limit for row in cloudy)


def test_changed_limits_take_scenes_out_and_bring_them_back(
    complete: Simulation, reference: Cube, tmp_path: Path
) -> None:
    region = at_home(complete, tmp_path, granules_of(complete))
    ingest(region)
    before = Cube.open(region).dataset("thermal").sizes["time"]
    text = (tmp_path / "region.toml").read_text()
    tight = text.replace("[modalities.thermal]", "[modalities.thermal]\nmin_valid = 0.999")
    (tmp_path / "region.toml").write_text(tight)
    report = ingest(Region.load(tmp_path / "region.toml"))
    after = Cube.open(region).dataset("thermal").sizes["time"]
    assert report.scenes["removed"] == before - after > 0
    assert [row for row in Cube.open(region).ledger if row.rule == "min_valid"]
    (tmp_path / "region.toml").write_text(text)
    assert ingest(Region.load(tmp_path / "region.toml")).scenes["written"] == before - after
    assert_same(Cube.open(region), reference)


def break_file(kind: str, folder: Path, granule: str) -> None:
    """Do to one granule what is done to files in real life."""
    lst = folder / f"{granule}_LST.tif"
    if kind == "truncated":
        lst.write_bytes(lst.read_bytes()[: lst.stat().st_size // 2])
    elif kind == "login page":
        lst.write_text("<!DOCTYPE html><html><title>Earthdata Login</title></html>")
    elif kind == "empty file":
        lst.write_bytes(b"")
    elif kind == "LST_err as LST":
        shutil.copyfile(folder / f"{granule}_LST_err.tif", lst)
    elif kind == "undefined quality word":
        with rasterio.open(folder / f"{granule}_QC.tif") as source:
            profile, word = source.profile, source.read(1)
        word[5:20, 5:20] = 2
        profile.update(driver="GTiff")
        with rasterio.open(folder / f"{granule}_QC.tif", "w", **profile) as target:
            target.write(word, 1)


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("truncated", "truncated"),
        ("login page", "not_a_raster"),
        ("empty file", "truncated"),
        ("LST_err as LST", "wrong_layer"),
        ("undefined quality word", "bad_quality_word"),
    ],
)
def test_a_broken_granule_is_one_row_and_heals_when_it_is_replaced(
    complete: Simulation, reference: Cube, tmp_path: Path, kind: str, rule: str
) -> None:
    """Defect 1 (LST_err read as LST) and the corrupt-granule collection."""
    region = at_home(complete, tmp_path, granules_of(complete))
    victim = next(row for row in reference.ledger if row.status is Status.INGESTED).granule
    break_file(kind, tmp_path / "ecostress", victim)
    report = ingest(region)
    row = Cube.open(region).ledger.get(victim)
    assert row is not None
    assert (row.status, row.rule, row.tries) == (Status.FAILED, rule, 1)
    assert victim in report.failures[0]
    assert len(report.failures) == 1
    assert plan(region).count()[Action.RETRY] == 1
    ingest(region)
    row = Cube.open(region).ledger.get(victim)
    assert row is not None
    assert row.tries == 2
    deliver(complete, tmp_path, [victim])
    assert not ingest(region).failures
    assert_same(Cube.open(region), reference)


def test_a_good_scene_is_not_lost_when_its_file_is_replaced_by_a_broken_one(
    complete: Simulation, reference: Cube, tmp_path: Path
) -> None:
    region = at_home(complete, tmp_path, granules_of(complete))
    ingest(region)
    before = Cube.open(region).dataset("thermal", chunks=None).load()
    victim = str(before["granules"].values[0]).split(" ")[0]
    break_file("truncated", tmp_path / "ecostress", victim)
    report = ingest(region)
    assert victim in report.failures[0]
    xr.testing.assert_identical(Cube.open(region).dataset("thermal", chunks=None).load(), before)
    deliver(complete, tmp_path, [victim])
    ingest(region)
    assert_same(Cube.open(region), reference)


def test_a_newer_version_that_cannot_be_read_leaves_the_older_one_in_use(
    complete: Simulation, tmp_path: Path
) -> None:
    region = at_home(complete, tmp_path, granules_of(complete))
    newer = next(name for name in complete.late if granules_share_acquisition(complete, name))
    break_file("truncated", tmp_path / "ecostress", newer)
    report = ingest(region)
    ledger = Cube.open(region).ledger
    failed = ledger.get(newer)
    assert failed is not None
    assert failed.status is Status.FAILED
    older = [row for row in ledger.of(failed.key) if row.granule != newer]
    assert [row.status for row in older] == [Status.INGESTED]
    assert len(report.failures) == 1
    unchanged = Cube.open(region).dataset("thermal", chunks=None).load()
    ingest(region)
    xr.testing.assert_identical(Cube.open(region).dataset("thermal", chunks=None).load(), unchanged)


def granules_share_acquisition(simulation: Simulation, name: str) -> bool:
    """Whether another version of the same acquisition lies in the folder."""
    stem = name.rsplit("_", 2)[0]
    return sum(other.startswith(stem) for other in granules_of(simulation)) > 1


def test_a_granule_elsewhere_is_noted_as_empty(complete: Simulation, tmp_path: Path) -> None:
    region = at_home(complete, tmp_path, granules_of(complete)[:2])
    tables = region.model_dump(mode="json", exclude_none=True)
    tables["area"]["bbox"] = [-3.6, 38.2, -3.55, 38.25]
    tables["store"] = "elsewhere.icechunk"
    del tables["labels"]
    elsewhere = Region.parse(tables, tmp_path)
    ingest(elsewhere)
    ledger = Cube.open(elsewhere).ledger
    assert {row.status for row in ledger} == {Status.EMPTY}
    assert Cube.open(elsewhere).dataset("thermal").sizes["time"] == 0
    assert not ingest(elsewhere).changed


def test_another_grid_is_refused_with_both_grids(complete: Simulation, tmp_path: Path) -> None:
    region = at_home(complete, tmp_path, granules_of(complete)[:1])
    ingest(region)
    tables = region.model_dump(mode="json", exclude_none=True)
    tables["area"]["resolution"] = 140.0
    with pytest.raises(GridError, match=r"of 70 m.*\n.*of 140 m"):
        ingest(Region.parse(tables, tmp_path))


def test_other_bands_are_refused(complete: Simulation, tmp_path: Path) -> None:
    region = at_home(complete, tmp_path, granules_of(complete)[:1])
    ingest(region)
    tables = region.model_dump(mode="json", exclude_none=True)
    tables["modalities"]["thermal"]["bands"] = ["emissivity", "lst"]
    with pytest.raises(StoreError, match="bands cannot change"):
        ingest(Region.parse(tables, tmp_path))


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collects the granules that are read from now on."""
    seen: list[str] = []
    read = EcostressSource.read

    def counting(
        self: EcostressSource, granule: Granule, grid: GeoBox, bands: Sequence[Band]
    ) -> Reading:
        seen.append(granule.id)
        return read(self, granule, grid, bands)

    monkeypatch.setattr(EcostressSource, "read", counting)
    return seen


def one_of_a_pair(cube: Cube) -> str:
    """A granule that makes a scene together with another one."""
    ids = cube.dataset("thermal", chunks=None)["granules"].values
    return next(str(each).split(" ")[0] for each in ids if " " in str(each))


@pytest.mark.parametrize("late", [False, True], ids=["broken at first", "broken when it arrives"])
def test_only_what_failed_is_read_again(
    complete: Simulation,
    reference: Cube,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    late: bool,
) -> None:
    """Its neighbour in the scene is read once, however often a granule fails."""
    victim = one_of_a_pair(reference)
    others = [name for name in granules_of(complete) if name != victim]
    region = at_home(complete, tmp_path, others)
    if late:
        ingest(region)
    deliver(complete, tmp_path, [victim])
    break_file("truncated", tmp_path / "ecostress", victim)
    ingest(region)
    before = Cube.open(region).dataset("thermal", chunks=None).load()
    read = reads(monkeypatch)
    for tries in (2, 3):
        (failure,) = ingest(region).failures
        assert (failure.granule, failure.kind, failure.tries) == (victim, "truncated", tries)
    assert read == [victim, victim]
    xr.testing.assert_identical(Cube.open(region).dataset("thermal", chunks=None).load(), before)
    deliver(complete, tmp_path, [victim])
    ingest(region)
    assert_same(Cube.open(region), reference)


def test_an_older_version_in_use_is_not_read_again_while_the_newer_one_fails(
    complete: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    region = at_home(complete, tmp_path, granules_of(complete))
    newer = next(name for name in complete.late if granules_share_acquisition(complete, name))
    break_file("truncated", tmp_path / "ecostress", newer)
    ingest(region)
    read = reads(monkeypatch)
    ingest(region)
    assert read == [newer]


def test_a_report_says_how_much_was_read(complete: Simulation, tmp_path: Path) -> None:
    region = at_home(complete, tmp_path, granules_of(complete))
    expected = plan(region).size()
    report = ingest(region)
    assert report.bytes_read == expected
    assert report.seconds > 0
    assert ingest(region).bytes_read == 0


def test_times_finer_than_the_cube_keeps_can_be_replaced(
    complete: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sentinel-1 items give microseconds; ledger and time axis must agree on what is kept."""
    search = EcostressSource.search

    def finer(self: EcostressSource, grid: GeoBox, period: Period) -> list[Granule]:
        found = search(self, grid, period)
        return [
            dataclasses.replace(one, time=one.time and one.time + timedelta(microseconds=999_777))
            for one in found
        ]

    monkeypatch.setattr(EcostressSource, "search", finer)
    region = at_home(complete, tmp_path, granules_of(complete))
    ingest(region)
    before = Cube.open(region)
    times = before.dataset("thermal", chunks=None)["time"].values
    stored = {
        np.datetime64(row.scene.replace(tzinfo=None), "ns") for row in before.ledger if row.scene
    }
    assert stored == set(times)
    text = (tmp_path / "region.toml").read_text()
    tight = text.replace("[modalities.thermal]", "[modalities.thermal]\nmin_valid = 0.001")
    (tmp_path / "region.toml").write_text(tight)
    report = ingest(Region.load(tmp_path / "region.toml"), batch=3)
    assert report.scenes["replaced"] == len(times)
    np.testing.assert_array_equal(Cube.open(region).dataset("thermal")["time"].values, times)


def test_planning_writes_nothing(complete: Simulation, tmp_path: Path) -> None:
    region = at_home(complete, tmp_path, granules_of(complete))
    drawn = plan(region)
    assert drawn.count()[Action.NEW] == len(drawn.work) > 0
    assert drawn.size() > 0
    with pytest.raises(CubeNotFoundError):
        Cube.open(region)
    assert not list(tmp_path.glob("*.icechunk*"))


def test_history_tells_which_granules_made_a_commit(complete: Simulation, reference: Cube) -> None:
    told = [name for commit in reference.history() for name in commit.metadata.get("granules", [])]
    stored = [str(ids).split(" ") for ids in reference.dataset("thermal")["granules"].values]
    assert sorted(told) == sorted(name for ids in stored for name in ids)
