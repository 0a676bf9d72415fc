"""ECOSTRESS L2T LSTE granules: what the instrument makes of the ground, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.simulate import qc
from pipelines.simulate.fields import generator, highest, smooth, write_cog
from pipelines.simulate.schedule import SCENE_STEP, Overpass, orbit_of, orphan_time
from pipelines.simulate.settings import NEIGHBOUR, NEIGHBOUR_CORNER, TILE, TILE_SIZE
from pipelines.simulate.world import World

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from pipelines.simulate.settings import SimulationSettings

FOLDER = "ecostress"
BUILD, OLD_BUILD = "0712", "0710"
NEDT = 0.15
"""Noise-equivalent temperature difference, K; the mission requires 0.3 K at 300 K or better."""
ATMOSPHERE = 0.35
"""Standard deviation of what the atmospheric correction leaves over, K; smooth over km."""
FILL = 255


@dataclass(frozen=True, eq=False)
class View:
    """One overpass as it was, and as it was measured, on the padded grid (y, x)."""

    true_lst: np.ndarray
    """K, without cloud and noise, float64."""
    cloud: np.ndarray
    """True under cloud, as the cloud mask has it."""
    swath: np.ndarray
    """True where the instrument looked."""
    second: np.ndarray
    """True in the part of the second granule, where there are two."""
    lst: np.ndarray
    """K as retrieved, NaN where nothing was, in steps of 0.02 K, float32."""
    emissivity: np.ndarray
    """As retrieved, NaN as `lst`, in steps of 0.002, float32."""
    lst_err: np.ndarray
    word: np.ndarray
    """QC, uint16."""
    zenith: np.ndarray
    """View zenith angle, degrees."""


def observe(world: World, overpass: Overpass) -> View:
    """Measure the ground once; the same world and overpass give the same view."""
    random = generator(world.seed, "ecostress", overpass.index)
    shape = world.ground.shape
    truth = world.temperature(overpass.time)
    cloud = highest(smooth(random, shape, 9), overpass.cloud)
    swath, second, zenith = _geometry(random, shape, overpass)
    noise = random.normal(0, NEDT, shape) + ATMOSPHERE * smooth(random, shape, 20)
    # Cloud tops are cold; under thick cloud the retrieval gives up.
    depth = smooth(random, shape, 5)
    lst = np.where(cloud, np.clip(248 - 12 * depth, 220, 270), truth) + noise
    emissivity = world.emissivity(overpass.time) + random.normal(0, 0.004, shape)
    emissivity += 0.002 * smooth(random, shape, 20)
    emissivity = np.where(cloud, 0.97, np.clip(emissivity, 0.7, 0.994))
    retrieved = swath & ~(cloud & (depth > 0))
    # The QC word is made before the last failures: QC alone does not prove a value.
    error = _lst_error(random, shape, emissivity, overpass)
    lines = _stripes(shape) & overpass.striped
    opacity = int(random.integers(1, 4))
    word = qc.encode(retrieved, lines, emissivity, error, opacity)
    retrieved &= ~(world.water & (smooth(random, shape, 3) > 1.5))
    return View(
        truth,
        cloud & swath,
        swath,
        second,
        _steps(lst, 0.02, retrieved),
        _steps(emissivity, 0.002, retrieved),
        _steps(error, 0.04, retrieved),
        word,
        zenith.astype(np.float32),
    )


def _geometry(
    random: np.random.Generator, shape: tuple[int, ...], overpass: Overpass
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Swath, part of the second granule, and view zenith, for a track at 30-50 deg to north."""
    height, width = shape
    rows, columns = np.mgrid[:height, :width]
    angle = np.deg2rad(random.uniform(30, 50)) * random.choice((-1, 1))
    across = (columns - width / 2) * np.cos(angle) + (rows - height / 2) * np.sin(angle)
    along = (rows - height / 2) * np.cos(angle) - (columns - width / 2) * np.sin(angle)
    # The swath's edge cuts a corner off the region.
    limit = 0.22 * min(shape) if overpass.kind == "edge" else np.inf
    zenith = np.clip(12 + across * 0.02, 0, 30)
    return across < limit, along > 0.05 * height, zenith


def _lst_error(
    random: np.random.Generator, shape: tuple[int, ...], emissivity: np.ndarray, overpass: Overpass
) -> np.ndarray:
    """Uncertainty of LST, K: larger in moist air and over low emissivity."""
    moist = 0.85 if overpass.time.month in (11, 12, 1, 2, 3) else 1.05
    base = moist + 0.08 * smooth(random, (shape[0], shape[1]), 12)
    return np.clip(base + 4 * (0.97 - emissivity), 0.4, 8.0)


