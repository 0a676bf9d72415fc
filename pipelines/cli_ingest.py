"""The commands that make regions and bring imagery in: ``init``, ``plan``, ``ingest``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.console import EXIT_FAILED, EXIT_WITH_FAILURES, emit, progress

if TYPE_CHECKING:
    from distributed import Client

    from cube.region import Region
    from pipelines.plan import Plan
    from pipelines.scope import Scope
    from pipelines.tally import IngestReport

RegionFile = Annotated[
    Path | None, typer.Argument(help="Region file (TOML).", metavar="[REGION.toml]")
]
All = Annotated[
    Path | None,
    typer.Option("--all", help="Instead: every region file of a folder.", metavar="FOLDER"),
]
Since = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d"], help="First day to look at (UTC).", metavar="DATE"),
]
Until = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d"], help="Last day to look at, included.", metavar="DATE"),
]
Only = Annotated[
    list[str] | None,
    typer.Option(help="Source to look at, by its name; may be repeated.", metavar="SOURCE"),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]


def init(
    path: Annotated[Path, typer.Argument(help="Region file to write.", metavar="REGION.toml")],
    start: Annotated[str, typer.Option(help="First day, YYYY-MM-DD.")],
    bbox: Annotated[str | None, typer.Option(help="West,south,east,north in degrees.")] = None,
    polygon: Annotated[
        Path | None, typer.Option(help="File with polygons (any CRS); their bounds are taken.")
    ] = None,
    granules: Annotated[
        Path, typer.Option(help="Folder with ECOSTRESS granules, relative to the region file.")
    ] = Path("granules"),
    force: Annotated[bool, typer.Option(help="Replace a file that is there.")] = False,
) -> None:
    """Write a region file for a lon/lat box or a polygon file; the grid is its UTM zone.

    Example: thermocube init la.toml --bbox=-118.5,33.8,-118.1,34.2 --start 2023-06-01
    """
    from pipelines.starter import box_of, write_region

    if (bbox is None) == (polygon is None):
        raise typer.BadParameter("give either --bbox or --polygon")
    box = box_of(polygon) if polygon else str(bbox)
    region = write_region(path, box, start, granules, force=force)
    emit(
        {"region": region.name, "file": str(path)},
        f"wrote {path}: {region.grid.shape.x} x {region.grid.shape.y} px of "
        f"{region.area.resolution:g} m in {region.grid.crs}",
        json=False,
    )


def plan(
    region: RegionFile = None,
    every: All = None,
    since: Since = None,
    until: Until = None,
    only: Only = None,
    json: Json = False,
) -> None:
    """Say what an ingest would do; write nothing.

    Example: thermocube plan regions/los-angeles.toml --since 2024-06-01
    """
    _plan(region, every, _scope(since, until, only), json=json)


def ingest(
    region: RegionFile = None,
    every: All = None,
    since: Since = None,
    until: Until = None,
    only: Only = None,
    dry_run: Annotated[bool, typer.Option(help="Only print the plan.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read scenes.")] = 2,
    batch: Annotated[int, typer.Option(min=1, help="Scenes a commit.")] = 8,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Dask scheduler whose workers read instead.", metavar="ADDRESS"),
    ] = None,
    dask: Annotated[
        int | None, typer.Option(min=1, help="Processes on this machine that read instead.")
    ] = None,
    json: Json = False,
) -> None:
    """Bring the region's cube up to date with its sources.

    Safe to run again at any time: what is there is skipped, what failed is tried again.

    Example: thermocube ingest --all regions --scheduler tcp://dask:8786
    """
    from pipelines.ingest import ingest as run

    scope = _scope(since, until, only)
    if dry_run:
        _plan(region, every, scope, json=json)
        return
    if scheduler and dask:
        raise typer.BadParameter("give either --scheduler or --dask")
    file = one_of(region, every)
    with _client(scheduler, dask) as client:

        def one(loaded: Region) -> IngestReport:
            with progress(loaded.name, quiet=json) as tell:
                return run(
                    loaded, client=client, workers=workers, batch=batch, scope=scope, progress=tell
                )

        if every:
            _ingest_all(every, one, json=json)
        else:
            _ingest_one(file, one, json=json)


def _ingest_one(file: Path, job: Callable[[Region], IngestReport], *, json: bool) -> None:
    from cube.region import Region
    from pipelines.cli_show import show_ingest

    report = job(Region.load(file))
    show_ingest(report, json=json)
    if report.failures:
        raise typer.Exit(EXIT_WITH_FAILURES)


def _ingest_all(folder: Path, job: Callable[[Region], IngestReport], *, json: bool) -> None:
    from pipelines.fleet import exit_code, for_each, regions_in, show_ingests

    entries = list(for_each(regions_in(folder), job))
    show_ingests(entries, json=json)
    raise typer.Exit(exit_code(entries))


def _plan(region: Path | None, every: Path | None, scope: Scope, *, json: bool) -> None:
    from cube.region import Region
    from pipelines.cli_show import show_plan
    from pipelines.fleet import for_each, regions_in, show_plans
    from pipelines.ingest import plan as make

    file = one_of(region, every)
    if every is None:
        loaded = Region.load(file)
        show_plan(loaded, make(loaded, scope=scope), json=json)
        return

    def one(loaded: Region) -> tuple[Region, Plan]:
        return loaded, make(loaded, scope=scope)

    entries = list(for_each(regions_in(every), one))
    show_plans(entries, json=json)
    if any(entry.failed for entry in entries):
        raise typer.Exit(EXIT_FAILED)


def one_of(region: Path | None, every: Path | None) -> Path:
    """The region file, if there is no folder of them; one of the two must be given."""
    if (region is None) == (every is None):
        raise typer.BadParameter("give either a region file or --all FOLDER")
    return region or Path()


def _scope(since: datetime | None, until: datetime | None, only: list[str] | None) -> Scope:
    from pipelines.scope import Scope

    return Scope(since and since.date(), until and until.date(), tuple(only or ()))


@contextmanager
def _client(scheduler: str | None, processes: int | None) -> Iterator[Client | str | None]:
    from pipelines.cluster import local_cluster

    if processes is None:
        yield scheduler
    else:
        with local_cluster(processes) as client:
            yield client
