"""The command that searches for good training settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli_settings import Given, RecipeFile, parse_settings
from pipelines.console import emit, progress


def tune(
    region: Annotated[Path, typer.Argument(help="Region file (TOML).", metavar="REGION.toml")],
    folder: Annotated[Path, typer.Argument(help="Folder of the search.", metavar="FOLDER")],
    settings: Given = None,
    recipe: RecipeFile = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials in all, earlier ones included.")] = 20,
    space: Annotated[
        Path | None,
        typer.Option(
            help="What to vary (TOML); default: learning rate, L2, batch and filters.",
            metavar="SPACE.toml",
        ),
    ] = None,
    prune: Annotated[bool, typer.Option(help="Break off trials that do badly.")] = True,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document to stdout.")
    ] = False,
) -> None:
    """Search for the settings with the best macro F1 on the validation part.

    Stopped and started again it goes on where it was. Writes best.toml, which `thermocube train
    --recipe` takes, the trials, what mattered, and a page.

    Example: thermocube tune la.toml searches/la -s epochs=15 --trials 30
    """
    from cube.store import Cube
    from pipelines.tuning import tune as search
    from pipelines.tuning_space import SPACE, load_space

    chosen = parse_settings(settings or [], recipe)
    with progress("tune", quiet=json) as tell:
        found = search(
            Cube.open(region),
            folder,
            chosen,
            trials=trials,
            space=load_space(space) if space else SPACE,
            prune=prune,
            on_step=tell,
        )
    counts = ", ".join(f"{number} {name}" for name, number in found.counts().items())
    shares = ", ".join(f"{name} {share:.2f}" for name, share in found.importances.items())
    emit(
        found.to_dict(),
        f"macro F1 {found.value:.3f} on the validation part; trials: {counts}",
        f"what mattered: {shares or 'too few trials to say'}",
        f"settings: {folder / 'best.toml'}; trials and page: {folder}",
        json=json,
    )
