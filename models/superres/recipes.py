"""Training settings: those published of the four networks, and those of the one on local slope."""

from __future__ import annotations

from typing import Literal, Self

import keras
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from models.sharpening.features import Coarsening, NetworkName
from models.superres.guided import SlopeSettings, build_slope
from models.superres.losses import MixGL, ScaledHuber, ScaleInvarianceFree
from models.superres.networks import MrUNetSettings, SifSettings, build_mr_unet, build_sif

Symmetries = Literal["none", "flips", "all"]
Guide = Literal["psf", "decimated"]
Precision = Literal["float32", "mixed_bfloat16"]
Objective = Literal["sif_sobel", "sif_high_pass", "huber", "mix_gl"]


STUDY_STD = (8.155, 0.1667)
"""Of LST (kelvin) and NDVI in MODIS over the study's own training images, recovered from a map it
has published: what its gamma is told in."""
PRESETS = ("sif_sr1", "sif_sr2", "sc_unet", "mr_unet", "slope_net")


class Recipe(BaseModel):
    """How a network is trained, by Adam; the published ones at a constant learning rate.

    Raises
    ------
    pydantic.ValidationError
        A `ValueError`: unknown key, or value out of range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: NetworkName = "sif"
    channels: tuple[PositiveInt, ...] | None = None
    """Widths of the network's levels; None for the published ones."""
    objective: Objective
    alpha: float = Field(default=0.0, ge=0.0, le=1.0)
    """Weight of the reconstruction (``sif_*``) or of the gradients (``mix_gl``)."""
    gamma: float = 0.0
    """Texture of LST for that of NDVI (``sif_*``)."""
    scale_invariant: bool = False
    """Learn from images degraded by the scale, whose fine LST is known, and apply one scale up."""
    learning_rate: float = Field(default=1e-4, gt=0.0)
    decay: bool = False
    """Let the learning rate fall to 0 over the epochs, along a cosine."""
    batch: PositiveInt = 32
    epochs: PositiveInt = 200
    patience: PositiveInt | None = 30
    """Epochs without a better validation loss before training stops; None never stops early."""
    validation_share: float = Field(default=0.4, gt=0.0, lt=1.0)
    symmetries: Symmetries = "none"
    """Augment by horizontal flips, or by all eight symmetries of the square."""
    coarsening: Coarsening = "norm4"
    """How images are degraded to learn from (``scale_invariant``)."""
    guide: Guide = "psf"
    """How NDVI is degraded to learn from (``scale_invariant``): by the sensor's point spread
    function, or by bicubic decimation without smoothing, as published."""
    noise: float = Field(default=0.0, ge=0.0)
    """Kelvin of white noise added to the degraded LST (``scale_invariant``)."""
    contrast: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Augment by LST's deviations from its mean times 1 plus or minus up to this."""
    level: Literal["training", "scene"] = "training"
    """What LST is told from: the mean over all scenes that are learnt from, as published, or the
    scene's own, which spares the network to learn all levels from few scenes (``sif``)."""
    crop: PositiveInt | None = None
    """Side of the squares, in fine pixels, that are cut from the images; None for whole images."""
    draws: PositiveInt = 1
    """Times that each image, anew augmented and cropped, is drawn in an epoch."""
    huber_std: float | None = Field(default=None, gt=0.0)
    """Kelvin that the Huber loss takes for 1; None for the standard deviation of LST."""
    std: tuple[PositiveFloat, PositiveFloat] | None = None
    """Standard deviations of LST (K) and NDVI that `gamma` and losses are told in; None for those
    of the scenes that are learnt from, which make texture weaker where these are more alike."""
    precision: Precision = "float32"
    """Of the arithmetic in training; networks are kept, and used, in float32."""

    @model_validator(mode="after")
    def _level_that_the_network_is_given(self) -> Self:
        if self.level == "scene" and self.network != "sif":
            raise ValueError(
                f"level 'scene' is of sif networks; {self.network!r} has its own way to deal with "
                "the level of a scene: leave it out"
            )
        return self

    @classmethod
    def preset(cls, name: str) -> Self:
        """Look up one of `PRESETS`: four of the studies, and ``slope_net`` of ours.

        Notes
        -----
        SIF-CNN-SR2's alpha is 0.5 in the published run file, 0.1 on the study's slides.

        Raises
        ------
        ValueError
            If there is no preset of that name.
        """
        match name:
            case "sif_sr1":
                return cls(
                    objective="sif_sobel",
                    alpha=0.99,
                    gamma=-0.5,
                    std=STUDY_STD,
                    learning_rate=1e-3,
                    epochs=100,
                )
            case "sif_sr2":
                return cls(objective="sif_high_pass", alpha=0.5, gamma=-0.25, std=STUDY_STD)
            case "sc_unet":
                return cls(
                    objective="huber",
                    scale_invariant=True,
                    guide="decimated",
                    std=STUDY_STD,
                    patience=20,
                )
            case "mr_unet":
                return cls(
                    network="mr_unet",
                    objective="mix_gl",
                    scale_invariant=True,
                    learning_rate=1e-3,
                    batch=24,
                    epochs=300,
                    patience=None,
                    validation_share=0.25,
                    symmetries="flips",
                )
            case "slope_net":
                return cls(
                    network="slope",
                    channels=(16, 24, 32),
                    objective="huber",
                    huber_std=2.0,
                    scale_invariant=True,
                    coarsening="psf",
                    noise=0.64,
                    contrast=0.3,
                    symmetries="all",
                    learning_rate=1e-3,
                    decay=True,
                    batch=8,
                    draws=4,
                    epochs=30,
                    patience=None,
                    validation_share=0.2,
                )
        raise ValueError(f"no recipe is called {name!r}; there are {', '.join(PRESETS)}")

    def build(
        self, mean: tuple[float, float], std: tuple[float, float], size: int | None = None
    ) -> keras.Model:
        """The network, with fresh weights.

        Parameters
        ----------
        mean, std
            Of LST (kelvin) and NDVI over the training part.
        size
            Height and width of images; None for a network that takes any.
        """
        wide = {} if self.channels is None else {"channels": self.channels}
        match self.network:
            case "sif":
                return build_sif(SifSettings(**wide), mean=mean, std=std, size=size)
            case "mr_unet":
                return build_mr_unet(MrUNetSettings(**wide), size=size)
            case "slope":
                return build_slope(SlopeSettings(**wide), size=size)

    def optimiser(self, scenes: int) -> keras.optimizers.Optimizer:
        """Adam, for so many scenes to learn from."""
        if not self.decay:
            return keras.optimizers.Adam(self.learning_rate)
        steps = self.epochs * -(-scenes * self.draws // self.batch)
        return keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(self.learning_rate, steps)
        )

    def loss(self, lst_std: float, ndvi_std: float) -> keras.losses.Loss:
        """The loss, for the statistics of the training part."""
        match self.objective:
            case "sif_sobel":
                return ScaleInvarianceFree(self.alpha, self.gamma, "sobel", lst_std, ndvi_std)
            case "sif_high_pass":
                return ScaleInvarianceFree(self.alpha, self.gamma, "high_pass", lst_std, ndvi_std)
            case "huber":
                return ScaledHuber(self.huber_std or lst_std)
            case "mix_gl":
                return MixGL(self.alpha)
