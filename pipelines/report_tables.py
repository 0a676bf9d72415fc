"""The words and tables of the report: plain strings, ready for the page's template."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.bands import MODALITIES
from cube.grid import describe
from cube.lithology import Lithology
from cube.version import code_version
from pipelines.evaluate import NETWORK, PREDICTORS, Evaluation
from pipelines.maps import extent, shares
from pipelines.scorecard import FIGURES

if TYPE_CHECKING:
    import xarray as xr

    from cube.ledger import Row
    from cube.store import Cube
    from models.metrics import Scores
    from pipelines.model_folder import ModelFolder

COMMITS = 12
"""Most commits listed."""

Fact = tuple[str, str]

RULES = {
    "max_cloud": "more cloud than the region file accepts",
    "max_bad": "more invalid pixels, cloud apart, than the region file accepts",
    "min_valid": "fewer valid pixels than the region file asks for",
    "incomplete": "a layer that is needed is missing",
}


def runs(cube: Cube) -> list[str]:
    """Names of a cube's predictions."""
    found = (name.partition("predictions/") for name in cube.groups())
    return [name for before, prefix, name in found if prefix and not before]


def facts(cube: Cube) -> list[Fact]:
    """Where a cube lies and what it is."""
    west, south, east, north = cube.attrs["bbox"]
    commit = cube.history()[0]
    latitudes = f"{_degrees(south, 'SN')} to {_degrees(north, 'SN')}"
    longitudes = f"{_degrees(west, 'WE')} to {_degrees(east, 'WE')}"
    left, right, bottom, top = extent(cube.grid)
    size = f"{right - left:.1f} x {top - bottom:.1f} km"
    return [
        ("Area", f"{latitudes}, {longitudes} (WGS 84); {size}"),
        ("Grid", describe(cube.grid)),
        ("Cube", cube.location),
        ("Snapshot", f"{cube.snapshot}, {commit.time:%Y-%m-%d %H:%M} UTC: {commit.message}"),
        ("Label map", _labels(cube)),
        ("Predictions", ", ".join(runs(cube)) or "none"),
    ]


def _degrees(value: float, names: str) -> str:
    return f"{abs(value):.4f}° {names[value >= 0]}"


def _labels(cube: Cube) -> str:
    if "labels" not in cube.groups():
        return "none"
    codes = cube.dataset("labels", chunks=None)["lithology"].to_numpy()
    return f"{len(shares(codes))} classes, {(codes > 0).mean():.1%} of the pixels labelled"


def modalities(cube: Cube) -> list[dict[str, Any]]:
    """Bands, scenes and dates of each modality, by the scene coordinates alone."""
    table = []
    for name in MODALITIES:
        if name not in cube.groups():
            continue
        scenes = cube.dataset(name, chunks=None)
        times, day = scenes["time"].values, scenes["sun_elevation"].values > 0
        table.append(
            {
                "name": name,
                "title": MODALITIES[name].title,
                "bands": ", ".join(_band(name, str(band)) for band in scenes["band"].values),
                "scenes": len(times),
                "day": int(day.sum()),
                "night": int((~day).sum()),
                "first": _date(times[0]) if len(times) else "–",
                "last": _date(times[-1]) if len(times) else "–",
                "valid": f"{scenes['valid_fraction'].values.mean():.1%}" if len(times) else "–",
            }
        )
    return table


def _band(modality: str, name: str) -> str:
    units = MODALITIES[modality].bands[name].units
    return f"{name} ({units})"


def _date(time: np.datetime64) -> str:
    return str(np.datetime_as_string(time, unit="D"))


def headline(evaluation: Evaluation) -> dict[str, Any]:
    """The network's scores beside the baselines', in words and as bars."""
    network, majority, memorised = (evaluation.scores[name] for name in PREDICTORS)
    place = (
        "On ground that was not seen in training"
        if evaluation.leak_safe
        else "Under a split that leaks"
    )
    sentence = (
        f"{place}, the network reaches an overall accuracy of {network.oa:.3f} (macro F1 "
        f"{network.macro_f1:.3f}), against {majority.oa:.3f} ({majority.macro_f1:.3f}) for the "
        f"majority class and {memorised.oa:.3f} ({memorised.macro_f1:.3f}) for memorising the "
        "place."
    )
    return {
        "sentence": sentence,
        "comparison": _comparison(network, (majority, memorised)),
        "leak_safe": evaluation.leak_safe,
        "split": evaluation.split,
        "pixels": f"{network.pixels:,}",
        "dates": len(evaluation.per_date),
        "bars": [
            {"name": name, "oa": scores.oa, "macro_f1": scores.macro_f1}
            for name, scores in ((name, evaluation.scores[name]) for name in PREDICTORS)
        ],
    }


