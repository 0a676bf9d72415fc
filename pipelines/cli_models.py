"""The commands around networks: train, predict, evaluate, report, demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli_settings import Given, RecipeFile, parse_settings
from pipelines.console import emit, epoch_line, progress

if TYPE_CHECKING:
    from pipelines.predict import PredictTally

RegionFile = Annotated[Path, typer.Argument(help="Region file (TOML).", metavar="REGION.toml")]
ModelFolder = Annotated[Path, typer.Argument(help="Model folder.", metavar="MODEL")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


def train(
    regions: Annotated[
        list[Path], typer.Argument(help="Region files (TOML); mostly one.", metavar="REGION.toml")
    ],
    model: ModelFolder,
    settings: Given = None,
    recipe: RecipeFile = None,
    held_out: Annotated[
        str | None,
        typer.Option(help="Of several regions the one to test on.", metavar="REGION"),
    ] = None,
    validation: Annotated[
        str,
        typer.Option(help="Of several regions the one to validate on, or a share of each."),
    ] = "0.15",
    folds: Annotated[
        int | None,
        typer.Option(min=3, help="Train and score so many networks, each block tested once."),
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Go on where a stopped training was; keep checkpoints.")
    ] = True,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Folder for TensorBoard's logs.", metavar="FOLDER")
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(help="Model folder to begin with the weights of.", metavar="MODEL"),
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Train a network on a cube and save it as a model folder.

    Without settings: a small CNN U-Net on all bands of the thermal group, spatial blocks with a
    buffer of one patch. Stopped and started again with the same settings, it goes on where it was.

    Example: thermocube train la.toml models/unet -s season=summer -s epochs=30

    A ConvLSTM on sequences: -s network=convlstm-small -s sequence.length=5 -s sequence.stride=3

    Another place: thermocube train a.toml b.toml c.toml models/abc --held-out c

    On from another region: thermocube train b.toml models/b --recipe models/a/recipe.toml
    --start models/a -s learning_rate=1e-4
    """
    chosen = parse_settings(settings or [], recipe)
    if folds is not None:
        if len(regions) > 1 or held_out or tensorboard or start:
            raise typer.BadParameter(
                "--folds takes one region, no --held-out, no --tensorboard and no --start"
            )
        _cross_validate(regions[0], model, chosen, folds, overwrite=overwrite, json=json)
        return
    from pipelines.train import train as run

    with progress("train", quiet=json) as tell:
        folder = run(
            _cubes(regions),
            model,
            chosen,
            held_out=held_out,
            validation=_share_or_region(validation),
            overwrite=overwrite,
            resume=resume,
            on_epoch=lambda epoch, logs: tell(epoch, chosen.epochs, epoch_line(logs)),
            tensorboard=tensorboard,
            start=start,
        )
    emit({"model": str(folder)}, f"model: {folder}", json=json)


def _cubes(regions: list[Path]) -> Any:
    """The cube of one region, or those of several by name."""
    from cube.store import Cube

    cubes = {cube.name: cube for cube in map(Cube.open, regions)}
    if len(cubes) < len(regions):
        raise typer.BadParameter(f"two regions have the same name; they are {', '.join(cubes)}")
    return cubes if len(cubes) > 1 else next(iter(cubes.values()))


