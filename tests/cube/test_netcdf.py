"""The NetCDF source: scenes and labels that already lie in a cube."""

from __future__ import annotations

import tomllib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pydantic import TypeAdapter, ValidationError

from cube.bands import SAR, THERMAL
from cube.errors import GranuleError, LabelError, SourceError
from cube.quality import BAD, Flag, is_valid
from cube.scene import Granule, Reading
from cube.sources import AnySource
from cube.sources.base import Period
from cube.sources.gridded import onto
from cube.sources.netcdf import NetcdfSource, netcdf_labels

EVER = Period(datetime(2000, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
CRS = "EPSG:32630"
LEFT, TOP, STEP = 396_880.0, 4_299_300.0, 70.0
ERR_EMIS = THERMAL.require(("lst_err", "emissivity"))
LST_EMIS = THERMAL.require(("lst", "emissivity"))
PLACE = {"crs": CRS, "upper_left": [LEFT, TOP], "pixel_size": STEP}


def box(height: int, width: int, left: float = LEFT, top: float = TOP, crs: str = CRS) -> GeoBox:
    return GeoBox((height, width), Affine(STEP, 0, left, 0, -STEP, top), crs)


def lst(shape: tuple[int, int, int] = (3, 7, 5)) -> np.ndarray:
    """A field without symmetry, so that a swapped axis shows."""
    time, y, x = np.meshgrid(*map(np.arange, shape), indexing="ij")
    return 290.0 + time + 0.3 * y + 0.07 * x**2


def cube(order: tuple[str, ...] = ("time", "band", "y", "x")) -> xr.Dataset:
    values = lst()
    stack = np.stack([values, 0.9 + values * 1e-4], axis=1)
    image = xr.DataArray(
        stack, dims=("time", "band", "y", "x"), coords={"band": ["LST", "Emis"]}, name="image"
    )
    times = np.array(["2024-06-01T10:00", "2024-06-02T22:30", "2024-07-01T01:00"], "M8[ns]")
    return image.transpose(*order).to_dataset().assign_coords(time=times)


def source(path: Path, **extra: Any) -> NetcdfSource:
    table = {
        "kind": "netcdf",
        "name": "cube",
        "path": path,
        "platform": "ECOSTRESS",
        "variable": "image",
        "bands": {"lst": "LST", "emissivity": "Emis"},
        "placement": PLACE,
    }
    return NetcdfSource.model_validate(table | extra)


def read(origin: NetcdfSource, grid: GeoBox, index: int = 0, bands: Any = LST_EMIS) -> Reading:
    return origin.read(origin.search(grid, EVER)[index], grid, bands)


def assert_invariant(reading: Reading) -> None:
    finite = np.isfinite(reading.imagery).all(axis=0)
    np.testing.assert_array_equal(finite, is_valid(reading.qc))
    assert np.isnan(reading.imagery[:, (reading.qc & np.uint8(BAD)) != 0]).all()


# --- the study's own cube -------------------------------------------------------------------

STUDY = """
[[sources]]
kind = "netcdf"
name = "study"
path = "thesis_puertollano.nc"
platform = "ECOSTRESS"
variable = "thermal"
bands = { lst_err = "LST_err", emissivity = "EmisWB" }
time = "datetime_utc"

[sources.placement]
crs = "est_crs"
upper_left = ["est_upper_left_x", "est_upper_left_y"]
pixel_size = "pixel_size_m"

[sources.flags]
variable = "valid_flag"
values = { 1 = "poor_quality", 2 = "missing", 3 = "missing" }
"""


@pytest.fixture
def study(shared_data: Path) -> NetcdfSource:
    (parsed,) = TypeAdapter(list[AnySource]).validate_python(tomllib.loads(STUDY)["sources"])
    assert isinstance(parsed, NetcdfSource)
    parsed.bind(shared_data)
    return parsed


def test_every_dated_step_of_the_study_is_a_granule(study: NetcdfSource) -> None:
    granules = study.search(box(256, 384), EVER)

    assert len(granules) == 103
    undated = [granule for granule in granules if granule.time is None]
    assert [granule.id for granule in undated] == [
        "thesis_puertollano:0018",
        "thesis_puertollano:0026",
        "thesis_puertollano:0029",
    ]
    assert all("no acquisition time" in granule.defect for granule in undated)
    assert granules[0].id == "thesis_puertollano:0000:20190211T105942"
    assert granules[0].time == datetime(2019, 2, 11, 10, 59, 42, tzinfo=UTC)
    assert len({granule.key for granule in granules}) == 103
    year = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))
    dated = [granule for granule in study.search(box(256, 384), year) if granule.time]
    assert 0 < len(dated) < 100
    assert all(granule.time in year for granule in dated if granule.time)


