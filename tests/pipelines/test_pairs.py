"""Pairs files, and the two protocols by which sharpened maps are set beside ASTER."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import thermal_pairs

from models.sharpening import bicubic, shifted, tsharp
from pipelines.pairs import Pair, PairsError, problems, read_pairs
from pipelines.sharpen_protocol import (
    Frame,
    Inputs,
    Protocol,
    averages,
    evaluate,
    inputs_of,
    registered,
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    path = thermal_pairs.write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.nc")
    return read_pairs(path)[0]


def test_a_pair_is_read_with_its_geometry(pair: Pair) -> None:
    assert pair.id == 7 and pair.location == 3
    assert pair.offset == thermal_pairs.OFFSET
    assert pair.lst.shape == (64, 64) and pair.ndvi.shape == (256, 256)
    assert pair.aster.shape == (thermal_pairs.ROWS, thermal_pairs.COLUMNS)


def test_registration_puts_ndvi_on_the_lst_grid(pair: Pair) -> None:
    row, column = thermal_pairs.corner()
    expected = 0.5 - (thermal_pairs.fine_map(row, column) - 300) / 20
    np.testing.assert_allclose(pair.registered_ndvi()[3:, 2:], expected[3:, 2:])
    first, second = (inputs_of(pair, protocol) for protocol in Protocol)
    assert first.offset == thermal_pairs.OFFSET and second.offset == (0, 0)
    np.testing.assert_array_equal(first.ndvi, pair.ndvi)
    np.testing.assert_array_equal(second.ndvi, pair.registered_ndvi())


def test_the_registered_protocol_finds_every_pixel(pair: Pair) -> None:
    """What is left of a perfect map is the half pixel by which the two readings differ."""
    frame = Frame.of(pair, Protocol.REGISTERED)

    def error(image: np.ndarray) -> float:
        return float(np.sqrt(np.mean((frame.image(image) - frame.truth()) ** 2)))

    perfect = thermal_pairs.fine_map(*thermal_pairs.corner())
    assert error(perfect) < 0.4
    for axis in (0, 1):
        for step in (-1, 1):
            assert error(np.roll(perfect, step, axis)) > error(perfect) + 0.1


def test_the_papers_protocol_gives_the_map_the_place_of_the_ndvi(pair: Pair) -> None:
    row, column = thermal_pairs.corner()
    offset = thermal_pairs.OFFSET
    at_ndvi = thermal_pairs.fine_map(row + offset[0], column + offset[1])
    at_lst = thermal_pairs.fine_map(row, column)
    frame = Frame.of(pair, Protocol.PAPER)
    right, wrong = (
        np.sqrt(np.mean((frame.image(image) - frame.truth()) ** 2)) for image in (at_ndvi, at_lst)
    )
    # ASTER's displacement is left in; the misregistration of the inputs adds to it.
    assert right + 0.5 < wrong


def test_a_registered_method_keeps_to_the_grid_of_the_protocol(pair: Pair) -> None:
    method = registered(lambda inputs: tsharp(inputs.lst, inputs.ndvi))
    made = {p: method(inputs_of(pair, p)) for p in Protocol}
    back = shifted(made[Protocol.PAPER], pair.offset)
    np.testing.assert_allclose(back[8:-8, 8:-8], made[Protocol.REGISTERED][8:-8, 8:-8])


def test_evaluation_scores_every_method_of_every_pair(pair: Pair) -> None:
    dropped = replace(pair, id=8, paper_crop=None)
    methods = {
        "bicubic": lambda inputs: bicubic(inputs.lst),
        "tsharp": lambda inputs: tsharp(inputs.lst, inputs.ndvi),
    }
    found = list(evaluate([pair, dropped], methods, Protocol.PAPER))
    assert [(score.pair, score.method) for score in found] == [(7, "bicubic"), (7, "tsharp")]
    assert len(list(evaluate([pair, dropped], methods, Protocol.REGISTERED))) == 4
    table = averages(list(evaluate([pair], methods, Protocol.REGISTERED)))
    assert table["tsharp"]["rmse"] < table["bicubic"]["rmse"]
    assert table["tsharp"]["ssim"] > table["bicubic"]["ssim"]
    assert table["bicubic"]["rmse_att"] > table["tsharp"]["rmse_att"]
    row = found[0].to_dict()
    assert row["pair"] == 7 and row["protocol"] == "paper" and "metrics" not in row
    assert json.loads(json.dumps(row)) == row


def test_a_pair_that_a_protocol_drops_has_no_rectangle(pair: Pair) -> None:
    frame = Frame.of(replace(pair, paper_crop=None), Protocol.PAPER)
    with pytest.raises(ValueError, match="pair 7"):
        frame.truth()


def test_the_studies_checks(pair: Pair) -> None:
    found = list(problems(pair))
    assert found == ["NDVI starts 3 rows and 2 columns off the LST"]
    aligned = replace(pair, centre_ndvi=(4 * pair.centre_lst[0], 4 * pair.centre_lst[1]))
    assert not list(problems(aligned))
    ndvi = aligned.ndvi.copy()
    ndvi[0, 0], ndvi[0, 1] = 1.5, np.nan
    bad = replace(aligned, ndvi=ndvi, lst=aligned.lst - 60)
    text = "; ".join(problems(bad))
    assert "1 NDVI pixels lie outside" in text and "1 NDVI pixels are missing" in text
    assert "between 260 and 320 K" in text
    assert "for an LST of" in next(problems(replace(aligned, ndvi=ndvi[:128])))


def test_what_is_no_pairs_file_is_refused(tmp_path: Path) -> None:
    import xarray as xr

    with pytest.raises(PairsError, match="no pairs file at"):
        read_pairs(tmp_path / "absent.nc")
    other = tmp_path / "other.nc"
    xr.Dataset({"ndvi": ("x", [1.0])}).to_netcdf(other, engine="h5netcdf")
    with pytest.raises(PairsError, match="modis_lst") as caught:
        read_pairs(other)
    assert caught.value.kind == "pairs"
    with pytest.raises(PairsError, match="no pair 8"):
        read_pairs(thermal_pairs.write_pairs(tmp_path / "pairs.nc"), ids=[8])


def test_shifting_repeats_the_border() -> None:
    image = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(shifted(image, (1, 0))[:2], image[[0, 0]])
    np.testing.assert_array_equal(shifted(image, (0, -1))[:, 2:], image[:, [3, 3]])


def test_methods_see_the_inputs_by_name(pair: Pair) -> None:
    given = inputs_of(pair, Protocol.PAPER)
    assert isinstance(given, Inputs) and given.lst is pair.lst
