"""From an experiment to the list of its runs, each with its whole settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from pydantic import ValidationError

from cube.errors import ModelError
from cube.joint import data_set_rules
from pipelines.experiment import Experiment, Preset, explained
from pipelines.published import CLASS_WEIGHTS_OF, study_region
from pipelines.recipe import TrainSettings

AXES = ("region", "network", "data_set", "split", "variant")


@dataclass(frozen=True)
class Task:
    """One training, to be mapped and scored."""

    region: str
    network: str
    data_set: str
    split: str
    variant: str
    fold: int | None
    settings: TrainSettings
    held_out: bool
    """Trained on all other regions, tested on this one."""
    validation: float

    @property
    def row(self) -> tuple[str, str, str, str, str]:
        """By `AXES`: what stands in one row of a table; the folds of a split do."""
        return self.region, self.network, self.data_set, self.split, self.variant

    @property
    def slug(self) -> str:
        """Where the run lies below the experiment's folder."""
        data_set = self.data_set.replace(" ", "-")
        words = "/".join((self.region, self.network, data_set, self.split, self.variant))
        return words if self.fold is None else f"{words}/fold-{self.fold + 1}"


def tasks(
    experiment: Experiment,
    regions: Sequence[str],
    preset: str | None = None,
    only: Mapping[str, Sequence[str]] | None = None,
) -> list[Task]:
    """All runs of an experiment.

    Parameters
    ----------
    experiment
        From its file.
    regions
        Names of the cubes.
    preset
        Name of the size; by default the first one.
    only
        Axis (`AXES`) to the names that are wanted on it.

    Raises
    ------
    ModelError
        If settings contradict each other, a preset or an axis is not known, or nothing is left.
    """
    size, wanted = experiment.preset(preset), only or {}
    if unknown := set(wanted) - set(AXES):
        raise ModelError(f"an experiment has no axis {unknown.pop()!r}; it has {', '.join(AXES)}")
    found = [
        task
        for task in _all_tasks(experiment, size, regions)
        if all(name in wanted.get(axis, (name,)) for axis, name in zip(AXES, task.row, strict=True))
    ]
    if not found:
        raise ModelError(
            f"experiment {experiment.name!r} has no run that is " + " and ".join(
                f"{axis} {' or '.join(names)}" for axis, names in wanted.items()
            )
        )  # fmt: skip
    return found


def _all_tasks(experiment: Experiment, size: Preset, regions: Sequence[str]) -> Iterator[Task]:
    axes = (experiment.variants, experiment.splits, experiment.data_sets, experiment.networks)
    for variant, split, data_set, network in product(*axes):
        parts = experiment.variants[variant], experiment.splits[split]
        if not all(part.goes_with(network, data_set, split) for part in parts):
            continue
        divided = experiment.splits[split]
        for region, fold in product(regions, divided.folds):
            tables = (
                experiment.settings,
                size.settings,
                experiment.networks[network],
                size.networks.get(network, {}),
                _rules(data_set, experiment.tolerance),
                divided.settings,
                experiment.variants[variant].settings,
                {"split": divided.of_fold(fold).model_dump(mode="json", exclude_none=True)},
            )
            where = f"{network}, {data_set}, split {split}, variant {variant}"
            settings = merged_settings(tables, region, f"experiment {experiment.name!r}: {where}")
            held_out = divided.kind == "region"
            yield Task(
                region, network, data_set, split, variant, fold, settings, held_out,
                divided.validation,
            )  # fmt: skip


def merged_settings(tables: Sequence[Mapping[str, Any]], region: str, where: str) -> TrainSettings:
    """Training settings from tables, later ones laid over earlier ones; joins add up.

    ``class_weights = "region"`` are those of the study's Table 12 for one of its regions, and
    ``balanced`` elsewhere; ``overlap`` is the share of a patch by which patches overlap, in place
    of ``stride``.

    Raises
    ------
    ModelError
        If they are not valid together; begins with `where`.
    """
    merged: dict[str, Any] = {}
    for table in tables:
        merged = _laid_over(merged, table)
    if merged.get("class_weights") == "region":
        known = study_region(region)
        merged["class_weights"] = CLASS_WEIGHTS_OF[known] if known else "balanced"
    if (overlap := merged.pop("overlap", None)) is not None:
        patch = merged.get("patch", TrainSettings.model_fields["patch"].default)
        merged["stride"] = max(1, round(patch * (1 - overlap)))
    try:
        return TrainSettings.model_validate(merged)
    except ValidationError as error:
        raise ModelError(f"{where}:\n{explained(error)}") from None


def _laid_over(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for name, value in over.items():
        before = merged.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            merged[name] = _laid_over(before, value)
        elif name == "join" and before:
            merged[name] = [*before, *value]
        else:
            merged[name] = value
    return merged


def _rules(data_set: str, tolerance: str | None) -> dict[str, Any]:
    rules = data_set_rules(data_set, tolerance=tolerance)
    if "join" in rules:
        rules["join"] = [join.model_dump(exclude_defaults=True) for join in rules["join"]]
    return rules
