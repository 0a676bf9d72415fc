"""A cube, a run and its scores as one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines import charts, figures, maps, report_lineage, report_tables
from pipelines.evaluation import MAJORITY, NETWORK, Evaluation
from pipelines.page import fill
from pipelines.plan_map import plan_map
from pipelines.report_material import Material, thinned
from pipelines.scorecard import calibration_line

if TYPE_CHECKING:
    from cube.store import Cube

GALLERY = 3
"""Most scenes shown by day, and by night."""


def write_report(
    cube: Cube, path: Path, *, run: str | None = None, model: Path | None = None
) -> Path:
    """Write a page with a cube's scenes, a run's maps, and its scores beside two baselines.

    The file holds its figures; it needs no network, no script and no other file. The same cube
    and model give the same page.

    Parameters
    ----------
    cube
        Read at its snapshot.
    path
        The HTML file; replaced if it is there.
    run
        Predictions to show. By default those named like the model folder, if the cube has them.
    model
        Model folder, for training curves, split and scores.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    SelectionError
        If the cube has no such run.
    ModelError
        If the model folder is not complete, or the run was made with another model.
    """
    path = Path(path)
    page = render(Material.of(cube, run, model))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(page, encoding="utf-8")
    return part.replace(path)


def render(material: Material) -> str:
    """Fill the page's template."""
    cube, evaluation = material.cube, material.evaluation
    return fill(
        "report.html.jinja",
        name=cube.name,
        facts=report_tables.facts(cube),
        modalities=report_tables.modalities(cube),
        headline=report_tables.headline(evaluation) if evaluation else None,
        unscored=material.unscored,
        run=material.run,
        maps=_maps(material),
        gallery=_gallery(cube),
        coverage=_coverage(cube),
        training=_training(material) if material.folder else None,
        scores=_scores(evaluation) if evaluation else None,
        lineage=report_lineage.lineage(cube, material.run, material.folder),
        commits=report_lineage.commits(cube),
    )


def picture(
    image: str, alt: str, caption: str = "", keys: Sequence[maps.Key] = ()
) -> dict[str, Any]:
    """A figure as the template takes it; `keys` is the legend under it."""
    return {"src": image, "alt": alt, "caption": caption, "keys": keys}


def _maps(material: Material) -> dict[str, Any] | None:
    """Section 2: labels, prediction, confidence, errors and split."""
    predicted = material.predicted.get("lithology_all")
    if material.labels is None and predicted is None:
        return None
    drawn = (_class_maps, _confidence_map, _error_map, _split_map)
    return {
        "figures": [item for draw in drawn for item in draw(material)],
        "classes": report_tables.classes(material.labels, predicted),
        "outlined": _outline(material.parts) is not None,
    }


def _class_maps(material: Material) -> Iterator[dict[str, Any]]:
    layers = {
        "Label map": (material.labels, "Classes as mapped."),
        "Predicted map": (
            material.predicted.get("lithology_all"),
            "Most probable class, by the mean of its probability over all dates.",
        ),
    }
    outline = _outline(material.parts)
    for title, (codes, caption) in layers.items():
        if codes is not None:
            drawn = figures.lithology(codes, material.cube.grid, title, outline)
            yield picture(figures.png(drawn), title, caption)


def _confidence_map(material: Material) -> Iterator[dict[str, Any]]:
    if material.predicted:
        values = material.predicted["confidence_all"]
        drawn = figures.confidence(values, material.cube.grid, "Confidence")
        caption = "Mean probability of the class chosen, over all dates."
        yield picture(figures.png(drawn), "Confidence map", caption)


def _error_map(material: Material) -> Iterator[dict[str, Any]]:
    if material.labels is None or not material.predicted or not material.parts:
        return
    codes = maps.error_codes(
        material.labels, material.predicted["lithology_all"], material.parts["test"]
    )
    title = "Right and wrong on the test part"
    drawn = figures.keys(codes, maps.RIGHT_OR_WRONG, material.cube.grid, title)
    legend = _keys_in(maps.RIGHT_OR_WRONG, codes)
    yield picture(figures.png(drawn), title, _error_caption(material.evaluation), legend)


