"""The cube: open it, read it lazily, change it in transactions, and see who changed what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cube import grid as grids
from cube import timeline
from cube.errors import CubeNotFoundError, SelectionError, StoreError
from cube.ledger import Ledger
from cube.region import Region
from cube.storage import open_repository, write_lock
from cube.transaction import Transaction as Transaction

if TYPE_CHECKING:
    import icechunk
    import xarray as xr
    from odc.geo.geobox import GeoBox

    from cube.selection_report import SelectionReport

SCHEMA_VERSION = 1
BRANCH = "main"


@dataclass(frozen=True, slots=True)
class Commit:
    """One entry of a cube's history."""

    id: str
    time: datetime
    message: str
    metadata: dict[str, Any] = field(default_factory=dict)


class Cube:
    """One region's datacube.

    Reading is lazy and always from one snapshot: what another job commits meanwhile is seen
    after `refresh` only, and never in part.

    Parameters
    ----------
    repository
        Open Icechunk repository.
    location
        Where it lies, for messages and for the write lock.
    snapshot
        Snapshot to read; the newest by default.
    """

    def __init__(
        self, repository: icechunk.Repository, location: str, snapshot: str | None = None
    ) -> None:
        self._repository = repository
        self.location = location
        self.snapshot = snapshot or repository.lookup_branch(BRANCH)
        self._session = repository.readonly_session(snapshot_id=self.snapshot)

    @classmethod
    def open(
        cls, where: str | Path | Region, *, storage_options: Mapping[str, Any] | None = None
    ) -> Cube:
        """Open a cube by its place, its region file or its region.

        Parameters
        ----------
        where
            Path or URL of the cube, path of a region file (``.toml``), or a `Region`.
        storage_options
            For an object store, when `where` is a URL; a region brings its own.

        Raises
        ------
        CubeNotFoundError
            If there is no cube.
        """
        if not isinstance(where, Region) and str(where).endswith(".toml"):
            where = Region.load(where)
        if isinstance(where, Region):
            location, storage_options = where.location, where.storage_options
        else:
            location = str(where)
        cube = cls(open_repository(location, storage_options), location)
        if "proj:transform" not in cube.attrs:
            raise CubeNotFoundError(f"the Icechunk repository at {location} holds no cube")
        return cube

    @classmethod
    def create(cls, region: Region) -> Cube:
        """Open a region's cube, making it if it is not there.

        Raises
        ------
        GridError
            If a cube is there and lies on another grid than the region file says.
        StoreError
            If the cube's bands are not those of the region file.
        """
        with write_lock(region.location):
            repository = open_repository(region.location, region.storage_options, create=True)
            cube = cls(repository, region.location)
            fresh = "proj:transform" not in cube.attrs
        if fresh:
            with cube.transaction(f"create cube of region {region.name}", {}) as change:
                if change.base == cube.snapshot:  # Else another job has just made it.
                    change.set_attrs(_root_attrs(region))
                    change.make_groups("predictions", "sharpened")
                    for modality in region.modalities:
                        _add(change, region, modality)
        cube._agree_with(region)
        return cube

    def _agree_with(self, region: Region) -> None:
        grids.require_same(self.grid, region.grid, f"region {region.name!r}, cube {self.location}")
        while missing := [name for name in region.modalities if name not in self.groups()]:
            with self.transaction(f"add {', '.join(missing)}", {}) as change:
                if change.base == self.snapshot:  # Else another job may have added them.
                    for name in missing:
                        _add(change, region, name)
        for name in region.modalities:
            where = f"region {region.name!r}, group {name!r} of cube {self.location}"
            grids.require_same(self.grid_of(name), region.grid_of(name), where)
            stored = [str(band) for band in self.dataset(name, chunks=None)["band"].values]
            wanted = [band.name for band in region.bands(name)]
            if stored != wanted:
                raise StoreError(
                    f"the cube at {self.location} holds {name} bands {stored}, the region file "
                    f"asks for {wanted}; bands cannot change in a cube that is there: give the "
                    "region another `store` and ingest anew"
                )

    def refresh(self) -> Cube:
        """Move on to the newest snapshot, in place."""
        self.snapshot = self._repository.lookup_branch(BRANCH)
        self._session = self._repository.readonly_session(snapshot_id=self.snapshot)
        return self

    def at(self, snapshot: str) -> Cube:
        """The same cube as it was at an earlier snapshot.

        Raises
        ------
        StoreError
            If the cube has no such snapshot.
        """
        import icechunk

        try:
            return Cube(self._repository, self.location, snapshot)
        except icechunk.IcechunkError as error:
            raise StoreError(
                f"cube {self.location} has no snapshot {snapshot!r}; `thermocube history` lists "
                "those it has, unless they have expired",
                kind="no_snapshot",
            ) from error

    @property
    def repository(self) -> icechunk.Repository:
        """The Icechunk repository behind the cube, for upkeep."""
        return self._repository

    @property
    def session(self) -> icechunk.Session:
        """The read-only session behind this view; ``session.store`` opens with ``xr.open_zarr``."""
        return self._session

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes of the root group."""
        import zarr
        from zarr.errors import GroupNotFoundError

        try:
            group = zarr.open_group(self._session.store, mode="r", zarr_format=3)
        except (FileNotFoundError, GroupNotFoundError):
            return {}
        return dict(group.attrs)

    @property
    def name(self) -> str:
        """Name of the region."""
        return str(self.attrs["name"])

    @property
    def grid(self) -> GeoBox:
        """The grid of labels, predictions, and every modality without a resolution of its own."""
        return grids.from_attrs(self.attrs)

    def grid_of(self, group: str) -> GeoBox:
        """The grid of one modality's group.

        Raises
        ------
        SelectionError
            If the cube has no such group.
        """
        return grids.from_attrs(self.dataset(group, chunks=None).attrs)

    def groups(self) -> list[str]:
        """Paths of the groups that hold arrays, e.g. ``thermal``, ``predictions/unet``."""
        import zarr

        root = zarr.open_group(self._session.store, mode="r", zarr_format=3)
        found = [path for path, node in root.members(max_depth=None) if _holds_arrays(node)]
        return sorted(found)

    def dataset(self, group: str, chunks: dict[str, int] | None = {}) -> xr.Dataset:  # noqa: B006
        """Open a group lazily.

        Parameters
        ----------
        group
            ``thermal``, ``labels``, ``predictions/<run>``, ...
        chunks
            Dask chunks; by default those of the store. None reads without Dask, lazily still.

        Raises
        ------
        SelectionError
            If the cube has no such group.
        """
        import xarray as xr
        from zarr.errors import ContainsArrayError

        import cube.accessor  # noqa: F401  (registers `dataset.thermocube`)

        try:
            dataset: xr.Dataset = xr.open_zarr(
                self._session.store, group=group, chunks=chunks, consolidated=False
            )
        except (FileNotFoundError, ContainsArrayError):
            raise self._no_group(group) from None
        if not dataset.variables:
            raise self._no_group(group)
        for coordinate in dataset.coords.values():
            coordinate.load()  # small, and what selections are made by
        return dataset

    def _no_group(self, group: str) -> SelectionError:
        there = ", ".join(self.groups()) or "nothing yet"
        return SelectionError(f"cube {self.location} has no group {group!r}; it has {there}")

    def select(self, modality: str, **wanted: Any) -> xr.Dataset:
        """Select scenes and bands, join modalities, stack dates; see `cube.joint.select_from`."""
        from cube.joint import select_from

        return select_from(self, modality, **wanted)

    def explain(self, modality: str, **wanted: Any) -> SelectionReport:
        """Say which scenes `select` would leave out, and why."""
        from cube.joint import explain_from

        return explain_from(self, modality, **wanted)

    @property
    def ledger(self) -> Ledger:
        """What became of every granule."""
        if "ledger" not in self.groups():
            return Ledger()
        return Ledger.from_dataset(self.dataset("ledger", chunks=None))

    def history(self) -> list[Commit]:
        """Commits, newest first, back to the beginning."""
        return [
            Commit(entry.id, entry.written_at, entry.message, dict(entry.metadata))
            for entry in self._repository.ancestry(snapshot_id=self.snapshot)
        ]

    @contextmanager
    def transaction(
        self, message: str, lineage: Mapping[str, Any], *, exclusive: bool = True
    ) -> Iterator[Transaction]:
        """Change the cube; all of it becomes visible at the end, or nothing.

        Parameters
        ----------
        message
            One line for the history.
        lineage
            What the change was made from; kept in the commit's metadata.
        exclusive
            Keep other writers out from the beginning. Without it they are kept out of the commit
            only, so that hours of inference block no ingest; the change must then stay within
            groups of its own.

        Raises
        ------
        StoreError
            If a change that was not exclusive met another one in the same group.
        """
        if exclusive:
            with write_lock(self.location):
                change = Transaction(self._repository.writable_session(BRANCH))
                yield change
                change.commit(message, lineage)
        else:
            change = Transaction(self._repository.writable_session(BRANCH))
            yield change
            with write_lock(self.location):
                change.commit(message, lineage)
        self.refresh()

    def __repr__(self) -> str:
        return f"<Cube {self.location} @ {self.snapshot}>"


def _add(change: Transaction, region: Region, modality: str) -> None:
    timeline.create(change.session, modality, region.bands(modality), region.grid_of(modality))


def _root_attrs(region: Region) -> dict[str, Any]:
    return {
        "name": region.name,
        "title": f"thermocube of region {region.name}",
        "Conventions": "CF-1.11",
        "schema_version": SCHEMA_VERSION,
        "bbox": list(grids.lonlat_bounds(region.grid)),
        **grids.to_attrs(region.grid),
    }


def _holds_arrays(node: Any) -> bool:
    return hasattr(node, "array_keys") and any(True for _ in node.array_keys())
