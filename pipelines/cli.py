"""The ``thermocube`` command: thin wrappers over the functions of the same names."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cube.errors import RegionError, ThermocubeError
from pipelines import (
    cli_experiment,
    cli_ingest,
    cli_models,
    cli_sharpen,
    cli_show,
    cli_study,
    cli_tune,
    cli_upkeep,
)
from pipelines.console import EXIT_BAD_USAGE, EXIT_FAILED, EXIT_STOPPED, error

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


app.command()(cli_ingest.init)
app.command()(cli_ingest.plan)
app.command()(cli_ingest.ingest)


@app.command()
def status(
    region: cli_ingest.RegionFile = None, every: cli_ingest.All = None, json: Json = False
) -> None:
    """Show scenes, coverage through time, and every granule that is not in the cube and why.

    Example: thermocube status regions/los-angeles.toml
    """
    from cube.store import Cube
    from pipelines.fleet import for_each, regions_in, show_statuses

    file = cli_ingest.one_of(region, every)
    if every is None:
        cli_show.show_status(Cube.open(file), json=json)
        return
    entries = list(
        for_each(regions_in(every), lambda loaded: cli_show.status_document(Cube.open(loaded)))
    )
    show_statuses(entries, json=json)
    if any(entry.failed for entry in entries):
        raise typer.Exit(EXIT_FAILED)


@app.command()
def history(region: RegionFile, json: Json = False) -> None:
    """List the cube's commits, newest first.

    Example: thermocube history regions/los-angeles.toml
    """
    from cube.store import Cube

    cli_show.show_history(Cube.open(region), json=json)


app.command()(cli_upkeep.check)
app.command()(cli_upkeep.rollback)
app.command()(cli_upkeep.expire)
app.command()(cli_upkeep.export)
app.command()(cli_models.train)
app.command()(cli_tune.tune)
app.command()(cli_models.predict)
app.command()(cli_models.evaluate)
app.command()(cli_models.report)
app.command()(cli_models.demo)
app.add_typer(cli_experiment.app, name="experiment")
app.add_typer(cli_sharpen.app, name="sharpen")
app.add_typer(cli_study.app, name="study")


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
    except SystemExit as ended:
        # What typer makes of an interrupt (Ctrl-C).
        if ended.code == EXIT_STOPPED:
            sys.stderr.write("stopped; what was committed is kept, run again to go on\n")
        raise


if __name__ == "__main__":
    main()
