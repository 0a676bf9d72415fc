"""Sharpening methods: what they all keep to, and what each is known for."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.sharpening import (
    METHODS,
    Degradation,
    Forest,
    Line,
    LocalLines,
    Response,
    Variogram,
    aatprk,
    atprk,
    bicubic,
    bilinear,
    consistency,
    dms,
    local_slope,
    nearest,
    sharpen,
    tsharp,
)
from models.sharpening.blocks import block_mean, block_norm4, block_std, expand, fill, place
from models.sharpening.local_slope import Curve

GUIDED = {"tsharp": tsharp, "atprk": atprk, "aatprk": aatprk, "local_slope": local_slope}


def landscape(size: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Fine LST and NDVI (4 size, 4 size) that go together, not everywhere alike."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    ndvi = np.clip(0.5 + gaussian_filter(rng.standard_normal((4 * size,) * 2), 2), -1, 1)
    warm = 30 * gaussian_filter(rng.standard_normal((4 * size,) * 2), 8)
    return 306 - 14 * ndvi + warm, ndvi


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "sharpen.py"
    spec = importlib.util.spec_from_file_location("sharpen_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", METHODS)
def test_a_map_is_missing_exactly_where_an_input_is(name: str) -> None:
    fine, ndvi = landscape()
    coarse = block_mean(fine, 4)
    rng = np.random.default_rng(1)
    coarse[rng.random(coarse.shape) < 0.15] = np.nan
    coarse[4:12, 6:14] = np.nan
    coarse[0, :3] = np.inf
    guide = ndvi.copy()
    guide[rng.random(ndvi.shape) < 0.05] = np.nan
    guide[40:57, 70:81] = np.nan
    sharpened = METHODS[name](coarse, guide)
    missing = expand(~np.isfinite(coarse), 4)
    if name not in ("nearest", "bilinear", "bicubic"):
        missing = missing | np.isnan(guide)
    np.testing.assert_array_equal(np.isnan(sharpened), missing)
    there = ~np.isnan(sharpened)
    assert np.sqrt(np.mean((sharpened - fine)[there] ** 2)) < 2.0


@pytest.mark.parametrize("name", METHODS)
def test_a_gap_changes_only_what_is_near_it(name: str) -> None:
    """Fits are shared, so that what is left is the spread of the gap itself."""
    fine, ndvi = landscape()
    coarse = block_mean(fine, 4)
    companion = block_mean(ndvi, 4)
    line = Line.fit(coarse, companion)
    fits = {
        "tsharp": {"line": line},
        "atprk": {"line": line, "variogram": Variogram(2.0, 3.0)},
        "aatprk": {"line": line, "variogram": Variogram(2.0, 3.0)},
        "local_slope": {"response": Response.fit(coarse, ndvi, Degradation.gaussian())},
        "dms": {"forest": Forest.fit(coarse, companion[..., None], block_std(ndvi, 4)[..., None])},
    }
    reach = {"nearest": 0, "tsharp": 0, "aatprk": 4, "local_slope": 7}.get(name, 2)
    gap = coarse.copy()
    gap[10:12, 10:12] = np.nan
    whole, holed = (METHODS[name](image, ndvi, **fits.get(name, {})) for image in (coarse, gap))
    near = np.zeros(coarse.shape, dtype=bool)
    near[10 - reach : 12 + reach, 10 - reach : 12 + reach] = True
    far = expand(~near, 4)
    np.testing.assert_allclose(holed[far], whole[far], atol=1e-6)


@pytest.mark.parametrize("name", GUIDED)
def test_a_scene_on_a_straight_line_is_recovered(name: str) -> None:
    _, ndvi = landscape()
    coarse = 310 - 12 * block_mean(ndvi, 4)
    if name == "local_slope":
        coarse = 310 - 12 * Degradation.gaussian()(ndvi)
        expected, tolerance = None, 1.0
    else:
        expected, tolerance = 310 - 12 * ndvi, 1e-5
    if name in ("atprk", "aatprk"):
        sharpened = GUIDED[name](coarse, ndvi, variogram=Variogram(1.0, 3.0))  # type: ignore[operator]
    else:
        sharpened = GUIDED[name](coarse, ndvi)  # type: ignore[operator]
    target = 310 - 12 * ndvi if expected is None else expected
    assert np.sqrt(np.mean((sharpened - target) ** 2)) < tolerance


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("method", [tsharp, atprk, aatprk])
def test_ndvi_helps_where_it_tells_something(method: object, published: bool) -> None:
    fine, ndvi = landscape(seed=4)
    coarse = block_mean(fine, 4)
    assert callable(method)
    inner = slice(8, -8)
    sharpened = method(coarse, ndvi, published=published)[inner, inner]
    smooth = bicubic(coarse)[inner, inner]
    assert np.std(sharpened - fine[inner, inner]) < 0.8 * np.std(smooth - fine[inner, inner])


def test_tsharp_averages_back_and_the_published_one_does_not() -> None:
    fine, ndvi = landscape()
    coarse = block_mean(fine, 4)
    assert consistency(tsharp(coarse, ndvi), coarse).largest < 1e-9
    assert consistency(tsharp(coarse, ndvi, published=True), coarse).rmse > 0.05


def test_kriging_averages_back() -> None:
    """Kriging is exact for blocks: the 16 weights of the block's own pixel have mean 1."""
    weights = Variogram(3.0, 2.5).weights(4)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-9)
    expected = np.zeros(25)
    expected[12] = 1
    np.testing.assert_allclose(weights.mean(axis=0), expected, atol=1e-9)
    fine, ndvi = landscape()
    coarse = block_mean(fine, 4)
    assert consistency(atprk(coarse, ndvi), coarse).largest < 1e-8
    assert consistency(aatprk(coarse, ndvi), coarse).largest < 1e-8


