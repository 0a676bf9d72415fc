"""Maps of a region that are looked at and let go of: nothing of them enters the cube."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.inference import Options
from pipelines.inference_crew import crew, in_order
from pipelines.inference_layout import chunks_of, place
from pipelines.inference_plan import InferencePlan
from pipelines.inference_work import Work
from pipelines.model_folder import ModelFolder

if TYPE_CHECKING:
    import xarray as xr

    from cube.store import Cube

GROUP = "maps"


def map_aside(
    cube: Cube,
    folder: ModelFolder,
    work: str | Path,
    *,
    run: str | None = None,
    batch_size: int = 32,
    stride: int | None = None,
    tta: bool = False,
    workers: int = 1,
) -> xr.Dataset:
    """Map every selected scene of a cube as `pipelines.predict.predict` does, but keep it here.

    For studies, whose hundreds of runs would crowd a cube. Stopped and started again, it goes on
    where it was.

    Parameters
    ----------
    cube
        Read at its snapshot.
    folder
        The model.
    work
        Folder for unfinished work.
    run
        What the maps are called; by default as the model folder.
    batch_size, stride, tta, workers
        See `pipelines.predict.predict`.

    Returns
    -------
    xarray.Dataset
        As ``predictions/<run>``, held compressed in memory.

    Raises
    ------
    ModelError, SelectionError, StoreError
        See `pipelines.predict.predict`.
    """
    run = run or folder.name
    plan = InferencePlan.of(cube, folder, Options(batch_size, tta), stride, run)
    with Work.at(Path(work), run, plan.digest, plan.job) as parts:
        if todo := parts.todo():
            with (
                crew(plan.job, folder, None, workers) as pool,
                closing(in_order(pool, todo)) as done,
            ):
                for unit, part in done:
                    parts.add(unit, part)
        maps = _opened(plan, parts)
        parts.clear()
    return maps


def _opened(plan: InferencePlan, parts: Work) -> xr.Dataset:
    """All pieces together, in a store of their own in memory."""
    import icechunk
    import xarray as xr

    from cube.transaction import Transaction

    icechunk.set_logs_filter("error")
    repository = icechunk.Repository.create(icechunk.in_memory_storage())
    change = Transaction(repository.writable_session("main"))
    change.template(GROUP, plan.template, chunks_of(plan.job.layout.chunk, plan.job.classes))
    for chunks in parts.chunks():
        place(change.session, GROUP, chunks)
    change.session.commit("maps")
    store = repository.readonly_session("main").store
    return xr.open_zarr(store, group=GROUP, chunks=None, consolidated=False)