def test_pixels_of_the_study_are_taken_over_as_they_are(study: NetcdfSource) -> None:
    grid = box(256, 384)
    granules = study.search(grid, EVER)
    with xr.open_dataset(study.location, engine="h5netcdf") as file:
        for index in (0, 41, 102):
            reading = study.read(granules[index], grid, ERR_EMIS)
            flag = file["valid_flag"][index].values
            valid = flag == 0
            np.testing.assert_array_equal(is_valid(reading.qc), valid)
            np.testing.assert_array_equal(reading.product_qc, flag)
            for band, name in enumerate(("LST_err", "EmisWB")):
                expected = file["thermal"][index].sel(band=name).values.astype(np.float32)
                np.testing.assert_array_equal(reading.imagery[band][valid], expected[valid])
            assert ((reading.qc[flag == 1] & Flag.POOR_QUALITY) != 0).all()
            assert_invariant(reading)


def test_uncertainty_taken_for_temperature_is_refused(study: NetcdfSource) -> None:
    """Defect 1: the study read LST_err, 0.5-2 K, as LST."""
    wrong = study.model_copy(update={"bands": {"lst": "LST_err", "emissivity": "EmisWB"}})
    granule = study.search(box(256, 384), EVER)[0]

    with pytest.raises(GranuleError, match="'lst' lie outside 170 to 380 K") as caught:
        wrong.read(granule, box(256, 384), LST_EMIS)
    assert caught.value.kind == "wrong_layer"


def test_labels_of_the_study_lie_where_its_attributes_say(shared_data: Path) -> None:
    file = shared_data / "thesis_puertollano.nc"
    with xr.open_dataset(file, engine="h5netcdf") as dataset:
        expected = dataset["labels"].fillna(0).values.astype(np.uint8)

    labels = netcdf_labels(file, "labels", box(256, 384))
    shifted = netcdf_labels(file, "labels", box(30, 40, LEFT + 20 * STEP, TOP - 10 * STEP))

    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(shifted, expected[10:40, 20:60])


def test_labels_of_another_zone_are_moved_by_georeference(shared_data: Path) -> None:
    """Defect 4: labels on the 29N grid were read by pixel index for images on the 30N grid."""
    file = shared_data / "thesis_santa.nc"
    grid = box(281, 426, 200_000, 4_211_730)
    with xr.open_dataset(file, engine="h5netcdf") as dataset:
        by_index = dataset["labels"].fillna(0).values
        warped = dataset["labels_30STH"].fillna(0).values

    labels = netcdf_labels(file, "labels", grid)

    seen = (labels > 0) & (warped > 0)
    assert seen.mean() > 0.4
    assert (labels == warped)[seen].mean() > 0.98
    assert (labels == by_index)[seen].mean() < 0.6


# --- dimensions by name ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "order",
    [("time", "band", "y", "x"), ("time", "y", "x", "band"), ("band", "x", "y", "time")],
)
def test_order_of_dimensions_does_not_matter(tmp_path: Path, order: tuple[str, ...]) -> None:
    """Defect 2: band-last files were read as band-first and reshaped."""
    cube(order).to_netcdf(tmp_path / "cube.nc", engine="h5netcdf")

    reading = read(source(tmp_path / "cube.nc"), box(7, 5), 1)

    np.testing.assert_allclose(reading.imagery[0], lst()[1], rtol=1e-6)
    np.testing.assert_allclose(reading.imagery[1], 0.9 + lst()[1] * 1e-4, rtol=1e-6)
    assert (reading.qc == Flag.UNSCREENED).all()


def test_bands_in_variables_of_their_own_with_other_dimension_names(tmp_path: Path) -> None:
    values = cube()["image"]
    names = {"time": "t", "y": "row", "x": "col"}
    file = xr.Dataset(
        {
            "temperature": values.sel(band="LST", drop=True).transpose("y", "x", "time"),
            "emis": values.sel(band="Emis", drop=True),
        }
    ).rename(names)
    file.to_netcdf(tmp_path / "cube.nc", engine="h5netcdf")
    origin = source(
        tmp_path / "cube.nc",
        variable=None,
        bands={"lst": "temperature", "emissivity": "emis"},
        dims={"time": "t", "y": "row", "x": "col"},
    )

    backwards = read(origin, box(7, 5), 2, LST_EMIS[::-1])

    np.testing.assert_allclose(backwards.imagery[1], lst()[2], rtol=1e-6)


