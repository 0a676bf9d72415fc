"""Only the pixels that count are read, and the warp cannot tell."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from cube.bands import Resampling
from cube.sources.warp import Patch, Window

UTM = "EPSG:32630"
SOURCE = GeoBox((900, 1100), Affine(20, 0, 500_000, 0, -20, 4_300_000), UTM)
GRIDS = {
    "inside": GeoBox((60, 70), Affine(70, 0, 507_000, 0, -70, 4_292_000), UTM),
    "across the edge": GeoBox((80, 90), Affine(70, 0, 499_000, 0, -70, 4_301_000), UTM),
    "finer": GeoBox((90, 120), Affine(7, 0, 507_003, 0, -7, 4_292_001), UTM),
    "another zone": GeoBox((50, 60), Affine(100, 0, 1_030_000, 0, -100, 4_300_000), "EPSG:32629"),
    "rotated": GeoBox((50, 60), Affine(60, 25, 507_000, 25, -60, 4_292_000), UTM),
}


def patch(window: Window, values: np.ndarray, fill: float | None) -> Patch:
    canvas = window.canvas(values.dtype)
    window.part(canvas)[:] = values[window.read]
    return Patch(canvas, fill, window, SOURCE)


def noise(dtype: str) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 200, SOURCE.shape).astype(dtype)


@pytest.mark.parametrize("resampling", ["bilinear", "average", "nearest"])
@pytest.mark.parametrize("where", GRIDS)
def test_pixels_that_are_not_read_have_no_share(where: str, resampling: Resampling) -> None:
    grid, values = GRIDS[where], noise("uint16")
    window = Window.under(grid, SOURCE)
    assert window is not None
    sizes = [[part.stop - part.start for part in some] for some in (window.read, window.shown)]
    assert np.prod(sizes[0]) < np.prod(sizes[1])
    wide = Window(window.shown, window.shown)
    expected = patch(wide, values, 0).warped(grid, resampling)
    assert np.isfinite(expected).any()
    got = patch(window, values, 0).warped(grid, resampling)
    assert np.array_equal(got, expected, equal_nan=True)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_narrow_integers_are_warped_as_their_floats_are(dtype: str) -> None:
    grid, values = GRIDS["across the edge"], noise(dtype)
    window = Window.under(grid, SOURCE)
    assert window is not None
    floats = np.where(values == 7, np.nan, values.astype(np.float32))
    expected = patch(window, floats, np.nan).warped(grid, "bilinear")
    assert np.array_equal(
        patch(window, values, 7).warped(grid, "bilinear"), expected, equal_nan=True
    )


def test_threads_warp_side_by_side() -> None:
    grid, values = GRIDS["inside"], noise("uint16")
    window = Window.under(grid, SOURCE)
    assert window is not None
    expected = patch(window, values, 0).warped(grid, "average")

    def warp(_: int) -> bool:
        return np.array_equal(patch(window, values, 0).warped(grid, "average"), expected)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(warp, range(40)))
