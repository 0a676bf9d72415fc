"""The table of bands is consistent, and looked up in the order that was asked for."""

from __future__ import annotations

import pytest

from cube.bands import MODALITIES, THERMAL, Band
from cube.errors import SelectionError

BANDS = [band for modality in MODALITIES.values() for band in modality.bands.values()]


@pytest.mark.parametrize("band", BANDS, ids=lambda band: band.name)
def test_a_band_is_whole(band: Band) -> None:
    assert band.valid_min < band.valid_max
    assert band.units in {"K", "1", "dB", "degree"}
    assert band.long_name


def test_names_are_keys() -> None:
    assert all(name == modality.name for name, modality in MODALITIES.items())
    for modality in MODALITIES.values():
        assert [band.name for band in modality.bands.values()] == list(modality.bands)


def test_the_range_of_temperature_refuses_its_uncertainty() -> None:
    lst, uncertainty = THERMAL.require(("lst", "lst_err"))
    assert uncertainty.valid_max < lst.valid_min


def test_bands_come_in_the_order_asked_for() -> None:
    assert [band.name for band in THERMAL.require(("emissivity", "lst"))] == ["emissivity", "lst"]
    assert THERMAL.require(()) == ()


def test_an_unknown_band_is_named_with_those_there_are() -> None:
    with pytest.raises(SelectionError, match=r"'thermal' has no band 'ndvi'.*lst, emissivity"):
        THERMAL.require(("lst", "ndvi"))


def test_the_tables_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        MODALITIES["more"] = THERMAL  # type: ignore[index]
    with pytest.raises(TypeError):
        THERMAL.bands["more"] = BANDS[0]  # type: ignore[index]
