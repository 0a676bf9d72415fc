"""How scores depend on the distance between known and tested ground."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.statistics import receptive_field
from pipelines.classify import FUSED, NEARBY, Classified, ClassifySettings, classify
from pipelines.scattered_folds import ScatteredFolds
from pipelines.study_document import scored

if TYPE_CHECKING:
    from cube.store import Cube
    from pipelines.pixel_features import Layers

PIXEL = 0.07
"""Side of a pixel, km."""

Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Rung:
    """One distance, and features that do not look across it."""

    block: int
    """Side of the tested blocks, pixels."""
    buffer: int
    """Pixels between them and known ground."""
    scales: tuple[float, ...] = ()
    """Of the windows around a pixel; none for what the pixel itself shows."""

    @property
    def settings(self) -> ClassifySettings:
        """Labels are spread by half the buffer, 12 px at 24 px as in the main classification."""
        scale = max(self.buffer / 2, 2.0)
        return ClassifySettings(
            block=self.block,
            buffer=self.buffer,
            scales=self.scales,
            nearby=scale,
            cell=max(1, int(scale / 2.5)),
        )


LADDER = (Rung(8, 2), Rung(16, 10, (2.0,)), Rung(32, 24, (2.0, 5.0)))


def distance_document(
    cube: Cube,
    layers: Sequence[Layers] = (),
    *,
    ladder: Sequence[Rung] = LADDER,
    on_rung: Told | None = None,
) -> dict[str, Any]:
    """Classify a region with scattered blocks at each distance.

    Parameters
    ----------
    cube
        With a ``labels`` group.
    layers
        More maps to learn from; see `pipelines.classify.classify`.
    ladder
        The distances.
    on_rung
        Called with the number of distances done and of all.

    Returns
    -------
    dict
        Of each rung the split, the digests of its folds, the distances of the tested pixels
        from known ground, and the scores of all predictors with intervals.

    Raises
    ------
    ValueError
        If a buffer is narrower than the receptive field of its features.
    """
    shape = (int(cube.grid.shape[0]), int(cube.grid.shape[1]))
    rungs = []
    for done, rung in enumerate(ladder, 1):
        folds = ScatteredFolds.of(shape, rung.block, rung.buffer)
        found = classify(cube, rung.settings, layers=layers, folds=folds)
        rungs.append(_of_rung(rung, folds, found))
        if on_rung is not None:
            on_rung(done, len(ladder))
    return {"region": cube.name, "snapshot": cube.snapshot, "rungs": rungs}


def _of_rung(rung: Rung, folds: ScatteredFolds, found: Classified) -> dict[str, Any]:
    last_two = {name: found.maps[name] for name in (NEARBY, FUSED)}
    return {
        "block": rung.block,
        "buffer": rung.buffer,
        "scales": rung.scales,
        "sees": receptive_field(rung.scales),
        "nearby": rung.settings.nearby,
        "split": folds.in_words,
        "plans": folds.digests,
        "distance": _distances(folds, found.valid),
        "scores": scored(found.truth, found.maps, found.valid),
        "beyond_nearby": scored(found.truth, last_two, found.valid, versus=NEARBY)[FUSED]["better"],
        "chosen": found.chosen,
    }


def _distances(folds: ScatteredFolds, valid: np.ndarray) -> dict[str, float]:
    """From the tested pixels to the nearest known one, in rows or columns, km."""
    from scipy.ndimage import distance_transform_cdt

    away = np.zeros(valid.shape)
    for fold in range(folds.count):
        test = folds.number == fold
        known = folds.train(fold) & valid
        away[test] = distance_transform_cdt(~known, metric="chessboard")[test]
    low, median, high = np.quantile(away[valid], (0.05, 0.5, 0.95)) * PIXEL
    return {"low": float(low), "median": float(median), "high": float(high)}
