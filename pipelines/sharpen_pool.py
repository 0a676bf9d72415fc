"""Who sharpens tiles: threads, or the workers of a Dask cluster."""

from __future__ import annotations

import itertools
import pickle
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from cube.errors import ThermocubeError
from pipelines.cluster import Link
from pipelines.lattice import Window

if TYPE_CHECKING:
    from distributed import Client

Job = tuple[Window, tuple[Any, ...]]
"""A window, and a function with its arguments."""


class Hands(Protocol):
    """Those who work."""

    def ahead(self) -> int:
        """Jobs that keep everyone busy."""
        ...

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Begin a job; returns a future."""
        ...

    def result(self, window: Window, future: Any) -> Any:
        """Wait for a job."""
        ...


class Pool:
    """Hands, and no more work in them than they need: memory does not grow with the scene."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands

    def run(self, jobs: Iterable[Job]) -> Generator[tuple[Window, Any]]:
        """Results in order, by their windows. Closing cancels what was not yet begun.

        Raises
        ------
        ThermocubeError
            ``worker_lost`` if a tile takes down every worker, ``scheduler`` if the cluster went
            away.
        """
        rest = iter(jobs)
        pending: deque[tuple[Window, Any]] = deque()
        try:
            while True:
                free = max(0, max(1, self._hands.ahead()) - len(pending))  # A cluster may shrink.
                for window, call in itertools.islice(rest, free):
                    pending.append((window, self._hands.submit(*call)))
                if not pending:
                    return
                window, future = pending.popleft()
                yield window, self._hands.result(window, future)
        finally:
            for _, future in pending:
                future.cancel()


@contextmanager
def pool_of(client: Client | None, workers: int) -> Iterator[Pool]:
    """Threads, or the workers of a client."""
    if client is not None:
        yield Pool(Cluster(client))
        return
    threads = ThreadPoolExecutor(workers, thread_name_prefix="thermocube-sharpen")
    try:
        yield Pool(Threads(threads, workers))
    finally:
        threads.shutdown(cancel_futures=True)


class Threads:
    """Threads of this process."""

    def __init__(self, threads: ThreadPoolExecutor, workers: int) -> None:
        self._threads = threads
        self._workers = workers

    def ahead(self) -> int:
        """One job a thread, and one waiting."""
        return self._workers + 1

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Queue a job."""
        return self._threads.submit(function, *arguments)

    def result(self, window: Window, future: Any) -> Any:
        """Wait for a job."""
        return future.result()


class Cluster:
    """Workers of a Dask cluster, one task a job.

    A task changes nothing, so it may run twice, and a lost worker costs its tiles another run.
    """

    def __init__(self, client: Client) -> None:
        self._link = Link(client, "what is sharpened is kept")

    def ahead(self) -> int:
        """Two jobs a worker thread, however many there are by now."""
        return 2 * self._link.threads()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Send a job."""
        key = f"thermocube-sharpen-{uuid.uuid4().hex}"
        return self._link.submit(perform, pickle.dumps(function), *arguments, key=key)

    def result(self, window: Window, future: Any) -> Any:
        """Wait for a job.

        Raises
        ------
        ThermocubeError
            ``scheduler`` if scheduler or workers went away, ``worker_lost`` if the tile takes
            down every worker.
        """
        from distributed import KilledWorker

        try:
            return self._link.answer(future)
        except KilledWorker as error:
            rows, columns = window
            raise ThermocubeError(
                "several Dask workers died one after the other over the tile of rows "
                f"{rows.start}:{rows.stop}, columns {columns.start}:{columns.stop} of the "
                "LST, most likely of too little memory; give them more, or fewer threads "
                "each, and run again: what is sharpened is kept",
                kind="worker_lost",
            ) from error


def perform(function: bytes, *arguments: Any) -> Any:
    """Run a job on a worker, which opens the cube with the first and not again with each."""
    return _unpacked(function)(*arguments)


@lru_cache(maxsize=8)
def _unpacked(function: bytes) -> Any:
    return pickle.loads(function)
