"""Tables and figures of a comparison as files: CSV, Markdown, PNG, and one page of HTML."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from json import dumps
from typing import TYPE_CHECKING

import numpy as np

from pipelines.page import fill
from pipelines.sharpen_protocol import Frame, Protocol, Score
from pipelines.sharpen_rows import writing
from pipelines.sharpen_table import COLUMNS, REFERENCE, TITLES, scores_csv, summary_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pipelines.pairs import Pair
    from pipelines.sharpen import Comparison
    from pipelines.sharpen_table import Table
    from pipelines.sharpen_variants import Variant

DPI = 110
OURS = ("slope_net", "local_slope")
"""Of which the first that was asked for is set beside the yardstick."""
MOST_SHOWN = 7
Asked = Mapping[Protocol, Mapping[str, "Variant"]]


def write_all(
    result: Comparison,
    scores: Mapping[Protocol, Sequence[Score]],
    pairs: Sequence[Pair],
    asked: Asked,
    figures: int,
) -> None:
    """Write every file of a comparison, and note their paths in it.

    Parameters
    ----------
    result
        With its tables.
    scores
        Rows by protocol.
    pairs
        In the order of the file.
    asked
        Variants by protocol and name.
    figures
        Number of pairs to draw for each protocol.
    """
    from pipelines.figures import png

    rows = [score for protocol in scores for score in scores[protocol]]
    locations = {pair.id: pair.location for pair in pairs}
    tables = list(result.tables.values())
    texts = {
        "scores.csv": scores_csv(rows, locations),
        "summary.csv": summary_csv(tables),
        "table.md": "\n".join(table.markdown() for table in tables),
    }
    pictures: list[tuple[str, str]] = []
    with writing(result.folder):
        for name, text in texts.items():
            _write(result, name, text)
        for name, figure in _figures(result, scores, pairs, asked, figures):
            path = result.folder / f"{name}.png"
            pictures.append((name, png(figure, DPI)))
            path.write_bytes(b64decode(pictures[-1][1].partition(",")[2]))
            result.files.append(path)
        _write(result, "page.html", _page(tables, asked, result.failures, pictures))


def _write(result: Comparison, name: str, text: str) -> None:
    path = result.folder / name
    path.write_text(text, encoding="utf-8")
    result.files.append(path)


def _figures(
    result: Comparison,
    scores: Mapping[Protocol, Sequence[Score]],
    pairs: Sequence[Pair],
    asked: Asked,
    number: int,
) -> Iterator[tuple[str, Figure]]:
    from pipelines.sharpen_figures import Usefulness, pair_page, usefulness

    for protocol, known in asked.items():
        scored = {score.pair for score in scores[protocol]}
        drawable = [pair for pair in pairs if pair.id in scored]
        ours = next((name for name in OURS if name in known), None)
        if number and ours and REFERENCE in known and drawable:
            measured = Usefulness.measure(drawable, protocol, known[ours], known[REFERENCE])
            _write(result, f"usefulness-{protocol}.json", dumps(measured.to_dict(), indent=1))
            yield f"usefulness-{protocol}", usefulness(measured)
        shown = _shown(known, scores[protocol])
        for pair in _spread(drawable, number):
            yield f"pair-{pair.id:03d}-{protocol}", pair_page(Frame.of(pair, protocol), shown)


def _shown(known: Mapping[str, Variant], scores: Sequence[Score]) -> dict[str, Variant]:
    """As many methods as a page can hold: the yardstick, and those of least mean RMSE."""
    errors: dict[str, list[float]] = {}
    for score in scores:
        errors.setdefault(score.method, []).append(score.metrics["rmse"])
    ranked = sorted(known, key=lambda name: float(np.mean(errors.get(name, np.inf))))
    kept = set(dict.fromkeys([REFERENCE, *ranked][:MOST_SHOWN]))
    return {name: variant for name, variant in known.items() if name in kept}


def _spread(pairs: Sequence[Pair], number: int) -> list[Pair]:
    """So many pairs, evenly through the list."""
    if not pairs or number < 1:
        return []
    places = np.linspace(0, len(pairs) - 1, min(number, len(pairs))).round().astype(int)
    return [pairs[int(place)] for place in dict.fromkeys(places.tolist())]


def _page(
    tables: Sequence[Table],
    asked: Asked,
    failures: Sequence[str],
    pictures: Sequence[tuple[str, str]],
) -> str:
    about = {name: one.about for known in asked.values() for name, one in known.items()}
    return fill(
        "sharpen.html.jinja",
        tables=tables,
        titles=TITLES,
        columns=COLUMNS,
        about=about,
        failures=failures,
        figures=pictures,
    )
