"""What a sample plan says of itself: class shares of its parts, and what memory would score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.patches import paint
from cube.quality import is_valid
from cube.splits import PARTS

if TYPE_CHECKING:
    import xarray as xr

    from cube.sample_plan import SamplePlan

SLAB_BYTES = 64 * 2**20


def valid_dates(dataset: xr.Dataset) -> Iterator[tuple[int, np.ndarray]]:
    """Read ``qc`` a few dates at a time.

    Yields
    ------
    int
        Time index.
    ndarray of bool, (y, x)
        Where the pixel is valid.
    """
    qc = dataset["qc"]
    step = max(1, SLAB_BYTES // (qc.sizes["y"] * qc.sizes["x"]))
    for start in range(0, qc.sizes["time"], step):
        slab = qc.isel(time=slice(start, start + step)).load().transpose("time", "y", "x").values
        for offset, flags in enumerate(slab):
            yield start + offset, is_valid(flags)


def count_facts(
    dataset: xr.Dataset,
    labels: np.ndarray,
    places: np.ndarray,
    samples: np.ndarray,
    sequences: np.ndarray,
    patch: int,
) -> dict[str, Any]:
    """Count what is in each part, and score the baselines on the test part.

    A pixel counts as often as it is in a sample, at each date of a sequence at which it is
    labelled and valid.

    Parameters
    ----------
    dataset : xarray.Dataset
        With ``qc``; read once.
    labels : ndarray of uint8, (y, x)
    places, samples, sequences, patch
        See `SamplePlan`.

    Returns
    -------
    dict
        ``parts`` and ``baselines`` of `SamplePlan.summary`.
    """
    shape = (labels.shape[0], labels.shape[1])
    seen = np.zeros((len(PARTS), *shape), np.int32)
    by_part = [samples[samples[:, 2] == part] for part in range(len(PARTS))]
    looks = [_looks(rows, sequences) for rows in by_part]
    for time, valid in valid_dates(dataset):
        learnable = valid & (labels > 0)
        for part, rows in enumerate(looks):
            first, last = np.searchsorted(rows[:, 1], [time, time + 1])
            if last > first:
                seen[part] += paint(places[rows[first:last, 0]], patch, shape) * learnable
    parts = {
        name: _part_facts(rows, dates, np.bincount(labels.ravel(), weights=counts.ravel()))
        for name, rows, dates, counts in zip(PARTS, by_part, looks, seen, strict=True)
    }
    return {"parts": parts, "baselines": _baselines(labels, seen[0], seen[2])}


def _looks(rows: np.ndarray, sequences: np.ndarray) -> np.ndarray:
    """Place and time of each date of each sample, in order of time."""
    places = np.repeat(rows[:, 0], sequences.shape[1])
    looks = np.stack([places, sequences[rows[:, 1]].ravel()], axis=1)
    return looks[np.argsort(looks[:, 1], kind="stable")]


def _part_facts(rows: np.ndarray, looks: np.ndarray, pixels: np.ndarray) -> dict[str, Any]:
    total = float(pixels.sum())
    return {
        "patches": len(np.unique(rows[:, 0])),
        "samples": len(rows),
        "dates": len(np.unique(looks[:, 1])),
        "labelled_pixels": int(total),
        "class_shares": {str(code): float(pixels[code] / total) for code in np.flatnonzero(pixels)},
    }


def _baselines(labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> dict[str, Any]:
    """Score two predictors that never look at the image; `train`, `test` count pixels."""
    there = test > 0
    if not there.any() or not train.any():
        return {}
    truth, weight = labels[there], test[there]
    majority = int(np.bincount(labels.ravel(), weights=train.ravel()).argmax())
    guesses = {
        "majority": np.full_like(truth, majority),
        "memorise_place": np.where(train[there] > 0, truth, majority),
    }
    return {name: _scores(truth, guess, weight) for name, guess in guesses.items()}


def _scores(truth: np.ndarray, guess: np.ndarray, weight: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, f1_score

    macro_f1 = f1_score(
        truth,
        guess,
        labels=np.unique(truth),
        average="macro",
        sample_weight=weight,
        zero_division=0.0,
    )
    accuracy = accuracy_score(truth, guess, sample_weight=weight)
    return {"oa": float(accuracy), "macro_f1": float(macro_f1)}


def pool_facts(plans: Mapping[str, SamplePlan]) -> dict[str, Any]:
    """Facts of several regions' plans taken together, as `SamplePlan.summary` gives them of one.

    Places of another region cannot be remembered: where no test region has training ground
    ``memorise_place`` scores what ``majority`` does.

    Parameters
    ----------
    plans
        By region.

    Returns
    -------
    dict
        ``parts``, ``baselines``, ``leaky``, ``leak_reason``.
    """
    facts = [plan.summary for plan in plans.values()]
    pixels = {part: _pooled_pixels([fact["parts"][part] for fact in facts]) for part in PARTS}
    parts = {
        part: {
            name: sum(fact["parts"][part][name] for fact in facts)
            for name in ("patches", "samples", "dates", "labelled_pixels")
        }
        | {"class_shares": _shares(pixels[part])}
        for part in PARTS
    }
    leaks = {plan.leak_reason for plan in plans.values() if plan.leaky}
    return {
        "parts": parts,
        "baselines": {} if leaks else _pooled_baselines(pixels["train"], pixels["test"]),
        "leaky": bool(leaks),
        "leak_reason": " ".join(sorted(leaks)),
    }


def _pooled_pixels(parts: list[dict[str, Any]]) -> dict[str, float]:
    pixels: dict[str, float] = {}
    for part in parts:
        for code, share in part["class_shares"].items():
            pixels[code] = pixels.get(code, 0.0) + share * part["labelled_pixels"]
    return dict(sorted(pixels.items(), key=lambda item: int(item[0])))


def _shares(pixels: dict[str, float]) -> dict[str, float]:
    total = sum(pixels.values())
    return {code: count / total for code, count in pixels.items()}


def _pooled_baselines(train: dict[str, float], test: dict[str, float]) -> dict[str, Any]:
    if not train or not test:
        return {}
    codes = np.array([int(code) for code in test], np.uint8)
    majority = int(max(train, key=lambda code: train[code]))
    scores = _scores(codes, np.full_like(codes, majority), np.array(list(test.values())))
    return {"majority": scores, "memorise_place": dict(scores)}