def test_netcdf3_reads_the_same(tmp_path: Path) -> None:
    cube().to_netcdf(tmp_path / "cube.nc", engine="scipy")

    reading = read(source(tmp_path / "cube.nc"), box(7, 5))

    np.testing.assert_allclose(reading.imagery[0], lst()[0], rtol=1e-6)


# --- grids ----------------------------------------------------------------------------------


@pytest.mark.parametrize("descending", [True, False])
def test_cf_coordinates_say_where_the_pixels_lie(tmp_path: Path, descending: bool) -> None:
    from odc.geo.xr import xr_coords

    file = cube()
    file = file.assign_coords(xr_coords(box(7, 5)))
    file["image"].attrs["grid_mapping"] = "spatial_ref"
    if not descending:
        file = file.isel(y=slice(None, None, -1))
    file.to_netcdf(tmp_path / "cube.nc", engine="h5netcdf")

    reading = read(source(tmp_path / "cube.nc", placement=None), box(7, 5))

    np.testing.assert_allclose(reading.imagery[0], lst()[0], rtol=1e-6)


def test_irregular_coordinates_are_refused(tmp_path: Path) -> None:
    from odc.geo.xr import xr_coords

    file = cube().assign_coords(xr_coords(box(7, 5)))
    file["image"].attrs["grid_mapping"] = "spatial_ref"
    file.isel(y=[0, 1, 2, 4, 6]).to_netcdf(tmp_path / "cube.nc", engine="h5netcdf")

    with pytest.raises(SourceError, match="'y' is no regular grid"):
        source(tmp_path / "cube.nc", placement=None).search(box(7, 5), EVER)


def test_images_of_several_grids_are_told_apart_by_a_variable(tmp_path: Path) -> None:
    """Defect 4: each grid is a source with a place of its own."""
    file = cube()
    file["grid_id"] = "time", np.array([0, 1, 0])
    file.to_netcdf(tmp_path / "cube.nc", engine="h5netcdf")
    first = source(tmp_path / "cube.nc", where={"grid_id": 0})
    there = PLACE | {"upper_left": [LEFT + 3 * STEP, TOP]}
    second = source(tmp_path / "cube.nc", where={"grid_id": 1}, placement=there)

    assert [step.extra["index"] for step in first.search(box(7, 5), EVER)] == [0, 2]
    assert [step.extra["index"] for step in second.search(box(7, 5), EVER)] == [1]
    reading = read(second, box(7, 5))
    np.testing.assert_allclose(reading.imagery[0, :, 3:], lst()[1][:, :2], rtol=1e-6)
    assert np.isnan(reading.imagery[:, :, :3]).all()
    with pytest.raises(SourceError, match="has no variable 'zone'"):
        source(tmp_path / "cube.nc", where={"zone": 0}).search(box(7, 5), EVER)


def test_part_of_another_alignment_is_interpolated(tmp_path: Path) -> None:
    cube().to_netcdf(tmp_path / "cube.nc", engine="h5netcdf")
    half = box(4, 3, LEFT + 1.5 * STEP, TOP - STEP)

    reading = read(source(tmp_path / "cube.nc"), half)

    between = (lst()[0][1:5, 1:4] + lst()[0][1:5, 2:5]) / 2
    np.testing.assert_allclose(reading.imagery[0], between, atol=1e-3)


def test_grid_that_reaches_beyond_the_file_is_missing_there(tmp_path: Path) -> None:
    cube().to_netcdf(tmp_path / "cube.nc", engine="h5netcdf")

    reading = read(source(tmp_path / "cube.nc"), box(9, 6, LEFT - STEP, TOP + STEP))

    np.testing.assert_allclose(reading.imagery[0, 1:8, 1:], lst()[0], rtol=1e-6)
    assert ((reading.qc & Flag.MISSING) != 0).sum() == 54 - 35
    assert_invariant(reading)


@given(
    row=st.integers(-12, 12),
    column=st.integers(-12, 12),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
)
def test_coinciding_pixels_are_pasted(row: int, column: int, height: int, width: int) -> None:
    values = np.arange(35, dtype=np.float32).reshape(7, 5)
    grid = box(height, width, LEFT + column * STEP, TOP - row * STEP)

    moved = onto(values, box(7, 5), grid, "bilinear", np.nan)

    frame = np.full((40, 40), np.nan, np.float32)
    frame[15:22, 15:20] = values
    expected = frame[15 + row : 15 + row + height, 15 + column : 15 + column + width]
    np.testing.assert_array_equal(moved, expected)


