"""The section of the page of results on distance: a table of each score, and a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.classify import FUSED, IMAGERY, MAJORITY, NEARBY, REFERENCE
from pipelines.markdown import table as markdown_table

SHOWN = (MAJORITY, NEARBY, REFERENCE, IMAGERY, FUSED)
TITLES = {"oa": "OA", "macro_f1": "macro F1"}
PICTURE = "results-distance.png"

DISTANCE = """
## How far from known ground

How the scores above depend on the distance to ground that is known. Single blocks are tested here
instead of whole groups, so that known ground lies around each: every fourth block down and
across at a time, sixteen folds, every block once. The nearer known ground lies, the narrower
features must look: the buffer is never less than they see, so that no pixel enters both a
training and a test feature. *Distance* is that of the tested pixels to the nearest known one in
rows or columns: median, and the middle 90 %. Labels nearby are spread by half the buffer; trust
and lift are chosen on other folds, as above.

**Narrow buffers measure how well gaps within a surveyed area are filled**, which spatial
autocorrelation makes easy for a predictor that never sees an image: see the labels nearby.
They do not measure mapping of new ground. The headline stays that of the groups of blocks, above.
"""

Document = dict[str, Any]


def section(found: Mapping[str, Document], target: float) -> str:
    """The section as Markdown; nothing if there is no file of it.

    Parameters
    ----------
    found
        What ``thermocube study distance`` wrote, by name.
    target
        Macro F1 that was aimed at for Puertollano.
    """
    if not found:
        return ""
    parts = [DISTANCE.strip(), _verdict(found, target)]
    for key, title in TITLES.items():
        head, *body = _rows(found, key)
        parts += [f"{title}, with 95 % intervals:", markdown_table(head, body)]
    parts += [f"![Scores against distance]({PICTURE})", "\n".join(_plans(found))]
    return "\n\n".join(parts)


def _verdict(found: Mapping[str, Document], target: float) -> str:
    """Where the aim for Puertollano is reached, and by whom."""
    reached = [
        f"{name}, buffer of {rung['buffer']} px: {predictor} "
        f"({row['oa']:.3f} / {row['macro_f1']:.3f}; OA above the majority class by "
        f"{_figure(row['better']['oa'])})"
        for name, document in found.items()
        if document["region"] == "puertollano"
        for rung in document["rungs"]
        for predictor, row in rung["scores"].items()
        if row["macro_f1"] >= target and row["oa"] > rung["scores"][MAJORITY]["oa"]
    ]
    aim = f"The aim of a macro F1 of {target:.2f} at an OA above that of the majority class"
    if not reached:
        return f"{aim} is reached at none of these distances."
    return f"{aim} is reached here:\n\n" + "\n".join(f"* {line}" for line in reached)


def _rows(found: Mapping[str, Document], key: str) -> Iterator[tuple[str, ...]]:
    yield "classification", "buffer", "distance, km", "features see", *SHOWN
    for name, document in found.items():
        for rung in document["rungs"]:
            away = rung["distance"]
            distance = f"{away['median']:.2f} ({away['low']:.2f} to {away['high']:.2f})"
            figures = (_figure(rung["scores"][who]["intervals"][key]) for who in SHOWN)
            yield name, f"{rung['buffer']} px", distance, _features(rung), *figures


def _features(rung: Document) -> str:
    return f"{rung['sees']} px" if rung["scales"] else "the pixel"


def _figure(found: Document) -> str:
    return f"{found['estimate']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _plans(found: Mapping[str, Document]) -> Iterator[str]:
    for name, document in found.items():
        plans = {rung["split"]: rung["plans"][0][:12] for rung in document["rungs"]}
        lines = "; ".join(f"{split}: `{digest}`" for split, digest in plans.items())
        yield f"* {name}, snapshot `{document['snapshot']}`, first folds: {lines}."


def draw(found: Mapping[str, Document], target: Path) -> None:
    """Draw both scores against the median distance to known ground.

    Parameters
    ----------
    found
        What ``thermocube study distance`` wrote, by name.
    target
        PNG file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(found), 6), layout="constrained")
    axes = figure.subplots(2, len(found), squeeze=False, sharex=True, sharey="row")
    for column, (name, document) in enumerate(found.items()):
        axes[0, column].set_title(name)
        axes[1, column].set_xlabel("median distance to known ground, km")
        for axis, (key, title) in zip(axes[:, column], TITLES.items(), strict=True):
            axis.set_ylabel(title)
            for number, who in enumerate(SHOWN):
                _draw_line(axis, document["rungs"], who, key, number)
    axes[0, 0].legend(fontsize="small")
    figure.savefig(target, dpi=80)


def _draw_line(axis: Any, rungs: list[Document], who: str, key: str, number: int) -> None:
    drawn = [rung["scores"][who]["intervals"][key] for rung in rungs]
    middle = [one["estimate"] for one in drawn]
    errors = [[one["estimate"] - one["low"] for one in drawn],
              [one["high"] - one["estimate"] for one in drawn]]  # fmt: skip
    # Beside one another, so that the intervals can be told apart.
    away = [rung["distance"]["median"] * (1 + 0.02 * (number - 2)) for rung in rungs]
    axis.errorbar(away, middle, errors, marker="o", markersize=3, linewidth=1, label=who)
