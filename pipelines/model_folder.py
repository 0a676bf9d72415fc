"""A model on disk: one folder with the network, its recipe, its sample plan and its scores."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from cube.errors import ModelError
from cube.sampling import SamplePlan
from pipelines.recipe import Recipe

if TYPE_CHECKING:
    import keras

NETWORK = "model.keras"
RECIPE = "recipe.toml"
PLAN = "plan.npz"
HISTORY = "history.csv"
METRICS = "metrics.json"
FILES = (NETWORK, RECIPE, PLAN, HISTORY, METRICS)


@dataclass(frozen=True)
class ModelFolder:
    """A complete model folder.

    Attributes
    ----------
    path : Path
    recipe : Recipe
    """

    path: Path
    recipe: Recipe

    @classmethod
    def load(cls, path: str | Path) -> ModelFolder:
        """Open a model folder; the network itself is read by `network`.

        Raises
        ------
        ModelError
            If the folder is not there, or a file in it is missing or not valid.
        """
        path = Path(path)
        if not path.is_dir():
            raise ModelError(f"there is no model folder at {path}; `thermocube train` makes one")
        missing = [name for name in FILES if not (path / name).is_file()]
        if missing:
            raise ModelError(
                f"model folder {path} lacks {', '.join(missing)}; copy the whole folder, or train "
                "the model again"
            )
        return cls(path, Recipe.load(path / RECIPE))

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.resolve().name

    @cached_property
    def digest(self) -> str:
        """SHA-256 over network and recipe: names this model in lineage."""
        total = hashlib.sha256()
        for name in (NETWORK, RECIPE):
            content = (self.path / name).read_bytes()
            total.update(len(content).to_bytes(8, "big") + content)
        return total.hexdigest()

    @cached_property
    def plan(self) -> SamplePlan:
        """The sample plan that the network was trained with.

        Raises
        ------
        ModelError
            If the plan is not the one the recipe names.
        """
        plan = SamplePlan.load(self.path / PLAN)
        wanted = self.recipe.lineage.plan_digest
        if plan.digest != wanted:
            raise ModelError(
                f"model folder {self.path}: {PLAN} has digest {plan.digest}, but {RECIPE} was made "
                f"with {wanted}; the files belong to different models"
            )
        return plan

    def network(self) -> keras.Model:
        """Read the network; needs Keras.

        Raises
        ------
        ModelError
            If its input or output is not what the recipe says.
        """
        from models import files

        try:
            network = files.load(self.path / NETWORK)
        except ValueError as error:
            raise ModelError(
                f"model folder {self.path}: {NETWORK} cannot be read: {error}"
            ) from error
        found = (network.input_shape[-1], network.output_shape[-1])
        wanted = (len(self.recipe.bands), len(self.recipe.classes))
        if found != wanted:
            raise ModelError(
                f"model folder {self.path}: the network takes {found[0]} bands and gives "
                f"{found[1]} classes, the recipe says {wanted[0]} and {wanted[1]}"
            )
        return network

    def history(self) -> dict[str, list[float]]:
        """Training curves: epoch by epoch, by name (``loss``, ``val_loss``, ...)."""
        with (self.path / HISTORY).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else {})}

    def metrics(self) -> dict[str, Any]:
        """What was measured in training, as written by `pipelines.train.train`."""
        content: dict[str, Any] = json.loads((self.path / METRICS).read_text(encoding="utf-8"))
        return content


def write_history(path: Path, logs: Sequence[Mapping[str, float]]) -> None:
    """Write training curves as CSV, one row an epoch; the first column is ``epoch``, from 1."""
    names = list(dict.fromkeys(name for row in logs for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *names])
        for epoch, row in enumerate(logs, start=1):
            writer.writerow([epoch, *(row.get(name, float("nan")) for name in names)])


def require_free(target: Path, *, overwrite: bool) -> None:
    """Refuse to put a model where something is already.

    Raises
    ------
    ModelError
        If `target` exists and may not be replaced, or is no model folder.
    """
    if not target.exists():
        return
    if not overwrite:
        raise ModelError(f"{target} is there already; give another folder, or allow overwriting it")
    if not (target / RECIPE).is_file() and any(target.iterdir()):
        raise ModelError(f"{target} is not a model folder and is not replaced; give another folder")


@contextmanager
def new_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Fill a model folder that appears at `target` complete or not at all.

    Yields
    ------
    Path
        A temporary folder beside `target`; moved into place at the end, removed on an error.

    Raises
    ------
    ModelError
        See `require_free`.
    """
    target = target.resolve()
    require_free(target, overwrite=overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    fresh = work / "new"
    fresh.mkdir()
    try:
        yield fresh
        require_free(target, overwrite=overwrite)
        if target.exists():
            target.rename(work / "old")
        fresh.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
