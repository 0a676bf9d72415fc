"""Every fault is put into a real cube, found, and named; a healthy cube has no finding."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from cube.ledger import Row, Status
from cube.quality import Flag
from cube.region import Region
from cube.store import Cube, Transaction
from deliveries import assert_same, at_home, granules_of
from pipelines.check import BASELINE, NEWEST, check
from pipelines.expire import expire
from pipelines.findings import CheckReport, Severity
from pipelines.ingest import ingest
from pipelines.repair import repair
from pipelines.simulate import Simulation


@pytest.fixture(scope="module")
def made(complete: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A region's folder with everything ingested; never changed."""
    folder = tmp_path_factory.mktemp("made")
    ingest(at_home(complete, folder, granules_of(complete)))
    return folder


@pytest.fixture
def region(made: Path, tmp_path: Path) -> Region:
    """A copy of it, to be spoilt."""
    home = tmp_path / "home"
    shutil.copytree(made, home)
    return Region.load(home / "region.toml")


@pytest.fixture
def cube(region: Region) -> Cube:
    return Cube.open(region)


def kinds(report: CheckReport) -> set[str]:
    return {entry.kind for entry in report.findings}


def the_finding(report: CheckReport, kind: str) -> str:
    """The text of the one finding there is, which is of this kind."""
    assert kinds(report) == {kind}, [str(entry) for entry in report.findings]
    return str(report.findings[0])


def spoil(cube: Cube, change: Callable[[Transaction], None]) -> CheckReport:
    """Write past the ledger, and look at everything."""
    with cube.transaction("spoil", {}) as tx:
        change(tx)
    return check(cube, deep=True)


def ledger_with(cube: Cube, **changes: object) -> Callable[[Transaction], None]:
    """Edit the row of the first ingested granule."""
    row = first(cube, Status.INGESTED)
    edited = dataclasses.replace(row, **changes)  # type: ignore[arg-type]
    return lambda tx: tx.write("ledger", cube.ledger.updated([edited]).to_dataset())


def first(cube: Cube, status: Status) -> Row:
    return next(row for row in cube.ledger if row.status is status)


def test_a_healthy_cube_has_no_finding(cube: Cube, region: Region) -> None:
    day = timedelta(days=1)
    newest = cube.dataset("thermal").time.values[-1].astype("datetime64[us]").item()
    now = newest.replace(tzinfo=UTC) + day
    for deep in (False, True):
        report = check(cube, region, now=now, max_age=7 * day, deep=deep)
        assert report.healthy, [str(entry) for entry in report.findings]
    count = cube.dataset("thermal").sizes["time"]
    assert report.checked["scenes read"] == count
    assert report.checked["scenes planned"] >= count
    assert report.checked["granules"] == len(cube.ledger)
    assert report.to_dict()["healthy"]


def test_the_sample_holds_the_newest_scene_and_changes_by_the_day(cube: Cube) -> None:
    lines: list[list[str]] = []
    for day in range(8):
        seen: list[str] = []
        now = datetime(2026, 1, 1 + day, tzinfo=UTC)
        check(cube, now=now, sample=2, progress=lambda _, __, line, s=seen: s.append(line))
        lines.append(seen)
    newest = str(cube.dataset("thermal").time.values[-1].astype("datetime64[D]"))
    assert all(len(seen) == 2 and newest in seen[-1] for seen in lines)
    assert len({seen[0] for seen in lines}) > 1


def chunk_files(cube: Cube) -> list[Path]:
    return sorted((Path(cube.location) / "chunks").iterdir())


def test_every_chunk_object_that_is_flipped_or_gone_is_found(cube: Cube) -> None:
    """One object after another: some are pixels, some labels, some the ledger's."""
    # Only what the newest snapshot refers to: what is damaged in an older one is not its fault.
    expire(cube, timedelta(0), keep=1, now=datetime.now(UTC) + timedelta(days=2))
    files = chunk_files(cube)
    assert len(files) > 5
    random = np.random.default_rng(5)
    for file, fault in itertools.product(files, ("gone", "flipped")):
        whole = file.read_bytes()
        if fault == "gone":
            file.unlink()
        else:
            broken = bytearray(whole)
            broken[int(random.integers(len(whole)))] ^= 1 << int(random.integers(8))
            file.write_bytes(broken)
        report = check(Cube.open(cube.location), deep=True)
        assert kinds(report) == {"damaged_chunk"}, (fault, [str(x) for x in report.findings])
        file.write_bytes(whole)
    assert check(Cube.open(cube.location), deep=True).healthy


