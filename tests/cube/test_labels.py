from __future__ import annotations

import hashlib
import json
import sqlite3
import zipfile
from functools import partial
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pydantic import ValidationError
from rasterio.transform import rowcol
from rasterio.warp import transform
from shapely.geometry import Polygon, box

from cube.errors import LabelError
from cube.fetch import fetch
from cube.grid import grid_of, region_grid, require_same
from cube.labels import LabelReport, LabelSettings, edge_weight, majority, rasterise
from cube.lithology import Lithology
from loopback import FileServer

ZONE_30 = "EPSG:32630"
LEFT, TOP, STEP = 400_000, 4_300_000, 70
GRID = GeoBox((12, 10), Affine(STEP, 0, LEFT, 0, -STEP, TOP), ZONE_30)


def rectangle(column: float, row: float, width: float, height: float) -> Polygon:
    """A rectangle in pixels of the grid, from its upper-left corner."""
    x, y = LEFT + column * STEP, TOP - row * STEP
    return box(x, y - height * STEP, x + width * STEP, y)


def write(path: Path, *rows: tuple[object, Polygon | None], crs: str = ZONE_30) -> Path:
    values, shapes = zip(*rows, strict=True)
    frame = gpd.GeoDataFrame({"unit": list(values)}, geometry=list(shapes), crs=crs)
    frame.to_file(path, engine="pyogrio")
    return path


def codes(path: Path, grid: GeoBox = GRID, **options: object) -> np.ndarray:
    return rasterise(LabelSettings(path=path, column="unit", **options), grid)["lithology"].values


def test_codes_and_names_become_classes(tmp_path):
    path = write(
        tmp_path / "map.gpkg",
        ("Clay", rectangle(0, 0, 4, 12)),
        ("non-foliated", rectangle(4, 0, 2, 12)),
        ("9", rectangle(6, 0, 2, 12)),
    )
    expected = np.repeat([2, 12, 9, 0], [4, 2, 2, 2])
    np.testing.assert_array_equal(codes(path), np.tile(expected, (12, 1)))


@pytest.mark.parametrize("name", ["map.gpkg", "map.geojson", "map.shp"])
def test_every_format_gives_the_same_map(tmp_path, name):
    # GeoJSON comes out in longitude and latitude, a shapefile without an axis of its own.
    crs = "EPSG:4326" if name.endswith("json") else ZONE_30
    shapes = gpd.GeoSeries([rectangle(1, 2, 5, 6), rectangle(6, 2, 3, 6)], crs=ZONE_30).to_crs(crs)
    path = write(tmp_path / name, (3, shapes[0]), (4, shapes[1]), crs=crs)
    expected = np.zeros((12, 10), np.uint8)
    expected[2:8, 1:6], expected[2:8, 6:9] = 3, 4
    np.testing.assert_array_equal(codes(path), expected)


def test_shapefile_in_a_folder_of_a_zip_archive(tmp_path):
    write(tmp_path / "geo_A.shp", (5, rectangle(0, 0, 10, 12)))
    write(tmp_path / "other.shp", (6, rectangle(0, 0, 10, 12)))
    with zipfile.ZipFile(tmp_path / "map.zip", "w") as archive:
        for part in [*tmp_path.glob("geo_A.*"), *tmp_path.glob("other.*")]:
            archive.write(part, f"Map/{part.name}")
            archive.writestr(f"__MACOSX/Map/._{part.name}", b"resource fork")
    assert (codes(tmp_path / "map.zip", layer="geo_A") == 5).all()
    with pytest.raises(LabelError, match="there are: geo_A, other"):
        codes(tmp_path / "map.zip")


def test_mapping_from_unit_names(tmp_path):
    path = write(
        tmp_path / "map.gpkg", ("Qal", rectangle(0, 0, 5, 12)), (None, rectangle(5, 0, 5, 12))
    )
    found = codes(path, mapping={"Qal": "sand", "": 13})
    assert found[0].tolist() == [1] * 5 + [13] * 5


def test_unit_numbers_do_not_pass_for_class_codes_when_there_is_a_mapping(tmp_path):
    path = write(tmp_path / "map.gpkg", (1, rectangle(0, 0, 5, 12)), (9, rectangle(5, 0, 5, 12)))
    with pytest.raises(LabelError, match="'9': 1 polygons"):
        codes(path, mapping={"1": "clay"})


