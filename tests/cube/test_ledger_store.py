"""The stored ledger grows by chunks, and one of an earlier layout is taken over."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import icechunk
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from cube.ledger import Ledger, Row, Status
from cube.ledger_store import CHUNK, write_rows

START = datetime(2024, 1, 1, tzinfo=UTC)


def row(number: int, status: Status = Status.INGESTED, tries: int = 1) -> Row:
    time = START + timedelta(hours=7 * number) if number % 5 else None
    return Row(
        f"g{number}", f"k{number // 2}", "1", "s", "thermal", "ISS", time, status,
        reason="ü" * (number % 3), scene=None if status is Status.FAILED else time, tries=tries,
    )  # fmt: skip


def stored(session: icechunk.Session) -> Ledger:
    return Ledger.from_dataset(
        xr.open_zarr(session.store, group="ledger", chunks=None, consolidated=False)
    )


def facts(ledger: Ledger) -> list[tuple[object, ...]]:
    # NaN is not equal to itself, thus the text.
    return [tuple(map(str, dataclasses.astuple(row))) for row in ledger.rows]


def fresh() -> icechunk.Session:
    repository = icechunk.Repository.create(icechunk.in_memory_storage())
    return repository.writable_session("main")


@settings(max_examples=10, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 9), st.sampled_from(Status)), min_size=1, max_size=4),
        min_size=1,
        max_size=4,
    )
)
def test_what_is_stored_is_what_is_known_after_every_change(
    batches: list[list[tuple[int, Status]]],
) -> None:
    session, ledger = fresh(), Ledger()
    for tries, batch in enumerate(batches):
        ledger = write_rows(session, ledger, [row(n, status, tries) for n, status in batch])
        assert facts(stored(session)) == facts(ledger)


def test_rows_are_added_and_replaced_across_chunks() -> None:
    session = fresh()
    ledger = write_rows(session, Ledger(), [row(n) for n in range(2 * CHUNK - 3)])
    ledger = write_rows(session, ledger, [row(n) for n in range(2 * CHUNK - 3, 2 * CHUNK + 5)])
    changed = [row(3, Status.FAILED, 2), row(2 * CHUNK, Status.REJECTED)]
    ledger = write_rows(session, ledger, changed)
    assert len(ledger) == 2 * CHUNK + 5
    assert facts(stored(session)) == facts(ledger)
    assert {entry.granule for entry in stored(session).of("k1")} == {"g2", "g3"}


def test_a_ledger_written_whole_by_an_earlier_release_is_taken_over() -> None:
    session = fresh()
    before = Ledger([row(n) for n in range(30)])
    before.to_dataset().to_zarr(session.store, group="ledger", mode="w", consolidated=False)
    assert zarr.open_array(session.store, path="ledger/id", mode="r").chunks != (CHUNK,)
    known = stored(session)
    after = write_rows(session, known, [row(7, Status.FAILED), row(30)])
    assert facts(stored(session)) == facts(after)
    assert zarr.open_array(session.store, path="ledger/id", mode="r").chunks == (CHUNK,)


def test_a_ledger_is_not_changed_by_the_one_made_from_it() -> None:
    before = Ledger([row(0), row(1)])
    after = before.updated([dataclasses.replace(row(1), key="other"), row(2)])
    assert [entry.granule for entry in before.of("k0")] == ["g0", "g1"]
    assert [entry.granule for entry in after.of("k0")] == ["g0"]
    assert [entry.granule for entry in after.of("other")] == ["g1"]
