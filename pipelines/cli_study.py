"""The commands of the study on real pixels: ``thermocube study``."""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.console import emit, progress

if TYPE_CHECKING:
    from pipelines.pixel_features import Layers

app = typer.Typer(
    no_args_is_help=True, help="Classes, signatures and transfer on the rock-and-soil study's data."
)

RegionFile = Annotated[Path, typer.Argument(help="Region file (TOML).", metavar="REGION.toml")]
Out = Annotated[Path, typer.Argument(help="JSON file to write.", metavar="OUT.json")]
LayersFile = Annotated[
    Path | None,
    typer.Option(help="One of the study's files: learn from its radar and colour too."),
]


@app.command()
def regions(
    data: Annotated[Path, typer.Argument(help="Folder with the study's NetCDF files.")],
    folder: Annotated[Path, typer.Argument(help="Folder for the region files.")],
) -> None:
    """Write the region files of the study's two regions, each grid with its own place.

    Example: thermocube study regions ../shared/data study
    """
    from pipelines.study_regions import write_regions

    written = [str(path) for path in write_regions(data, folder)]
    emit({"regions": written}, "wrote " + (", ".join(written) or "nothing"), json=False)


@app.command()
def classify(
    region: RegionFile,
    out: Out,
    layers: LayersFile = None,
    folds: Annotated[int, typer.Option(min=4, help="Folds; each block of ground in one.")] = 12,
) -> None:
    """Learn classes from statistics over dates, and test every block of ground once.

    Beside OUT.json stand the maps, OUT.npz. Settings are chosen on inner folds only.

    Example: thermocube study classify study/puertollano.toml study/classify-puertollano.json
    """
    import numpy as np

    from cube.store import Cube
    from pipelines.classify import ClassifySettings, classify
    from pipelines.study_document import classify_document

    cube, settings = Cube.open(region), ClassifySettings(folds=folds)
    with progress("classify") as tell:
        found = classify(
            cube,
            settings,
            layers=_layers(layers, cube),
            on_fit=lambda done, total: tell(done, total, "folds"),
        )
    document = classify_document(cube.name, cube.snapshot, settings, found)
    document["layers"] = layers.name if layers else None
    _write(out, document)
    maps: dict[str, Any] = {"truth": found.truth, "confidence": found.confidence} | found.maps
    np.savez_compressed(out.with_suffix(".npz"), **maps)


def _layers(file: Path | None, cube: Any) -> list[Layers]:
    if file is None:
        return []
    from pipelines.study_layers import study_layers

    return study_layers(file, tuple(cube.grid.shape))


@app.command()
def distance(
    region: RegionFile,
    out: Out,
    layers: LayersFile = None,
) -> None:
    """Classify with known ground at several distances from the blocks that are tested.

    Example: thermocube study distance study/santa.toml study/distance-santa.json
    """
    from cube.store import Cube
    from pipelines.study_distance import distance_document

    cube = Cube.open(region)
    with progress("distance") as tell:
        document = distance_document(
            cube,
            _layers(layers, cube),
            on_rung=lambda done, total: tell(done, total, "distances"),
        )
    _write(out, document | {"layers": layers.name if layers else None})


@app.command()
def transfer(
    taught: Annotated[Path, typer.Argument(help="Region to learn.", metavar="TAUGHT.toml")],
    tested: Annotated[Path, typer.Argument(help="Region to map.", metavar="TESTED.toml")],
    out: Out,
) -> None:
    """Learn all of one region, and score the map of another.

    Example: thermocube study transfer study/puertollano.toml study/santa.toml study/transfer.json
    """
    from cube.store import Cube
    from pipelines.study_transfer import transfer as work

    _write(out, work(Cube.open(taught), Cube.open(tested)))


@app.command()
def signatures(region: RegionFile, out: Out) -> None:
    """Sum up each band by class, year, day and night, and judge the hypotheses of sand and clay.

    Example: thermocube study signatures study/santa.toml study/signatures-santa.json
    """
    from cube.store import Cube
    from pipelines.study_signatures import signature_document

    _write(out, signature_document(Cube.open(region)))


@app.command()
def confidence(
    maps: Annotated[Path, typer.Argument(help="Maps of a classification.", metavar="MAPS.npz")],
    out: Out,
    layers: Annotated[
        Path | None, typer.Option(help="The study's file that has the region's colours.")
    ] = None,
) -> None:
    """Correlate confidence with correctness and with greenness, neighbours not counted twice.

    Example: thermocube study confidence study/classify-santa.npz study/confidence-santa.json
    """
    from pipelines.study_confidence import confidence_document

    _write(out, confidence_document(maps, layers))


@app.command()
def grids(
    file: Annotated[Path, typer.Argument(help="thesis_santa.nc", metavar="FILE.nc")], out: Out
) -> None:
    """Compare labels by georeference with labels by pixel index, on each grid of Santa.

    Example: thermocube study grids ../shared/data/thesis_santa.nc study/grids-santa.json
    """
    from pipelines.study_grids import grids_document

    _write(out, grids_document(file))


@app.command()
def baselines(region: RegionFile, out: Out) -> None:
    """Score the two baselines under the study's own split, 85/15 of the dates.

    Example: thermocube study baselines study/santa.toml study/baselines-santa.json
    """
    from cube.sampling import SplitSettings, make_plan
    from cube.store import Cube

    cube = Cube.open(region)
    split = SplitSettings(kind="thesis")
    thermal, labels = (cube.dataset(name, chunks=None).load() for name in ("thermal", "labels"))
    plan = make_plan(
        thermal, labels, patch=64, stride=64, split=split, min_valid=0.1, snapshot=cube.snapshot
    )
    _write(out, {"region": cube.name, "plan": plan.digest, "baselines": plan.summary["baselines"]})


@app.command()
def learn(
    folder: Annotated[Path, typer.Argument(help="Folder for the simulated regions.")],
    out: Out,
    seed: Annotated[list[int], typer.Option(help="Of the networks; give several.")] = [0, 1, 2],  # noqa: B006
) -> None:
    """Train networks on simulated regions, and score them on one that was left out.

    Example: thermocube study learn study/simulated study/learn-simulated.json
    """
    from pipelines.study_learn import learn_document

    _write(out, learn_document(folder, seed, tell=lambda line: typer.echo(line, err=True)))


@app.command()
def shuffled(
    region: RegionFile,
    model: Annotated[Path, typer.Argument(help="Model folder.", metavar="MODEL")],
    out: Out,
) -> None:
    """Score a network on its test patches, as they are and with their pixels shuffled.

    Example: thermocube study shuffled study/santa.toml models/cnn study/shuffled-cnn-santa.json
    """
    from cube.store import Cube
    from pipelines.study_shuffled import shuffled_document

    _write(out, shuffled_document(Cube.open(region), model))


@app.command()
def page(
    folder: Annotated[Path, typer.Argument(help="Folder with the JSON and NPZ files.")],
    target: Annotated[Path, typer.Argument(help="Markdown file to write.", metavar="PAGE.md")],
) -> None:
    """Write the page of results from what the other commands wrote.

    Example: thermocube study page study docs/results.md
    """
    from pipelines.study_page import write_page

    write_page(folder, target)
    emit({"page": str(target)}, f"wrote {target}", json=False)


def _write(out: Path, document: dict[str, Any]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(jsons.dumps(document, indent=1, default=float) + "\n", encoding="utf-8")
    emit({"written": str(out)}, f"wrote {out}", json=False)
