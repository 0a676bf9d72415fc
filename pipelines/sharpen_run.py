"""Sharpened LST in a cube: scene by scene, tile by tile, visible in one commit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cube.errors import ModelError, StoreError
from cube.store import Cube
from cube.version import code_version
from models.sharpening import Curve, enforce
from models.sharpening.blocks import Array, block_mean, block_std
from pipelines.committer import told
from pipelines.lattice import Window, windows
from pipelines.sharpen_engine import HALO, Facts, Part, View, grown, inner
from pipelines.sharpen_pool import Pool, pool_of
from pipelines.sharpen_scenery import Scenery

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client

    from pipelines.superres_folder import Trained

TILE = 128
"""Side of a tile, coarse pixels: whole chunks of the fine grid."""
CHUNK = 256
"""Side of a chunk, fine pixels."""
Progress = Callable[[int, int, str], None]
_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass
class SharpenTally:
    """What a run did."""

    run: str = ""
    method: str = ""
    scenes: int = 0
    """That have a map."""
    without: dict[str, str] = field(default_factory=dict)
    """Scenes that have none, by time, and why."""
    consistency: dict[str, float] = field(default_factory=dict)
    """RMSE between the map's block means and its input, by time, kelvin."""
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return dict(vars(self))


@dataclass(frozen=True)
class Task:
    """All that a tile needs, to be sent to a worker."""

    scenery: Scenery
    parts: tuple[Part, ...]
    consistent: bool

    def coarse(
        self, scene: int, window: Window, curves: Sequence[Curve | None]
    ) -> tuple[Array, ...]:
        """A tile at the coarse scale, as in the whole scene.

        Returns
        -------
        tuple of ndarray
            LST, mean and deviation of NDVI, and for each part NDVI, or its curve along NDVI, as
            the sensor sees it; all (y, x).
        """
        scale = self.scenery.scale
        around = grown(window, HALO, self.scenery.shape)
        lst, ndvi = self.scenery.read(scene, around)
        guides = [
            part.degradation(scale)(ndvi if curve is None else curve.at(ndvi))
            for part, curve in zip(self.parts, curves, strict=True)
        ]
        cut = inner(window, around, 1)
        images = (lst, block_mean(ndvi, scale), block_std(ndvi, scale), *guides)
        return tuple(image[cut] for image in images)

    def map(self, scene: int, window: Window, facts: Sequence[Facts]) -> Mapped:
        """The fine map of a tile, the mean of the parts'."""
        scenery = self.scenery
        wide = grown(window, HALO if self.consistent else 0, scenery.shape)

        def read(some: Window) -> tuple[Array, Array]:
            return scenery.read(scene, some)

        maps = [
            part.map(read, wide, scenery.shape, fact)
            for part, fact in zip(self.parts, facts, strict=True)
        ]
        fine = np.mean(maps, axis=0)
        lst = read(wide)[0]
        if self.consistent:
            fine = enforce(fine, lst)
        fine = fine[inner(window, wide, scenery.scale)].astype(np.float32)
        misfit = lst[inner(window, wide, 1)] - block_mean(fine, scenery.scale)
        known = misfit[np.isfinite(misfit)]
        largest = float(np.abs(known).max()) if known.size else 0.0
        return Mapped(fine, float((known**2).sum()), known.size, largest)


class Mapped(NamedTuple):
    """A finished tile."""

    fine: np.ndarray
    squares: float
    """Sum of squared misfits of its block means, kelvin squared."""
    pixels: int
    largest: float


