from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from cube.grid import region_grid
from cube.sun import centre, local_solar_time, sun_elevation

instants = st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1))
longitudes = st.floats(-180, 180)


def test_centre_is_the_middle_of_the_region():
    longitude, latitude = centre(region_grid((-118.7, 33.7, -117.5, 34.3), None, 70.0))
    assert (longitude, latitude) == pytest.approx((-118.1, 34.0), abs=0.005)


def test_centre_of_a_rotated_grid():
    # Rotated by 90 degrees: columns run south, rows run east.
    grid = GeoBox((10, 20), Affine(0, 100, 500_000, -100, 0, 4_000_000), "EPSG:32630")
    same = GeoBox((20, 10), Affine(100, 0, 500_000, 0, -100, 4_000_000), "EPSG:32630")
    assert centre(grid) == pytest.approx(centre(same), abs=1e-9)


def test_elevation_agrees_with_the_nrel_worked_example():
    # Reda & Andreas 2004, table A5.1: zenith 50.11162 with refraction, Golden, 2003-10-17
    # 12:30:30 at UTC-7; refraction there lifts the sun by about 0.016 degrees.
    elevation = sun_elevation(["2003-10-17T19:30:30"], -105.1786, 39.742476)
    assert elevation[0] == pytest.approx(90 - 50.11162, abs=0.03)


def test_the_sun_is_overhead_on_the_tropic_at_the_june_solstice():
    noon = np.arange("2023-06-21T11:30", "2023-06-21T12:30", dtype="datetime64[m]")
    assert sun_elevation(noon, 0.0, 23.436).max() == pytest.approx(90, abs=0.1)


def test_the_pole_has_no_winter_day():
    day = np.arange("2023-12-21", "2023-12-22", dtype="datetime64[h]")
    assert (sun_elevation(day, 15.0, 80.0) < 0).all()


@given(instants, st.floats(-179, 179))
@settings(max_examples=50, deadline=None)
def test_solar_noon_and_midnight_are_the_turning_points_of_elevation(time, longitude):
    instant = np.datetime64(time, "ns")
    hour = local_solar_time([instant], longitude)[0]
    noon = instant + np.timedelta64(round((12 - hour) * 3600e9), "ns")
    around = noon + np.array([-3, 0, 3]) * np.timedelta64(1, "h")
    before, top, after = sun_elevation(around, longitude, 40.0)
    assert top > before and top > after
    assert before == pytest.approx(after, abs=0.2)


@given(st.lists(instants, max_size=5), longitudes)
@settings(max_examples=50, deadline=None)
def test_solar_time_lies_in_one_day_and_does_not_mind_order(times, longitude):
    hours = local_solar_time(np.array(times, "datetime64[ns]"), longitude)
    assert hours.shape == (len(times),)
    assert ((hours >= 0) & (hours < 24)).all()
    backwards = local_solar_time(np.array(times[::-1], "datetime64[ns]"), longitude)
    np.testing.assert_array_equal(backwards[::-1], hours)


@given(instants, st.floats(-164, 164))
@settings(max_examples=50, deadline=None)
def test_fifteen_degrees_east_is_one_hour_later(time, longitude):
    here = local_solar_time([np.datetime64(time, "ns")], longitude)[0]
    there = local_solar_time([np.datetime64(time, "ns")], longitude + 15)[0]
    assert (there - here) % 24 == pytest.approx(1.0, abs=1e-6)


def test_equation_of_time_in_february_and_november():
    hours = local_solar_time(["2023-02-11T12:00", "2023-11-03T12:00"], 0.0)
    assert (hours - 12) * 60 == pytest.approx([-14.2, 16.4], abs=0.2)
