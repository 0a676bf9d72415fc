"""A network of LST alone, trained on patches of MODIS and judged on ground it has not seen.

From 4 km to 1 km, where the answer is known: the table that MR U-Net was published with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.errors import ModelError, PairsError
from models import image_metrics
from models.sharpening import bicubic
from pipelines.checkpoint import Checkpoint
from pipelines.markdown import table as markdown_table
from pipelines.pairs import SCALE
from pipelines.sharpen_rows import writing
from pipelines.superres_folder import FORMAT, SETTINGS, Trained, network_file
from pipelines.superres_samples import known_of
from pipelines.superres_scenes import Fold, Scene, scenes_of_patches
from pipelines.superres_train import train_network

if TYPE_CHECKING:
    from models.superres.recipes import Recipe

TABLE = "patches.json"
METRICS = ("psnr", "ssim", "rmse")
BICUBIC, NETWORK = "bicubic", "network"


@dataclass(frozen=True)
class Standing:
    """Bicubic and the network over the patches that were held out."""

    patches: int
    places: int
    table: dict[str, dict[str, Any]]
    """By part of the day and method: each metric with its 95 % interval over places."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"patches": self.patches, "places": self.places, "table": self.table}

    def markdown(self) -> str:
        """A table of all of it."""
        rows = (
            (
                when,
                f"`{method}`",
                f"{row['psnr'][0]:.2f}",
                f"{row['ssim'][0]:.3f}",
                f"{row['rmse'][0]:.3f}",
            )
            for when, methods in self.table.items()
            for method, row in methods.items()
        )
        return markdown_table(("patches", "method", "PSNR, dB", "SSIM", "RMSE, K"), rows)


def train_on_patches(
    recipe: Recipe,
    patches_file: str | Path,
    folder: str | Path,
    *,
    share: float = 0.25,
    most: int | None = None,
    seed: int = 0,
    on_epoch: Callable[[int, dict[str, float]], None] | None = None,
) -> Standing:
    """Train on day and night patches, and judge on those of other places.

    Parameters
    ----------
    recipe
        Of a network that sees LST alone (``mr_unet``).
    patches_file
        See `pipelines.superres_scenes.scenes_of_patches`.
    folder
        For the network, its settings, and ``patches.json``. Stopped and started again, training
        goes on after the last whole epoch.
    share
        Of the places that are held out; a tenth of the others stops training.
    most
        Draw so many patches of the day and of the night; None for all.
    seed
        Of the split, the draw, weights and augmentation.
    on_epoch
        Told of each epoch.

    Raises
    ------
    PairsError
        If the file is not such a file, or has too few places.
    ModelError
        If the recipe's network looks at NDVI, or the loss is no longer a number.
    StoreError
        If the folder cannot be written.
    """
    if recipe.network != "mr_unet" or not recipe.scale_invariant:
        raise ModelError(
            "patches have no NDVI finer than LST: only a network of LST alone can be trained on "
            "them by themselves, such as mr_unet; for the others give them beside pairs"
        )
    scenes = [
        scene
        for when in ("day", "night")
        for scene in scenes_of_patches(patches_file, when, most, seed, guided=False)
    ]
    fold = by_place(scenes, share, seed)
    folder = Path(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    _train(recipe, fold, folder, seed, on_epoch)
    standing = judge(recipe, Trained.load(folder), fold.test)
    with writing(folder):
        text = json.dumps(standing.to_dict(), indent=1)
        (folder / TABLE).write_text(text + "\n", encoding="utf-8")
    return standing


def by_place(scenes: Sequence[Scene], share: float, seed: int) -> Fold:
    """Split patches by the ground they show: nothing is judged on a place that was learnt from.

    Raises
    ------
    PairsError
        If there are fewer than three places.
    """
    places = sorted({scene.corner for scene in scenes})
    order = np.random.default_rng(seed).permutation(len(places))
    tested = max(1, round(share * len(places)))
    stopping = max(1, round(0.1 * (len(places) - tested)))
    if len(places) < tested + stopping + 1:
        raise PairsError(f"{len(places)} places are too few to learn from, to stop by and to judge")
    part = {places[row]: number for number, row in enumerate(order)}
    parts: list[list[Scene]] = [[], [], []]
    for scene in scenes:
        number = part[scene.corner]
        parts[2 if number < tested else 1 if number < tested + stopping else 0].append(scene)
    return Fold(tuple(parts[0]), tuple(parts[1]), tuple(parts[2]))


def judge(recipe: Recipe, trained: Trained, scenes: Sequence[Scene]) -> Standing:
    """Bicubic and a network on patches degraded as the recipe has it: whole images, no border off.

    The range of PSNR and SSIM is that of map and truth together, image by image.
    """
    rows = [row for scene in scenes for row in _scores(recipe, trained, scene)]
    table: dict[str, dict[str, Any]] = {}
    for when in ("day and night", "day", "night"):
        for method in (BICUBIC, NETWORK):
            kept = [row for row in rows if row["method"] == method and row["when"] in when]
            places = [row["place"] for row in kept]
            table.setdefault(when, {})[method] = {
                name: list(image_metrics.grouped_mean([row[name] for row in kept], places, seed=0))
                for name in METRICS
            }
    return Standing(len(scenes), len({scene.corner for scene in scenes}), table)


def _scores(recipe: Recipe, trained: Trained, scene: Scene) -> Iterator[dict[str, Any]]:
    known = known_of(recipe, scene.lst, scene.coarse_ndvi, np.random.default_rng(0))
    # The network looks at LST alone; a companion without gaps leaves no gap in its map.
    fine = trained.sharpen(known.lst, np.zeros_like(known.truth))
    maps = {BICUBIC: bicubic(known.lst, SCALE), NETWORK: fine}
    row, column = scene.corner
    for method, image in maps.items():
        found: dict[str, Any] = {
            "psnr": image_metrics.psnr(known.truth, image),
            "ssim": image_metrics.ssim(known.truth, image),
            "rmse": image_metrics.rmse(known.truth, image),
        }
        place = 10_000 * row + column
        yield found | {"method": method, "when": scene.name.split()[-1], "place": place}


def _train(recipe: Recipe, fold: Fold, folder: Path, seed: int, on_epoch: Any) -> None:
    key = _key(recipe, fold, seed)
    file = folder / SETTINGS
    if file.is_file() and json.loads(file.read_text(encoding="utf-8")).get("data") == key:
        return
    checkpoint = Checkpoint.beside(folder / network_file(0), key)
    with writing(folder):
        note = train_network(recipe, fold, folder, checkpoint, seed, 0, on_epoch)
        settings = {"format": FORMAT, "recipe": recipe.model_dump(), "seed": seed, "data": key}
        settings["folds"] = [note]
        file.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    checkpoint.clear()


def _key(recipe: Recipe, fold: Fold, seed: int) -> str:
    total = hashlib.sha256(json.dumps([FORMAT, recipe.model_dump(), seed]).encode())
    for part in fold.parts[:2]:
        for scene in part:
            total.update(scene.name.encode() + np.ascontiguousarray(scene.lst).tobytes())
    return total.hexdigest()
