"""Pairs of MODIS and ASTER images to sharpen and to judge by: read, checked, registered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cube.errors import PairsError
from models.sharpening import shifted

if TYPE_CHECKING:
    import xarray as xr

Array = npt.NDArray[np.float64]
SCALE = 4
"""NDVI pixels along one side of an LST pixel."""
USUAL_LST = (260.0, 320.0)
"""Kelvin: where nearly all of a cloud-free image over land lies."""
FIELDS = (
    "modis_lst",
    "ndvi",
    "aster_lst",
    "aster_ny",
    "aster_nx",
    "aster_epsg",
    "aster_geotransform",
    "center_lst",
    "center_ndvi",
    "utm_tile_grid",
    "paper_crop",
    "robust_crop",
    "paper_ok",
    "location_group",
)


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """One scene: coarse LST with its fine NDVI, and the fine LST that ASTER saw."""

    id: int
    lst: Array
    """MODIS LST (y, x) at 1 km, kelvin, NaN where missing."""
    ndvi: Array
    """MODIS NDVI (4 y, 4 x) at 250 m, NaN where missing, on a grid of its own: see `offset`."""
    aster: Array
    """ASTER LST at 250 m on its UTM grid, kelvin, 0 where there is none."""
    aster_epsg: int
    aster_transform: tuple[float, ...]
    """In the order of GDAL."""
    centre_lst: tuple[int, int]
    """Row and column of the LST patch's centre in the 1 km tile."""
    centre_ndvi: tuple[int, int]
    """Row and column of the NDVI patch's centre in the 250 m tile."""
    utm_grid: tuple[float, ...]
    """Of the whole tile warped to the UTM zone: left, top, pixel width, height, columns, rows."""
    paper_crop: tuple[int, int, int, int] | None
    """First and last row, first and last column to score; None if the paper's step fails."""
    robust_crop: tuple[int, int, int, int]
    location: int
    """Pairs of one number share ground: cross-validation keeps them together."""

    @property
    def offset(self) -> tuple[int, int]:
        """NDVI pixel (r, c) lies on the fine pixel (r, c) + offset of the LST patch."""
        rows, columns = (
            fine - SCALE * coarse
            for fine, coarse in zip(self.centre_ndvi, self.centre_lst, strict=True)
        )
        return rows, columns

    def registered_ndvi(self) -> Array:
        """NDVI on the fine grid of the LST patch.

        The three pixels or fewer that this uncovers at the border repeat their neighbours.
        """
        return shifted(self.ndvi, self.offset)


def read_pairs(path: str | Path, ids: Sequence[int] | None = None) -> list[Pair]:
    """Read pairs from a NetCDF file of MODIS LST, NDVI and ASTER LST.

    Parameters
    ----------
    path
        With dimension ``pair`` and the variables of the paper's formatted test data set.
    ids
        ``pair_id`` of those to read, in this order; None reads all, in the file's order.

    Raises
    ------
    PairsError
        If the file is not there or not such a file, or has no pair of an id.
    """
    import xarray as xr

    if not Path(path).is_file():
        raise PairsError(f"there is no pairs file at {path}: give the path of a NetCDF file")
    with xr.open_dataset(path) as dataset:
        absent = [name for name in ("pair_id", *FIELDS) if name not in dataset.variables]
        if absent:
            raise PairsError(
                f"{path} is no pairs file: it lacks {', '.join(absent)}; it needs "
                f"{', '.join(FIELDS)} along the dimension 'pair', and pair_id"
            )
        known = [int(value) for value in dataset["pair_id"].values]
        wanted = known if ids is None else list(ids)
        unknown = [str(number) for number in wanted if number not in known]
        if unknown:
            raise PairsError(
                f"{path} has no pair {', '.join(unknown)}; its {len(known)} pairs run from "
                f"{min(known)} to {max(known)}"
            )
        rows = [known.index(number) for number in wanted]
        chosen = dataset[list(FIELDS)].isel(pair=rows).load()
    return [_pair(chosen.isel(pair=row), number) for row, number in enumerate(wanted)]


def problems(pair: Pair) -> Iterator[str]:
    """What is wrong with a pair, by the studies' own checks; nothing for a sound one.

    Yields
    ------
    str
        NDVI outside -1..1; LST of which less than 95 % lies in `USUAL_LST`; missing pixels;
        corners of LST and NDVI that differ, which the studies took for equal.
    """
    if pair.ndvi.shape != tuple(SCALE * size for size in pair.lst.shape):
        yield f"NDVI of {pair.ndvi.shape} pixels for an LST of {pair.lst.shape}"
    gaps = [int(np.isnan(image).sum()) for image in (pair.lst, pair.ndvi)]
    if any(gaps):
        yield f"{gaps[0]} LST and {gaps[1]} NDVI pixels are missing"
    outside = int((np.abs(pair.ndvi) > 1).sum())
    if outside:
        yield f"{outside} NDVI pixels lie outside -1..1"
    low, high = USUAL_LST
    usual = float(((pair.lst >= low) & (pair.lst <= high)).mean())
    if usual < 0.95:
        yield f"only {usual:.0%} of the LST lies between {low:g} and {high:g} K"
    if pair.offset != (0, 0):
        yield f"NDVI starts {pair.offset[0]} rows and {pair.offset[1]} columns off the LST"


def _pair(row: xr.Dataset, number: int) -> Pair:
    height, width = int(row["aster_ny"]), int(row["aster_nx"])
    return Pair(
        id=number,
        lst=np.asarray(row["modis_lst"].values, dtype=np.float64),
        ndvi=np.asarray(row["ndvi"].values, dtype=np.float64),
        aster=np.asarray(row["aster_lst"].values[:height, :width], dtype=np.float64),
        aster_epsg=int(row["aster_epsg"]),
        aster_transform=_floats(row["aster_geotransform"]),
        centre_lst=_integers(row["center_lst"])[:2],
        centre_ndvi=_integers(row["center_ndvi"])[:2],
        utm_grid=_floats(row["utm_tile_grid"]),
        paper_crop=_integers(row["paper_crop"]) if int(row["paper_ok"]) else None,
        robust_crop=_integers(row["robust_crop"]),
        location=int(row["location_group"]),
    )


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values.values)


def _integers(values: Any) -> Any:
    return tuple(int(value) for value in values.values)
