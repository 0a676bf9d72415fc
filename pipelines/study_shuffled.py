"""What a network still scores on images whose pixels were shuffled: what it knows by heart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from cube.store import Cube

AS_THEY_ARE, SHUFFLED = "as they are", "pixels shuffled"


def shuffle_pixels(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put the valid pixels of each image in random order; missing ones stay where they are.

    Parameters
    ----------
    x : ndarray of float32, (..., y, x, band)
        NaN where missing. A pixel with any band missing stays as it is.

    Returns
    -------
    ndarray of float32, same shape
        With the same values, and no pattern but that of what is missing.
    """
    images = x.reshape(-1, x.shape[-3] * x.shape[-2], x.shape[-1]).copy()
    for image in images:
        valid = np.flatnonzero(np.isfinite(image).all(axis=-1))
        image[valid] = image[rng.permutation(valid)]
    return images.reshape(x.shape)


def shuffled_document(cube: Cube, model: str | Path, seed: int = 0) -> dict[str, Any]:
    """Score a network on its test patches, as they are and shuffled; nothing is blended.

    Parameters
    ----------
    cube
        The region that it was trained on.
    model
        Model folder.
    seed
        Of the shuffling.

    Raises
    ------
    PlanError
        If the cube is not what the network's plan was made for.
    """
    from cube.lithology import CLASS_COUNT
    from models.metrics import confusion, scores
    from pipelines.model_folder import ModelFolder
    from pipelines.stream import batches

    folder = ModelFolder.load(model)
    network, plan, view = folder.network(), folder.plan_of(cube.name), cube.at(cube.snapshot)
    counts = {
        name: np.zeros((CLASS_COUNT, CLASS_COUNT), np.int64) for name in (AS_THEY_ARE, SHUFFLED)
    }
    rng = np.random.default_rng(seed)
    labels = view.dataset("labels", chunks=None).load()
    dataset = folder.recipe.selection.of(view)
    for batch in batches(dataset, labels, plan, "test", batch_size=2, shuffle=False):
        images = {AS_THEY_ARE: batch.x, SHUFFLED: shuffle_pixels(batch.x, rng)}
        for name, image in images.items():
            said = 1 + np.asarray(network.predict_on_batch(image))[..., 1:].argmax(axis=-1)
            counts[name] += confusion(batch.y, said, CLASS_COUNT, valid=batch.weight > 0)
    return {
        "region": cube.name,
        "plan": plan.digest,
        "scores": {name: _pair(scores(count)) for name, count in counts.items()},
    }


def _pair(found: Any) -> dict[str, float]:
    return {"oa": found.oa, "macro_f1": found.macro_f1}
