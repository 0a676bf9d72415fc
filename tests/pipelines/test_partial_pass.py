"""A pass of which a granule fails: the others are shown, the ledger says so, a run completes it."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr
from typer.testing import CliRunner

from cube.ledger import Status
from cube.region import Region
from cube.store import Cube
from deliveries import assert_same, at_home, deliver, granules_of
from inspection import Figures, Inspector, Known
from pipelines.check import check
from pipelines.cli import app
from pipelines.ingest import Scope, ingest, plan
from pipelines.simulate import Simulation
from pipelines.standing import HELD_BACK

Judge = Callable[[Region], None]


@pytest.fixture(scope="module")
def known(complete: Simulation, reference: Cube) -> Known:
    return Known(Region.load(complete.region), reference)


@pytest.fixture
def judge(known: Known) -> Judge:
    """Every scene is the mosaic of exactly what the ledger lists for it."""

    def look(region: Region) -> None:
        figures = Figures()
        assert Inspector(region, known, figures).look()
        assert not figures.half_visible_scenes + figures.wrong_pixels, str(figures)

    return look


@pytest.fixture
def pair(reference: Cube) -> tuple[str, str]:
    """Two granules of one pass."""
    ids = reference.dataset("thermal", chunks=None)["granules"].values
    first, second = next(str(each).split() for each in ids if " " in str(each))
    return first, second


@pytest.fixture
def versions(reference: Cube) -> tuple[str, str]:
    """Two deliveries of one acquisition, the older one first."""
    ledger = reference.ledger
    older = next(row for row in ledger if row.status is Status.SUPERSEDED)
    (newer,) = (row for row in ledger.of(older.key) if row is not older)
    return older.granule, newer.granule


def cut(home: Path, granule: str) -> None:
    file = home / "ecostress" / f"{granule}_LST.tif"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def take_away(home: Path, *granules: str) -> None:
    for name in granules:
        for file in (home / "ecostress").glob(f"{name}_*.tif"):
            file.unlink()


def thermal(region: Region) -> xr.Dataset:
    return Cube.open(region).dataset("thermal", chunks=None).load()


@pytest.mark.parametrize("which", [0, 1])
def test_what_can_be_read_is_shown_and_the_rest_completes_it_in_one_commit(
    complete: Simulation,
    reference: Cube,
    tmp_path: Path,
    pair: tuple[str, str],
    judge: Judge,
    which: int,
) -> None:
    bad, good = pair[which], pair[1 - which]
    region = at_home(complete, tmp_path, list(pair))
    cut(tmp_path, bad)
    assert [failure.granule for failure in ingest(region).failures] == [bad]
    judge(region)
    ledger = Cube.open(region).ledger
    failed, shown = ledger.get(bad), ledger.get(good)
    assert failed is not None and shown is not None
    assert failed.status is Status.FAILED and failed.scene is None
    assert shown.status is Status.INGESTED and shown.scene is not None
    assert ledger.scene_of(bad) == shown.scene
    assert list(thermal(region)["granules"].values) == [good]
    deliver(complete, tmp_path, [bad])
    done = ingest(region, batch=1)
    assert (done.commits, +Counter(done.scenes)) == (1, {"replaced": 1})
    judge(region)
    assert not Cube.open(region).ledger.incomplete()
    deliver(complete, tmp_path, granules_of(complete))
    ingest(region)
    assert_same(Cube.open(region), reference)


def test_check_and_status_show_an_incomplete_scene(
    complete: Simulation, tmp_path: Path, pair: tuple[str, str]
) -> None:
    region = at_home(complete, tmp_path, list(pair))
    cut(tmp_path, pair[1])
    ingest(region)
    (finding,) = check(Cube.open(region), region).warnings
    assert finding.kind == "scene_incomplete"
    assert pair[1] in finding.what and "truncated" in finding.what
    time = str(thermal(region)["time"].values[0].astype("datetime64[s]")).replace("T", " ")
    assert finding.where == f"thermal {time}"
    file = str(tmp_path / "region.toml")
    text = CliRunner().invoke(app, ["status", file]).stdout
    assert "incomplete: the thermal scene" in text.replace("\n", " ")
    document = json.loads(CliRunner().invoke(app, ["status", file, "--json"]).stdout)
    assert document["incomplete_scenes"] == [
        {"modality": "thermal", "time": time, "missing": [pair[1]]}
    ]


def test_what_is_stored_is_shown_as_it_was_while_it_cannot_be_read_anew(
    complete: Simulation, tmp_path: Path, pair: tuple[str, str], judge: Judge
) -> None:
    """Its file is replaced by a broken one, which then goes away altogether."""
    region = at_home(complete, tmp_path, list(pair))
    ingest(region)
    before = thermal(region)
    cut(tmp_path, pair[0])
    (failure,) = ingest(region).failures
    row = Cube.open(region).ledger.get(pair[0])
    assert row is not None and row.failing and row.status is Status.INGESTED
    assert (failure.granule, failure.kind) == (pair[0], "truncated")
    judge(region)
    take_away(tmp_path, pair[0])
    assert not ingest(region).failures
    judge(region)
    xr.testing.assert_identical(thermal(region), before)
    assert not ingest(region).changed


def test_a_neighbour_of_what_cannot_be_read_anew_waits_and_has_a_row_that_says_so(
    complete: Simulation, reference: Cube, tmp_path: Path, pair: tuple[str, str], judge: Judge
) -> None:
    region = at_home(complete, tmp_path, [pair[0]])
    ingest(region)
    before = thermal(region)
    deliver(complete, tmp_path, [pair[1]])
    cut(tmp_path, pair[0])
    assert {failure.granule for failure in ingest(region).failures} == set(pair)
    judge(region)
    xr.testing.assert_identical(thermal(region), before)
    row = Cube.open(region).ledger.get(pair[1])
    assert row is not None and (row.status, row.rule) == (Status.FAILED, HELD_BACK)
    assert pair[0] in row.reason
    deliver(complete, tmp_path, granules_of(complete))
    assert not ingest(region).failures
    assert_same(Cube.open(region), reference)


def test_an_older_version_never_takes_the_place_of_a_stored_newer_one(
    complete: Simulation, tmp_path: Path, versions: tuple[str, str], judge: Judge
) -> None:
    region = at_home(complete, tmp_path, list(versions))
    ingest(region)
    before = thermal(region)
    cut(tmp_path, versions[1])
    (failure,) = ingest(region).failures
    assert failure.granule == versions[1]
    judge(region)
    xr.testing.assert_identical(thermal(region), before)
    older = Cube.open(region).ledger.get(versions[0])
    assert older is not None and older.status is Status.SUPERSEDED


@pytest.mark.parametrize("gone", [0, 1])
def test_a_scene_whose_files_are_gone_takes_in_a_late_neighbour(
    complete: Simulation, tmp_path: Path, pair: tuple[str, str], judge: Judge, gone: int
) -> None:
    region = at_home(complete, tmp_path, [pair[gone]])
    ingest(region)
    take_away(tmp_path, pair[gone])
    deliver(complete, tmp_path, [pair[1 - gone]])
    assert +Counter(ingest(region).scenes) == {"replaced": 1}
    judge(region)
    assert list(thermal(region)["granules"].values) == [" ".join(pair)]
    deliver(complete, tmp_path, list(pair))
    assert not plan(region).todo, "what comes back as it was is not read again"


def renewed(home: Path, granule: str) -> str:
    """Deliver the next version of a granule, with other pixels in some of its file."""
    import rasterio

    name = f"{granule[:-1]}{int(granule[-1]) + 1}"
    for file in sorted((home / "ecostress").glob(f"{granule}_*.tif")):
        shutil.copyfile(file, home / "ecostress" / file.name.replace(granule, name))
    path = home / "ecostress" / f"{name}_LST.tif"
    with rasterio.open(path) as source:
        profile, values = source.profile, source.read(1)
    values[:6] = float("nan")
    profile.update(driver="GTiff")
    with rasterio.open(path, "w", **profile) as target:
        target.write(values, 1)
    return name


def test_a_scene_that_cannot_be_taken_apart_keeps_what_is_new_waiting(
    complete: Simulation, tmp_path: Path, pair: tuple[str, str]
) -> None:
    """One granule's files are gone; of the other comes a new version with fewer pixels.

    The mosaic of the two can no longer be told, and another one is never shown.
    """
    region = at_home(complete, tmp_path, list(pair))
    ingest(region)
    before = thermal(region)
    newer = renewed(tmp_path, pair[1])
    take_away(tmp_path, pair[0])
    (failure,) = ingest(region).failures
    assert (failure.granule, failure.kind) == (newer, HELD_BACK)
    assert pair[0] in failure.reason
    xr.testing.assert_identical(thermal(region), before)
    deliver(complete, tmp_path, [pair[0]])
    assert not ingest(region).failures
    fresh = tmp_path / "fresh"
    at_home(complete, fresh_home(fresh), [])
    shutil.copytree(tmp_path / "ecostress", fresh / "ecostress", dirs_exist_ok=True)
    undisturbed = Region.load(fresh / "region.toml")
    ingest(undisturbed)
    assert_same(Cube.open(region), Cube.open(undisturbed))


def fresh_home(folder: Path) -> Path:
    folder.mkdir()
    return folder


def apart(region: Region) -> Region:
    """The same region, with settings under which each granule is a pass of its own."""
    settings = region.modalities["thermal"].model_copy(update={"pass_gap": 10.0})
    return region.model_copy(update={"modalities": {"thermal": settings}})


@pytest.mark.parametrize("how", [take_away, cut])
def test_a_pass_that_new_settings_split_stays_one_scene_while_half_of_it_cannot_be_read(
    complete: Simulation,
    tmp_path: Path,
    pair: tuple[str, str],
    judge: Judge,
    how: Callable[[Path, str], None],
) -> None:
    region = at_home(complete, tmp_path, list(pair))
    ingest(region)
    before = thermal(region)
    how(tmp_path, pair[0])
    failures = {failure.granule: failure.kind for failure in ingest(apart(region)).failures}
    assert failures.pop(pair[1]) == HELD_BACK
    assert set(failures) == (set() if how is take_away else {pair[0]})
    xr.testing.assert_identical(thermal(region), before)
    judge(region)
    deliver(complete, tmp_path, list(pair))
    assert not ingest(apart(region)).failures
    assert list(thermal(region)["granules"].values) == list(pair)


def test_what_failed_stays_with_its_pass_when_a_run_does_not_look_for_it(
    complete: Simulation, tmp_path: Path, pair: tuple[str, str]
) -> None:
    """A run of one source only makes the scene anew; the failed granule is of another one."""
    at_home(complete, tmp_path, list(pair))
    (tmp_path / "other").mkdir()
    cut(tmp_path, pair[0])
    for file in (tmp_path / "ecostress").glob(f"{pair[0]}_*.tif"):
        file.rename(tmp_path / "other" / file.name)
    text = (tmp_path / "region.toml").read_text()
    source = '[[sources]]\nkind = "ecostress"\nname = "other"\npath = "other"\n\n[[sources]]'
    (tmp_path / "region.toml").write_text(text.replace("[[sources]]", source, 1))
    region = Region.load(tmp_path / "region.toml")
    ingest(region)
    newer = renewed(tmp_path, pair[1])
    ingest(region, scope=Scope(only=("ecostress",)))
    assert list(thermal(region)["granules"].values) == [newer]
    ledger = Cube.open(region).ledger
    (missing,) = ledger.incomplete().values()
    assert [row.granule for row in missing] == [pair[0]]
    assert ledger.scene_of(pair[0]) == ledger.scene_of(newer)
