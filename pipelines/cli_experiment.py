"""The commands around experiments: run one, list its runs, copy a built-in one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cube.errors import ModelError
from pipelines.console import EXIT_WITH_FAILURES, emit, progress

if TYPE_CHECKING:
    from pipelines.experiment import Experiment
    from pipelines.experiment_run import Study

app = typer.Typer(help="Region x network x data set x split from one file.", no_args_is_help=True)

Which = Annotated[
    str,
    typer.Argument(help="thesis, ablation, or an experiment file (TOML).", metavar="EXPERIMENT"),
]
Regions = Annotated[
    list[Path] | None,
    typer.Argument(help="Region files; by default those of the file.", metavar="REGION.toml"),
]
Size = Annotated[str | None, typer.Option(help="Size of the runs; default: the file's first.")]
Only = Annotated[
    list[str] | None,
    typer.Option(help="Only such runs, e.g. --only network=cnn --only data_set=thermal,day."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]


@app.callback()
def _group() -> None:
    """Region x network x data set x split from one file."""


@app.command()
def run(
    experiment: Which,
    regions: Regions = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder of the study.", metavar="FOLDER")],
    preset: Size = None,
    only: Only = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace runs made with other settings.")
    ] = False,
    json: Json = False,
) -> None:
    """Train, map and score every run; write tables and a page.

    Stopped and started again it goes on where it was. Runs that a cube has no data for are
    listed with the reason.

    Example: thermocube experiment run thesis puertollano.toml santa.toml --out studies/thesis

    A first look: --preset tiny --only data_set=thermal
    """
    from pipelines.experiment import Experiment
    from pipelines.experiment_run import run_experiment

    loaded = Experiment.load(experiment)
    with progress("experiment", quiet=json) as tell:
        study = run_experiment(
            loaded,
            _cubes(loaded, experiment, regions),
            out,
            preset=preset,
            only=_axes(only),
            overwrite=overwrite,
            on_step=tell,
        )
    emit(study.to_dict(), *_told(study), json=json)
    if study.failed:
        raise typer.Exit(EXIT_WITH_FAILURES)


@app.command()
def show(
    experiment: Which,
    regions: Regions = None,
    *,
    preset: Size = None,
    only: Only = None,
    json: Json = False,
) -> None:
    """List the runs of an experiment; trains nothing, and opens no cube.

    Example: thermocube experiment show ablation puertollano.toml --preset small
    """
    from cube.region import Region
    from pipelines.experiment import Experiment
    from pipelines.experiment_tasks import tasks

    loaded = Experiment.load(experiment)
    names = [Region.load(file).name for file in _files(loaded, experiment, regions)]
    slugs = [task.slug for task in tasks(loaded, names, preset, _axes(only))]
    emit({"runs": slugs}, *slugs, f"{len(slugs)} runs", json=json)


@app.command()
def copy(
    experiment: Which,
    file: Annotated[Path, typer.Argument(help="File to write.", metavar="FILE.toml")],
) -> None:
    """Write a built-in experiment to a file, to be changed.

    Example: thermocube experiment copy thesis my-thesis.toml
    """
    from pipelines.experiment import experiment_text

    text, _ = experiment_text(experiment)
    if file.exists():
        raise ModelError(f"{file} is there already; give another name")
    file.write_text(text, encoding="utf-8")
    emit({"file": str(file)}, f"wrote {file}", json=False)


def _files(loaded: Experiment, where: str, given: list[Path] | None) -> list[Path]:
    files = given or loaded.region_files(where)
    if not files:
        raise typer.BadParameter(
            f"experiment {loaded.name!r} names no regions; give region files after its name"
        )
    return files


def _cubes(loaded: Experiment, where: str, given: list[Path] | None) -> Any:
    from cube.store import Cube

    files = _files(loaded, where, given)
    cubes = {cube.name: cube for cube in map(Cube.open, files)}
    if len(cubes) < len(files):
        raise typer.BadParameter(f"two regions have the same name; they are {', '.join(cubes)}")
    return cubes


def _axes(pairs: list[str] | None) -> dict[str, list[str]]:
    axes: dict[str, list[str]] = {}
    for pair in pairs or ():
        axis, sign, names = pair.partition("=")
        if not sign:
            raise typer.BadParameter(f"--only takes AXIS=NAME,NAME, not {pair!r}")
        axes.setdefault(axis, []).extend(names.split(","))
    return axes


def _told(study: Study) -> list[str]:
    from pipelines.experiment_tables import headline

    again = f"{study.resumed} runs from before, {study.trained} now"
    return [*headline(study.rows), f"{again}; tables and page: {study.folder}"]