def test_metadata_that_cannot_be_read_are_a_finding_and_no_crash(cube: Cube) -> None:
    """Every fifth of the lists of chunks that the snapshot needs, cut in half."""
    expire(cube, timedelta(0), keep=1, now=datetime.now(UTC) + timedelta(days=2))
    manifests = sorted((Path(cube.location) / "manifests").iterdir())
    for file in manifests[::5]:
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        report = check(Cube.open(cube.location), deep=True)
        assert "damaged_chunk" in kinds(report), file.name
        file.write_bytes(whole)
    assert check(Cube.open(cube.location)).healthy


def test_a_damaged_scene_is_named_down_to_its_granules_and_repaired_by_reading_anew(
    cube: Cube, region: Region, reference: Cube
) -> None:
    """All objects of one layer of one scene are damaged, and the check says which."""
    arrays = {"imagery": 4, "qc": 3}
    before = set(chunk_files(cube))
    with cube.transaction("rewrite a scene", {}) as tx:
        for name in arrays:
            layer = tx.array(f"thermal/{name}")
            layer[0] = layer[0]
    for file in set(chunk_files(cube)) - before:
        file.write_bytes(file.read_bytes()[:-7])
    granules = str(cube.dataset("thermal").granules.values[0]).split()
    cube = Cube.open(region)
    report = check(cube, deep=True)
    assert kinds(report) == {"damaged_chunk"}
    assert {entry.granules for entry in report.findings} == {tuple(granules)}
    assert "thermal/imagery, rows 0-" in str(report.findings[0])
    assert sorted(repair(cube, report)) == sorted(granules)
    held = next(row for row in cube.ledger if row.failing)
    assert held.scene is not None and held.rule == "damaged"
    done = ingest(region)
    assert done.scenes["replaced"] == 1
    cube = Cube.open(region)
    assert check(cube, region, deep=True).healthy
    assert_same(cube, reference)


def test_a_chunk_that_was_never_written_is_found_without_reading(cube: Cube) -> None:
    def drop(tx: Transaction) -> None:
        layer = tx.array("thermal/qc")
        everywhere = zarr.open_array(
            tx.session.store, path="thermal/qc", mode="r+", config={"write_empty_chunks": False}
        )
        everywhere[1] = layer.fill_value

    with cube.transaction("drop", {}) as tx:
        drop(tx)
    text = the_finding(check(cube, sample=0), "missing_chunk")
    time = str(cube.dataset("thermal").time.values[1].astype("datetime64[s]")).replace("T", " ")
    assert f"thermal {time}, thermal/qc" in text


def write_pixel(value: float, flag: int | None = None) -> Callable[[Transaction], None]:
    """Put a value into the last valid pixel of the first scene."""

    def change(tx: Transaction) -> None:
        qc, imagery = tx.array("thermal/qc"), tx.array("thermal/imagery")
        row, column = np.argwhere((qc[0] & ~np.uint8(Flag.WATER | Flag.UNSCREENED)) == 0)[-1]
        scene = imagery[0]
        scene[0, row, column] = value
        imagery[0] = scene
        if flag is not None:
            flags = qc[0]
            flags[row, column] |= np.uint8(flag)
            qc[0] = flags

    return change


def test_a_value_out_of_range_names_band_and_figures(cube: Cube) -> None:
    text = the_finding(spoil(cube, write_pixel(2.5)), "value_out_of_range")
    assert "1 pixels of lst lie outside 170 to 380: 2.5 to" in text


def test_a_value_under_a_bad_flag_and_none_under_a_good_one_are_found(cube: Cube) -> None:
    report = spoil(cube, write_pixel(300.0, int(Flag.CLOUD)))
    assert kinds(report) == {"value_under_bad_flag", "wrong_coordinate"}
    report = spoil(cube, write_pixel(np.nan))
    assert "no_value_under_good_flag" in kinds(report)


