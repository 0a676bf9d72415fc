"""An evaluation as tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipelines.evaluation import NETWORK, BlockCounts, Evaluation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.bootstrap import Interval
    from models.calibration import Reliability
    from models.metrics import Scores
    from pipelines.cross_validate import CrossValidation

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
        *_intervals(evaluation.blocks),
        *_titled("The map over all dates", _comparison(evaluation.all_dates)),
        *_intervals(evaluation.map_blocks),
        *(
            part
            for kind, members in evaluation.groups.items()
            for part in _titled(f"Network, by {kind}", _comparison(members, kind))
        ),
        *_titled("Classes, network", _classes(evaluation)),
        *_titled("Confusion matrix, network: rows truth, columns map", _confusion(evaluation)),
        Text(f"\n{calibration_line(evaluation.reliability)}"),
    )


def format_cross_validation(result: CrossValidation) -> RenderableType:
    """Lay a cross-validation out: all folds together beside baselines, then fold by fold."""
    folds = {f"fold {n}": fold.scores[NETWORK] for n, fold in enumerate(result.folds, start=1)}
    return Group(
        Text(f"Region {result.folds[0].cube}, every block of ground tested once, leak-safe"),
        *_titled(f"Test pixels of {len(folds)} folds", _comparison(result.scores)),
        *_intervals(result.blocks),
        *_titled("The maps over all dates", _comparison(result.all_dates)),
        *_intervals(result.map_blocks),
        *_titled("Network, fold by fold", _comparison(folds, "fold")),
        Text(f"\n{calibration_line(result.reliability)}"),
    )


def calibration_line(reliability: Reliability) -> str:
    """How far confidence and accuracy lie apart, in a sentence."""
    if not reliability.pixels.any():
        return "The run keeps no confidence."
    over = reliability.overconfidence
    return (
        f"Confidence: expected calibration error {reliability.ece:.3f}; in the mean it is "
        f"{abs(over):.3f} {'above' if over >= 0 else 'below'} the share of right pixels."
    )


def interval_rows(blocks: BlockCounts) -> list[tuple[str, list[str]]]:
    """95 % intervals of each predictor, and of the network's lead, as text by `FIGURES`."""
    lead = {f"network less {name}": figures for name, figures in blocks.lead.items()}
    return [
        (name, [_span(figures[field]) for field in FIGURES.values()])
        for name, figures in (blocks.intervals | lead).items()
    ]


def interval_title(blocks: BlockCounts) -> str:
    """What the intervals were drawn from."""
    if not blocks.enough:
        return (
            f"No intervals: the scored pixels lie in one block of {blocks.side} px, and nothing "
            "can be drawn again"
        )
    return (
        f"95 % intervals, from {len(blocks.numbers)} blocks of ground of {blocks.side} px drawn "
        "again and again"
    )


def _span(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}"


def _intervals(blocks: BlockCounts) -> tuple[RenderableType, ...]:
    if not blocks.enough:
        return (Text(f"\n{interval_title(blocks)}", "italic"),)
    table = _table("")
    for heading in FIGURES:
        table.add_column(heading, justify="right")
    for name, spans in interval_rows(blocks):
        table.add_row(name, *spans, style="bold" if name == NETWORK else None)
    return _titled(interval_title(blocks), table)


def _titled(title: str, table: Table) -> tuple[Text, Table]:
    # A table's own title is wrapped at the table's width, which may be small.
    return Text(f"\n{title}", "italic"), table


def _comparison(scores: Mapping[str, Scores], first: str = "predictor") -> Table:
    table = _table(first)
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
