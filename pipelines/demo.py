"""The whole loop on a simulated region: granules, cube, network, map, report."""

from __future__ import annotations

import shutil
from pathlib import Path

from rich.text import Text

from cube.errors import ThermocubeError
from cube.region import Region
from cube.splits import SplitSettings
from cube.store import Cube
from pipelines.console import emit, epoch_line, progress
from pipelines.evaluate import evaluate
from pipelines.ingest import ingest
from pipelines.predict import predict
from pipelines.recipe import TrainSettings
from pipelines.report import write_report
from pipelines.scorecard import format_evaluation
from pipelines.simulate import SimulationSettings, deliver_late, simulate
from pipelines.train import train

MARKER = ".thermocube-demo"
"""Lies in a folder that the demo made and may clear."""

# Small patches: the simulated region has few units, and a network that sees far learns which unit
# lies beside which instead of what they are made of.
SETTINGS = TrainSettings(
    patch=16,
    stride=16,
    epochs=10,
    batch_size=64,
    learning_rate=2e-3,
    split=SplitSettings(kind="blocks", fractions=(0.6, 0.15, 0.25)),
)


def run_demo(folder: Path, *, seed: int, json: bool = False) -> None:
    """Simulate, ingest, deliver late granules, ingest again, train, predict, evaluate, report.

    Parameters
    ----------
    folder
        Cleared if an earlier demo made it; refused if it holds something else.
    seed
        Of the simulated region.
    json
        Print the scores as JSON, and no progress.

    Raises
    ------
    ThermocubeError
        If the folder holds something that is not a demo's.
    """
    _clear(folder)
    settings = SimulationSettings(seed=seed)
    _say("simulating granules in the products' own formats", json)
    granules = folder / "granules"
    simulation = simulate(granules, settings)
    region = Region.load(simulation.region)
    _ingest(region, "ingest", json)
    deliver_late(granules, settings)
    _say("a late granule and a reprocessed one arrived", json)
    _ingest(region, "ingest again", json)
    cube = Cube.open(region)
    model = folder / "model"
    with progress("train", quiet=json) as tell:
        train(
            cube,
            model,
            SETTINGS,
            on_epoch=lambda epoch, logs: tell(epoch, SETTINGS.epochs, epoch_line(logs)),
        )
    with progress("predict", quiet=json) as tell:
        run = predict(cube, model, on_scene=lambda done, total: tell(done, total, "scenes"))
    evaluation = evaluate(cube, run, model)
    report = write_report(cube, folder / "report.html", run=run, model=model)
    document = {
        "cube": cube.location,
        "model": str(model),
        "report": str(report),
        "evaluation": evaluation.to_dict(),
    }
    places = "\n".join(
        f"{what:<8}{place}" for what, place in list(document.items())[:3] if isinstance(place, str)
    )
    emit(document, format_evaluation(evaluation), Text(f"\n{places}"), json=json)


def _ingest(region: Region, title: str, json: bool) -> None:
    with progress(title, quiet=json) as tell:
        report = ingest(region, progress=tell)
    counts = ", ".join(f"{count} {status}" for status, count in report.ledger.items() if count)
    _say(f"{title}: the ledger holds {counts}", json)


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        emit({}, text, json=False)


def _clear(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise ThermocubeError(
                f"{folder} holds something that is not a demo's; give the demo a folder of its own"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()
