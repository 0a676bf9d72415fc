"""A classifier of one region at work in another: what of it is physics and what is the map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models.forest import PixelClassifier
from models.nearby import fuse
from pipelines.classify import IMAGERY, MAJORITY, ClassifySettings
from pipelines.pixel_features import thermal_features
from pipelines.study_document import scored

if TYPE_CHECKING:
    from cube.store import Cube


def transfer(
    taught: Cube, tested: Cube, settings: ClassifySettings | None = None
) -> dict[str, Any]:
    """Learn all of one region and map another, of which no label is used.

    Nothing is chosen: trust is 1 and lift 0, see `models.nearby.fuse`.

    Parameters
    ----------
    taught, tested
        Cubes with the same bands.
    settings
        `scales`, `kinds`, `trees`, `step` and `seed` are used.

    Returns
    -------
    dict
        Scores beside the majority class of the region taught; see `study_document.scored`.
    """
    settings = settings or ClassifySettings()
    train, labels = _region(taught, settings)
    test, truth = _region(tested, settings)
    seen = np.isfinite(test).any(axis=-1)
    known = (labels > 0) & np.isfinite(train).any(axis=-1)
    frequency = np.bincount(labels[known], minlength=14) / known.sum()
    rows, columns = np.indices(labels.shape)
    known &= (rows + 3 * columns) % settings.step == 0
    opinions = [
        PixelClassifier.fit(
            train[known],
            labels[known],
            kind=kind,
            balance=0.0,
            trees=settings.trees,
            seed=settings.seed,
        ).predict_proba(test[seen])
        for kind in settings.kinds
    ]
    maps = {name: np.zeros(truth.shape, np.uint8) for name in (MAJORITY, IMAGERY)}
    maps[MAJORITY][seen] = frequency.argmax()
    maps[IMAGERY][seen] = fuse(opinions, frequency).argmax(axis=-1)
    shared = np.intersect1d(labels, truth)
    return {
        "taught": taught.name,
        "tested": tested.name,
        "snapshots": [taught.snapshot, tested.snapshot],
        "shared_classes": [int(code) for code in shared if code],
        "scores": scored(truth, maps, seen & (truth > 0)),
    }


def _region(cube: Cube, settings: ClassifySettings) -> tuple[np.ndarray, np.ndarray]:
    dataset = cube.dataset("thermal", chunks=None).load()
    labels = cube.dataset("labels", chunks=None)["lithology"].transpose("y", "x").to_numpy()
    return thermal_features(dataset, settings.scales).values, labels.astype(np.uint8)
