"""A pairs file of one made-up scene whose temperature is known at every point."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from pyproj import Transformer

from pipelines.sharpen_protocol import ASTER_SHIFT, FINE_PIXEL, SINUSOIDAL, TILE_TOP

UTM_GRID = (
    243900.35201630022,
    5614625.00799299,
    222.96221627587434,
    222.96221627587434,
    5179,
    5323,
)
EPSG = 32631
CENTRE_LST = (528, 331)
OFFSET = (3, 2)
ROWS, COLUMNS, PIXEL = 190, 180, 231.65


def temperature(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Kelvin at sinusoidal metres: waves of some ten fine pixels."""
    waves = np.sin(2 * np.pi * x / 5300) * np.cos(2 * np.pi * y / 6100)
    return 300 + 5 * waves + (x - 3.0e5) / 2e4


def fine_map(row: int, column: int, size: int = 256) -> np.ndarray:
    """The temperature at the centres of fine pixels of the tile, from its pixel (row, column)."""
    x = (column + np.arange(size) + 0.5) * FINE_PIXEL[0]
    y = TILE_TOP - (row + np.arange(size) + 0.5) * FINE_PIXEL[1]
    return temperature(*np.meshgrid(x, y))


def corner() -> tuple[int, int]:
    """Row and column in the fine tile of the LST patch's first fine pixel."""
    return 4 * CENTRE_LST[0] - 128, 4 * CENTRE_LST[1] - 128


def write_pairs(path: Path, **changes: object) -> Path:
    """Write the file; `changes` replace variables."""
    row, column = corner()
    x = (column + 128) * FINE_PIXEL[0]
    y = TILE_TOP - (row + 128) * FINE_PIXEL[1]
    east, north = Transformer.from_crs(SINUSOIDAL, f"EPSG:{EPSG}", always_xy=True).transform(x, y)
    left, top = east - COLUMNS / 2 * PIXEL, north + ROWS / 2 * PIXEL
    aster = np.zeros((1, ROWS + 7, COLUMNS + 9))
    aster[0, :ROWS, :COLUMNS] = _seen_by_aster(left, top)
    fine = fine_map(row, column)
    ndvi = 0.5 - (fine_map(row + OFFSET[0], column + OFFSET[1]) - 300) / 20
    crop = np.array([[8, ROWS - 8, 8, COLUMNS - 8]], dtype="int16")
    variables: dict[str, object] = {
        "modis_lst": (("pair", "y64", "x64"), fine.reshape(1, 64, 4, 64, 4).mean(axis=(2, 4))),
        "ndvi": (("pair", "y256", "x256"), ndvi[None]),
        "aster_lst": (("pair", "ya", "xa"), aster),
        "aster_ny": ("pair", np.array([ROWS])),
        "aster_nx": ("pair", np.array([COLUMNS])),
        "aster_epsg": ("pair", np.array([EPSG])),
        "aster_geotransform": (("pair", "gt"), [[left, PIXEL, 0, top, 0, -PIXEL]]),
        "center_lst": (("pair", "rc"), np.array([CENTRE_LST])),
        "center_ndvi": (("pair", "rc"), 4 * np.array([CENTRE_LST]) + np.array(OFFSET)),
        "utm_tile_grid": (("pair", "grid6"), [UTM_GRID]),
        "paper_crop": (("pair", "crop4"), crop),
        "robust_crop": (("pair", "crop4"), crop),
        "paper_ok": ("pair", np.array([1])),
        "location_group": ("pair", np.array([3])),
    }
    dataset = xr.Dataset({**variables, **changes}, coords={"pair_id": ("pair", [7])})  # type: ignore[dict-item]
    dataset.to_netcdf(path, engine="h5netcdf")
    return path


def _seen_by_aster(left: float, top: float) -> np.ndarray:
    """The temperature on ASTER's grid, displaced to the south and the east."""
    east = left + (np.arange(COLUMNS) + 0.5) * PIXEL
    north = top - (np.arange(ROWS) + 0.5) * PIXEL
    to_tile = Transformer.from_crs(f"EPSG:{EPSG}", SINUSOIDAL, always_xy=True)
    x, y = to_tile.transform(*np.meshgrid(east, north))
    return temperature(x - ASTER_SHIFT * FINE_PIXEL[0], y + ASTER_SHIFT * FINE_PIXEL[1])