def edit(name: str, index: int, value: object) -> Callable[[Transaction], None]:
    """Set one value of a coordinate of the thermal group."""

    def change(tx: Transaction) -> None:
        array = tx.array(f"thermal/{name}")
        values = array[:]
        values[index] = value
        array[:] = values

    return change


def test_a_fraction_that_is_not_that_of_the_flags_is_found(cube: Cube) -> None:
    text = the_finding(spoil(cube, edit("cloud_fraction", 2, 0.5)), "wrong_coordinate")
    assert "cloud_fraction says 0.5000, the flags give 0.0" in text


def test_a_shifted_time_is_found_from_both_sides(cube: Cube, region: Region) -> None:
    old = cube.dataset("thermal").time.values[1].astype("datetime64[ms]").astype(np.int64)
    report = spoil(cube, edit("time", 1, int(old) + 1000))
    assert kinds(report) == {"scene_lost", "granule_elsewhere"}
    assert all(entry.severity is Severity.ERROR for entry in report.findings)


@pytest.mark.parametrize("step", [0, -1])
def test_times_that_do_not_increase_are_found(cube: Cube, step: int) -> None:
    times = cube.dataset("thermal").time.values.astype("datetime64[ms]").astype(np.int64)
    report = spoil(cube, edit("time", 2, int(times[1]) + step))
    assert "time_order" in kinds(report)
    assert "thermal, time 2" in str(report.findings)


def test_a_moved_grid_is_found_with_both_grids(cube: Cube) -> None:
    def change(tx: Transaction) -> None:
        array = tx.array("thermal/x")
        array[:] = array[:] + 70.0

    text = the_finding(spoil(cube, change), "grid")
    assert "another grid than the cube" in text and "upper left" in text


def test_labels_on_another_grid_are_found(cube: Cube) -> None:
    labels = cube.dataset("labels", chunks=None).load()
    report = spoil(cube, lambda tx: tx.write("labels", labels.isel(y=slice(1, None))))
    assert "labels" in the_finding(report, "grid")


def test_an_ingested_row_without_a_scene_is_found_and_repaired(
    cube: Cube, region: Region, reference: Cube
) -> None:
    report = spoil(cube, ledger_with(cube, scene=None))
    assert kinds(report) == {"ledger_without_scene", "granule_not_ingested"}
    repair(cube, report)
    ingest(region)
    cube.refresh()
    assert check(cube, region).healthy
    assert_same(cube, reference)


def test_a_row_whose_scene_is_not_there_is_found(cube: Cube) -> None:
    scene = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
    report = spoil(cube, ledger_with(cube, scene=scene))
    assert kinds(report) == {"scene_lost", "granule_elsewhere"}
    assert "no thermal scene at 2001-02-03 04:05:06" in str(report.findings)


def test_a_row_whose_scene_lists_another_granule_is_found(cube: Cube) -> None:
    names = cube.dataset("thermal").granules.values
    report = spoil(cube, edit("granules", 0, str(names[1])))
    assert kinds(report) == {"scene_without_granule", "granule_elsewhere", "granule_twice"}


def test_a_rejected_row_with_a_scene_is_found(cube: Cube) -> None:
    rejected, ingested = first(cube, Status.REJECTED), first(cube, Status.INGESTED)
    edited = dataclasses.replace(rejected, scene=ingested.scene)
    ledger = cube.ledger.updated([edited]).to_dataset()
    report = spoil(cube, lambda tx: tx.write("ledger", ledger))
    assert rejected.granule in the_finding(report, "ledger_scene_unexpected")


def test_a_scene_that_the_ledger_does_not_know_is_found(cube: Cube) -> None:
    row = first(cube, Status.INGESTED)
    rows = xr.Dataset.drop_isel(
        cube.ledger.to_dataset(), granule=[r.granule for r in cube.ledger].index(row.granule)
    )
    report = spoil(cube, lambda tx: tx.write("ledger", rows))
    assert row.granule in the_finding(report, "granule_not_in_ledger")
    assert repair(cube, report) == []


