"""A look at a whole scene before its tiles are sharpened: what a method fits to all of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.sharpening import Curve
from models.sharpening.blocks import Array
from pipelines.sharpen_engine import Facts, View
from pipelines.sharpen_layout import tiles
from pipelines.sharpen_pool import Pool
from pipelines.sharpen_task import Task


def survey(task: Task, scene: int, pool: Pool) -> list[Facts]:
    """Look at a scene, tile by tile, at the coarse scale.

    Parameters
    ----------
    task
        What will be done to tiles.
    scene
        Its number.
    pool
        Who looks.

    Returns
    -------
    list of Facts
        For each of the task's parts.

    Raises
    ------
    ValueError
        If the scene has too little to learn from.
    """
    lst, mean, std, *blurred = _whole(task, scene, pool, [None] * len(task.parts))
    if np.isnan(lst).all():
        raise ValueError("no pixel has an LST")
    both = zip(task.parts, blurred, strict=True)
    curves = [part.curve(lst, image) for part, image in both]
    guides = blurred
    if any(curve is not None for curve in curves):
        guides = _whole(task, scene, pool, curves)[len(View._fields) :]
    return [
        part.facts(View(lst, mean, std), curve, guide, task.scenery.scale)
        for part, curve, guide in zip(task.parts, curves, guides, strict=True)
    ]


def _whole(task: Task, scene: int, pool: Pool, curves: Sequence[Curve | None]) -> list[Array]:
    shape = task.scenery.shape
    images = [np.full(shape, np.nan) for _ in range(len(View._fields) + len(curves))]
    jobs = ((window, (task.coarse, scene, window, curves)) for window in tiles(shape))
    for window, found in pool.run(jobs):
        for whole, image in zip(images, found, strict=True):
            whole[window] = image
    return images
