"""What a search for training settings varies, and how."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from cube.errors import ModelError
from pipelines.recipe import Table

if TYPE_CHECKING:
    import optuna


class Vary(Table):
    """How one setting is varied: over a range, or among choices."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    """Draw the logarithm evenly."""
    choices: tuple[float | str | bool, ...] = Field(default=())

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        in_range = self.low is not None and self.high is not None and self.low < self.high
        if in_range == bool(self.choices):
            raise ValueError("give low < high, or choices")
        return self

    def draw(self, trial: optuna.Trial, name: str) -> Any:
        """A value for a trial."""
        if self.choices:
            return trial.suggest_categorical(name, list(self.choices))
        assert self.low is not None and self.high is not None
        return trial.suggest_float(name, self.low, self.high, log=self.log)


Space = Mapping[str, Vary]
"""Name of a training setting, with a dot for those of a table, to how it is varied."""

SPACE: Space = MappingProxyType(
    {
        "learning_rate": Vary(low=1e-5, high=1e-2, log=True),
        "l2": Vary(low=1e-6, high=1e-1, log=True),
        "batch_size": Vary(choices=(4, 8, 16, 32)),
        "filters": Vary(choices=(8, 16, 32)),
    }
)
"""What the rock-and-soil study varied."""


def load_space(path: Path) -> Space:
    """Read what is to be varied from a TOML file: a table a setting.

    Raises
    ------
    ModelError
        If there is no such file, or it is not valid.

    Examples
    --------
    ::

        [learning_rate]
        low = 1e-5
        high = 1e-2
        log = true

        [loss]
        choices = ["weighted", "focal"]
    """
    from pipelines.experiment import explained

    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        return TypeAdapter(dict[str, Vary]).validate_python(tables)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"the space {path} cannot be read: {error}") from error
    except ValidationError as error:
        raise ModelError(f"the space {path}:\n{explained(error)}") from None
