"""A change to a cube in the making: all of it becomes visible at its commit, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from cube import timeline
from cube.errors import SelectionError, StoreError
from cube.version import code_version

if TYPE_CHECKING:
    import icechunk
    import xarray as xr
    import zarr


class Transaction:
    """A change in the making."""

    def __init__(self, session: icechunk.Session) -> None:
        self.session = session
        self.base = session.snapshot_id
        """Snapshot that the change starts from."""

    def commit(self, message: str, lineage: Mapping[str, Any]) -> None:
        """Make the change visible, if there is one."""
        import icechunk

        if not self.session.has_uncommitted_changes:
            return
        metadata = {**lineage, "code": code_version()}
        try:
            self.session.commit(message, metadata, rebase_with=icechunk.ConflictDetector())
        except (icechunk.ConflictError, icechunk.RebaseFailedError) as error:
            raise StoreError(
                f"{message}: another job changed the same group meanwhile ({error}); run it again",
                kind="conflict",
            ) from error

    def set_attrs(self, attrs: Mapping[str, Any]) -> None:
        """Set attributes of the root group."""
        import zarr

        zarr.open_group(self.session.store, mode="a", zarr_format=3).attrs.update(attrs)

    def make_groups(self, *groups: str) -> None:
        """Make empty groups, so that later changes below them do not touch the root.

        Two jobs that both had to make the parent of their group would stand in each other's way.
        """
        import zarr

        root = zarr.open_group(self.session.store, mode="a", zarr_format=3)
        for group in groups:
            root.require_group(group)

    def write(self, group: str, dataset: xr.Dataset) -> None:
        """Replace a whole group by a dataset."""
        self._to_zarr(group, dataset, {}, compute=True)

    def template(self, group: str, dataset: xr.Dataset, chunks: Mapping[str, int]) -> None:
        """Replace a group by coordinates and empty arrays, to be filled through `array`.

        Parameters
        ----------
        group
            Path of the group.
        dataset
            Data variables must be Dask arrays; they are not computed.
        chunks
            Chunk length by dimension, for all data variables.
        """
        self._to_zarr(group, dataset, chunks, compute=False)

    def _to_zarr(
        self, group: str, dataset: xr.Dataset, chunks: Mapping[str, int], *, compute: bool
    ) -> None:
        encoding: dict[str, dict[str, Any]] = {}
        for name, variable in dataset.variables.items():
            encoding[str(name)] = {"compressors": timeline.codecs()}
            if chunks and variable.ndim and name in dataset.data_vars:
                sizes = zip(variable.dims, variable.shape, strict=True)
                encoding[str(name)]["chunks"] = tuple(
                    min(chunks.get(str(dim), size), size) for dim, size in sizes
                )
        write = partial(
            dataset.to_zarr, self.session.store, group=group, mode="w", consolidated=False
        )
        write(encoding=encoding, compute=compute)

    def array(self, path: str) -> zarr.Array[Any]:
        """Open an array for writing; write whole chunks only."""
        import zarr

        return zarr.open_array(
            self.session.store, path=path, mode="r+", config={"write_empty_chunks": True}
        )

    def delete(self, group: str) -> None:
        """Remove a group with all it holds.

        Raises
        ------
        SelectionError
            If there is no such group.
        """
        import zarr

        root = zarr.open_group(self.session.store, mode="r+", zarr_format=3)
        if group not in root:
            raise SelectionError(f"there is no group {group!r} to delete")
        del root[group]
