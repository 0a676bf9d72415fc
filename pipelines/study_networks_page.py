"""The section of the page of results on networks under a split that does not leak."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.evaluation import MAJORITY, MEMORISE, NETWORK
from pipelines.markdown import table as markdown_table
from pipelines.study_protocol_page import NAMES, REGIONS

TEXT = """
### The study's kind of network, leak-safe

Small networks of the study's two kinds (recipes: `results/leaksafe-*.toml`), trained once a fold
for a few epochs on the same two bands, each scene less its median, with the study's class weights,
which make rare classes be said often; {folds} folds, every block of ground tested once ({split}).
Scores pool the test ground of all folds: *date by date*, a pixel counting once a date, and on *one
map*, its probabilities averaged over all dates. Baselines are fitted fold by fold to the same
training ground and scored on the same pixels. Intervals as above.
"""

Document = dict[str, Any]


def section(found: Mapping[str, Document]) -> str:
    """The section as Markdown; nothing if there is no file of it.

    Parameters
    ----------
    found
        What ``thermocube train --folds --json`` printed, by network and region: ``cnn-santa``.
    """
    if not found:
        return ""
    first = next(iter(found.values()))
    split = re.sub(r".*fold \d+ of \d+ of |;.*", "", first["split"])
    head, *body = rows(found)
    words = TEXT.strip().format(folds=len(first["folds"]), split=split)
    return "\n\n".join([words, markdown_table(head, body), "\n".join(_plans(found))])


def _plans(found: Mapping[str, Document]) -> Iterator[str]:
    yield "Plans, fold by fold:\n"
    for name, document in found.items():
        digests = (f"`{fold['plan']['digest'][:12]}`" for fold in document["folds"])
        yield f"* {name}: {', '.join(digests)}."


def rows(found: Mapping[str, Document]) -> Iterator[tuple[str, ...]]:
    """Head and rows of the table."""
    yield "region", "predictor", "date by date: OA", "macro F1", "one map: OA", "macro F1"
    for region in REGIONS:
        documents = {
            network: document
            for network in NAMES
            if (document := found.get(f"{network}-{region}")) is not None
        }
        for network, document in documents.items():
            for who in (NETWORK, MAJORITY, MEMORISE):
                name = NAMES[network] if who == NETWORK else f"{who}, as the {NAMES[network]}"
                yield region, name, *_figures(document, who)


def _figures(document: Document, who: str) -> Iterator[str]:
    for scores, intervals in (("scores", "intervals"), ("all_dates", "all_dates_intervals")):
        for key in ("oa", "macro_f1"):
            low, high = document[intervals]["scores"][who][key]
            yield f"{document[scores][who][key]:.3f} [{low:.3f}, {high:.3f}]"


def verdict(found: Mapping[str, Document]) -> str:
    """What the networks' one map is worth beside the majority class, in a sentence."""
    if not found:
        return ""
    said = [
        f"{NAMES[network]} in {region} {_pair(document, NETWORK)}, {_pair(document, MAJORITY)}"
        for region in REGIONS
        for network in NAMES
        if (document := found.get(f"{network}-{region}")) is not None
    ]
    return (
        "Networks of the study's kind, leak-safe, one map from all dates (OA / macro F1, then the "
        f"majority class's on the same pixels): {'; '.join(said)}."
    )


def _pair(document: Document, who: str) -> str:
    scores = document["all_dates"][who]
    return f"{scores['oa']:.3f} / {scores['macro_f1']:.3f}"