def _split_map(material: Material) -> Iterator[dict[str, Any]]:
    plan = material.plan
    # A cube that has grown since the plan was made is of another shape.
    if plan is not None and plan.shape == tuple(material.cube.grid.shape):
        codes = maps.part_codes(**material.parts)
        drawn = plan_map(plan, material.cube.grid)
        caption = "Ground that the patches of each part of the sample plan cover, and their dates."
        legend = _keys_in(maps.PARTS, codes)
        yield picture(figures.png(drawn), "Map of the split", caption, legend)


def _keys_in(keys: Sequence[maps.Key], codes: np.ndarray) -> list[maps.Key]:
    return [keys[int(code)] for code in np.unique(codes)]


def _outline(parts: dict[str, np.ndarray]) -> np.ndarray | None:
    """The test part, unless it is where the others are too."""
    if not parts or (parts["test"] & parts["train"]).any():
        return None
    return parts["test"]


def _error_caption(evaluation: Evaluation | None) -> str:
    text = "The predicted map against the labels."
    if evaluation is None:
        return text
    score = evaluation.all_dates[NETWORK]
    return f"{text} Overall accuracy of this map {score.oa:.3f}, {score.pixels:,} pixels."


def _gallery(cube: Cube) -> list[dict[str, Any]]:
    """Section 3: scenes of land surface temperature, by day and by night."""
    if not figures.has_lst(cube):
        return []
    thermal = cube.dataset("thermal", chunks=None)
    shown = []
    for name, chosen in zip(("day", "night"), figures.choose_scenes(thermal, GALLERY), strict=True):
        for index in chosen:
            scene = thermal.isel(time=index)
            title = report_tables.scene_title(scene)
            values = thinned(figures.lst(thermal, index))
            drawn = figures.temperature(values, cube.grid, title)
            alt = f"Land surface temperature by {name}, {title.splitlines()[0]}"
            shown.append(picture(figures.png(drawn), alt))
    return shown


def _coverage(cube: Cube) -> dict[str, Any]:
    """Section 4: scenes through time, and what is not in the cube."""
    ledger = cube.ledger
    left_out = [row for row in ledger if row.status in charts.LEFT_OUT]
    names = [row["name"] for row in report_tables.modalities(cube)]
    scenes = {name: cube.dataset(name, chunks=None) for name in names}
    drawn = charts.timeline(scenes, left_out) if scenes else None
    alt = "Valid share of the region for every scene, by modality, and the granules left out"
    return {
        "figure": picture(figures.svg(drawn), alt) if drawn else None,
        "counts": report_lineage.left_out_counts(left_out),
        "rows": report_lineage.left_out_rows(left_out),
        "considered": len(ledger),
    }


def _training(material: Material) -> dict[str, Any]:
    """Section 5: training curves."""
    folder = material.folder
    assert folder is not None
    history, metrics = folder.history(), folder.metrics()
    best = metrics.get("best_epoch")
    alt = "Loss and accuracy of training and validation by epoch"
    drawn = charts.curves(history, best) if "loss" in history else None
    selected = [] if material.plan is None else report_lineage.selected(material.cube, folder)
    return {
        "figure": picture(figures.svg(drawn), alt) if drawn else None,
        "facts": [*report_lineage.training_facts(folder), *selected],
    }


def _scores(evaluation: Evaluation) -> dict[str, Any]:
    """Section 6: scores of the network beside the baselines."""
    dates, total = evaluation.per_date, evaluation.scores
    matrix = charts.confusion_matrix(evaluation.confusion, evaluation.class_names)
    by_date = charts.by_date(dates, total[NETWORK].oa, total[MAJORITY].oa)
    curve = charts.calibration(evaluation.reliability)
    return {
        "dates": len(dates),
        "head": report_tables.SCORE_HEAD,
        "tables": report_tables.score_tables(evaluation) + report_tables.group_tables(evaluation),
        "classes": report_tables.class_scores(evaluation),
        "matrix": picture(figures.svg(matrix), "Confusion matrix of the network"),
        "by_date": picture(figures.svg(by_date), "Overall accuracy of the network on each date"),
        "calibration": picture(figures.svg(curve), "Reliability curve of the network"),
        "calibrated": calibration_line(evaluation.reliability),
        "split": evaluation.split,
        "leak_safe": evaluation.leak_safe,
    }
