"""NetCDF files as gridded data: opening them, their flags, and moving arrays between grids."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import field_validator

from cube.errors import GranuleError
from cube.quality import Flag
from cube.sources.base import Settings
from cube.sources.decibel import to_decibel, to_power
from cube.sources.placement import Dims, Placement

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox

    from cube.bands import Band

__all__ = [
    "NO_WORD",
    "Dims",
    "FlagVariable",
    "Placement",
    "band_onto",
    "onto",
    "open_cube",
    "values_of",
]

# With more than this share of its values out of range, a layer is not what it is said to be.
WRONG_LAYER_SHARE = 0.5

# No value of the file's quality variable.
NO_WORD = int(np.iinfo(np.int32).min)

# Of a pixel: grids that differ by less are the same, and their pixels are taken over as they are.
SNAP = 1e-3

_ENGINES = {b"\x89HDF": "h5netcdf", b"CDF\x01": "scipy", b"CDF\x02": "scipy"}


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
    ours, theirs, size = grid.affine, place.affine, max(grid.shape)
    drift = max(abs(getattr(ours, name) - getattr(theirs, name)) for name in "abde") * size
    back = ~theirs
    column = back.a * ours.c + back.b * ours.f + back.c
    row = back.d * ours.c + back.e * ours.f + back.f
    fraction = max(abs(column - round(column)), abs(row - round(row)))
    same = drift < SNAP * abs(theirs.determinant) ** 0.5 and fraction < SNAP
    return (round(row), round(column)) if same else None


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
