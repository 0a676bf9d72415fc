"""Who sharpens tiles: threads, or the workers of a Dask cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from cube.errors import ThermocubeError
from pipelines.lattice import Window

if TYPE_CHECKING:
    from distributed import Client

Result = Callable[[Any], Any]


@dataclass(frozen=True)
class Pool:
    """Hands, and no more work in them than they need: memory does not grow with the scene."""

    submit: Callable[..., Any]
    result: Result
    ahead: int

    def run(self, jobs: Iterable[tuple[Window, tuple[Any, ...]]]) -> Iterator[tuple[Window, Any]]:
        """Results in order, by their windows.

        Raises
        ------
        ThermocubeError
            ``worker_lost`` if a tile takes down every worker, ``scheduler`` if the cluster went
            away.
        """
        pending: deque[tuple[Window, Any]] = deque()
        for window, call in jobs:
            pending.append((window, self.submit(*call)))
            if len(pending) >= self.ahead:
                done, future = pending.popleft()
                yield done, self.result(future)
        while pending:
            done, future = pending.popleft()
            yield done, self.result(future)


@contextmanager
def pool_of(client: Client | None, workers: int) -> Iterator[Pool]:
    """Threads, or the workers of a client."""
    if client is not None:
        hands = max(1, sum(client.nthreads().values()))
        yield Pool(partial(client.submit, pure=False), _from_cluster, 2 * hands)
        return
    with ThreadPoolExecutor(workers) as threads:
        yield Pool(threads.submit, lambda future: future.result(), workers + 1)


def _from_cluster(future: Any) -> Any:
    from distributed import KilledWorker
    from distributed.comm.core import CommClosedError

    try:
        return future.result()
    except KilledWorker as error:
        raise ThermocubeError(
            "several Dask workers died one after the other over one tile, most likely of too "
            "little memory; give them more, or fewer threads each, and run again",
            kind="worker_lost",
        ) from error
    except (CancelledError, CommClosedError) as error:
        raise ThermocubeError(
            f"the Dask scheduler went away in mid-run ({type(error).__name__}); nothing was "
            "committed: run again",
            kind="scheduler",
        ) from error
