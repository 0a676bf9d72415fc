"""A run about some days or some sources: whole scenes, and the rest of the cube left alone."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from cube.errors import RegionError
from cube.ledger import Ledger, Row, Status
from cube.region import Region
from cube.scene import Granule
from cube.sources import EcostressSource
from cube.sources.base import Period
from cube.store import Cube
from deliveries import assert_same, at_home, granules_of, ledger_of
from pipelines.ingest import Scope, ingest, plan
from pipelines.plan import Action, make_plan, note
from pipelines.scope import search
from pipelines.simulate import Simulation

MIDNIGHT = datetime(2024, 6, 2, tzinfo=UTC)


def region_of(folder: Path, *sources: str) -> Region:
    return Region.parse(
        {
            "name": "scoped",
            "area": {"bbox": [-4.1, 38.7, -4.0, 38.8]},
            "period": {"start": "2024-01-01", "end": "2024-12-31"},
            "modalities": {"thermal": {"bands": ["lst"]}},
            "sources": [
                {"kind": "ecostress", "name": name, "path": name} for name in sources or ("tiles",)
            ],
        },
        folder,
    )


def granule(seconds: float, source: str = "tiles", **changes: object) -> Granule:
    """A granule so many seconds from midnight."""
    key = f"{source}{seconds:g}"
    time = MIDNIGHT + timedelta(seconds=seconds)
    base = Granule(key, key, "1", source, "thermal", "ISS", time, {"LST": f"{key}.tif"}, 100)
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


Periods = list[tuple[str, Period]]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Granule]], Periods]:
    """Let the sources find these granules; tells which periods were searched."""

    def show(granules: list[Granule]) -> Periods:
        searched: Periods = []

        def find(self: EcostressSource, grid: object, period: Period) -> list[Granule]:
            searched.append((self.name, period))
            mine = (entry for entry in granules if entry.source == self.name)
            return [entry for entry in mine if entry.time is None or entry.time in period]

        monkeypatch.setattr(EcostressSource, "search", find)
        return searched

    return show


def ingested(region: Region, *granules: Granule) -> Ledger:
    """The ledger after these were ingested."""
    rows: list[Row] = []
    for work in make_plan(region, granules, Ledger()).work:
        for entry in work.scene.granules:
            row = note(entry, Status.INGESTED)
            changes = {"scene": work.scene.time, "group": work.digest, "settings": work.settings}
            rows.append(dataclasses.replace(row, **changes))  # type: ignore[arg-type]
    return Ledger(rows)


def test_a_scene_across_the_edge_is_whole_and_its_neighbours_are_left_alone(
    tmp_path: Path, shown: Callable[[list[Granule]], Periods]
) -> None:
    region = region_of(tmp_path)
    across = [granule(-52), granule(0)]
    shown([granule(-4000), *across, granule(86_500), granule(200_000)])
    for scope in (Scope(since=date(2024, 6, 2)), Scope(until=date(2024, 6, 1))):
        works = make_plan(region, search(region, scope), Ledger(), scope).work
        assert tuple(across) in [work.scene.granules for work in works]
    scope = Scope(date(2024, 6, 2), date(2024, 6, 2))
    works = make_plan(region, search(region, scope), Ledger(), scope).work
    assert [work.scene.granules for work in works] == [tuple(across)]


def test_the_search_goes_on_as_far_as_a_pass_does(
    tmp_path: Path, shown: Callable[[list[Granule]], Periods]
) -> None:
    region = region_of(tmp_path)
    unending = [granule(-100.0 * index) for index in range(3000)]
    searched = shown(unending)
    scope = Scope(since=date(2024, 6, 2))
    (work,) = make_plan(region, search(region, scope), Ledger(), scope).work
    assert len(work.scene.granules) == len(unending)
    assert [period.start for _, period in searched] == [
        MIDNIGHT - timedelta(days=1),
        MIDNIGHT - timedelta(days=8),
    ]


def test_the_span_is_cut_to_the_regions_period(
    tmp_path: Path, shown: Callable[[list[Granule]], Periods]
) -> None:
    region = region_of(tmp_path)
    searched = shown([])
    search(region, Scope(date(2020, 1, 1), date(2030, 1, 1)))
    assert searched == [("tiles", region.period.period)]


def test_a_scene_of_two_sources_stays_whole_when_one_is_looked_at(
    tmp_path: Path, shown: Callable[[list[Granule]], Periods]
) -> None:
    region = region_of(tmp_path, "a", "b")
    both = [granule(0, "a"), granule(52, "b")]
    newer = granule(0, "a", id="a0_2", version="2", assets={"LST": "a0_2.tif"})
    searched = shown([*both, newer])
    ledger = ingested(region, *both)
    scope = Scope(only=("a",))
    (work,) = make_plan(region, search(region, scope), ledger, scope).work
    assert {name for name, _ in searched} == {"a"}
    assert work.action is Action.REPLACE
    assert [entry.id for entry in work.scene.granules] == ["a0_2", "b52"]
    assert work.scene.granules[1].assets == {}


def test_what_failed_outside_the_scope_changes_nothing_inside(
    tmp_path: Path, shown: Callable[[list[Granule]], Periods]
) -> None:
    """The scene keeps its name in the ledger, so that neither run reads it anew."""
    region = region_of(tmp_path, "a", "b")
    both = [granule(0, "a"), granule(52, "b")]
    shown(both)
    known = ingested(region, *both)
    broken = known.get("b52")
    assert broken is not None
    failed = dataclasses.replace(broken, status=Status.FAILED, scene=None)
    ledger = known.updated([failed])
    scope = Scope(only=("a",))
    (work,) = make_plan(region, search(region, scope), ledger, scope).work
    assert work.action is Action.SKIP
    (work,) = make_plan(region, search(region), ledger).work
    assert work.action is Action.RETRY


def test_undated_files_are_noted_by_runs_without_a_span_only(
    tmp_path: Path, shown: Callable[[list[Granule]], Periods]
) -> None:
    region = region_of(tmp_path)
    shown([granule(0, id="odd.tif", time=None, defect="not understood")])
    scope = Scope(since=date(2024, 6, 1))
    assert not make_plan(region, search(region, scope), Ledger(), scope).notes
    assert make_plan(region, search(region), Ledger()).notes


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        (Scope(only=("tile",)), "did you mean 'tiles'"),
        (Scope(date(2024, 2, 1), date(2024, 1, 1)), "no day is in between"),
    ],
)
def test_a_scope_that_makes_no_sense_is_refused(tmp_path: Path, scope: Scope, words: str) -> None:
    with pytest.raises(RegionError, match=words):
        search(region_of(tmp_path), scope)


def test_day_by_day_is_the_same_cube_as_at_once(
    complete: Simulation, reference: Cube, tmp_path: Path
) -> None:
    region = at_home(complete, tmp_path, granules_of(complete))
    days = sorted({row.time.date() for row in reference.ledger if row.time is not None})
    middle = days[len(days) // 2]
    later = ingest(region, scope=Scope(since=middle))
    assert 0 < later.scenes["written"] < reference.dataset("thermal").sizes["time"]
    ingest(region, scope=Scope(until=middle - timedelta(days=1)))
    assert not plan(region).todo
    assert not ingest(region, scope=Scope(only=("ecostress",))).scenes.get("written")
    assert_same(Cube.open(region), reference)


def test_what_lies_outside_the_span_is_never_removed(
    complete: Simulation, reference: Cube, tmp_path: Path
) -> None:
    region = at_home(complete, tmp_path, granules_of(complete))
    ingest(region)
    before = ledger_of(Cube.open(region))
    shutil.rmtree(tmp_path / "ecostress")
    (tmp_path / "ecostress").mkdir()
    last = reference.dataset("thermal")["time"].values[-1].astype("datetime64[D]").item()
    assert not ingest(region, scope=Scope(since=last)).changed
    assert before.equals(ledger_of(Cube.open(region)))
    assert_same(Cube.open(region), reference)
