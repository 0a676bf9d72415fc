"""Blocks tested with known ground close around them, and what the page makes of that."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_cdt

from cube.store import Cube
from models.statistics import receptive_field
from pipelines.classify import FUSED, IMAGERY, MAJORITY, NEARBY
from pipelines.scattered_folds import ScatteredFolds
from pipelines.study_distance import LADDER, Rung, distance_document
from pipelines.study_distance_page import draw, section

SMALL = (Rung(4, 2), Rung(4, 5, (1.0,)))


@pytest.fixture(scope="module")
def document(
    cube_of: Callable[..., Cube], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    cube = cube_of(tmp_path_factory.mktemp("distance"), "stripes", dates=10)
    return json.loads(json.dumps(distance_document(cube, ladder=SMALL), default=float))


@given(
    rows=st.integers(20, 90), columns=st.integers(20, 90),
    block=st.integers(2, 20), buffer=st.integers(1, 20),
)  # fmt: skip
def test_every_pixel_is_tested_once_and_no_known_one_is_near(
    rows: int, columns: int, block: int, buffer: int
) -> None:
    if 2 * buffer >= 3 * block:
        with pytest.raises(ValueError, match="fill the"):
            ScatteredFolds.of((rows, columns), block, buffer)
        return
    folds = ScatteredFolds.of((rows, columns), block, buffer)
    assert folds.number.shape == (rows, columns)
    assert set(np.unique(folds.number)) <= set(range(folds.count))
    for fold in (0, 5, folds.count - 1):
        for group in [(), *folds.inner(fold, 2)]:
            assert fold not in group
            tested = np.isin(folds.number, (fold, *group))
            if tested.any():
                away = distance_transform_cdt(~tested, metric="chessboard")
                np.testing.assert_array_equal(folds.train(fold, *group), away > buffer)
    assert len(set(folds.digests)) == folds.count


def test_the_features_of_each_distance_do_not_look_across_it() -> None:
    for rung in LADDER:
        assert rung.buffer >= receptive_field(rung.scales)
        assert 2 * rung.settings.cell <= rung.settings.nearby or rung.settings.cell == 1
    with pytest.raises(ValueError, match="less than the receptive field"):
        _ = Rung(16, 8, (2.0,)).settings


def test_distances_and_scores(document: dict[str, Any]) -> None:
    near, far = document["rungs"]
    assert near["distance"]["low"] == pytest.approx(0.21)  # 3 px: one beyond the buffer
    assert near["distance"]["high"] <= 0.28 < far["distance"]["low"]
    for rung in document["rungs"]:
        assert len(rung["plans"]) == 16 == len(rung["chosen"])
        assert rung["scores"][IMAGERY]["oa"] > 0.9 > rung["scores"][MAJORITY]["oa"]
        assert rung["scores"][FUSED]["oa"] > rung["scores"][NEARBY]["oa"]
    assert near["scores"][NEARBY]["oa"] > far["scores"][NEARBY]["oa"]


def test_the_section_says_what_the_file_says(document: dict[str, Any], tmp_path: Path) -> None:
    text = section({"stripes": document}, 0.28)
    for rung in document["rungs"]:
        for row in rung["scores"].values():
            assert f"{row['intervals']['macro_f1']['estimate']:.3f} [" in text
        assert rung["plans"][0][:12] in text
    assert "reached at none of these distances" in text  # the aim is for another region
    named = {"puertollano": document | {"region": "puertollano"}}
    assert "is reached here:" in section(named, 0.28)
    assert section({}, 0.28) == ""
    draw({"stripes": document, "again": document}, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000
