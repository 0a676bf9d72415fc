"""MODIS file names, the sinusoidal grid and the quality words: all that needs no file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import example, given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from cube.errors import GranuleError
from cube.quality import Flag, is_valid
from cube.sources.modis_grid import RADIUS, place, sinusoidal, tile_box, tiles_of
from cube.sources.modis_names import parse, solar_to_utc
from cube.sources.modis_qc import MOD11A1, MOD21A1, Field, Rules, modis_flags
from modis_files import GRID, H17, crop, metadata

# --- names and times --------------------------------------------------------------------------


def test_a_name_says_product_date_tile_and_delivery() -> None:
    file = parse("MYD11A1.A2020366.h18v04.061.2021002031502.hdf")

    assert (file.product, file.platform, file.tile) == ("MYD11A1", "Aqua", "h18v04")
    assert file.date == datetime(2020, 12, 31, tzinfo=UTC)
    assert file.key == "MYD11A1.A2020366.h18v04"
    assert file.version == "061.2021002031502"
    assert parse(f"{H17}_LST_Day_1km.tif").layer == "LST_Day_1km"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("MOD11A1.hdf", "name is not"),
        ("MOD11A1.A2020123.h17v05.005.2021008155123.hdf", "collection 005"),
        ("MOD11A1.A2020400.h17v05.061.2021008155123.hdf", "day of year"),
        ("MOD11A1.A2020123.h36v05.061.2021008155123.hdf", "no tile h36v05"),
        ("MOD11A2.A2020123.h17v05.061.2021008155123.hdf", "name is not"),
    ],
)
def test_other_names_are_refused_with_the_reason(name: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse(name)


@given(hours=st.floats(0, 24), longitude=st.floats(-180, 180))
@example(hours=0.0, longitude=1e-9)
def test_utc_lies_on_the_files_date_and_gives_back_the_solar_time(
    hours: float, longitude: float
) -> None:
    date = datetime(2020, 5, 2, tzinfo=UTC)
    time = solar_to_utc(date, hours, longitude)

    assert date <= time < date + timedelta(days=1)
    back = ((time - date) / timedelta(hours=1) + longitude / 15) % 24
    assert min(abs(back - hours % 24), 24 - abs(back - hours % 24)) < 1e-6


# --- the grid ---------------------------------------------------------------------------------


def test_tile_corners_are_those_of_the_product() -> None:
    # StructMetadata.0 of the real MOD11A1.A2019305.h14v09.
    edges = tile_box(14, 9, 1200).boundingbox

    np.testing.assert_allclose(
        (edges.left, edges.top, edges.right, edges.bottom),
        (-4447802.079066, 0.0, -3335851.559300, -1111950.519767),
        atol=1e-3,
    )


def test_pixels_lie_where_the_sinusoidal_projection_puts_them() -> None:
    box = tile_box(18, 4, 1200)
    to_degrees = Transformer.from_crs(sinusoidal().to_wkt(), "EPSG:4326", always_xy=True)

    for row, column in ((0, 0), (600, 31), (1199, 1199)):
        x = box.affine.c + (column + 0.5) * box.affine.a
        y = box.affine.f + (row + 0.5) * box.affine.e
        latitude = np.degrees(y / RADIUS)
        longitude = np.degrees(x / (RADIUS * np.cos(y / RADIUS)))
        np.testing.assert_allclose(to_degrees.transform(x, y), (longitude, latitude), atol=1e-9)


def test_a_region_touches_the_tiles_it_lies_in() -> None:
    assert tiles_of(GRID) == {(17, 5)}
    astride = GeoBox((40, 200), Affine(1000, 0, 100_000, 0, -1000, 5_100_000), "EPSG:32631")
    assert tiles_of(astride) == {(17, 4), (18, 4)}


def test_real_geotiffs_lie_on_the_same_lattice(shared_data: Path) -> None:
    crops = shared_data / "granules/modis/stactools_tif_crops"
    path = crops / "MOD11A1.A2022103.h09v05.006.2022104093154_CDC_B11_cropped.TIF"
    with rasterio.open(path) as file:
        x, y = file.transform.c, file.transform.f
    box = tile_box(9, 5, 1200)
    column, row = (x - box.affine.c) / box.affine.a, (y - box.affine.f) / box.affine.e

    assert abs(column - round(column)) < 1e-4
    assert abs(row - round(row)) < 1e-4
    assert 0 <= column < 1200
    assert 0 <= row < 1200


def test_a_whole_tile_without_metadata_is_placed_by_its_name_alone() -> None:
    assert place("", "QC", (1200, 1200), (17, 5), 1200, "here") == tile_box(17, 5, 1200)
    with pytest.raises(GranuleError, match="no whole tile"):
        place("", "QC", (100, 130), (17, 5), 1200, "here")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"UpperLeftPointMtrs": "(0.000000,4447802.078667)"}, "renamed, or resampled"),
        ({"LowerRightMtrs": "(-120000.0,4000000.0)"}, "renamed, or resampled"),
        ({"Projection": "GCTP_GEO"}, "GCTP_GEO, not the sinusoidal"),
        ({"ProjParams": "(6378137.000000,0,0)"}, "radius is 6378137"),
        ({"XDim": "7"}, r"StructMetadata.0 says \(100, 7\)"),
        ({"GridOrigin": "HDFE_GD_LL"}, "HDFE_GD_LL"),
    ],
)
def test_a_file_that_lies_elsewhere_than_its_name_says_is_refused(
    changes: dict[str, str], problem: str
) -> None:
    box = crop()
    text = metadata(["QC_Day"], box, **changes)

    with pytest.raises(GranuleError, match=problem):
        place(text, "QC_Day", (100, 130), (17, 5), 1200, "here")


def test_the_crop_of_a_tile_is_placed_by_its_metadata() -> None:
    box = crop()
    found = place(metadata(["QC_Day"], box), "QC_Day", (100, 130), (17, 5), 1200, "here")

    np.testing.assert_allclose(tuple(found.affine), tuple(box.affine), atol=1e-5)
    with pytest.raises(GranuleError, match="h18v05 of its name lies at x"):
        place(metadata(["QC_Day"], box), "QC_Day", (100, 130), (18, 5), 1200, "here")


# --- quality words ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "word", "expected"),
    [
        ("11A1", 0b00000000, Flag(0)),
        ("11A1", 0b00000010, Flag.CLOUD),
        ("11A1", 0b00000011, Flag.MISSING),  # sea, a gap between swaths, no input
        ("11A1", 0b10010101, Flag(0)),  # emissivity error <= 0.02, LST error <= 3 K
        ("21A1", 0b1100000000000001, Flag(0)),  # unreliable: what bare rock looks like
        ("21A1", 0b0000000000110001, Flag.CLOUD),
        ("21A1", 0b0000000000010000, Flag.CLOUD),  # thin cirrus
        ("21A1", 0b0000000000100001, Flag.POOR_QUALITY),  # near a cloud
        ("21A1", 0b0000000000000010, Flag.CLOUD),
        ("21A1", 0b0000000000000011, Flag.MISSING),
        ("21A1", 0b0000000000001111, Flag.MISSING | Flag.POOR_QUALITY),
        ("09GQ", 0b0011000000000000, Flag(0)),
        ("09GQ", 0b0011000001110001, Flag.POOR_QUALITY),  # noisy detector in band 1
        ("09GQ", 0b0011110000000001, Flag.POOR_QUALITY),  # constant for climatology in band 2
        ("09GQ", 0b0000111111110010, Flag.CLOUD),  # not processed, for a cloud
        ("09GQ", 0b0000101110110010, Flag.CLOUD),  # a cloud was seen: not missing
        ("09GQ", 2995, Flag.MISSING),  # the layer's fill
    ],
)
def test_quality_words_become_the_cubes_flags(name: str, word: int, expected: Flag) -> None:
    assert Flag(int(modis_flags(np.array([word]), name, Rules(), "x")[0])) == expected


@pytest.mark.parametrize(("name", "fields"), [("11A1", MOD11A1), ("21A1", MOD21A1)])
@pytest.mark.parametrize("unproduced", [Flag.POOR_QUALITY, Flag.MISSING])
def test_every_word_decodes_or_raises(
    name: str, fields: tuple[Field, ...], unproduced: Flag
) -> None:
    words = np.arange(2 ** (8 if name == "11A1" else 16))
    defined = np.ones(words.shape, bool)
    for part in fields:
        defined &= np.isin((words >> part.shift) & (2**part.width - 1), list(part.meanings))
    flags = modis_flags(words[defined], name, Rules(unproduced=unproduced), "x")

    produced = words[defined] & 3
    assert ((flags[produced == 2] & np.uint8(Flag.CLOUD)) != 0).all()
    assert not is_valid(flags[produced >= 2]).any()
    other = flags[(produced == 3) & ((flags & np.uint8(Flag.CLOUD)) == 0)]
    assert ((other & np.uint8(unproduced)) != 0).all()
    for word in words[~defined]:
        with pytest.raises(GranuleError, match="data_quality, which is undefined"):
            modis_flags(np.array([0, word]), name, Rules(), "x")


@given(st.integers(0, 2**16 - 1))
def test_reflectance_is_good_only_where_both_bands_are_ideal(word: int) -> None:
    bands = (word >> 4) & 15, (word >> 8) & 15
    if (word >> 2) & 3 or any(1 <= band <= 6 for band in bands):
        with pytest.raises(GranuleError, match="undefined") as caught:
            modis_flags(np.array([word]), "09GQ", Rules(), "x")
        assert caught.value.kind == "bad_quality_word"
        return
    good = is_valid(modis_flags(np.array([word]), "09GQ", Rules(), "x"))[0]
    assert good == (word & 3 in (0, 1) and bands == (0, 0))


@pytest.mark.parametrize(
    ("name", "limit", "kept"),
    [
        ("11A1", 3.0, {0, 1, 2}),
        ("11A1", 2.0, {0, 1}),
        ("11A1", 1.0, {0}),
        ("21A1", 2.0, {1, 2, 3}),
        ("21A1", 1.5, {2, 3}),
        ("21A1", 1.0, {3}),
    ],
)
def test_max_lst_error_refuses_what_the_word_calls_worse(
    name: str, limit: float, kept: set[int]
) -> None:
    shift = 6 if name == "11A1" else 14
    words = np.arange(4) << shift
    good = is_valid(modis_flags(words, name, Rules(max_lst_error=limit), "x"))

    assert set(np.flatnonzero(good).tolist()) == kept


def test_the_settings_widen_what_is_taken() -> None:
    near = np.array([0b100001])
    assert is_valid(modis_flags(near, "21A1", Rules(near_cloud=True), "x"))[0]
    constant = np.array([0b110011000001])
    rules = Rules(band_quality=frozenset({0, 12}))
    assert is_valid(modis_flags(constant, "09GQ", rules, "x"))[0]


def test_words_outside_the_products_bits_are_refused() -> None:
    with pytest.raises(GranuleError, match="outside the 8 bits"):
        modis_flags(np.array([256]), "11A1", Rules(), "x")