def sharpen_cube(
    cube: Cube,
    method: str,
    *,
    models: Sequence[Trained] = (),
    run: str | None = None,
    consistent: bool = False,
    days: float = 8.0,
    wanted: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    client: Client | None = None,
    workers: int = 2,
    on_tile: Progress | None = None,
) -> SharpenTally:
    """Sharpen the LST scenes of a cube and write the maps to ``/sharpened/<run>``.

    Scenes are worked through one by one, in tiles with a margin; what a method fits to the
    whole scene is fitted first, so that tiles have no seams. Memory does not grow with the
    region but for images at the coarse scale.

    Parameters
    ----------
    cube
        Read at its snapshot. Needs `modis_lst` and `modis_ndvi` on nested grids.
    method
        Name of a classical method (`models.sharpening.METHODS`), of a trained one, or ``A+B``
        for the mean of the maps of several.
    models
        Trained methods, each known by the name of its folder.
    run
        Name of the result; by default that of the method.
    consistent
        Make the maps' block means the LST exactly; see `models.sharpening.enforce`.
    days
        A scene's NDVI may be so much older or newer; gaps are filled from the next nearest.
    wanted
        Rules by which LST scenes are chosen, such as ``time_of_day="night"``; see
        `cube.select.select`.
    overwrite
        Replace a run of the same name.
    client
        Dask client whose workers make the tiles. They must see the cube, and folders of trained
        methods, under the same paths.
    workers
        Threads, without a client.
    on_tile
        Told of each finished tile.

    Raises
    ------
    ModelError
        If there is no such method, or a network does not fit the ratio of the grids.
    SelectionError
        If the cube lacks LST or NDVI, or no scene has both.
    GridError
        If the grids do not nest.
    StoreError
        If there is a run of that name and `overwrite` is False, or the cube cannot be written.
    """
    started = monotonic()
    known = {model.name: model for model in models}
    parts = tuple(Part.of(name, known) for name in method.split("+"))
    run = run or re.sub(r"[^A-Za-z0-9._-]+", "-", method).strip("-")
    if not _RUN_NAME.fullmatch(run):
        raise ModelError(
            f"a run cannot be called {run!r}: letters, digits, '.', '_' and '-' only; "
            "give it a name with `run`"
        )
    scenery = Scenery.of(cube, wanted or {}, days)
    _require_scale(scenery, parts)
    task = Task(scenery, parts, consistent)
    lineage = _lineage(cube, method, run, known, task)
    tally = SharpenTally(run, method)
    group = f"sharpened/{run}"
    with (
        told(cube.location),
        cube.transaction(f"sharpen {run}", lineage, exclusive=False) as change,
        pool_of(client, workers) as pool,
    ):
        if not overwrite and group in cube.at(change.base).groups():
            raise StoreError(
                f"cube {cube.location} has a sharpened run {run!r} already; give the new one "
                "another name, or allow overwriting it",
                kind="run_exists",
            )
        change.template(
            group, _template(scenery, cube, lineage), {"time": 1, "y": CHUNK, "x": CHUNK}
        )
        lst = change.array(f"{group}/lst")
        for scene in range(len(scenery.partners)):
            misfits = _scene(task, scene, pool, lst, tally, on_tile)
            for name, value in misfits.items():
                change.array(f"{group}/{name}")[scene] = value
    tally.seconds = round(monotonic() - started, 3)
    return tally


def _scene(
    task: Task,
    scene: int,
    pool: Pool,
    target: Any,
    tally: SharpenTally,
    on_tile: Progress | None,
) -> dict[str, float]:
    """Write one scene's map; its misfit, by the name of the array."""
    scenery = task.scenery
    time = str(scenery.lst["time"].values[scene].astype("datetime64[s]"))
    reason = "no NDVI near enough in time"
    facts: list[Facts] | None = None
    if scenery.partners[scene]:
        try:
            facts = _facts(task, scene, pool)
        except ValueError as problem:
            reason = str(problem)
    if facts is None:
        tally.without[time] = reason
        return {}
    squares, count, largest = 0.0, 0, 0.0
    todo = list(windows(scenery.shape, TILE))
    jobs = ((window, (task.map, scene, window, facts)) for window in todo)
    for number, (window, mapped) in enumerate(pool.run(jobs), start=1):
        _write(target, scene, window, mapped.fine, scenery)
        squares, count = squares + mapped.squares, count + mapped.pixels
        largest = max(largest, mapped.largest)
        if on_tile is not None:
            done = scene * len(todo) + number
            on_tile(done, len(todo) * len(scenery.partners), f"{time}, tile {number}")
    tally.scenes += 1
    rmse = float(np.sqrt(squares / count)) if count else float("nan")
    tally.consistency[time] = round(rmse, 6)
    return {"consistency": rmse, "consistency_largest": largest if count else float("nan")}


