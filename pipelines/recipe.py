"""What a network is trained on, and the recipe that says afterwards how it was made."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cube.errors import ModelError
from cube.joint import Join
from cube.sampling import Drawing, Sequence, SplitSettings

if TYPE_CHECKING:
    import xarray as xr

    from cube.store import Cube


class Table(BaseModel):
    """A table of the recipe: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Selection(Table):
    """The scenes and bands that go into a network; see `cube.joint.select_from`."""

    modality: str = "thermal"
    """The one whose scenes are chosen."""
    bands: tuple[str, ...] = ()
    """In the order the network takes them, those of joined modalities and stacked dates among
    them; empty means all that there are."""
    join: tuple[Join, ...] = ()
    """Other modalities, set beside each scene; scenes without a partner are left out."""
    period: str | tuple[str | None, str | None] | None = None
    """A year, month or day, or the first and the last one."""
    season: str | tuple[str, str] | tuple[int, int] | None = None
    """``winter`` (22 September to 21 March), ``summer``, or another of `cube.select.SEASONS`; or
    the first and last day, ``MM-DD`` or day of the year."""
    time_of_day: Literal["day", "night"] | tuple[float, float] | None = None
    """Or two hours; midnight may lie in between."""
    clock: Literal["solar", "utc", "sun"] = "solar"
    """What `time_of_day` goes by; see `cube.select.select`."""
    max_cloud: float | None = Field(default=None, ge=0, le=1)
    max_bad: float | None = Field(default=None, ge=0, le=1)
    min_coverage: float | None = Field(default=None, ge=0, le=1)
    """Limits for a scene: its share of cloud, of otherwise bad, and of valid pixels."""
    mask: tuple[str, ...] = ()
    """Flags whose pixels count as missing, e.g. ``water``."""
    anomalies: tuple[str, ...] = ()
    """Bands that are given less the median of their scene's valid pixels, which takes away what
    weather, season and hour do to a scene as a whole; see `cube.anomalies`."""
    stack: int = Field(default=1, ge=1)
    """So many dates as bands beside one another, ``lst@-1`` and so on; not with `sequence`."""
    stack_gap: float | None = Field(default=None, gt=0)
    """Days between two stacked dates, at most."""
    sequence: Sequence = Sequence()
    """Dates of a sample, for a network that takes them one after another."""

    @model_validator(mode="after")
    def _one_way_to_take_dates(self) -> Self:
        if self.stack > 1 and self.sequence.length > 1:
            raise ValueError("dates are stacked as bands or follow in a sequence, not both")
        return self

    def of(self, cube: Cube) -> xr.Dataset:
        """Select from a cube, lazily and without Dask.

        Raises
        ------
        SelectionError
            If the cube lacks a modality or a band, or no scene is left.
        """
        from cube.joint import select_from

        return select_from(cube, self.modality, chunks=None, **self.rules)

    @property
    def rules(self) -> dict[str, Any]:
        """All but the modality and the sequence, as `cube.joint.select_from` takes it."""
        names = Selection.model_fields.keys() - {"modality", "sequence", "min_coverage"}
        rules = {name: getattr(self, name) for name in names}
        return rules | {"bands": self.bands or None, "min_valid": self.min_coverage}


FROM_COUNTS = ("balanced", "inverse", "effective")
"""Class weights that are worked out from the training part."""


