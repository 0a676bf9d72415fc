"""What a network is trained on, and the recipe that says afterwards how it was made."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from cube.errors import ModelError
from cube.sampling import SplitSettings

if TYPE_CHECKING:
    import xarray as xr

    from cube.store import Cube


class Table(BaseModel):
    """A table of the recipe: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Selection(Table):
    """The scenes and bands that go into a network."""

    modality: str = "thermal"
    bands: tuple[str, ...] = ()
    """In the order the network takes them; empty means all that the cube has."""
    season: str | None = None
    """``winter`` (22 September to 21 March), ``summer``, or another of `cube.select.SEASONS`."""
    time_of_day: Literal["day", "night"] | None = None
    clock: Literal["solar", "utc", "sun"] = "solar"
    """What `time_of_day` goes by; see `cube.select.select`."""

    def of(self, cube: Cube) -> xr.Dataset:
        """Select from a cube, lazily and without Dask.

        Raises
        ------
        SelectionError
            If the cube lacks the modality or a band, or no scene is left.
        """
        from cube.select import select

        return select(
            cube.dataset(self.modality, chunks=None),
            bands=self.bands or None,
            season=self.season,
            time_of_day=self.time_of_day,
            clock=self.clock,
        )


class TrainSettings(Selection):
    """What is trained on which data, and how; the defaults suit a region on a small CPU."""

    patch: int = Field(default=32, ge=4)
    """Side of a patch, pixels; halved once per encoder stage of the network."""
    stride: int | None = Field(default=None, ge=1)
    """Step from one patch to the next, pixels; by default a patch, so that they do not overlap."""
    min_valid: float = Field(default=0.5, ge=0, le=1)
    """Patches with a smaller share of valid, labelled pixels are not used."""
    split: SplitSettings = SplitSettings()
    """By default spatial blocks with a buffer of one patch."""
    network: Literal["small", "study"] = "small"
    loss: Literal["crossentropy", "weighted", "focal"] = "crossentropy"
    """``focal`` is weighted too."""
    class_weights: str | tuple[float, ...] = "balanced"
    """``balanced``, a region of `models.losses.CLASS_WEIGHTS` (the study's Table 12), or one
    number a class, class 0 first. Not used by ``crossentropy``."""
    gamma: float = Field(default=2.0, ge=0)
    """Focusing exponent of the focal loss (Lin et al. 2017)."""
    label_weight: bool = True
    """Let labels count less near the edges of their class, by the labels' ``weight`` layer."""
    augment: bool = True
    """Turn and mirror training patches at random."""
    learning_rate: float = Field(default=1e-3, gt=0)
    batch_size: int = Field(default=16, ge=1)
    epochs: int = Field(default=20, ge=1)
    patience: int = Field(default=6, ge=1)
    """Epochs without a better validation loss before training stops; half of them before the
    learning rate is halved."""
    seed: int = 0

    @property
    def selection(self) -> Selection:
        """The part that says which scenes and bands are taken."""
        return Selection(**{name: getattr(self, name) for name in Selection.model_fields})

    @property
    def steps(self) -> int:
        """The stride in pixels, default filled in."""
        return self.stride or self.patch


class Normalisation(Table):
    """Statistics of the training part, one number a band, in the bands' units."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Lineage(Table):
    """What a network was made from."""

    cube: str
    """Name of the region."""
    snapshot: str
    """Snapshot of the cube that was trained on."""
    plan_digest: str
    code_version: str
    libraries: dict[str, str]


class Recipe(Table):
    """``recipe.toml``: all but the weights that is needed to use a network, or to remake it."""

    schema_version: Literal[1] = 1
    classes: tuple[str, ...]
    """Names of the softmax outputs, class 0 first."""
    patch: int
    stride: int
    class_weights: tuple[float, ...] | None = None
    """The weights used in the loss; left out when all classes counted the same."""
    selection: Selection
    normalisation: Normalisation
    network: dict[str, Any]
    """Settings of `models.unet.build_unet`."""
    training: TrainSettings
    lineage: Lineage

    @field_validator("normalisation")
    @classmethod
    def _usable(cls, value: Normalisation) -> Normalisation:
        if len(value.mean) != len(value.std) or any(not std > 0 for std in value.std):
            raise ValueError("every band needs a mean and a standard deviation above zero")
        return value

    @property
    def bands(self) -> tuple[str, ...]:
        """The network's input bands, in order."""
        return self.selection.bands

    def save(self, path: Path) -> None:
        """Write the recipe as TOML."""
        import tomli_w

        # TOML has no null: what is not set is left out and read back as its default.
        tables = self.model_dump(mode="json", exclude_none=True)
        path.write_text(tomli_w.dumps(tables), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read a recipe.

        Raises
        ------
        ModelError
            If it is not valid, naming the file and the keys.
        """
        try:
            return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except tomllib.TOMLDecodeError as error:
            raise ModelError(f"recipe {path} is not valid TOML: {error}") from error
        except ValidationError as error:
            problems = "\n".join(
                f"  {'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
                for problem in error.errors()
            )
            raise ModelError(
                f"recipe {path} is not one this version can use:\n{problems}\n"
                "Train the model again, or use the version named in its [lineage]."
            ) from None
