"""Groups of a cube as NetCDF-4 files, and what all exports of groups have in common."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cube.conventions import cf_dataset, links
from cube.errors import StoreError

if TYPE_CHECKING:
    import xarray as xr

CHUNK = 256
"""Side of a spatial chunk in pixels."""

TIME = {"units": "milliseconds since 1970-01-01T00:00:00", "calendar": "standard"}


def to_netcdf(
    dataset: xr.Dataset,
    path: str | Path,
    *,
    modality: str | None = None,
    attrs: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a group of a cube, or a selection from it, as one NetCDF-4 file.

    CF-1.11, deflate with shuffle, each chunk with a Fletcher-32 checksum; written chunk by chunk,
    so that memory does not grow with the selection.

    Parameters
    ----------
    dataset
        As `Cube.dataset` or `select` give it.
    path
        File to make; it appears under its name only when it is complete.
    modality
        Name of the group, where it holds imagery.
    attrs
        Further attributes of the file.
    overwrite
        Replace a file that is there.

    Raises
    ------
    StoreError
        If the file is there already and `overwrite` is not given.
    """
    plain = lazy(cf_dataset(dataset, modality)).assign_attrs(attrs or {})
    encoding: dict[str, dict[str, Any]] = {
        str(name): {
            **links(variable),
            "zlib": True,
            "complevel": 4,
            "shuffle": True,
            "fletcher32": True,
            "chunksizes": chunks_of(variable),
            "_FillValue": fill_of(variable),
        }
        for name, variable in plain.data_vars.items()
        if variable.ndim and variable.size
    }
    encoding |= {name: {"_FillValue": None} for name in _numeric_coords(plain)}
    if "time" in plain.coords:
        encoding["time"] = {**TIME, "dtype": "int64", "_FillValue": None}
    with fresh(path, overwrite) as folder:
        file = folder / "file.nc"
        for name, entry in encoding.items():
            plain[name].encoding = entry
        plain.to_netcdf(file, engine="h5netcdf")
        put(file, Path(path))
    return Path(path)


def _numeric_coords(dataset: xr.Dataset) -> list[str]:
    return [str(name) for name, value in dataset.coords.items() if value.dtype.kind in "fiu"]


@contextmanager
def fresh(path: str | Path, overwrite: bool) -> Iterator[Path]:
    """A folder beside the target, to write in; a rename is atomic within a file system only."""
    target = Path(path)
    if target.exists() and not overwrite:
        raise StoreError(f"there is something at {target} already; say --overwrite to replace it")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent) as folder:
        yield Path(folder)


def put(made: Path, target: Path) -> None:
    """Give a complete export its name; what had the name goes with the working folder."""
    if target.exists():
        target.replace(made.with_name("replaced"))
    made.replace(target)


def chunks_of(variable: xr.Variable | xr.DataArray) -> tuple[int, ...]:
    """One scene x 256 x 256 pixels; what has no pixels is one chunk."""
    if not {"y", "x"} <= set(variable.dims):
        return tuple(max(size, 1) for size in variable.shape)
    sides = {"y": CHUNK, "x": CHUNK, "time": 1}
    return tuple(
        max(min(sides.get(str(dim), size), size), 1)
        for dim, size in zip(variable.dims, variable.shape, strict=True)
    )


def fill_of(variable: xr.Variable | xr.DataArray) -> float | None:
    """NaN for layers of numbers; every value of a flag, class or coordinate is a value."""
    return float("nan") if variable.dtype.kind == "f" and variable.ndim > 1 else None


def lazy(dataset: xr.Dataset) -> xr.Dataset:
    """Layers in Dask chunks as they will be stored; coordinates as they are."""
    sides = {"time": 1, "y": CHUNK, "x": CHUNK}
    layers = {
        name: layer.copy(
            data=layer.variable.chunk({dim: sides.get(str(dim), -1) for dim in layer.dims}).data
        )
        for name, layer in dataset.data_vars.items()
    }
    return dataset.assign(layers)
