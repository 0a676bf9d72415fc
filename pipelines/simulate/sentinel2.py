"""Sentinel-2 L2A items, as the Planetary Computer delivers them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.simulate.fields import generator, highest, resample, smooth, write_cog
from pipelines.simulate.physics import sun_elevation
from pipelines.simulate.settings import TILE, TILE_CORNER
from pipelines.simulate.stac import COG, fine_grid, iso, projection, write_item
from pipelines.simulate.world import World

FOLDER = "sentinel2"
BASELINE = "05.09"
BOA_OFFSET, QUANTIFICATION = 1000, 10000
"""Reflectance = (DN - 1000) / 10000 since baseline 04.00; DN 0 stays nodata."""
SHADOW, VEGETATION, BARE, WATER, CLOUD_MEDIUM, CLOUD_HIGH = 3, 4, 5, 6, 8, 9
"""Codes of the scene classification (SCL) that occur."""
_EXTENSIONS = ("eo/v1.1.0", "sat/v1.0.0", "projection/v2.0.0")


@dataclass(frozen=True, eq=False)
class Sky:
    """Clouds of one date and their shadows, on the padded 70 m grid."""

    density: np.ndarray
    cloud: np.ndarray
    thick: np.ndarray
    shadow: np.ndarray

    @classmethod
    def draw(cls, random: np.random.Generator, shape: tuple[int, ...], share: float) -> Sky:
        """Draw clouds over a share of the ground; shadows fall to the north-east."""
        from scipy.ndimage import shift

        density = smooth(random, (shape[0], shape[1]), 9)
        cloud = highest(density, share)
        shadow = shift(cloud.astype(np.uint8), (-5, 4), order=0) == 1
        return cls(density, cloud, highest(density, 0.6 * share), shadow & ~cloud)


def write(folder: Path, world: World, when: datetime, index: int) -> str:
    """Write one date of Sentinel-2: B04, B08 and SCL; every third date is cloudy.

    Digital numbers carry the offset of baseline 04.00 and later, as the Planetary Computer and
    ESA deliver them.

    Returns
    -------
    str
        Id of the item written.
    """
    random = generator(world.seed, "sentinel2", index)
    share = 0.4 if index % 3 == 2 else float(random.uniform(0.0, 0.03))
    sky = Sky.draw(random, world.ground.shape, share)
    red, nir = world.reflectance(when)
    fields = {"B04": (red, 10), "B08": (nir, 10), "SCL": (_classify(world, when, sky), 20)}
    platform, stamp = ("S2A" if index % 2 else "S2B"), f"{when:%Y%m%dT%H%M%S}"
    identity = f"{platform}_MSIL2A_{stamp}_R137_T{TILE}_{when:%Y%m%d}T153012"
    assets = {}
    for key, (field, step) in fields.items():
        grid = fine_grid(world.grid, step, TILE_CORNER)
        if key == "SCL":
            values = resample(field, world.grid, grid, order=0).astype(np.uint8)
        else:
            values = _numbers(random, resample(_through(sky, field), world.grid, grid))
        href = f"IMG_DATA/R{step}m/T{TILE}_{stamp}_{key}_{step}m.tif"
        write_cog(folder / FOLDER / identity / href, values, grid, nodata=0, predict=True)
        about = {"href": f"./{href}", "type": COG, "roles": ["data"], "gsd": step}
        assets[key] = about | projection(grid)
    properties = _properties(world, when, identity, float(sky.cloud.mean()))
    write_item(
        folder / FOLDER, identity, "sentinel-2-l2a", world.grid, properties, assets, _EXTENSIONS
    )
    return identity


def _classify(world: World, when: datetime, sky: Sky) -> np.ndarray:
    scl = np.where(world.vegetation(when) > 0.45, VEGETATION, BARE)
    scl[world.water] = WATER
    for mask, code in ((sky.shadow, SHADOW), (sky.cloud, CLOUD_MEDIUM), (sky.thick, CLOUD_HIGH)):
        scl[mask] = code
    return scl


def _through(sky: Sky, reflectance: np.ndarray) -> np.ndarray:
    """Reflectance as seen from above the clouds."""
    seen = np.where(sky.shadow, 0.45 * reflectance, reflectance)
    return np.where(sky.cloud, 0.45 + 0.1 * np.clip(sky.density, 0, 3), seen)


def _numbers(random: np.random.Generator, reflectance: np.ndarray) -> np.ndarray:
    noise = 1 + 0.02 * random.standard_normal(reflectance.shape, dtype=np.float32)
    numbers = np.round(reflectance * noise * QUANTIFICATION) + BOA_OFFSET
    return np.clip(numbers, 1, 65535).astype(np.uint16)


def _properties(world: World, when: datetime, identity: str, cloud: float) -> dict[str, Any]:
    baseline = f"_N{BASELINE.replace('.', '')}_R137"
    return {
        "datetime": iso(when),
        "platform": f"Sentinel-{identity[1:3]}",
        "constellation": "Sentinel 2",
        "instruments": ["msi"],
        "eo:cloud_cover": round(100 * cloud, 6),
        "s2:mgrs_tile": TILE,
        "s2:product_type": "S2MSI2A",
        "s2:processing_baseline": BASELINE,
        "s2:product_uri": identity.replace("_R137", baseline) + ".SAFE",
        "s2:mean_solar_zenith": round(90 - sun_elevation(when, world.centre), 6),
        "sat:relative_orbit": 137,
        "proj:code": str(world.grid.crs),
    }
