"""Grids cover what they must, run through their anchor, and are compared whole."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from pyproj import Transformer

from cube.errors import GridError
from cube.grid import (
    describe,
    from_attrs,
    grid_of,
    grid_of_bounds,
    lonlat_bounds,
    region_grid,
    require_same,
    to_attrs,
    utm_crs,
)

Box = tuple[float, float, float, float]


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """Lon/lat boxes of up to a degree, off the poles and the antimeridian."""
    west = draw(st.floats(-178, 177))
    south = draw(st.floats(-75, 74))
    width, height = draw(st.floats(0.002, 1)), draw(st.floats(0.002, 1))
    return west, south, west + width, south + height


resolutions = st.sampled_from([10.0, 30.0, 70.0, 250.0, 926.625433])
anchors = st.none() | st.tuples(st.floats(0, 1e6), st.floats(0, 1e7))


def outline(box: Box, grid: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates (column, row) of points all along the box's edge."""
    west, south, east, north = box
    along = np.linspace(0, 1, 21)
    lon = np.concatenate([west + (east - west) * along] * 2 + [0 * along + west, 0 * along + east])
    lat = np.concatenate(
        [0 * along + south, 0 * along + north] + [south + (north - south) * along] * 2
    )
    x, y = Transformer.from_crs(4326, grid.crs.to_wkt(), always_xy=True).transform(lon, lat)
    return place(grid, np.asarray(x), np.asarray(y))


def place(grid: GeoBox, x: Any, y: Any) -> tuple[Any, Any]:
    """Column and row of a point, in pixels from the grid's corner."""
    return (x - grid.affine.c) / grid.affine.a, (y - grid.affine.f) / grid.affine.e


@given(box=boxes(), resolution=resolutions, anchor=anchors)
@settings(max_examples=30, deadline=None)
def test_a_grid_covers_its_box_and_not_a_pixel_more(
    box: Box, resolution: float, anchor: tuple[float, float] | None
) -> None:
    grid = region_grid(box, None, resolution, anchor)
    height, width = grid.shape
    column, row = outline(box, grid)
    slack = 0.5 / resolution  # Half a metre: an edge bends between the points it is traced by.
    assert -slack <= column.min() < 1 + slack
    assert width - 1 - slack < column.max() <= width + slack
    assert -slack <= row.min() < 1 + slack
    assert height - 1 - slack < row.max() <= height + slack


@given(box=boxes(), resolution=resolutions, anchor=anchors)
@settings(max_examples=20, deadline=None)
def test_the_lines_of_a_grid_run_through_its_anchor(
    box: Box, resolution: float, anchor: tuple[float, float] | None
) -> None:
    grid = region_grid(box, None, resolution, anchor)
    column, row = place(grid, *(anchor or (0.0, 0.0)))
    assert column == pytest.approx(round(column), abs=1e-5)
    assert row == pytest.approx(round(row), abs=1e-5)
    assert (grid.affine.a, grid.affine.e) == (resolution, -resolution)


@pytest.mark.parametrize(
    ("lon", "lat", "code"),
    [
        (-3.0, 38.7, 32630),
        (-118.2, 34.0, 32611),
        (-58.4, -34.6, 32721),
        (174.8, -41.3, 32760),
        (0.1, 51.5, 32631),
        (36.8, -1.3, 32737),
    ],
)
def test_the_utm_zone_is_that_of_the_centre(lon: float, lat: float, code: int) -> None:
    box = (lon - 0.2, lat - 0.2, lon + 0.2, lat + 0.2)
    assert utm_crs(box).to_epsg() == code
    assert region_grid(box, None, 1000.0).crs.to_epsg() == code


def test_near_a_pole_the_crs_has_to_be_given() -> None:
    with pytest.raises(GridError, match="UTM"):
        region_grid((10.0, 85.0, 11.0, 86.0), None, 70.0)
    assert region_grid((10.0, 85.0, 11.0, 86.0), "EPSG:3995", 70.0).shape[0] > 100


@given(
    left=st.integers(100_000, 900_000),
    bottom=st.integers(0, 9_000_000),
    rows=st.integers(1, 500),
    columns=st.integers(1, 500),
    resolution=st.sampled_from([0.1, 10.0, 70.0, 250.0]),
)
@settings(deadline=None)
def test_bounds_that_are_whole_pixels_are_kept_exactly(
    left: int, bottom: int, rows: int, columns: int, resolution: float
) -> None:
    bounds = (left, bottom, left + columns * resolution, bottom + rows * resolution)
    grid = grid_of_bounds(bounds, "EPSG:32630", resolution)
    assert tuple(grid.shape) == (rows, columns)
    assert tuple(grid.boundingbox.bbox) == pytest.approx(bounds, abs=1e-6)


