"""Dask clusters: how to reach one, and one clear error when it is gone in the middle of a run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cube.errors import ThermocubeError

if TYPE_CHECKING:
    from distributed import Client

CONNECT_TIMEOUT = 30.0
"""Seconds in which a scheduler must answer, and a first worker be there."""

WORKERS_TIMEOUT = 300.0
"""Seconds without a single worker after which a run gives up; what is done is kept."""


@dataclass(frozen=True)
class Link:
    """A cluster as jobs of all kinds use it."""

    client: Client
    kept: str
    """What a user is told that a lost run keeps, as in ``what was committed is kept``."""

    def threads(self) -> int:
        """Of all workers there are by now.

        Raises
        ------
        ThermocubeError
            ``scheduler`` if the scheduler went away.
        """
        if self.client.status != "running":
            # It would be asked for half a minute in vain; jobs under way are lost already.
            raise self._lost("connection closed")
        try:
            with self._in_touch():
                return sum(self.client.nthreads().values())
        except OSError as error:  # of a connection that cannot be had again
            raise self._lost(type(error).__name__) from error

    def submit(self, function: Any, *arguments: Any, **options: Any) -> Any:
        """Send a job that gives no answer twice; returns its future.

        Raises
        ------
        ThermocubeError
            ``scheduler`` if the scheduler went away.
        """
        with self._in_touch():
            return self.client.submit(function, *arguments, pure=False, **options)

    def answer(self, future: Any) -> Any:
        """Wait for a job, not for ever if all workers are gone.

        Raises
        ------
        ThermocubeError
            ``scheduler`` if scheduler or workers went away.
        distributed.KilledWorker
            If the job takes down one worker after the other.
        """
        while True:
            try:
                with self._in_touch():
                    return future.result(timeout=WORKERS_TIMEOUT)
            except TimeoutError:
                self._require_workers()

    def _require_workers(self) -> None:
        if not self.threads():
            raise ThermocubeError(
                f"the Dask cluster has had no worker for up to {WORKERS_TIMEOUT:g} s; start "
                f"workers and run again: {self.kept}",
                kind="scheduler",
            )

    @contextmanager
    def _in_touch(self) -> Iterator[None]:
        from distributed.comm.core import CommClosedError

        try:
            yield
        except (CancelledError, CommClosedError) as error:
            raise self._lost(type(error).__name__) from error

    def _lost(self, how: str) -> ThermocubeError:
        return ThermocubeError(
            f"the Dask scheduler went away in mid-run ({how}); {self.kept}: run again to go on",
            kind="scheduler",
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
