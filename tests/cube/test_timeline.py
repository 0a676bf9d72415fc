"""Scenes keep their place in time whatever the order in which they come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import icechunk
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cube import timeline
from cube.bands import THERMAL
from cube.errors import StoreError
from cube.grid import region_grid
from cube.quality import is_valid
from cube.scene import Coverage, Reading
from cube.timeline import Step, milliseconds

GRID = region_grid((-4.10, 38.70, -4.06, 38.73), None, 300.0)
BANDS = THERMAL.require(("lst", "emissivity"))
START = datetime(2024, 5, 1, tzinfo=UTC)


def make_step(day: int, seed: int) -> Step:
    generator = np.random.default_rng(seed)
    height, width = GRID.shape
    qc = generator.choice(np.array([0, 1, 2, 16], np.uint8), size=(height, width))
    bands = [
        generator.uniform(280, 320, (height, width)),
        generator.uniform(0.9, 1, (height, width)),
    ]
    word = generator.integers(-1, 60000, (height, width))
    reading = Reading.build(bands, qc, word)
    return Step(
        START + timedelta(days=day),
        reading,
        (f"granule-{day}-{seed}",),
        "ISS",
        Coverage.of(reading.qc),
        10.0 * day,
        12.5,
    )


class Timeline(RuleBasedStateMachine):
    """Insert, replace, remove, crash and roll back, against a plain dictionary."""

    @initialize()
    def create(self) -> None:
        self.repository = icechunk.Repository.create(icechunk.in_memory_storage())
        session = self.repository.writable_session("main")
        timeline.create(session, "thermal", BANDS, GRID)
        session.commit("create")
        self.model: dict[datetime, Step] = {}
        self.snapshots = [(self.repository.lookup_branch("main"), dict(self.model))]

    @rule(days=st.sets(st.integers(0, 12), min_size=1, max_size=4), seed=st.integers(0, 99))
    def insert_or_replace(self, days: set[int], seed: int) -> None:
        steps = [make_step(day, seed) for day in days]
        self.commit(remove={step.time for step in steps} & self.model.keys(), insert=steps)

    @rule(days=st.sets(st.integers(0, 12), min_size=1, max_size=3))
    def remove(self, days: set[int]) -> None:
        self.commit(remove={START + timedelta(days=day) for day in days}, insert=[])

    @rule(gone=st.integers(0, 12), come=st.integers(0, 12), seed=st.integers(100, 199))
    def exchange(self, gone: int, come: int, seed: int) -> None:
        step = make_step(come, seed)
        remove = {START + timedelta(days=gone), step.time}
        self.commit(remove=remove, insert=[step])

    @rule(day=st.integers(0, 12))
    def crash_before_commit(self, day: int) -> None:
        session = self.repository.writable_session("main")
        step = make_step(day, 7)
        timeline.apply(session, "thermal", [step.time], [step])

    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        snapshot, model = data.draw(st.sampled_from(self.snapshots))
        self.repository.reset_branch("main", snapshot)
        self.model = dict(model)

    def commit(self, remove: set[datetime], insert: list[Step]) -> None:
        session = self.repository.writable_session("main")
        timeline.apply(session, "thermal", remove, insert)
        if session.has_uncommitted_changes:
            session.commit("change")
        for time in remove:
            self.model.pop(time, None)
        self.model |= {step.time: step for step in insert}
        self.snapshots.append((self.repository.lookup_branch("main"), dict(self.model)))

    @invariant()
    def the_cube_is_the_model(self) -> None:
        store = self.repository.readonly_session("main").store
        cube = xr.open_zarr(store, group="thermal", chunks=None, consolidated=False).load()
        expected = sorted(self.model)
        times = cube["time"].values.astype("datetime64[ms]").astype(np.int64).tolist()
        assert times == [milliseconds(time) for time in expected]
        assert cube["granules"].values.tolist() == [
            " ".join(self.model[time].granules) for time in expected
        ]
        for index, time in enumerate(expected):
            step = self.model[time]
            np.testing.assert_array_equal(cube["imagery"][index], step.reading.imagery)
            np.testing.assert_array_equal(cube["qc"][index], step.reading.qc)
            np.testing.assert_array_equal(cube["product_qc"][index], step.reading.product_qc)
            assert float(cube["sun_elevation"][index]) == step.sun_elevation
        finite = np.isfinite(cube["imagery"].values).all(axis=1)
        np.testing.assert_array_equal(finite, is_valid(cube["qc"].values))


TestTimeline = Timeline.TestCase
TestTimeline.settings = settings(
    max_examples=10,
    stateful_step_count=10,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.fixture
def session() -> icechunk.Session:
    repository = icechunk.Repository.create(icechunk.in_memory_storage())
    session = repository.writable_session("main")
    timeline.create(session, "thermal", BANDS, GRID)
    return session


def test_two_scenes_at_one_time_are_refused(session: icechunk.Session) -> None:
    with pytest.raises(StoreError, match="two thermal scenes"):
        timeline.apply(session, "thermal", [], [make_step(1, 1), make_step(1, 2)])
    timeline.apply(session, "thermal", [], [make_step(1, 1)])
    with pytest.raises(StoreError, match="2024-05-02"):
        timeline.apply(session, "thermal", [], [make_step(1, 2)])


def test_every_chunk_is_written_even_where_nothing_was_measured(session: icechunk.Session) -> None:
    empty = Reading.empty(len(BANDS), GRID)
    step = Step(START, empty, ("g",), "ISS", Coverage.of(empty.qc), 0.0, 0.0)
    timeline.apply(session, "thermal", [], [step])
    layer = zarr.open_array(session.store, path="thermal/imagery", mode="r")
    assert layer.nchunks_initialized == layer.nchunks > 0


def test_arrays_end_in_a_checksum(session: icechunk.Session) -> None:
    for name in ("imagery", "qc", "product_qc", "granules"):
        array = zarr.open_array(session.store, path=f"thermal/{name}", mode="r")
        assert type(array.compressors[-1]).__name__ == "Crc32cCodec"


def test_a_stored_scene_reads_back_whole(session: icechunk.Session) -> None:
    step = make_step(3, 5)
    timeline.apply(session, "thermal", [], [make_step(4, 1), step, make_step(1, 2)])
    back = timeline.read_step(session, "thermal", step.time)
    np.testing.assert_array_equal(back.imagery, step.reading.imagery)
    np.testing.assert_array_equal(back.qc, step.reading.qc)
    with pytest.raises(StoreError, match="no thermal scene"):
        timeline.read_step(session, "thermal", START + timedelta(days=99))
