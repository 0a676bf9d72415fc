"""Classes from statistics over dates, tested block by block beside maps that see no imagery."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.lithology import CLASS_COUNT
from models.forest import Kind, PixelClassifier, time_statistics
from models.metrics import confusion, scores
from models.nearby import COARSE, classes_nearby, fuse, resampled
from models.statistics import Features, receptive_field
from pipelines.ground_folds import Folds, GroundFolds
from pipelines.pixel_features import Layers, thermal_features

if TYPE_CHECKING:
    from cube.store import Cube

MAJORITY, MEMORISE = "majority class", "memorise the place"
NEARBY, REFERENCE = "labels nearby, no imagery", "forest on emissivity statistics"
IMAGERY, FUSED = "imagery alone", "imagery and labels nearby"

Told = Callable[[int, int], None]
"""Called with the number of fits done and of all fits."""


@dataclass(frozen=True)
class ClassifySettings:
    """How a region is divided, learnt and decided."""

    folds: int = 12
    block: int = 32
    """Side of the blocks that folds are made of, pixels."""
    buffer: int = 24
    """Pixels between test ground and known ground; at least the receptive field of `scales`."""
    scales: tuple[float, ...] = (2.0, 5.0)
    kinds: tuple[Kind, ...] = ("linear", "extra")
    trees: int = 40
    step: int = 10
    """Of the classes with more than `plenty` pixels, one pixel in so many is learnt from."""
    plenty: int = 2000
    nearby: float = 12.0
    """Scale that training labels are spread by, pixels; see `models.nearby`."""
    cell: int = COARSE
    """Side of the cells that they are counted in, pixels."""
    trusts: tuple[float, ...] = (0.3, 0.6, 1.0)
    lifts: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8)
    """Tried on inner folds; see `models.nearby.fuse`."""
    inner: int = 2
    """Groups that the other folds are dealt into to choose trust and lift."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.buffer < receptive_field(self.scales):
            raise ValueError(
                f"a buffer of {self.buffer} px is less than the receptive field of the features, "
                f"{receptive_field(self.scales)} px: test pixels would be seen in training"
            )


@dataclass(eq=False)
class Classified:
    """What each predictor says of ground that it was not taught."""

    truth: np.ndarray
    """uint8 (y, x)."""
    folds: Folds
    maps: dict[str, np.ndarray]
    """Predictor to class codes, uint8 (y, x); 0 where there is nothing to go by."""
    confidence: np.ndarray
    """Of the last predictor, float32 (y, x)."""
    chosen: list[dict[str, tuple[float, float]]] = field(default_factory=list)
    """Trust and lift of each fold, by predictor."""

    @cached_property
    def valid(self) -> np.ndarray:
        """Labelled pixels that all predictors say something of: those that are scored."""
        there = np.logical_and.reduce([found > 0 for found in self.maps.values()])
        return np.asarray(there & (self.truth > 0))


@dataclass(frozen=True, eq=False)
class _Ground:
    """What a region is learnt from."""

    features: Features
    reference: np.ndarray
    labels: np.ndarray
    folds: Folds
    settings: ClassifySettings

    @cached_property
    def seen(self) -> np.ndarray:
        return np.asarray(np.isfinite(self.reference).any(axis=-1))

    def nearby(self, train: np.ndarray, test: np.ndarray) -> np.ndarray:
        """Shares of the classes around the pixels of `test`, (pixel, class)."""
        known, settings = train & self.seen, self.settings
        return classes_nearby(self.labels, known, settings.nearby, cell=settings.cell)[test]

    def frequency(self, train: np.ndarray) -> np.ndarray:
        known = self.labels[train & self.seen & (self.labels > 0)]
        return np.asarray(np.bincount(known, minlength=CLASS_COUNT) / max(known.size, 1))

    def opinions(self, train: np.ndarray, test: np.ndarray) -> list[np.ndarray]:
        """Of each classifier, (pixel, class), on the pixels of `test`."""
        values, taught = self.features.values, self._taught(train)
        drawn = np.bincount(self.labels[taught], minlength=CLASS_COUNT) / taught.sum()
        found = []
        for kind in self.settings.kinds:
            classifier = PixelClassifier.fit(
                values[taught],
                self.labels[taught],
                kind=kind,
                balance=0.0,
                trees=self.settings.trees,
                seed=self.settings.seed,
            )
            opinion = classifier.predict_proba(values[test])
            found.append(resampled(opinion, drawn, self.frequency(train)))
        return found

    def _taught(self, train: np.ndarray) -> np.ndarray:
        """The pixels to learn from: all of rare classes, a lattice of the others."""
        known = train & self.seen & (self.labels > 0)
        counts = np.bincount(self.labels[known], minlength=CLASS_COUNT)
        rare = (counts <= self.settings.plenty)[self.labels]
        rows, columns = np.indices(self.labels.shape)
        return np.asarray(known & (rare | ((rows + 3 * columns) % self.settings.step == 0)))

    def reference_map(self, train: np.ndarray, test: np.ndarray) -> np.ndarray:
        taught = self._taught(train)
        forest = PixelClassifier.fit(
            self.reference[taught],
            self.labels[taught],
            trees=self.settings.trees,
            balance=0.0,
            seed=self.settings.seed,
        )
        drawn = np.bincount(self.labels[taught], minlength=CLASS_COUNT) / taught.sum()
        shares = resampled(forest.predict_proba(self.reference[test]), drawn, self.frequency(train))
        return np.asarray(shares[:, 1:].argmax(axis=-1) + 1)