def _stripes(shape: tuple[int, ...]) -> np.ndarray:
    """Lines one pixel wide along the scan, at a slant."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.asarray((rows + columns // 3) % 53 == 7)


def _steps(values: np.ndarray, step: float, where: np.ndarray) -> np.ndarray:
    """Round to the steps of the scaled integers that the product goes through."""
    return np.where(where, np.round(values / step) * step, np.nan).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One granule to be written: part of a view under a product name."""

    id: str
    part: str
    """``whole``, ``first`` or ``second``."""
    tile: str = TILE
    shift: float = 0.0
    """What another processing adds to LST, K."""


def deliveries(overpass: Overpass, grid: GeoBox, late: bool) -> list[Delivery]:
    """Say which granules of a pass over the grid are delivered at first, or `late`."""
    if overpass.kind == "late":
        return [Delivery(name(overpass), "whole")] if late else []
    if overpass.kind == "reprocessed":
        if late:
            return [Delivery(name(overpass), "whole")]
        return [Delivery(name(overpass, build=OLD_BUILD), "whole", shift=0.3)]
    if late:
        return []
    if overpass.kind == "two_granules":
        return [
            Delivery(name(overpass), "first"),
            Delivery(name(overpass, following=True), "second"),
        ]
    found = [Delivery(name(overpass), "whole")]
    if overpass.kind == "two_tiles" and _columns(grid, NEIGHBOUR) > 0:
        found.append(Delivery(name(overpass, tile=NEIGHBOUR), "whole", NEIGHBOUR))
    return found


def name(
    overpass: Overpass, *, tile: str = TILE, build: str = BUILD, following: bool = False
) -> str:
    """Name a granule of a pass: orbit, scene, tile, time, build, iteration."""
    time = overpass.time + SCENE_STEP if following else overpass.time
    return _name(overpass.orbit, overpass.scene + following, tile, time, build)


def _name(orbit: int, scene: int, tile: str, time: datetime, build: str) -> str:
    return f"ECOv002_L2T_LSTE_{orbit:05d}_{scene:03d}_{tile}_{time:%Y%m%dT%H%M%S}_{build}_01"


def write(folder: Path, world: World, view: View, delivery: Delivery) -> None:
    """Write the layers of one granule, each a COG on the tile's 70 m grid."""
    inside = _part(view, delivery.part)
    layers = {
        "LST": (view.lst + np.float32(delivery.shift), np.nan),
        "LST_err": (view.lst_err, np.nan),
        "EmisWB": (view.emissivity, np.nan),
        "view_zenith": (view.zenith, np.nan),
        "QC": (view.word, qc.FILL),
        "cloud": (view.cloud.astype(np.uint8), FILL),
        "water": (world.water.astype(np.uint8), FILL),
    }
    columns = _columns(world.grid, delivery.tile)
    for layer, (values, nodata) in layers.items():
        cut = np.where(inside, values, np.asarray(nodata, values.dtype))[:, :columns]
        path = folder / FOLDER / f"{delivery.id}_{layer}.tif"
        write_cog(path, cut, world.grid, nodata=nodata)


def write_orphan(folder: Path, world: World, settings: SimulationSettings) -> str:
    """Write the QC layer of a granule whose other layers never came."""
    time = orphan_time(settings)
    identity = _name(orbit_of(time), 5, TILE, time, BUILD)
    word = np.full(world.ground.shape, qc.NOT_PRODUCED, np.uint16)
    write_cog(folder / FOLDER / f"{identity}_QC.tif", word, world.grid, nodata=qc.FILL)
    return identity


def _part(view: View, part: str) -> np.ndarray:
    from scipy.ndimage import binary_dilation

    if part == "whole":
        return view.swath
    own = view.second if part == "second" else ~view.second
    return np.asarray(view.swath & binary_dilation(own, iterations=3))


def _columns(grid: GeoBox, tile: str) -> int:
    """Count the columns of the grid, from the west, that lie in the tile."""
    width = int(grid.shape[1])
    if tile == TILE:
        return width
    reach = NEIGHBOUR_CORNER[0] + TILE_SIZE - grid.affine.c
    return max(0, min(width, round(reach / grid.affine.a)))
