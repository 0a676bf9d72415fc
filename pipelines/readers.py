"""Who reads scenes: threads of this process, or the workers of a Dask cluster."""

from __future__ import annotations

import itertools
import logging
import uuid
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from cube.errors import ThermocubeError
from pipelines.outcome import Outcome
from pipelines.plan import Work
from pipelines.scenes import Desk

if TYPE_CHECKING:
    from distributed import Client

CONNECT_TIMEOUT = 30.0
"""Seconds in which a scheduler must answer, and a first worker be there."""

WORKERS_TIMEOUT = 300.0
"""Seconds without a single worker after which a run gives up; what is committed is kept."""


class Readers(Protocol):
    """Reads scenes somewhere else while the caller commits."""

    def ahead(self) -> int:
        """Scenes that keep every reader busy."""
        ...

    def submit(self, desk: Desk, work: Work) -> Any:
        """Begin to read a scene; returns a future."""
        ...

    def outcome(self, desk: Desk, work: Work, future: Any) -> Outcome:
        """Wait for a scene."""
        ...


def read_ahead(
    readers: Readers, desk: Desk, works: Iterable[Work], *, singly: bool = False
) -> Generator[Outcome]:
    """Outcomes in the order of the work, with a bounded number of scenes under way.

    Scenes are read on while the caller deals with one, unless they are read `singly`. Closing
    the iterator cancels what was not yet begun.
    """
    rest = iter(works)
    pending: deque[tuple[Work, Any]] = deque()
    try:
        while True:
            room = 1 if singly else max(1, readers.ahead())
            free = max(0, room - len(pending))  # A cluster may shrink.
            pending += [(work, readers.submit(desk, work)) for work in itertools.islice(rest, free)]
            if not pending:
                return
            work, future = pending.popleft()
            yield readers.outcome(desk, work, future)
    finally:
        for _, future in pending:
            future.cancel()


@contextmanager
def readers(client: Client | str | None, workers: int) -> Iterator[Readers]:
    """Threads, or a cluster if there is a client or a scheduler's address.

    Raises
    ------
    ThermocubeError
        ``scheduler`` if no scheduler answers, or it has no worker.
    """
    if client is None:
        pool = ThreadPoolExecutor(workers, thread_name_prefix="thermocube-read")
        try:
            yield Threads(pool, workers)
        finally:
            pool.shutdown(cancel_futures=True)
    elif isinstance(client, str):
        with connected(client) as found:
            yield Cluster(found)
    else:
        yield Cluster(client)


class Threads:
    """Threads of this process: reading is mostly GDAL and decompression, outside the GIL."""

    def __init__(self, pool: ThreadPoolExecutor, workers: int) -> None:
        self._pool = pool
        self._workers = workers

    def ahead(self) -> int:
        """One scene a thread."""
        return self._workers

    def submit(self, desk: Desk, work: Work) -> Any:
        """Queue a scene."""
        return self._pool.submit(desk.judge, work)

    def outcome(self, desk: Desk, work: Work, future: Any) -> Outcome:
        """Wait for a scene."""
        outcome: Outcome = future.result()
        return outcome


class Cluster:
    """Workers of a Dask cluster, one task a scene.

    A task changes nothing: it comes back with encoded chunks, so it may run twice, and a lost
    worker costs its scenes another reading. Results stay on the workers until they are due.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def ahead(self) -> int:
        """Two scenes a worker thread, however many there are by now."""
        with _in_touch():
            return 2 * sum(self._client.nthreads().values())

    def submit(self, desk: Desk, work: Work) -> Any:
        """Send a scene and the few ledger rows it is judged by."""
        key = f"thermocube-scene-{uuid.uuid4().hex}"
        with _in_touch():
            return self._client.submit(judge, desk.narrowed(work), work, key=key, pure=False)

    def outcome(self, desk: Desk, work: Work, future: Any) -> Outcome:
        """Wait for a scene, not for ever if all workers are gone.

        Raises
        ------
        ThermocubeError
            ``scheduler`` if scheduler or workers went away.
        """
        from distributed import KilledWorker

        while True:
            try:
                with _in_touch():
                    outcome: Outcome = future.result(timeout=WORKERS_TIMEOUT)
            except KilledWorker as error:
                return desk.lost(work, _reason(error))
            except TimeoutError:
                self._require_workers()
            else:
                return outcome

    def _require_workers(self) -> None:
        with _in_touch():
            workers = self._client.nthreads()
        if not workers:
            raise ThermocubeError(
                f"the Dask cluster has had no worker for up to {WORKERS_TIMEOUT:g} s; start "
                "workers and run the ingest again: what was committed is kept",
                kind="scheduler",
            )


@contextmanager
def _in_touch() -> Iterator[None]:
    """Turn what Dask raises when its scheduler is gone into one clear error."""
    from concurrent.futures import CancelledError

    from distributed.comm.core import CommClosedError

    try:
        yield
    except (CancelledError, CommClosedError) as error:
        raise ThermocubeError(
            f"the Dask scheduler went away in mid-run ({type(error).__name__}); what was "
            "committed is kept: run the ingest again to go on",
            kind="scheduler",
        ) from error


def judge(desk: Desk, work: Work) -> Outcome:
    """Read and judge one scene; runs on a worker."""
    return desk.judge(work)


def _reason(error: Exception) -> str:
    attempts = getattr(error, "allowed_failures", 3) + 1
    return (
        f"{attempts} Dask workers died while they read this scene, most likely of too little "
        "memory; give the workers more, or fewer threads each"
    )


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """Connect to a scheduler that has a worker.

    Raises
    ------
    ThermocubeError
        ``scheduler`` if none answers, or it has no worker.
    """
    from distributed import Client

    try:
        client = Client(address, timeout=CONNECT_TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ThermocubeError(
            f"no Dask scheduler answers at {address}: {error}; check the address "
            "(tcp://host:8786), or leave --scheduler out to work with threads",
            kind="scheduler",
        ) from error
    with _told_once(), client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_TIMEOUT)
        except TimeoutError as error:
            raise ThermocubeError(
                f"the Dask scheduler at {address} has no worker after {CONNECT_TIMEOUT:g} s; "
                "start workers and run again",
                kind="scheduler",
            ) from error
        yield client


@contextmanager
def _told_once() -> Iterator[None]:
    """Keep the client from logging the trace of a lost scheduler, which is an error of ours."""
    loggers = [logging.getLogger(f"distributed.{name}") for name in ("client", "batched")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def local_cluster(processes: int) -> Iterator[Client]:
    """A cluster of processes on this machine, one scene each at a time.

    One thread a process: a scene that takes its process down takes no other with it.
    """
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=processes,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client
