"""The section of the page of results on the study's own protocol: table, and what it comes to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.evaluation import MAJORITY, MEMORISE, NETWORK
from pipelines.published import FINAL
from pipelines.study_shuffled import AS_THEY_ARE, SHUFFLED

NAMES = {"cnn": "CNN", "convlstm": "ConvLSTM"}
REGIONS = {"puertollano": "Puertollano", "santa": "Santa Olalla"}
"""Those whose pixels are there, by the names of their files."""

PUBLISHED = {
    (region, network): FINAL.rows[title, NAMES[network]]
    for region, title in REGIONS.items()
    for network in NAMES
}
"""OA and F1 of the study's final configurations."""

Document = dict[str, Any]


def shuffled_rows(found: Mapping[str, Document]) -> Iterator[tuple[str, ...]]:
    """Head and rows of the table of images whose pixels were shuffled.

    Parameters
    ----------
    found
        What ``thermocube study shuffled`` wrote, by network and region.
    """
    yield "region", "network", AS_THEY_ARE, SHUFFLED
    for region, network in PUBLISHED:
        if (document := found.get(f"{network}-{region}")) is not None:
            scores = document["scores"]
            yield region, NAMES[network], _pair(scores[AS_THEY_ARE]), _pair(scores[SHUFFLED])


def blind(found: Mapping[str, Document]) -> str:
    """Which networks come out above the published figures on shuffled pixels, in a sentence."""
    above = [
        (region, network)
        for region, network in PUBLISHED
        if (document := found.get(f"{network}-{region}")) is not None
        and _above(document["scores"][SHUFFLED], PUBLISHED[region, network])
    ]
    if not above:
        return ""
    return f"**On shuffled pixels still above both published figures: {_listed(above)}.**"


def rows(runs: Mapping[str, Document], known: Mapping[str, Document]) -> Iterator[tuple[str, ...]]:
    """Head and rows of the table.

    Parameters
    ----------
    runs
        What ``thermocube evaluate --json`` printed, by network and region: ``cnn-santa``.
    known
        What ``thermocube study baselines`` wrote, by region: for networks that were not run.
    """
    yield "region", "network", "ours", "published", "memorise the place", "majority", "patch, plan"
    for region, network in PUBLISHED:
        run = runs.get(f"{network}-{region}")
        if run is None and region not in known:
            continue
        published = "{:.4f} / {:.4f}".format(*PUBLISHED[region, network])
        yield region, NAMES[network], *_figures(run, published, known.get(region, {}))


def _figures(run: Document | None, published: str, known: Document) -> tuple[str, ...]:
    if run is None:
        baselines = known["baselines"]
        others = _pair(baselines["memorise_place"]), _pair(baselines["majority"])
        return "not run", published, *others, "-"
    scores, plan = run["scores"], run["plan"]
    others = _pair(scores[MEMORISE]), _pair(scores[MAJORITY])
    return (
        _pair(scores[NETWORK]),
        published,
        *others,
        f"{plan['patch']} px, `{plan['digest'][:12]}`",
    )


def verdict(runs: Mapping[str, Document], shuffled: Mapping[str, Document]) -> str:
    """Which networks come out above the published figures, in a paragraph; nothing without a run.

    Parameters
    ----------
    runs, shuffled
        See `rows` and `shuffled_rows`.
    """
    found = {
        (region, network): run["scores"][NETWORK]
        for region, network in PUBLISHED
        if (run := runs.get(f"{network}-{region}")) is not None
    }
    if not found:
        return ""
    above = [key for key, scores in found.items() if _above(scores, PUBLISHED[key])]
    below = [key for key in found if key not in above]
    said = [f"above both published figures: {_listed(above)}"] if above else []
    said += [f"not above both: {_listed(below)}"] if below else []
    lacking = [key for key in PUBLISHED if key not in found]
    said += [f"not run: {_listed(lacking)}"] if lacking else []
    lines = [
        "Of the networks under the study's own split by date, where remembering every place "
        f"scores 1, {'; '.join(said)}.",
        blind(shuffled),
    ]
    return "\n".join(line for line in lines if line)


def _above(scores: Document, published: tuple[float, float]) -> bool:
    return all(
        scores[key] > value for key, value in zip(("oa", "macro_f1"), published, strict=True)
    )


def _listed(keys: list[tuple[str, str]]) -> str:
    return ", ".join(f"{NAMES[network]} in {region}" for region, network in keys)


def _pair(found: Document) -> str:
    return f"{found['oa']:.4f} / {found['macro_f1']:.4f}"
