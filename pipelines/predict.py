"""From a trained network to class maps in the cube: computed in pieces, visible in one commit."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from cube.errors import ModelError, StoreError
from cube.store import Cube
from pipelines.committer import told
from pipelines.inference import Job, Options, Unit
from pipelines.inference_crew import crew, in_order
from pipelines.inference_layout import Layers, chunks_of, decide, place
from pipelines.inference_plan import InferencePlan
from pipelines.inference_work import Work, default_place
from pipelines.model_folder import ModelFolder
from pipelines.uncertainty import taught_classes

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["PredictTally", "decide", "predict", "taught_classes"]

Progress = Callable[[int, int], None]
"""Called with the number of steps done and of all steps; a step is one scene on one window."""

_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass
class PredictTally:
    """What a run did, counted while it goes on."""

    run: str = ""
    snapshot: str = ""
    """Of the cube that was read."""
    scenes: int = 0
    """Dates of the run."""
    mapped: int = 0
    """Of these, those that have a map: all, but for networks that take sequences."""
    chunks: int = 0
    """Chunks of the run, in all of its arrays."""
    units: int = 0
    """Pieces of work: up to `pipelines.inference.DATES` dates of a window."""
    resumed: int = 0
    """Of these, those that an earlier attempt had finished."""
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return dataclasses.asdict(self)


def predict(
    cube: Cube,
    model: str | Path,
    *,
    run: str | None = None,
    batch_size: int = 32,
    stride: int | None = None,
    step: int = 1,
    probability: bool = False,
    entropy: bool = False,
    tta: bool = False,
    mc_dropout: int = 0,
    overwrite: bool = False,
    client: Client | str | None = None,
    workers: int = 2,
    work: str | Path | None = None,
    on_scene: Progress | None = None,
    tally: PredictTally | None = None,
) -> str:
    """Map every selected scene of a cube and write the maps to ``/predictions/<run>``.

    The region is worked through in windows of a few chunks and a few dates, each read once with
    its halo; what is held in memory does not grow with the region or the number of scenes.
    Finished pieces wait in a work folder and enter the cube in one commit at the end. Killed and
    started again with the same model, snapshot and options, a run goes on where it was.

    Parameters
    ----------
    cube
        Read at its snapshot.
    model
        A model folder; its recipe says which scenes and bands are taken. A network that takes
        sequences is given each selected date with those before it. Its map stands at the last
        date of the sequence and covers pixels that are valid on any of them; the first dates,
        which have too few before them, have no map (class 0 everywhere).
    run
        Name of the result; by default that of the model folder.
    batch_size
        Most patches in one call of the network.
    stride
        Step between overlapping patches, pixels; by default half a patch.
    step
        Dates from one sequence to the next; the dates between have no map.
    probability
        Keep the probabilities of all classes as well: 13 times the bytes of the confidence.
    entropy
        Keep the entropy of the class probabilities as well, in nats.
    tta
        Average over the eight symmetries of the square (test-time augmentation), at eight times
        the cost.
    mc_dropout
        Number of passes with dropout left on, at least 2; maps are those of their mean
        probability, and the passes' ``mutual_information`` and ``variance`` are kept (Gal and
        Ghahramani 2016, arXiv 1506.02142). 0 is one pass without dropout.
    overwrite
        Replace a run of the same name.
    client
        Dask client, or a scheduler's address, whose workers run the network. They must see the
        cube under the same path; the model is sent to them. If any of them declares the
        resource ``GPU``, only those that do are asked.
    workers
        Without a client, threads that read and blend; one at a time asks the network.
    work
        Folder for what is not committed yet; by default beside a local cube, else in the user's
        cache. It needs the room of the run's arrays, and is cleared at the end.
    on_scene
        Called as scenes are finished, for progress.
    tally
        Told what was done.

    Returns
    -------
    str
        The name of the run.

    Raises
    ------
    ModelError
        If the model folder is not complete, the network gives no numbers, or it has no dropout
        and `mc_dropout` asks for it.
    SelectionError
        If the cube lacks what the recipe selects.
    StoreError
        If there is a run of that name and `overwrite` is False, or cube or work folder cannot
        be written.
    ThermocubeError
        ``scheduler`` if the Dask cluster cannot be reached or went away, ``worker_lost`` if a
        piece takes down every worker.
    """
    started = monotonic()
    layers = Layers(probability, entropy, mc_dropout > 0)
    options = Options(batch_size, tta, mc_dropout, step, layers)
    folder = ModelFolder.load(model)
    run = _require_name(run or folder.name)
    _require_free(cube.at(_newest(cube)), run, overwrite=overwrite)
    plan = InferencePlan.of(cube, folder, options, stride, run)
    tally = tally if tally is not None else PredictTally()
    with Work.at(Path(work or default_place(cube.location)), run, plan.digest, plan.job) as parts:
        _note(tally, run, plan.job)
        _compute(plan.job, parts, folder, client, workers, _Steps(plan.job, on_scene), tally)
        tally.chunks = _commit(cube, plan, parts, run, overwrite=overwrite)
        parts.clear()
    tally.seconds = round(monotonic() - started, 3)
    return run


class _Steps:
    """Progress in scenes x windows."""

    def __init__(self, job: Job, tell: Progress | None) -> None:
        self._tell = tell
        self._total = sum(unit.stop - unit.start for column in job.columns() for unit in column)
        self._done = 0

    def begin(self, todo: list[Unit]) -> None:
        self._done = self._total - sum(unit.stop - unit.start for unit in todo)

    def finish(self, unit: Unit) -> None:
        self._done += unit.stop - unit.start
        if self._tell is not None:
            self._tell(self._done, self._total)


def _compute(
    job: Job,
    parts: Work,
    folder: ModelFolder,
    client: Client | str | None,
    workers: int,
    steps: _Steps,
    tally: PredictTally,
) -> None:
    todo = parts.todo()
    tally.units, tally.resumed = parts.units, parts.units - len(todo)
    steps.begin(todo)
    if not todo:
        return
    with crew(job, folder, client, workers) as pool, closing(in_order(pool, todo)) as done:
        for unit, part in done:
            parts.add(unit, part)
            steps.finish(unit)


def _commit(cube: Cube, plan: InferencePlan, parts: Work, run: str, *, overwrite: bool) -> int:
    """Put all chunks into the cube; how many they are."""
    group, count = f"predictions/{run}", 0
    job = plan.job
    with (
        told(cube.location),
        cube.transaction(f"predict {run}", plan.lineage, exclusive=False) as change,
    ):
        _require_free(cube.at(change.base), run, overwrite=overwrite)
        change.template(group, plan.template, chunks_of(job.layout.chunk, job.classes))
        for chunks in parts.chunks():
            place(change.session, group, chunks)
            count += len(chunks)
    return count


def _note(tally: PredictTally, run: str, job: Job) -> None:
    tally.run, tally.snapshot = run, job.snapshot
    tally.scenes = job.dates
    tally.mapped = sum(map(job.mapped, range(job.dates)))


def _newest(cube: Cube) -> str:
    return Cube(cube.repository, cube.location).snapshot


def _require_free(cube: Cube, run: str, *, overwrite: bool) -> None:
    if not overwrite and f"predictions/{run}" in cube.groups():
        raise StoreError(
            f"cube {cube.location} has a run {run!r} already; give the new one another name, "
            "or allow overwriting it",
            kind="run_exists",
        )


def _require_name(run: str) -> str:
    if not _RUN_NAME.fullmatch(run):
        raise ModelError(
            f"a run cannot be called {run!r}: letters, digits, '.', '_' and '-' only; "
            "give it a name with `run`"
        )
    return run
