"""Planning is a comparison of what is there with what was done; nothing is read."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cube.ledger import Ledger, Row, Status
from cube.region import Region
from cube.scene import Granule
from pipelines.plan import Action, Plan, make_plan, note, settings_digest

START = datetime(2024, 6, 1, tzinfo=UTC)


def tables(**thermal: object) -> dict[str, object]:
    return {
        "name": "planned",
        "area": {"bbox": [-4.1, 38.7, -4.0, 38.8]},
        "period": {"start": "2024-01-01"},
        "modalities": {"thermal": {"bands": ["lst"], **thermal}},
        "sources": [{"kind": "ecostress", "name": "tiles", "path": "tiles"}],
    }


@pytest.fixture
def region(tmp_path: Path) -> Region:
    return Region.parse(tables(), tmp_path)


def granule(minute: float, version: str = "1", **changes: object) -> Granule:
    key = f"pass{minute:g}"
    time = START + timedelta(minutes=minute)
    assets = {"LST": f"{key}_{version}.tif"}
    base = Granule(f"{key}_{version}", key, version, "tiles", "thermal", "ISS", time, assets, 100)
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def carried_out(plan: Plan, ledger: Ledger) -> Ledger:
    """The ledger after an ingest in which everything could be read and kept."""
    rows = list(plan.notes)
    for work in plan.todo:
        for one in work.scene.granules:
            row = note(one, Status.INGESTED)
            rows.append(
                dataclasses.replace(
                    row, scene=work.scene.time, group=work.digest, settings=work.settings
                )
            )
            others = (old for old in work.deliveries[one.key] if old.id != one.id)
            rows += [note(old, Status.SUPERSEDED, reason="newer") for old in others]
    return ledger.updated(rows)


def actions(plan: Plan) -> list[Action]:
    return [work.action for work in plan.work]


def test_new_then_nothing(region: Region) -> None:
    found = [granule(0), granule(1), granule(90)]
    first = make_plan(region, found, Ledger())
    assert actions(first) == [Action.NEW, Action.NEW]
    assert first.size() == 300
    ledger = carried_out(first, Ledger())
    again = make_plan(region, found, ledger)
    assert actions(again) == [Action.SKIP, Action.SKIP]
    assert not again.todo and not again.notes


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations([0, 1, 2, 90, 91, 500]), st.integers(0, 6))
def test_the_order_of_discovery_does_not_matter(
    region: Region, minutes: list[int], known: int
) -> None:
    ledger = carried_out(
        make_plan(region, [granule(m) for m in minutes[:known]], Ledger()), Ledger()
    )
    plan = make_plan(region, [granule(minute) for minute in minutes], ledger)
    ordered = make_plan(region, [granule(minute) for minute in sorted(minutes)], ledger)
    assert plan == ordered


def test_what_is_no_longer_found_is_left_alone(region: Region) -> None:
    found = [granule(0), granule(1), granule(90)]
    ledger = carried_out(make_plan(region, found, Ledger()), Ledger())
    for fewer in ([], found[:1], found[1:]):
        plan = make_plan(region, fewer, ledger)
        assert not plan.todo and not plan.notes


def test_a_granule_between_two_scenes_makes_them_one(region: Region) -> None:
    apart = [granule(0), granule(3)]
    ledger = carried_out(make_plan(region, apart, Ledger()), Ledger())
    plan = make_plan(region, [*apart, granule(1.5)], ledger)
    (work,) = plan.work
    assert work.action is Action.REPLACE
    assert len(work.scene.granules) == 3
    assert work.stored == (START, START + timedelta(minutes=3))


def test_the_newest_version_is_used_and_older_ones_stay_out(region: Region) -> None:
    ledger = carried_out(make_plan(region, [granule(0, "1")], Ledger()), Ledger())
    plan = make_plan(region, [granule(0, "1"), granule(0, "2")], ledger)
    (work,) = plan.work
    assert work.action is Action.REPLACE
    assert [one.id for one in work.scene.granules] == ["pass0_2"]
    after = carried_out(plan, ledger)
    assert not make_plan(region, [granule(0, "1"), granule(0, "2")], after).todo


def test_an_older_version_that_comes_late_is_noted_and_not_used(region: Region) -> None:
    ledger = carried_out(make_plan(region, [granule(0, "2")], Ledger()), Ledger())
    plan = make_plan(region, [granule(0, "1"), granule(0, "2")], ledger)
    assert not plan.todo
    assert [(row.granule, row.status) for row in plan.notes] == [("pass0_1", Status.SUPERSEDED)]
    assert not make_plan(region, [granule(0, "1")], ledger).todo


def test_a_failed_granule_is_tried_again_and_a_rejected_one_is_not(region: Region) -> None:
    found = [granule(0), granule(90)]
    done = carried_out(make_plan(region, found, Ledger()), Ledger())
    failed, rejected = (
        dataclasses.replace(row, status=status, scene=None)
        for row, status in zip(done, (Status.FAILED, Status.REJECTED), strict=True)
    )
    plan = make_plan(region, found, Ledger([failed, rejected]))
    assert actions(plan) == [Action.RETRY, Action.SKIP]


def test_a_file_that_changed_is_read_again(region: Region) -> None:
    ledger = carried_out(make_plan(region, [granule(0)], Ledger()), Ledger())
    plan = make_plan(region, [granule(0, size=101)], ledger)
    assert actions(plan) == [Action.REPLACE]


def test_a_defect_is_noted_once_and_again_when_it_changes(region: Region) -> None:
    orphan = granule(0, defect="layer LST missing")
    first = make_plan(region, [orphan], Ledger())
    assert not first.work
    assert [(row.rule, row.reason) for row in first.notes] == [("incomplete", "layer LST missing")]
    ledger = Ledger(first.notes)
    assert not make_plan(region, [orphan], ledger).notes
    assert make_plan(region, [granule(0, defect="layer QC missing")], ledger).notes
    assert actions(make_plan(region, [granule(0)], ledger)) == [Action.REPLACE]


def test_a_granule_without_a_time_is_noted(region: Region) -> None:
    (row,) = make_plan(region, [granule(0, time=None)], Ledger()).notes
    assert row.status is Status.REJECTED
    assert "time" in row.reason


def test_limits_count_and_places_and_names_do_not(region: Region, tmp_path: Path) -> None:
    other = tables()
    other["sources"] = [{"kind": "ecostress", "name": "moved", "path": "elsewhere"}]
    moved = Region.parse(other, tmp_path)
    assert settings_digest(moved, "moved") == settings_digest(region, "tiles")
    stricter = Region.parse(tables(max_cloud=0.05), tmp_path)
    assert settings_digest(stricter, "tiles") != settings_digest(region, "tiles")
    ledger = carried_out(make_plan(region, [granule(0)], Ledger()), Ledger())
    assert actions(make_plan(stricter, [granule(0)], ledger)) == [Action.REPLACE]


def test_rows_of_other_modalities_are_not_touched(region: Region) -> None:
    foreign = Row(
        "s1", "s1", "1", "gone", "sar", "Sentinel-1A", START, Status.INGESTED, scene=START
    )
    plan = make_plan(region, [granule(0)], Ledger([foreign]))
    assert len(plan.work) == 1
    assert not plan.notes


def test_a_stored_granule_that_lost_a_file_stays_accounted_for(region: Region) -> None:
    """Else the ledger would forget which scene holds it, and the mended one would clash with it."""
    ledger = carried_out(make_plan(region, [granule(0)], Ledger()), Ledger())
    plan = make_plan(region, [granule(0, size=50, defect="layer QC missing")], ledger)
    assert not plan.todo and not plan.notes
    assert actions(make_plan(region, [granule(0)], carried_out(plan, ledger))) == [Action.SKIP]


def test_a_granule_that_two_sources_hold_is_one_delivery(tmp_path: Path) -> None:
    """Sub-folders are searched, so one source may lie inside another."""
    both = tables()
    both["sources"].append({"kind": "ecostress", "name": "inner", "path": "tiles/2024"})
    region = Region.parse(both, tmp_path)
    found = [granule(0), granule(0, source="inner")]
    plan = make_plan(region, found, Ledger())
    assert plan == make_plan(region, found[::-1], Ledger())
    assert [len(versions) for versions in plan.work[0].deliveries.values()] == [1]
    partial = granule(0, source="inner", size=50, defect="layer QC missing")
    plan = make_plan(region, [partial, granule(0)], Ledger())
    assert [one.source for one in plan.work[0].scene.granules] == ["tiles"]
    assert not plan.notes


def test_a_corrected_time_moves_the_scene(region: Region) -> None:
    ledger = carried_out(make_plan(region, [granule(0)], Ledger()), Ledger())
    later = granule(0, time=START + timedelta(hours=1))
    (work,) = make_plan(region, [later], ledger).work
    assert work.action is Action.REPLACE
    assert work.stored == (START,)
    after = carried_out(make_plan(region, [later], ledger), ledger)
    assert not make_plan(region, [later], after).todo
    finer = granule(0, time=START + timedelta(microseconds=999))
    assert not make_plan(region, [finer], ledger).todo


def test_names_of_sources_do_not_count_in_a_scene_of_several(tmp_path: Path) -> None:
    def plan_with(name: str, ledger: Ledger) -> Plan:
        both = tables()
        both["sources"][0]["name"] = name
        strict = {"kind": "ecostress", "name": "more", "path": "more", "max_lst_error": 2.0}
        both["sources"].append(strict)
        found = [granule(0, source=name), granule(1, source="more")]
        return make_plan(Region.parse(both, tmp_path), found, ledger)

    ledger = carried_out(plan_with("tiles", Ledger()), Ledger())
    assert not plan_with("a_name_before_the_other", ledger).todo
