"""Ingest: read the planned scenes, screen them, and commit them in bounded batches."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from cube.errors import CubeNotFoundError, StoreError
from cube.labels import rasterise
from cube.ledger import Ledger
from cube.region import Region
from cube.store import Cube
from pipelines.committer import PATIENCE, Committer, told
from pipelines.plan import Plan, make_plan
from pipelines.readers import readers
from pipelines.scope import Scope, search
from pipelines.tally import Failure, IngestReport, Tally

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Failure", "IngestReport", "Scope", "ingest", "plan"]

log = logging.getLogger("thermocube.ingest")

BATCH = 8
"""Scenes a commit: bounds memory, and what a crash costs."""

Progress = Callable[[int, int, str], None]
"""Called with scenes done, scenes planned, and a line about the last one."""


def plan(region: Region, *, scope: Scope | None = None) -> Plan:
    """Search the sources and say what `ingest` would do; writes nothing.

    Parameters
    ----------
    region
        The validated region file.
    scope
        Days and sources to look at; all by default.

    Raises
    ------
    RegionError
        If the scope does not fit the region.
    SourceError
        If a source cannot be searched.
    """
    scope = scope or Scope()
    return make_plan(region, search(region, scope), _ledger(region), scope)


def _ledger(region: Region) -> Ledger:
    try:
        return Cube.open(region).ledger
    except CubeNotFoundError:
        return Ledger()


def ingest(
    region: Region,
    *,
    client: Client | str | None = None,
    workers: int = 2,
    batch: int = BATCH,
    scope: Scope | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Bring a region's cube up to date with its sources.

    Running it twice is running it once; killed at any moment it leaves whole scenes only, and the
    next run goes on from there. Two runs on one region at once share the work.

    Parameters
    ----------
    region
        The validated region file; the cube is made if it is not there.
    client
        Dask client, or a scheduler's address, whose workers read the scenes. They must see the
        granules under the same paths; only this process writes to the cube.
    workers
        Without a client, threads that read scenes.
    batch
        Scenes a commit; also what is held in memory, beside the scenes being read.
    scope
        Days and sources to look at; all by default. The rest of the cube is left as it is.
    progress
        Told of every scene.

    Raises
    ------
    RegionError
        If the scope does not fit the region.
    SourceError
        If a source cannot be searched; the cube stays as it is.
    StoreError, GridError
        If the cube cannot be written or does not fit the region file.
    ThermocubeError
        ``scheduler`` if the Dask cluster cannot be reached or went away.
    """
    started = monotonic()
    scope = scope or Scope()
    found = search(region, scope)
    cube = _opened(region)
    tally = Tally()
    labels = write_labels(cube, region, tally)
    committer = Committer(region, cube, found, scope, tally, batch, progress)
    with readers(client, workers) as pool:
        committer.run(pool)
    return IngestReport(
        region.name,
        cube.location,
        cube.snapshot,
        dict(tally.scenes),
        dict(tally.granules),
        {status.value: count for status, count in committer.ledger.count().items()},
        tuple(failure for _, failure in sorted(tally.failures.items())),
        tally.commits,
        labels,
        tally.bytes_read,
        round(monotonic() - started, 3),
    )


def _opened(region: Region) -> Cube:
    with told(region.location):
        try:
            return Cube.create(region)
        except StoreError as error:
            if error.kind != "conflict":
                raise
            # On an object store another job may have made the cube at the same moment.
            return Cube.create(region)


def write_labels(cube: Cube, region: Region, tally: Tally) -> str:
    """Rasterise the region's label map into the cube, if it is not the one that is there.

    Returns
    -------
    str
        A line about what was done; empty if the region has no labels.
    """
    if region.labels is None:
        return ""
    labels = rasterise(region.labels, region.grid)
    lineage = {"job": "labels", "region": region.name}
    for _ in range(PATIENCE):
        if "labels" in cube.groups() and cube.dataset("labels", chunks=None).load().equals(labels):
            return "label map unchanged"
        try:
            with told(cube.location), cube.transaction("write label map", lineage) as change:
                change.write("labels", labels)
        except StoreError as error:
            if error.kind != "conflict":
                raise
            cube.refresh()
        else:
            break
    tally.commits += 1
    return "label map written"
