"""The commands around sharpening: a comparison of all methods over pairs with ASTER."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.console import EXIT_WITH_FAILURES, emit, progress

if TYPE_CHECKING:
    from pipelines.sharpen import Comparison
    from pipelines.sharpen_protocol import Protocol

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
    """
    _require_known(method)
    from pipelines.sharpen import compare
    from pipelines.sharpen_protocol import Protocol

    protocols = tuple(Protocol) if protocol is Judge.BOTH else (Protocol(protocol.value),)
    _require_scored(method, protocols)
    with progress("sharpen", quiet=json) as tell:
        result = compare(
            pairs,
            out,
            protocols=protocols,
            methods=method,
            pairs=pair,
            figures=figures,
            overwrite=overwrite,
            progress=tell,
        )
    emit(result.to_dict(), *_told(result), json=json)
    if result.failures:
        raise typer.Exit(EXIT_WITH_FAILURES)


def _require_known(methods: list[str] | None) -> None:
    from pipelines.sharpen_variants import names

    unknown = sorted(set(methods or ()) - set(names()))
    if unknown:
        raise typer.BadParameter(
            f"no method is called {', '.join(unknown)}; there are {', '.join(names())}"
        )


def _require_scored(methods: list[str] | None, protocols: tuple[Protocol, ...]) -> None:
    """A registered variant is a method of its own under the paper's protocol only."""
    from pipelines.sharpen_variants import chosen

    if methods and not any(chosen(protocol, methods) for protocol in protocols):
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
