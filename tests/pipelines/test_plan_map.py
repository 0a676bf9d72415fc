"""The map of a sample plan, and what a recipe can ask of a cube."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image
from pydantic import ValidationError

from cube.errors import PlanError
from cube.joint import DATA_SETS
from cube.sampling import Sequence, SplitSettings, make_plan
from pipelines.plan_map import plan_map, save_plan_map
from pipelines.recipe import Selection, TrainSettings

GRID = GeoBox((40, 48), Affine(70, 0, 400_000, 0, -70, 4_290_000), "EPSG:32630")


def data() -> tuple[xr.Dataset, xr.Dataset]:
    times = np.datetime64("2023-01-01T10", "ns") + np.arange(20) * np.timedelta64(3, "D")
    scenes = xr.Dataset(
        {"qc": (("time", "y", "x"), np.zeros((20, 40, 48), np.uint8))},
        coords={"time": times, "band": ["lst", "emissivity"]},
    )
    stripes = np.broadcast_to(1 + np.arange(48) // 4 % 3, (40, 48)).astype(np.uint8)
    return scenes, xr.Dataset({"lithology": (("y", "x"), stripes)})


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ({"kind": "blocks", "block": 4, "buffer": 4}, "spatial blocks of 4 px, 4 px apart"),
        ({"kind": "folds", "folds": 3, "fold": 1, "block": 4, "buffer": 4}, "fold 2 of 3"),
        ({"kind": "thesis"}, "every place in all parts: LEAKY"),
        ({"kind": "whole", "part": "test"}, "the whole region for test"),
    ],
)
def test_a_plan_is_drawn_with_its_ground_its_dates_and_its_counts(split, said, tmp_path):
    sequence = Sequence(length=2)
    plan = make_plan(
        *data(), patch=4, stride=4, split=SplitSettings.model_validate(split), sequence=sequence
    )
    figure = plan_map(plan, GRID)
    ground, dates = figure.axes
    assert said in ground.get_title(loc="left") and "2 dates each" in ground.get_title(loc="left")
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert f"test: {len(plan.part('test'))} samples" in texts
    ticks = [len(lines.get_segments()) for lines in dates.collections]
    assert ticks == [len(plan.times_of(part)) for part in ("train", "val", "test")]
    with Image.open(save_plan_map(plan, GRID, tmp_path / "plan.png", dpi=60)) as image:
        assert image.format == "PNG" and image.width == 384
    with pytest.raises(PlanError, match="40 x 48 px, the grid has 39 x 48"):
        plan_map(plan, GeoBox((39, 48), GRID.affine, GRID.crs))


def test_a_recipe_can_ask_for_each_of_the_study_s_data_sets(tiny_cube):
    for name, rules in DATA_SETS.items():
        selection = Selection.model_validate(dict(rules))
        assert selection.modality == "thermal", name
        assert Selection.model_validate(selection.model_dump(mode="json")) == selection
    chosen = Selection(stack=2, bands=("emissivity", "lst@-1")).of(tiny_cube)
    assert chosen["band"].values.tolist() == ["emissivity", "lst@-1"]
    assert chosen["imagery"].chunks is None
    assert chosen.sizes["time"] == tiny_cube.dataset("thermal").sizes["time"] - 1


def test_settings_of_training_say_scenes_and_samples_apart():
    settings = TrainSettings.model_validate(
        {
            "join": [{"modality": "optical", "bands": ["ndvi"], "max_cloud": 0.1}],
            "season": ["09-22", "03-21"],
            "min_coverage": 0.4,
            "min_valid": 0.6,
            "sequence": {"length": 5, "stride": 3, "max_gap": 30},
            "split": {"kind": "folds", "folds": 5, "fold": 2},
            "drawing": "balanced",
        }
    )
    selection = settings.selection
    assert selection.rules["min_valid"] == 0.4 and settings.min_valid == 0.6
    assert selection.rules["season"] == ("09-22", "03-21")
    assert selection.sequence == Sequence(length=5, stride=3, max_gap=30)
    with pytest.raises(ValidationError, match="not both"):
        Selection(stack=2, sequence=Sequence(length=2))
    with pytest.raises(ValidationError, match="seasons"):
        Selection.model_validate({"seasons": "winter"})