class TrainSettings(Selection):
    """What is trained on which data, and how; the defaults suit a region on a small CPU."""

    patch: int = Field(default=32, ge=4)
    """Side of a patch, pixels."""
    stride: int | None = Field(default=None, ge=1)
    """Step from one patch to the next, pixels; by default a patch, so that they do not overlap."""
    min_valid: float = Field(default=0.5, ge=0, le=1)
    """Patches with a smaller share of valid, labelled pixels are not used."""
    split: SplitSettings = SplitSettings()
    """By default spatial blocks with a buffer of one patch."""
    drawing: Drawing = "uniform"
    """``balanced``: patches of rare classes go out more often than once an epoch; see
    `cube.balance.repeat_factors`."""
    network: Literal["small", "study", "convlstm-small", "convlstm-study"] = "small"
    """A CNN U-Net, on single dates or on the stacked bands of a sequence; or a ConvLSTM U-Net,
    which needs sequences."""
    feedback: bool = False
    """Run the ConvLSTM twice, its first map beside the imagery; see `models.settings`."""
    filters: int | None = Field(default=None, ge=1)
    """Filters of the first stage; by default those of the network's preset."""
    depth: int | None = Field(default=None, ge=1, le=8)
    """2x2 poolings; by default those of the network's preset. Needs `dropout` where it differs."""
    l2: float | None = Field(default=None, ge=0)
    """Penalty on the kernels; by default that of the network's preset."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """One rate for all stages and the bottleneck; by default those of the network's preset."""
    norm_momentum: float | None = Field(default=None, ge=0, lt=1)
    """Of the moving statistics of batch normalisation; by default that of the network's preset.
    Short trainings need less than the study's 0.99."""
    residual: bool = False
    """Add the input of each stage to its output."""
    missing_channels: bool = False
    """Tell the network which values are missing, by one more channel a band."""
    loss: Literal["crossentropy", "weighted", "focal"] = "crossentropy"
    """``focal`` is weighted too."""
    class_weights: str | tuple[float, ...] = "balanced"
    """``balanced`` or ``inverse`` frequency, ``effective`` number of pixels, a region of
    `models.class_weights.CLASS_WEIGHTS` (the study's Table 12), or one number a class, class 0
    first. Not used by ``crossentropy``."""
    gamma: float = Field(default=2.0, ge=0)
    """Focusing exponent of the focal loss (Lin et al. 2017)."""
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of each label that is spread over all classes; see `models.losses`."""
    dice: float = Field(default=0.0, ge=0, lt=1)
    """Share of a Dice term in the loss; see `models.losses`."""
    label_weight: bool = True
    """Let labels count less near the edges of their class, by the labels' ``weight`` layer."""
    augment: bool = True
    """Turn and mirror training patches at random."""
    jitter: float = Field(default=0.0, ge=0, le=1)
    """Probability that a date of a training sequence is missing or taken from its neighbour."""
    learning_rate: float = Field(default=1e-3, gt=0)
    schedule: Literal["plateau", "cosine"] = "plateau"
    """``plateau``: the rate is halved when the validation score stands still. ``cosine``: it falls
    to 0 over `epochs` along half a wave (Loshchilov & Hutter 2017, arXiv 1608.03983)."""
    batch_size: int = Field(default=16, ge=1)
    epochs: int = Field(default=20, ge=1)
    patience: int = Field(default=6, ge=1)
    """Epochs without a better validation score (`monitor`) before training stops; on a plateau,
    half of them before the learning rate is halved."""
    monitor: Literal["loss", "macro_f1"] = "loss"
    """What of the validation part the epoch whose weights are kept is chosen by. The loss punishes
    sure errors; a network may grow surer of them while its map still gets better."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Of the layers' arithmetic; the mixed ones are faster on GPUs made for them. Kelvins,
    weights and probabilities stay float32."""
    devices: int | None = Field(default=None, ge=1)
    """GPUs, or without any CPU devices, that share each batch; None leaves it to Keras, which
    takes one. See `pipelines.devices`."""
    seed: int = 0
    memory: float = Field(default=512.0, gt=0)
    """Megabytes of imagery held at once; see `pipelines.stream.Stream`."""

    @model_validator(mode="after")
    def _corrects_once(self) -> Self:
        weighted = self.loss != "crossentropy" and self.class_weights in FROM_COUNTS
        if weighted and self.drawing == "balanced":
            raise ValueError(
                f"drawing 'balanced' shows rare classes more often and class_weights "
                f"{self.class_weights!r} weighs them up as well, which corrects twice; take one"
            )
        return self

    @model_validator(mode="after")
    def _network_gets_what_it_takes(self) -> Self:
        recurrent = self.network.startswith("convlstm")
        if recurrent and self.sequence.length == 1:
            raise ValueError(
                f"network {self.network!r} learns from sequences of dates: set sequence.length "
                "(the study took 5)"
            )
        if self.depth is not None and self.dropout is None:
            raise ValueError(
                "a network of another depth needs a dropout rate: the preset's are one a stage"
            )
        if self.feedback and not recurrent:
            raise ValueError(f"feedback is of the ConvLSTM networks, not of {self.network!r}")
        if self.jitter and self.sequence.length == 1:
            raise ValueError("jitter is of the dates of a sequence: set sequence.length")
        return self

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


class RegionLineage(Table):
    """What one of several regions gave to a network."""

    snapshot: str
    plan_digest: str


class Lineage(Table):
    """What a network was made from."""

    cube: str
    """Name of the region; of several, their names joined by ``+``."""
    snapshot: str
    """Snapshot of the cube that was trained on; of several, joined by ``+``."""
    plan_digest: str
    """Of several regions, the SHA-256 over the digests of their plans."""
    regions: dict[str, RegionLineage] = {}
    """Region by region, if there are several."""
    started_from: str | None = None
    """Digest of the model whose weights the training began with; left out if they were new."""
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
    """Settings of `models.networks.build_network`; without ``kind``, of a U-Net."""
    training: TrainSettings
    taught: tuple[int, ...] = ()
    """Classes that the model was taught before this training, where it began with another's
    weights."""
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
