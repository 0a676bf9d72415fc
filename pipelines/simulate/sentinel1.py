"""Sentinel-1 RTC items, as the Planetary Computer delivers them."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.simulate.fields import generator, resample, write_cog
from pipelines.simulate.stac import COG, fine_grid, iso, projection, write_item
from pipelines.simulate.world import World

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

FOLDER = "sentinel1"
NODATA = -32768.0
LOOKS = 4.4
"""Equivalent number of looks of IW GRD, ``sar:looks_equivalent_number`` of the items."""
_SLICE = timedelta(seconds=25)
_EXTENSIONS = ("sar/v1.0.0", "sat/v1.0.0", "projection/v2.0.0", "raster/v1.1.0")


def write(folder: Path, world: World, when: datetime, index: int, resolution: float) -> list[str]:
    """Write one pass of Sentinel-1A; every other pass comes as two slices, 25 s apart.

    Gamma nought is linear power with gamma-distributed multiplicative speckle of mean one
    (Lee & Pottier 2009, Polarimetric Radar Imaging, ch. 4).

    Returns
    -------
    list of str
        Ids of the items written.
    """
    random = generator(world.seed, "sentinel1", index)
    grid = fine_grid(world.grid, resolution, (0.0, 0.0))
    bands = []
    for band in world.backscatter(when):
        power = resample(band, world.grid, grid)
        speckle = random.gamma(LOOKS, 1 / LOOKS, power.shape)
        bands.append(_rounded((power * speckle).astype(np.float32)))
    height, width = bands[0].shape
    rows, columns = np.mgrid[:height, :width]
    south = rows + 0.2 * columns > 0.6 * height
    slices = (~south, south) if index % 2 else (np.ones_like(south),)
    return [
        _write_slice(folder / FOLDER, grid, bands, part, when + number * _SLICE, number)
        for number, part in enumerate(slices)
    ]


def _write_slice(
    folder: Path,
    grid: GeoBox,
    bands: list[np.ndarray],
    part: np.ndarray,
    start: datetime,
    number: int,
) -> str:
    identity = _name(start, number)
    assets = {}
    for polarisation, band in zip(("vv", "vh"), bands, strict=True):
        href = f"measurement/iw-{polarisation}.rtc.tiff"
        values = np.where(part, band, np.float32(NODATA))
        write_cog(folder / identity / href, values, grid, nodata=NODATA, predict=True)
        about = {
            "nodata": NODATA,
            "data_type": "float32",
            "spatial_resolution": grid.affine.a,
        }
        assets[polarisation] = {
            "href": f"./{href}",
            "type": COG,
            "roles": ["data"],
            "title": f"{polarisation.upper()}: terrain-corrected gamma nought",
            "raster:bands": [about],
        }
    properties = _properties(start, number) | projection(grid)
    write_item(folder, identity, "sentinel-1-rtc", grid, properties, assets, _EXTENSIONS)
    return identity


def _rounded(values: np.ndarray) -> np.ndarray:
    """Drop digits below 0.1 per cent, which speckle drowns, so that files deflate to half."""
    return (values.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def _orbit(start: datetime) -> int:
    # 175 orbits in 12 days; 46500 is near the true count at the start of 2023.
    return 46500 + (start.date().toordinal() - 738521) * 175 // 12


def _name(start: datetime, number: int) -> str:
    orbit, end = _orbit(start), start + _SLICE
    span = f"{start:%Y%m%dT%H%M%S}_{end:%Y%m%dT%H%M%S}"
    return f"S1A_IW_GRDH_1SDV_{span}_{orbit:06d}_{orbit * 7 + number:06X}_rtc"


def _properties(start: datetime, number: int) -> dict[str, Any]:
    descending = start.hour < 12
    return {
        "datetime": iso(start + _SLICE / 2),
        "start_datetime": iso(start),
        "end_datetime": iso(start + _SLICE),
        "platform": "SENTINEL-1A",
        "constellation": "Sentinel-1",
        "s1:slice_number": str(7 + number),
        "sat:orbit_state": "descending" if descending else "ascending",
        "sat:absolute_orbit": _orbit(start),
        "sat:relative_orbit": 154 if descending else 74,
        "sar:instrument_mode": "IW",
        "sar:product_type": "GRD",
        "sar:frequency_band": "C",
        "sar:polarizations": ["VV", "VH"],
        "sar:looks_equivalent_number": LOOKS,
    }