def test_backscatter_in_decibels_is_averaged_as_power(tmp_path: Path) -> None:
    power = np.random.default_rng(5).exponential(0.1, (1, 6, 6)) + 1e-4
    times = np.array(["2024-06-01"], "M8[ns]")
    file = xr.Dataset({"g0": (("time", "y", "x"), 10 * np.log10(power))}, {"time": times})
    file.to_netcdf(tmp_path / "sar.nc", engine="h5netcdf")
    origin = source(
        tmp_path / "sar.nc",
        modality="sar",
        variable=None,
        bands={"vv": "g0"},
        placement=PLACE | {"pixel_size": STEP / 2},
    )

    reading = read(origin, box(3, 3), bands=SAR.require(("vv",)))

    mean = power[0].reshape(3, 2, 3, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(reading.imagery[0], 10 * np.log10(mean), atol=1e-4)


# --- quality --------------------------------------------------------------------------------


def flagged(path: Path, word: np.ndarray, **extra: Any) -> NetcdfSource:
    file = cube()
    file["quality"] = ("time", "y", "x"), word
    file.to_netcdf(path, engine="h5netcdf")
    table = {"variable": "quality", "values": {1: "cloud", 2: "missing", 3: "water"}}
    return source(path, flags=table, **extra)


def test_flags_mask_and_water_informs(tmp_path: Path) -> None:
    word = np.zeros((3, 7, 5), np.uint8)
    word[0, 2, 1], word[0, 3, 1], word[0, 4, 1] = 1, 2, 3

    reading = read(flagged(tmp_path / "cube.nc", word), box(7, 5))

    assert reading.qc[2:5, 1].tolist() == [Flag.CLOUD, Flag.MISSING, Flag.WATER]
    assert reading.product_qc[2:5, 1].tolist() == [1, 2, 3]
    assert np.isfinite(reading.imagery[:, 4, 1]).all()
    assert is_valid(reading.qc).sum() == 33
    assert_invariant(reading)


def test_flagged_values_do_not_leak_into_their_neighbours(tmp_path: Path) -> None:
    word = np.zeros((3, 7, 5), np.uint8)
    word[0, 2, 2] = 1
    origin = flagged(tmp_path / "cube.nc", word)
    path = tmp_path / "cube.nc"
    file = xr.load_dataset(path, engine="h5netcdf")
    file["image"][0, 0, 2, 2] = 371.0  # in range, and nonsense
    file.to_netcdf(path, engine="h5netcdf")

    reading = read(origin, box(5, 4, LEFT + 0.4 * STEP, TOP - 0.4 * STEP))

    assert np.nanmax(reading.imagery[0]) < lst()[0].max()
    assert (reading.qc & Flag.CLOUD).any()
    assert_invariant(reading)


def test_value_that_the_settings_do_not_explain_is_refused(tmp_path: Path) -> None:
    word = np.zeros((3, 7, 5), np.uint8)
    word[0, 0, 0] = 7

    with pytest.raises(GranuleError, match="quality holds 7") as caught:
        read(flagged(tmp_path / "cube.nc", word), box(7, 5))
    assert caught.value.kind == "bad_quality_word"


def test_interpolated_flags_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GranuleError, match="fractions"):
        read(flagged(tmp_path / "cube.nc", np.full((3, 7, 5), 0.5)), box(7, 5))


def test_missing_values_and_values_out_of_range(tmp_path: Path) -> None:
    file = cube()
    file["image"][0, 0, 1, 1] = np.nan
    file["image"][0, 1, 2, 2] = 0.0
    file.to_netcdf(tmp_path / "cube.nc", engine="h5netcdf")

    reading = read(source(tmp_path / "cube.nc"), box(7, 5))

    assert reading.qc[1, 1] == Flag.MISSING | Flag.UNSCREENED
    assert reading.qc[2, 2] == Flag.OUT_OF_RANGE | Flag.UNSCREENED
    assert is_valid(reading.qc).sum() == 33
    assert_invariant(reading)


