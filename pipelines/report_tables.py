"""What a report says of a cube and of scores: plain strings, ready for the page's template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.bands import MODALITIES
from cube.grid import describe
from cube.lithology import Lithology
from pipelines.evaluation import NETWORK, PREDICTORS, Evaluation
from pipelines.maps import extent, shares
from pipelines.scorecard import FIGURES, interval_rows, interval_title

if TYPE_CHECKING:
    import xarray as xr

    from cube.store import Cube
    from models.metrics import Scores

Fact = tuple[str, str]


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


def score_tables(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The network beside the baselines: on all test dates, and on the map over all dates."""
    dates = len(evaluation.per_date)
    # Under a split by date the one map has seen the training dates as well.
    leak = "" if evaluation.leak_safe else ", those of training too"
    groups = {
        f"test pixels of {dates} dates; a pixel counts once a date": evaluation.blocks,
        f"the one map made from all dates{leak}": evaluation.map_blocks,
    }
    tables: list[dict[str, Any]] = []
    for title, blocks in groups.items():
        rows = [(name, _score_row(row)) for name, row in blocks.scores.items()]
        spans = [(name, [*cells, ""]) for name, cells in interval_rows(blocks)]
        tables += [
            {"title": title, "rows": rows},
            {"title": interval_title(blocks), "rows": spans},
        ]
    return tables


def group_tables(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The network by time of day and by season."""
    return [
        {
            "title": f"network, by {kind}",
            "rows": [(name, _score_row(row)) for name, row in members.items()],
        }
        for kind, members in evaluation.groups.items()
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
