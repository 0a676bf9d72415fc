"""The commands around networks: train, predict, evaluate, report, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cube.errors import ModelError
from pipelines.console import emit, epoch_line, progress

RegionFile = Annotated[Path, typer.Argument(help="Region file (TOML).", metavar="REGION.toml")]
ModelFolder = Annotated[Path, typer.Argument(help="Model folder.", metavar="MODEL")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


def train(
    region: RegionFile,
    model: ModelFolder,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            help="A training setting, e.g. -s patch=64 -s split.kind=time; repeat as needed.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Train a CNN U-Net on a cube and save it as a model folder.

    Without settings: the small preset on all bands of the thermal group, spatial blocks with a
    buffer of one patch.

    Example: thermocube train la.toml models/unet -s season=summer -s epochs=30
    """
    from cube.store import Cube
    from pipelines.train import train as run

    chosen = parse_settings(settings or [])
    with progress("train", quiet=json) as tell:
        folder = run(
            Cube.open(region),
            model,
            chosen,
            overwrite=overwrite,
            on_epoch=lambda epoch, logs: tell(epoch, chosen.epochs, epoch_line(logs)),
        )
    emit({"model": str(folder)}, f"model: {folder}", json=json)


def parse_settings(pairs: list[str]) -> Any:
    """Turn ``key=value`` and ``table.key=value`` into validated training settings.

    Raises
    ------
    ModelError
        Naming the setting that is wrong, and what is known.
    """
    import tomllib

    from pydantic import ValidationError

    from pipelines.recipe import TrainSettings

    tables: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign:
            raise ModelError(f"a setting is given as key=value, not {pair!r}")
        try:
            parsed = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed = value
        *parents, name = key.strip().split(".")
        table = tables
        for parent in parents:
            table = table.setdefault(parent, {})
        table[name] = parsed
    try:
        return TrainSettings.model_validate(tables)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(map(str, problem['loc']))}: {problem['msg']}"
            for problem in error.errors()
        ]
        known = ", ".join(TrainSettings.model_fields)
        raise ModelError(
            "training settings:\n" + "\n".join(lines) + f"\nthe settings are {known}"
        ) from None


def predict(
    region: RegionFile,
    model: ModelFolder,
    run: Annotated[str | None, typer.Option(help="Name of the run; default: the model's.")] = None,
    probability: Annotated[bool, typer.Option(help="Keep all class probabilities too.")] = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Map every date of a cube; write class and confidence to /predictions/RUN.

    Example: thermocube predict la.toml models/unet
    """
    from cube.store import Cube
    from pipelines.predict import predict as work

    with progress("predict", quiet=json) as tell:
        name = work(
            Cube.open(region),
            model,
            run=run,
            probability=probability,
            overwrite=overwrite,
            on_scene=lambda done, total: tell(done, total, "scenes x chunks"),
        )
    emit({"run": name}, f"run: {name}, in /predictions/{name} of the cube", json=json)


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
