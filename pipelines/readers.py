"""Who reads scenes: threads of this process, or the workers of a Dask cluster."""

from __future__ import annotations

import itertools
import uuid
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.cluster import Link, connected
from pipelines.outcome import Outcome
from pipelines.plan import Work
from pipelines.scenes import Desk

if TYPE_CHECKING:
    from distributed import Client


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
        self._link = Link(client, "what was committed is kept")

    def ahead(self) -> int:
        """Two scenes a worker thread, however many there are by now."""
        return 2 * self._link.threads()

    def submit(self, desk: Desk, work: Work) -> Any:
        """Send a scene and the few ledger rows it is judged by."""
        key = f"thermocube-scene-{uuid.uuid4().hex}"
        return self._link.submit(judge, desk.narrowed(work), work, key=key)

    def outcome(self, desk: Desk, work: Work, future: Any) -> Outcome:
        """Wait for a scene.

        Raises
        ------
        ThermocubeError
            ``scheduler`` if scheduler or workers went away.
        """
        from distributed import KilledWorker

        try:
            outcome: Outcome = self._link.answer(future)
        except KilledWorker as error:
            return desk.lost(work, _reason(error))
        return outcome


def judge(desk: Desk, work: Work) -> Outcome:
    """Read and judge one scene; runs on a worker."""
    return desk.judge(work)


def _reason(error: Exception) -> str:
    attempts = getattr(error, "allowed_failures", 3) + 1
    return (
        f"{attempts} Dask workers died while they read this scene, most likely of too little "
        "memory; give the workers more, or fewer threads each"
    )