def test_unmapped_values_are_all_listed_with_their_number(tmp_path):
    path = write(
        tmp_path / "map.gpkg",
        ("clay", rectangle(0, 0, 5, 12)),
        ("tuff", rectangle(5, 0, 1, 1)),
        ("tuff", rectangle(5, 1, 1, 1)),
        ("schist", rectangle(5, 3, 1, 1)),
        ("far away", rectangle(500, 500, 1, 1)),
    )
    with pytest.raises(LabelError, match=r"(?s)'tuff': 2 polygons.*'schist': 1.*unmapped") as error:
        codes(path)
    assert "far away" not in str(error.value)
    labels = rasterise(LabelSettings(path=path, column="unit", unmapped="nodata"), GRID)
    assert LabelReport.of(labels).unmapped == {"tuff": 2, "schist": 1}
    assert set(np.unique(labels["lithology"])) == {0, 2}


def test_data_set_is_cf_and_lies_on_the_grid(tmp_path):
    labels = rasterise(
        LabelSettings(path=write(tmp_path / "m.gpkg", (1, rectangle(0, 0, 5, 6))), column="unit"),
        GRID,
    )
    require_same(GRID, grid_of(labels), "labels")
    lithology, weight = labels["lithology"], labels["weight"]
    assert lithology.dims == weight.dims == ("y", "x")
    assert (lithology.dtype, weight.dtype) == (np.uint8, np.float32)
    assert lithology.attrs["grid_mapping"] == "spatial_ref" and "spatial_ref" in labels.coords
    meanings = lithology.attrs["flag_meanings"].split()
    assert dict(zip(lithology.attrs["flag_values"], meanings, strict=True))[12] == "non_foliated"
    json.dumps({**labels.attrs, **lithology.attrs, **weight.attrs})
    report = LabelReport.of(labels)
    assert report.polygons == 1 and report.labelled == 30 / 120
    assert report.area_km2 == {"No data": 90 * 0.0049, "Sand": 30 * 0.0049}


corner = st.tuples(st.floats(-1, 11), st.floats(-1, 13))
polygon = st.lists(corner, min_size=3, max_size=5).map(
    lambda corners: shapely.convex_hull(
        shapely.MultiPoint([(LEFT + c * STEP, TOP - r * STEP) for c, r in corners])
    )
)
coded = st.tuples(st.integers(1, 13), polygon.filter(lambda shape: shape.area > STEP**2))


