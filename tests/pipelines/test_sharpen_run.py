"""Sharpening a cube: tiles without seams, gaps that stay small, one commit with lineage."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from cube.errors import GridError, ModelError, SelectionError, StoreError
from cube.store import Cube
from models.sharpening import METHODS
from models.sharpening.blocks import block_mean
from pipelines import sharpen_layout
from pipelines.sharpen_run import sharpen_cube
from pipelines.sharpen_scenery import nesting
from sharpen_cubes import CLOUDS, landscape, make_cube

CLEAR = ("bilinear", "tsharp", "atprk", "aatprk", "local_slope")


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> Cube:
    return make_cube(tmp_path_factory.mktemp("sharpen"))


@pytest.mark.parametrize("method", CLEAR)
def test_tiles_are_as_the_whole(cube: Cube, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharpen_layout, "TILE", 16)
    monkeypatch.setattr(sharpen_layout, "CHUNK", 64)
    tally = sharpen_cube(cube, method, run=f"tiles-{method}")
    assert tally.scenes == 2 and not tally.without
    lst, ndvi = landscape(40)
    for scene, coarse in enumerate((lst, lst - 15)):
        whole = METHODS[method](coarse.astype(np.float32), ndvi.astype(np.float32))
        found = cube.dataset(f"sharpened/tiles-{method}")["lst"][scene].values
        np.testing.assert_allclose(found, whole, atol=1e-4)


def test_a_grid_of_ndvi_may_end_within_a_coarse_pixel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharpen_layout, "TILE", 16)
    monkeypatch.setattr(sharpen_layout, "CHUNK", 64)
    cube = make_cube(tmp_path, 40.5)
    assert sharpen_cube(cube, "tsharp").scenes == 2
    stored = cube.dataset("sharpened/tsharp")["lst"]
    assert stored.shape == (2, 162, 162)
    lst, ndvi = (image.astype(np.float32) for image in landscape(41))
    ndvi[162:], ndvi[:, 162:] = np.nan, np.nan
    whole = METHODS["tsharp"](lst, ndvi)[:162, :162]
    np.testing.assert_allclose(stored[0], whole, atol=1e-4)


def test_what_needs_no_ndvi_is_whole_where_tiles_have_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharpen_layout, "TILE", 16)
    monkeypatch.setattr(sharpen_layout, "CHUNK", 64)
    cube = make_cube(tmp_path, gaps={"modis_ndvi": (slice(None), slice(0, 120))})
    sharpen_cube(cube, "bilinear", wanted={"time_of_day": "day"})
    lst, ndvi = landscape(40)
    whole = METHODS["bilinear"](lst.astype(np.float32), ndvi)
    np.testing.assert_allclose(cube.dataset("sharpened/bilinear")["lst"][0], whole, atol=1e-4)


@pytest.mark.parametrize(("scale", "side"), [(2, 256), (3, 192), (4, 256), (7, 224), (300, 300)])
def test_tiles_are_whole_chunks(scale: int, side: int) -> None:
    assert sharpen_layout.chunk_side(scale) == side
    assert sharpen_layout.TILE * scale % side == 0


def test_missing_pixels_stay_where_they_are_and_later_ndvi_bridges_its_gaps(
    tmp_path: Path, cube: Cube
) -> None:
    cloudy = make_cube(tmp_path, gaps=CLOUDS)
    sharpen_cube(cloudy, "local_slope", run="near")
    sharpen_cube(cloudy, "local_slope", run="far", days=90)
    sharpen_cube(cube, "local_slope", run="clear")
    near, far, clear = (
        one.dataset(f"sharpened/{run}")["lst"].values
        for one, run in ((cloudy, "near"), (cloudy, "far"), (cube, "clear"))
    )
    gap, haze = np.zeros((2, 160, 160), bool), np.zeros((2, 160, 160), bool)
    gap[0, 40:56, 80:100], haze[:, 60:75, 30:50] = True, True
    np.testing.assert_array_equal(np.isnan(near), gap | haze)
    np.testing.assert_array_equal(np.isnan(far), gap)
    # Beyond the reach of windows and filters only the fit to the whole scene has changed.
    away = (slice(None), slice(110, None), slice(None))
    np.testing.assert_allclose(far[away], clear[away], atol=0.2)


def test_a_consistent_map_averages_back_and_says_so(cube: Cube) -> None:
    loose = sharpen_cube(cube, "local_slope", run="loose")
    exact = sharpen_cube(cube, "local_slope", run="exact", consistent=True)
    assert min(loose.consistency.values()) > 0.05
    assert max(exact.consistency.values()) < 1e-4
    stored = cube.dataset("sharpened/exact")
    lst = landscape(40)[0]
    np.testing.assert_allclose(block_mean(stored["lst"][0].values, 4), lst, atol=1e-3)
    assert float(stored["consistency_largest"].max()) < 1e-3
    loose_map = cube.dataset("sharpened/loose")
    rmse = np.sqrt(((block_mean(loose_map["lst"][0].values, 4) - lst) ** 2).mean())
    assert float(loose_map["consistency"][0]) == pytest.approx(rmse, rel=1e-3)


def test_one_commit_with_lineage_and_only_the_scenes_asked_for(cube: Cube) -> None:
    before = len(cube.history())
    snapshot = cube.snapshot
    tally = sharpen_cube(
        cube, "local_slope+aatprk", run="night", wanted={"time_of_day": "night", "clock": "utc"}
    )
    assert tally.scenes == 1
    commits = cube.history()
    assert len(commits) == before + 1
    assert commits[0].metadata["method"] == "local_slope+aatprk"
    assert commits[0].metadata["input_snapshot"] == snapshot
    stored = cube.dataset("sharpened/night")
    assert stored.sizes == {"time": 1, "y": 160, "x": 160}
    assert stored["lst"].attrs["units"] == "K"
    lst, ndvi = (image.astype(np.float32) for image in landscape(40))
    mean = (METHODS["local_slope"](lst - 15, ndvi) + METHODS["aatprk"](lst - 15, ndvi)) / 2
    np.testing.assert_allclose(stored["lst"][0], mean, atol=1e-4)
    with pytest.raises(StoreError, match="already"):
        sharpen_cube(cube, "tsharp", run="night")


def test_a_scene_need_not_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    side = 256
    cube = make_cube(tmp_path, side)
    monkeypatch.setattr(sharpen_layout, "TILE", 32)
    monkeypatch.setattr(sharpen_layout, "CHUNK", 128)
    allowance = (4 * side) ** 2 * 8  # one image of the fine grid, as methods compute
    tracemalloc.start()
    try:
        day = {"time_of_day": "day", "clock": "utc"}
        sharpen_cube(cube, "tsharp", run="lean", workers=1, wanted=day)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < allowance, f"{peak / 2**20:.1f} of {allowance / 2**20:.1f} MiB"
    assert np.isfinite(cube.dataset("sharpened/lean")["lst"][0, -1].values).all()


def test_what_cannot_be_sharpened_is_refused(cube: Cube) -> None:
    with pytest.raises(ModelError, match="no method is called 'sharper'"):
        sharpen_cube(cube, "sharper")
    with pytest.raises(ModelError, match="cannot be called"):
        sharpen_cube(cube, "tsharp", run="a/b")
    with pytest.raises(SelectionError, match="within 0 days"):
        sharpen_cube(cube, "tsharp", days=0, wanted={"time_of_day": "night", "clock": "utc"})


def test_grids_that_do_not_nest_are_refused() -> None:
    fine = GeoBox((40, 40), Affine(250, 0, 0, 0, -250, 0), "EPSG:32631")
    assert nesting(GeoBox((10, 10), Affine(1000, 0, 0, 0, -1000, 0), "EPSG:32631"), fine) == 4
    for size, left, crs in ((1000, 125, 32631), (600, 0, 32631), (250, 0, 32631), (1000, 0, 32632)):
        coarse = GeoBox((10, 10), Affine(size, 0, left, 0, -size, 0), f"EPSG:{crs}")
        with pytest.raises(GridError, match="does not nest"):
            nesting(coarse, fine)
