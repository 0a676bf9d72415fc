from __future__ import annotations

import json
from datetime import datetime

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from cube.errors import GridError, SelectionError
from cube.grid import grid_of, require_same
from cube.quality import BAD, Flag
from cube.select import align, on_dates_of, select
from cube.sun import centre, local_solar_time, sun_elevation

GRID = GeoBox((4, 5), Affine(70, 0, 400_000, 0, -70, 3_770_000), "EPSG:32611")  # Los Angeles


class Untouchable(Exception):
    pass


def _explode(*_: object) -> np.ndarray:
    raise Untouchable


def scenes(times, bands=("lst", "emissivity"), grid=GRID, pixels=None, qc=None, **coords):
    """A modality; without `pixels`, computing any of its pixels raises."""
    times = np.array(times, "datetime64[ns]")
    count, shape = len(times), (len(times), len(bands), *grid.shape)
    if pixels is None:
        chunks = ((1,) * count, *((size,) for size in shape[1:]))
        pixels = da.map_blocks(_explode, chunks=chunks, dtype="f4", meta=np.empty((0,) * 4, "f4"))
        qc = da.map_blocks(
            _explode, chunks=(chunks[0], *chunks[2:]), dtype="u1", meta=np.empty((0,) * 3, "u1")
        )
    elif qc is None:
        qc = np.zeros((count, *grid.shape), np.uint8)
    longitude, latitude = centre(grid)
    return xr.Dataset(
        {"imagery": (("time", "band", "y", "x"), pixels), "qc": (("time", "y", "x"), qc)},
        coords={
            **xr_coords(grid),
            "time": times,
            "band": np.array(bands, object),
            "band_units": ("band", np.array(["u"] * len(bands), object)),
            "granules": ("time", np.array([f"g{i}" for i in range(count)], object)),
            "sun_elevation": ("time", sun_elevation(times, longitude, latitude)),
            "local_solar_time": ("time", local_solar_time(times, longitude)),
            **{name: ("time", np.asarray(value, float)) for name, value in coords.items()},
        },
    )


def days(dataset: xr.Dataset) -> list[str]:
    return [str(time)[:10] for time in dataset["time"].values]


YEAR = np.arange("2023-01-01T12", "2024-01-01T12", np.timedelta64(1, "D"), "datetime64[s]")


def test_every_rule_leaves_the_pixels_alone():
    dataset = scenes(
        YEAR,
        cloud_fraction=np.linspace(0, 1, 365),
        bad_fraction=np.linspace(0, 0.5, 365),
        valid_fraction=np.linspace(1, 0.2, 365),
    )
    chosen = select(
        dataset,
        bands=["emissivity"],
        period="2023",
        season="winter",
        time_of_day=(0, 24),
        max_cloud=0.5,
        max_bad=0.4,
        min_valid=0.3,
        mask="water",
    )
    assert 0 < chosen.sizes["time"] < 365
    assert list(chosen["band"].values) == ["emissivity"]
    assert chosen["imagery"].dtype == np.float32
    with pytest.raises(Untouchable):
        chosen["imagery"].compute()


