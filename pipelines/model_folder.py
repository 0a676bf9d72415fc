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
from cube.sampling import SamplePlan, pool_facts
from pipelines.recipe import Recipe

if TYPE_CHECKING:
    import keras

NETWORK = "model.keras"
RECIPE = "recipe.toml"
PLAN = "plan.npz"
PLANS = "plans"
"""Folder of a plan a region, ``<region>.npz``, in place of `PLAN` if there are several."""
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
        there = {PLAN} if (path / PLANS).is_dir() else set()
        missing = [name for name in FILES if name not in there and not (path / name).is_file()]
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
    def plans(self) -> Mapping[str, SamplePlan]:
        """The sample plans that the network was trained with, by region.

        Raises
        ------
        ModelError
            If a plan is not the one the recipe names.
        """
        lineage = self.recipe.lineage
        if not lineage.regions:
            return {lineage.cube: self._read_plan(PLAN, lineage.plan_digest)}
        return {
            name: self._read_plan(f"{PLANS}/{name}.npz", region.plan_digest)
            for name, region in lineage.regions.items()
        }

    def _read_plan(self, name: str, wanted: str) -> SamplePlan:
        plan = SamplePlan.load(self.path / name)
        if plan.digest != wanted:
            raise ModelError(
                f"model folder {self.path}: {name} has digest {plan.digest}, but {RECIPE} was made "
                f"with {wanted}; the files belong to different models"
            )
        return plan

    @property
    def plan(self) -> SamplePlan:
        """The sample plan of a network that was trained on one region.

        Raises
        ------
        ModelError
            If there are several, or the plan is not the one the recipe names.
        """
        if len(self.plans) > 1:
            raise ModelError(
                f"model {self.path} has a sample plan for each of {', '.join(self.plans)}; ask "
                "for one of them with `plan_of`"
            )
        return next(iter(self.plans.values()))

    def plan_of(self, region: str) -> SamplePlan:
        """The sample plan of one of the regions.

        Raises
        ------
        ModelError
            If that region had no part in the training.
        """
        if region not in self.plans:
            raise ModelError(
                f"model {self.path} was trained on region {', '.join(map(repr, self.plans))}: it "
                f"has no test part in region {region!r}"
            )
        return self.plans[region]

    @property
    def facts(self) -> dict[str, Any]:
        """`SamplePlan.summary` of the plan, or that of all regions' plans together."""
        return facts_of(self.plans)

    @property
    def sequence(self) -> int | None:
        """Dates that the network takes at once; None if its input has no time axis."""
        length = next(iter(self.plans.values())).sequence_length
        return length if length > 1 else None

    def contents(self) -> ModelContents:
        """The network and its recipe as bytes, to be sent where the folder is not."""
        files = {name: (self.path / name).read_bytes() for name in (NETWORK, RECIPE)}
        return ModelContents(self.name, files)

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


@dataclass(frozen=True)
class ModelContents:
    """Network and recipe of a model folder, as bytes."""

    name: str
    files: Mapping[str, bytes]

    def unpack(self, folder: Path) -> ModelFolder:
        """Write them into a folder; what comes of it has no plan, history or metrics."""
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return ModelFolder(folder, Recipe.load(folder / RECIPE))


def facts_of(plans: Mapping[str, SamplePlan]) -> dict[str, Any]:
    """`SamplePlan.summary` of one region's plan, or `pool_facts` of several."""
    first, *others = plans.values()
    return pool_facts(plans) if others else first.summary


def save_plans(folder: Path, plans: Mapping[str, SamplePlan]) -> None:
    """Write the sample plans of one region or of several into a model folder."""
    if len(plans) == 1:
        next(iter(plans.values())).save(folder / PLAN)
        return
    (folder / PLANS).mkdir()
    for name, plan in plans.items():
        plan.save(folder / PLANS / f"{name}.npz")


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