# --- what the user gets wrong ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"variable": "imagery"}, "no variable 'imagery'"),
        ({"bands": {"lst": "LST_K"}}, "no 'LST_K' on 'band', only"),
        ({"dims": {"y": "lat"}}, "set `dims`"),
        ({"time": "band"}, "set `dims`"),
        ({"placement": None}, "`placement` table"),
        ({"placement": PLACE | {"crs": "est_crs"}}, "neither a CRS nor a global attribute"),
        ({"placement": PLACE | {"pixel_size": "pixel_size_m"}}, "no global attribute"),
        ({"flags": {"variable": "qc", "values": {}}}, "no variable 'qc'"),
    ],
)
def test_settings_that_do_not_fit_the_file_are_named(
    tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    cube().to_netcdf(tmp_path / "cube.nc", engine="h5netcdf")

    with pytest.raises(SourceError, match=message):
        source(tmp_path / "cube.nc", **wrong).search(box(7, 5), EVER)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bands": {"ndvi": "LST"}}, "no band 'ndvi'"),
        ({"flags": {"variable": "qc", "values": {1: "clouds"}}}, "no quality flag"),
        ({"varaible": "image"}, "extra_forbidden"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        source(Path("cube.nc"), **wrong)


def test_band_that_the_source_does_not_map_is_named(tmp_path: Path) -> None:
    cube().to_netcdf(tmp_path / "cube.nc", engine="h5netcdf")

    with pytest.raises(GranuleError, match="'lst_err'") as caught:
        read(source(tmp_path / "cube.nc"), box(7, 5), bands=ERR_EMIS)
    assert caught.value.kind == "missing_layer"


@pytest.mark.parametrize("content", [b"", b"<html>log in</html>", b"\x89HDF\r\n\x1a\n cut short"])
def test_file_that_is_no_netcdf(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.nc").write_bytes(content)
    with pytest.raises(SourceError, match=r"bad\.nc cannot be opened as NetCDF"):
        source(tmp_path / "bad.nc").search(box(7, 5), EVER)

    cube().to_netcdf(tmp_path / "good.nc", engine="h5netcdf")
    granules = source(tmp_path).search(box(7, 5), EVER)
    assert [granule.defect == "" for granule in granules] == [False, True, True, True]
    assert granules[0].id == "bad"


def test_nothing_there_is_an_error_and_not_an_empty_list(tmp_path: Path) -> None:
    for path in (tmp_path / "cube.nc", tmp_path):
        with pytest.raises(SourceError, match="no NetCDF file"):
            source(path).search(box(7, 5), EVER)


def test_threads_read_the_same_file_at_once(tmp_path: Path) -> None:
    cube().to_netcdf(tmp_path / "cube.nc", engine="h5netcdf")
    origin = source(tmp_path / "cube.nc")
    steps = origin.search(box(7, 5), EVER) * 8

    def one(step: Granule) -> Reading:
        return origin.read(step, box(7, 5), LST_EMIS)

    with ThreadPoolExecutor(4) as pool:
        readings = list(pool.map(one, steps))

    for step, reading in zip(steps, readings, strict=True):
        np.testing.assert_allclose(reading.imagery[0], lst()[step.extra["index"]], rtol=1e-6)


# --- labels ---------------------------------------------------------------------------------


def label_file(path: Path, values: np.ndarray) -> Path:
    attrs = {
        "est_crs": CRS,
        "est_upper_left_x": LEFT,
        "est_upper_left_y": TOP,
        "pixel_size_m": STEP,
    }
    xr.Dataset({"labels": (("x", "y"), values.T)}, attrs=attrs).to_netcdf(path, engine="h5netcdf")
    return path


def test_labels_are_classes_by_name_of_dimension(tmp_path: Path) -> None:
    values = np.arange(35, dtype=np.float32).reshape(7, 5) % 14
    values[0, 0] = np.nan
    file = label_file(tmp_path / "labels.nc", values)

    labels = netcdf_labels(file, "labels", box(8, 5))

    np.testing.assert_array_equal(labels[:7], np.nan_to_num(values))
    assert (labels[7] == 0).all()


@pytest.mark.parametrize(("value", "shown"), [(14, "14"), (-1, "-1"), (7.5, "7.5")])
def test_labels_that_are_no_classes_are_refused(tmp_path: Path, value: float, shown: str) -> None:
    values = np.zeros((7, 5), np.float32)
    values[3, 3] = value

    with pytest.raises(LabelError, match=f"holds {shown} "):
        netcdf_labels(label_file(tmp_path / "labels.nc", values), "labels", box(7, 5))


def test_labels_that_are_not_there_are_named(tmp_path: Path) -> None:
    file = label_file(tmp_path / "labels.nc", np.zeros((7, 5), np.float32))
    with pytest.raises(LabelError, match="no variable 'geology', only labels"):
        netcdf_labels(file, "geology", box(7, 5))
    with pytest.raises(LabelError, match="cannot be opened"):
        netcdf_labels(tmp_path / "nowhere.nc", "labels", box(7, 5))
    cube().to_netcdf(tmp_path / "cube.nc", engine="h5netcdf")
    with pytest.raises(LabelError, match="a label map lies on y and x"):
        netcdf_labels(tmp_path / "cube.nc", "image", box(7, 5))
