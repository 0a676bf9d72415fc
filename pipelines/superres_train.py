"""Training of sharpening networks by folds, from MODIS alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cube.errors import StoreError
from pipelines.checkpoint import Checkpoint
from pipelines.superres_fit import compiled, fit, save
from pipelines.superres_folder import FORMAT, SETTINGS, Trained, network_file
from pipelines.superres_samples import Samples, Statistics
from pipelines.superres_scenes import Fold, folds, scenes_of_pairs, scenes_of_patches

if TYPE_CHECKING:
    from models.superres.recipes import Recipe

OnEpoch = Callable[[int, int, dict[str, float]], None]
"""Called with the fold and the epoch, both from 1, and the losses."""


@dataclass(frozen=True)
class Plan:
    """All that a training depends on."""

    recipe: Recipe
    folds: Sequence[Fold]
    seed: int
    data: str
    """Digest of the images."""

    def key(self, fold: int) -> str:
        """Of one fold's training: a checkpoint of another is not used."""
        parts = {"format": FORMAT, "recipe": self.recipe.model_dump(), "fold": fold}
        parts |= {"seed": self.seed, "data": self.data, "names": _names(self.folds[fold])}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def train(
    recipe: Recipe,
    pairs_file: str | Path,
    folder: str | Path,
    *,
    patches: str | Path | None = None,
    most_patches: int | None = None,
    count: int = 5,
    only: Sequence[int] | None = None,
    seed: int = 0,
    overwrite: bool = False,
    on_epoch: OnEpoch | None = None,
) -> Trained | None:
    """Train a sharpening network on the MODIS images of a pairs file, one for each fold.

    No ASTER value is read. A fold's network neither learns from nor is stopped by the places
    that it leaves out; means and standard deviations are those of the scenes it learns from.
    Stopped and started again, it goes on after the last whole epoch.

    Parameters
    ----------
    recipe
        How.
    pairs_file
        See `pipelines.superres_scenes.scenes_of_pairs`.
    folder
        For networks and settings.
    patches
        File of further day scenes to learn from (``scale_invariant`` recipes).
    most_patches
        Draw so many of them; None for all.
    count
        Folds; 1 trains one network on all places.
    only
        Train these folds only, from 0; the folder is complete when all are done.
    seed
        Of folds, weights and augmentation.
    overwrite
        Replace networks of other settings.
    on_epoch
        Told of each epoch.

    Returns
    -------
    Trained or None
        None while folds are lacking.

    Raises
    ------
    PairsError
        If a file is not such a file, or has too few places.
    ModelError
        If the loss is no longer a number, or the recipe does not fit the scenes.
    StoreError
        If the folder holds networks of other settings and `overwrite` is False.
    """
    plan = _plan(recipe, pairs_file, patches, most_patches, count, seed)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for number in only if only is not None else range(count):
        if _done(folder, plan, number, overwrite=overwrite):
            continue
        told = None if on_epoch is None else _told(on_epoch, number + 1)
        _train_fold(plan, number, folder, told)
    notes = [_read(folder, number) for number in range(count)]
    if any(note is None for note in notes):
        return None
    settings = {"format": FORMAT, "recipe": recipe.model_dump(), "seed": seed, "data": plan.data}
    text = json.dumps({**settings, "folds": notes}, indent=1)
    (folder / SETTINGS).write_text(text + "\n", encoding="utf-8")
    return Trained.load(folder)


def _plan(
    recipe: Recipe,
    pairs_file: str | Path,
    patches: str | Path | None,
    most: int | None,
    count: int,
    seed: int,
) -> Plan:
    scenes = scenes_of_pairs(pairs_file)
    more = scenes_of_patches(patches, most=most, seed=seed) if patches is not None else []
    dealt = folds(
        scenes, count, more=more, validation_share=min(recipe.validation_share, 0.2), seed=seed
    )
    total = hashlib.sha256()
    for scene in [*scenes, *more]:
        total.update(scene.name.encode() + scene.lst.tobytes() + scene.coarse_ndvi.tobytes())
    return Plan(recipe, dealt, seed, total.hexdigest())


def _train_fold(plan: Plan, number: int, folder: Path, on_epoch: Any) -> None:
    checkpoint = Checkpoint.beside(folder / network_file(number), plan.key(number))
    note = train_network(
        plan.recipe, plan.folds[number], folder, checkpoint, plan.seed, number, on_epoch
    )
    text = json.dumps({"key": plan.key(number), **note})
    _note_file(folder, number).write_text(text, encoding="utf-8")
    checkpoint.clear()


def train_network(
    recipe: Recipe,
    fold: Fold,
    folder: Path,
    checkpoint: Checkpoint,
    seed: int,
    number: int,
    on_epoch: Any,
) -> dict[str, Any]:
    """Train one fold's network into its folder; returns how that went, JSON-able.

    The checkpoint stays, to be cleared once the result is noted.
    """
    statistics = Statistics.of(fold.train, recipe)
    network = compiled(recipe, statistics, len(fold.train), seed + number)
    course = fit(
        network,
        Samples(fold.train, recipe, seed + number),
        Samples(fold.validation, recipe, seed),
        checkpoint,
        on_epoch,
    )
    save(network, recipe, statistics, folder / network_file(number))
    return {
        "left_out": list(fold.left_out),
        "scenes": [len(part) for part in fold.parts],
        "mean": statistics.mean,
        "std": statistics.std,
        "best_epoch": course.best_epoch,
        "seconds": round(sum(row["seconds"] for row in course.logs), 1),
        "logs": course.logs,
    }


def _note_file(folder: Path, number: int) -> Path:
    return folder / f"fold-{number}.json"


def _read(folder: Path, number: int) -> dict[str, Any] | None:
    file = _note_file(folder, number)
    if not file.is_file() or not (folder / network_file(number)).is_file():
        return None
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _done(folder: Path, plan: Plan, number: int, *, overwrite: bool) -> bool:
    """Whether a fold is finished.

    Raises
    ------
    StoreError
        If another training's network is there and must not be replaced.
    """
    note = _read(folder, number)
    if note is not None and note["key"] != plan.key(number) and not overwrite:
        raise StoreError(
            f"{folder} holds a network of another recipe, seed or other images; give another "
            "folder, or allow overwriting it",
            kind="exists",
        )
    return note is not None and note["key"] == plan.key(number)


def _names(fold: Fold) -> list[list[str]]:
    return [[scene.name for scene in part] for part in (fold.train, fold.validation, fold.test)]


def _told(on_epoch: OnEpoch, fold: int) -> Callable[[int, dict[str, float]], None]:
    return lambda epoch, row: on_epoch(fold, epoch, row)
