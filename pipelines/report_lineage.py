"""What a report says of origins: granules left out, training, lineage, commits."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cube.errors import SelectionError
from cube.version import code_version
from pipelines.report_tables import Fact

if TYPE_CHECKING:
    from cube.ledger import Row
    from cube.store import Cube
    from pipelines.model_folder import ModelFolder

COMMITS = 12
"""Most commits listed."""

RULES = {
    "max_cloud": "more cloud than the region file accepts",
    "max_bad": "more invalid pixels, cloud apart, than the region file accepts",
    "min_valid": "fewer valid pixels than the region file asks for",
    "incomplete": "a layer that is needed is missing",
}


def left_out_counts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Granules that are not in the cube, counted by modality, status and rule."""
    groups: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.modality, row.status.value, row.rule].append(row)
    return [
        {
            "modality": modality,
            "status": status,
            "rule": rule or "–",
            "meaning": RULES.get(rule) or _MEANING.get(status, ""),
            "count": len(members),
            "figures": _figures(members),
        }
        for (modality, status, rule), members in sorted(groups.items())
    ]


_MEANING = {
    "failed": "could not be read; the next ingest tries again",
    "superseded": "a newer version of the same acquisition is used",
    "empty": "no pixel of it was measured inside the region",
}


def _figures(rows: Sequence[Row]) -> str:
    """The span of what was measured, against the limit."""
    figures = [row.figure for row in rows if math.isfinite(row.figure)]
    limits = {row.limit for row in rows if math.isfinite(row.limit)}
    if not figures or len(limits) != 1:
        return "–"
    low, high = min(figures), max(figures)
    span = f"{low:.1%}" if low == high else f"{low:.1%} to {high:.1%}"
    return f"{span}; limit {limits.pop():.0%}"


def left_out_rows(rows: Sequence[Row]) -> list[dict[str, str]]:
    """The same granules one by one, in order of time."""
    return [
        {
            "granule": row.granule,
            "time": f"{row.time:%Y-%m-%d %H:%M}" if row.time else "unknown",
            "status": row.status.value,
            "rule": row.rule or "–",
            "reason": row.reason,
        }
        for row in rows
    ]


def selected(cube: Cube, folder: ModelFolder) -> list[Fact]:
    """Which scenes of a cube the model takes, and how many each rule leaves out."""
    from cube.select import report

    try:
        said = str(report(folder.recipe.selection.of(cube)))
    except SelectionError as error:
        said = f"none: {error}"
    return [("Scenes", "; ".join(line.strip() for line in said.splitlines()))]


def training_facts(folder: ModelFolder) -> list[Fact]:
    """How the network was trained."""
    metrics, recipe = folder.metrics(), folder.recipe
    settings = recipe.training
    dates = f", {folder.sequence} dates each" if folder.sequence else ""
    splits = {name: plan.split.in_words for name, plan in folder.plans.items()}
    words = [f"{name}: {split}" for name, split in splits.items()]
    found = [
        ("Network", settings.network),
        ("Input", f"{recipe.selection.modality}: {', '.join(recipe.bands)}"),
        ("Patches", f"{recipe.patch} px, every {recipe.stride} px{dates}"),
        ("Loss", settings.loss),
        ("Split", "; ".join(words if len(words) > 1 else splits.values())),
    ]
    parts = metrics.get("plan", {}).get("parts", {})
    if parts:
        samples = ", ".join(f"{name} {part['samples']:,}" for name, part in parts.items())
        found.append(("Samples", samples))
    if "parameters" in metrics:
        found.append(("Parameters", f"{metrics['parameters']:,}"))
    if "best" in metrics:
        kept = f"weights kept from epoch {metrics['best_epoch']}"
        found.append(("Epochs", f"{metrics['epochs']}; {kept}"))
        found.append(("Validation loss", f"{metrics['best']['val_loss']:.4g} at that epoch"))
    if "seconds" in metrics:
        found.append(("Duration", f"{metrics['seconds']:.0f} s"))
    return found


def lineage(cube: Cube, run: str | None, folder: ModelFolder | None) -> list[Fact]:
    """What was made from what."""
    ledger = cube.ledger
    counts = ", ".join(f"{count} {status}" for status, count in ledger.count().items() if count)
    found = [
        ("Snapshot of this page", cube.snapshot),
        ("Granules considered", f"{len(ledger)}: {counts}" if counts else "none"),
    ]
    attrs = cube.dataset(f"predictions/{run}", chunks=None).attrs if run is not None else {}
    if run is not None:
        found.append(("Run", run))
        found += [(title, str(attrs.get(name, "unknown"))) for name, title in RUN_LINEAGE.items()]
    if folder is not None:
        found += _model_lineage(folder, of_the_run=attrs.get("model_digest") == folder.digest)
    return [*found, ("Code of this page", f"thermocube {code_version()}")]


RUN_LINEAGE = {
    "model": "Model of the run",
    "model_digest": "Digest of the model (SHA-256)",
    "plan_digest": "Sample plan (SHA-256)",
    "training_snapshot": "Snapshot trained on",
    "input_snapshot": "Snapshot mapped",
    "code": "Code of the run",
}
"""Attribute of a run to what it is called on the page."""


def _model_lineage(folder: ModelFolder, *, of_the_run: bool) -> list[Fact]:
    """Of the model folder; its digests only where the run has not named them already."""
    trained = folder.recipe.lineage
    libraries = ", ".join(f"{name} {version}" for name, version in trained.libraries.items())
    digests = [
        ("Digest of that model (SHA-256)", folder.digest),
        ("Sample plan of that model (SHA-256)", trained.plan_digest),
        ("Snapshot that model was trained on", f"{trained.snapshot} of {trained.cube}"),
    ]
    return [
        ("Model folder", str(folder.path)),
        *([] if of_the_run else digests),
        ("Code of the training", trained.code_version),
        ("Libraries in training", libraries or "not recorded"),
    ]


def commits(cube: Cube) -> dict[str, Any]:
    """The latest commits, newest first, and how many there are."""
    history = cube.history()
    rows = [(commit.id, f"{commit.time:%Y-%m-%d %H:%M:%S}", commit.message) for commit in history]
    return {"rows": rows[:COMMITS], "total": len(rows)}
