"""Metrics of sharpened maps against libraries, hand-written loops and known cases."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from models import image_metrics as metrics
from models.sharpening.gradients import gaussian_kernel, high_pass, low_pass, sobel

RNG = np.random.default_rng(17)
TRUTH = 300 + 5 * RNG.standard_normal((40, 46))
IMAGE = TRUTH + RNG.standard_normal(TRUTH.shape)


def with_gap(image: np.ndarray) -> np.ndarray:
    holed = image.copy()
    holed[5:9, 30:33] = np.nan
    return holed


def test_pixel_metrics() -> None:
    error = IMAGE - TRUTH
    assert metrics.rmse(TRUTH, IMAGE) == pytest.approx(np.sqrt(np.mean(error**2)))
    assert metrics.mae(TRUTH, IMAGE) == pytest.approx(np.mean(np.abs(error)))
    assert metrics.bias(TRUTH, IMAGE) == pytest.approx(error.mean())
    assert metrics.unbiased_rmse(TRUTH, IMAGE + 3) == pytest.approx(error.std())
    assert metrics.correlation(TRUTH, IMAGE) == pytest.approx(
        np.corrcoef(TRUTH.ravel(), IMAGE.ravel())[0, 1]
    )
    span = max(TRUTH.max(), IMAGE.max()) - min(TRUTH.min(), IMAGE.min())
    assert metrics.data_range(TRUTH, IMAGE) == span
    assert metrics.psnr(TRUTH, IMAGE) == pytest.approx(
        peak_signal_noise_ratio(TRUTH, IMAGE, data_range=span)
    )


def test_structural_similarity_is_scikit_images() -> None:
    span = metrics.data_range(TRUTH, IMAGE)
    expected = structural_similarity(TRUTH, IMAGE, data_range=span)
    assert metrics.ssim(TRUTH, IMAGE) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("metric", "best"),
    [
        (metrics.rmse, 0),
        (metrics.ssim, 1),
        (metrics.gradient_rmse, 0),
        (metrics.gradient_deviation, 0),
        (metrics.detail_correlation, 1),
        (metrics.detail_ratio, 1),
        (metrics.psnr, np.inf),
    ],
)
def test_equal_images_score_best_with_a_gap_too(metric: object, best: float) -> None:
    assert callable(metric)
    assert metric(TRUTH, TRUTH) == pytest.approx(best, abs=1e-9)
    assert metric(with_gap(TRUTH), TRUTH) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize(
    "metric",
    [
        metrics.rmse,
        metrics.ssim,
        metrics.gradient_ssim,
        metrics.gradient_rmse,
        metrics.detail_correlation,
        metrics.gradient_deviation,
    ],
)
def test_a_gap_hides_what_is_under_it_only(metric: object) -> None:
    assert callable(metric)
    ruined = IMAGE.copy()
    ruined[5:9, 30:33] = 900.0
    score = metric(with_gap(TRUTH), ruined)
    assert score == metric(with_gap(TRUTH), with_gap(IMAGE))
    assert score == pytest.approx(metric(TRUTH, IMAGE), rel=0.15)


def test_gradient_similarity_follows_the_studys_formula() -> None:
    """Pixel by pixel, for one window."""
    a, s = TRUTH[:9, :9], IMAGE[:9, :9]
    span = metrics.data_range(a, s)
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    f, g = (np.hypot(*sobel(part)[:2]).ravel() for part in (a, s))
    inner_a, inner_s = a[1:-1, 1:-1].mean(), s[1:-1, 1:-1].mean()
    luminance = (2 * inner_a * inner_s + c1) / (inner_a**2 + inner_s**2 + c1)
    var_f, var_g, cov = f.var(ddof=1), g.var(ddof=1), np.cov(f, g)[0, 1]
    spread = np.sqrt(var_f * var_g)
    contrast = (2 * spread + c2) / (var_f + var_g + c2)
    structure = (cov + c2) / (spread + c2 / 2)
    assert metrics.gradient_ssim(a, s) == pytest.approx(luminance * contrast * structure, rel=1e-6)


def test_errors_by_texture_split_the_pixels_by_quartiles() -> None:
    texture = np.abs(high_pass(TRUTH, 0.1))
    low, high = np.percentile(texture, (25, 75))
    found = metrics.rmse_by_texture(TRUTH, IMAGE)
    squared = (TRUTH - IMAGE) ** 2
    assert found.low == pytest.approx(np.sqrt(squared[texture < low].mean()))
    assert found.high == pytest.approx(np.sqrt(squared[texture >= high].mean()))
    assert found.mid == pytest.approx(np.sqrt(squared[(texture >= low) & (texture <= high)].mean()))


def test_attenuation_ring_by_ring() -> None:
    found = metrics.attenuation(TRUTH)
    magnitude = np.fft.fftshift(np.abs(np.fft.fft2(TRUTH)))
    rows, columns = np.indices(TRUTH.shape)
    distance = np.hypot(rows - 20, columns - 23)
    expected = [1.0]
    for ring in range(19):
        inside = (distance > ring) & (distance <= ring + 1)
        expected.append(10 * np.log10(magnitude[inside].mean() / magnitude[20, 23]))
    np.testing.assert_allclose(found, expected)


def test_spectral_errors_of_the_truth_and_of_the_smooth_map() -> None:
    smooth = low_pass(TRUTH, 0.1)
    best = metrics.spectral_errors(TRUTH, TRUTH, smooth)
    assert best.restoration == pytest.approx(1) and best.rmse == 0 and best.overshoot == 0
    none = metrics.spectral_errors(TRUTH, smooth, smooth)
    assert none.restoration == pytest.approx(0) and none.undershoot == 0
    assert none.rmse > 1


def test_filters() -> None:
    kernel = gaussian_kernel(0.1)
    assert len(kernel) == 9 and kernel.sum() == pytest.approx(1)
    assert np.sqrt((kernel * np.arange(-4, 5) ** 2).sum()) == pytest.approx(2.16, abs=0.01)
    constant = np.full((12, 12), 300.0)
    constant[3, 4:6] = np.nan
    np.testing.assert_allclose(high_pass(constant)[np.isfinite(constant)], 0, atol=1e-9)
    ramp = np.add.outer(np.arange(6.0), 2 * np.arange(7.0))
    np.testing.assert_allclose(sobel(ramp)[:2, 0, 0], [16, -8])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: metrics.rmse(TRUTH, TRUTH[1:]), "one shape"),
        (lambda: metrics.rmse(TRUTH * np.nan, TRUTH), "no pixel"),
        (lambda: metrics.ssim(TRUTH[:5], IMAGE[:5]), "7 pixels"),
        (lambda: metrics.attenuation(with_gap(TRUTH)), "missing"),
        (lambda: metrics.spectral_errors(TRUTH, IMAGE, IMAGE[1:]), "one shape"),
        (lambda: gaussian_kernel(1.0), "between 0 and 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(make: object, reason: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=reason):
        make()
