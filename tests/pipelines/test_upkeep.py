"""Going back and letting go: nothing that is in use is lost, and ingest arrives where it was."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from cube import timeline
from cube.errors import SelectionError, StoreError
from cube.region import Region
from cube.storage import open_repository
from cube.store import Cube
from deliveries import assert_same, at_home, deliver, granules_of
from pipelines.expire import GRACE, expire
from pipelines.ingest import ingest
from pipelines.rollback import ABANDONED, rollback
from pipelines.simulate import Simulation

HOUR = timedelta(hours=1)
LATER = datetime.now(UTC) + timedelta(days=30)
"""A time at which all that these tests write is old."""


def field(value: float) -> xr.Dataset:
    """Something that takes chunk objects of its own."""
    noise = np.random.default_rng(int(value)).normal(value, 1, (64, 64)).astype(np.float32)
    return xr.Dataset({"field": (("y", "x"), noise)})


@pytest.fixture
def region(complete: Simulation, tmp_path: Path) -> Region:
    """Its first granules are ingested, in two commits."""
    names = granules_of(complete)
    region = at_home(complete, tmp_path, names[:2])
    ingest(region, batch=2)
    deliver(complete, tmp_path, names[2:])
    return region


@pytest.fixture
def cube(tmp_path: Path) -> Cube:
    """A cube whose group ``predictions/run`` was replaced four times."""
    tables = {
        "name": "bare",
        "area": {"bbox": [-4.10, 38.70, -4.09, 38.71]},
        "period": {"start": "2024-01-01"},
        "modalities": {"thermal": {"bands": ["lst"]}},
        "sources": [{"kind": "ecostress", "name": "none", "path": "."}],
    }
    cube = Cube.create(Region.parse(tables, tmp_path))
    for value in range(4):
        with cube.transaction(f"version {value}", {}) as change:
            change.write("predictions/run", field(value))
    return cube


def stored(cube: Cube) -> xr.Dataset:
    return cube.dataset("predictions/run", chunks=None).load()


def test_a_rollback_and_an_ingest_make_the_cube_of_one_undisturbed_run(
    region: Region, reference: Cube
) -> None:
    early = Cube.open(region)
    times = early.dataset("thermal").time.values
    ingest(region)
    cube = Cube.open(region)
    done = rollback(cube, early.snapshot)
    assert cube.snapshot == done.snapshot
    np.testing.assert_array_equal(cube.dataset("thermal").time.values, times)
    assert_same(Cube.open(region), early)
    assert ingest(region).changed
    assert_same(Cube.open(region), reference)


def test_the_history_and_a_tag_say_what_was_rolled_back(cube: Cube) -> None:
    before, target = cube.snapshot, cube.history()[2].id
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    done = rollback(cube, target[:6].lower(), now=now)
    newest, *rest = cube.history()
    assert newest.message == f"roll back from {before} to {target}"
    assert newest.metadata["from"] == before and newest.metadata["job"] == "rollback"
    assert [entry.message for entry in rest][:2] == ["version 1", "version 0"]
    assert [entry.message for entry in done.abandoned] == ["version 3", "version 2"]
    assert done.tag == f"rolled-back-20260301T120000Z-{before[:8]}"
    assert done.to_dict()["abandoned"][0]["id"] == before
    xr.testing.assert_identical(stored(cube), field(1))
    xr.testing.assert_identical(stored(cube.at(before)), field(3))


def test_a_rollback_can_be_undone_by_its_tag(cube: Cube) -> None:
    done = rollback(cube, cube.history()[3].id)
    rollback(cube, done.tag)
    xr.testing.assert_identical(stored(cube), field(3))


def test_an_unknown_snapshot_is_refused_with_the_ones_there_are(cube: Cube) -> None:
    before = cube.snapshot
    for wanted in ("ZZZZ", ""):
        with pytest.raises(SelectionError, match=r"(?s)none of the snapshots.*version 3"):
            rollback(cube, wanted)
    with pytest.raises(SelectionError, match="nothing to do"):
        rollback(cube, before)
    with pytest.raises(SelectionError, match="before the cube was made"):
        rollback(cube, cube.history()[-1].id)
    assert cube.refresh().snapshot == before
    assert not open_repository(cube.location).list_tags()


def test_a_write_that_started_before_a_rollback_does_not_bring_half_of_it_back(
    region: Region,
) -> None:
    """An open change of the same group is refused; it would rest on scenes that are gone."""
    early = Cube.open(region).snapshot
    ingest(region)
    cube = Cube.open(region)
    with (
        pytest.raises(StoreError, match="another job changed the same group"),
        cube.transaction("drop a scene", {}, exclusive=False) as change,
    ):
        first = cube.dataset("thermal").time.values[0].astype("datetime64[us]").item()
        timeline.apply(change.session, "thermal", [first.replace(tzinfo=UTC)], [])
        rollback(Cube.open(region), early)
    assert_same(cube.refresh(), cube.at(early))


def test_a_rollback_that_died_halfway_leaves_the_cube_as_it_was(
    cube: Cube, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines import rollback as module

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    before, target = cube.snapshot, cube.history()[2].id
    with monkeypatch.context() as patch:
        patch.setattr(module, "_record", dies)
        with pytest.raises(KeyboardInterrupt):
            rollback(cube, target)
    assert cube.refresh().snapshot == before
    rollback(cube, target, now=LATER)
    assert open_repository(cube.location).list_branches() == {"main"}
    xr.testing.assert_identical(stored(cube), field(1))


def objects(cube: Cube) -> set[str]:
    folder = Path(cube.location)
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_expiry_frees_what_only_old_snapshots_hold_and_nothing_else(cube: Cube) -> None:
    before = objects(cube)
    foreseen = expire(cube, timedelta(days=7), keep=2, dry_run=True, now=LATER)
    assert objects(cube) == before
    assert len(cube.history()) == 6
    done = expire(cube, timedelta(days=7), keep=2, now=LATER)
    assert [entry.message for entry in done.snapshots][:2] == ["version 1", "version 0"]
    assert (foreseen.bytes, foreseen.objects) == (done.bytes, done.objects)
    assert foreseen.snapshots == done.snapshots and foreseen.complete
    freed = {name for name in before - objects(cube) if name.startswith("chunks/")}
    assert len(freed) == 2, "versions 0 and 1 held one chunk object each"
    assert done.bytes > 2 * 10_000
    history = cube.history()
    assert [entry.message for entry in history[:2]] == ["version 3", "version 2"]
    xr.testing.assert_identical(stored(cube), field(3))
    xr.testing.assert_identical(stored(cube.at(history[1].id)), field(2))
    assert not expire(cube, timedelta(days=7), keep=2, now=LATER).snapshots


def test_young_snapshots_and_the_last_ones_stay(cube: Cube) -> None:
    assert not expire(cube, timedelta(days=40), keep=1, now=LATER).snapshots
    assert not expire(cube, timedelta(0), keep=10, now=LATER).snapshots
    assert len(cube.history()) == 6


def test_a_write_in_flight_survives(cube: Cube) -> None:
    """Everything that is committed is made a week old; what is being written is not."""
    week = (datetime.now(UTC) - timedelta(days=7)).timestamp()
    for name in objects(cube):
        os.utime(Path(cube.location) / name, (week, week))
    session = open_repository(cube.location).writable_session("main")
    field(9).to_zarr(session.store, group="predictions/flying", mode="w", consolidated=False)
    done = expire(cube, timedelta(0), keep=1, grace=HOUR)
    assert done.bytes > 0
    session.commit("landed")
    landed = cube.refresh().dataset("predictions/flying", chunks=None).load()
    xr.testing.assert_identical(landed, field(9))
    xr.testing.assert_identical(stored(cube), field(3))


def test_a_grace_period_under_an_hour_is_refused(cube: Cube) -> None:
    with pytest.raises(SelectionError, match="at least one hour"):
        expire(cube, timedelta(days=7), grace=timedelta(minutes=59))
    with pytest.raises(SelectionError, match="at least one snapshot"):
        expire(cube, timedelta(days=7), keep=0)
    assert GRACE > HOUR


def test_abandoned_snapshots_stay_until_they_are_old(cube: Cube) -> None:
    before = cube.snapshot
    rollback(cube, cube.history()[2].id)
    young = expire(cube, timedelta(days=40), keep=1, now=LATER)
    assert not young.tags
    xr.testing.assert_identical(stored(cube.at(before)), field(3))
    old = expire(cube, timedelta(days=7), keep=1, now=LATER)
    assert len(old.tags) == 1 and old.tags[0].startswith(ABANDONED)
    assert before in {entry.id for entry in old.snapshots}
    xr.testing.assert_identical(stored(cube), field(1))


def test_snapshots_that_predictions_rest_on_stay_while_the_predictions_do(cube: Cube) -> None:
    named = cube.history()[2].id
    run = field(7).assign_attrs(input_snapshot=named, training_snapshot="of another cube")
    with cube.transaction("predict", {}) as change:
        change.write("predictions/named", run)
    assert expire(cube, timedelta(0), keep=1, dry_run=True, now=LATER).kept == (named,)
    assert expire(cube, timedelta(0), keep=1, now=LATER).kept == (named,)
    xr.testing.assert_identical(stored(cube.at(named)), field(1))
    with cube.transaction("forget", {}) as change:
        change.delete("predictions/named")
    done = expire(cube, timedelta(0), keep=1, now=LATER)
    assert named in {entry.id for entry in done.snapshots}
    assert not open_repository(cube.location).list_tags()


def test_on_an_object_store_a_dry_run_names_the_same_snapshots(
    cube: Cube, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no shadow of it, so the bytes are only those that are garbage already."""
    named = cube.history()[2].id
    with cube.transaction("predict", {}) as change:
        change.write("predictions/named", field(7).assign_attrs(input_snapshot=named))
    rollback(cube, cube.history()[1].id)
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.expire.is_url", lambda _: True)
        foreseen = expire(cube, timedelta(days=7), keep=1, dry_run=True, now=LATER)
    assert not foreseen.complete and foreseen.bytes == 0
    done = expire(cube, timedelta(days=7), keep=1, now=LATER)
    assert foreseen.snapshots == done.snapshots and foreseen.tags == done.tags


def test_the_figures_are_json(cube: Cube) -> None:
    document = expire(cube, timedelta(0), keep=1, dry_run=True, now=LATER).to_dict()
    assert document["dry_run"] and document["bytes"] > 0
    assert {"id", "time", "message"} == set(document["snapshots"][0])