def test_pixels_stay_lazy_without_dask(tmp_path):
    dataset = scenes(YEAR[:3], pixels=np.ones((3, 2, 4, 5), np.float32))
    dataset.to_netcdf(tmp_path / "scenes.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "scenes.nc", engine="h5netcdf") as stored:
        masked = select(stored, bands="lst", mask=["water"])
        assert masked["imagery"].chunks is None and not masked["imagery"].variable._in_memory
        assert float(masked["imagery"].sum()) == 3 * 20


def test_seasons_are_those_of_the_study():
    dataset = scenes(YEAR)
    winter, summer = (days(select(dataset, season=name)) for name in ("winter", "summer"))
    assert (winter[0], winter[-1]) == ("2023-01-01", "2023-12-31")
    assert "2023-03-21" in winter and "2023-03-22" not in winter
    assert "2023-09-22" in winter and "2023-09-21" not in winter
    assert (summer[0], summer[-1]) == ("2023-03-22", "2023-09-21")
    assert sorted(winter + summer) == days(dataset)


def test_seasons_of_one_s_own():
    dataset = scenes(YEAR)
    assert days(select(dataset, season=("12-30", "01-02"))) == [
        "2023-01-01", "2023-01-02", "2023-12-30", "2023-12-31",
    ]  # fmt: skip
    assert days(select(dataset, season=((7, 4), (7, 4)))) == ["2023-07-04"]
    names = ("djf", "MAM", "jja", "son")
    quarters = [day for name in names for day in days(select(dataset, season=name))]
    assert sorted(quarters) == days(dataset)


def test_defect_15_day_and_night_are_not_a_matter_of_the_utc_hour_only():
    # 19:00 UTC is late morning in Los Angeles, 05:00 UTC is evening of the day before.
    dataset = scenes(["2023-06-01T19:00", "2023-06-02T05:00", "2023-06-02T13:20"])
    assert list(select(dataset, time_of_day="day")["granules"].values) == ["g0"]
    assert list(select(dataset, time_of_day="night")["granules"].values) == ["g1", "g2"]
    assert list(select(dataset, time_of_day="day", clock="utc")["granules"].values) == ["g2"]
    # The June sun is up at 5:20 solar time.
    assert list(select(dataset, time_of_day="day", clock="sun")["granules"].values) == ["g0", "g2"]


def test_the_study_s_day_is_0600_to_1759_utc():
    stamps = ["05:59:59", "06:00:00", "17:59:59", "18:00:00"]
    dataset = scenes([f"2023-06-01T{stamp}" for stamp in stamps])
    assert list(select(dataset, time_of_day="day", clock="utc")["granules"].values) == ["g1", "g2"]


hours = st.floats(0, 24)


@given(hours, hours, st.sampled_from(["solar", "utc"]))
@settings(max_examples=50, deadline=None)
def test_hours_and_their_complement_share_out_the_scenes(start, end, clock):
    dataset = scenes(
        np.arange("2023-03-01", "2023-03-03", np.timedelta64(97, "m"), "datetime64[m]")
    )
    first, second = (
        select(dataset, time_of_day=span, clock=clock, allow_empty=True)["granules"].values.tolist()
        for span in ((start, end), (end, start))
    )
    if start == end:
        assert first == second == []
    else:
        assert sorted(first + second) == sorted(dataset["granules"].values.tolist())


def test_period_includes_both_ends_whole():
    dataset = scenes(YEAR)
    assert len(days(select(dataset, period="2023-02"))) == 28
    assert days(select(dataset, period=("2023-02-27", "2023-03-01"))) == [
        "2023-02-27", "2023-02-28", "2023-03-01",
    ]  # fmt: skip
    assert days(select(dataset, period=(None, "2023-01-02T11:59"))) == ["2023-01-01"]
    assert days(select(dataset, period=(datetime(2023, 12, 31, 12), None))) == ["2023-12-31"]
    assert days(select(dataset, period=("2023-12-31T12:00:00Z", None))) == ["2023-12-31"]


def test_a_scene_of_unknown_cloudiness_is_not_taken_for_clear():
    dataset = scenes(YEAR[:3], cloud_fraction=[0.05, np.nan, 0.2])
    assert days(select(dataset, max_cloud=0.1)) == ["2023-01-01"]


def test_the_selection_says_what_was_left_out_and_why():
    dataset = scenes(YEAR, cloud_fraction=np.arange(365) % 2)
    chosen = select(dataset, season="summer", max_cloud=0.1)
    record = json.loads(chosen.attrs["selection"])
    assert record["scenes"] == 365
    assert record["left_out"] == {"season": 181, "max_cloud": 92}
    assert record["kept"] == chosen.sizes["time"] == 365 - 181 - 92
    assert record["asked"] == {"season": "summer", "max_cloud": 0.1}
    assert "selection" not in dataset.attrs


def test_an_empty_selection_names_the_rule_that_emptied_it():
    dataset = scenes(YEAR, cloud_fraction=np.ones(365))
    with pytest.raises(SelectionError, match=r"season left out 181.*emptied by max_cloud = 0.2"):
        select(dataset, season="summer", max_cloud=0.2)
    empty = select(dataset, season="summer", max_cloud=0.2, allow_empty=True)
    assert empty.sizes["time"] == 0 and empty.sizes["x"] == 5
    with pytest.raises(SelectionError, match="holds no scene at all"):
        select(empty)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"season": "autumn"}, "winter, summer, djf"),
        ({"season": ("2023-09-22", "03-21")}, "no day of the year"),
        ({"season": ((2, 30), (3, 1))}, "no day of the year"),
        ({"bands": ["vv"]}, "no band 'vv'; the bands are lst, emissivity"),
        ({"bands": ["lst", "lst"]}, "one twice"),
        ({"bands": []}, "names none"),
        ({"mask": "clouds"}, "missing, cloud, poor_quality"),
        ({"time_of_day": "noon"}, "day, night"),
        ({"time_of_day": (6, 25)}, "between 0 and 24"),
        ({"time_of_day": "day", "clock": "local"}, "solar, utc, sun"),
        ({"time_of_day": (6, 18), "clock": "sun"}, "hours need a clock"),
        ({"period": "summer 2023"}, "is no date"),
        ({"max_cloud": 10}, "10 % is written 0.1"),
        ({"min_valid": 0.5}, "no scene coordinate 'valid_fraction'"),
    ],
)
def test_what_is_not_there_is_refused_with_the_choices(asked, message):
    dataset = scenes(YEAR[:2], cloud_fraction=[0, 0])
    with pytest.raises(SelectionError, match=message):
        select(dataset, **asked)