def test_kriging_weights_treat_mirror_images_alike() -> None:
    weights = Variogram(1.0, 4.0).weights(4).reshape(4, 4, 5, 5)
    np.testing.assert_allclose(weights, weights[::-1, :, ::-1], atol=1e-9)
    np.testing.assert_allclose(weights, weights.transpose(1, 0, 3, 2), atol=1e-9)


def test_the_variogram_of_a_field_is_found_again() -> None:
    """A field with an exponential covariance of range 24 fine pixels, seen as block means."""
    rng = np.random.default_rng(2)
    size, reach = 512, 24.0
    index = np.minimum(np.arange(size), size - np.arange(size))
    covariance = 4.0 * np.exp(-3 * np.hypot(index[:, None], index) / reach)
    spectrum = np.sqrt(np.maximum(np.fft.fft2(covariance).real, 0))
    field = np.fft.ifft2(spectrum * np.fft.fft2(rng.standard_normal((size, size)))).real
    found = Variogram.fit(block_mean(field, 4), 4)
    assert found.range == pytest.approx(reach / 4, rel=0.2)
    assert found.sill == pytest.approx(4.0, rel=0.2)


def test_the_published_defect_changes_the_variogram_only() -> None:
    fine, _ = landscape()
    residual = block_mean(fine, 4) - 300
    right, wrong = (Variogram.fit(residual, 4, published=flag) for flag in (False, True))
    assert right != wrong


def test_the_vectorised_kriging_is_the_one_pixel_by_pixel(benchmark: ModuleType) -> None:
    lst, ndvi = benchmark.scene(16)
    line, variogram = Line.fit(lst, block_mean(ndvi, 4)), Variogram(1.5, 2.0)
    ours = atprk(lst, ndvi, line=line, variogram=variogram)
    np.testing.assert_allclose(ours, benchmark.per_pixel(lst, ndvi, line, variogram), atol=1e-8)


def test_the_vectorised_kriging_is_ten_times_as_fast(benchmark: ModuleType) -> None:
    medians = benchmark.compare(size=32, rounds=3, solving=False)
    assert medians["vectorised"] * 10 < medians["per pixel"]