def _share_or_region(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _cross_validate(
    region: Path, folder: Path, settings: Any, folds: int, *, overwrite: bool, json: bool
) -> None:
    from cube.store import Cube
    from pipelines.cross_validate import cross_validate
    from pipelines.scorecard import format_cross_validation

    with progress("train", quiet=json) as tell:
        result = cross_validate(
            Cube.open(region),
            folder,
            settings,
            folds=folds,
            overwrite=overwrite,
            on_epoch=lambda fold, epoch, logs: tell(
                (fold - 1) * settings.epochs + epoch,
                folds * settings.epochs,
                f"fold {fold}: {epoch_line(logs)}",
            ),
        )
    emit(result.to_dict(), format_cross_validation(result), f"\nmodels: {folder}", json=json)


def predict(
    region: RegionFile,
    model: ModelFolder,
    run: Annotated[str | None, typer.Option(help="Name of the run; default: the model's.")] = None,
    probability: Annotated[bool, typer.Option(help="Keep all class probabilities too.")] = False,
    entropy: Annotated[bool, typer.Option(help="Keep their entropy too.")] = False,
    tta: Annotated[
        bool, typer.Option(help="Average over the eight symmetries of the square.")
    ] = False,
    mc_dropout: Annotated[
        int,
        typer.Option(min=0, help="Passes with dropout left on, for uncertainty.", metavar="N"),
    ] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Patches a call of the network.")] = 32,
    stride: Annotated[
        int | None,
        typer.Option(min=1, help="Pixels from one patch to the next; default: half a patch."),
    ] = None,
    step: Annotated[int, typer.Option(min=1, help="Dates from one sequence to the next.")] = 1,
    overwrite: Overwrite = False,
    workers: Annotated[
        int, typer.Option(min=1, help="Threads that read and blend around the network.")
    ] = 2,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Dask scheduler whose workers map instead.", metavar="ADDRESS"),
    ] = None,
    dask: Annotated[
        int | None, typer.Option(min=1, help="Processes on this machine that map instead.")
    ] = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder for unfinished work; default: beside the cube.")
    ] = None,
    json: Json = False,
) -> None:
    """Map every date of a cube; write class and confidence to /predictions/RUN.

    Stopped and started again with the same options, it goes on where it was.

    Example: thermocube predict la.toml models/unet --tta --dask 2
    """
    from contextlib import nullcontext

    from cube.store import Cube
    from pipelines.cluster import local_cluster
    from pipelines.predict import PredictTally
    from pipelines.predict import predict as job

    if scheduler and dask:
        raise typer.BadParameter("give either --scheduler or --dask")
    tally = PredictTally()
    with (
        local_cluster(dask) if dask else nullcontext(scheduler) as client,
        progress("predict", quiet=json) as tell,
    ):
        name = job(
            Cube.open(region),
            model,
            run=run,
            batch_size=batch,
            stride=stride,
            step=step,
            probability=probability,
            entropy=entropy,
            tta=tta,
            mc_dropout=mc_dropout,
            overwrite=overwrite,
            client=client,
            workers=workers,
            work=work,
            on_scene=lambda done, total: tell(done, total, "scenes x windows"),
            tally=tally,
        )
    emit(tally.to_dict(), _told_of(name, tally), json=json)


def _told_of(run: str, tally: PredictTally) -> str:
    resumed = f", {tally.resumed} of {tally.units} pieces resumed" if tally.resumed else ""
    return (
        f"run: {run}, in /predictions/{run} of the cube: {tally.mapped} of {tally.scenes} dates, "
        f"{tally.chunks} chunks{resumed}, {tally.seconds:.1f} s"
    )


def evaluate(
    region: RegionFile,
    model: ModelFolder,
    run: Annotated[str | None, typer.Option(help="Name of the run; default: the model's.")] = None,
    json: Json = False,
) -> None:
    """Score a run on ground the network never saw, beside two baselines.

    Example: thermocube evaluate la.toml models/unet
    """
    from cube.store import Cube
    from pipelines.evaluate import evaluate as work
    from pipelines.scorecard import format_evaluation

    result = work(Cube.open(region), run or model.resolve().name, model)
    emit(result.to_dict(), format_evaluation(result), json=json)


def report(
    region: RegionFile,
    path: Annotated[Path, typer.Argument(help="HTML file to write.", metavar="REPORT.html")],
    model: Annotated[Path | None, typer.Option(help="Model folder, for curves and scores.")] = None,
    run: Annotated[str | None, typer.Option(help="Name of the run; default: the model's.")] = None,
) -> None:
    """Write a page with maps, scene coverage, training curves and scores.

    Example: thermocube report la.toml report.html --model models/unet
    """
    from cube.store import Cube
    from pipelines.report import write_report

    write_report(Cube.open(region), path, run=run, model=model)
    emit({"report": str(path)}, f"wrote {path}", json=False)


def demo(
    folder: Annotated[Path, typer.Argument(help="Folder to work in; made if not there.")] = Path(
        "demo"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the simulated region.")] = 7,
    json: Json = False,
) -> None:
    """Run the whole loop on a simulated region, offline, in a few minutes.

    Example: thermocube demo demo
    """
    from pipelines.demo import run_demo

    run_demo(folder, seed=seed, json=json)
