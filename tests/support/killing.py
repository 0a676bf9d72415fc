"""Kill ingests: forked from a process that has everything imported, so that a kill costs little."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import time
from collections.abc import Callable
from itertools import chain
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from cube.region import Region
from deliveries import deliver
from inspection import Figures, Inspector, Known
from pipelines.simulate import Simulation

MODULES = """
    cube.labels cube.polygons cube.sources cube.store cube.sun cube.timeline dask.array filelock
    geopandas netCDF4 odc.geo.xr pandas pipelines.ingest pvlib pyogrio pyproj pytest
    rasterio.features rasterio.warp scipy.ndimage shapely tenacity xarray.backends.zarr zarr.storage
"""
"""All that an ingest imports, so that a forked job need not. Not Icechunk: importing it starts
threads, which are gone in a forked process."""
PATIENCE = 300.0
"""Seconds after which a job that was not killed must be done."""
STEPS, SECONDS = 40, 2.0
"""Within so many objects written, or so many seconds, a job is killed; a commit writes about 15."""
LABELS = 0.3
"""Share of the cubes with a label map, which takes as long to draw as a scene to write."""


def context() -> ForkServerContext:
    """Where jobs come from; one server a test run."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(MODULES.split())
    return made


def job(region: str, batch: int, workers: int) -> None:
    """Ingest a region; what is done in the process that is killed."""
    from pipelines.ingest import ingest

    ingest(Region.load(region), batch=batch, workers=workers)


def files_in(store: Path) -> int:
    """Objects in a store; grows by one with every step of a write."""
    try:
        return sum(
            sum(1 for _ in folder.iterdir()) for folder in store.iterdir() if folder.is_dir()
        )
    except FileNotFoundError:
        return 0


class KillStorm:
    """Ingests the same deliveries again and again, and kills every job it can.

    Parameters
    ----------
    simulation, late
        What is delivered, in three parts; the last one holds these late granules.
    """

    def __init__(
        self,
        simulation: Simulation,
        units: list[list[str]],
        late: list[str],
        known: Known,
        home: Path,
        seed: int,
    ) -> None:
        self._simulation = simulation
        self._units = units
        self._late = late
        self._known = known
        self._home = home
        self._random = random.Random(seed)
        self._context = context()
        self.figures = Figures()

    def run(self, kills: int, on_cube: Callable[[Figures], None] = lambda _: None) -> None:
        """Go on until so many jobs were killed, and the last cube is finished."""
        while self.figures.faults.total() < kills:
            self._one_cube(kills)
            on_cube(self.figures)

    def _one_cube(self, kills: int) -> None:
        region = self._begin()
        inspector = Inspector(region, self._known, self.figures)
        for part in self._parts():
            deliver(self._simulation, self._home, part)
            # A part is done when a job on it came to its end.
            while self.figures.faults.total() < kills and self._disturbed(region):
                inspector.look()
        if self.figures.faults.total() >= kills:
            self._undisturbed()
        inspector.finish()

    def _begin(self) -> Region:
        for place in ("ecostress", "simulated.icechunk"):
            shutil.rmtree(self._home / place, ignore_errors=True)
        for name in ("region.toml", "geology.gpkg"):
            shutil.copyfile(self._simulation.folder / name, self._home / name)
        if self._random.random() > LABELS:
            tables = (self._home / "region.toml").read_text().partition("[labels]")
            (self._home / "region.toml").write_text(tables[0])
        (self._home / "ecostress").mkdir()
        return Region.load(self._home / "region.toml")

    def _parts(self) -> list[list[str]]:
        """First halves of the granules in any order, then the late ones."""
        units = self._random.sample(self._units, len(self._units))
        middle = self._random.randint(1, len(units) - 1)
        halves = (units[:middle], units[middle:])
        return [*(list(chain.from_iterable(half)) for half in halves), self._late]

    def _start(self) -> ForkServerProcess:
        batch = self._random.choice([1, 1, 3, 8])
        arguments = (str(self._home / "region.toml"), batch, self._random.choice([1, 2]))
        process = self._context.Process(target=job, args=arguments)
        process.start()
        return process

    def _disturbed(self, region: Region) -> bool:
        """Start a job, or two at once, and kill it; False if it was done before."""
        store = Path(region.location)
        together = self._random.random() < 0.15
        jobs = [self._start() for _ in range(2 if together else 1)]
        alive = [self._kill(process, self._moment(store)) for process in jobs]
        self.figures.faults["jobs killed, two at once" if together else "jobs killed"] += sum(alive)
        return any(alive)

    def _moment(self, store: Path) -> Callable[[], bool]:
        """When to kill: as soon as so many objects were written, or after so many seconds."""
        if self._random.random() < 0.8:
            count = files_in(store) + self._random.randint(1, STEPS)
            return lambda: files_in(store) >= count
        end = time.monotonic() + self._random.uniform(0, SECONDS)
        return lambda: time.monotonic() >= end

    def _kill(self, process: ForkServerProcess, due: Callable[[], bool]) -> bool:
        end = time.monotonic() + PATIENCE
        while process.is_alive() and not due():
            assert time.monotonic() < end, "a job hangs"
            process.join(0.002)
        alive = process.is_alive()
        process.kill()
        process.join()
        assert process.exitcode in (0, -9), "a job failed by itself"
        return process.exitcode == -9 and alive

    def _undisturbed(self) -> None:
        process = self._start()
        process.join(PATIENCE)
        assert process.exitcode == 0, "a job after the kills did not come to its end"
