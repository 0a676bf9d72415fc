"""The commands that train sharpening networks without ASTER."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.console import emit, epoch_line, progress


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="sif_sr1, sif_sr2, sc_unet, mr_unet, slope_net, or a TOML file.", metavar="RECIPE"
        ),
    ],
    pairs: Annotated[
        Path, typer.Argument(help="Pairs, of which MODIS is read.", metavar="PAIRS.nc")
    ],
    out: Annotated[Path, typer.Option(help="Folder for networks.", metavar="FOLDER")],
    folds: Annotated[int, typer.Option(min=1, help="1 keeps no place out.")] = 5,
    fold: Annotated[list[int] | None, typer.Option(min=0, help="Only this fold.")] = None,
    patches: Annotated[
        Path | None, typer.Option(help="Day patches to learn from too.", metavar="PATCHES.nc")
    ] = None,
    most: Annotated[int | None, typer.Option(min=1, help="Draw so many patches.")] = None,
    seed: Annotated[int, typer.Option(help="Of folds, weights and augmentation.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace networks of other settings.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document to stdout.")
    ] = False,
) -> None:
    """Train a network without ASTER, one for each fold of places.

    Stopped and started again it goes on after the last whole epoch.

    Example: thermocube sharpen train slope_net pairs.nc --out models/slope_net --folds 3
    """
    from pipelines.superres_folder import recipe_of
    from pipelines.superres_train import train as run

    found = recipe_of(recipe)
    with progress("train", quiet=json) as tell:

        def told(number: int, epoch: int, row: dict[str, float]) -> None:
            tell(epoch, found.epochs, f"fold {number}: {epoch_line(row)}")

        trained = run(
            found,
            pairs,
            out,
            patches=patches,
            most_patches=most,
            count=folds,
            only=fold,
            seed=seed,
            overwrite=overwrite,
            on_epoch=told,
        )
    done = trained.settings["folds"] if trained is not None else []
    told_of = ("left_out", "scenes", "best_epoch", "seconds")
    document = {
        "folder": str(out),
        "complete": trained is not None,
        "folds": [{key: one[key] for key in told_of} for one in done],
    }
    lines = [
        f"fold {number}: best epoch {one['best_epoch']} of {len(one['logs'])}, "
        f"{one['seconds']:.0f} s, {len(one['left_out'])} places left out"
        for number, one in enumerate(done, start=1)
    ]
    emit(document, *(lines or ["some folds are lacking yet"]), json=json)


def train_patches(
    recipe: Annotated[
        str,
        typer.Argument(help="mr_unet, or a TOML file of a network of LST alone.", metavar="RECIPE"),
    ],
    patches: Annotated[Path, typer.Argument(help="Patches, day and night.", metavar="PATCHES.nc")],
    out: Annotated[Path, typer.Option(help="Folder for network and table.", metavar="FOLDER")],
    share: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Of the places, held out to judge.")
    ] = 0.25,
    most: Annotated[int | None, typer.Option(min=1, help="Draw so many patches.")] = None,
    seed: Annotated[int, typer.Option(help="Of split, weights and augmentation.")] = 0,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document to stdout.")
    ] = False,
) -> None:
    """Train a network of LST alone, 4 km to 1 km; judge it on places it has not seen.

    Stopped and started again it goes on after the last whole epoch.

    Example: thermocube sharpen train-patches mr_unet patches.nc --out models/mr_unet
    """
    from pipelines.superres_folder import recipe_of
    from pipelines.superres_patches import train_on_patches

    found = recipe_of(recipe)
    with progress("train", quiet=json) as tell:
        standing = train_on_patches(
            found,
            patches,
            out,
            share=share,
            most=most,
            seed=seed,
            on_epoch=lambda epoch, row: tell(epoch, found.epochs, epoch_line(row)),
        )
    emit(standing.to_dict(), standing.markdown(), json=json)