def _facts(task: Task, scene: int, pool: Pool) -> list[Facts]:
    """Look at the whole scene, tile by tile, at the coarse scale.

    Raises
    ------
    ValueError
        If it has too little to learn from.
    """
    lst, mean, std, *blurred = _whole(task, scene, pool, [None] * len(task.parts))
    both = zip(task.parts, blurred, strict=True)
    curves = [part.curve(lst, image) for part, image in both]
    guides = blurred
    if any(curve is not None for curve in curves):
        guides = _whole(task, scene, pool, curves)[len(View._fields) :]
    return [
        part.facts(View(lst, mean, std), curve, guide, task.scenery.scale)
        for part, curve, guide in zip(task.parts, curves, guides, strict=True)
    ]


def _whole(task: Task, scene: int, pool: Pool, curves: Sequence[Curve | None]) -> list[Array]:
    shape = task.scenery.shape
    images = [np.full(shape, np.nan) for _ in range(len(View._fields) + len(curves))]
    jobs = ((window, (task.coarse, scene, window, curves)) for window in windows(shape, TILE))
    for window, found in pool.run(jobs):
        for whole, image in zip(images, found, strict=True):
            whole[window] = image
    return images


def _write(target: Any, scene: int, window: Window, fine: np.ndarray, scenery: Scenery) -> None:
    rows, columns = (
        slice(scenery.scale * part.start, min(scenery.scale * part.stop, size))
        for part, size in zip(window, scenery.fine_shape, strict=True)
    )
    cut = fine[: rows.stop - rows.start, : columns.stop - columns.start]
    if cut.size:
        target[scene, rows, columns] = cut


def _template(scenery: Scenery, cube: Cube, lineage: Mapping[str, str]) -> xr.Dataset:
    import dask.array as da
    import xarray as xr

    fine, coarse = scenery.ndvi, scenery.lst
    dates = len(scenery.partners)
    shape = (dates, *scenery.fine_shape)
    chunks = (1, *(min(CHUNK, size) for size in scenery.fine_shape))
    place = {"grid_mapping": "spatial_ref"}
    kelvin = {"units": "K"}
    layers = {
        "lst": (
            ("time", "y", "x"),
            da.full(shape, np.nan, dtype="float32", chunks=chunks),
            {**kelvin, **place, "standard_name": "surface_temperature",
             "long_name": "land surface temperature, sharpened"},
        ),
        "consistency": (
            ("time",), da.full((dates,), np.nan, dtype="float64", chunks=(dates,)),
            {**kelvin, "long_name": "RMSE between block means of the map and its input"},
        ),
        "consistency_largest": (
            ("time",), da.full((dates,), np.nan, dtype="float64", chunks=(dates,)),
            {**kelvin, "long_name": "largest difference between block mean and input"},
        ),
    }  # fmt: skip
    coords = {"time": _bare(coarse["time"])}
    coords |= {name: _bare(fine[name]) for name in ("y", "x", "spatial_ref")}
    attrs = {"title": f"LST sharpened by {lineage['method']}", "Conventions": "CF-1.11", **lineage}
    return xr.Dataset(layers, coords, attrs)


def _bare(coordinate: xr.DataArray) -> xr.Variable:
    """A coordinate without the chunks and codecs of the array it was read from."""
    variable = coordinate.variable.copy(deep=False)
    keep = ("units", "calendar", "dtype") if coordinate.name == "time" else ()
    variable.encoding = {key: variable.encoding[key] for key in keep if key in variable.encoding}
    return variable


def _lineage(
    cube: Cube, method: str, run: str, known: Mapping[str, Trained], task: Task
) -> dict[str, str]:
    used = [known[name] for name in method.split("+") if name in known]
    return {
        "job": "sharpen",
        "run": run,
        "method": method,
        "model_digests": " ".join(model.digest for model in used),
        "consistent": str(task.consistent).lower(),
        "selection": json.dumps(dict(task.scenery.wanted), default=str),
        "input_snapshot": cube.snapshot,
        "code": code_version(),
    }


def _require_scale(scenery: Scenery, parts: Iterable[Part]) -> None:
    if scenery.scale != 4 and any(part.folder is not None for part in parts):
        raise ModelError(
            f"networks are trained for 4 NDVI pixels a side of an LST pixel, and these grids have "
            f"{scenery.scale}; take a classical method"
        )


def folders(paths: Sequence[str | Path]) -> list[Trained]:
    """Open folders of trained methods."""
    from pipelines.superres_folder import Trained

    return [Trained.load(path) for path in paths]
