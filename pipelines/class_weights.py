"""How much each class counts in the loss."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cube.errors import ModelError
from cube.lithology import CLASS_COUNT
from cube.sampling import SamplePlan
from pipelines.recipe import TrainSettings

MAX_BALANCED_WEIGHT = 15.0
"""Largest weight that ``balanced`` gives, the largest of the study's Table 12: a class of a few
pixels would otherwise drown all others."""


def class_weights(settings: TrainSettings, plan: SamplePlan) -> tuple[float, ...] | None:
    """Work out the weights that the settings ask for.

    Returns
    -------
    tuple of float, (class,), or None
        That of class 0 is 0; None if all classes count the same.

    Raises
    ------
    ModelError
        For a name that is not known, or another number of weights than classes.
    """
    if settings.loss == "crossentropy":
        return None
    given = settings.class_weights
    if given == "balanced":
        return balanced_weights(plan.summary["parts"]["train"]["class_shares"])
    if isinstance(given, str):
        from models.losses import CLASS_WEIGHTS

        if given not in CLASS_WEIGHTS:
            raise ModelError(
                f"there are no class weights called {given!r}; there are 'balanced', "
                f"{', '.join(map(repr, CLASS_WEIGHTS))}, or give {CLASS_COUNT} numbers"
            )
        given = CLASS_WEIGHTS[given]
    if len(given) != CLASS_COUNT:
        raise ModelError(
            f"{len(given)} class weights for {CLASS_COUNT} classes; give one a class, class 0 "
            "first (it never counts)"
        )
    return (0.0, *(float(weight) for weight in given[1:]))


def balanced_weights(shares: Mapping[str, float]) -> tuple[float, ...]:
    """Weigh classes inversely to how often they are in the training part.

    Parameters
    ----------
    shares
        Class code, as text, to its share of the labelled pixels.

    Returns
    -------
    tuple of float, (class,)
        ``1 / (number of classes * share)``, at most `MAX_BALANCED_WEIGHT`, so that the mean over
        pixels is 1 before the limit; 0 for classes that are not there (King & Zeng 2001, as in
        scikit-learn's ``class_weight="balanced"``).
    """
    weights = np.zeros(CLASS_COUNT)
    for code, share in shares.items():
        weights[int(code)] = min(1.0 / (len(shares) * share), MAX_BALANCED_WEIGHT)
    weights[0] = 0.0
    return tuple(weights.tolist())
