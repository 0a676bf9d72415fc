"""All networks by one door, so that a recipe says by data which one is meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from models.settings import ConvLSTMSettings, UNetSettings

if TYPE_CHECKING:
    import keras

Settings = UNetSettings | ConvLSTMSettings

KINDS: Mapping[str, type[UNetSettings] | type[ConvLSTMSettings]] = {
    "unet": UNetSettings,
    "convlstm": ConvLSTMSettings,
}
"""``kind`` to the settings of such a network."""


def network_settings(table: Mapping[str, Any]) -> Settings:
    """Read settings back from a plain table, such as that of a recipe.

    Parameters
    ----------
    table
        What ``settings.model_dump(mode="json")`` gave; without ``kind``, that of a U-Net.

    Raises
    ------
    ValueError
        For a kind, key or value that is not known.
    """
    kind = table.get("kind", "unet")
    if kind not in KINDS:
        raise ValueError(f"no network is of kind {kind!r}; there are {', '.join(map(repr, KINDS))}")
    return KINDS[kind].model_validate(dict(table))


def build_network(
    settings: Settings,
    bands: int,
    classes: int,
    *,
    patch: int | None,
    mean: Sequence[float],
    std: Sequence[float],
    sequence: int | None = None,
) -> keras.Model:
    """Build the network that the settings are of, with fresh weights, not compiled.

    Parameters
    ----------
    settings
        A U-Net takes one date, or with `sequence` the stacked bands of several; a ConvLSTM
        U-Net takes sequences only.
    bands, classes, patch, mean, std, sequence
        See `models.unet.build_unet` and `models.convlstm.build_convlstm`.

    Returns
    -------
    keras.Model
        float32 (n, y, x, band), or with `sequence` (n, sequence, y, x, band), to probabilities
        (n, y, x, class).

    Raises
    ------
    ValueError
        If settings, bands, dates and statistics do not fit one another.
    """
    if isinstance(settings, UNetSettings):
        from models.unet import build_unet

        return build_unet(settings, bands, classes, patch, mean, std, sequence)
    if sequence is None:
        raise ValueError(
            "a ConvLSTM U-Net learns from sequences of dates, but samples of single dates were "
            "given: set the length of the sequence (the study took 5)"
        )
    from models.convlstm import build_convlstm

    return build_convlstm(settings, bands, classes, patch, sequence, mean=mean, std=std)


def receptive_field(settings: Settings, sequence: int | None = None) -> int:
    """Width in pixels of the window that a pixel's prediction depends on, odd.

    Parameters
    ----------
    settings
        Of either network.
    sequence
        Dates of a sample.
    """
    if isinstance(settings, UNetSettings):
        from models import unet

        return unet.receptive_field(settings)
    from models import convlstm

    return convlstm.receptive_field(settings, sequence or 1)