@pytest.mark.parametrize(
    "name", ["bilinear", "bicubic", "tsharp", "atprk", "aatprk", "local_slope", "dms"]
)
def test_a_tile_with_a_margin_is_like_the_whole(name: str) -> None:
    fine, ndvi = landscape(40)
    coarse = block_mean(fine, 4)
    coarse[17:19, 8:11] = np.nan
    companion = block_mean(ndvi, 4)
    line, variogram = Line.fit(coarse, companion), Variogram(2.0, 3.0)
    options = {
        "tsharp": {"line": line},
        "atprk": {"line": line, "variogram": variogram},
        "aatprk": {"line": line, "variogram": variogram},
        "local_slope": {"response": Response.fit(coarse, ndvi, Degradation.gaussian())},
        "dms": {"forest": Forest.fit(coarse, companion[..., None], block_std(ndvi, 4)[..., None])},
    }.get(name, {})
    whole = METHODS[name](coarse, ndvi, **options)
    margin = 8
    tile = METHODS[name](coarse[2:30, 2:30], ndvi[8:120, 8:120], **options)
    inner = slice(4 * margin, 4 * (28 - margin))
    both = slice(8 + inner.start, 8 + inner.stop)
    np.testing.assert_allclose(tile[inner, inner], whole[both, both], atol=1e-4)


def test_local_lines_are_those_of_least_squares() -> None:
    rng = np.random.default_rng(5)
    ndvi, lst = rng.random((12, 14)), 290 + 20 * rng.random((12, 14))
    ndvi[3, 4] = np.nan
    lines = LocalLines.fit(lst, ndvi, radius=2)
    for row, column in ((5, 5), (0, 0), (11, 7), (3, 4)):
        window = (
            slice(max(0, row - 2), row + 3),
            slice(max(0, column - 2), column + 3),
        )
        x, y = ndvi[window].ravel(), lst[window].ravel()
        slope, intercept = np.polyfit(x[np.isfinite(x)], y[np.isfinite(x)], 1)
        assert lines.slope[row, column] == pytest.approx(slope, abs=1e-6)
        assert lines.intercept[row, column] == pytest.approx(intercept, abs=1e-6)


def test_published_local_lines_fall_back_near_the_border() -> None:
    rng = np.random.default_rng(5)
    ndvi, lst = rng.random((12, 14)), 290 + 20 * rng.random((12, 14))
    line, lines = Line.fit(lst, ndvi), LocalLines.fit(lst, ndvi, radius=2, rim=False)
    assert (lines.slope[:2] == line.slope).all() and (lines.slope[:, -2:] == line.slope).all()
    assert (lines.slope[2:-2, 2:-2] != line.slope).all()


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(250, 330)), min_size=2, max_size=40))
@settings(max_examples=60, deadline=None)
def test_a_line_leaves_residuals_without_mean_and_slope(samples: list[tuple[float, float]]) -> None:
    ndvi, lst = (np.array(part) for part in zip(*samples, strict=True))
    line = Line.fit(lst, ndvi)
    residual = lst - line.at(ndvi)
    assert abs(residual.mean()) < 1e-6
    if np.var(ndvi) > 1e-6:
        assert abs(np.mean(residual * (ndvi - ndvi.mean()))) < 1e-6


def test_trees_find_what_no_line_does() -> None:
    _, ndvi = landscape()
    fine = 300 + 30 * np.abs(ndvi - 0.5)
    coarse = block_mean(fine, 4)
    assert np.std(dms(coarse, ndvi) - fine) < 0.8 * np.std(tsharp(coarse, ndvi) - fine)


def test_trees_take_further_images_and_are_repeatable() -> None:
    (_, ndvi), (_, height) = landscape(seed=1), landscape(seed=2)
    fine = 306 - 8 * ndvi - 12 * height
    coarse = block_mean(fine, 4)
    alone, both, again = (dms(coarse, ndvi, others=others) for others in ((), (height,), (height,)))
    assert np.std(both - fine) < np.std(alone - fine)
    np.testing.assert_array_equal(both, again)


