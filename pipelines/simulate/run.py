"""Simulate a region: write its granules, its map and its region file, and keep the truth apart."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.simulate import ecostress, geology, schedule, sentinel1, sentinel2
from pipelines.simulate.settings import CRS, RESOLUTION, TILE, TILE_CORNER, SimulationSettings
from pipelines.simulate.world import World, build_world

if TYPE_CHECKING:
    from collections.abc import Iterator

REGION_FILE, TRUTH_FILE = "region.toml", "truth.npz"


@dataclass(frozen=True, eq=False)
class Truth:
    """What was simulated, cut to the region's grid; for tests, never for the cube.

    ``n`` counts the ECOSTRESS passes, the late ones included.
    """

    ground: np.ndarray
    """uint8 (y, x), the class of what lies there."""
    lithology: np.ndarray
    """uint8 (y, x), the class as mapped: 0 where no polygon lies."""
    inertia: np.ndarray
    """float32 (y, x), thermal inertia of the ground, J m-2 K-1 s-1/2."""
    cover: np.ndarray
    """float32 (y, x), vegetation cover at its yearly mean."""
    time: np.ndarray
    """datetime64[s] (n,), UTC, strictly increasing."""
    kind: np.ndarray
    """str (n,), see `pipelines.simulate.schedule.Kind`."""
    lst: np.ndarray
    """float32 (n, y, x), K, without cloud and noise."""
    cloud: np.ndarray
    """bool (n, y, x), as in the cloud layer."""
    swath: np.ndarray
    """bool (n, y, x), where the instrument looked."""

    def save(self, path: Path) -> None:
        """Write the truth as a NumPy archive."""
        arrays: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        np.savez_compressed(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> Truth:
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            return cls(**{field.name: arrays[field.name] for field in fields(cls)})


@dataclass(frozen=True, eq=False)
class Simulation:
    """A simulated region on disk."""

    folder: Path
    settings: SimulationSettings
    granules: tuple[str, ...]
    """Ids of everything written, in the products' own names."""
    late: tuple[str, ...]
    """Ids of what `deliver_late` will write."""
    orphan: str
    """Id of the granule of which only the QC layer exists."""
    truth: Truth

    @property
    def region(self) -> Path:
        """The region file."""
        return self.folder / REGION_FILE


def simulate(folder: str | Path, settings: SimulationSettings | None = None) -> Simulation:
    """Write a region's granules, geological map, region file and truth into a folder.

    Writes ``ecostress/``, ``sentinel1/``, ``sentinel2/``, ``geology.gpkg``, ``region.toml`` and
    ``truth.npz``. One late granule and the newer version of a reprocessed one are held back
    for `deliver_late`.

    Parameters
    ----------
    folder
        Made if it is not there; files of the same names are replaced.
    settings
        Default: the demo's region.
    """
    folder, settings = Path(folder), settings or SimulationSettings()
    folder.mkdir(parents=True, exist_ok=True)
    world = build_world(settings)
    passes = schedule.overpasses(settings)
    views = [ecostress.observe(world, overpass) for overpass in passes]
    written = list(_write_ecostress(folder, world, passes, views, late=False))
    for i, when in enumerate(schedule.sentinel1_times(settings)):
        written += sentinel1.write(folder, world, when, i, settings.sentinel1_resolution)
    for i, when in enumerate(schedule.sentinel2_times(settings)):
        written.append(sentinel2.write(folder, world, when, i))
    orphan = ecostress.write_orphan(folder, world, settings)
    geology.write(folder, world)
    (folder / REGION_FILE).write_text(region_file(settings), encoding="utf-8")
    truth = _truth(settings.margin, world, passes, views)
    truth.save(folder / TRUTH_FILE)
    late = tuple(d.id for p in passes for d in ecostress.deliveries(p, world.grid, late=True))
    return Simulation(folder, settings, (*written, orphan), late, orphan, truth)


def deliver_late(folder: str | Path, settings: SimulationSettings | None = None) -> list[str]:
    """Write the granules that `simulate` held back.

    One pass arrives long after its neighbours; another arrives again from a newer processing
    build, 0.3 K cooler than the version it replaces.

    Parameters
    ----------
    folder, settings
        The same as for `simulate`.

    Returns
    -------
    list of str
        Ids of the granules written.
    """
    settings = settings or SimulationSettings()
    world = build_world(settings)
    passes = [p for p in schedule.overpasses(settings) if p.kind in ("late", "reprocessed")]
    views = [ecostress.observe(world, overpass) for overpass in passes]
    return list(_write_ecostress(Path(folder), world, passes, views, late=True))


def _write_ecostress(
    folder: Path,
    world: World,
    passes: list[schedule.Overpass],
    views: list[ecostress.View],
    *,
    late: bool,
) -> Iterator[str]:
    for overpass, view in zip(passes, views, strict=True):
        for delivery in ecostress.deliveries(overpass, world.grid, late):
            ecostress.write(folder, world, view, delivery)
            yield delivery.id


def _truth(
    margin: int, world: World, passes: list[schedule.Overpass], views: list[ecostress.View]
) -> Truth:
    inner = (slice(margin, -margin), slice(margin, -margin))
    times = [overpass.time.replace(tzinfo=None) for overpass in passes]
    return Truth(
        ground=world.ground[inner],
        lithology=world.mapped[inner],
        inertia=world.inertia[inner].astype(np.float32),
        cover=world.cover[inner].astype(np.float32),
        time=np.array(times, dtype="datetime64[s]"),
        kind=np.array([overpass.kind for overpass in passes]),
        lst=np.stack([view.true_lst[inner] for view in views]).astype(np.float32),
        cloud=np.stack([view.cloud[inner] for view in views]),
        swath=np.stack([view.swath[inner] for view in views]),
    )


def region_file(settings: SimulationSettings) -> str:
    """Compose the region file over everything that `simulate` writes, as TOML."""
    end = settings.start + timedelta(days=settings.days - 1)
    tables = [
        f'name = "{settings.name}"',
        f'[area]\nbbox = {list(settings.bbox)}\ncrs = "{CRS}"\nresolution = {RESOLUTION}\n'
        f"anchor = {list(TILE_CORNER)}  # upper-left corner of tile {TILE}",
        f"[period]\nstart = {settings.start}\nend = {end}",
        '[modalities.thermal]\nbands = ["lst", "emissivity"]',
        _source("ecostress", ecostress.FOLDER),
    ]
    if settings.sentinel1:
        tables.append('[modalities.sar]\nbands = ["vv", "vh"]')
        tables.append(_source("sentinel1", sentinel1.FOLDER))
    if settings.sentinel2:
        tables.append('[modalities.optical]\nbands = ["red", "nir", "ndvi"]')
        tables.append(_source("sentinel2", sentinel2.FOLDER))
    tables.append(f'[labels]\npath = "{geology.FILE}"\ncolumn = "{geology.COLUMN}"')
    return "\n\n".join(tables) + "\n"


def _source(kind: str, folder: str) -> str:
    return f'[[sources]]\nkind = "{kind}"\nname = "{kind}"\npath = "{folder}"'
