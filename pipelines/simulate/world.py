"""The ground truth: geology, relief and vegetation, and what they make a sensor see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from cube.lithology import CLASS_COUNT, Lithology
from pipelines.simulate import physics
from pipelines.simulate.fields import generator, highest, smooth

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from pipelines.simulate.settings import SimulationSettings


@dataclass(frozen=True, slots=True)
class Material:
    """Bulk properties of one class without vegetation."""

    inertia: float
    """Thermal inertia, J m-2 K-1 s-1/2."""
    albedo: float
    emissivity: float
    """Wide band, 8-12 um."""
    vv: float
    """Gamma nought of the bare surface, dB; VH lies 8 dB lower."""
    red: float
    nir: float
    green: float
    """Vegetation cover it tends to bear, 0-1."""


MATERIALS: Mapping[Lithology, Material] = MappingProxyType(
    {
        Lithology.SAND: Material(1005, 0.34, 0.915, -13.5, 0.28, 0.35, 0.15),
        Lithology.CLAY: Material(1450, 0.26, 0.967, -10.5, 0.19, 0.27, 0.50),
        Lithology.DETRITIC: Material(1380, 0.24, 0.944, -11.0, 0.20, 0.28, 0.40),
        Lithology.CARBONATE: Material(1884, 0.31, 0.957, -9.0, 0.25, 0.31, 0.30),
        Lithology.VOLCANIC: Material(2219, 0.12, 0.947, -7.0, 0.08, 0.11, 0.25),
        Lithology.PLUTONIC: Material(2177, 0.23, 0.926, -8.5, 0.17, 0.23, 0.35),
        Lithology.FOLIATED: Material(2052, 0.16, 0.939, -8.0, 0.12, 0.16, 0.30),
        Lithology.WATER: Material(25000, 0.06, 0.983, -21.0, 0.04, 0.02, 0.00),
    }
)
"""The classes that occur, with the magnitudes usual in the literature.

