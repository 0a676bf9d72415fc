"""An experiment: which regions, networks, data sets and splits, from one file to a list of runs."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from cube.errors import ModelError
from cube.joint import DATA_SETS
from cube.splits import SplitSettings
from pipelines.recipe import Table
from pipelines.transfer_settings import TransferSettings

BUILT_IN = ("thesis", "ablation")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


class Part(Table):
    """What one name on an axis of the experiment stands for."""

    about: str = ""
    """A line for the tables."""
    settings: dict[str, Any] = Field(default={})
    """Training settings, laid over those of the experiment."""
    networks: tuple[str, ...] = ()
    data_sets: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    """Only with these; empty means with all."""

    def goes_with(self, network: str, data_set: str, split: str) -> bool:
        """Whether a run of these is asked for."""
        asked = ((self.networks, network), (self.data_sets, data_set), (self.splits, split))
        return all(not names or name in names for names, name in asked)


class Split(Part):
    """How the runs are divided: a split of `cube.splits`, or by whole regions."""

    kind: Literal[
        "blocks", "folds", "blocks+time", "time", "thesis", "70/30", "random", "region"
    ] = "blocks"
    """``folds`` without `fold` in `options` are all run, so that every block is tested once;
    ``region`` trains on all other regions."""
    options: dict[str, Any] = Field(default={})
    """More settings of `cube.splits.SplitSettings`: ``folds``, ``block``, ``buffer``, ``seed``,
    ``fractions``; of ``region`` ``buffer`` and ``seed``."""
    validation: float = Field(default=0.15, gt=0, lt=1)
    """Of ``region``: share of each training region's ground that is set apart."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        self.of_fold(None)
        return self

    @property
    def leaky(self) -> bool:
        """Whether a model that remembers places does well."""
        return self.kind != "region" and self.of_fold(None).leaky

    @property
    def folds(self) -> tuple[int | None, ...]:
        """The folds to run; one None for a split that is one."""
        if self.kind != "folds" or "fold" in self.options:
            return (None,)
        return tuple(range(self.of_fold(None).fold_numbers[1]))

    def of_fold(self, fold: int | None) -> SplitSettings:
        """The split of a run."""
        kind = "blocks" if self.kind == "region" else self.kind
        own = {} if fold is None else {"fold": fold}
        return SplitSettings.model_validate({"kind": kind} | self.options | own)


class Preset(Table):
    """A size of the whole experiment."""

    settings: dict[str, Any] = Field(default={})
    networks: dict[str, dict[str, Any]] = Field(default={})
    """Settings of single networks."""


class Experiment(Table):
    """The file; see ``pipelines/experiments``."""

    name: str
    title: str = ""
    regions: tuple[str, ...] = ()
    """Region files, relative to this one."""
    data_sets: tuple[str, ...] = ("thermal",)
    """Of `cube.joint.DATA_SETS`."""
    tolerance: str | None = None
    """Join the nearest radar scene within so much time instead of one of the same day."""
    settings: dict[str, Any] = Field(default={})
    """Training settings of all runs."""
    networks: dict[str, dict[str, Any]] = Field(min_length=1)
    """Name to training settings."""
    splits: dict[str, Split] = Field(min_length=1)
    variants: dict[str, Part] = Field(default={"base": Part()}, min_length=1)
    """The first one is what the others are compared with."""
    presets: dict[str, Preset] = Field(default={})
    """The first one is taken unless another is asked for."""
    transfer: TransferSettings | None = None
    """Fine-tuning and continual training over the regions, in the order given."""

    @field_validator("data_sets")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in names if name not in DATA_SETS]:
            raise ValueError(
                f"no data set is called {unknown[0]!r}; there are {', '.join(DATA_SETS)}"
            )
        return names

    @field_validator("networks", "splits", "variants", "presets")
    @classmethod
    def _plain_names(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} cannot be the name of a folder: lower-case letters, digits, '.', "
                    "'_' and '-' only"
                )
        return value

    @classmethod
    def load(cls, where: str | Path) -> Experiment:
        """Read an experiment file, or one of `BUILT_IN` by its name.

        Raises
        ------
        ModelError
            If there is no such file, or it is not valid, naming the keys.
        """
        text, origin = experiment_text(where)
        try:
            return cls.model_validate(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise ModelError(f"{origin} is not valid TOML: {error}") from error
        except ValidationError as error:
            raise ModelError(f"{origin}:\n{explained(error)}") from None

    def region_files(self, where: str | Path) -> list[Path]:
        """The region files of an experiment that lies at `where`."""
        return [Path(where).parent / name for name in self.regions]

    def preset(self, name: str | None) -> Preset:
        """Look a preset up; without a name the first one.

        Raises
        ------
        ModelError
            If there is none of that name.
        """
        if name is None:
            return next(iter(self.presets.values()), Preset())
        if name not in self.presets:
            known = ", ".join(self.presets) or "none"
            raise ModelError(f"experiment {self.name!r} has no preset {name!r}; it has {known}")
        return self.presets[name]


def experiment_text(where: str | Path) -> tuple[str, str]:
    """Text of an experiment file or of one of `BUILT_IN`, and what to call it in messages.

    Raises
    ------
    ModelError
        If there is none.
    """
    if str(where) in BUILT_IN:
        path = files("pipelines").joinpath(f"experiments/{where}.toml")
        return path.read_text(encoding="utf-8"), f"the built-in experiment {str(where)!r}"
    try:
        return Path(where).read_text(encoding="utf-8"), f"experiment file {where}"
    except OSError as error:
        raise ModelError(
            f"there is no experiment file {where} ({error.strerror}); the built-in experiments "
            f"are {' and '.join(BUILT_IN)}"
        ) from error


def explained(error: ValidationError) -> str:
    """The problems of a table, one a line."""
    return "\n".join(
        f"  {'.'.join(str(part) for part in problem['loc']) or '(whole)'}: "
        f"{problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors()
    )