@given(st.lists(coded, min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_every_pixel_takes_the_class_that_covers_most_of_it(drawn):
    shapes = np.array([shape for _, shape in drawn], object)
    classes = np.array([code for code, _ in drawn], np.uint8)
    found = majority(shapes, classes, GRID, 15)
    visible = {code: shapely.Polygon() for code in range(14)}
    covered = shapely.Polygon()
    for code, shape in zip(classes[::-1], shapes[::-1], strict=True):
        visible[int(code)] = visible[int(code)].union(shape.difference(covered))
        covered = covered.union(shape)
    visible[0] = GRID.extent.geom.difference(covered)
    cells = [rectangle(column, row, 1, 1) for row in range(12) for column in range(10)]
    shares = np.array(
        [shapely.area(shapely.intersection(cells, visible[code])) / STEP**2 for code in range(14)]
    )
    chosen = shares[found.ravel(), np.arange(len(cells))]
    # 15 x 15 samples know a share to a few hundredths; no pixel may go to a clear minority.
    assert (shares.max(axis=0) - chosen).max() < 0.1


def test_a_pixel_mostly_without_class_is_nodata(tmp_path):
    path = write(
        tmp_path / "map.gpkg", (1, rectangle(2.6, 3, 1, 1)), (2, rectangle(6, 3, 0.44, 1)),
        (3, rectangle(6.44, 3, 0.28, 1)),
    )  # fmt: skip
    row = codes(path, supersampling=25)[3]
    assert row.tolist() == [0, 0, 0, 1, 0, 0, 2, 0, 0, 0]


def test_strips_do_not_show(monkeypatch):
    shapes = np.array([Polygon([(400_010, 4_299_990), (400_690, 4_299_500), (400_100, 4_299_160)])])
    whole = majority(shapes, np.array([4], np.uint8), GRID, 5)
    monkeypatch.setattr("cube.labels._STRIP", 5)
    np.testing.assert_array_equal(majority(shapes, np.array([4], np.uint8), GRID, 5), whole)


@given(st.permutations(range(4)))
@settings(max_examples=10, deadline=None)
def test_the_smaller_polygon_lies_on_top_whatever_the_order_of_rows(tmp_path_factory, order):
    rows = [
        (1, rectangle(0, 0, 10, 12)),
        (2, rectangle(2, 2, 6, 6)),
        (3, rectangle(3, 3, 2, 2)),
        (4, rectangle(3, 3, 2, 2)),
    ]
    path = tmp_path_factory.mktemp("order") / "map.gpkg"
    write(path, *(rows[index] for index in order))
    labels = rasterise(LabelSettings(path=path, column="unit"), GRID)
    found = labels["lithology"].values
    assert (found[3, 3], found[2, 2], found[0, 0]) == (4, 2, 1)
    # Class 1 lies under 36 pixels of class 2, both under 4 of class 3 and 4 of class 4.
    assert LabelReport.of(labels).overlap_m2 == pytest.approx((36 + 4 + 4) * STEP**2)


def test_neighbours_that_share_an_edge_do_not_overlap(tmp_path):
    path = write(tmp_path / "m.gpkg", (1, rectangle(0, 0, 5, 12)), (2, rectangle(5, 0, 5, 12)))
    labels = rasterise(LabelSettings(path=path, column="unit"), GRID)
    assert LabelReport.of(labels).overlap_m2 == 0


def test_an_outline_that_crosses_itself_is_repaired_and_reported(tmp_path):
    x, y = LEFT, TOP
    bow_tie = Polygon([(x, y), (x + 700, y - 840), (x + 700, y), (x, y - 840)])
    labels = rasterise(
        LabelSettings(path=write(tmp_path / "m.gpkg", (8, bow_tie)), column="unit"), GRID
    )
    assert LabelReport.of(labels).repaired == 1
    assert 0.4 < LabelReport.of(labels).labelled < 0.6


def test_rows_without_a_shape_are_passed_over(tmp_path):
    path = write(tmp_path / "m.gpkg", (8, rectangle(0, 0, 5, 12)), (9, None))
    assert set(np.unique(codes(path))) == {0, 8}


def test_defect_4_labels_of_another_utm_zone_land_where_they_belong(tmp_path):
    # Santa Olalla straddles zones 29 and 30: the same ground, two grids.
    here = region_grid((-6.05, 37.9, -5.95, 38.0), ZONE_30, 70.0)
    there = region_grid((-6.05, 37.9, -5.95, 38.0), "EPSG:32629", 70.0)
    longitude, latitude = -6.012, 37.951
    (x,), (y,) = transform("EPSG:4326", "EPSG:32629", [longitude], [latitude])
    path = write(
        tmp_path / "m.gpkg", (10, box(x - 300, y - 300, x + 300, y + 300)), crs="EPSG:32629"
    )
    for grid in (here, there):
        found = codes(path, grid)
        (x,), (y,) = transform("EPSG:4326", grid.crs.to_wkt(), [longitude], [latitude])
        row, column = rowcol(grid.affine, x, y)
        rows, columns = np.nonzero(found == 10)
        # rowcol names the pixel; the centre of the square falls within it.
        assert abs(rows.mean() - row) <= 1 and abs(columns.mean() - column) <= 1
        assert (found == 10).sum() * 4900 == pytest.approx(600 * 600, rel=0.15)


def test_a_map_with_the_wrong_crs_is_refused_not_shifted(tmp_path):
    shape = rectangle(2, 2, 4, 4)
    path = write(tmp_path / "m.gpkg", (10, shape), crs="EPSG:32629")
    with pytest.raises(LabelError, match=r"does not touch the region.*is its CRS right"):
        codes(path)
    assert (codes(path, crs=ZONE_30) == 10).sum() == 16


def test_long_straight_edges_bend_with_the_projection(tmp_path):
    # A parallel of latitude 200 km long leaves its chord in UTM by more than a kilometre.
    wide = GeoBox((40, 300), Affine(700, 0, 395_000, 0, -700, 4_430_000), ZONE_30)
    south, north = box(-9, 39, 3, 40), box(-9, 40, 3, 41)
    path = write(tmp_path / "m.gpkg", (1, south), (2, north), crs="EPSG:4326")
    found = codes(path, wide)
    rows, columns = np.mgrid[:40, :300]
    xs, ys = 395_000 + 700 * (columns + 0.5), 4_430_000 - 700 * (rows + 0.5)
    _, latitude = transform(ZONE_30, "EPSG:4326", xs.ravel(), ys.ravel())
    expected = np.where(np.array(latitude) > 40, 2, 1).reshape(found.shape)
    assert (found != expected).mean() < 0.005


def test_labels_of_a_part_of_the_region_are_a_part_of_its_labels(tmp_path):
    path = write(
        tmp_path / "m.gpkg",
        (1, rectangle(-30, -3, 60, 30)),
        (2, rectangle(1.3, 2.2, 5, 6.7)),
        (3, rectangle(4.4, 1.1, 4, 30)),
    )
    part = GeoBox((7, 5), Affine(STEP, 0, LEFT + 3 * STEP, 0, -STEP, TOP - 4 * STEP), ZONE_30)
    np.testing.assert_array_equal(codes(path, part), codes(path)[4:11, 3:8])


def test_rotated_polygons_keep_their_area(tmp_path):
    from shapely.affinity import rotate

    fine = GeoBox((240, 200), Affine(3.5, 0, LEFT, 0, -3.5, TOP), ZONE_30)
    square = rotate(rectangle(2.5, 3.5, 5, 5), 27)
    path = write(tmp_path / "m.gpkg", (6, square))
    assert (codes(path, fine) == 6).sum() * 3.5**2 == pytest.approx(square.area, rel=0.002)
    assert (codes(path) == 6).sum() * STEP**2 == pytest.approx(square.area, rel=0.15)


def test_weight_rises_from_the_class_edge_and_not_from_the_region_s_border():
    lithology = np.ones((12, 10), np.uint8)
    lithology[:, 5:] = 2
    weight = edge_weight(lithology, GRID, 2.0)
    assert weight[0].tolist() == [1, 1, 1, 0.75, 0.25, 0.25, 0.75, 1, 1, 1]
    assert (weight == weight[0]).all()
    assert edge_weight(lithology, GRID, 4.0)[0, 3] == pytest.approx(1.5 / 4)


def test_nodata_weighs_nothing_and_its_border_is_an_edge():
    lithology = np.zeros((12, 10), np.uint8)
    assert (edge_weight(lithology, GRID, 2.0) == 0).all()
    lithology[:, 5:] = 2
    assert edge_weight(lithology, GRID, 2.0)[0].tolist() == [0] * 5 + [0.25, 0.75, 1, 1, 1]
    assert (edge_weight(np.full((12, 10), 2, np.uint8), GRID, 2.0) == 1).all()


@given(st.integers(0, 2**32 - 1), st.floats(0.3, 6))
@settings(max_examples=20, deadline=None)
def test_weight_is_the_distance_to_the_nearest_pixel_of_another_class(seed, reach):
    lithology = np.random.default_rng(seed).choice([0, 1, 1, 1, 2], (6, 7)).astype(np.uint8)
    weight = edge_weight(lithology, GRID, reach)
    places = np.argwhere(np.ones_like(lithology))
    for row, column in places:
        others = places[lithology.ravel() != lithology[row, column]]
        nearest = np.hypot(*(others - (row, column)).T).min(initial=np.inf)
        expected = 0 if lithology[row, column] == 0 else min((nearest - 0.5) / reach, 1)
        assert weight[row, column] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"column": "units"}, r"no attribute 'units' \(did you mean 'unit'\?\).*are: unit"),
        ({"layer": "rocks"}, "no layer 'rocks'; its layers are: map"),
        ({"crs": "EPSG:nope"}, "'EPSG:nope' is no CRS"),
        ({"path": "missing.gpkg"}, "there is no label map"),
        ({"path": "page.gpkg"}, "cannot be read as a vector file"),
        ({"path": "damaged.gpkg"}, "cannot be read as a vector file"),
        ({"path": "page.zip"}, "no readable zip archive"),
        ({"path": "lines.gpkg"}, "holds LineString, not polygons"),
        ({"path": "no_crs.shp"}, "does not say its CRS"),
    ],
)
def test_a_map_that_cannot_be_used_says_why(tmp_path, options, message):
    write(tmp_path / "map.gpkg", (1, rectangle(0, 0, 1, 1)))
    (tmp_path / "page.gpkg").write_text("<!DOCTYPE html><title>Log in</title>")
    (tmp_path / "page.zip").write_text("<!DOCTYPE html><title>Log in</title>")
    if options.get("path") == "damaged.gpkg":
        # Zeros where its table begins: the layer is found, its features are not.
        whole = bytearray((tmp_path / "map.gpkg").read_bytes())
        with sqlite3.connect(tmp_path / "map.gpkg") as file:
            size = file.execute("pragma page_size").fetchone()[0]
            page = file.execute("select rootpage from sqlite_master where name = 'map'").fetchone()[
                0
            ]
        file.close()
        whole[(page - 1) * size : page * size] = bytes(size)
        (tmp_path / "damaged.gpkg").write_bytes(whole)
    if options.get("path") == "lines.gpkg":
        write(tmp_path / "lines.gpkg", (1, shapely.LineString([(0, 0), (1, 1)])))
    if options.get("path") == "no_crs.shp":
        write(tmp_path / "no_crs.shp", (1, rectangle(0, 0, 1, 1)))
        (tmp_path / "no_crs.prj").unlink()
    table = LabelSettings(**{"path": "map.gpkg", "column": "unit", **options})
    table.bind(tmp_path)
    with pytest.raises(LabelError, match=message):
        rasterise(table, GRID)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either `column`"),
        ({"column": "a", "variable": "b"}, "not both"),
        ({"column": "a", "mapping": {"x": "marble"}}, "no lithology class is called 'marble'"),
        ({"column": "a", "mapping": {"x": 14}}, "14"),
        ({"column": "a", "colour": "red"}, "Extra inputs"),
        ({"variable": "a", "mapping": {"x": 1}}, "mapping has no meaning together with `variable`"),
        ({"column": "a", "edge_distance": 0}, "greater than 0"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        LabelSettings(path="map.gpkg", **options)


def test_labels_from_a_netcdf_variable(tmp_path):
    classes = np.arange(120, dtype=np.float32).reshape(12, 10) % 14
    cube = xr.Dataset({"labels": (("row", "column"), classes)}, attrs={"left": LEFT, "top": TOP})
    cube.to_netcdf(tmp_path / "cube.nc", engine="h5netcdf")
    table = LabelSettings(
        path=tmp_path / "cube.nc",
        variable="labels",
        dims={"y": "row", "x": "column"},
        placement={"crs": ZONE_30, "upper_left": ("left", "top"), "pixel_size": STEP},
    )
    labels = rasterise(table, GRID)
    np.testing.assert_array_equal(labels["lithology"], classes)
    assert labels["weight"].max() <= 1 and LabelReport.of(labels).polygons == 0


def test_the_study_s_own_labels(shared_data):
    path = shared_data / "thesis_puertollano.nc"
    grid = GeoBox((256, 384), Affine(70, 0, 396_880, 0, -70, 4_299_300), ZONE_30)
    placement = {
        "crs": "est_crs",
        "upper_left": ("est_upper_left_x", "est_upper_left_y"),
        "pixel_size": "pixel_size_m",
    }
    table = LabelSettings(path=path, variable="labels", placement=placement)
    report = LabelReport.of(rasterise(table, grid))
    assert report.labelled == pytest.approx(0.969, abs=0.001)
    assert max(report.area_km2, key=report.area_km2.__getitem__) == "Detritic"


HAMERSLEY = {
    "sedimentary siliciclastic": "detritic",
    "sedimentary other chemical or biochemical": "detritic",
    "sedimentary carbonate": "carbonate",
    "igneous mafic intrusive": "plutonic",
    "igneous mafic volcanic": "volcanic",
    "igneous felsic volcanic": "volcanic",
    "meta-igneous felsic intrusive": "non-foliated",
}


def test_real_map_of_the_hamersley_range(shared_data):
    path = shared_data / "granules/vector/geology_Hamersley_GSWA/geology.geojson"
    grid = region_grid((117.2, -22.8, 117.5, -22.5), None, 280.0)
    table = LabelSettings(path=path, column="rocktype1", mapping=HAMERSLEY)
    labels = rasterise(table, grid)
    report = LabelReport.of(labels)
    assert report.labelled > 0.99 and report.unmapped == {}
    frame = gpd.read_file(path).to_crs(grid.crs.to_wkt()).clip(grid.extent.geom)
    area = frame.area.groupby(frame["rocktype1"].map(HAMERSLEY)).sum() / 1e6
    for member in (Lithology.DETRITIC, Lithology.VOLCANIC, Lithology.CARBONATE):
        expected = area[member.label.lower()]
        assert report.area_km2[member.label] == pytest.approx(expected, rel=0.03)


def test_real_zipped_map_of_ashibe(shared_data):
    path = shared_data / "granules/vector/geology_Ashibe_GSJ/Japan_Ashibe.zip"
    grid = region_grid((129.74, 33.66, 130.0, 33.86), None, 280.0)
    mapping = {str(unit): "volcanic" for unit in range(2, 14)} | {"1": "sand", "88": "water"}
    table = LabelSettings(path=path, layer="geo_A", column="MAJOR_CODE", mapping=mapping)
    report = LabelReport.of(rasterise(table, grid))
    assert report.polygons == 14
    assert {"Sand", "Volcanic"} <= set(report.area_km2)


def test_a_map_is_read_where_sqlite_has_no_r_trees(tmp_path, monkeypatch):
    write(tmp_path / "map.gpkg", (1, rectangle(0, 0, 1, 1)), (2, rectangle(900, 900, 1, 1)))
    table = LabelSettings(path="map.gpkg", column="unit")
    table.bind(tmp_path)
    expected = rasterise(table, GRID)
    read = pyogrio.read_dataframe

    def without_index(path, **options):
        if "bbox" in options:
            raise pyogrio.errors.FeatureError("Failed to prepare SQL: no such module: rtree")
        return read(path, **options)

    monkeypatch.setattr(pyogrio, "read_dataframe", without_index)
    xr.testing.assert_identical(rasterise(table, GRID), expected)


@pytest.fixture
def served(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    write(folder / "map.gpkg", ("Clay", rectangle(0, 0, 10, 12)))
    with FileServer(folder) as server:
        yield server


def test_a_map_is_fetched_once(served, tmp_path):
    digest = hashlib.sha256((tmp_path / "served" / "map.gpkg").read_bytes()).hexdigest()
    here = tmp_path / "maps" / "clay.gpkg"
    options = {"url": f"{served.url}/map.gpkg", "checksum": f"sha256:{digest}"}
    for _ in range(2):
        assert (codes(here, **options) == Lithology.CLAY).all()
    assert len(served.requests) == 1


@pytest.mark.parametrize(
    ("name", "checksum", "kind"),
    [("other.gpkg", None, "not_found"), ("map.gpkg", "md5:" + 32 * "0", "checksum")],
)
def test_a_map_that_cannot_be_fetched(served, tmp_path, monkeypatch, name, checksum, kind):
    monkeypatch.setattr("cube.label_settings.fetch", partial(fetch, attempts=1))
    here = tmp_path / "clay.gpkg"
    with pytest.raises(LabelError, match=str(here)) as caught:
        codes(here, url=f"{served.url}/{name}", checksum=checksum)
    assert caught.value.kind == kind
    assert not here.exists()


@pytest.mark.parametrize(
    "wrong", [{"url": "ftp://a/b"}, {"checksum": "md5:0"}, {"url": "http://a/b", "checksum": "x"}]
)
def test_where_a_map_comes_from_is_looked_at(wrong):
    with pytest.raises(ValidationError):
        LabelSettings(path=Path("map.gpkg"), column="unit", **wrong)
