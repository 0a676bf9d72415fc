"""The page of results: text around tables, every figure from a file that a command wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cube.lithology import Lithology
from pipelines.classify import FUSED, IMAGERY, MAJORITY
from pipelines.markdown import table as markdown_table
from pipelines.study_distance_page import PICTURE as DISTANCE_PICTURE
from pipelines.study_distance_page import draw as draw_distance
from pipelines.study_distance_page import section as distance_section
from pipelines.study_figures import draw_maps, draw_signatures
from pipelines.study_learn_page import section as learn_section
from pipelines.study_networks_page import section as networks_section
from pipelines.study_networks_page import verdict as networks_verdict
from pipelines.study_protocol_page import rows as protocol_rows
from pipelines.study_protocol_page import shuffled_rows
from pipelines.study_protocol_page import verdict as protocol_verdict
from pipelines.study_text import (
    AIM,
    COMMANDS,
    CONFIDENCE,
    GRIDS,
    INTRODUCTION,
    LEAKSAFE,
    NETWORKS,
    SHUFFLING,
    SIGNATURES,
    TRANSFER,
    TRIED,
)

TARGET = 0.28
"""Macro F1 that was aimed at for Puertollano."""

Document = dict[str, Any]


def write_page(folder: Path, target: Path) -> None:
    """Write the page, and its pictures beside it.

    Parameters
    ----------
    folder
        With ``classify-*.json`` and ``.npz``, ``distance-*.json``, ``transfer-*.json``,
        ``signatures-*.json``, ``confidence-*.json``, ``grids-santa.json``, ``baselines-*.json``,
        ``leaksafe-*.json`` (``thermocube train --folds --json``), ``protocol-*.json``
        (``thermocube evaluate --json``), ``shuffled-*.json``, ``learn-*.json``; a section says so
        if its files are not there, or is left out.
    target
        Markdown file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for maps in sorted(folder.glob("classify-*.npz")):
        name = maps.stem.removeprefix("classify-")
        draw_maps(maps, target.parent / f"results-{name}.png", name)
    for name, document in _read(folder, "signatures").items():
        draw_signatures(document, target.parent / f"results-signatures-{name}.png")
    if distances := _read(folder, "distance"):
        draw_distance(distances, target.parent / DISTANCE_PICTURE)
    target.write_text(page_text(folder), encoding="utf-8")


def page_text(folder: Path) -> str:
    """The page as Markdown; see `write_page`."""
    classified = _read(folder, "classify")
    protocol = _read(folder, "protocol")
    shuffled = _read(folder, "shuffled")
    leaksafe = _read(folder, "leaksafe")
    parts = [INTRODUCTION, _summary(classified), networks_verdict(leaksafe)]
    parts += [protocol_verdict(protocol, shuffled), LEAKSAFE]
    for name, document in classified.items():
        parts += [_classified(name, document)]
    parts += [TRIED, networks_section(leaksafe)]
    parts += [distance_section(_read(folder, "distance"), TARGET)]
    parts += [TRANSFER, _table(_transfers(_read(folder, "transfer")))]
    parts += [NETWORKS, _table(protocol_rows(protocol, _read(folder, "baselines")))]
    if shuffled:
        parts += [SHUFFLING, _table(shuffled_rows(shuffled))]
    parts += [GRIDS, _table(_grids(_read(folder, "grids").get("santa", {})))]
    parts += [SIGNATURES, *map(_signatures, _read(folder, "signatures").values())]
    parts += [CONFIDENCE, _table(_confidence(_read(folder, "confidence")))]
    parts += [learn_section(_read(folder, "learn")), COMMANDS]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _read(folder: Path, kind: str) -> dict[str, Document]:
    """Name to document of all files of a kind."""
    return {
        path.stem.removeprefix(f"{kind}-"): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob(f"{kind}-*.json"))
    }


def _table(rows: Iterator[tuple[str, ...]]) -> str:
    """Markdown of a head and rows; a sentence if there is no row."""
    head, *body = rows
    if not body:
        return "*Not run for this page; the commands are at its end.*"
    return markdown_table(head, body)


def _figure(found: Document) -> str:
    return f"{found['estimate']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _summary(classified: dict[str, Document]) -> str:
    lines = []
    for name, document in classified.items():
        table = document["scores"]
        best, base = table[FUSED], table[MAJORITY]
        alone = table[IMAGERY]
        added = {key: _figure(document["beyond_nearby"][key]) for key in ("oa", "macro_f1")}
        lines.append(
            f"* **{name}**: OA {best['oa']:.3f}, macro F1 {best['macro_f1']:.3f} with imagery and "
            f"the labels of other ground; {alone['oa']:.3f} / {alone['macro_f1']:.3f} with imagery "
            f"alone; majority class {base['oa']:.3f} / {base['macro_f1']:.3f}. To the labels "
            f"nearby, imagery adds {added['oa']} in OA and {added['macro_f1']} in macro F1."
        )
    return "\n".join(lines) + "\n\n" + _aim(classified).strip()


