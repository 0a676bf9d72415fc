"""Groups of a cube as a plain Zarr v3 store with CF and GeoZarr attributes, and overviews."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cube.conventions import cf_dataset, geozarr_attrs, links, multiscales_attrs, spatial_coords
from cube.errors import SelectionError
from cube.grid import grid_of
from cube.publish import TIME, chunks_of, fill_of, fresh, lazy, put

if TYPE_CHECKING:
    import xarray as xr
    from affine import Affine
    from odc.geo.geobox import GeoBox

BATCH = 8
"""Scenes that are written at a time: bounds memory and the Dask graph."""

Progress = Callable[[int, int, str], None]


def to_zarr(
    groups: Mapping[str, xr.Dataset],
    path: str | Path,
    *,
    attrs: Mapping[str, Any] | None = None,
    overviews: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write groups of a cube as one plain Zarr v3 store.

    It opens with ``xr.open_zarr(path, group=...)`` and in GDAL, without Icechunk. Chunks are one
    scene x 256 x 256 pixels, zstd with its frame checksum, so that damage raises (a crc32c
    codec as in the cube would, but GDAL up to 3.12 does not read it). Metadata are consolidated.
    The store appears under its name only when it is complete.

    Parameters
    ----------
    groups
        By name, groups of a cube or selections from them, as `Cube.dataset` or `select` give.
    path
        Local folder to make.
    attrs
        Of the root, such as title and the snapshot that it was made from.
    overviews
        Coarser copies of each group, each half as fine. With them a group's full resolution is
        its child ``0`` (multiscales convention); quantities are averaged over valid pixels,
        classes take the upper-left one, flag words are left out.
    overwrite
        Replace what is there.
    progress
        Told of scenes written.

    Raises
    ------
    StoreError
        If something is there already and `overwrite` is not given.
    SelectionError
        If there is nothing to write.
    """
    if not groups:
        raise SelectionError("there is no group to write; name at least one")
    ready = {name: cf_dataset(dataset, name) for name, dataset in groups.items()}
    tell = _Teller(sum(dataset.sizes.get("time", 1) for dataset in ready.values()), progress)
    with fresh(path, overwrite) as folder:
        store = folder / "store"
        for name, dataset in ready.items():
            _write_group(store, name, dataset, overviews, tell)
        _finish(store, dict(attrs or {}))
        put(store, Path(path))
    return Path(path)


def _write_group(
    store: Path, name: str, dataset: xr.Dataset, overviews: int, tell: _Teller
) -> None:
    import zarr

    grids = _pyramid(grid_of(dataset), overviews)
    if len(grids) == 1:
        _write_level(store, name, dataset.assign_attrs(geozarr_attrs(grids[0])), tell)
        return
    zarr.open_group(store, path=name, mode="a", zarr_format=3).attrs.update(
        {**dataset.attrs, **multiscales_attrs(grids)}
    )
    _write_level(store, f"{name}/0", dataset.assign_attrs(geozarr_attrs(grids[0])), tell)
    for level, grid in enumerate(grids[1:], 1):
        coarse = _coarser(_reopen(store, f"{name}/{level - 1}", dataset), grid)
        attrs = {**dataset.attrs, **geozarr_attrs(grid)}
        _write_level(store, f"{name}/{level}", coarse.assign_attrs(attrs), _Teller(0, None))


def _write_level(store: Path, group: str, dataset: xr.Dataset, tell: _Teller) -> None:
    """Metadata, coordinates and everything without time first; then batches of scenes."""
    import dask.array as da
    import xarray as xr

    timed = [name for name, variable in dataset.data_vars.items() if "time" in variable.dims]
    encoding = {str(name): _zarr_encoding(variable) for name, variable in dataset.variables.items()}
    if "time" in dataset.coords:
        encoding["time"] |= TIME | {"dtype": "int64"}
    _to_zarr(store, group, lazy(dataset.drop_vars(timed)), "w", encoding)
    if not timed:
        return
    # Empty arrays of one Dask chunk each: a graph of all scenes would outgrow memory.
    blank = {
        name: xr.Variable(
            variable.dims,
            da.zeros(variable.shape, dtype=variable.dtype, chunks=-1),
            variable.attrs,
            variable.encoding,
        )
        for name, variable in dataset[timed].data_vars.items()
    }
    template = dataset.drop_vars(list(dataset.data_vars)).assign(blank)
    _to_zarr(store, group, template, "a", encoding, compute=False)
    for start in range(0, dataset.sizes["time"], BATCH):
        part = dataset[timed].isel(time=slice(start, start + BATCH))
        part = lazy(part.drop_vars(list(part.coords)))
        region = {"time": slice(start, start + part.sizes["time"])}
        part.to_zarr(store, group=group, region=region, consolidated=False, zarr_format=3)
        tell.add(part.sizes["time"], group)


