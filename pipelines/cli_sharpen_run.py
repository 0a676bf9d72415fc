"""The command that sharpens the LST of a cube."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.console import EXIT_WITH_FAILURES, emit, progress

if TYPE_CHECKING:
    from distributed import Client

    from pipelines.sharpen_run import SharpenTally


def run(
    region: Annotated[Path, typer.Argument(help="Region file (TOML).", metavar="REGION.toml")],
    method: Annotated[
        str, typer.Option(help="Of `sharpen evaluate`, of --model, or A+B.", metavar="NAME")
    ] = "local_slope",
    model: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of a trained method; repeat as needed.", metavar="FOLDER"),
    ] = None,
    name: Annotated[str | None, typer.Option("--run", help="Name of the result.")] = None,
    consistent: Annotated[
        bool, typer.Option("--consistent", help="Average back to the input exactly.")
    ] = False,
    days: Annotated[
        float, typer.Option(min=0, help="NDVI may be so much older or newer than LST.")
    ] = 8.0,
    time_of_day: Annotated[
        str | None, typer.Option(help="Only scenes by day, or by night.", metavar="day|night")
    ] = None,
    period: Annotated[
        str | None, typer.Option(help="Only scenes of a year, month or day.", metavar="2024-06")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Dask scheduler whose workers sharpen.", metavar="ADDRESS"),
    ] = None,
    dask: Annotated[
        int | None, typer.Option(min=1, help="Processes on this machine that sharpen.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Threads, without a scheduler.")] = 2,
    work: Annotated[
        Path | None, typer.Option(help="Folder for unfinished work; default: beside the cube.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run of that name.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document to stdout.")
    ] = False,
) -> None:
    """Sharpen the LST of a cube by its NDVI, into /sharpened/<run>.

    Stopped and started again with the same options, it goes on where it was.

    Example: thermocube sharpen run ebro.toml --method local_slope --time-of-day day

    By a trained network, exactly consistent: --model models/slope_net --method slope_net
    --consistent
    """
    from cube.store import Cube
    from pipelines.sharpen_run import folders, sharpen_cube

    if scheduler and dask:
        raise typer.BadParameter("give either --scheduler or --dask")
    rules = {"time_of_day": time_of_day, "period": period}
    with progress("sharpen", quiet=json) as tell, _client(scheduler, dask) as client:
        tally = sharpen_cube(
            Cube.open(region),
            method,
            models=folders(model or ()),
            run=name,
            consistent=consistent,
            days=days,
            wanted={key: value for key, value in rules.items() if value is not None},
            overwrite=overwrite,
            client=client,
            workers=workers,
            work=work,
            on_tile=tell,
        )
    emit(tally.to_dict(), *_told(tally), json=json)
    if tally.without:
        raise typer.Exit(EXIT_WITH_FAILURES)


@contextmanager
def _client(scheduler: str | None, processes: int | None) -> Iterator[Client | None]:
    from pipelines.cluster import connected, local_cluster

    if scheduler is not None:
        with connected(scheduler) as client:
            yield client
    elif processes is not None:
        with local_cluster(processes) as client:
            yield client
    else:
        yield None


def _told(tally: SharpenTally) -> list[Any]:
    lines = [
        f"{time}: misses its input by {rmse:.3f} K" for time, rmse in tally.consistency.items()
    ]
    lines += [f"{time}: no map: {reason}" for time, reason in tally.without.items()]
    again = f", {tally.resumed} of {tally.tiles} tiles were there" if tally.resumed else ""
    lines.append(f"sharpened/{tally.run}: {tally.scenes} scenes in {tally.seconds:.1f} s{again}")
    return lines
