"""What networks see: images taken back, features without gaps; noise told from an image."""

from __future__ import annotations

import numpy as np
import pytest

from models.sharpening import Degradation, bicubic, local_slope, sensor_noise, unexplained
from models.sharpening.blocks import block_norm4
from models.sharpening.features import BANDS, features, masked, taken_back


def landscape(side: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Coarse LST and fine NDVI that go together."""
    rng = np.random.default_rng(seed)
    ndvi = rng.uniform(0, 0.9, (side, side)).repeat(4, axis=0).repeat(4, axis=1)
    return Degradation.gaussian()(310 - 12 * ndvi), ndvi


def test_an_image_taken_back_knows_its_answer() -> None:
    fine = 300 + np.random.default_rng(1).standard_normal((16, 24))
    known = taken_back(fine, fine)
    assert known.lst.shape == (4, 6) and known.truth.shape == fine.shape
    np.testing.assert_allclose(known.lst, Degradation.gaussian()(fine))
    np.testing.assert_allclose(taken_back(fine, fine, coarsening="norm4").lst, block_norm4(fine, 4))
    noisy = taken_back(fine, fine, noise=0.5, seed=3).lst - known.lst
    assert 0.3 < noisy.std() < 0.7
    np.testing.assert_array_equal(noisy, taken_back(fine, fine, noise=0.5, seed=3).lst - known.lst)
    with pytest.raises(ValueError, match="multiple of 4"):
        taken_back(fine[:15], fine[:15])


@pytest.mark.parametrize("network", ["sif", "mr_unet", "slope"])
def test_features_have_no_gaps_and_maps_have_those_of_the_input(network: str) -> None:
    lst, ndvi = landscape()
    whole = features(network, lst, ndvi)  # type: ignore[arg-type]
    assert whole.shape == (96, 96, BANDS[network]) and whole.dtype == np.float32
    lst[3, 4], ndvi[50, 60] = np.nan, np.nan
    found = features(network, lst, ndvi)  # type: ignore[arg-type]
    assert np.isfinite(found).all()
    gaps = np.isnan(masked(found[..., 0], lst, ndvi))
    assert gaps.sum() == 17 and gaps[12:16, 16:20].all() and gaps[50, 60]


def test_features_of_the_correcting_network_begin_with_local_slope() -> None:
    lst, ndvi = landscape()
    found = features("slope", lst, ndvi)
    base = local_slope(lst, ndvi)
    np.testing.assert_allclose(found[..., 0], base, atol=1e-3)
    np.testing.assert_allclose(found[..., 1], base - bicubic(lst), atol=1e-3)
    # Neither the level of LST nor anything but detail of NDVI is in the other channels.
    np.testing.assert_allclose(
        features("slope", lst + 20, ndvi)[..., 1:], found[..., 1:], atol=1e-3
    )


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0])
def test_noise_is_told_from_detail_that_the_sensor_has_blurred(noise: float) -> None:
    rng = np.random.default_rng(5)
    lst, ndvi = landscape(64)
    ground = 4.0 * rng.standard_normal(ndvi.shape)  # white, and none of NDVI's business
    seen = lst + Degradation.gaussian()(ground) + noise * rng.standard_normal(lst.shape)
    found = sensor_noise(unexplained(seen, ndvi), Degradation.gaussian())
    assert found == pytest.approx(noise, abs=0.35)


def test_decimation_smooths_nothing_and_is_opencvs() -> None:
    rows = np.arange(16.0)[:, None] + np.zeros(16)
    decimated = Degradation.decimation()
    # The middle of each block, but where the border is mirrored.
    np.testing.assert_allclose(decimated(rows)[1:-1, 0], [5.5, 9.5])
    noise = np.random.default_rng(2).standard_normal((256, 256))
    # (0.59375^2 + 0.09375^2) * 2 along each axis, against 1 / 4 of a mean over the block.
    assert decimated(noise).std() == pytest.approx(0.7227, rel=0.05)
    published, smooth = Degradation.published(), Degradation.gaussian()
    assert len(published.weights) == len(decimated.weights) + 8
    assert decimated(noise).std() > 4 * smooth(noise).std()