@pytest.mark.parametrize("method", [nearest, bilinear, bicubic])
@given(seed=st.integers(0, 99), scale=st.sampled_from([2, 3, 4, 5]))
@settings(max_examples=20, deadline=None)
def test_enlarging_keeps_constants_and_symmetry(method: object, seed: int, scale: int) -> None:
    assert callable(method)
    image = np.random.default_rng(seed).normal(300, 5, (5, 7))
    np.testing.assert_allclose(method(np.full((3, 4), 280.0), scale), 280.0)
    np.testing.assert_allclose(method(image[::-1].T, scale), method(image, scale)[::-1].T)


def test_bilinear_is_scipys() -> None:
    from scipy.ndimage import zoom

    image = np.random.default_rng(0).normal(300, 5, (6, 9))
    expected = zoom(image, 4, order=1, grid_mode=True, mode="nearest")
    np.testing.assert_allclose(bilinear(image), expected, atol=1e-9)


def test_bicubic_is_pillows_away_from_the_border() -> None:
    """Pillow's kernel has a = -0.5."""
    from PIL import Image

    image = np.random.default_rng(0).normal(0, 5, (8, 9)).astype("float32")
    expected = np.asarray(Image.fromarray(image).resize((36, 32), Image.Resampling.BICUBIC))
    inner = slice(8, -8)
    np.testing.assert_allclose(
        bicubic(image, a=-0.5)[inner, inner], expected[inner, inner], atol=1e-4
    )


@pytest.mark.parametrize("name", METHODS)
def test_consistency_is_exact_where_asked_for(name: str) -> None:
    fine, ndvi = landscape()
    coarse = block_mean(fine, 4) + np.random.default_rng(6).normal(0, 0.5, (24, 24))
    coarse[3:5, 7:9] = np.nan
    guide = ndvi.copy()
    guide[50:60, 20:31] = np.nan
    plain, exact = (sharpen(name, coarse, guide, consistent=flag) for flag in (False, True))
    assert exact.consistency.largest < 1e-9
    assert plain.consistency.operator == "box"
    np.testing.assert_array_equal(np.isnan(exact.fine), np.isnan(plain.fine))


@pytest.mark.parametrize("degradation", [Degradation.gaussian(), Degradation.published()])
def test_consistency_with_a_sensors_blur(degradation: Degradation) -> None:
    fine, ndvi = landscape()
    coarse = degradation(fine)
    plain = sharpen("tsharp", coarse, ndvi, degradation=degradation)
    exact = sharpen("tsharp", coarse, ndvi, degradation=degradation, consistent=True)
    assert exact.consistency.largest < 1e-4 < plain.consistency.rmse
    assert exact.consistency.operator == degradation.name


def test_operators_have_the_stated_resolution() -> None:
    """Superresolution study: the authors' H has an effective sigma of 2.13 px and an MTF of .14."""
    weights = np.array(Degradation.published().weights)
    places = np.arange(len(weights)) - (len(weights) - 1) / 2
    transfer = float((weights * np.cos(2 * np.pi * 0.125 * places)).sum())
    assert np.sqrt((weights * places**2).sum()) == pytest.approx(2.13, abs=0.15)
    assert transfer == pytest.approx(0.14, abs=0.02)
    gaussian = np.array(Degradation.gaussian(2.0).weights)
    places = np.arange(len(gaussian)) - (len(gaussian) - 1) / 2
    assert float((gaussian * np.cos(2 * np.pi * 0.125 * places)).sum()) == pytest.approx(
        0.29, abs=0.01
    )


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_the_box_is_the_block_mean_whatever_is_missing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.normal(300, 5, (12, 16))
    image[rng.random(image.shape) < rng.random()] = np.nan
    np.testing.assert_allclose(Degradation.box()(image), block_mean(image, 4), atol=1e-9)


