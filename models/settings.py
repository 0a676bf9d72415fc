"""Sizes and options of the networks; importing this needs no Keras."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Rate = Annotated[float, Field(ge=0.0, lt=1.0)]


class NetworkSettings(BaseModel):
    """What the U-Nets have in common.

    Raises
    ------
    pydantic.ValidationError
        A `ValueError`: unknown key, value out of range, or a number of dropout rates that is
        not `depth`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    filters: int = Field(default=16, ge=1)
    """Filters of the first encoder stage; each stage has twice those of the one before."""
    depth: int = Field(default=5, ge=1, le=8)
    """Number of 2x2 poolings. A patch that is no multiple of ``2 ** depth`` is padded."""
    l2: float = Field(default=0.05, ge=0.0)
    """Penalty on the kernels of the ordinary convolutions."""
    encoder_dropout: tuple[Rate, ...] = (0.0, 0.0, 0.0, 0.2, 0.2)
    """One rate a stage, finest first."""
    bottleneck_dropout: Rate = 0.3
    norm_momentum: Rate = 0.99
    """Of the moving statistics of batch normalisation; 0.99 needs some 500 batches to settle."""
    residual: bool = False
    """Add the input of each stage to its output (He et al. 2016, arXiv 1512.03385)."""
    missing_channels: bool = False
    """Give the network one more channel a band, 1 where the value is there and 0 where it is
    missing; without, a missing value cannot be told from the mean of its band."""

    @model_validator(mode="after")
    def _one_rate_a_stage(self) -> Self:
        if len(self.encoder_dropout) != self.depth:
            raise ValueError(
                f"encoder_dropout has {len(self.encoder_dropout)} rates for depth {self.depth}; "
                "give one for each encoder stage"
            )
        return self

    @classmethod
    def study(cls) -> Self:
        """The size of the study's network: the defaults."""
        return cls()

    @classmethod
    def small(cls) -> Self:
        """A network that a CPU trains in minutes."""
        return cls(**_SMALL)

    @classmethod
    def preset(cls, name: str) -> Self:
        """Look up ``study`` or ``small``.

        Raises
        ------
        ValueError
            If there is no preset of that name.
        """
        match name:
            case "study":
                return cls.study()
            case "small":
                return cls.small()
        raise ValueError(f"no U-Net preset is called {name!r}; there are 'study' and 'small'")

    @property
    def stage_filters(self) -> tuple[int, ...]:
        """Filters of each encoder stage, finest first, the bottleneck last."""
        return tuple(self.filters * 2**stage for stage in range(self.depth + 1))


class UNetSettings(NetworkSettings):
    """Size and regularisation of a CNN U-Net; the defaults are the study's (8.66 million
    parameters with two bands and 14 classes), `small` has 0.54 million.
    """

    kind: Literal["unet"] = "unet"


class ConvLSTMSettings(NetworkSettings):
    """Size and regularisation of a ConvLSTM U-Net; the defaults are the study's (27.5 million
    parameters with two bands and 14 classes), `small` has 0.43 million.
    """

    kind: Literal["convlstm"] = "convlstm"
    encoder_dropout: tuple[Rate, ...] = (0.0, 0.0, 0.10, 0.15, 0.20)
    """One rate a stage, finest first; drops whole feature maps, on all dates at once."""
    activation: Literal["relu", "tanh"] = "relu"
    """Of the recurrent cells. The study's ``relu`` is not bounded and may overflow at high
    learning rates; ``tanh`` (Shi et al. 2015) cannot."""
    feedback: bool = False
    """Run twice: the probability map of the first round goes in beside the imagery of the second,
    which starts from the cell states of the first (Shibuya & Hotta 2022)."""

    @classmethod
    def small(cls) -> Self:
        """A network that a CPU trains in tens of minutes."""
        return cls(**_SMALL | {"filters": 8, "activation": "tanh"})


_SMALL: dict[str, Any] = {
    "depth": 3,
    "l2": 1e-4,
    "encoder_dropout": (0.0, 0.0, 0.1),
    "bottleneck_dropout": 0.2,
    "norm_momentum": 0.9,
}
