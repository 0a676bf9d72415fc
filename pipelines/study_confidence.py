"""Confidence against correctness and against vegetation, with neighbours not counted twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from models.calibration import reliability
from models.spatial import correlate
from pipelines.classify import FUSED

GREENNESS = "g-r"
"""Green less red, each scaled image by image: what the files have in place of NDVI."""


def confidence_document(maps: Path, layers: Path | None = None) -> dict[str, Any]:
    """Correlate the confidence of a classification with whether it is right, and with greenness.

    Parameters
    ----------
    maps
        As written by ``thermocube study classify``.
    layers
        A file of the study on the same grid. It has no near infrared, so that there is no NDVI;
        see `GREENNESS`.

    Returns
    -------
    dict
        ``correctness`` and, with `layers`, ``greenness`` and ``greenness_correct``: Pearson's r,
        pixels, effective pixels, p and interval (`models.spatial.correlate`); ``calibration``.
    """
    with np.load(maps) as stored:
        truth, sure, said = (stored[name] for name in ("truth", "confidence", FUSED))
    scored = (truth > 0) & (said > 0)
    confidence = np.where(scored, sure, np.nan)
    right = np.where(scored, (said == truth).astype(float), np.nan)
    bins = reliability(sure, said == truth, valid=scored, bins=10)
    document = {
        "correctness": correlate(confidence, right)._asdict(),
        "calibration": {
            "ece": bins.ece,
            "overconfidence": bins.overconfidence,
            "confidence": _numbers(bins.confidence),
            "accuracy": _numbers(bins.accuracy),
            "pixels": bins.pixels.tolist(),
        },
    }
    if layers is not None:
        green = _greenness(layers, (truth.shape[0], truth.shape[1]))
        document["greenness"] = correlate(confidence, green)._asdict()
        document["greenness_correct"] = correlate(right, green)._asdict()
    return document


def _numbers(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def _greenness(file: Path, shape: tuple[int, int]) -> np.ndarray:
    from pipelines.study_layers import study_layers

    colour = next(layer for layer in study_layers(file, shape) if layer.name == "colour")
    return np.asarray(colour.values[..., colour.names.index(GREENNESS)])
