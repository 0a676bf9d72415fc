"""The commands around sharpening: a comparison of all methods over pairs with ASTER."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines import cli_sharpen_run, cli_sharpen_train
from pipelines.console import EXIT_WITH_FAILURES, emit, progress

if TYPE_CHECKING:
    from pipelines.sharpen import Comparison
    from pipelines.sharpen_protocol import Protocol
    from pipelines.sharpen_variants import Catalogue

Models = Annotated[
    list[Path] | None,
    typer.Option(help="Folder of a trained method; repeat as needed.", metavar="FOLDER"),
]
app = typer.Typer(help="Sharpen LST by a finer companion image.", no_args_is_help=True)


class Judge(StrEnum):
    """Protocols to choose from."""

    PAPER = "paper"
    REGISTERED = "registered"
    BOTH = "both"


@app.callback()
def _group() -> None:
    """Sharpen LST by a finer companion image."""


@app.command()
def evaluate(
    pairs: Annotated[
        Path, typer.Argument(help="Pairs of MODIS and ASTER (NetCDF).", metavar="PAIRS.nc")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for rows, tables and figures.", metavar="FOLDER")
    ],
    protocol: Annotated[Judge, typer.Option(help="How maps are made and judged.")] = Judge.BOTH,
    method: Annotated[
        list[str] | None,
        typer.Option(help="Only this method; repeat as needed.", metavar="NAME"),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(help="This one beside all others; repeat as needed.", metavar="NAME"),
    ] = None,
    model: Models = None,
    pair: Annotated[
        list[int] | None, typer.Option(help="Only the pair of this id; repeat as needed.")
    ] = None,
    figures: Annotated[int, typer.Option(min=0, help="Pairs to draw for each protocol.")] = 3,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Drop rows of another file or other code.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document to stdout.")
    ] = False,
) -> None:
    """Score every method on pairs with ASTER; write CSV, Markdown and a figure page.

    Stopped and started again it goes on where it was: finished rows are kept in the folder.

    Example: thermocube sharpen evaluate pairs.nc --out results/sharpening

    A few methods only: --method bicubic --method local_slope --protocol registered

    All, a trained one, and its mean with another: --model models/sc_unet
    --also local_slope+sc_unet
    """
    if also:
        method = [*(method or _catalogue(model).names()), *also]
    _require_known(method, model)
    from pipelines.sharpen import compare
    from pipelines.sharpen_protocol import Protocol

    protocols = tuple(Protocol) if protocol is Judge.BOTH else (Protocol(protocol.value),)
    _require_scored(method, model, protocols)
    with progress("sharpen", quiet=json) as tell:
        result = compare(
            pairs,
            out,
            protocols=protocols,
            methods=method,
            models=model or (),
            pairs=pair,
            figures=figures,
            overwrite=overwrite,
            progress=tell,
        )
    emit(result.to_dict(), *_told(result), json=json)
    if result.failures:
        raise typer.Exit(EXIT_WITH_FAILURES)


@app.command("held-out")
def held_out(
    pairs: Annotated[
        Path, typer.Argument(help="Pairs, of which MODIS is read.", metavar="PAIRS.nc")
    ],
    out: Annotated[Path, typer.Option(help="Folder for rows and table.", metavar="FOLDER")],
    method: Annotated[
        list[str] | None,
        typer.Option(help="Only this candidate; repeat as needed.", metavar="NAME"),
    ] = None,
    model: Models = None,
    mean: Annotated[
        list[str] | None,
        typer.Option(help="Judge this mean of methods too, as A+B.", metavar="A+B"),
    ] = None,
    patches: Annotated[
        Path | None, typer.Option(help="Patches, day and night.", metavar="PATCHES.nc")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Draw so many patches.")] = 200,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document to stdout.")
    ] = False,
) -> None:
    """Choose a method without ASTER: restore MODIS at 1 km from 4 km.

    Example: thermocube sharpen held-out pairs.nc --out results/held-out --model models/sc_unet
    """
    from rich.text import Text

    from pipelines.sharpen_choice import choose

    with progress("held out", quiet=json) as tell:
        choice = choose(
            pairs,
            out,
            methods=method,
            models=model or (),
            mixtures=mean or (),
            patches=patches,
            most=most,
            progress=tell,
        )
    # As it is: rich would take what stands in brackets for its own markup.
    emit(choice.to_dict(), Text(choice.markdown(most=10)), json=json)


app.command()(cli_sharpen_run.run)
app.command()(cli_sharpen_train.train)
app.command("train-patches")(cli_sharpen_train.train_patches)


def _catalogue(models: list[Path] | None) -> Catalogue:
    from pipelines.sharpen_variants import Catalogue
    from pipelines.superres_folder import Trained

    return Catalogue([Trained.load(folder) for folder in models or ()])


def _require_known(methods: list[str] | None, models: list[Path] | None) -> None:
    catalogue = _catalogue(models)
    unknown = [name for name in methods or () if catalogue.get(name) is None]
    if unknown:
        raise typer.BadParameter(
            f"no method is called {', '.join(unknown)}; there are {', '.join(catalogue.names())}, "
            "and means of them such as local_slope+dms"
        )


def _require_scored(
    methods: list[str] | None, models: list[Path] | None, protocols: tuple[Protocol, ...]
) -> None:
    """A registered variant is a method of its own under the paper's protocol only."""
    catalogue = _catalogue(models)
    if methods and not any(catalogue.chosen(protocol, methods) for protocol in protocols):
        raise typer.BadParameter(
            f"{', '.join(methods)}: under the registered protocol every method is registered; "
            "give its name without '-registered'"
        )


def _told(result: Comparison) -> list[str]:
    lines = [table.markdown() for table in result.tables.values()]
    for protocol, pairs in result.left_out.items():
        lines.append(f"left out, no rectangle to score ({protocol}): {', '.join(map(str, pairs))}")
    lines += [f"could not be made: {problem}" for problem in result.failures]
    again = f", {result.resumed} of them from before" if result.resumed else ""
    lines.append(f"{result.rows} rows{again}; tables and figures: {result.folder}")
    return lines