def classify(
    cube: Cube,
    settings: ClassifySettings | None = None,
    *,
    layers: Sequence[Layers] = (),
    folds: Folds | None = None,
    on_fit: Told | None = None,
) -> Classified:
    """Classify each fold of a region by what the others teach.

    Parameters
    ----------
    cube
        With a ``labels`` group.
    settings
        By default those of the study of `docs/results.md`.
    layers
        More maps to learn from.
    folds
        Another division of the ground than the settings' compact groups of blocks, or that of an
        earlier classification of this cube, which is slow to make.
    on_fit
        Called as classifiers are fitted, for progress.

    Returns
    -------
    Classified
        The maps of all predictors. Trust and lift are chosen for each fold on the others, by
        macro F1 among the pairs whose OA there is not below that of the majority class.

    Raises
    ------
    PlanError
        If the region is too small for so many folds.
    """
    settings = settings or ClassifySettings()
    ground = _ground(cube, settings, layers, folds)
    names = (MAJORITY, MEMORISE, NEARBY, REFERENCE, IMAGERY, FUSED)
    shape = ground.labels.shape
    result = Classified(
        ground.labels,
        ground.folds,
        {name: np.zeros(shape, np.uint8) for name in names},
        np.full(shape, np.nan, np.float32),
    )
    for fold in range(ground.folds.count):
        _one_fold(ground, fold, result)
        if on_fit is not None:
            on_fit(fold + 1, ground.folds.count)
    return result


def _ground(
    cube: Cube, settings: ClassifySettings, layers: Sequence[Layers], folds: Folds | None
) -> _Ground:
    view = cube.at(cube.snapshot)
    dataset = view.dataset("thermal", chunks=None).load()
    labels = view.dataset("labels", chunks=None).load()
    folds = folds or GroundFolds.of(
        dataset,
        labels,
        folds=settings.folds,
        block=settings.block,
        buffer=settings.buffer,
        seed=settings.seed,
        snapshot=view.snapshot,
    )
    imagery = dataset["imagery"].transpose("time", "band", "y", "x")
    reference, _ = time_statistics(imagery.sel(band=["emissivity"]).to_numpy())
    return _Ground(
        thermal_features(dataset, settings.scales, layers),
        reference,
        labels["lithology"].transpose("y", "x").to_numpy().astype(np.uint8),
        folds,
        settings,
    )


def _one_fold(ground: _Ground, fold: int, result: Classified) -> None:
    chosen = _choose(ground, fold)
    train, test = ground.folds.train(fold), (ground.folds.number == fold) & ground.seen
    frequency = ground.frequency(train)
    nearby = ground.nearby(train, test)
    opinions = ground.opinions(train, test)
    maps = result.maps
    maps[MAJORITY][test] = maps[MEMORISE][test] = frequency.argmax()
    maps[NEARBY][test] = nearby.argmax(axis=-1)
    maps[REFERENCE][test] = ground.reference_map(train, test)
    alone = fuse(opinions, frequency, trust=chosen[IMAGERY][0], lift=chosen[IMAGERY][1])
    both = fuse(opinions, frequency, nearby, trust=chosen[FUSED][0], lift=chosen[FUSED][1])
    maps[IMAGERY][test], maps[FUSED][test] = alone.argmax(axis=-1), both.argmax(axis=-1)
    result.confidence[test] = both.max(axis=-1)
    result.chosen.append(chosen)


def _choose(ground: _Ground, fold: int) -> dict[str, tuple[float, float]]:
    """Trust and lift of both ways, by what they come to on the other folds."""
    settings = ground.settings
    pairs = list(itertools.product(settings.trusts, settings.lifts))
    counts: dict[tuple[str, Any], np.ndarray] = {}
    for group in ground.folds.inner(fold, settings.inner):
        train = ground.folds.train(fold, *group)
        known = ground.folds.train(fold) & np.isin(ground.folds.number, group) & ground.seen
        rows, columns = np.indices(known.shape)
        test = known & ((rows + 2 * columns) % 5 == 0) & (ground.labels > 0)
        truth, frequency = ground.labels[test], ground.frequency(train)
        nearby = ground.nearby(train, test)
        opinions = ground.opinions(train, test)
        said: dict[tuple[str, Any], np.ndarray] = {
            (MAJORITY, None): np.full(truth.shape, frequency.argmax())
        }
        for pair in pairs:
            trust, lift = pair
            alone = fuse(opinions, frequency, trust=trust, lift=lift)
            both = fuse(opinions, frequency, nearby, trust=trust, lift=lift)
            said |= {(IMAGERY, pair): alone.argmax(axis=-1), (FUSED, pair): both.argmax(axis=-1)}
        for key, codes in said.items():
            counts[key] = counts.get(key, 0) + confusion(truth, codes, CLASS_COUNT)
    return {way: _best(counts, way, pairs) for way in (IMAGERY, FUSED)}


def _best(
    counts: dict[tuple[str, Any], np.ndarray], way: str, pairs: Sequence[tuple[float, float]]
) -> tuple[float, float]:
    """The pair of the best macro F1 among those not below the majority class; else of best OA."""
    floor = scores(counts[MAJORITY, None]).oa
    found = {pair: scores(counts[way, pair]) for pair in pairs}
    good = [pair for pair in pairs if found[pair].oa >= floor]
    if good:
        return max(good, key=lambda pair: found[pair].macro_f1)
    return max(pairs, key=lambda pair: found[pair].oa)
