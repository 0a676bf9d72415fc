"""Classification fold by fold, transfer, signatures and their page, on a cube with a known rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import distance_transform_cdt

from cube.store import Cube
from pipelines.classify import (
    FUSED,
    IMAGERY,
    MAJORITY,
    MEMORISE,
    NEARBY,
    Classified,
    ClassifySettings,
    classify,
)
from pipelines.study_confidence import confidence_document
from pipelines.study_document import classify_document
from pipelines.study_page import page_text, write_page
from pipelines.study_signatures import signature_document
from pipelines.study_transfer import transfer

CLASSES = (7, 8, 9)
SETTINGS = ClassifySettings(
    folds=4, block=8, buffer=8, scales=(1.0,), trees=5, step=1, nearby=4.0, inner=2
)


@pytest.fixture(scope="module")
def stripes(cube_of: Callable[..., Cube], tmp_path_factory: pytest.TempPathFactory) -> Cube:
    """Temperature is 290 K + class; ten dates."""
    return cube_of(tmp_path_factory.mktemp("study"), "stripes", dates=10)


@pytest.fixture(scope="module")
def found(stripes: Cube) -> Classified:
    return classify(stripes, SETTINGS)


@pytest.fixture(scope="module")
def document(stripes: Cube, found: Classified) -> dict[str, Any]:
    return classify_document(stripes.name, stripes.snapshot, SETTINGS, found)


def test_every_labelled_place_is_tested_once_and_apart_from_what_is_known(
    found: Classified,
) -> None:
    folds = found.folds
    tested = np.sum([plan.mask("test") for plan in folds.plans], axis=0)
    assert (tested[found.truth > 0] == 1).all()
    for fold in range(4):
        away = distance_transform_cdt(~(folds.number == fold), metric="chessboard")
        assert away[folds.train(fold)].min() > SETTINGS.buffer
        for group in folds.inner(fold, 2):
            assert fold not in group
            assert not folds.train(fold, *group)[np.isin(folds.number, group)].any()
    assert sorted(sum(folds.inner(1, 2), ())) == [0, 2, 3]


def test_what_is_in_the_imagery_is_found_where_it_was_not_taught(
    document: dict[str, Any], found: Classified
) -> None:
    table = document["scores"]
    assert table[IMAGERY]["oa"] > 0.9 > 0.6 > table[MAJORITY]["oa"]
    assert table[MEMORISE] == table[MAJORITY]
    assert table[FUSED]["oa"] > 0.9 > table[NEARBY]["oa"]
    assert table[IMAGERY]["better"]["oa"]["low"] > 0
    assert {row["pixels"] for row in table.values()} == {int(found.valid.sum())}
    assert set(table[IMAGERY]["per_class"]) == set(CLASSES)
    assert len(document["plans"]) == 4 == len(document["chosen"])
    assert np.isfinite(found.confidence[found.valid]).all()


def test_a_buffer_within_the_view_of_the_features_is_refused() -> None:
    with pytest.raises(ValueError, match="less than the receptive field of the features, 21 px"):
        ClassifySettings(buffer=20)


def test_transfer_between_regions_with_one_rule(
    stripes: Cube, cube_of: Callable[..., Cube], tmp_path: Path
) -> None:
    other = cube_of(tmp_path, "other", dates=10)
    document = transfer(stripes, other, SETTINGS)
    assert document["taught"] == "stripes" and document["tested"] == "other"
    assert document["shared_classes"] == list(CLASSES)
    assert document["scores"][IMAGERY]["oa"] > 0.95 > document["scores"][MAJORITY]["oa"]


def test_signatures_say_what_cannot_be_told(stripes: Cube) -> None:
    document = signature_document(stripes)
    medians = document["bands"]["lst"]["classes"]
    expected = {"detritic": 297, "carbonate": 298, "volcanic": 299}
    assert medians == pytest.approx(expected, abs=0.1)
    assert set(document["bands"]["lst"]["day_night"]) == {"day", "night"}
    assert document["verdict"] == "cannot be told: there is no sand or clay on the map"


def test_the_page_says_what_the_files_say(
    stripes: Cube, found: Classified, document: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    document = document | {"layers": None}
    maps = folder / "classify-stripes.npz"
    np.savez(maps, **{"truth": found.truth, "confidence": found.confidence} | found.maps)
    for name, content in {
        "classify-stripes": document,
        "signatures-stripes": signature_document(stripes),
        "confidence-stripes": confidence_document(maps),
    }.items():
        text = json.dumps(content, default=float)
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    write_page(folder, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert page == page_text(folder)
    table = document["scores"][FUSED]
    assert f"OA {table['oa']:.3f}, macro F1 {table['macro_f1']:.3f}" in page
    assert all(plan[:12] in page for plan in document["plans"])
    assert page.count("*Not run for this page") == 3
    for picture in ("results-stripes.png", "results-signatures-stripes.png"):
        assert picture in page and (tmp_path / picture).stat().st_size > 5000
