"""The simulated regions of the study, what single pixels say of them, and the page's section."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.recipe import Selection
from pipelines.study_learn import (
    HELD_OUT,
    PIXELS,
    SEEDS,
    TREES,
    TRIALS,
    WORLD,
    make_regions,
    pixel_scores,
    settings_of,
)
from pipelines.study_learn_page import section

TINY = WORLD | {"size": (48, 56), "ecostress": 10, "sentinel1": 2, "sentinel2": 2, "days": 60}


def test_regions_are_made_once_for_the_same_settings(tmp_path: Path) -> None:
    cubes = make_regions(tmp_path, TINY)
    assert list(cubes) == list(SEEDS) and HELD_OUT in cubes
    folders = sorted(path.name for path in tmp_path.iterdir())
    again = make_regions(tmp_path, TINY)
    assert sorted(path.name for path in tmp_path.iterdir()) == folders
    assert [cube.snapshot for cube in again.values()] == [c.snapshot for c in cubes.values()]
    maps = [cube.dataset("labels", chunks=None)["lithology"].values for cube in cubes.values()]
    assert all((maps[-1] == other).mean() < 0.5 for other in maps[:-1])
    for trees in (False, True):
        found = pixel_scores(cubes, Selection(), trees=trees)
        assert 0 < found.macro_f1 < 1 and found.pixels > 1000
        assert pixel_scores(cubes, Selection(), trees=trees) == found


@pytest.mark.parametrize("trial", TRIALS)
def test_every_trial_has_settings_that_hold_together(trial: str) -> None:
    settings = settings_of(trial, seed=3)
    assert settings.seed == 3
    assert (settings.sequence.length > 1) == settings.network.startswith("convlstm")


def test_the_section_says_what_the_file_says() -> None:
    row = {"oa": 0.5, "macro_f1": 0.4}
    document: dict[str, Any] = {
        "world": WORLD,
        "held_out": HELD_OUT,
        "training": {"patch": 32},
        "pixels": dict.fromkeys(PIXELS | TREES, row),
        "networks": {
            name: {
                str(seed): {"oa": 0.6 + seed / 10, "macro_f1": 0.55, "all_dates": row,
                            "baselines": {"majority class": row, "memorise the place": row}}
                for seed in (0, 1)
            }
            for name in TRIALS
        },
    }  # fmt: skip
    text = section({"simulated": document})
    for name in TRIALS:
        assert f"| {name} | 0.600 / 0.550 | 0.700 / 0.550 | 0.500 / 0.400, 0.500 / 0.400 |" in text
    for name in (*PIXELS, *TREES, "majority class", "memorise the place"):
        assert f"| {name} | 0.500 / 0.400 |" in text
    assert HELD_OUT in text and "192 x 192 px" in text
    assert section({}) == ""