def test_masking_by_flag_makes_the_pixel_missing_and_keeps_the_flag():
    qc = np.zeros((1, 4, 5), np.uint8)
    qc[0, 1, 2] = Flag.WATER
    dataset = scenes(YEAR[:1], pixels=np.ones((1, 2, 4, 5), np.float32), qc=qc)
    masked = select(dataset, mask="water").compute()
    assert np.isnan(masked["imagery"].values[0, :, 1, 2]).all()
    assert int(np.isnan(masked["imagery"]).sum()) == 2
    assert int(masked["qc"][0, 1, 2]) == Flag.WATER


THERMAL_TIMES = ["2023-06-01T02", "2023-06-01T20", "2023-06-10T12", "2023-07-20T12"]
SAR_TIMES = ["2023-06-01T14", "2023-06-12T14"]


def test_align_puts_the_partner_s_bands_beside_each_scene():
    thermal = scenes(THERMAL_TIMES)
    sar = scenes(SAR_TIMES, bands=("vv", "vh"))
    both = align(thermal, sar, tolerance="3D")
    assert list(both["band"].values) == ["lst", "emissivity", "vv", "vh"]
    assert both["imagery"].dims == ("time", "band", "y", "x")
    assert both["imagery"].dtype == np.float32 and both["qc"].dtype == np.uint8
    assert list(both["granules"].values) == ["g0", "g1", "g2"]
    assert [str(t)[:10] for t in both["sar_time"].values] == [
        "2023-06-01", "2023-06-01", "2023-06-12",
    ]  # fmt: skip
    assert json.loads(both.attrs["alignment"])["without_partner"] == 1
    require_same(GRID, grid_of(both), "aligned")
    with pytest.raises(Untouchable):
        both["imagery"].compute()


def test_align_carries_values_and_bad_flags():
    sar_qc = np.zeros((2, 4, 5), np.uint8)
    sar_qc[0, 0, 0] = Flag.MISSING | Flag.WATER
    sar_pixels = np.arange(2 * 2 * 20, dtype=np.float32).reshape(2, 2, 4, 5)
    sar_pixels[0, :, 0, 0] = np.nan
    thermal_pixels = np.full((4, 2, 4, 5), 300, np.float32)
    thermal = scenes(THERMAL_TIMES, pixels=thermal_pixels)
    sar = scenes(SAR_TIMES, bands=("vv", "vh"), pixels=sar_pixels, qc=sar_qc)
    both = align(thermal, sar, tolerance="3D").compute()
    expected = sar_pixels[[0, 0, 1]]
    np.testing.assert_array_equal(both["imagery"].sel(band=["vv", "vh"]).values, expected)
    assert (both["imagery"].sel(band="lst") == 300).all()
    # Missing radar is a hole in the pair; that the radar saw water is the radar's own remark.
    assert both["qc"].values[:, 0, 0].tolist() == [Flag.MISSING, Flag.MISSING, 0]
    finite = np.isfinite(both["imagery"].values).all(axis=1)
    np.testing.assert_array_equal(finite, (both["qc"].values & int(BAD)) == 0)