def _aim(classified: dict[str, Document]) -> str:
    tables = [
        document["scores"]
        for name, document in classified.items()
        if document["region"] == "puertollano"
    ]
    reached = [
        table
        for table in tables
        if table[FUSED]["macro_f1"] >= TARGET and table[FUSED]["oa"] > table[MAJORITY]["oa"]
    ]
    verdict = "reached" if reached else "not reached"
    return AIM.format(aim=f"{TARGET:.2f}", verdict=verdict) if tables else ""


def _classified(name: str, document: Document) -> str:
    plans = ", ".join(f"`{digest[:12]}`" for digest in document["plans"])
    layers = f", with radar and colour of `{document['layers']}`" if document["layers"] else ""
    split = re.sub(r"^fold \d+ of \d+ of ", "", document["split"])
    return "\n\n".join(
        [
            f"### {name}{layers}",
            f"Snapshot `{document['snapshot']}`; {split}. Plans: {plans}.",
            _table(_scores(document["scores"])),
            _table(_by_class(document["scores"])),
            f"Trust and lift chosen, fold by fold: {_chosen(document['chosen'])}.",
            f"![Maps of {name}](results-{name}.png)",
        ]
    )


def _chosen(folds: list[Document]) -> str:
    return "; ".join(f"{fold[FUSED][0]:g} and {fold[FUSED][1]:g}" for fold in folds)


def _scores(table: Document) -> Iterator[tuple[str, ...]]:
    yield "predictor", "OA", "macro F1", "more OA than majority", "more macro F1", "kappa"
    for name, row in table.items():
        gaps = [_figure(row["better"][key]) for key in ("oa", "macro_f1")]
        figures = [_figure(row["intervals"][key]) for key in ("oa", "macro_f1")]
        same = name == MAJORITY
        yield name, *figures, *(["-", "-"] if same else gaps), f"{row['kappa']:.3f}"


def _by_class(table: Document) -> Iterator[tuple[str, ...]]:
    support = next(iter(table.values()))["support"]
    yield "F1 of", "pixels", *table
    for code, pixels in support.items():
        values = [f"{row['per_class'][code]:.3f}" for row in table.values()]
        yield Lithology(int(code)).label, str(pixels), *values


def _transfers(found: dict[str, Document]) -> Iterator[tuple[str, ...]]:
    yield "learnt", "tested", "predictor", "OA", "macro F1"
    for document in found.values():
        for name, row in document["scores"].items():
            figures = [_figure(row["intervals"][key]) for key in ("oa", "macro_f1")]
            yield document["taught"], document["tested"], name, *figures


def _grids(document: Document) -> Iterator[tuple[str, ...]]:
    yield "grid", "dates", "km between the two places", "labels by pixel index that are right"
    for name, row in document.items():
        yield name, str(row["dates"]), f"{row['kilometres']:.1f}", f"{row['same']:.3f}"


def _signatures(document: Document) -> str:
    name, rates = document["region"], list(_rates(document["bands"]))
    lines = [
        f"### {name}: {document['dates']} dates",
        f"Whether the hypotheses hold: **{document['verdict']}**.",
    ]
    if len(rates) > 1:
        lines.append(_table(iter(rates)))
    return "\n\n".join([*lines, f"![Signatures of {name}](results-signatures-{name}.png)"])


def _rates(bands: Document) -> Iterator[tuple[str, ...]]:
    yield "band", "sand less clay", "per hour", "95 % interval", "dates"
    for band, found in bands.items():
        for judged, part in zip(found["hypotheses"], ("7 to 14 h", "15 to 6 h"), strict=True):
            gap = judged["difference"]
            if gap["estimate"] is not None:
                interval = f"[{gap['low']:.5f}, {gap['high']:.5f}]"
                yield band, part, f"{gap['estimate']:.5f}", interval, str(gap["dates"])


def _confidence(found: dict[str, Document]) -> Iterator[tuple[str, ...]]:
    yield "classification", "confidence against", "r", "95 % interval", "pixels", "worth", "p"
    names = {"correctness": "being right", "greenness": "greenness"}
    for name, document in found.items():
        for key, words in names.items():
            if key in document:
                row = document[key]
                interval = f"[{row['low']:.3f}, {row['high']:.3f}]"
                worth = f"{row['effective']:.0f}"
                pixels, p = str(row["pixels"]), f"{row['p_value']:.3f}"
                yield name, words, f"{row['r']:.3f}", interval, pixels, worth, p
