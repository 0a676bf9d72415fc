"""Training settings as a command line gives them: a file, and single values laid over it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cube.errors import ModelError

if TYPE_CHECKING:
    from pipelines.recipe import TrainSettings

Given = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        help="A training setting, e.g. -s patch=64 -s split.kind=time; repeat as needed.",
    ),
]
RecipeFile = Annotated[
    Path | None,
    typer.Option(
        help="Training settings (TOML), or the recipe.toml of a model to remake.",
        metavar="RECIPE.toml",
    ),
]


def parse_settings(pairs: Sequence[str], file: Path | None = None) -> TrainSettings:
    """Turn ``key=value`` and ``table.key=value`` into validated training settings.

    Parameters
    ----------
    pairs
        Laid over what the file says.
    file
        TOML with training settings, or a recipe, whose ``training`` table is taken.

    Raises
    ------
    ModelError
        Naming the setting that is wrong, and what is known.
    """
    from pydantic import ValidationError

    from pipelines.experiment import explained
    from pipelines.recipe import TrainSettings

    tables = {} if file is None else _read(file)
    for pair in pairs:
        _lay_over(tables, pair)
    try:
        return TrainSettings.model_validate(tables)
    except ValidationError as error:
        known = ", ".join(TrainSettings.model_fields)
        raise ModelError(
            f"training settings:\n{explained(error)}\nthe settings are {known}"
        ) from None


def _read(file: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"the recipe {file} cannot be read: {error}") from error
    return dict(tables["training"]) if "lineage" in tables else tables


def _lay_over(tables: dict[str, Any], pair: str) -> None:
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