Thermal inertia: dry sandy soil, gravel, limestone, basalt, granite and slate of Janza's table in
the Manual of Remote Sensing (1975, also in Sabins, Remote Sensing: Principles and
Interpretation), at 1 cal cm-2 K-1 s-1/2 = 41 868 J m-2 K-1 s-1/2; clay drier than its moist
1760. Water conducts like 1550 but stirs: the effective value of a mixed layer is an order of
magnitude higher, so it is nearly isothermal through the day. Emissivity: order and spread of
Salisbury & D'Aria 1992 (Remote Sens. Environ. 42, 83): quartz-rich sand and granite low,
clay, limestone and water high.
"""

_LAND = (
    Lithology.DETRITIC,
    Lithology.SAND,
    Lithology.FOLIATED,
    Lithology.CARBONATE,
    Lithology.VOLCANIC,
    Lithology.PLUTONIC,
    Lithology.CLAY,
)
_EXCHANGE_BARE, _EXCHANGE_LEAF, _EXCHANGE_WATER = 15.0, 42.0, 40.0
"""Radiative (about 6) plus turbulent exchange, W m-2 K-1; leaves and water also evaporate."""
_LEAF = Material(700, 0.18, 0.985, -9.5, 0.04, 0.42, 1.0)
_VH_BARE, _VH_LEAF = 10**-0.85, 10**-0.60


@dataclass(frozen=True, eq=False)
class World:
    """Everything static about the simulated ground, on the padded grid; fields are (y, x)."""

    seed: int
    centre: tuple[float, float]
    grid: GeoBox
    ground: np.ndarray
    """uint8, the class of what lies there, everywhere."""
    mapped: np.ndarray
    """uint8, the class as the geological map has it: 0 where nothing was mapped."""
    elevation: np.ndarray
    """m."""
    cover: np.ndarray
    """Vegetation cover at its yearly mean, 0-1."""
    grain: np.ndarray
    """Texture of the ground, zero mean and unit variance."""

    def property(self, name: str) -> np.ndarray:
        """Lay one property of `Material` out over the ground, (y, x) float64."""
        return _lay_out(self.ground, name)

    @cached_property
    def water(self) -> np.ndarray:
        """True on river and lake."""
        return np.asarray(self.ground == Lithology.WATER)

    @cached_property
    def inertia(self) -> np.ndarray:
        """Thermal inertia of the ground with its texture, J m-2 K-1 s-1/2."""
        return self.property("inertia") * np.exp(0.08 * self.grain)

    def vegetation(self, when: datetime) -> np.ndarray:
        """Vegetation cover of a date, 0-1: green in April, dry in October."""
        season = np.cos(2 * np.pi * (when.timetuple().tm_yday - 110) / 365.25)
        return self.cover * (0.75 + 0.25 * season)

    def temperature(self, when: datetime) -> np.ndarray:
        """Surface temperature, K: vegetation and ground mixed by cover, cooler with height.

        Day-to-day weather shifts the whole region and changes the wind.
        """
        forcing = physics.day(when, self.centre)
        weather = generator(self.seed, "weather", when.toordinal())
        warmer, wind = weather.normal(0, 2.0), np.exp(weather.normal(0, 0.1))
        albedo = np.clip(self.property("albedo") * (1 + 0.05 * self.grain), 0.03, 0.6)
        exchange = np.where(self.water, _EXCHANGE_WATER, _EXCHANGE_BARE * wind)
        ground = physics.surface_temperature(when, forcing, self.inertia, albedo, exchange)
        leaf = physics.surface_temperature(
            when, forcing, _LEAF.inertia, _LEAF.albedo, _EXCHANGE_LEAF * wind
        )
        cover = self.vegetation(when)
        lapse = physics.LAPSE_RATE * (self.elevation - self.elevation.mean())
        return cover * leaf + (1 - cover) * ground + warmer - lapse

    def emissivity(self, when: datetime) -> np.ndarray:
        """Wide-band emissivity: leaves over textured ground, mixed by cover."""
        cover = self.vegetation(when)
        ground = self.property("emissivity") + 0.004 * np.where(self.water, 0, self.grain)
        return np.clip(cover * _LEAF.emissivity + (1 - cover) * ground, 0.7, 0.99)

    def reflectance(self, when: datetime) -> tuple[np.ndarray, np.ndarray]:
        """Surface reflectance in red and near infrared."""
        cover, texture = self.vegetation(when), 1 + 0.06 * self.grain
        red, nir = self.property("red") * texture, self.property("nir") * texture
        return (
            cover * _LEAF.red + (1 - cover) * red,
            cover * _LEAF.nir + (1 - cover) * nir,
        )

    def backscatter(self, when: datetime) -> tuple[np.ndarray, np.ndarray]:
        """Gamma nought in VV and VH as linear power, free of speckle.

        Wetter soil in winter is brighter; leaves scatter more of it into VH.
        """
        wet = 0.8 * np.cos(2 * np.pi * (when.timetuple().tm_yday - 20) / 365.25)
        bare = 10 ** ((self.property("vv") + np.where(self.water, 0, wet + 0.6 * self.grain)) / 10)
        leaf, cover = 10 ** (_LEAF.vv / 10), self.vegetation(when)
        vv = cover * leaf + (1 - cover) * bare
        return vv, cover * leaf * _VH_LEAF + (1 - cover) * bare * _VH_BARE


def build_world(settings: SimulationSettings) -> World:
    """Make the ground of a region; the same settings give the same ground."""
    grid = settings.world_grid
    shape = (int(grid.shape[0]), int(grid.shape[1]))
    random = generator(settings.seed, "world")
    elevation = 680 + 90 * smooth(random, shape, 30)
    ground = _geology(random, shape)
    ground[_river(random, shape) | _lake(random, shape)] = Lithology.WATER
    mapped = np.where(_unmapped(random, shape), Lithology.NODATA, ground).astype(np.uint8)
    grain = 0.8 * smooth(random, shape, 1.0) + 0.6 * smooth(random, shape, 4.0)
    cover = np.clip(_lay_out(ground, "green") + 0.14 * smooth(random, shape, 9), 0.02, 0.85)
    cover[ground == Lithology.WATER] = 0
    return World(settings.seed, settings.centre, grid, ground, mapped, elevation, cover, grain)


def _lay_out(ground: np.ndarray, name: str) -> np.ndarray:
    table = np.zeros(CLASS_COUNT)
    for lithology, material in MATERIALS.items():
        table[lithology] = getattr(material, name)
    return table[ground]


def _geology(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Cells around scattered seeds, their outlines bent by a smooth displacement."""
    from scipy.spatial import KDTree

    height, width = shape
    count = max(2 * len(_LAND), height * width // 750)
    seeds = random.uniform((0, 0), shape, (count, 2))
    rounds = [random.permutation(_LAND) for _ in range(count // len(_LAND) + 1)]
    # The first of `_LAND` takes a third round's place, so that there is a majority class.
    rounds[2::3] = [np.full(len(_LAND), _LAND[0]) for _ in rounds[2::3]]
    classes = np.concatenate(rounds)[:count].astype(np.uint8)
    rows, columns = np.mgrid[:height, :width].astype(float)
    bend = min(shape) / 25
    rows += bend * smooth(random, shape, 8)
    columns += bend * smooth(random, shape, 8)
    _, nearest = KDTree(seeds).query(np.stack([rows, columns], axis=-1))
    return classes[nearest]


def _river(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """A meandering band about three pixels wide, from north to south."""
    height, width = shape
    bends = smooth(random, (height, 1), height / 14)[:, 0]
    middle = width * 0.55 + width * 0.09 * bends
    half = 1.5 * np.hypot(1, np.gradient(middle))
    return np.abs(np.arange(width) - middle[:, None]) < half[:, None]


def _lake(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """A reservoir with a ragged shore, in the south-west."""
    height, width = shape
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot((rows / height - 0.7) / 0.09, (columns / width - 0.25) / 0.12)
    return np.asarray(distance + 0.25 * smooth(random, shape, 6) < 1)


def _unmapped(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """A corner beyond the sheet's edge, and a few patches that nobody surveyed."""
    height, width = shape
    rows, columns = np.mgrid[:height, :width]
    corner = rows / height + (1 - columns / width) > 1.75
    return corner | highest(smooth(random, shape, 7), 0.02)
