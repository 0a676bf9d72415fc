"""Sharpened LST in a cube: scene by scene, tile by tile, visible in one commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from cube.errors import StoreError
from cube.store import Cube
from pipelines.committer import told
from pipelines.inference_layout import place
from pipelines.inference_work import default_place
from pipelines.lattice import Window
from pipelines.sharpen_engine import Facts
from pipelines.sharpen_plan import SharpenPlan
from pipelines.sharpen_pool import Pool, pool_of
from pipelines.sharpen_survey import survey
from pipelines.sharpen_work import SharpenWork

if TYPE_CHECKING:
    from distributed import Client

    from cube.transaction import Transaction
    from pipelines.superres_folder import Trained

Progress = Callable[[int, int, str], None]
"""Called with the number of tiles done and of all tiles, and a line about the last one."""

NO_NDVI = "no NDVI near enough in time"


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
    tiles: int = 0
    """Of all scenes that have an NDVI."""
    resumed: int = 0
    """Of these, those that an earlier attempt had finished."""
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return dict(vars(self))


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
    work: str | Path | None = None,
    on_tile: Progress | None = None,
) -> SharpenTally:
    """Sharpen the LST scenes of a cube and write the maps to ``/sharpened/<run>``.

    Scenes are worked through one by one, in tiles with a margin; what a method fits to the
    whole scene is fitted first, so that tiles have no seams. Memory does not grow with the
    region but for images at the coarse scale. Finished tiles wait in a work folder and enter
    the cube in one commit at the end. Killed and started again with the same method, snapshot
    and options, a run goes on where it was.

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
    work
        Folder for what is not committed yet; by default beside a local cube, else in the user's
        cache. It needs the room of the run's maps, and is cleared at the end.
    on_tile
        Told of each finished tile, and first of those that were there, if any.

    Raises
    ------
    ModelError
        If there is no such method, or a network does not fit the ratio of the grids.
    SelectionError
        If the cube lacks LST or NDVI, or no scene has both.
    GridError
        If the grids do not nest.
    StoreError
        If there is a run of that name and `overwrite` is False, or cube or work folder cannot
        be written.
    CubeLockedError
        If another process works on the very same run.
    ThermocubeError
        ``scheduler`` if the Dask cluster went away, ``worker_lost`` if a tile takes down every
        worker.
    """
    started = monotonic()
    plan = SharpenPlan.of(
        cube, method, models, run=run, consistent=consistent, days=days, wanted=wanted or {}
    )
    _require_free(cube.at(Cube(cube.repository, cube.location).snapshot), plan, overwrite)
    tally = SharpenTally(plan.run, method)
    with SharpenWork.at(Path(work or default_place(cube.location)), plan) as parts:
        todo = parts.todo()
        steps = _Steps(plan, todo, on_tile)
        tally.tiles, tally.resumed = steps.total, steps.done
        with pool_of(client, workers) as pool:
            for scene, windows in todo.items():
                _scene(plan, scene, windows, parts, pool, steps)
        _commit(cube, plan, parts, tally, overwrite=overwrite)
        parts.clear()
    tally.seconds = round(monotonic() - started, 3)
    return tally


class _Steps:
    """Progress in tiles."""

    def __init__(
        self, plan: SharpenPlan, todo: Mapping[int, Sequence[Window]], tell: Progress | None
    ) -> None:
        self._plan = plan
        self._tell = tell
        self.total = len(plan.tiles) * len(plan.scenes)
        self.done = self.total - sum(map(len, todo.values()))
        if tell is not None and self.done:
            tell(self.done, self.total, f"{self.done} of {self.total} tiles were there, going on")

    def finish(self, scene: int, what: str, tiles: int = 1) -> None:
        self.done += tiles
        if self._tell is not None:
            self._tell(self.done, self.total, f"{self._plan.time(scene)}, {what}")


def _scene(
    plan: SharpenPlan,
    scene: int,
    todo: Sequence[Window],
    parts: SharpenWork,
    pool: Pool,
    steps: _Steps,
) -> None:
    """Make the tiles of a scene that are lacking, or note why it can have none."""
    if not todo:
        return
    task = plan.task
    try:
        facts: list[Facts] = survey(task, scene, pool)
    except ValueError as problem:
        parts.refuse(scene, str(problem))
        steps.finish(scene, "no map", len(todo))
        return
    jobs = ((window, (task.map, scene, window, facts)) for window in todo)
    with closing(pool.run(jobs)) as done:
        for window, mapped in done:
            parts.add(scene, window, mapped)
            steps.finish(scene, f"tile {plan.tiles.index(window) + 1}")


def _commit(
    cube: Cube, plan: SharpenPlan, parts: SharpenWork, tally: SharpenTally, *, overwrite: bool
) -> None:
    """Put all maps into the cube, and count them."""
    with (
        told(cube.location),
        cube.transaction(f"sharpen {plan.run}", plan.lineage, exclusive=False) as change,
    ):
        _require_free(cube.at(change.base), plan, overwrite)
        change.template(plan.group, plan.template, plan.chunks)
        for scene in range(plan.template.sizes["time"]):
            reason = parts.refused(scene) if scene in plan.scenes else NO_NDVI
            if reason is None:
                _put(change, plan, scene, parts, tally)
            else:
                tally.without[plan.time(scene)] = reason


def _put(
    change: Transaction, plan: SharpenPlan, scene: int, parts: SharpenWork, tally: SharpenTally
) -> None:
    for chunks in parts.chunks(scene):
        place(change.session, plan.group, chunks)
    tally.scenes += 1
    misfit = parts.misfit(scene)
    if misfit.pixels:
        tally.consistency[plan.time(scene)] = round(misfit.rmse, 6)
        change.array(f"{plan.group}/consistency")[scene] = misfit.rmse
        change.array(f"{plan.group}/consistency_largest")[scene] = misfit.largest


def _require_free(cube: Cube, plan: SharpenPlan, overwrite: bool) -> None:
    if not overwrite and plan.group in cube.groups():
        raise StoreError(
            f"cube {cube.location} has a sharpened run {plan.run!r} already; give the new one "
            "another name, or allow overwriting it",
            kind="run_exists",
        )


def folders(paths: Sequence[str | Path]) -> list[Trained]:
    """Open folders of trained methods."""
    from pipelines.superres_folder import Trained

    return [Trained.load(path) for path in paths]
