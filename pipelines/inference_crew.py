"""Who runs units of inference: threads of this process, or the workers of a Dask cluster."""

from __future__ import annotations

import itertools
import uuid
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from cube.errors import ThermocubeError
from pipelines.cluster import Link, connected
from pipelines.inference import Engine, Job, Part, Unit
from pipelines.model_folder import ModelFolder

if TYPE_CHECKING:
    from distributed import Client

GPU = "GPU"
"""Resource label of workers that have one (``dask worker --resources GPU=1``)."""


class Crew(Protocol):
    """Runs units somewhere else while the caller keeps what came of earlier ones."""

    def ahead(self) -> int:
        """Units that keep everyone busy."""
        ...

    def submit(self, unit: Unit) -> Any:
        """Begin a unit; returns a future."""
        ...

    def part(self, unit: Unit, future: Any) -> Part:
        """Wait for a unit."""
        ...


def in_order(crew: Crew, units: Iterable[Unit]) -> Generator[tuple[Unit, Part]]:
    """Parts in the order of the units, with a bounded number under way."""
    rest = iter(units)
    pending: deque[tuple[Unit, Any]] = deque()
    try:
        while True:
            free = max(0, max(1, crew.ahead()) - len(pending))  # A cluster may shrink.
            pending += [(unit, crew.submit(unit)) for unit in itertools.islice(rest, free)]
            if not pending:
                return
            unit, future = pending.popleft()
            yield unit, crew.part(unit, future)
    finally:
        for _, future in pending:
            future.cancel()


@contextmanager
def crew(
    job: Job, folder: ModelFolder, client: Client | str | None, workers: int
) -> Iterator[Crew]:
    """Threads, or a cluster if there is a client or a scheduler's address.

    Raises
    ------
    ThermocubeError
        ``scheduler`` if no scheduler answers, or it has no worker.
    """
    if client is None:
        pool = ThreadPoolExecutor(workers, thread_name_prefix="thermocube-predict")
        try:
            yield Threads(pool, workers, Engine(job, folder.network))
        finally:
            pool.shutdown(cancel_futures=True)
    elif isinstance(client, str):
        with connected(client) as found, _taught(found, job, folder) as cluster:
            yield cluster
    else:
        with _taught(client, job, folder) as cluster:
            yield cluster


class Threads:
    """Threads of this process: while one asks the network, the others read and blend."""

    def __init__(self, pool: ThreadPoolExecutor, workers: int, engine: Engine) -> None:
        self._pool = pool
        self._workers = workers
        self._engine = engine

    def ahead(self) -> int:
        """One unit a thread, and one waiting."""
        return self._workers + 1

    def submit(self, unit: Unit) -> Any:
        """Queue a unit."""
        return self._pool.submit(self._engine.run, unit)

    def part(self, unit: Unit, future: Any) -> Part:
        """Wait for a unit."""
        part: Part = future.result()
        return part


class Cluster:
    """Workers of a Dask cluster, one task a unit.

    A task changes nothing and comes back with encoded chunks, so it may run twice, and a lost
    worker costs its units another run. If any worker has a GPU to its name, only those are asked.
    """

    def __init__(self, client: Client, plugin: str) -> None:
        self._link = Link(client, "what is mapped is kept")
        self._plugin = plugin

    def ahead(self) -> int:
        """Two units a worker thread, however many there are by now."""
        return 2 * self._link.threads()

    def submit(self, unit: Unit) -> Any:
        """Send a unit; job and network are there already."""
        from pipelines.inference_plugin import run_unit

        gpus = any(GPU in worker["resources"] for worker in workers_of(self._link.client))
        return self._link.submit(
            run_unit,
            self._plugin,
            unit,
            key=f"thermocube-map-{uuid.uuid4().hex}",
            resources={GPU: 1} if gpus else None,
        )

    def part(self, unit: Unit, future: Any) -> Part:
        """Wait for a unit.

        Raises
        ------
        ThermocubeError
            ``scheduler`` if scheduler or workers went away, ``worker_lost`` if the unit takes
            down every worker.
        """
        from distributed import KilledWorker

        try:
            part: Part = self._link.answer(future)
        except KilledWorker as error:
            raise ThermocubeError(
                f"several Dask workers died one after the other while they mapped rows "
                f"{unit.window[0].start}:{unit.window[0].stop}, columns "
                f"{unit.window[1].start}:{unit.window[1].stop}, dates {unit.start} to "
                f"{unit.stop - 1}, most likely of too little memory; give the workers more, "
                "or fewer threads each, or a smaller batch, and run again: what is mapped "
                "is kept",
                kind="worker_lost",
            ) from error
        return part


def workers_of(client: Client) -> list[dict[str, Any]]:
    """What the scheduler knows of each of its workers."""
    return list(client.scheduler_info(n_workers=-1)["workers"].values())


@contextmanager
def _taught(client: Client, job: Job, folder: ModelFolder) -> Iterator[Cluster]:
    """Give every worker, also those that join later, the job and the network; take both back."""
    from pipelines.inference_plugin import Inference

    name = f"thermocube-predict-{uuid.uuid4().hex}"
    client.register_plugin(Inference(name, job, folder.contents(), _beside(client)))
    try:
        yield Cluster(client, name)
    finally:
        client.unregister_worker_plugin(name)


def _beside(client: Client) -> int:
    """Most workers on one machine, which share its processors."""
    hosts = [str(worker["host"]) for worker in workers_of(client)]
    return max(map(hosts.count, hosts), default=1)
