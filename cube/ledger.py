"""The ledger: one row for every granule ever considered, and what became of it.

The granules of one overpass make one scene. The promise about it, at every moment and after any
fault: **the pixels of a scene are the mosaic of exactly those granules whose rows stand as
ingested and name it.** So

* what can be read is committed, also while another granule of the same pass fails;
* the failed granule's row has no pixels in the cube. It shares its `group` with the rows of the
  scene that it belongs to: `Ledger.scene_of` names that scene, `Ledger.incomplete` lists all such
  scenes, and ``thermocube check`` and ``status`` show them;
* the run that can read it makes the scene anew, in one commit;
* a granule whose pixels are in the cube stays ingested when it cannot be read anew (its file was
  replaced by a broken one, say): the scene stays whole as it is, and `rule`, `reason` and `tries`
  say what keeps it from being renewed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

type _Index = dict[Hashable, tuple[str, ...]]
"""Granules by something that several of them share."""


class Status(StrEnum):
    """What became of a granule."""

    INGESTED = "ingested"
    """Its pixels are in the scene that `scene` names."""
    REJECTED = "rejected"
    """Screened out; `rule`, `figure` and `limit` say by what."""
    FAILED = "failed"
    """Could not be read, and nothing of it is in the cube; the next run tries again."""
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
    """For a rejected granule the limit that it broke, for a failing one the kind of error."""
    reason: str = ""
    """A sentence for people."""
    figure: float = float("nan")
    limit: float = float("nan")
    scene: datetime | None = None
    """Time of the scene that holds the granule's pixels; None unless ingested."""
    group: str = ""
    """Digest of the granules of its pass, those that failed included; all their rows share it."""
    fingerprint: str = ""
    settings: str = ""
    """Digest of the settings under which the granule was judged."""
    tries: int = 1
    updated: datetime | None = None

    @property
    def failing(self) -> bool:
        """Whether it could not be read the last time; the next run tries again.

        If it is ingested all the same, the cube holds it as it was read before.
        """
        return self.status is Status.FAILED or (self.status is Status.INGESTED and self.rule != "")


TIMES = ("time", "scene", "updated")
_NUMBERS = ("figure", "limit")
FIELDS = tuple(field.name for field in dataclasses.fields(Row))

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_NAT = np.iinfo(np.int64).min


