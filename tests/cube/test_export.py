from __future__ import annotations

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from cube.errors import GridError, SelectionError
from cube.export import pick, to_cog
from cube.labels import LITHOLOGY_ATTRS
from cube.lithology import Lithology
from cube.quality import FLAG_ATTRS

GRID = GeoBox((700, 650), Affine(70, 0, 396_880, 0, -70, 4_299_300), "EPSG:32630")
TIMES = np.array(
    ["2023-06-22T19:32:34", "2023-06-22T21:10", "2023-07-01T03:00:00.250"], "datetime64[ns]"
)


@pytest.fixture(scope="module")
def thermal() -> xr.Dataset:
    random = np.random.default_rng(7)
    imagery = random.normal(300, 9, (3, 2, *GRID.shape)).astype(np.float32)
    imagery[:, :, :40, :90] = np.nan
    return xr.Dataset(
        {
            "imagery": (("time", "band", "y", "x"), imagery, {"long_name": "thermal"}),
            "qc": (("time", "y", "x"), random.integers(0, 255, (3, *GRID.shape)).astype("u1"),
                   FLAG_ATTRS),
        },
        coords={
            **xr_coords(GRID),
            "time": TIMES,
            "band": np.array(["lst", "emissivity"], object),
            "band_units": ("band", np.array(["K", "1"], object)),
            "band_long_name": ("band", np.array(["surface temperature", "emissivity"], object)),
            "granules": ("time", np.array(["a", "b", "c"], object)),
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def lithology() -> xr.DataArray:
    codes = np.random.default_rng(3).integers(0, 14, GRID.shape).astype(np.uint8)
    attrs = {**LITHOLOGY_ATTRS, "grid_mapping": "spatial_ref"}
    return xr.DataArray(codes, xr_coords(GRID), ("y", "x"), "lithology", attrs)


def test_imagery_reopens_with_the_same_values_place_and_time(thermal, tmp_path):
    layer = pick(thermal, "imagery", band="lst", time="2023-06-22T19:32")
    path = to_cog(layer, tmp_path / "new" / "lst.tif")
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), layer.values)
        assert file.dtypes == ("float32",) and np.isnan(file.nodata)
        assert file.transform == GRID.affine
        assert file.crs.to_epsg() == 32630
        assert file.units == ("K",)
        assert file.descriptions == ("surface temperature",)
        tags = file.tags()
        assert tags["time"] == "2023-06-22T19:32:34.000Z"
        assert tags["TIFFTAG_DATETIME"] == "2023:06:22 19:32:34"
        assert (tags["band"], tags["granules"]) == ("lst", "a")


def test_the_file_is_laid_out_as_a_cog(thermal, tmp_path):
    path = to_cog(pick(thermal, "imagery", band="lst", time="2023-07"), tmp_path / "lst.tif")
    with rasterio.open(path) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.block_shapes == [(512, 512)]
        assert file.overviews(1) == [2]
        # Little-endian TIFF whose first bytes announce the layout to range readers.
        assert b"LAYOUT=IFDS_BEFORE_DATA" in path.read_bytes()[:400]


def test_overviews_average_quantities_and_never_classes(thermal, lithology, tmp_path):
    lst = pick(thermal, "imagery", band="lst", time="2023-07")
    with rasterio.open(to_cog(lst, tmp_path / "lst.tif"), overview_level=0) as file:
        coarse = file.read(1)
    fine = lst.values.astype(float).reshape(350, 2, 325, 2)
    np.testing.assert_allclose(coarse[100:], fine.mean(axis=(1, 3))[100:], atol=0.01)

    stripes = lithology.copy(data=np.where(np.arange(650) % 2, 7, 11) * np.ones((700, 1), "u1"))
    stripes = stripes.astype(np.uint8, keep_attrs=True)
    with rasterio.open(to_cog(stripes, tmp_path / "classes.tif"), overview_level=0) as file:
        assert set(np.unique(file.read(1))) <= {7, 11}  # never the 9 that lies between


def test_defect_17_flags_are_never_averaged(thermal, tmp_path):
    qc = pick(thermal, "qc", time="2023-07")
    path = to_cog(qc, tmp_path / "qc.tif")
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), qc.values)
        assert file.nodata is None  # 0 is a clear pixel, not a missing one
        assert "cloud" in file.tags()["flag_meanings"]
        valid = set(np.unique(file.read(1)))
    with rasterio.open(path, overview_level=0) as file:
        coarse = file.read(1)
        assert set(np.unique(coarse)) <= valid
        # Each coarse pixel is one of the four below it.
        blocks = qc.values.reshape(350, 2, 325, 2).transpose(0, 2, 1, 3).reshape(350, 325, 4)
        assert (blocks == coarse[..., None]).any(axis=-1).all()


