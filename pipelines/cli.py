"""The ``thermocube`` command: thin wrappers over the functions of the same names."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cube.errors import RegionError, ThermocubeError
from pipelines import cli_models, cli_show
from pipelines.console import EXIT_BAD_USAGE, EXIT_FAILED, EXIT_WITH_FAILURES, emit, error, progress

app = typer.Typer(
    name="thermocube",
    help="Thermal Earth-observation datacubes: granules in, networks through, maps out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

RegionFile = Annotated[Path, typer.Argument(help="Region file (TOML).", metavar="REGION.toml")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]


@app.callback()
def _start(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log to stderr.")] = False,
) -> None:
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="Region file to write.", metavar="REGION.toml")],
    bbox: Annotated[str, typer.Option(help="West,south,east,north in degrees.")],
    start: Annotated[str, typer.Option(help="First day, YYYY-MM-DD.")],
    granules: Annotated[
        Path, typer.Option(help="Folder with ECOSTRESS granules, relative to the region file.")
    ] = Path("granules"),
    force: Annotated[bool, typer.Option(help="Replace a file that is there.")] = False,
) -> None:
    """Write a region file for a lon/lat box; the grid is its UTM zone.

    Example: thermocube init la.toml --bbox=-118.5,33.8,-118.1,34.2 --start 2023-06-01
    """
    from pipelines.starter import write_region

    region = write_region(path, bbox, start, granules, force=force)
    emit(
        {"region": region.name, "file": str(path)},
        f"wrote {path}: {region.grid.shape.x} x {region.grid.shape.y} px of "
        f"{region.area.resolution:g} m in {region.grid.crs}",
        json=False,
    )


@app.command()
def plan(region: RegionFile, json: Json = False) -> None:
    """Say what an ingest would do; write nothing.

    Example: thermocube plan regions/los-angeles.toml
    """
    from cube.region import Region
    from pipelines.ingest import plan as make

    loaded = Region.load(region)
    cli_show.show_plan(loaded, make(loaded), json=json)


@app.command()
def ingest(
    region: RegionFile,
    dry_run: Annotated[bool, typer.Option(help="Only print the plan.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read scenes.")] = 2,
    batch: Annotated[int, typer.Option(min=1, help="Scenes a commit.")] = 8,
    json: Json = False,
) -> None:
    """Bring the region's cube up to date with its sources.

    Safe to run again at any time: what is there is skipped, what failed is tried again.

    Example: thermocube ingest regions/los-angeles.toml
    """
    from cube.region import Region
    from pipelines.ingest import ingest as run
    from pipelines.ingest import plan as make

    loaded = Region.load(region)
    if dry_run:
        cli_show.show_plan(loaded, make(loaded), json=json)
        return
    with progress("ingest", quiet=json) as tell:
        report = run(loaded, workers=workers, batch=batch, progress=tell)
    cli_show.show_ingest(report, json=json)
    if report.failures:
        raise typer.Exit(EXIT_WITH_FAILURES)


@app.command()
def status(region: RegionFile, json: Json = False) -> None:
    """Show scenes, coverage through time, and every granule that is not in the cube and why.

    Example: thermocube status regions/los-angeles.toml
    """
    from cube.store import Cube

    cli_show.show_status(Cube.open(region), json=json)


@app.command()
def history(region: RegionFile, json: Json = False) -> None:
    """List the cube's commits, newest first.

    Example: thermocube history regions/los-angeles.toml
    """
    from cube.store import Cube

    cli_show.show_history(Cube.open(region), json=json)


@app.command()
def export(
    region: RegionFile,
    layer: Annotated[str, typer.Argument(help="group/variable, e.g. thermal/imagery.")],
    path: Annotated[Path, typer.Argument(help="GeoTIFF to write.")],
    band: Annotated[str | None, typer.Option(help="Band, e.g. lst.")] = None,
    time: Annotated[str | None, typer.Option(help="UTC time or date of the scene.")] = None,
) -> None:
    """Write one layer as a Cloud-Optimised GeoTIFF.

    Example: thermocube export la.toml thermal/imagery lst.tif --band lst --time 2023-06-22
    """
    from cube.store import Cube
    from pipelines.cli_show import export_layer

    export_layer(Cube.open(region), layer, path, band=band, time=time)
    emit({"file": str(path)}, f"wrote {path}", json=False)


app.command()(cli_models.train)
app.command()(cli_models.predict)
app.command()(cli_models.evaluate)
app.command()(cli_models.report)
app.command()(cli_models.demo)


def main() -> None:
    """Run the command; turn every error of the user's or the data's into one message."""
    # TensorFlow greets on stderr with what the processor can do; nobody asked.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        app()
    except RegionError as problem:
        error(problem)
        sys.exit(EXIT_BAD_USAGE)
    except ThermocubeError as problem:
        error(problem)
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.stderr.write("stopped; what was committed is kept, run again to go on\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
