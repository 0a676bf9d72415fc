"""Where a companion image lies, found in the images themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from models.sharpening import Degradation, Displacement, displacement, shifted
from models.sharpening.blocks import Array

STEPS = st.integers(-4, 4)


def scene(seed: int, scale: int = 4, slope: float = -12.0) -> tuple[Array, Array]:
    """LST (32, 32) of a sensor with noise, and the NDVI that it follows, on one grid."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(32 * scale, 32 * scale)), 3, mode="wrap")
    ndvi = 0.5 + 0.2 * field / field.std()
    lst = Degradation.gaussian(scale / 2, scale)(300 + slope * ndvi)
    return lst + rng.normal(scale=0.2, size=lst.shape), ndvi


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), rows=STEPS, columns=STEPS, slope=st.sampled_from((-12.0, 8.0)))
def test_it_finds_how_far_an_image_was_moved(seed, rows, columns, slope):
    lst, ndvi = scene(seed, slope=slope)
    found = displacement(lst, shifted(ndvi, (-rows, -columns)))
    assert found.offset == (rows, columns)
    assert np.sign(found.correlation) == np.sign(slope) and abs(found.correlation) > 0.8


def test_clouds_in_both_images_do_not_mislead_it():
    lst, ndvi = scene(3)
    lst[4:15, 6:20] = np.nan
    moved = shifted(ndvi, (-2, 3))
    moved[80:100, 10:60] = np.nan
    assert displacement(lst, moved).offset == (2, -3)


def test_another_ratio_of_grids():
    lst, ndvi = scene(1, scale=2)
    assert displacement(lst, shifted(ndvi, (1, -2)), most=2).offset == (-1, 2)


def test_images_that_say_nothing_of_one_another_are_left_where_they_are():
    lst, _ = scene(0)
    assert displacement(lst, scene(1)[1], most=1) == Displacement(0, 0, 0.0)
    assert displacement(np.full((8, 8), 300.0), np.full((32, 32), 0.5)).offset == (0, 0)
    assert displacement(np.full((8, 8), np.nan), np.full((32, 32), 0.5)).offset == (0, 0)
    with pytest.raises(ValueError, match="does not nest"):
        displacement(lst, np.zeros((100, 128)))
