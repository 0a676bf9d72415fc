"""Published training settings of the four networks."""

from __future__ import annotations

from typing import Literal, Self

import keras
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from models.superres.losses import MixGL, ScaledHuber, ScaleInvarianceFree

Objective = Literal["sif_sobel", "sif_high_pass", "huber", "mix_gl"]


class Recipe(BaseModel):
    """How one of the published networks is trained. All use Adam and no learning-rate schedule.

    Raises
    ------
    pydantic.ValidationError
        A `ValueError`: unknown key, or value out of range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: Literal["sif", "mr_unet"] = "sif"
    objective: Objective
    alpha: float = Field(default=0.0, ge=0.0, le=1.0)
    """Weight of the reconstruction (``sif_*``) or of the gradients (``mix_gl``)."""
    gamma: float = 0.0
    """Texture of LST for that of NDVI (``sif_*``)."""
    scale_invariant: bool = False
    """Learn from images degraded by the scale, whose fine LST is known, and apply one scale up."""
    learning_rate: float = Field(default=1e-4, gt=0.0)
    batch: PositiveInt = 32
    epochs: PositiveInt = 200
    patience: PositiveInt | None = 30
    """Epochs without a better validation loss before training stops; None never stops early."""
    validation_share: float = Field(default=0.4, gt=0.0, lt=1.0)
    flips: bool = False
    """Augment by horizontal flips."""

    @classmethod
    def preset(cls, name: str) -> Self:
        """Look up ``sif_sr1``, ``sif_sr2``, ``sc_unet`` or ``mr_unet``.

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
                    objective="sif_sobel", alpha=0.99, gamma=-0.5, learning_rate=1e-3, epochs=100
                )
            case "sif_sr2":
                return cls(objective="sif_high_pass", alpha=0.5, gamma=-0.25)
            case "sc_unet":
                return cls(objective="huber", scale_invariant=True, patience=20)
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
                    flips=True,
                )
        raise ValueError(
            f"no recipe is called {name!r}; there are 'sif_sr1', 'sif_sr2', 'sc_unet', 'mr_unet'"
        )

    def loss(self, lst_std: float, ndvi_std: float) -> keras.losses.Loss:
        """The loss, for the statistics of the training part."""
        match self.objective:
            case "sif_sobel":
                return ScaleInvarianceFree(self.alpha, self.gamma, "sobel", lst_std, ndvi_std)
            case "sif_high_pass":
                return ScaleInvarianceFree(self.alpha, self.gamma, "high_pass", lst_std, ndvi_std)
            case "huber":
                return ScaledHuber(lst_std)
            case "mix_gl":
                return MixGL(self.alpha)