def _to_zarr(
    store: Path,
    group: str,
    dataset: xr.Dataset,
    mode: Literal["w", "a"],
    encoding: Mapping[str, Any],
    *,
    compute: bool = True,
) -> None:
    chosen = dataset.copy()
    for name, variable in chosen.variables.items():
        # On the variables and not as an argument, which takes no `coordinates` entry.
        variable.encoding = dict(encoding[str(name)])
    write = partial(chosen.to_zarr, store, group=group, mode=mode, zarr_format=3)
    write(compute=compute, consolidated=False)


def _zarr_encoding(variable: xr.Variable) -> dict[str, Any]:
    from zarr.codecs import ZstdCodec

    encoding: dict[str, Any] = dict(links(variable))
    if variable.dtype.kind in "fiu":
        encoding["_FillValue"] = fill_of(variable)
    if variable.ndim:
        encoding["compressors"] = [ZstdCodec(level=5, checksum=True)]
        encoding["chunks"] = chunks_of(variable)
    return encoding


def _pyramid(grid: GeoBox, overviews: int) -> list[GeoBox]:
    from odc.geo.geobox import GeoBox

    grids = [grid]
    for _ in range(overviews):
        height, width = grids[-1].shape
        if max(height, width) == 1:
            break
        shape = (-(-height // 2), -(-width // 2))
        grids.append(GeoBox(shape, _doubled(grids[-1].affine), grid.crs))
    return grids


def _doubled(affine: Affine) -> Affine:
    return affine @ affine.scale(2)


def _reopen(store: Path, group: str, dataset: xr.Dataset) -> xr.Dataset:
    """A level that was just written, with the attributes it came from."""
    import xarray as xr

    level: xr.Dataset = xr.open_zarr(
        store, group=group, consolidated=False, decode_coords="all", chunks={}
    )
    for name in level.data_vars:
        level[name].encoding = dict(dataset[name].encoding)
    return level


def _coarser(dataset: xr.Dataset, grid: GeoBox) -> xr.Dataset:
    """Half as fine: quantities averaged over valid pixels, classes by the upper-left pixel."""
    layers = {}
    for name, variable in dataset.data_vars.items():
        if variable.dtype.kind == "f":
            layers[name] = _average(variable)
        elif "flag_values" in variable.attrs:
            layers[name] = variable.isel(y=slice(None, None, 2), x=slice(None, None, 2))
        else:
            continue
        layers[name] = layers[name].drop_vars(["y", "x", "spatial_ref"], errors="ignore")
        layers[name].attrs = dict(variable.attrs)
        layers[name].attrs.pop("ancillary_variables", None)
        layers[name].encoding = dict(variable.encoding)
    bare = dataset.drop_vars([*dataset.data_vars, "y", "x", "spatial_ref"])
    return bare.assign(layers).assign_coords(spatial_coords(grid))


def _average(variable: xr.DataArray) -> xr.DataArray:
    windows = {"y": 2, "x": 2}
    held = variable.notnull()
    total = variable.fillna(0.0).coarsen(windows, boundary="pad").sum()
    count = held.astype(np.float32).coarsen(windows, boundary="pad").sum()
    mean = total / count.where(count > 0)
    return mean.astype(variable.dtype)


def _finish(store: Path, attrs: dict[str, Any]) -> None:
    """Root attributes, and consolidated metadata of the root and of every group."""
    import zarr
    from zarr.errors import ZarrUserWarning

    root = zarr.open_group(store, mode="a", zarr_format=3)
    root.attrs.update({"Conventions": "CF-1.11", **attrs})
    groups = [name for name, node in root.members(max_depth=None) if isinstance(node, zarr.Group)]
    with warnings.catch_warnings():
        # Zarr v3's text does not speak of consolidated metadata yet; readers of it do use them.
        warnings.filterwarnings("ignore", "Consolidated metadata", ZarrUserWarning)
        for name in [*sorted(groups, key=len, reverse=True), ""]:
            zarr.consolidate_metadata(str(store), path=name or None)


class _Teller:
    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def add(self, scenes: int, group: str) -> None:
        self._done += scenes
        if self._progress:
            self._progress(self._done, self._total, group)