def test_classes_carry_their_colours_and_names(lithology, tmp_path):
    with rasterio.open(to_cog(lithology, tmp_path / "map.tif")) as file:
        np.testing.assert_array_equal(file.read(1), lithology.values)
        table = file.colormap(1)
        assert file.nodata == 0
        assert file.tags()["flag_meanings"].split()[9] == "volcanic"
    for member in list(Lithology)[1:]:
        assert "#{:02x}{:02x}{:02x}".format(*table[member][:3]) == member.colour


def test_colours_and_nodata_of_one_s_own(lithology, tmp_path):
    path = to_cog(lithology, tmp_path / "map.tif", nodata=13, colours={1: "#010203"})
    with rasterio.open(path) as file:
        assert file.nodata == 13
        assert file.colormap(1)[1] == (1, 2, 3, 255)


def test_all_bands_or_all_dates_become_planes_with_names(thermal, tmp_path):
    bands = pick(thermal, "imagery", time="2023-07-01")
    with rasterio.open(to_cog(bands, tmp_path / "bands.tif")) as file:
        np.testing.assert_array_equal(file.read(), bands.values)
        assert file.descriptions == ("lst", "emissivity")
        assert file.units == ("K", "1")
    dates = pick(thermal, "imagery", band="lst")
    with rasterio.open(to_cog(dates, tmp_path / "dates.tif")) as file:
        np.testing.assert_array_equal(file.read(), dates.values)
        assert file.descriptions[2] == "2023-07-01T03:00:00.250Z"


def test_defect_2_dimensions_go_by_name_whatever_their_order(thermal, tmp_path):
    bands = pick(thermal, "imagery", time="2023-07-01")
    with rasterio.open(to_cog(bands.transpose("y", "x", "band"), tmp_path / "a.tif")) as file:
        np.testing.assert_array_equal(file.read(), bands.values)
    with rasterio.open(to_cog(bands[0].transpose("x", "y"), tmp_path / "b.tif")) as file:
        np.testing.assert_array_equal(file.read(1), bands.values[0])


def test_a_cut_out_lies_where_it_was_cut(thermal, tmp_path):
    part = pick(thermal, "imagery", band="lst", time="2023-07")[100:130, 200:260]
    with rasterio.open(to_cog(part, tmp_path / "part.tif")) as file:
        assert file.bounds.left == 396_880 + 200 * 70
        assert file.bounds.top == 4_299_300 - 100 * 70
        assert file.shape == (30, 60)


def test_a_mask_of_truth_values_is_written_as_bytes(thermal, tmp_path):
    mask = pick(thermal, "qc", time="2023-07") > 100
    with rasterio.open(to_cog(mask, tmp_path / "mask.tif")) as file:
        np.testing.assert_array_equal(file.read(1).astype(bool), mask.values)


def test_a_failing_export_leaves_the_old_file_and_no_debris(thermal, tmp_path):
    layer = pick(thermal, "imagery", band="lst", time="2023-07")
    path = to_cog(layer, tmp_path / "lst.tif")
    before = path.read_bytes()

    def fail(block: np.ndarray) -> np.ndarray:
        raise ZeroDivisionError

    broken = layer.chunk(y=200).copy(data=layer.chunk(y=200).data.map_blocks(fail, dtype="f4",
                                     meta=np.empty((0, 0), "f4")))  # fmt: skip
    with pytest.raises(ZeroDivisionError):
        to_cog(broken, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["lst.tif"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"variable": "lst"}, "variables are imagery, qc"),
        ({"variable": "imagery", "band": "vv"}, "bands are lst, emissivity"),
        ({"variable": "qc", "band": "lst"}, "has no bands"),
        ({"variable": "imagery", "time": "2023-06-22"}, "names 2 scenes: 2023-06-22T19:32:34"),
        ({"variable": "imagery", "time": "2023-06-25"}, "nearest are .*2023-07-01T03:00:00"),
        ({"variable": "imagery", "time": "midsummer"}, "is no date"),
    ],
)
def test_what_is_not_there_is_refused_with_the_choices(thermal, asked, message):
    with pytest.raises(SelectionError, match=message):
        pick(thermal, **asked)


def test_layers_that_fit_no_geotiff_are_refused(thermal, tmp_path):
    with pytest.raises(SelectionError, match="choose one band or one time first"):
        to_cog(thermal["imagery"], tmp_path / "x.tif")
    with pytest.raises(SelectionError, match="datetime64"):
        to_cog(thermal["qc"][0].astype("datetime64[ns]"), tmp_path / "x.tif")
    with pytest.raises(SelectionError, match="one plane of uint8"):
        to_cog(thermal["imagery"][0, 0], tmp_path / "x.tif", colours={1: "#000000"})
    with pytest.raises(GridError, match="'spatial_ref'"):
        to_cog(thermal["qc"][0].drop_vars("spatial_ref"), tmp_path / "x.tif")
    with pytest.raises(GridError, match="not evenly spaced"):
        to_cog(thermal["qc"][0].isel(x=[0, 1, 5]), tmp_path / "x.tif")
    assert list(tmp_path.iterdir()) == []
