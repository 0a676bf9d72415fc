"""Common flags, and the quality words decoded to them."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from cube.errors import GranuleError, SelectionError
from cube.quality import (
    BAD,
    ECOSTRESS_QC,
    FLAG_ATTRS,
    Flag,
    decode_ecostress,
    ecostress_flags,
    is_valid,
    mask,
)

words = st.integers(0, 0xFFFF)


def undefined(word: int) -> bool:
    """Written from the user guide: 10 is 'not set' in bits 1-0 and in bits 3-2."""
    return word & 0b11 == 0b10 or word & 0b1100 == 0b1000


@given(words.filter(lambda word: not undefined(word)))
def test_every_defined_word_decodes_to_its_bits(word: int) -> None:
    quality = decode_ecostress(np.array([word]))
    rebuilt = sum(
        int(value[0]) << field.shift for field, value in zip(ECOSTRESS_QC, quality, strict=True)
    )
    assert rebuilt == word
    assert quality._fields == tuple(field.name for field in ECOSTRESS_QC)


@given(words.filter(undefined), st.integers(1, 5))
def test_an_undefined_word_raises_and_says_which_and_how_many(word: int, count: int) -> None:
    values = np.array([[0b11_00_11_11_11_00_00_00] * 3 + [word] * count])
    for decode in (decode_ecostress, ecostress_flags):
        with pytest.raises(GranuleError, match=rf"{word} .*; {count} pixel") as caught:
            decode(values, where="granule x")
        assert caught.value.kind == "bad_quality_word"
        assert "granule x" in str(caught.value)


@pytest.mark.parametrize("word", [-99_999, -1, 0x10000])
def test_words_outside_16_bits_raise(word: int) -> None:
    """Trap 3: -99999 & 3 is 1, so fill would read as nominal."""
    assert -99_999 & 3 == 1
    with pytest.raises(GranuleError, match="16 bits"):
        ecostress_flags(np.array([0, word]))


@given(words.filter(lambda word: not undefined(word)))
def test_flags_follow_mandatory_and_data_quality(word: int) -> None:
    poor = word & 3 == 3 or (word >> 2) & 3 == 3
    expected = Flag.POOR_QUALITY if poor else 0
    assert ecostress_flags(np.array([[word]])).tolist() == [[expected]]


def test_nominal_is_valid_unless_it_is_refused() -> None:
    nominal = np.array([0b10_00_11_11_11_00_01_01])
    assert ecostress_flags(nominal).tolist() == [0]
    assert ecostress_flags(nominal, accept_mandatory=(0,)).tolist() == [Flag.POOR_QUALITY]


@pytest.mark.parametrize(
    ("limit", "kept"),
    [(None, [1, 1, 1, 1]), (2.0, [0, 1, 1, 1]), (1.5, [0, 0, 1, 1]), (1.0, [0, 0, 0, 1])],
)
def test_lst_accuracy_limit(limit: float | None, kept: list[int]) -> None:
    accuracy = np.arange(4, dtype=np.int32) << 14
    assert (ecostress_flags(accuracy, max_lst_error=limit) == 0).astype(int).tolist() == kept


def test_other_accuracy_limits_are_refused() -> None:
    with pytest.raises(ValueError, match=r"not 0\.7"):
        ecostress_flags(np.array([0]), max_lst_error=0.7)


def test_flags_keep_the_shape_and_take_no_pixels() -> None:
    assert ecostress_flags(np.zeros((3, 4), np.int32)).shape == (3, 4)
    assert ecostress_flags(np.zeros(0, np.int32)).dtype == np.uint8


@given(st.integers(0, 255))
def test_valid_means_no_bad_bit(flags: int) -> None:
    assert bool(is_valid(np.array([flags], np.uint8))[0]) == (flags & int(BAD) == 0)


def test_water_and_unscreened_are_information() -> None:
    assert is_valid(np.array([Flag.WATER | Flag.UNSCREENED], np.uint8)).all()


def test_cf_attributes_name_every_bit_once() -> None:
    masks, meanings = FLAG_ATTRS["flag_masks"], str(FLAG_ATTRS["flag_meanings"]).split()
    assert masks == [1, 2, 4, 8, 16, 32, 64, 128]
    assert len(meanings) == 8 and meanings[1] == "cloud"


def test_mask_takes_named_flags_out() -> None:
    qc = np.array([[[0, int(Flag.WATER)]]], np.uint8)
    imagery = np.ones((1, 1, 1, 2), np.float32)
    dataset = xr.Dataset(
        {"imagery": (("time", "band", "y", "x"), imagery), "qc": (("time", "y", "x"), qc)}
    )
    masked = mask(dataset, "water")["imagery"].values.ravel()
    assert masked[0] == 1 and np.isnan(masked[1])
    with pytest.raises(SelectionError, match="fog"):
        mask(dataset, "fog")