@pytest.mark.parametrize(
    "degradation", [Degradation.box(), Degradation.gaussian(), Degradation.gaussian(1.0, 2)]
)
def test_spreading_is_the_transposed_operator(degradation: Degradation) -> None:
    scale = degradation.scale
    point = np.zeros((9, 9))
    point[4, 4] = 1.0
    spread = degradation.spread(point)
    seen = np.zeros_like(spread)
    for row in range(2 * scale, 7 * scale):
        for column in range(2 * scale, 7 * scale):
            fine = np.zeros_like(spread)
            fine[row, column] = 1.0
            seen[row, column] = degradation(fine)[4, 4] / degradation(fine).sum()
    np.testing.assert_allclose(spread, seen, atol=1e-9)
    holed = np.full((5, 5), 300.0)
    holed[1, 2] = np.nan
    np.testing.assert_allclose(degradation.spread(holed), expand(holed, scale))


def test_a_curve_follows_what_a_line_cannot_and_stays_tame_beyond() -> None:
    ndvi = np.linspace(0, 0.8, 100).reshape(10, 10)
    lst = 310 - 20 * ndvi**2
    curve = Curve.fit(lst, ndvi)
    np.testing.assert_allclose(curve.at(ndvi), lst, atol=0.01)
    beyond = curve.at(np.array([1.0, 1.1, 1.2]))
    assert beyond[0] - beyond[1] == pytest.approx(beyond[1] - beyond[2])
    few = Curve.fit(lst[:2], ndvi[:2])
    line = Line.fit(lst[:2], ndvi[:2])
    np.testing.assert_allclose(few.at(ndvi), line.at(ndvi))


def test_a_curve_of_constant_ndvi_is_flat() -> None:
    lst = np.random.default_rng(0).normal(300, 5, (8, 8))
    flat = Curve.fit(lst, np.full((8, 8), 0.4))
    np.testing.assert_allclose(flat.at(np.array([0.0, 0.9])), lst.mean())


def test_blocks() -> None:
    image = np.arange(64.0).reshape(8, 8)
    np.testing.assert_allclose(block_mean(image, 4), [[13.5, 17.5], [45.5, 49.5]])
    np.testing.assert_allclose(block_std(image, 4)[0, 0], image[:4, :4].std())
    np.testing.assert_allclose(block_norm4(image, 4)[0, 0], (image[:4, :4] ** 4).mean() ** 0.25)
    assert np.isnan(block_mean(np.full((4, 4), np.nan), 4)).all()


@given(st.integers(-9, 9), st.integers(-9, 9))
def test_placing_moves_pixels(rows: int, columns: int) -> None:
    image = np.arange(48.0).reshape(6, 8)
    placed = place(image, (rows, columns))
    for row in range(6):
        for column in range(8):
            source = row - rows, column - columns
            inside = 0 <= source[0] < 6 and 0 <= source[1] < 8
            value = placed[row, column]
            assert value == image[source] if inside else np.isnan(value)


def test_filling_is_local() -> None:
    image = np.full((9, 9), 300.0)
    image[:, :2], image[:, 4:] = 290.0, np.nan
    filled = fill(image, 2)
    assert (filled[:, 4:6] == 300.0).all()
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[:, :4], image[:, :4])


@pytest.mark.parametrize(
    ("lst", "ndvi", "reason"),
    [
        (np.ones((4, 4)), np.ones((16, 12)), "does not nest"),
        (np.ones((4, 4)), np.ones((4, 4)), "2 or more"),
        (np.ones(4), np.ones((16, 16)), "dimensions"),
        (np.full((4, 4), np.nan), np.ones((16, 16)), "no coarse pixel"),
    ],
)
@pytest.mark.parametrize("name", GUIDED)
def test_what_cannot_be_sharpened_is_refused(
    name: str, lst: np.ndarray, ndvi: np.ndarray, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        METHODS[name](lst, ndvi)


def test_unknown_methods_and_scenes_too_small_for_trees_are_refused() -> None:
    with pytest.raises(ValueError, match="tsharp"):
        sharpen("cokriging", np.ones((4, 4)), np.ones((16, 16)))
    with pytest.raises(ValueError, match="trees need 10"):
        dms(np.ones((2, 2)), np.random.default_rng(0).random((8, 8)))
