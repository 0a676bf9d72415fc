"""What a classification comes to, as plain numbers for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from cube.lithology import CLASS_COUNT
from models.bootstrap import block_counts, difference, ground_blocks, intervals
from models.metrics import scores
from pipelines.classify import FUSED, MAJORITY, NEARBY, Classified, ClassifySettings

BLOCK = 32
"""Side of the blocks of ground that intervals are drawn from, pixels."""


def scored(
    truth: np.ndarray, maps: Mapping[str, np.ndarray], valid: np.ndarray, versus: str = MAJORITY
) -> dict[str, Any]:
    """Scores of maps on the same pixels, with intervals over blocks of ground.

    Parameters
    ----------
    truth
        Class codes (y, x).
    maps
        Predictor to class codes (y, x).
    valid
        Pixels to score, bool (y, x).
    versus
        The predictor that the others are compared with, block by block.

    Returns
    -------
    dict
        Predictor to ``oa``, ``macro_f1``, ``kappa``, ``per_class`` F1, ``intervals`` and
        ``better``, the interval of the difference from `versus`.
    """
    blocks = ground_blocks((truth.shape[0], truth.shape[1]), BLOCK)
    counts = {
        name: block_counts(truth, found, CLASS_COUNT, blocks, valid=valid)
        for name, found in maps.items()
    }
    document = {}
    for name, matrices in counts.items():
        result = scores(matrices.sum(axis=0))
        drawn, gap = intervals(matrices), difference(matrices, counts[versus])
        document[name] = {
            "oa": result.oa,
            "macro_f1": result.macro_f1,
            "kappa": result.kappa,
            "pixels": result.pixels,
            "per_class": {row.code: row.f1 for row in result.per_class if row.support},
            "support": {row.code: row.support for row in result.per_class if row.support},
            "intervals": {key: drawn[key]._asdict() for key in ("oa", "macro_f1")},
            "better": {key: gap[key]._asdict() for key in ("oa", "macro_f1")},
        }
    return document


def classify_document(
    region: str, snapshot: str, settings: ClassifySettings, result: Classified
) -> dict[str, Any]:
    """All that a page needs of one classification of a region."""
    inside = result.confidence[result.valid]
    right = result.maps[FUSED][result.valid] == result.truth[result.valid]
    last_two = {name: result.maps[name] for name in (NEARBY, FUSED)}
    beyond = scored(result.truth, last_two, result.valid, versus=NEARBY)[FUSED]["better"]
    return {
        "region": region,
        "snapshot": snapshot,
        "settings": asdict(settings),
        "plans": result.folds.digests,
        "split": result.folds.in_words,
        "scores": scored(result.truth, result.maps, result.valid),
        "beyond_nearby": beyond,
        "chosen": result.chosen,
        "confidence": {"mean": float(inside.mean()), "accuracy": float(right.mean())},
    }
