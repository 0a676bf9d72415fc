"""The tables of an experiment: leak-safe scores first, then the study's own beside ours."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models import bootstrap
from pipelines.evaluation import MAJORITY, MEMORISE, NETWORK
from pipelines.experiment_outcome import Row, undone
from pipelines.markdown import table as markdown_table
from pipelines.published import FINAL, TABLES, PublishedTable, study_region

if TYPE_CHECKING:
    from models.bootstrap import Interval
    from pipelines.experiment_run import Study

NONE = "–"
LEAK = (
    "Under a split by date every test place was seen in training, with the same label: a table "
    "that looks the class up by place, and never at the imagery, scores 1. Such scores, the "
    "published ones among them, say how well a network remembers the map. What it knows of rock "
    "is in the leak-safe columns."
)


@dataclass(frozen=True)
class TableDoc:
    """A table as text."""

    name: str
    """Of its file."""
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def csv(self) -> str:
        """Comma-separated, with a head."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.head, *self.rows])
        return text.getvalue()

    def markdown(self) -> str:
        """With title and note."""
        body = markdown_table(self.head, self.rows)
        return f"## {self.title}\n\n{body}\n" + (f"\n{self.note}\n" if self.note else "")


def study_tables(study: Study) -> list[TableDoc]:
    """All tables that the runs of an experiment give."""
    done = [row for row in study.rows if row.undone is None]
    tables = [
        _scores("leak-safe", "Leak-safe scores: no test place was seen in training",
                [row for row in done if row.leak_safe]),
        *_compared(done),
        _ablation(study, done),
        _scores("leaky", "Scores under a split that leaks, for comparison only",
                [row for row in done if not row.leak_safe], LEAK),
        *(table for transfer in study.transfers for table in transfer.tables()),
        _undone(study.rows),
    ]  # fmt: skip
    return [table for table in tables if table.rows]


def _scores(name: str, title: str, rows: Sequence[Row], note: str = "") -> TableDoc:
    head = (
        "region", "network", "data set", "split", "variant", "OA", "macro F1", "kappa",
        "majority OA / F1", "memorise OA / F1", "lead over majority in OA", "in macro F1",
    )  # fmt: skip
    intervals = "In brackets 95 % intervals, from blocks of ground drawn again and again."
    body = tuple(
        (
            row.region, row.network, row.data_set, row.split, row.variant,
            _figure(row, "oa"), _figure(row, "macro_f1"), f"{row.scores[NETWORK].kappa:.3f}",
            _pair(row, MAJORITY), _pair(row, MEMORISE),
            _span(row.lead.get("oa")), _span(row.lead.get("macro_f1")),
        )
        for row in rows
    )  # fmt: skip
    return TableDoc(name, title, head, body, f"{intervals} {note}".strip())


def _figure(row: Row, field: str) -> str:
    value, interval = getattr(row.scores[NETWORK], field), row.intervals.get(field)
    return f"{value:.3f}" if interval is None else f"{value:.3f} [{_span(interval)}]"


def _pair(row: Row, predictor: str) -> str:
    found = row.scores[predictor]
    return f"{found.oa:.3f} / {found.macro_f1:.3f}"


def _span(interval: Interval | None) -> str:
    return NONE if interval is None else f"{interval.low:.3f} to {interval.high:.3f}"


def _compared(done: Sequence[Row]) -> Iterator[TableDoc]:
    """The study's Tables 3 to 9 with the first variant, and its Table 10 with all of them."""
    first = done[0].variant if done else ""
    for published in TABLES:
        rows = [row for row in done if row.data_set == published.data_set and row.variant == first]
        title = f"Table {published.number} of the study, {published.title}: published, and ours"
        yield _beside(f"table-{published.number}", title, published, rows)
    others = [row for row in done if row.data_set == FINAL.data_set and row.variant != first]
    for variant in dict.fromkeys(row.variant for row in others):
        rows = [row for row in others if row.variant == variant]
        if {row.split for row in rows if not row.leak_safe}:
            title = f"Table 10 of the study, {FINAL.title}: published, and our variant {variant!r}"
            yield _beside(f"table-10-{variant}", title, FINAL, rows)