class Ledger:
    """Rows by granule id; the state that planning starts from.

    Parameters
    ----------
    rows
        Later rows replace earlier ones of the same granule.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._rows: dict[str, Row] = {}
        self._keys: _Index = {}
        self._in_scene: _Index = {}
        self._put(rows)

    def _put(self, rows: Iterable[Row]) -> None:
        for row in rows:
            before = self._rows.get(row.granule)
            _refile(self._keys, row.granule, before and before.key, row.key)
            _refile(self._in_scene, row.granule, before and _place(before), _place(row))
            self._rows[row.granule] = row

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
        return [self._rows[granule] for granule in self._keys.get(key, ())]

    def updated(self, rows: Iterable[Row]) -> Ledger:
        """A ledger in which these rows are added or replaced."""
        new = Ledger()
        new._rows, new._keys = self._rows.copy(), self._keys.copy()
        new._in_scene = self._in_scene.copy()
        new._put(rows)
        return new

    @property
    def rows(self) -> list[Row]:
        """The rows in the order in which they are stored: the first that was considered first."""
        return list(self._rows.values())

    def count(self) -> dict[Status, int]:
        """Number of granules by status."""
        return {
            status: sum(row.status is status for row in self._rows.values()) for status in Status
        }

    def in_scene(self, modality: str, time: datetime) -> list[Row]:
        """Rows of the granules whose pixels a scene holds."""
        return [self._rows[granule] for granule in self._in_scene.get((modality, time), ())]

    def scene_of(self, granule: str) -> datetime | None:
        """Time of the scene that a granule is in, or belongs to but is missing from.

        Returns
        -------
        datetime or None
            None if its pass has no scene in the cube, or the granule no row.
        """
        row = self._rows.get(granule)
        if row is None or row.scene is not None or row.status is not Status.FAILED:
            return None if row is None else row.scene
        return self._scenes().get((row.modality, row.group))

    def incomplete(self) -> dict[tuple[str, datetime], list[Row]]:
        """Scenes that lack granules of their pass, because these could not be read.

        A granule of which an earlier delivery is in the scene is not missing.

        Returns
        -------
        dict
            By modality and time of the scene, in order, the rows of the failed granules.
        """
        scenes = self._scenes()
        found: dict[tuple[str, datetime], list[Row]] = {}
        for row in self._rows.values():
            scene = scenes.get((row.modality, row.group))
            if row.status is not Status.FAILED or scene is None:
                continue
            if all(other.scene is None for other in self.of(row.key)):
                found.setdefault((row.modality, scene), []).append(row)
        return dict(sorted(found.items()))

    def _scenes(self) -> dict[tuple[str, str], datetime]:
        """By modality and group, the scenes that are in the cube."""
        return {
            (row.modality, row.group): row.scene
            for row in self._rows.values()
            if row.scene is not None and row.group
        }

    def to_frame(self) -> pd.DataFrame:
        """The rows as a table, one a granule."""
        import pandas as pd

        return pd.DataFrame([dataclasses.asdict(row) for row in self], columns=list(FIELDS))

    def to_dataset(self) -> xr.Dataset:
        """The rows, as `rows`, as a Zarr-ready dataset with one dimension, ``granule``."""
        import xarray as xr

        rows = self.rows
        columns: dict[str, Any] = {}
        for name in FIELDS:
            values = column(name, rows)
            if name in TIMES:
                values = values.view("datetime64[ms]").astype("datetime64[ns]")
            columns[variable(name)] = ("granule", values)
        attrs = {"title": "Every granule ever considered, and what became of it"}
        return xr.Dataset(columns, attrs=attrs)

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> Ledger:
        """Read back what `to_dataset` made.

        Release 0.1.0 called a granule failed whose pixels were in the cube but could not be read
        anew.
        """
        loaded = dataset.load()
        columns = {name: _values(name, loaded[variable(name)].values) for name in FIELDS}
        rows = (
            dict(zip(FIELDS, values, strict=True)) for values in zip(*columns.values(), strict=True)
        )
        return cls(Row(**{**row, "status": _status(row)}) for row in rows)


def _place(row: Row) -> tuple[str, datetime] | None:
    return None if row.scene is None else (row.modality, row.scene)


def _refile(index: _Index, granule: str, old: Hashable, new: Hashable) -> None:
    """Move a granule in an index from one key to another; None is no key."""
    if old == new:
        return
    if old is not None:
        index[old] = tuple(name for name in index[old] if name != granule)
    if new is not None:
        index[new] = (*index.get(new, ()), granule)


def _status(stored: dict[str, Any]) -> Status:
    status = Status(stored["status"])
    held = status is Status.FAILED and stored["scene"] is not None
    return Status.INGESTED if held else status


def variable(field: str) -> str:
    """Name of a field's variable; ``granule`` is the dimension."""
    return "id" if field == "granule" else field


def column(field: str, rows: Iterable[Row]) -> np.ndarray:
    """One field of some rows as it is stored; times as int64 milliseconds since 1970."""
    values = [getattr(row, field) for row in rows]
    if field in TIMES:
        return np.array(
            [_NAT if value is None else (value - _EPOCH) // _MILLISECOND for value in values],
            dtype=np.int64,
        )
    if field in _NUMBERS:
        return np.array(values, dtype=np.float64)
    if field == "tries":
        return np.array(values, dtype=np.int32)
    return np.array(values, dtype=np.dtypes.StringDType())


def _values(field: str, stored: np.ndarray) -> list[Any]:
    if field not in TIMES:
        return list(stored.tolist())
    milliseconds = stored.astype("datetime64[ms]").astype(np.int64).tolist()
    return [None if value == _NAT else _EPOCH + value * _MILLISECOND for value in milliseconds]
