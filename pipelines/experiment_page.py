"""What an experiment leaves behind: CSV, Markdown, and one page of HTML with its maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines import figures, maps
from pipelines.evaluation import NETWORK
from pipelines.experiment_outcome import Row
from pipelines.experiment_tables import LEAK, TableDoc, headline, results_csv, study_tables
from pipelines.page import fill

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cube.store import Cube
    from pipelines.experiment_run import Study

MOST_MAPS = 12
"""Rows whose maps are drawn on the page."""


def write_study(study: Study, cubes: Mapping[str, Cube]) -> list[Path]:
    """Write ``results.csv``, ``tables/``, ``study.md`` and ``study.html`` into the folder."""
    tables = study_tables(study)
    title = study.experiment.title or study.experiment.name
    sentences = headline(study.rows)
    texts = {"results.csv": results_csv(study.rows)}
    texts |= {f"tables/{table.name}.csv": table.csv() for table in tables}
    lines = [f"# {title}", "", *(f"* {sentence}" for sentence in sentences), ""]
    texts["study.md"] = "\n".join([*lines, *(table.markdown() for table in tables)])
    texts["study.html"] = _page(study, title, sentences, tables, list(_plates(study.rows, cubes)))
    return [_write(study.folder / name, text) for name, text in texts.items()]


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    return part.replace(path)


def _page(
    study: Study,
    title: str,
    sentences: Sequence[str],
    tables: Sequence[TableDoc],
    plates: Sequence[Mapping[str, Any]],
) -> str:
    return fill(
        "experiment.html.jinja",
        title=title,
        name=study.experiment.name,
        snapshots=study.snapshots,
        sentences=sentences,
        leak=LEAK,
        tables=tables,
        plates=plates,
        curves=[_curve_of(transfer) for transfer in study.transfers],
    )


def _curve_of(transfer: Any) -> dict[str, str]:
    return {"title": transfer.title, "src": figures.svg(transfer.figure())}


def _plates(rows: Sequence[Row], cubes: Mapping[str, Cube]) -> Iterator[dict[str, Any]]:
    """Truth beside prediction beside confidence, of the rows that the headline speaks of."""
    for row in _shown(rows):
        cube, drawn = cubes[row.region], row.maps()
        labels = cube.dataset("labels", chunks=None)["lithology"]
        truth = labels.transpose("y", "x").to_numpy()
        found = row.scores[NETWORK]
        own = "; each pixel by the network that was tested on it" if len(row.outcomes) > 1 else ""
        codes = np.union1d(truth, drawn["lithology"])
        yield {
            "title": f"{row.region}: {row.name}",
            "caption": f"Test part: OA {found.oa:.3f}, macro F1 {found.macro_f1:.3f}{own}",
            "classes": [maps.LITHOLOGY[code] for code in codes if code],
            "keys": maps.RIGHT_OR_WRONG,
            "pictures": [
                (name, figures.png(picture, 110))
                for name, picture in _pictures(row, cube, truth, drawn).items()
            ],
        }


def _pictures(
    row: Row, cube: Cube, truth: np.ndarray, drawn: Mapping[str, np.ndarray]
) -> dict[str, Figure]:
    tested = np.any([one.maps["tested"] for one in row.outcomes], axis=0)
    said, sure = maps.thin(drawn["lithology"]), maps.thin(drawn["confidence"])
    wrong = maps.error_codes(maps.thin(truth), said, maps.thin(tested))
    return {
        "Truth": figures.lithology(maps.thin(truth), cube.grid, "Truth"),
        "Prediction": figures.lithology(said, cube.grid, "Prediction"),
        "Confidence": figures.confidence(sure, cube.grid, "Confidence"),
        "Right and wrong": figures.keys(wrong, maps.RIGHT_OR_WRONG, cube.grid, "Right and wrong"),
    }


def _shown(rows: Sequence[Row]) -> list[Row]:
    """The first leak-safe row of each region and network; without one, the first."""
    first: dict[tuple[str, str], Row] = {}
    for row in sorted(
        (row for row in rows if row.undone is None), key=lambda row: not row.leak_safe
    ):
        first.setdefault((row.region, row.network), row)
    return list(first.values())[:MOST_MAPS]
