"""NetCDF files as gridded data: opening them, finding their grid, moving arrays between grids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import field_validator

from cube.errors import GranuleError, GridError
from cube.quality import Flag
from cube.sources.base import Settings
from cube.sources.decibel import to_decibel, to_power

if TYPE_CHECKING:
    import xarray as xr
    from affine import Affine
    from odc.geo.geobox import GeoBox

    from cube.bands import Band

# With more than this share of its values out of range, a layer is not what it is said to be.
WRONG_LAYER_SHARE = 0.5

# No value of the file's quality variable.
NO_WORD = int(np.iinfo(np.int32).min)

# Of a pixel: grids that differ by less are the same, and their pixels are taken over as they are.
SNAP = 1e-3

_ENGINES = {b"\x89HDF": "h5netcdf", b"CDF\x01": "scipy", b"CDF\x02": "scipy"}


class Dims(Settings):
    """Names of the file's dimensions; their order in the file does not matter."""

    time: str = "time"
    band: str = "band"
    y: str = "y"
    x: str = "x"


class Placement(Settings):
    """Where the pixels lie, for files without CF georeferencing.

    Each entry is the value itself or the name of a global attribute that holds it.
    """

    crs: str
    """CRS such as ``EPSG:32630``."""
    upper_left: tuple[float | str, float | str]
    """x, y of the upper-left corner (not the centre) of pixel (0, 0); rows run southwards."""
    pixel_size: float | str
    """In the units of the CRS."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """The attribute names among the entries."""
        entries = (self.crs, *self.upper_left, self.pixel_size)
        return tuple(entry for entry in entries if isinstance(entry, str))

    def geobox(self, attrs: Mapping[Any, Any], shape: tuple[int, int]) -> GeoBox:
        """Build the file's grid of `shape` (rows, columns).

        Raises
        ------
        GridError
            If an attribute is not there, or the values make no grid.
        """
        from affine import Affine
        from odc.geo.geobox import GeoBox
        from pyproj.exceptions import CRSError

        step = _number(self.pixel_size, attrs)
        left, top = (_number(value, attrs) for value in self.upper_left)
        crs = str(attrs.get(self.crs, self.crs))
        try:
            return GeoBox(shape, Affine(step, 0, left, 0, -step, top), crs)
        except (CRSError, ValueError) as error:
            raise GridError(
                f"placement: {crs!r} is neither a CRS nor a global attribute ({error})"
            ) from error


ESTIMATED = Placement(
    crs="est_crs",
    upper_left=("est_upper_left_x", "est_upper_left_y"),
    pixel_size="pixel_size_m",
)
"""Attributes in which files without CF georeferencing keep an estimate of it."""


def _number(value: float | str, attrs: Mapping[Any, Any]) -> float:
    if not isinstance(value, str):
        return float(value)
    try:
        return float(attrs[value])
    except (KeyError, TypeError, ValueError):
        known = ", ".join(map(str, attrs)) or "none"
        raise GridError(
            f"placement: there is no global attribute {value!r} with a number; there are {known}"
        ) from None


class FlagVariable(Settings):
    """A quality variable and what its values mean."""

    variable: str
    valid: tuple[int, ...] = (0,)
    """Values that say the pixel may be used."""
    values: dict[int, str]
    """Value to flag of `cube.quality.Flag`, e.g. ``{1 = "cloud", 2 = "missing"}``."""

    @field_validator("values")
    @classmethod
    def _known(cls, values: dict[int, str]) -> dict[int, str]:
        for name in values.values():
            if name.upper() not in Flag.__members__:
                known = ", ".join(flag.lower() for flag in Flag.__members__)
                raise ValueError(f"no quality flag is called {name!r}; the flags are {known}")
        return values

    def decode(self, word: np.ndarray, where: str) -> np.ndarray:
        """Translate the file's values, (y, x) int32, to common flags, uint8.

        Raises
        ------
        GranuleError
            ``bad_quality_word`` for a value that the settings do not explain.
        """
        table = {NO_WORD: int(Flag.MISSING)} | dict.fromkeys(self.valid, 0)
        table |= {value: int(Flag[name.upper()]) for value, name in self.values.items()}
        flags = np.zeros(word.shape, np.uint8)
        for value in np.unique(word).tolist():
            if value not in table:
                raise GranuleError(
                    f"{where}: {self.variable} holds {value}, which the region file does not "
                    "explain; add it to `flags.values` or `flags.valid`",
                    kind="bad_quality_word",
                )
            flags[word == value] = table[value]
        return flags


@contextmanager
def open_cube(file: Path) -> Iterator[xr.Dataset]:
    """Open a NetCDF file lazily; close it at the end of the ``with`` block.

    The netCDF-C library is not used: unlike h5py it must not be called from several threads.

    Raises
    ------
    GranuleError
        ``unreadable`` if the file is not there, damaged, or no NetCDF file.
    """
    import xarray as xr

    try:
        with file.open("rb") as raw:
            engine = _ENGINES.get(raw.read(4))
        if engine is None:
            raise OSError("its first bytes are those of no NetCDF file")
        dataset = xr.open_dataset(file, engine=engine, cache=False, decode_coords="all")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise GranuleError(f"{file} cannot be opened as NetCDF: {error}") from error
    with dataset:
        yield dataset


def values_of(array: xr.DataArray, dims: Dims, where: str) -> np.ndarray:
    """Load a layer as (y, x), by the names of its dimensions.

    Raises
    ------
    GranuleError
        ``truncated`` if a block of the file cannot be decoded.
    """
    try:
        values: np.ndarray = array.transpose(dims.y, dims.x).values
    except (OSError, RuntimeError) as error:
        raise GranuleError(
            f"{where}: {array.name!r} cannot be read, the file is damaged ({error})",
            kind="truncated",
        ) from error
    return values


def locate(dataset: xr.Dataset, variable: str, dims: Dims, placement: Placement | None) -> GeoBox:
    """Find the grid of a variable, (y, x).

    Raises
    ------
    GridError
        If there is no `placement` and the file has no CF grid mapping with x and y coordinates.
    """
    import odc.geo.xr  # noqa: F401 -- registers the `.odc` accessor
    from odc.geo.geobox import GeoBox

    array = dataset[variable]
    if placement is None and set(ESTIMATED.attributes) <= set(dataset.attrs):
        placement = ESTIMATED
    if placement is not None:
        return placement.geobox(dataset.attrs, (array.sizes[dims.y], array.sizes[dims.x]))
    names = {old: new for old, new in ((dims.y, "y"), (dims.x, "x")) if old != new}
    box = array.rename(names).odc.geobox
    if not isinstance(box, GeoBox) or box.crs is None:
        raise GridError(
            f"{variable!r} has no CF grid mapping with x and y coordinates; say where it lies "
            "with a `placement` table (crs, upper_left, pixel_size)"
        )
    return box


def onto(
    values: np.ndarray,
    place: GeoBox,
    grid: GeoBox,
    how: Literal["bilinear", "average", "nearest"],
    fill: float,
) -> np.ndarray:
    """Move an array (y, x) from its grid to another.

    Where the pixels of both grids coincide they are taken over unresampled, whatever `how` says.

    Parameters
    ----------
    values
        Of the shape of `place`; `fill` marks what takes no part in the interpolation.
    fill
        Also the result where `place` does not reach.
    """
    from rasterio.warp import Resampling, reproject

    out = np.full(grid.shape, fill, values.dtype)
    shift = _shift(place, grid)
    if shift is not None:
        return _paste(values, out, *shift)
    reproject(
        np.ascontiguousarray(values),
        out,
        src_transform=place.affine,
        src_crs=_wkt(place),
        src_nodata=fill,
        dst_transform=grid.affine,
        dst_crs=_wkt(grid),
        dst_nodata=fill,
        resampling=Resampling[how],
    )
    return out


def _wkt(box: GeoBox) -> str:
    assert box.crs is not None  # `locate` and `region_grid` give no grid without a CRS
    return str(box.crs.to_wkt())


def _shift(place: GeoBox, grid: GeoBox) -> tuple[int, int] | None:
    """Row and column of `place` at which `grid` begins, if their pixels coincide."""
    if place.crs != grid.crs:
        return None
    step: Affine = ~place.affine * grid.affine
    column, row = round(step.c), round(step.f)
    size = max(*grid.shape, 1)
    same = (
        abs(step.a - 1) * size < SNAP
        and abs(step.e - 1) * size < SNAP
        and max(abs(step.b), abs(step.d)) * size < SNAP
        and max(abs(step.c - column), abs(step.f - row)) < SNAP
    )
    return (row, column) if same else None


def _paste(values: np.ndarray, out: np.ndarray, row: int, column: int) -> np.ndarray:
    height, width = out.shape
    top, left = max(row, 0), max(column, 0)
    part = values[top : max(row + height, 0), left : max(column + width, 0)]
    rows, columns = part.shape
    out[top - row : top - row + rows, left - column : left - column + columns] = part
    return out


def band_onto(
    layer: np.ndarray, band: Band, place: GeoBox, grid: GeoBox, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Move one band, (y, x) float32 with NaN; also tell where out-of-range values had a share."""
    measured = np.isfinite(layer)
    outside = measured & ((layer < band.valid_min) | (layer > band.valid_max))
    if outside.sum() > WRONG_LAYER_SHARE * max(measured.sum(), 1):
        raise GranuleError(
            f"{where}: {outside.sum()} of {measured.sum()} values mapped to band {band.name!r} lie "
            f"outside {band.valid_min:g} to {band.valid_max:g} {band.units} (median "
            f"{np.median(layer[measured]):g}): another quantity was taken for it; check `bands`",
            kind="wrong_layer",
        )
    share = np.where(measured, outside, np.nan).astype(np.float32)
    touched = onto(share, place, grid, band.resampling, np.nan) > 0
    if band.units != "dB":
        return onto(layer, place, grid, band.resampling, np.nan), touched
    return to_decibel(onto(to_power(layer), place, grid, band.resampling, np.nan)), touched
