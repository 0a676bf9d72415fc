"""A cube, a run and its scores as one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.errors import SelectionError
from pipelines import charts, figures, maps, report_lineage, report_tables
from pipelines.evaluate import MAJORITY, NETWORK, Evaluation, evaluate
from pipelines.model_folder import ModelFolder

if TYPE_CHECKING:
    import xarray as xr

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


@dataclass(frozen=True, eq=False)
class Material:
    """What a report is made from."""

    cube: Cube
    run: str | None
    folder: ModelFolder | None
    evaluation: Evaluation | None
    unscored: str
    """Why there are no scores; empty if there are, or if no run is shown."""

    @classmethod
    def of(cls, cube: Cube, run: str | None, model: Path | None) -> Material:
        """Bring a cube, a run and a model together; scores the run where that is possible."""
        view = cube.at(cube.snapshot)
        folder = ModelFolder.load(model) if model is not None else None
        runs = report_tables.runs(view)
        if run is None and folder is not None and folder.name in runs:
            run = folder.name
        if run is not None and run not in runs:
            raise SelectionError(
                f"cube {view.location} has no run {run!r}; its runs are "
                f"{', '.join(runs) or 'none yet'}"
            )
        unscored = _unscored(view, folder) if run is not None else ""
        evaluation = None
        if run is not None and folder is not None and not unscored:
            evaluation = evaluate(view, run, folder.path)
        return cls(view, run, folder, evaluation, unscored)

    @cached_property
    def labels(self) -> np.ndarray | None:
        """The label map, thinned; None if the cube has none."""
        if "labels" not in self.cube.groups():
            return None
        return _thin(self.cube.dataset("labels", chunks=None)["lithology"])

    @cached_property
    def predicted(self) -> dict[str, np.ndarray]:
        """The run's maps over all dates, thinned, by name; empty without a run."""
        if self.run is None:
            return {}
        dataset = self.cube.dataset(f"predictions/{self.run}", chunks=None)
        return {name: _thin(dataset[name]) for name in ("lithology_all", "confidence_all")}

    @cached_property
    def parts(self) -> dict[str, np.ndarray]:
        """Masks of the plan's parts, thinned; empty if the model is not of this region."""
        if self.folder is None or not _of_this_region(self.cube, self.folder):
            return {}
        plan = self.folder.plan
        return {name: maps.thin(plan.mask(name)) for name in ("train", "val", "test")}


def _unscored(cube: Cube, folder: ModelFolder | None) -> str:
    if folder is None:
        return "no model folder was given, and the split is kept there"
    if "labels" not in cube.groups():
        return "the cube has no label map"
    if not _of_this_region(cube, folder):
        return f"the model was trained on region {folder.recipe.lineage.cube!r}"
    return ""


def _of_this_region(cube: Cube, folder: ModelFolder) -> bool:
    return folder.recipe.lineage.cube == cube.name


def _thin(layer: xr.DataArray) -> np.ndarray:
    return maps.thin(layer.transpose("y", "x")).to_numpy()


def render(material: Material) -> str:
    """Fill the page's template."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = files("pipelines").joinpath("report.html.jinja").read_text(encoding="utf-8")
    cube, evaluation = material.cube, material.evaluation
    return environment.from_string(source).render(
        name=cube.name,
        facts=report_tables.facts(cube),
        modalities=report_tables.modalities(cube),
        headline=report_tables.headline(evaluation) if evaluation else None,
        unscored=material.unscored,
        run=material.run,
        maps=_maps(material),
        gallery=_gallery(cube),
        coverage=_coverage(cube),
        training=_training(material.folder) if material.folder else None,
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
    if material.parts:
        codes = maps.part_codes(**material.parts)
        drawn = figures.keys(codes, maps.PARTS, material.cube.grid, "Split")
        caption = "Ground that the patches of each part of the sample plan cover."
        yield picture(figures.png(drawn), "Map of the split", caption, _keys_in(maps.PARTS, codes))


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
            values = _thin(figures.lst(thermal, index))
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


def _training(folder: ModelFolder) -> dict[str, Any]:
    """Section 5: training curves."""
    history, metrics = folder.history(), folder.metrics()
    best = metrics.get("best_epoch")
    alt = "Loss and accuracy of training and validation by epoch"
    drawn = charts.curves(history, best) if "loss" in history else None
    return {
        "figure": picture(figures.svg(drawn), alt) if drawn else None,
        "facts": report_lineage.training_facts(folder),
    }


def _scores(evaluation: Evaluation) -> dict[str, Any]:
    """Section 6: scores of the network beside the baselines."""
    dates, total = evaluation.per_date, evaluation.scores
    matrix = charts.confusion_matrix(evaluation.confusion, evaluation.class_names)
    by_date = charts.by_date(dates, total[NETWORK].oa, total[MAJORITY].oa)
    return {
        "dates": len(dates),
        "head": report_tables.SCORE_HEAD,
        "tables": report_tables.score_tables(evaluation),
        "classes": report_tables.class_scores(evaluation),
        "matrix": picture(figures.svg(matrix), "Confusion matrix of the network"),
        "by_date": picture(figures.svg(by_date), "Overall accuracy of the network on each date"),
        "split": evaluation.split,
        "leak_safe": evaluation.leak_safe,
    }
