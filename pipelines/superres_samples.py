"""Scenes to batches of a sharpening network: degraded, augmented, cut, the same for each seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from models.sharpening.blocks import expand
from models.sharpening.degradation import Degradation
from models.sharpening.features import Known, features, taken_back
from pipelines.pairs import SCALE, Array
from pipelines.superres_scenes import Scene

if TYPE_CHECKING:
    from models.superres.recipes import Recipe

DECIMATION = Degradation.decimation()
Batch = tuple[np.ndarray, np.ndarray]
"""Input (n, y, x, band) and target (n, y, x, 1), or (n, y, x, 2) of the losses that know no fine
LST (`models.superres.losses`); float32."""


class Statistics(NamedTuple):
    """Means and standard deviations over the scenes to learn from: of LST (K), and of NDVI.

    Of LST less the scene's own mean where the recipe takes its level from the scene. The recipe's
    standard deviations, where it has some.
    """

    mean: tuple[float, float]
    std: tuple[float, float]

    @classmethod
    def of(cls, scenes: Sequence[Scene], recipe: Recipe) -> Statistics:
        """Over every pixel of some scenes."""
        lst = np.concatenate(
            [(scene.lst - level_of(recipe, scene.lst)).ravel() for scene in scenes]
        )
        ndvi = np.concatenate([_finest(scene).ravel() for scene in scenes])
        own = (float(np.nanstd(lst)), float(np.nanstd(ndvi)))
        return cls((float(np.nanmean(lst)), float(np.nanmean(ndvi))), recipe.std or own)


@dataclass(frozen=True)
class Samples:
    """What a network is shown, epoch by epoch."""

    scenes: Sequence[Scene]
    recipe: Recipe
    seed: int = 0

    def epoch(self, number: int) -> Iterator[Batch]:
        """Batches of an epoch: every scene `draws` times, in random order, augmented anew."""
        rng = np.random.default_rng([self.seed, number])
        order = rng.permutation(np.repeat(np.arange(len(self.scenes)), self.recipe.draws))
        for first in range(0, len(order), self.recipe.batch):
            rows = order[first : first + self.recipe.batch]
            yield _joined([self._sample(self.scenes[row], rng) for row in rows])

    def plain(self) -> Iterator[Batch]:
        """Every scene once, whole, as it is: what validation looks at."""
        for number, scene in enumerate(self.scenes):
            rng = np.random.default_rng([self.seed, number])
            yield _joined([_arrays(self.recipe, *_images(self.recipe, scene), rng)])

    def _sample(self, scene: Scene, rng: np.random.Generator) -> Batch:
        lst, ndvi = _images(self.recipe, scene)
        ratio = ndvi.shape[0] // lst.shape[0]
        if self.recipe.symmetries != "none":
            which = int(rng.integers(8 if self.recipe.symmetries == "all" else 2))
            lst, ndvi = _turned(lst, which), _turned(ndvi, which)
        if self.recipe.contrast:
            factor = 1 + self.recipe.contrast * rng.uniform(-1, 1)
            lst = lst.mean() + factor * (lst - lst.mean())
        if self.recipe.crop is not None:
            lst, ndvi = _cut(lst, ndvi, self.recipe.crop // ratio, ratio, rng)
        return _arrays(self.recipe, lst, ndvi, rng)


def level_of(recipe: Recipe, lst: Array) -> float:
    """Kelvin that a scene's LST is given to the network without."""
    return float(np.nanmean(lst)) if recipe.level == "scene" else 0.0


def _images(recipe: Recipe, scene: Scene) -> tuple[Array, Array]:
    """LST, and NDVI as fine as the recipe learns from."""
    if not recipe.scale_invariant:
        return scene.lst, _finest(scene)
    if recipe.guide == "decimated" and scene.ndvi is not None:
        return scene.lst, DECIMATION(scene.ndvi)
    return scene.lst, scene.coarse_ndvi


def _finest(scene: Scene) -> Array:
    return scene.coarse_ndvi if scene.ndvi is None else scene.ndvi


def _arrays(recipe: Recipe, lst: Array, ndvi: Array, rng: np.random.Generator) -> Batch:
    level = level_of(recipe, lst)
    if recipe.scale_invariant:
        # The level goes afterwards: the 4-norm is one of kelvins above zero.
        known = known_of(recipe, lst, ndvi, rng)
        inputs = features(recipe.network, known.lst - level, known.ndvi, damp=False)
        return inputs, (known.truth - level)[..., None].astype(np.float32)
    target = np.stack([expand(lst - level, SCALE), ndvi], axis=-1).astype(np.float32)
    return features(recipe.network, lst - level, ndvi), target


def known_of(recipe: Recipe, lst: Array, ndvi: Array, rng: np.random.Generator) -> Known:
    """An image degraded as the recipe has it."""
    return taken_back(
        lst, ndvi, scale=SCALE, coarsening=recipe.coarsening, noise=recipe.noise, seed=rng
    )


def _turned(image: Array, which: int) -> Array:
    """One of the eight symmetries of the square: 0 leaves it, 1 mirrors left and right."""
    mirrored = image[:, ::-1] if which % 2 else image
    return np.rot90(mirrored, which // 2)


def _cut(
    lst: Array, ndvi: Array, side: int, ratio: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """A random square."""
    row, column = (int(rng.integers(size - side + 1)) for size in lst.shape)
    near = slice(row, row + side), slice(column, column + side)
    fine = tuple(slice(ratio * part.start, ratio * part.stop) for part in near)
    return lst[near], ndvi[fine]


def _joined(samples: Sequence[Batch]) -> Batch:
    inputs, targets = zip(*samples, strict=True)
    return np.stack(inputs), np.stack(targets)