def test_defect_6_one_band_is_never_stored_twice():
    sar = scenes(SAR_TIMES, bands=("vv",))
    with pytest.raises(SelectionError, match="both data sets hold the band vv"):
        align(scenes(THERMAL_TIMES, bands=("lst", "vv")), sar)


def test_defect_3_the_thermal_control_on_sar_dates_holds_no_sar():
    thermal = scenes(THERMAL_TIMES)
    sar = scenes(SAR_TIMES, bands=("vv", "vh"))
    control = on_dates_of(thermal, sar, tolerance="3D")
    both = align(thermal, sar, tolerance="3D")
    assert list(control["band"].values) == ["lst", "emissivity"]
    np.testing.assert_array_equal(control["time"], both["time"])
    assert json.loads(control.attrs["alignment"])["without_partner"] == 1
    with pytest.raises(SelectionError, match="both data sets hold the band vv, vh"):
        on_dates_of(both, sar)


def test_same_day_and_ffill():
    thermal = scenes(THERMAL_TIMES)
    sar = scenes(SAR_TIMES, bands=("vv", "vh"))
    same_day = on_dates_of(thermal, sar, how="same_day")
    assert list(same_day["granules"].values) == ["g0", "g1"]
    before = align(thermal, sar, how="ffill", tolerance="60D")
    assert list(before["granules"].values) == ["g1", "g2", "g3"]
    assert (before["sar_time"] <= before["time"]).all()


def test_align_refuses_another_grid_and_no_partner():
    thermal = scenes(THERMAL_TIMES)
    shifted = GeoBox(GRID.shape, Affine(70, 0, 400_035, 0, -70, 3_770_000), GRID.crs)
    with pytest.raises(GridError, match=r"400035\.00"):
        align(thermal, scenes(SAR_TIMES, bands=("vv",), grid=shifted))
    sar = scenes(["2020-01-01"], bands=("vv",))
    for bad, message in (
        ({}, "none of the 4 scenes has a partner"),
        ({"how": "linear"}, "nearest, same_day, ffill"),
        ({"tolerance": "soon"}, "no length of time"),
    ):
        with pytest.raises(SelectionError, match=message):
            align(thermal, sar, **bad)


def test_a_third_modality_can_be_aligned_after_the_second():
    thermal = scenes(THERMAL_TIMES)
    sar, optical = scenes(SAR_TIMES, bands=("vv",)), scenes(SAR_TIMES, bands=("ndvi",))
    all_three = align(align(thermal, sar, tolerance="3D"), optical)
    assert list(all_three["band"].values) == ["lst", "emissivity", "vv", "ndvi"]
    assert {"sar_time", "optical_time"} <= set(all_three.coords)


instants = st.lists(st.integers(0, 2000), min_size=1, max_size=12, unique=True).map(sorted)


@given(instants, instants, st.sampled_from(["nearest", "ffill", "same_day"]), st.integers(1, 400))
@settings(max_examples=30, deadline=None)
def test_partners_agree_with_a_search_through_all_pairs(mine, theirs, how, tolerance):
    origin = pd.Timestamp("2023-01-01")
    base = scenes([origin + pd.Timedelta(hours=h) for h in mine])
    other = scenes([origin + pd.Timedelta(hours=h) for h in theirs], bands=("vv",))
    expected = {}
    for hour in mine:
        near = [
            (abs(hour - candidate), candidate)
            for candidate in theirs
            if abs(hour - candidate) <= tolerance
            and (how != "ffill" or candidate <= hour)
            and (how != "same_day" or candidate // 24 == hour // 24)
        ]
        if near:
            expected[hour] = min(near)[1]
    if not expected:
        with pytest.raises(SelectionError):
            align(base, other, tolerance=f"{tolerance}h", how=how)
        return
    found = align(base, other, tolerance=f"{tolerance}h", how=how)
    in_hours = [
        ((found[name].values - origin.to_datetime64()) / np.timedelta64(1, "h")).tolist()
        for name in ("time", "sar_time")
    ]
    assert dict(zip(*in_hours, strict=True)) == expected
