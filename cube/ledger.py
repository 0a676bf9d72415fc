"""The ledger: one row for every granule ever considered, and what became of it."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


class Status(StrEnum):
    """What became of a granule."""

    INGESTED = "ingested"
    REJECTED = "rejected"
    """Screened out; `rule`, `figure` and `limit` say by what."""
    FAILED = "failed"
    """Could not be read; the next run tries again."""
    SUPERSEDED = "superseded"
    """A newer version of the same acquisition is used."""
    EMPTY = "empty"
    """Read, and no pixel of it lies in the region."""


@dataclass(frozen=True, slots=True)
class Row:
    """One granule in the ledger."""

    granule: str
    key: str
    version: str
    source: str
    modality: str
    platform: str
    time: datetime | None
    status: Status
    rule: str = ""
    """For a rejected granule the limit that it broke, for a failed one the kind of error."""
    reason: str = ""
    """A sentence for people."""
    figure: float = float("nan")
    limit: float = float("nan")
    scene: datetime | None = None
    """Time of the scene the granule went into; None unless ingested."""
    group: str = ""
    """Digest of the granules that were considered together with this one."""
    fingerprint: str = ""
    settings: str = ""
    """Digest of the settings under which the granule was judged."""
    tries: int = 1
    updated: datetime | None = None


_TIMES = ("time", "scene", "updated")
_NUMBERS = ("figure", "limit")
FIELDS = tuple(field.name for field in dataclasses.fields(Row))


class Ledger:
    """Rows by granule id; the state that planning starts from.

    Parameters
    ----------
    rows
        Later rows replace earlier ones of the same granule.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._rows = {row.granule: row for row in rows}
        self._keys: dict[str, list[Row]] = defaultdict(list)
        for row in self._rows.values():
            self._keys[row.key].append(row)

    def __iter__(self) -> Iterator[Row]:
        """Rows in order of time, then id; undated ones first."""
        epoch = datetime.min.replace(tzinfo=UTC)
        return iter(sorted(self._rows.values(), key=lambda row: (row.time or epoch, row.granule)))

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, granule: str) -> bool:
        return granule in self._rows

    def get(self, granule: str) -> Row | None:
        """The row of a granule, if it has one."""
        return self._rows.get(granule)

    def of(self, key: str) -> list[Row]:
        """All deliveries of one acquisition."""
        return self._keys.get(key, [])

    def updated(self, rows: Iterable[Row]) -> Ledger:
        """A ledger in which these rows are added or replaced."""
        return Ledger([*self._rows.values(), *rows])

    def count(self) -> dict[Status, int]:
        """Number of granules by status."""
        return {
            status: sum(row.status is status for row in self._rows.values()) for status in Status
        }

    def to_frame(self) -> pd.DataFrame:
        """The rows as a table, one a granule."""
        import pandas as pd

        return pd.DataFrame([dataclasses.asdict(row) for row in self], columns=list(FIELDS))

    def to_dataset(self) -> xr.Dataset:
        """The rows as a Zarr-ready dataset with one dimension, ``granule``."""
        import xarray as xr

        rows = list(self)
        columns: dict[str, Any] = {}
        for name in FIELDS:
            values = [getattr(row, name) for row in rows]
            columns["id" if name == "granule" else name] = ("granule", _column(name, values))
        attrs = {"title": "Every granule ever considered, and what became of it"}
        return xr.Dataset(columns, attrs=attrs)

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> Ledger:
        """Read back what `to_dataset` made."""
        loaded = dataset.load()
        columns = {
            name: loaded["id" if name == "granule" else name].values.tolist()
            if name not in _TIMES
            else [_datetime(value) for value in loaded[name].values]
            for name in FIELDS
        }
        rows = (
            dict(zip(FIELDS, values, strict=True)) for values in zip(*columns.values(), strict=True)
        )
        return cls(Row(**{**row, "status": Status(row["status"])}) for row in rows)


def _column(name: str, values: list[Any]) -> np.ndarray:
    if name in _TIMES:
        naive = [value.astimezone(UTC).replace(tzinfo=None) if value else "NaT" for value in values]
        return np.array(naive, dtype="datetime64[ms]").astype("datetime64[ns]")
    if name in _NUMBERS:
        return np.array(values, dtype=np.float64)
    if name == "tries":
        return np.array(values, dtype=np.int32)
    return np.array([str(value) for value in values], dtype=np.dtypes.StringDType())


def _datetime(value: np.datetime64) -> datetime | None:
    if np.isnat(value):
        return None
    milliseconds = int(value.astype("datetime64[ms]").astype(np.int64))
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
