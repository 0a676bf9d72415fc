"""The ledger keeps every row, whatever is in it, and gives the newest."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime

import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from cube.ledger import Ledger, Row, Status

times = st.none() | st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1)).map(
    lambda time: time.replace(tzinfo=UTC, microsecond=time.microsecond // 1000 * 1000)
)
words = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
numbers = st.floats(allow_nan=True, allow_infinity=False)
HELD = set(Status) - {Status.FAILED}
rows = st.builds(
    Row,
    granule=words,
    key=words,
    version=words,
    source=words,
    modality=words,
    platform=words,
    time=times,
    status=st.sampled_from(Status),
    rule=words,
    reason=words,
    figure=numbers,
    limit=numbers,
    scene=times,
    group=words,
    fingerprint=words,
    settings=words,
    tries=st.integers(0, 1000),
    updated=times,
).map(lambda row: dataclasses.replace(row, scene=row.scene if row.status in HELD else None))


def same(left: Row, right: Row) -> bool:
    return all(
        a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b))
        for a, b in zip(dataclasses.astuple(left), dataclasses.astuple(right), strict=True)
    )


@settings(max_examples=25, deadline=None)
@given(st.lists(rows, max_size=6, unique_by=lambda row: row.granule))
def test_a_ledger_comes_back_from_zarr_as_it_was(entries: list[Row]) -> None:
    ledger = Ledger(entries)
    store = zarr.storage.MemoryStore()
    ledger.to_dataset().to_zarr(store, group="ledger", consolidated=False)
    opened = xr.open_zarr(store, group="ledger", chunks=None, consolidated=False)
    back = Ledger.from_dataset(opened)
    assert len(back) == len(ledger)
    assert all(same(a, b) for a, b in zip(back, ledger, strict=True))


def row(name: str, status: Status, day: int | None, key: str = "") -> Row:
    time = datetime(2024, 1, day, tzinfo=UTC) if day else None
    return Row(name, key or name, "1", "s", "thermal", "ISS", time, status)


def test_rows_come_in_order_of_time_and_undated_ones_first() -> None:
    ledger = Ledger(
        [row("c", Status.FAILED, 3), row("a", Status.EMPTY, 1), row("x", Status.REJECTED, None)]
    )
    assert [entry.granule for entry in ledger] == ["x", "a", "c"]


def test_later_rows_replace_earlier_ones_and_nothing_else() -> None:
    before = Ledger([row("a", Status.FAILED, 1), row("b", Status.INGESTED, 2)])
    after = before.updated([row("a", Status.INGESTED, 1), row("c", Status.REJECTED, 3)])
    assert len(before) == 2
    assert after.count()[Status.INGESTED] == 2
    assert after.count()[Status.REJECTED] == 1
    assert after.count()[Status.FAILED] == 0
    assert "c" in after and "c" not in before


def test_deliveries_of_one_acquisition_are_found_together() -> None:
    ledger = Ledger([row("a1", Status.SUPERSEDED, 1, "a"), row("a2", Status.INGESTED, 1, "a")])
    assert {entry.granule for entry in ledger.of("a")} == {"a1", "a2"}
    assert ledger.of("nothing") == []
    assert list(ledger.to_frame()["granule"]) == ["a1", "a2"]


def held(name: str, status: Status, *, key: str = "", rule: str = "", scene: bool = True) -> Row:
    """A row of the one pass there is."""
    time = datetime(2024, 1, 1, tzinfo=UTC)
    told = dataclasses.replace(row(name, status, 1, key), rule=rule, group="pass")
    return dataclasses.replace(told, scene=time if scene else None)


def test_a_failed_granule_names_the_scene_that_it_is_missing_from() -> None:
    good = held("good", Status.INGESTED)
    bad = held("bad", Status.FAILED, rule="truncated", scene=False)
    alone = dataclasses.replace(bad, granule="alone", key="alone", group="another pass")
    ledger = Ledger([good, bad, alone])
    assert ledger.scene_of("bad") == ledger.scene_of("good") == good.scene
    assert ledger.scene_of("alone") is ledger.scene_of("never seen") is None
    assert ledger.incomplete() == {("thermal", good.scene): [bad]}
    assert bad.failing and alone.failing and not good.failing
    rejected = dataclasses.replace(good, status=Status.REJECTED, scene=None)
    gone = ledger.updated([rejected])
    assert gone.scene_of("bad") is gone.scene_of("good") is None and not gone.incomplete()


def test_a_scene_with_an_earlier_delivery_of_what_failed_is_complete() -> None:
    older = held("v1", Status.INGESTED, key="k")
    newer = held("v2", Status.FAILED, key="k", rule="truncated", scene=False)
    ledger = Ledger([older, newer])
    assert not ledger.incomplete()
    assert ledger.scene_of("v2") == older.scene


def test_what_an_earlier_release_called_failed_but_held_is_ingested_and_failing() -> None:
    stored = Ledger([held("a", Status.FAILED, rule="truncated")]).to_dataset()
    (back,) = Ledger.from_dataset(stored)
    assert back.status is Status.INGESTED and back.failing and back.scene is not None
