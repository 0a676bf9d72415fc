"""A network as the training settings ask for it, ready to be fitted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cube.errors import PlanError
from cube.lithology import CLASS_COUNT
from pipelines.recipe import Normalisation, TrainSettings

if TYPE_CHECKING:
    import keras

    from models.networks import Settings


def network_of(settings: TrainSettings) -> Settings:
    """Size and options of the network that the settings ask for."""
    from models.networks import KINDS

    kind, _, size = settings.network.rpartition("-")
    options: dict[str, Any] = {
        "residual": settings.residual,
        "missing_channels": settings.missing_channels,
    }
    if kind:
        options["feedback"] = settings.feedback
    preset = KINDS[kind or "unet"].preset(size)
    given = {name: getattr(settings, name) for name in ("filters", "depth", "l2", "norm_momentum")}
    options |= {name: value for name, value in given.items() if value is not None}
    if (rate := settings.dropout) is not None:
        depth = settings.depth or preset.depth
        options |= {"encoder_dropout": (rate,) * depth, "bottleneck_dropout": rate}
    return KINDS[kind or "unet"].model_validate(preset.model_dump() | options)


def require_buffer(settings: TrainSettings) -> None:
    """Refuse a buffer that lets a network be tested on pixels it was trained beside.

    Raises
    ------
    PlanError
        With the buffer that is needed.
    """
    from models.networks import receptive_field

    size = network_of(settings)
    split = settings.split.for_patch(settings.patch)
    needed = min(receptive_field(size, _sequence(settings)), settings.patch)
    if split.by_place and (split.buffer or 0) < needed:
        raise PlanError(
            f"a buffer of {split.buffer} px between the parts is too narrow: the network sees "
            f"{needed} px at once, so it would be tested on pixels it was trained beside; take a "
            f"buffer of {needed} px or more"
        )


def build(
    size: Settings,
    bands: Sequence[str],
    settings: TrainSettings,
    weights: tuple[float, ...] | None,
    normalisation: Normalisation,
) -> keras.Model:
    """Build the network with fresh weights, and compile it with loss, optimiser and scores.

    Parameters
    ----------
    size
        See `network_of`.
    bands
        Of the input, in order.
    settings
        Patch, sequence, loss, learning rate, precision.
    weights
        Of the classes; None if all count the same.
    normalisation
        Statistics of the bands.
    """
    import keras

    from models.losses import weighted_crossentropy
    from models.networks import build_network
    from models.precision import precision
    from models.running import MacroF1

    with precision(settings.precision):
        network = build_network(
            size,
            len(bands),
            CLASS_COUNT,
            patch=settings.patch,
            mean=normalisation.mean,
            std=normalisation.std,
            sequence=_sequence(settings),
        )
    network.compile(
        optimizer=_optimiser(settings),
        loss=weighted_crossentropy(
            weights,
            settings.gamma if settings.loss == "focal" else 0.0,
            settings.smoothing,
            settings.dice,
        ),
        weighted_metrics=[
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
            MacroF1(CLASS_COUNT, name="macro_f1"),
        ],
    )
    return network


def _optimiser(settings: TrainSettings) -> keras.optimizers.Optimizer:
    import keras

    adam = keras.optimizers.Adam(settings.learning_rate)
    # Gradients in half precision vanish unless the loss is scaled up.
    half = settings.precision == "mixed_float16"
    return keras.optimizers.LossScaleOptimizer(adam) if half else adam


def _sequence(settings: TrainSettings) -> int | None:
    return settings.sequence.length if settings.sequence.length > 1 else None
