"""How much each class counts in the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cube.errors import ModelError
from cube.lithology import CLASS_COUNT
from models import class_weights as ways
from pipelines.recipe import FROM_COUNTS, TrainSettings


def class_weights(settings: TrainSettings, facts: Mapping[str, Any]) -> tuple[float, ...] | None:
    """Work out the weights that the settings ask for.

    Parameters
    ----------
    settings
        Loss and class weights.
    facts
        `SamplePlan.summary` of the plan, or `cube.sampling.pool_facts` of several.

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
    if given in FROM_COUNTS:
        pixels = training_pixels(facts)
        way = ways.effective_number if given == "effective" else ways.inverse_frequency
        return way(pixels)
    if isinstance(given, str):
        given = _of_the_study(given)
    if len(given) != CLASS_COUNT:
        raise ModelError(
            f"{len(given)} class weights for {CLASS_COUNT} classes; give one a class, class 0 "
            "first (it never counts)"
        )
    return (0.0, *(float(weight) for weight in given[1:]))


def training_pixels(facts: Mapping[str, Any]) -> np.ndarray:
    """Labelled valid pixels of each class in the training part: float64 (class,)."""
    train = facts["parts"]["train"]
    pixels = np.zeros(CLASS_COUNT)
    for code, share in train["class_shares"].items():
        pixels[int(code)] = share * train["labelled_pixels"]
    return pixels


def _of_the_study(name: str) -> tuple[float, ...]:
    if name not in ways.CLASS_WEIGHTS:
        known = ", ".join(map(repr, (*FROM_COUNTS, *ways.CLASS_WEIGHTS)))
        raise ModelError(
            f"there are no class weights called {name!r}; there are {known}, or give "
            f"{CLASS_COUNT} numbers"
        )
    return ways.CLASS_WEIGHTS[name]
