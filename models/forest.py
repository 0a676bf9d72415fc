"""What tree ensembles make of each pixel's statistics through time: the peer of the networks.

A static map has one right answer a pixel whatever the date; statistics over many dates average
out weather, gaps and noise before anything is learnt, which a network on single dates cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Kind = Literal["forest", "extra", "boosting", "linear"]

QUANTILES = (0.1, 0.5, 0.9)
SCALES = (2.0, 5.0)
SHRINKAGE = 0.1
"""Of the covariance of a linear classifier towards its diagonal."""
TRUNCATE = 2.0
"""Where the Gaussian window of a scale ends, in standard deviations."""


def time_statistics(
    imagery: npt.ArrayLike, quantiles: Sequence[float] = QUANTILES
) -> tuple[Floats, tuple[str, ...]]:
    """Mean, standard deviation, quantiles and valid share of each band over dates.

    Parameters
    ----------
    imagery
        (time, band, y, x) in physical units, NaN where missing; training dates only.
    quantiles
        Each 0..1.

    Returns
    -------
    features : ndarray of float32, (y, x, feature)
        NaN where a pixel has no valid date.
    names : tuple of str
        Of the features, such as ``band0_mean``.
    """
    series = np.asarray(imagery, np.float32)
    columns, names = [], []
    for band in range(series.shape[1]):
        values = np.sort(series[:, band], axis=0)  # missing ones last
        number = np.isfinite(values).sum(axis=0)
        there = number > 0
        filled = np.where(there, values, np.float32(0))
        layers = {"mean": np.nanmean(filled, axis=0), "std": np.nanstd(filled, axis=0)}
        layers |= {f"q{q:g}": _quantile(values, number, q) for q in quantiles}
        layers["valid"] = number / len(values)
        columns += [np.where(there, layer, np.nan) for layer in layers.values()]
        names += [f"band{band}_{name}" for name in layers]
    return np.stack(columns, axis=-1).astype(np.float32), tuple(names)


def _quantile(values: Floats, number: npt.NDArray[Any], share: float) -> Floats:
    """As `numpy.nanquantile` of values already sorted, which takes a minute for a region."""
    place = np.maximum(number - 1, 0) * share
    below = np.floor(place).astype(np.intp)
    above = np.minimum(below + 1, np.maximum(number - 1, 0))
    low, high = (np.take_along_axis(values, at[np.newaxis], 0)[0] for at in (below, above))
    return np.asarray(low + (high - low) * (place - below), np.float32)


def with_context(
    features: npt.ArrayLike, names: Sequence[str], scales: Sequence[float] = SCALES
) -> tuple[Floats, tuple[str, ...]]:
    """Add to each feature its means over windows around the pixel.

    Parameters
    ----------
    features
        (y, x, feature), NaN where missing; missing pixels do not count in a mean.
    names
        Of the features.
    scales
        Standard deviations of Gaussian windows, pixels.

    Returns
    -------
    features : ndarray of float32, (y, x, feature * (1 + scale))
    names : tuple of str
        The new ones as ``band0_mean~5``.

    Notes
    -----
    A pixel's features then depend on those within `receptive_field`: the parts of a split must
    lie further apart than half of it.
    """
    from scipy.ndimage import gaussian_filter

    plain = np.asarray(features, np.float32)
    there = np.isfinite(plain)
    stacks, found = [plain], list(names)
    for scale in scales:
        sigma = (scale, scale, 0.0)
        options: dict[str, Any] = {"mode": "constant", "truncate": TRUNCATE}
        share = gaussian_filter(there.astype(np.float32), sigma, **options)
        total = gaussian_filter(np.where(there, plain, 0.0), sigma, **options)
        near = share > 1e-6
        stacks.append(np.where(near, total / np.where(near, share, 1.0), np.nan))
        found += [f"{name}~{scale:g}" for name in names]
    return np.concatenate(stacks, axis=-1).astype(np.float32), tuple(found)


def receptive_field(scales: Sequence[float] = SCALES) -> int:
    """Width in pixels, odd, of the window that features with context depend on."""
    return 2 * max((int(TRUNCATE * scale + 0.5) for scale in scales), default=0) + 1


@dataclass(frozen=True)
class PixelClassifier:
    """A classifier of scikit-learn over pixels."""

    estimator: Any
    classes: int
    """Length of the last axis of its probabilities, class 0 included."""

    @classmethod
    def fit(
        cls,
        features: npt.ArrayLike,
        labels: npt.ArrayLike,
        weight: npt.ArrayLike | None = None,
        *,
        classes: int = 14,
        kind: Kind = "forest",
        balance: float = 0.5,
        trees: int = 300,
        leaf: int = 5,
        seed: int = 0,
        jobs: int = 1,
    ) -> PixelClassifier:
        """Learn from the pixels of the training part.

        Parameters
        ----------
        features
            (..., feature); NaN where missing. Pixels without any feature are not used.
        labels
            Class codes (...); class 0 never counts.
        weight
            Broadcast to `labels`; 0 where a pixel is not of the training part.
        classes
            Number of classes, class 0 included.
        kind
            ``forest`` (Breiman 2001); ``extra``, extremely randomised trees (Geurts et al. 2006);
            ``boosting`` (histogram gradient boosting, as LightGBM, Ke et al. 2017); or
            ``linear``, discriminant analysis with a shrunk covariance, for which missing
            features are set to their median, and which takes no `weight` but 0 and no `balance`.
        balance
            Exponent of the inverse class frequency that a pixel counts by: 0 leaves the
            frequencies (best OA), 1 makes all classes count the same (best recall of rare ones).
        trees, leaf, seed, jobs
            Number of trees or rounds, least pixels in a leaf, seed, and threads of a forest.

        Raises
        ------
        ValueError
            If fewer than two classes are left to tell apart.
        """
        table = np.asarray(features, np.float32)
        codes = np.asarray(labels)
        weights = np.where(codes > 0, 1.0 if weight is None else weight, 0.0)
        used = (weights > 0) & np.isfinite(table).any(axis=-1)
        x, y, w = table[used], codes[used], weights[used]
        present, member = np.unique(y, return_inverse=True)
        if present.size < 2:
            raise ValueError(
                f"the training pixels have {present.size} classes; a classifier needs 2 or more"
            )
        estimator = _estimator(kind, trees, leaf, seed, jobs)
        if kind == "linear":
            spread = np.bincount(member)[member] > 1  # one pixel has no covariance
            return cls(estimator.fit(x[spread], y[spread]), classes)
        w = w * np.bincount(member, w)[member] ** -balance
        return cls(estimator.fit(x, y, sample_weight=w / w.mean()), classes)

    def predict_proba(self, features: npt.ArrayLike) -> Floats:
        """Probabilities of all classes.

        Parameters
        ----------
        features
            (..., feature), as in training.

        Returns
        -------
        ndarray
            float32 (..., class); 0 for classes that were not in training, NaN where a pixel has
            no feature at all.
        """
        table = np.asarray(features, np.float32)
        rows = table.reshape(-1, table.shape[-1])
        there = np.isfinite(rows).any(axis=-1)
        found = np.full((len(rows), self.classes), np.nan, np.float32)
        found[there] = 0
        if there.any():
            columns = np.asarray(self.estimator.classes_, np.intp)
            found[np.ix_(there, columns)] = self.estimator.predict_proba(rows[there])
        return found.reshape(*table.shape[:-1], self.classes)


def _estimator(kind: Kind, trees: int, leaf: int, seed: int, jobs: int) -> Any:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        HistGradientBoostingClassifier,
        RandomForestClassifier,
    )
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if kind == "linear":
        discriminant = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE)
        return make_pipeline(
            SimpleImputer(strategy="median", keep_empty_features=True),
            StandardScaler(),
            discriminant,
        )
    if kind == "boosting":
        return HistGradientBoostingClassifier(
            max_iter=trees, min_samples_leaf=leaf, random_state=seed, early_stopping=False
        )
    ensemble = RandomForestClassifier if kind == "forest" else ExtraTreesClassifier
    return ensemble(trees, min_samples_leaf=leaf, random_state=seed, n_jobs=jobs)
