"""Exports: any layer of a cube as a Cloud-Optimised GeoTIFF."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.errors import SelectionError
from cube.grid import grid_of

if TYPE_CHECKING:
    import xarray as xr

_CARRIED_TAGS = ("long_name", "standard_name", "flag_values", "flag_masks", "flag_meanings")


def pick(
    dataset: xr.Dataset,
    variable: str,
    *,
    band: str | None = None,
    time: str | datetime | np.datetime64 | None = None,
) -> xr.DataArray:
    """Take one layer out of a group of the cube. Lazy.

    Parameters
    ----------
    dataset
        A group of a cube.
    variable
        ``"imagery"``, ``"qc"``, ``"lithology"``, ...
    band
        Name of a band; all bands if left out.
    time
        Enough of a date to name one scene (``"2023-06-22"``, ``"2023-06-22T19:32"``), UTC; all
        scenes if left out.

    Returns
    -------
    xarray.DataArray
        ``(y, x)``, with ``band`` and ``time`` in front where not chosen. A single band carries
        its units and long name.

    Raises
    ------
    SelectionError
        If there is no such variable, band or scene, or the time names several scenes.
    """
    if variable not in dataset.data_vars:
        names = ", ".join(map(str, dataset.data_vars))
        raise SelectionError(f"there is no variable {variable!r}; the variables are {names}")
    layer = dataset[variable]
    if band is not None:
        layer = _at_band(layer, band)
    if time is not None:
        layer = _at_time(layer, time)
    return layer


def to_cog(
    layer: xr.DataArray,
    path: str | Path,
    *,
    nodata: float | None = None,
    colours: Mapping[int, str] | None = None,
) -> Path:
    """Write a layer as a Cloud-Optimised GeoTIFF.

    The file appears under its name only when it is complete. Overviews take the nearest value
    for classes and flags (a mean of class codes is another class) and the mean for quantities.

    Parameters
    ----------
    layer
        ``(y, x)`` or with one more dimension such as ``band`` or ``time``, in any order of
        dimensions, with the coordinates of a cube.
    path
        Where to write; an existing file is replaced.
    nodata
        Value that means "nothing here"; by default NaN for floats, the code of the class
        ``nodata`` for classes, and ``_FillValue`` where the layer has one.
    colours
        Hex colour by value, for one band of uint8; by default the layer's ``flag_colors``.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    GridError
        If the layer carries no grid.
    SelectionError
        If the layer has not two or three dimensions, has a type that GeoTIFF does not know, or
        cannot take a colour table.
    """
    import rasterio.shutil

    target = Path(path)
    stack = _stack(layer)
    if colours and (stack.dtype != np.uint8 or stack.shape[0] != 1):
        raise SelectionError("a colour table goes with one plane of uint8; leave `colours` out")
    palette = _palette(layer, stack.shape[0]) if colours is None else colours
    blank = _nodata(layer) if nodata is None else nodata
    target.parent.mkdir(parents=True, exist_ok=True)
    # In the target's folder, since a rename is atomic within one file system only.
    with tempfile.TemporaryDirectory(prefix=".cog-", dir=target.parent) as folder:
        plain, cog = Path(folder) / "plain.tif", Path(folder) / "cog.tif"
        _write_plain(plain, layer, stack, blank, palette)
        rasterio.shutil.copy(
            plain,
            cog,
            driver="COG",
            compress="DEFLATE",
            predictor="YES",
            blocksize=512,
            bigtiff="IF_SAFER",
            overview_resampling="average" if _is_quantity(layer) else "nearest",
        )
        cog.replace(target)
    return target


def _at_band(layer: xr.DataArray, band: str) -> xr.DataArray:
    if "band" not in layer.dims:
        raise SelectionError(f"{layer.name!r} has no bands; leave `band` out")
    known = [str(name) for name in layer["band"].values]
    if band not in known:
        raise SelectionError(f"there is no band {band!r}; the bands are {', '.join(known)}")
    chosen = layer.isel(band=known.index(band))
    own = {
        attr: str(chosen[f"band_{attr}"].values)
        for attr in ("units", "long_name")
        if f"band_{attr}" in chosen.coords
    }
    return chosen.assign_attrs(own)


def _at_time(layer: xr.DataArray, time: str | datetime | np.datetime64) -> xr.DataArray:
    from cube.select import span

    if "time" not in layer.dims:
        raise SelectionError(f"{layer.name!r} has no times; leave `time` out")
    wanted, times = span(time), layer["time"].values
    start, end = wanted.start_time.to_datetime64(), wanted.end_time.to_datetime64()
    hits = np.flatnonzero((times >= start) & (times <= end))
    if len(hits) == 1:
        return layer.isel(time=int(hits[0]))
    if len(hits):
        raise SelectionError(f"{time} names {len(hits)} scenes: {_some(times[hits])}")
    nearest = np.sort(np.argsort(np.abs(times - start), kind="stable")[:3])
    raise SelectionError(f"there is no scene at {time}; the nearest are {_some(times[nearest])}")


def _some(times: np.ndarray) -> str:
    shown = [str(time) for time in times[:5].astype("datetime64[s]")]
    return ", ".join(shown) + (", ..." if len(times) > 5 else "") if shown else "(none)"


def _stack(layer: xr.DataArray) -> xr.DataArray:
    """Bring the layer into the order (plane, y, x)."""
    if not {"y", "x"} <= set(layer.dims) or layer.ndim not in (2, 3):
        raise SelectionError(
            f"a GeoTIFF takes (y, x) or one dimension more, not {layer.dims}; "
            "choose one band or one time first, e.g. with `pick`"
        )
    if layer.dtype == bool:
        layer = layer.astype(np.uint8)
    if layer.dtype.kind not in "iuf" or layer.dtype == np.float16:
        raise SelectionError(f"a GeoTIFF cannot hold {layer.dtype}; convert the layer first")
    if layer.ndim == 2:
        layer = layer.expand_dims("plane")
    return layer.transpose(..., "y", "x")


def _write_plain(
    path: Path,
    layer: xr.DataArray,
    stack: xr.DataArray,
    nodata: float | None,
    palette: Mapping[int, str],
) -> None:
    import rasterio

    grid = grid_of(layer)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=stack.shape[0],
        height=grid.shape[0],
        width=grid.shape[1],
        dtype=stack.dtype.name,
        crs=str(grid.crs),
        transform=grid.affine,
        nodata=nodata,
        tiled=True,
        bigtiff="IF_SAFER",
    ) as file:
        # One plane at a time: a stack of all dates need not fit in memory.
        for index in range(stack.shape[0]):
            file.write(np.asarray(stack[index].values), index + 1)
        file.descriptions = _descriptions(layer, stack)
        file.units = _units(layer, stack)
        file.update_tags(**_tags(layer))
        if palette:
            file.write_colormap(1, {int(code): _rgba(hue) for code, hue in palette.items()})


def _descriptions(layer: xr.DataArray, stack: xr.DataArray) -> list[str]:
    dimension = str(stack.dims[0])
    if layer.ndim == 2 or dimension not in layer.coords:
        return [str(layer.attrs.get("long_name", layer.name or "layer"))] * stack.shape[0]
    return [_text(value) for value in layer[dimension].values]


def _units(layer: xr.DataArray, stack: xr.DataArray) -> list[str]:
    if stack.dims[0] == "band" and "band_units" in layer.coords:
        return [str(units) for units in layer["band_units"].values]
    return [str(layer.attrs.get("units", ""))] * stack.shape[0]


def _tags(layer: xr.DataArray) -> dict[str, str]:
    tags = {name: _text(layer.attrs[name]) for name in _CARRIED_TAGS if name in layer.attrs}
    if layer.name is not None:
        tags["variable"] = str(layer.name)
    for name, coordinate in layer.coords.items():
        if coordinate.ndim == 0 and name != layer.attrs.get("grid_mapping", "spatial_ref"):
            tags[str(name)] = _text(coordinate.values[()])
    if "time" in layer.coords and layer["time"].ndim == 0:
        stamp = layer["time"].values.astype("datetime64[s]").item()
        tags["TIFFTAG_DATETIME"] = f"{stamp:%Y:%m:%d %H:%M:%S}"
    return tags


def _text(value: Any) -> str:
    if isinstance(value, np.datetime64):
        return f"{value.astype('datetime64[ms]')}Z"
    if isinstance(value, list | tuple | np.ndarray):
        return " ".join(str(item) for item in value)
    return str(value)


def _is_quantity(layer: xr.DataArray) -> bool:
    return layer.dtype.kind == "f" and not {"flag_values", "flag_masks"} & set(layer.attrs)


def _nodata(layer: xr.DataArray) -> float | None:
    if layer.dtype.kind == "f":
        return float("nan")
    for source in (layer.attrs, layer.encoding):
        if "_FillValue" in source:
            return float(source["_FillValue"])
    meanings = str(layer.attrs.get("flag_meanings", "")).split()
    if "flag_values" in layer.attrs and "nodata" in meanings:
        return float(layer.attrs["flag_values"][meanings.index("nodata")])
    return None


def _palette(layer: xr.DataArray, planes: int) -> dict[int, str]:
    """The colours that the layer brings along, where a GeoTIFF can hold them."""
    hues = str(layer.attrs.get("flag_colors", "")).split()
    if layer.dtype != np.uint8 or planes != 1 or not hues:
        return {}
    return dict(zip((int(value) for value in layer.attrs["flag_values"]), hues, strict=True))


def _rgba(hue: str) -> tuple[int, int, int, int]:
    red, green, blue = bytes.fromhex(hue.removeprefix("#"))
    return red, green, blue, 255
