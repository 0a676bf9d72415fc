"""Readings keep the cube's invariant, mosaics invent nothing, granules of a pass make a scene."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cube.quality import BAD, Flag, is_valid
from cube.scene import Coverage, Granule, Reading, group, mosaic, utc

SHAPE = (3, 4)
START = datetime(2024, 1, 1, tzinfo=UTC)


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    values = st.floats(200, 350, width=32) | st.just(float("nan"))
    bands = [draw(arrays.arrays(np.float32, SHAPE, elements=values)) for _ in range(2)]
    qc = draw(arrays.arrays(np.uint8, SHAPE))
    word = draw(arrays.arrays(np.int32, SHAPE, elements=st.integers(-1, 65535)))
    return Reading.build(bands, qc, word)


@given(readings())
def test_a_pixel_is_finite_in_all_bands_if_and_only_if_no_bad_flag_is_set(reading: Reading) -> None:
    finite = np.isfinite(reading.imagery).all(axis=0)
    np.testing.assert_array_equal(finite, is_valid(reading.qc))
    np.testing.assert_array_equal(finite, np.isfinite(reading.imagery).any(axis=0))


@given(st.lists(readings(), min_size=1, max_size=4))
def test_a_mosaic_takes_each_pixel_whole_from_one_reading(parts: list[Reading]) -> None:
    whole = mosaic(parts)
    for pixel in np.ndindex(SHAPE):
        candidates = [
            (part.imagery[:, *pixel].tobytes(), part.qc[pixel], part.product_qc[pixel])
            for part in parts
        ]
        mine = (whole.imagery[:, *pixel].tobytes(), whole.qc[pixel], whole.product_qc[pixel])
        assert mine in candidates
        first_valid = next((one for one in candidates if not one[1] & int(BAD)), None)
        if first_valid is not None:
            assert mine == first_valid


@given(readings(), readings(), readings())
def test_mosaics_of_mosaics_are_mosaics(a: Reading, b: Reading, c: Reading) -> None:
    at_once, in_steps = mosaic([a, b, c]), mosaic([mosaic([a, b]), c])
    np.testing.assert_array_equal(at_once.qc, in_steps.qc)
    np.testing.assert_array_equal(at_once.imagery, in_steps.imagery)
    again = mosaic([a, a])
    np.testing.assert_array_equal(again.imagery, a.imagery)


def test_a_mosaic_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        mosaic([])


def test_shares_are_of_what_was_measured() -> None:
    qc = np.array([[0, 16, 2, 2], [4, 8, 0, 1], [1, 1, 1, 1]], np.uint8)
    coverage = Coverage.of(qc)
    assert coverage.cloud_fraction == pytest.approx(2 / 7)
    assert coverage.bad_fraction == pytest.approx(2 / 7)
    assert coverage.valid_fraction == pytest.approx(3 / 12)


def test_a_scene_of_nothing_has_no_cloud_and_nothing_valid() -> None:
    assert Coverage.of(np.full((2, 2), int(Flag.MISSING), np.uint8)) == Coverage(0.0, 0.0, 0.0)


def granule(seconds: float, **changes: object) -> Granule:
    name = f"g{seconds:g}"
    time = START + timedelta(seconds=seconds)
    base = Granule(name, name, "1", "source", "thermal", "ISS", time, {"LST": f"{name}.tif"}, 10)
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


@given(st.permutations([0, 52, 104, 5000, 5052, 20000]))
def test_neighbours_in_time_are_one_scene_whatever_their_order(seconds: list[int]) -> None:
    scenes = group([granule(second) for second in seconds], timedelta(seconds=60))
    found = [[one.id for one in scene.granules] for scene in scenes]
    assert found == [["g0", "g52", "g104"], ["g5000", "g5052"], ["g20000"]]
    assert [scene.time for scene in scenes] == [
        START + timedelta(seconds=second) for second in (0, 5000, 20000)
    ]


def test_platforms_and_modalities_are_never_mixed() -> None:
    mixed = [granule(0), granule(1, platform="Landsat-8"), granule(2, modality="sar")]
    assert len(group(mixed, timedelta(minutes=5))) == 3


def test_a_granule_that_grew_or_gained_a_layer_has_another_fingerprint() -> None:
    one = granule(0)
    assert one.fingerprint == granule(0).fingerprint
    moved = dataclasses.replace(one, assets={"LST": "elsewhere/g0.tif"})
    assert moved.fingerprint == one.fingerprint
    for changed in (
        dataclasses.replace(one, size=11),
        dataclasses.replace(one, assets={**one.assets, "QC": "g0_QC.tif"}),
        dataclasses.replace(one, defect="layer QC missing"),
    ):
        assert changed.fingerprint != one.fingerprint


def test_a_naive_time_is_utc() -> None:
    assert utc(datetime(2024, 1, 1)) == START
    east = datetime.fromisoformat("2024-01-01T02:00:00+02:00")
    assert utc(east) == START
