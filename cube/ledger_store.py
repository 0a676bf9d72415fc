"""The ledger in a cube: a change of a few rows writes a few chunks, however long it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cube import timeline
from cube.ledger import FIELDS, TIMES, Ledger, Row, column, variable

if TYPE_CHECKING:
    import icechunk

GROUP = "ledger"

CHUNK = 512
"""Rows in a chunk."""

_UNITS = "milliseconds since 1970-01-01"


def write_rows(session: icechunk.Session, before: Ledger, rows: Iterable[Row]) -> Ledger:
    """Add or replace rows of the ledger that a session holds.

    A ledger in another layout, as earlier releases wrote it, is rewritten whole once.

    Parameters
    ----------
    session
        Writable; nothing is visible to readers before it commits.
    before
        What `session` holds now.
    rows
        New rows, and rows that replace those of the same granule.

    Returns
    -------
    Ledger
        What `session` holds then.
    """
    from zarr.core.sync import sync

    rows = list(rows)
    after = before.updated(rows)
    if not sync(_try_update(session, len(before), after, {row.granule for row in rows})):
        _rewrite(session, after)
    return after


def _rewrite(session: icechunk.Session, ledger: Ledger) -> None:
    encoding: dict[str, dict[str, Any]] = {
        variable(field): {"chunks": (CHUNK,), "compressors": timeline.codecs()} for field in FIELDS
    }
    for field in TIMES:
        encoding[field] |= {"units": _UNITS, "dtype": "int64"}
    ledger.to_dataset().to_zarr(
        session.store,
        group=GROUP,
        mode="w",
        encoding=encoding,
        consolidated=False,
        write_empty_chunks=True,
    )


async def _try_update(
    session: icechunk.Session, length: int, after: Ledger, changed: set[str]
) -> bool:
    """Write the chunks of the rows that changed; False if the stored layout is another one."""
    stored = after.rows
    touched = sorted({index // CHUNK for index, row in enumerate(stored) if row.granule in changed})
    arrays = [await _opened(session, field, length) for field in FIELDS]
    if any(array is None for array in arrays):
        return False
    for field, array in zip(FIELDS, arrays, strict=True):
        await _update(array, field, stored, touched)
    return True


async def _opened(session: icechunk.Session, field: str, length: int) -> Any:
    from zarr.api.asynchronous import open_array
    from zarr.errors import NodeNotFoundError

    try:
        array = await open_array(
            store=session.store,
            path=f"{GROUP}/{variable(field)}",
            mode="r+",
            config={"write_empty_chunks": True},
        )
    except NodeNotFoundError:
        return None
    known = array.shape == (length,) and array.chunks == (CHUNK,)
    dated = field not in TIMES or array.attrs.get("units") == _UNITS
    return array if known and dated else None


async def _update(array: Any, field: str, stored: list[Row], touched: list[int]) -> None:
    if array.shape != (len(stored),):
        await array.resize((len(stored),))
    for chunk in touched:
        part = slice(chunk * CHUNK, min((chunk + 1) * CHUNK, len(stored)))
        await array.setitem(part, column(field, stored[part]))