def test_a_granule_may_be_shown_as_read_before_but_not_fail_for_ever(cube: Cube) -> None:
    assert spoil(cube, ledger_with(cube, rule="truncated")).healthy
    row = next(row for row in cube.ledger if row.failing)
    again = dataclasses.replace(row, tries=3, reason="cut short")
    report = spoil(cube, lambda tx: tx.write("ledger", cube.ledger.updated([again]).to_dataset()))
    assert "failed 3 times" in the_finding(report, "granule_keeps_failing")
    assert not report.errors and len(report.warnings) == 1


def test_a_ledger_that_is_no_ledger_is_found(cube: Cube) -> None:
    ledger = cube.ledger.to_dataset()
    status = ledger["status"].copy()
    status[0] = "lost in the post"
    report = spoil(cube, lambda tx: tx.write("ledger", ledger.assign(status=status)))
    assert "lost in the post" in the_finding(report, "damaged_chunk")


def test_an_old_newest_scene_is_stale_unless_the_period_is_over(cube: Cube, region: Region) -> None:
    newest = cube.dataset("thermal").time.values[-1].astype("datetime64[us]").item()
    now = newest.replace(tzinfo=UTC) + timedelta(days=9)
    text = the_finding(check(cube, now=now, max_age=timedelta(days=7)), "stale")
    assert "9 days old; the limit is 7 days" in text
    assert check(cube, now=now, max_age=timedelta(days=10)).healthy
    last = region.period.model_copy(update={"end": newest.date()})
    over = region.model_copy(update={"period": last})
    assert "stale" not in kinds(check(cube, over, now=now, max_age=timedelta(days=7)))


def test_scenes_that_the_sources_hold_and_the_cube_has_not_are_a_gap(
    complete: Simulation, tmp_path: Path
) -> None:
    names = granules_of(complete)
    region = at_home(complete, tmp_path, names[:1])
    ingest(region)
    at_home(complete, tmp_path, names)
    report = check(Cube.open(region), region)
    assert "Run `thermocube ingest`" in the_finding(report, "gap")


def test_a_source_that_is_away_is_named_and_the_rest_is_checked(cube: Cube, region: Region) -> None:
    shutil.rmtree(Path(cube.location).parent / "ecostress")
    report = check(cube, region)
    assert kinds(report) == {"source_unreachable"}
    assert report.checked["scenes read"] > 0


def with_shares(cube: Cube, valid: list[float]) -> CheckReport:
    """The scenes of a cube repeated, with valid shares of one's choosing."""
    from pipelines.check import _baseline

    times = np.datetime64("2026-01-01", "ns") + np.arange(len(valid)) * np.timedelta64(1, "D")
    scenes = xr.Dataset(coords={"time": times, "valid_fraction": ("time", valid)})
    return CheckReport("", "", tuple(_baseline("thermal", scenes)))


def test_newest_scenes_that_miss_more_or_less_than_ever_are_found(cube: Cube) -> None:
    usual = list(itertools.islice(itertools.cycle([0.5, 0.6, 0.7, 0.6, 0.62, 0.58]), BASELINE * 2))
    assert with_shares(cube, [*usual, *[0.6, 0.5, 0.7, 0.0, 0.61][:NEWEST]]).healthy
    worse = with_shares(cube, [*usual, *[0.1] * NEWEST])
    assert "90.0% of their pixels" in the_finding(worse, "missing_share")
    assert kinds(with_shares(cube, [*usual, *[1.0] * NEWEST])) == {"missing_share"}
    assert with_shares(cube, [0.6] * 5 + [0.0] * NEWEST).healthy, "too few to compare with"


def test_an_empty_cube_is_healthy_but_stale(tmp_path: Path, region: Region) -> None:
    elsewhere = region.model_copy(update={"store": str(tmp_path / "empty.icechunk")})
    cube = Cube.create(elsewhere)
    assert check(cube, deep=True).healthy
    report = check(cube, max_age=timedelta(days=1))
    assert kinds(report) == {"stale"} and "no scene at all" in str(report.findings[0])