def test_bounds_between_pixels_are_widened() -> None:
    grid = grid_of_bounds((5.0, 5.0, 95.0, 95.0), "EPSG:32630", 10.0, anchor=(0.0, 0.0))
    assert tuple(grid.boundingbox.bbox) == (0.0, 0.0, 100.0, 100.0)


@given(box=boxes())
@settings(max_examples=25, deadline=None)
def test_a_grid_of_250_m_nests_in_one_of_1_km(box: Box) -> None:
    coarse = region_grid(box, None, 1000.0)
    nested = grid_of_bounds(coarse.boundingbox.bbox, str(coarse.crs), 250.0)
    assert tuple(nested.shape) == tuple(4 * side for side in coarse.shape)
    assert tuple(nested.boundingbox.bbox) == tuple(coarse.boundingbox.bbox)
    alone = region_grid(box, None, 250.0)
    column, row = place(alone, coarse.affine.c, coarse.affine.f)
    assert (column, row) == (round(column), round(row))


@given(box=boxes(), resolution=resolutions, anchor=anchors)
@settings(max_examples=25, deadline=None)
def test_a_grid_comes_back_from_its_attributes(
    box: Box, resolution: float, anchor: tuple[float, float] | None
) -> None:
    grid = region_grid(box, None, resolution, anchor)
    assert from_attrs(json.loads(json.dumps(to_attrs(grid)))) == grid


def test_a_crs_without_a_code_comes_back_too() -> None:
    grid = region_grid((10.0, 45.0, 10.2, 45.1), "+proj=laea +lat_0=45 +lon_0=10", 70.0)
    attrs = json.loads(json.dumps(to_attrs(grid)))
    assert attrs["proj:code"] is None
    require_same(grid, from_attrs(attrs), "round trip")


@pytest.mark.parametrize(
    "other",
    [
        GeoBox((10, 20), Affine(70, 0, 500000, 0, -70, 4000070), "EPSG:32630"),
        GeoBox((10, 20), Affine(70, 0, 500000, 0, -70, 4000000), "EPSG:32631"),
        GeoBox((10, 21), Affine(70, 0, 500000, 0, -70, 4000000), "EPSG:32630"),
        GeoBox((10, 20), Affine(70, 0, 500000, 0, 70, 3999300), "EPSG:32630"),
        GeoBox((10, 20), Affine(70.001, 0, 500000, 0, -70.001, 4000000), "EPSG:32630"),
    ],
    ids=["moved", "zone", "size", "south-up", "pixel"],
)
def test_another_grid_is_refused_and_both_are_named(other: GeoBox) -> None:
    grid = GeoBox((10, 20), Affine(70, 0, 500000, 0, -70, 4000000), "EPSG:32630")
    require_same(grid, grid, "same")
    with pytest.raises(GridError) as caught:
        require_same(grid, other, "granule 7")
    message = str(caught.value)
    assert message.startswith("granule 7: ")
    assert describe(grid) in message
    assert describe(other) in message


def test_a_grid_is_described_in_a_line() -> None:
    grid = GeoBox((10, 20), Affine(70, 0, 500000, 0, -70, 4000000), "EPSG:32630")
    expected = "EPSG:32630, 20 x 10 px (x by y) of 70 m, upper left (500000.00, 4000000.00)"
    assert describe(grid) == expected


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:4978", "EPSG:2229", "nonsense"])
def test_only_a_projected_crs_in_metres_makes_a_grid(crs: str) -> None:
    with pytest.raises(GridError):
        grid_of_bounds((0.0, 0.0, 100.0, 100.0), crs, 10.0)


def test_a_box_far_wider_than_a_utm_zone_needs_a_crs() -> None:
    box = (-10.0, 36.0, 4.0, 44.0)
    with pytest.raises(GridError, match="spans 14 degrees"):
        region_grid(box, None, 7000.0)
    assert region_grid(box, "EPSG:3035", 7000.0).shape[1] > 150


def test_lonlat_bounds_hold_the_box_the_grid_was_made_for() -> None:
    box = (-4.1, 38.7, -4.0, 38.8)
    west, south, east, north = lonlat_bounds(region_grid(box, None, 70.0))
    assert west <= box[0] and south <= box[1] and east >= box[2] and north >= box[3]
    assert math.dist((west, south, east, north), box) < 0.01


def test_the_grid_of_data_is_that_of_their_coordinates() -> None:
    grid = region_grid((-4.1, 38.7, -4.06, 38.73), None, 70.0)
    data = xr.Dataset({"lst": (("y", "x"), np.zeros(grid.shape))}, xr_coords(grid))
    require_same(grid, grid_of(data), "data")
    with pytest.raises(GridError, match="no coordinate 'spatial_ref'"):
        grid_of(data.drop_vars("spatial_ref"))
    uneven = data.isel(x=[0, 1, 3])
    with pytest.raises(GridError, match="'x' are not evenly spaced"):
        grid_of(uneven)
