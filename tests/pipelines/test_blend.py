"""Blending patches into maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cube.errors import ModelError
from pipelines.blend import Lattice, blend, taper, windows


@st.composite
def lattices(draw: st.DrawFn) -> Lattice:
    patch = draw(st.integers(1, 12))
    shape = (draw(st.integers(1, 30)), draw(st.integers(1, 30)))
    return Lattice(shape, patch, draw(st.integers(1, patch)))


def image_of(lattice: Lattice, seed: int, bands: int = 2) -> np.ndarray:
    values = np.random.default_rng(seed).uniform(0, 1, (*lattice.shape, bands)).astype(np.float32)
    values[np.random.default_rng(seed + 1).uniform(size=lattice.shape) < 0.1] = np.nan
    return values


def contextual(batch: np.ndarray) -> np.ndarray:
    """Answers with the patch's mean and position-dependent numbers: unlike the identity, it makes
    overlapping patches disagree."""
    mean = np.nan_to_num(batch).mean(axis=(1, 2, 3), keepdims=True)
    ramp = np.arange(batch.shape[1], dtype=np.float32)[None, :, None, None]
    return np.concatenate([np.nan_to_num(batch[..., :1]) + ramp, mean + 0 * batch[..., :1]], -1)


@given(lattices())
def test_patches_cover_every_pixel_and_stay_inside(lattice: Lattice) -> None:
    covered = np.zeros(lattice.shape, bool)
    for row, column in lattice.touching((slice(0, lattice.shape[0]), slice(0, lattice.shape[1]))):
        covered[row : row + lattice.patch, column : column + lattice.patch] = True
        assert row + lattice.patch <= max(lattice.shape[0], lattice.patch)
        assert column + lattice.patch <= max(lattice.shape[1], lattice.patch)
    assert covered.all()


@given(lattices(), st.integers(0, 99), st.integers(1, 9))
@settings(deadline=None)
def test_identity_network_gives_back_its_input(lattice: Lattice, seed: int, batch: int) -> None:
    image = image_of(lattice, seed)
    result = blend(lambda patches: patches, image, lattice, batch_size=batch)
    np.testing.assert_allclose(result, image, atol=1e-6, rtol=0)


@given(lattices(), st.floats(0, 1, width=32))
@settings(deadline=None)
def test_constant_network_gives_a_constant_map(lattice: Lattice, value: float) -> None:
    def constant(batch: np.ndarray) -> np.ndarray:
        return np.full((*batch.shape[:3], 3), value, np.float32)

    result = blend(constant, image_of(lattice, 0), lattice)
    assert result.shape == (*lattice.shape, 3)
    np.testing.assert_allclose(result, value, atol=1e-6)


@given(lattices(), st.integers(0, 99), st.integers(1, 20), st.integers(1, 9), st.booleans())
@settings(deadline=None, max_examples=60)
def test_result_does_not_depend_on_windows_or_batches(
    lattice: Lattice, seed: int, size: int, batch: int, skip: bool
) -> None:
    image = np.nan_to_num(image_of(lattice, seed))
    whole = blend(contextual, image, lattice, batch_size=64)
    parts = np.full_like(whole, np.nan)
    for window in windows(lattice.shape, size):
        part = image[lattice.reach(window)]
        parts[window] = blend(contextual, part, lattice, window, batch_size=batch, skip_empty=skip)
    np.testing.assert_allclose(parts, whole, atol=1e-6)


def test_windows_tile_the_region_once() -> None:
    count = np.zeros((70, 33), int)
    for window in windows(count.shape, 32):
        count[window] += 1
    assert (count == 1).all()


def test_probabilities_are_averaged_never_class_codes() -> None:
    """Defect 17: where one patch says 7 and the next says 11, the map once said 9."""
    lattice = Lattice((4, 6), patch=4, stride=2)

    def network(batch: np.ndarray) -> np.ndarray:
        # The second channel of the input says which patch this is.
        out = np.zeros((*batch.shape[:3], 14), np.float32)
        for index, patch in enumerate(batch):
            out[index, ..., 7 if patch[0, 0, 0] == 0 else 11] = 1.0
        return out

    image = np.broadcast_to(np.arange(6, dtype=np.float32)[None, :, None], (4, 6, 1))
    result = blend(network, image, lattice)
    assert set(np.unique(result.argmax(-1))) == {7, 11}
    np.testing.assert_allclose(result.sum(-1), 1, atol=1e-6)
    assert result[..., 9].max() == 0


@pytest.mark.parametrize("patch", [1, 2, 31, 32, 512])
def test_taper_is_positive_and_half_patch_strides_add_up(patch: int) -> None:
    weights = taper(patch)
    assert (weights > 0).all()
    if patch % 2 == 0:
        side = weights[patch // 2] / weights[patch // 2].max()
        doubled = side[: patch // 2] + side[patch // 2 :]
        np.testing.assert_allclose(doubled, doubled[0])


def test_padding_reaches_the_network_as_nan_and_never_the_map() -> None:
    seen = []

    def network(batch: np.ndarray) -> np.ndarray:
        seen.append(np.isnan(batch).sum())
        return np.nan_to_num(batch)

    result = blend(network, np.ones((3, 5, 1), np.float32), Lattice((3, 5), patch=8, stride=4))
    assert seen == [8 * 8 - 3 * 5]
    np.testing.assert_array_equal(result, np.ones((3, 5, 1)))


def test_empty_patches_are_skipped_and_their_pixels_are_nan() -> None:
    image = np.ones((4, 12, 1), np.float32)
    image[:, 4:] = np.nan
    calls = []

    def network(batch: np.ndarray) -> np.ndarray:
        calls.append(len(batch))
        return np.ones_like(batch)

    result = blend(network, image, Lattice((4, 12), 4, 4), skip_empty=True)
    assert sum(calls) == 1
    assert np.isfinite(result[:, :4]).all() and np.isnan(result[:, 4:]).all()
    assert np.isnan(blend(network, image * np.nan, Lattice((4, 12), 4, 4), skip_empty=True)).all()


def test_wrong_inputs_are_refused() -> None:
    with pytest.raises(ModelError, match="stride"):
        Lattice((10, 10), patch=4, stride=5)
    lattice = Lattice((10, 10), patch=4, stride=2)
    with pytest.raises(ModelError, match="halo"):
        blend(lambda batch: batch, np.zeros((9, 10, 1), np.float32), lattice)
    with pytest.raises(ModelError, match="one output a pixel"):
        blend(lambda batch: batch[:, 0], np.zeros((10, 10, 1), np.float32), lattice)
