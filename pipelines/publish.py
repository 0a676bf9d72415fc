"""Publish: a cube, or a selection from it, in the formats that others read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cube.bands import MODALITIES
from cube.errors import SelectionError
from cube.select import select
from cube.store import Cube
from cube.version import code_version

if TYPE_CHECKING:
    import xarray as xr

Progress = Callable[[int, int, str], None]

EVERYTHING = "all"
_SUFFIXES = (".zarr", ".nc", ".tif", "or none for a STAC catalogue in a folder")
_OF_SCENES = ("bands", "time_of_day", "max_cloud", "max_bad", "min_valid")


def publish(
    cube: Cube,
    what: str,
    target: str | Path,
    *,
    rules: Mapping[str, Any] | None = None,
    overviews: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write groups of a cube; the target's name says in which format.

    Parameters
    ----------
    cube
        Read at its snapshot, which the export names.
    what
        Groups, separated by commas (``thermal,labels``), or ``all`` but for the ledger.
    target
        ``*.zarr`` plain Zarr v3 with CF and GeoZarr attributes; ``*.nc`` NetCDF-4, one group;
        a name without suffix a folder with a STAC catalogue and its GeoTIFFs.
    rules
        Of `cube.select.select`, such as ``period``, ``season``, ``bands``, ``max_cloud``. What
        only imagery knows is applied to imagery; what has no time is taken whole.
    overviews
        Coarser copies in a Zarr store.
    overwrite
        Replace what is there.
    progress
        Told of scenes written.

    Returns
    -------
    Path
        What was written; of a catalogue its ``collection.json``.

    Raises
    ------
    SelectionError
        If a group is not there, the selection is empty, or the target's name means no format.
    StoreError
        If something is at the target already.
    """
    path = Path(target)
    groups = _chosen(cube, what, dict(rules or {}))
    title = f"thermocube of region {cube.name}"
    lineage = {
        "thermocube_region": cube.name,
        "thermocube_snapshot": cube.snapshot,
        "thermocube_code": code_version(),
    }
    if path.suffix == ".zarr":
        from cube.geozarr import to_zarr

        return to_zarr(
            groups,
            path,
            attrs={"title": title, **lineage},
            overviews=overviews,
            overwrite=overwrite,
            progress=progress,
        )
    if path.suffix == ".nc":
        return _netcdf(groups, path, lineage, overwrite=overwrite)
    if path.suffix:
        raise SelectionError(
            f"what kind of export is {path.name}? Give a name that ends in {', '.join(_SUFFIXES)}"
        )
    from cube.catalog import to_stac

    return to_stac(
        groups,
        path,
        name=cube.name,
        description=f"{title}: {', '.join(groups)}",
        attrs={key.replace("_", ":", 1): value for key, value in lineage.items()},
        overwrite=overwrite,
        progress=progress,
    )


def _netcdf(
    groups: Mapping[str, xr.Dataset], path: Path, lineage: dict[str, str], *, overwrite: bool
) -> Path:
    from cube.publish import to_netcdf

    if len(groups) != 1:
        raise SelectionError(
            f"a NetCDF file takes one group, since groups have time axes of their own; these are "
            f"{', '.join(groups)}. Name one, or export to a .zarr store"
        )
    [(name, dataset)] = groups.items()
    return to_netcdf(dataset, path, modality=name, attrs=lineage, overwrite=overwrite)


def _chosen(cube: Cube, what: str, rules: dict[str, Any]) -> dict[str, xr.Dataset]:
    there = [group for group in cube.groups() if group != "ledger"]
    names = there if what == EVERYTHING else [name.strip() for name in what.split(",")]
    if unknown := [name for name in names if name not in there]:
        raise SelectionError(
            f"cube {cube.location} has no group {unknown[0]!r}; it has {', '.join(there)}"
        )
    return {name: _selected(cube.dataset(name), name, rules) for name in names}


def _selected(dataset: xr.Dataset, group: str, rules: dict[str, Any]) -> xr.Dataset:
    if "time" not in dataset.dims:
        return dataset
    if group not in MODALITIES:
        rules = {rule: value for rule, value in rules.items() if rule not in _OF_SCENES}
    asked = {rule: value for rule, value in rules.items() if value is not None}
    return select(dataset, **asked) if asked else dataset
