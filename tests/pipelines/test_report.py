"""The report is one file, says what the evaluation says, and does without predictions."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cube.errors import ModelError, SelectionError
from cube.ledger import Ledger, Row, Status
from cube.region import Region
from cube.store import Cube
from pipelines.evaluate import PREDICTORS, evaluate
from pipelines.model_folder import ModelFolder
from pipelines.predict import predict
from pipelines.report import write_report

pytest.importorskip("matplotlib")

WriteModel = Callable[..., ModelFolder]
VOID = {"meta", "img", "link", "br", "hr", "input"}


@dataclass
class Page(HTMLParser):
    """A page taken apart: tags that are closed in order, addresses, ids, text."""

    path: Path
    tags: list[str] = field(default_factory=list)
    images: list[dict[str, str | None]] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(self.path.read_text(encoding="utf-8"))
        self.close()
        assert not self.open, f"never closed: {self.open}"
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.addresses += [value for name, value in attrs if name in ("src", "href") and value]
        if tag == "img":
            self.images.append(named)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.text += data


@pytest.fixture
def empty_cube(tmp_path: Path) -> Cube:
    tables = {
        "name": "empty",
        "area": {"bbox": [-4.10, 38.70, -4.06, 38.73], "resolution": 300.0},
        "period": {"start": "2024-01-01"},
        "modalities": {"thermal": {"bands": ["lst"]}},
        "sources": [{"kind": "ecostress", "name": "none", "path": "none"}],
    }
    return Cube.create(Region.parse(tables, tmp_path))


@pytest.fixture
def scored(tiny_cube: Cube, thermometer: WriteModel) -> ModelFolder:
    model = thermometer("scored")
    predict(tiny_cube, model.path, overwrite=True)
    return model


def test_page_is_whole_and_needs_nothing_but_itself(
    tiny_cube: Cube, scored: ModelFolder, tmp_path: Path
) -> None:
    written = write_report(tiny_cube, tmp_path / "new" / "report.html", model=scored.path)
    page = Page(written)
    assert list(written.parent.iterdir()) == [written]
    assert page.ids == ["headline", "maps", "scenes", "coverage", "training", "scores", "lineage"]
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    for address in page.addresses:
        assert address.startswith("data:image/") or address.removeprefix("#") in page.ids
    source = re.sub(r"data:image/[^\"]+", "", written.read_text(encoding="utf-8"))
    assert "http" not in source and "@import" not in source and "url(" not in source
    # Maps: labels, prediction, confidence, errors, split; scenes: two by day, two by night at
    # most; timeline, curves, accuracy by date, confusion matrix, reliability curve.
    maps = [image for image in page.images if (image["src"] or "").startswith("data:image/png")]
    charts = [image for image in page.images if (image["src"] or "").startswith("data:image/svg")]
    assert 5 < len(maps) <= 11 and len(charts) == 5
    assert all(image["alt"] for image in page.images)


def test_figures_are_those_of_the_evaluation(
    tiny_cube: Cube, scored: ModelFolder, tmp_path: Path
) -> None:
    page = Page(write_report(tiny_cube, tmp_path / "r.html", run="scored", model=scored.path))
    evaluation = evaluate(tiny_cube, "scored", scored.path)
    # Further down the page lists runs and commits, which may be called anything.
    head = page.text.split("Area")[0]
    assert "leak-safe split" in head and "leaky" not in head.lower()
    for name in PREDICTORS:
        scores = evaluation.scores[name]
        assert name in page.text
        for figure in (scores.oa, scores.aa, scores.kappa, scores.macro_f1, scores.weighted_f1):
            assert f"{figure:.3f}" in page.text
    network = evaluation.scores[PREDICTORS[0]]
    assert f"overall accuracy of {network.oa:.3f} (macro F1 {network.macro_f1:.3f})" in page.text
    assert f"{network.pixels:,} labelled, valid test pixels" in page.text
    for digest in (scored.digest, scored.plan.digest, tiny_cube.snapshot):
        assert digest in page.text


def test_leaky_split_is_called_leaky_in_the_headline(
    tiny_cube: Cube, thermometer: WriteModel, tmp_path: Path
) -> None:
    """Defect 8: scores under a split by date are never shown as if they were leak-safe."""
    split = {"kind": "time", "fractions": (0.5, 0.25, 0.25)}
    model = thermometer("by-date", split=split)
    predict(tiny_cube, model.path, overwrite=True)
    page = Page(write_report(tiny_cube, tmp_path / "r.html", model=model.path))
    assert "leaky split" in page.text and "Under a split that leaks" in page.text
    assert "in several parts, by date" in page.text
    assert "made from all dates, those of training too" in page.text


def test_cube_without_predictions_gives_scenes_coverage_and_lineage(
    tiny_cube: Cube, tmp_path: Path
) -> None:
    page = Page(write_report(tiny_cube, tmp_path / "r.html"))
    assert page.ids == ["maps", "scenes", "coverage", "lineage"]
    assert "Label map" in {image["alt"] for image in page.images}
    assert "overall accuracy" not in page.text


def test_empty_cube_gives_a_page(empty_cube: Cube, tmp_path: Path) -> None:
    page = Page(write_report(empty_cube, tmp_path / "r.html"))
    assert page.ids == ["coverage", "lineage"]
    assert "No granule was considered yet" in page.text


def test_granules_left_out_are_counted_by_rule_and_named(empty_cube: Cube, tmp_path: Path) -> None:
    when = datetime(2024, 3, 1, 11, 30, tzinfo=UTC)

    def row(name: str, status: Status, **more: object) -> Row:
        return Row(name, name, "1", "s", "thermal", "ISS", when, status, **more)  # type: ignore[arg-type]

    rows = [
        row("cloudy-1", Status.REJECTED, rule="max_cloud", figure=0.25, limit=0.1, reason="cloudy"),
        row("cloudy-2", Status.REJECTED, rule="max_cloud", figure=0.75, limit=0.1, reason="cloudy"),
        row("broken", Status.FAILED, rule="truncated", reason="<cut> & short"),
    ]
    with empty_cube.transaction("ledger", {}) as change:
        change.write("ledger", Ledger(rows).to_dataset())
    page = Page(write_report(empty_cube, tmp_path / "r.html"))
    assert "25.0% to 75.0%; limit 10%" in page.text
    for text in ("cloudy-1", "truncated", "<cut> & short", "2024-03-01 11:30", "3 are not in the"):
        assert text in page.text


def test_run_that_is_not_there_and_model_of_another_run_are_refused(
    tiny_cube: Cube, scored: ModelFolder, thermometer: WriteModel, tmp_path: Path
) -> None:
    target = tmp_path / "r.html"
    with pytest.raises(SelectionError, match="no run 'nowhere'"):
        write_report(tiny_cube, target, run="nowhere", model=scored.path)
    other = thermometer("other", min_valid=0.6)
    with pytest.raises(ModelError):
        write_report(tiny_cube, target, run="scored", model=other.path)
    assert not target.exists()


def test_run_without_a_model_shows_maps_and_says_why_no_scores(
    tiny_cube: Cube, scored: ModelFolder, tmp_path: Path
) -> None:
    page = Page(write_report(tiny_cube, tmp_path / "r.html", run="scored"))
    assert "is not scored here: no model folder was given" in page.text
    assert {"Predicted map", "Confidence map"} <= {image["alt"] for image in page.images}
    assert "scores" not in page.ids


def test_same_cube_and_model_give_the_same_page(
    tiny_cube: Cube, scored: ModelFolder, tmp_path: Path
) -> None:
    first, second = (
        write_report(tiny_cube, tmp_path / name, model=scored.path).read_bytes()
        for name in ("a.html", "b.html")
    )
    assert first == second
