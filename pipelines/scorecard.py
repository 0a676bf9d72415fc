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
        *_titled(f"Test pixels of {dates} dates", _comparison(evaluation.scores)),
        *_titled("The map over all dates", _comparison(evaluation.all_dates)),
        *_titled("Classes, network", _classes(evaluation)),
        *_titled("Confusion matrix, network: rows truth, columns map", _confusion(evaluation)),
    )


def _titled(title: str, table: Table) -> tuple[Text, Table]:
    # A table's own title is wrapped at the table's width, which may be small.
    return Text(f"\n{title}", "italic"), table


def _comparison(scores: Mapping[str, Scores]) -> Table:
    table = _table("predictor")
    for heading in FIGURES:
        table.add_column(heading, justify="right")
    table.add_column("pixels", justify="right")
    for name, value in scores.items():
        figures = (f"{getattr(value, field):.3f}" for field in FIGURES.values())
        style = "bold" if name == NETWORK else None
        table.add_row(name, *figures, f"{value.pixels:,}", style=style)
    return table


def _classes(evaluation: Evaluation) -> Table:
    table = _table("class")
    for heading in ("precision", "recall", "F1", "IoU", "pixels"):
        table.add_column(heading, justify="right")
    for row in evaluation.scores[NETWORK].per_class:
        figures = (f"{value:.3f}" for value in (row.precision, row.recall, row.f1, row.iou))
        table.add_row(_name(evaluation, row.code), *figures, f"{row.support:,}")
    return table


def _confusion(evaluation: Evaluation) -> Table:
    counts = evaluation.confusion
    present = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1)).tolist()
    table = _table("truth")
    for code in present:
        table.add_column(str(code), justify="right")
    for code in np.flatnonzero(counts.sum(axis=1)).tolist():
        table.add_row(_name(evaluation, code), *(f"{count:,}" for count in counts[code, present]))
    return table


def _table(first: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(first, no_wrap=True)
    return table


def _name(evaluation: Evaluation, code: int) -> str:
    return f"{code:>2} {evaluation.class_names[code]}"