def _comparison(network: Scores, others: Sequence[Scores]) -> str:
    parts = []
    for field, name in (("oa", "overall accuracy"), ("macro_f1", "macro F1")):
        better = max(getattr(other, field) for other in others)
        # Of the rounded figures, so that it agrees with what stands beside it.
        gap = round(getattr(network, field), 3) - round(better, 3)
        parts.append(f"{abs(gap):.3f} {'above' if gap >= 0 else 'below'} in {name}")
    return f"Against the better baseline the network is {' and '.join(parts)}."


def scene_title(scene: xr.Dataset) -> str:
    """Two lines: UTC, and local solar time with the valid share."""
    minutes = round(float(scene["local_solar_time"]) * 60) % (24 * 60)
    utc = str(np.datetime_as_string(scene["time"].values, unit="m")).replace("T", " ")
    solar = f"{minutes // 60:02d}:{minutes % 60:02d}"
    return f"{utc} UTC\n{solar} local solar time"


def classes(*layers: np.ndarray | None) -> list[dict[str, Any]]:
    """The legend: classes that occur in a layer, with their share in each."""
    found = [shares(layer) if layer is not None else None for layer in layers]
    codes = sorted({code for share in found if share is not None for code in share})
    return [
        {
            "code": code,
            "name": Lithology(code).label,
            "colour": Lithology(code).colour,
            "shares": [
                "" if share is None else f"{share[code]:.1%}" if code in share else "–"
                for share in found
            ],
        }
        for code in codes
    ]


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


def training_facts(folder: ModelFolder) -> list[Fact]:
    """How the network was trained."""
    metrics, recipe = folder.metrics(), folder.recipe
    settings = recipe.training
    found = [
        ("Input", f"{recipe.selection.modality}: {', '.join(recipe.bands)}"),
        ("Patches", f"{recipe.patch} px, every {recipe.stride} px"),
        ("Loss", settings.loss),
        ("Split", folder.plan.split.kind),
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


def score_tables(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The network beside the baselines: on all test dates, and on the map over all dates."""
    dates = len(evaluation.per_date)
    groups = {
        f"test pixels of {dates} dates; a pixel counts once a date": evaluation.scores,
        "the one map made from all dates": evaluation.all_dates,
    }
    return [
        {"title": title, "rows": [(name, _score_row(row)) for name, row in scores.items()]}
        for title, scores in groups.items()
    ]


SCORE_HEAD = (*FIGURES, "pixels")


def _score_row(scores: Scores) -> list[str]:
    return [*(f"{getattr(scores, field):.3f}" for field in FIGURES.values()), f"{scores.pixels:,}"]


def class_scores(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Scores of the network by class."""
    return [
        {
            "name": evaluation.class_names[row.code],
            "colour": Lithology(row.code).colour,
            "figures": [f"{value:.3f}" for value in (row.precision, row.recall, row.f1, row.iou)],
            "support": f"{row.support:,}",
        }
        for row in evaluation.scores[NETWORK].per_class
    ]


def lineage(cube: Cube, run: str | None, folder: ModelFolder | None) -> list[Fact]:
    """What was made from what."""
    ledger = cube.ledger
    counts = ", ".join(f"{count} {status}" for status, count in ledger.count().items() if count)
    found = [
        ("Snapshot of this page", cube.snapshot),
        ("Granules considered", f"{len(ledger)}: {counts}" if counts else "none"),
    ]
    if run is not None:
        attrs = cube.dataset(f"predictions/{run}", chunks=None).attrs
        found.append(("Run", run))
        found += [(title, str(attrs.get(name, "unknown"))) for name, title in RUN_LINEAGE.items()]
    if folder is not None:
        found += _model_lineage(folder)
    return [*found, ("Code of this page", f"thermocube {code_version()}")]


RUN_LINEAGE = {
    "model": "Model of the run",
    "model_digest": "Its digest (SHA-256)",
    "plan_digest": "Its sample plan (SHA-256)",
    "training_snapshot": "Snapshot trained on",
    "input_snapshot": "Snapshot mapped",
    "code": "Code of the run",
}
"""Attribute of a run to what it is called on the page."""


def _model_lineage(folder: ModelFolder) -> list[Fact]:
    trained = folder.recipe.lineage
    libraries = ", ".join(f"{name} {version}" for name, version in trained.libraries.items())
    return [
        ("Model folder", str(folder.path)),
        ("Its digest (SHA-256)", folder.digest),
        ("Its sample plan (SHA-256)", trained.plan_digest),
        ("Its training snapshot", f"{trained.snapshot} of {trained.cube}"),
        ("Code of the training", trained.code_version),
        ("Libraries in training", libraries or "not recorded"),
    ]


def commits(cube: Cube) -> dict[str, Any]:
    """The latest commits, newest first, and how many there are."""
    history = cube.history()
    rows = [(commit.id, f"{commit.time:%Y-%m-%d %H:%M:%S}", commit.message) for commit in history]
    return {"rows": rows[:COMMITS], "total": len(rows)}