def _beside(name: str, title: str, published: PublishedTable, rows: Sequence[Row]) -> TableDoc:
    head = (
        "region", "network", "published OA / F1", "ours, split by date", "memorise the place",
        "majority class", "ours leak-safe OA / F1", "split", "majority class, there",
    )  # fmt: skip
    body: list[tuple[str, ...]] = []
    for region, network in dict.fromkeys((row.region, row.network) for row in rows):
        mine = [row for row in rows if (row.region, row.network) == (region, network)]
        known = published.rows.get((study_region(region) or "", mine[0].kind))
        cells: tuple[str, ...] = (
            region,
            network,
            f"{known[0]:.3f} / {known[1]:.3f}" if known else NONE,
        )
        leaky = next((row for row in mine if not row.leak_safe), None)
        cells += tuple(
            _pair(leaky, predictor) if leaky else NONE
            for predictor in (NETWORK, MEMORISE, MAJORITY)
        )
        safe = [
            (_pair(row, NETWORK), row.split, _pair(row, MAJORITY)) for row in mine if row.leak_safe
        ]
        body += [cells + found for found in safe or [(NONE,) * 3]]
    return TableDoc(name, title, head, tuple(body), LEAK)


def _ablation(study: Study, done: Sequence[Row]) -> TableDoc:
    """Each variant against the first one, where all else is the same and the split is leak-safe."""
    names = list(study.experiment.variants)
    by_row = {(row.variant, row.region, row.network, row.data_set, row.split): row for row in done}
    body = []
    for row in done:
        base = by_row.get((names[0], row.region, row.network, row.data_set, row.split))
        if base is None or base is row or not row.leak_safe:
            continue
        body.append(
            (
                row.region, row.network, row.data_set, row.split, row.variant, row.about,
                *(cell for field in ("oa", "macro_f1") for cell in _change(row, base, field)),
            )
        )  # fmt: skip
    head = (
        "region", "network", "data set", "split", "variant", "what is different",
        "OA", "change", "macro F1", "change",
    )  # fmt: skip
    note = (
        f"Changes are against variant {names[0]!r}, in brackets their 95 % intervals over the same "
        "blocks of ground; without brackets the two were scored on different pixels (dates, "
        "coverage), and the change is of the figures alone. One training each: differences "
        "between seeds come on top."
    )
    return TableDoc("ablation", "What each part is worth", head, tuple(body), note)


def _change(row: Row, base: Row, field: str) -> tuple[str, str]:
    value = getattr(row.scores[NETWORK], field)
    change = f"{value - getattr(base.scores[NETWORK], field):+.3f}"
    mine, theirs = row.blocks.counts[NETWORK], base.blocks.counts[NETWORK]
    comparable = row.blocks.numbers == base.blocks.numbers and row.blocks.enough
    if comparable and np.array_equal(mine.sum(axis=-1), theirs.sum(axis=-1)):
        interval = bootstrap.difference(mine, theirs)[field]
        change += f" [{interval.low:+.3f} to {interval.high:+.3f}]"
    return f"{value:.3f}", change


def _undone(rows: Sequence[Row]) -> TableDoc:
    body = tuple(
        (row.region, row.network, row.data_set, row.split, row.variant, found.status, found.why)
        for row, found in undone(rows)
    )
    head = ("region", "network", "data set", "split", "variant", "", "why")
    return TableDoc("not-run", "Not run, or failed", head, body)


def results_csv(rows: Sequence[Row]) -> str:
    """Every figure of every row."""
    documents = [row.to_dict() for row in rows]
    names = list(dict.fromkeys(name for document in documents for name in document))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for document in documents:
        writer.writerow({name: _cell(value) for name, value in document.items()})
    return text.getvalue()


def _cell(value: object) -> object:
    return " ".join(map(str, value)) if isinstance(value, list) else value


def headline(rows: Sequence[Row]) -> list[str]:
    """A sentence for each region and network: its first leak-safe run beside the majority class.

    The first in the order of the experiment, not the best: the best of many is best by chance too.
    """
    first: dict[tuple[str, str], Row] = {}
    for row in rows:
        if row.undone is None and row.leak_safe:
            first.setdefault((row.region, row.network), row)
    return [_sentence(row) for row in first.values()]


def _sentence(row: Row) -> str:
    network, majority = row.scores[NETWORK], row.scores[MAJORITY]
    lead = row.lead.get("macro_f1")
    verdict = "; with one block of ground nothing can be said of the difference"
    if lead is not None:
        sure = lead.low > 0 or lead.high < 0
        verdict = f" (difference in macro F1 {_span(lead)}{'' if sure else ', which may be none'})"
    return (
        f"{row.region}, {row.network}: on ground never seen in training OA {network.oa:.3f} and "
        f"macro F1 {network.macro_f1:.3f} ({row.data_set}, split {row.split}, variant "
        f"{row.variant}), against {majority.oa:.3f} and {majority.macro_f1:.3f} for the majority "
        f"class{verdict}."
    )
