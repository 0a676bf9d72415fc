"""An evaluation as tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipelines.evaluate import NETWORK, Evaluation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.metrics import Scores

FIGURES = {
    "OA": "oa",
    "average accuracy": "aa",
    "kappa": "kappa",
    "macro F1": "macro_f1",
    "weighted F1": "weighted_f1",
    "mean IoU": "mean_iou",
}
"""Heading to field of `models.metrics.Scores`."""


def format_evaluation(evaluation: Evaluation) -> RenderableType:
    """Lay an evaluation out: network beside baselines, per class, confusion matrix."""
    warning = [] if evaluation.leak_safe else [Text("These are not leak-safe scores.", "bold red")]
    dates = len(evaluation.per_date)
    return Group(
        Text(f"Run {evaluation.run} on region {evaluation.cube}: {evaluation.split}"),
        *warning,
        _comparison(f"Test pixels of {dates} dates", evaluation.scores),
        _comparison("The map over all dates", evaluation.all_dates),
        _classes(evaluation),
        _confusion(evaluation),
    )


def _comparison(title: str, scores: Mapping[str, Scores]) -> Table:
    table = _table(title, "predictor")
    for heading in FIGURES:
        table.add_column(heading, justify="right")
    table.add_column("pixels", justify="right")
    for name, value in scores.items():
        figures = (f"{getattr(value, field):.3f}" for field in FIGURES.values())
        style = "bold" if name == NETWORK else None
        table.add_row(name, *figures, f"{value.pixels:,}", style=style)
    return table


def _classes(evaluation: Evaluation) -> Table:
    table = _table("Classes, network", "class")
    for heading in ("precision", "recall", "F1", "IoU", "pixels"):
        table.add_column(heading, justify="right")
    for row in evaluation.scores[NETWORK].per_class:
        figures = (f"{value:.3f}" for value in (row.precision, row.recall, row.f1, row.iou))
        table.add_row(_name(evaluation, row.code), *figures, f"{row.support:,}")
    return table


def _confusion(evaluation: Evaluation) -> Table:
    counts = evaluation.confusion
    present = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    table = _table("Confusion matrix, network (rows truth, columns map)", "truth")
    for code in present:
        table.add_column(str(code), justify="right")
    for code in present:
        table.add_row(_name(evaluation, code), *(f"{count:,}" for count in counts[code, present]))
    return table


def _table(title: str, first: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column(first, no_wrap=True)
    return table


def _name(evaluation: Evaluation, code: int) -> str:
    return f"{code:>2} {evaluation.class_names[code]}"
