"""Exports of whole groups: others' tools read the same values, at the same place and time."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import h5netcdf
import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from pystac.extensions.datacube import DatacubeExtension

from cube.bands import MODALITIES
from cube.catalog import to_stac
from cube.conventions import MULTISCALES, PROJ, SPATIAL, cf_dataset
from cube.errors import GridError, SelectionError, StoreError
from cube.geozarr import to_zarr
from cube.labels import LITHOLOGY_ATTRS
from cube.publish import to_netcdf
from cube.quality import FLAG_ATTRS, Flag
from cube.timeline import SCENE_COORDS

GRID = GeoBox((301, 270), Affine(70, 0, 396_880, 0, -70, 4_299_300), "EPSG:32630")
TIMES = np.array(
    ["2023-06-22T19:32:34", "2023-06-22T21:10", "2023-07-01T03:00:00.250"], "datetime64[ns]"
)


def make(times: np.ndarray, grid: GeoBox) -> xr.Dataset:
    """A modality as the cube stores it, in Dask chunks."""
    random = np.random.default_rng(7)
    count = len(times)
    qc = random.choice([0, int(Flag.WATER), int(Flag.CLOUD)], (count, *grid.shape)).astype("u1")
    qc[:, :64, :64] = int(Flag.MISSING)
    lst = random.normal(300, 9, (count, *grid.shape))
    imagery = np.stack([lst, random.uniform(0.9, 1, lst.shape)], axis=1).astype(np.float32)
    bad = np.repeat((qc & ~np.uint8(Flag.WATER))[:, None] > 0, 2, axis=1)
    imagery[bad] = np.nan
    text = np.dtypes.StringDType()
    values = {
        "granules": np.array([f"g{i} h{i}" for i in range(count)], text),
        "platform": np.array(["ISS"] * count, text),
        **{name: random.uniform(0, 1, count) for name in list(SCENE_COORDS)[2:]},
    }
    pixels = {"grid_mapping": "spatial_ref"}
    plain = xr.Dataset(
        {
            "imagery": (("time", "band", "y", "x"), imagery, {"long_name": "thermal", **pixels}),
            "qc": (("time", "y", "x"), qc, FLAG_ATTRS | pixels),
        },
        coords={
            **xr_coords(grid),
            "time": ("time", times, {"standard_name": "time", "long_name": "start"}),
            "band": np.array(["lst", "emissivity"], text),
            "band_units": ("band", np.array(["K", "1"], text)),
            "band_long_name": ("band", np.array(["temperature", "emissivity"], text)),
            **{name: ("time", values[name], SCENE_COORDS[name]) for name in SCENE_COORDS},
        },
        attrs={"title": "Land surface temperature", "proj:code": "EPSG:32630"},
    )
    return plain.chunk(time=1, y=256, x=256)


@pytest.fixture(scope="module")
def thermal() -> xr.Dataset:
    return make(TIMES, GRID)


@pytest.fixture(scope="module")
def labels() -> xr.Dataset:
    codes = np.random.default_rng(3).integers(0, 14, GRID.shape).astype(np.uint8)
    attrs = {**LITHOLOGY_ATTRS, "grid_mapping": "spatial_ref"}
    variables = {"lithology": (("y", "x"), codes, attrs)}
    return xr.Dataset(variables, xr_coords(GRID), {"title": "Rock and soil"})


@pytest.fixture(scope="module")
def store(thermal, labels, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("zarr") / "out.zarr"
    groups = {"thermal": thermal, "labels": labels}
    return to_zarr(groups, target, attrs={"snapshot": "S1"}, overviews=2)


@pytest.fixture(scope="module")
def file(thermal, tmp_path_factory) -> Path:
    return to_netcdf(thermal, tmp_path_factory.mktemp("nc") / "out.nc", modality="thermal")


def assert_cf(dataset: xr.Dataset) -> None:
    """What CF-1.11 asks of every variable of ours."""
    assert dataset.attrs["Conventions"] == "CF-1.11" and dataset.attrs["title"]
    for name, variable in dataset.variables.items():
        attrs = {**variable.attrs, **variable.encoding}
        assert attrs.get("long_name"), f"{name} has no long name"
        if {"y", "x"} <= set(variable.dims):
            assert attrs["grid_mapping"] == "spatial_ref", name
        flags = {"flag_masks", "flag_values"} & set(attrs)
        if variable.dtype.kind == "f":
            assert attrs.get("units"), f"{name} has no units"
        if flags:
            values = np.asarray(attrs[flags.pop()])
            assert len(values) == len(str(attrs["flag_meanings"]).split()), name
            assert values.max() <= np.iinfo(variable.dtype).max
    for name, band in MODALITIES["thermal"].bands.items():
        if name in dataset:
            assert dataset[name].attrs["units"] == band.units
            assert dataset[name].attrs.get("standard_name") == band.standard_name
            assert ("ancillary_variables" in dataset[name].attrs) == ("qc" in dataset)
            assert "granules" in dataset[name].encoding["coordinates"]
    assert dataset["x"].attrs["standard_name"] == "projection_x_coordinate"
    assert dataset["y"].attrs["units"] == "metre"
    assert dataset["spatial_ref"].attrs["grid_mapping_name"] == "transverse_mercator"
    assert "time" not in dataset or dataset["time"].attrs["axis"] == "T"


def test_zarr_opens_with_plain_xarray_and_holds_the_same(store, thermal, labels):
    dataset = xr.open_zarr(store, group="thermal/0", decode_coords="all", mask_and_scale=True)
    for index, band in enumerate(("lst", "emissivity")):
        np.testing.assert_array_equal(dataset[band], thermal.imagery[:, index])
    np.testing.assert_array_equal(dataset.qc, thermal.qc)
    np.testing.assert_array_equal(dataset.time, TIMES)
    assert list(dataset.granules.values) == list(thermal.granules.values)
    classes = xr.open_zarr(store, group="labels/0").lithology
    np.testing.assert_array_equal(classes, labels.lithology)
    assert dataset.lst.encoding["chunks"] == (1, 256, 256)


def test_metadata_are_consolidated(store):
    root = json.loads((store / "zarr.json").read_text())
    assert root["attributes"]["snapshot"] == "S1"
    assert "thermal/0/lst" in root["consolidated_metadata"]["metadata"]
    level = json.loads((store / "thermal" / "0" / "zarr.json").read_text())
    assert "lst" in level["consolidated_metadata"]["metadata"]
    assert xr.open_zarr(store, group="thermal/0", consolidated=True).sizes["time"] == 3


def test_every_variable_of_the_exports_is_cf(store, file):
    for group in ("thermal/0", "thermal/2", "labels/0"):
        dataset = xr.open_zarr(store, group=group, decode_coords="all", mask_and_scale=False)
        assert_cf(dataset)
    with xr.open_dataset(file, decode_coords="all", mask_and_scale=False) as dataset:
        assert_cf(dataset)


def test_gdal_reads_the_store_and_the_file(store, file, thermal):
    for address in (f'ZARR:"{store}":/thermal/0/lst', f'NETCDF:"{file}":lst'):
        with rasterio.open(address) as layer:
            assert layer.crs.to_epsg() == 32630
            assert layer.transform == GRID.affine
            np.testing.assert_array_equal(layer.read(), thermal.imagery[:, 0])
    with rasterio.open(f'ZARR:"{store}":/thermal/1/lst') as layer:
        assert layer.crs.to_epsg() == 32630
        assert layer.transform == GRID.affine @ Affine.scale(2)


def test_the_groups_follow_the_geozarr_conventions(store):
    group = json.loads((store / "thermal" / "zarr.json").read_text())["attributes"]
    named = {entry["name"]: entry["uuid"] for entry in group["zarr_conventions"]}
    assert named == {entry["name"]: entry["uuid"] for entry in (PROJ, SPATIAL, MULTISCALES)}
    assert group["proj:code"] == "EPSG:32630"
    assert group["spatial:dimensions"] == ["y", "x"]
    layout = group["multiscales"]["layout"]
    assert [level["asset"] for level in layout] == ["0", "1", "2"]
    assert [level.get("derived_from") for level in layout] == [None, "0", "1"]
    for level in layout:
        dataset = xr.open_zarr(store, group=f"thermal/{level['asset']}")
        assert level["spatial:shape"] == [dataset.sizes["y"], dataset.sizes["x"]]
        assert level["spatial:transform"] == dataset.attrs["spatial:transform"]
        left, top = level["spatial:transform"][2], level["spatial:transform"][5]
        step = level["spatial:transform"][0]
        assert dataset.x.values[0] == left + step / 2 and dataset.y.values[0] == top - step / 2


def test_overviews_average_valid_pixels_and_never_classes(store, thermal, labels):
    fine = thermal.imagery[:, 0].values
    padded = np.full((3, 302, 270), np.nan, np.float32)
    padded[:, :301] = fine
    blocks = padded.reshape(3, 151, 2, 135, 2)
    held = np.isfinite(blocks)
    count = held.sum((2, 4))
    wanted = np.where(count, np.where(held, blocks, 0).sum((2, 4)) / np.maximum(count, 1), np.nan)
    coarse = xr.open_zarr(store, group="thermal/1")
    np.testing.assert_allclose(coarse.lst, wanted, rtol=1e-6)
    assert np.isnan(coarse.lst.values[:, :32, :32]).all()
    assert "qc" not in coarse
    classes = xr.open_zarr(store, group="labels/1").lithology
    np.testing.assert_array_equal(classes, labels.lithology.values[::2, ::2])


def test_a_flipped_bit_in_the_store_raises(thermal, tmp_path):
    store = to_zarr({"thermal": thermal}, tmp_path / "out.zarr")
    chunk = store / "thermal" / "lst" / "c" / "0" / "0" / "0"
    broken = bytearray(chunk.read_bytes())
    broken[len(broken) // 2] ^= 4
    chunk.write_bytes(broken)
    with pytest.raises((RuntimeError, ValueError)):
        xr.open_zarr(store, group="thermal").lst[0].load()


def test_netcdf_is_compressed_checked_and_the_same(file, thermal):
    with xr.open_dataset(file, decode_coords="all") as dataset:
        np.testing.assert_array_equal(dataset.lst, thermal.imagery[:, 0])
        np.testing.assert_array_equal(dataset.time, TIMES)
        assert list(dataset.platform.values) == ["ISS"] * 3
    with h5netcdf.File(file) as raw:
        assert raw["lst"].compression == "gzip" and raw["lst"].fletcher32
        assert raw["lst"].chunks == (1, 256, 256)
        assert raw["qc"].attrs["flag_masks"].dtype == raw["qc"].dtype == np.uint8
        assert "_FillValue" not in raw["qc"].attrs
        assert raw["time"].attrs["units"].startswith("milliseconds since 1970-01-01")


def test_what_is_there_is_replaced_only_when_asked(thermal, tmp_path):
    target = to_netcdf(thermal, tmp_path / "out.nc", modality="thermal")
    with pytest.raises(StoreError, match="--overwrite"):
        to_netcdf(thermal, target, modality="thermal")
    to_netcdf(thermal.isel(time=[0]), target, modality="thermal", overwrite=True)
    with xr.open_dataset(target) as dataset:
        assert dataset.sizes["time"] == 1
    store = to_zarr({"thermal": thermal}, tmp_path / "out.zarr")
    with pytest.raises(StoreError, match="--overwrite"):
        to_zarr({"thermal": thermal}, store)
    to_zarr({"thermal": thermal.isel(time=[1])}, store, overwrite=True)
    assert xr.open_zarr(store, group="thermal").sizes["time"] == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out.nc", "out.zarr"]


def test_an_export_that_fails_leaves_nothing(thermal, tmp_path):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        to_zarr({"thermal": thermal}, tmp_path / "out.zarr", progress=stop)
    assert not list(tmp_path.iterdir())


def test_a_group_without_scenes_is_written_empty(thermal, tmp_path):
    none = thermal.isel(time=slice(0))
    store = to_zarr({"thermal": none}, tmp_path / "out.zarr")
    assert xr.open_zarr(store, group="thermal").lst.shape == (0, *GRID.shape)
    file = to_netcdf(none, tmp_path / "out.nc", modality="thermal")
    with xr.open_dataset(file) as dataset:
        assert dataset.lst.shape == (0, *GRID.shape)


def test_what_cannot_be_described_is_refused(thermal, tmp_path):
    with pytest.raises(SelectionError, match="sar, optical"):
        cf_dataset(thermal, "thermals")
    with pytest.raises(GridError, match="spatial_ref"):
        cf_dataset(thermal.drop_vars("spatial_ref"), "thermal")
    with pytest.raises(SelectionError, match="no group"):
        to_zarr({}, tmp_path / "out.zarr")


def test_memory_does_not_grow_with_the_number_of_scenes(tmp_path):
    """Scenes are made when they are read; 40 of them would be 26 MB."""
    import dask.array as da

    small = make(TIMES[:1], GRID)

    def many(count: int) -> xr.Dataset:
        times = TIMES[0] + np.arange(count) * np.timedelta64(1, "D")
        repeated = small.isel(time=np.zeros(count, int)).assign_coords(time=times)
        noise = da.random.default_rng(1).random(
            (count, 2, *GRID.shape), dtype=np.float32, chunks=(1, 2, 256, 256)
        )
        return repeated.assign(imagery=repeated.imagery.copy(data=noise))

    peaks = []
    for count in (8, 40):
        tracemalloc.start()
        to_zarr({"thermal": many(count)}, tmp_path / f"{count}.zarr")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0] + 2e6, peaks


@pytest.fixture(scope="module")
def catalogue(thermal, labels, tmp_path_factory) -> Path:
    groups = {"thermal": thermal, "labels": labels}
    folder = tmp_path_factory.mktemp("stac") / "catalogue"
    extra = {"thermocube:snapshot": "S1"}
    return to_stac(
        groups, folder, name="la", description="a cube", attrs=extra, store="https://x.org/la.zarr"
    )


def test_stac_has_an_item_a_scene_with_a_geotiff_a_band(catalogue, thermal):
    collection = pystac.Collection.from_file(str(catalogue))
    items = sorted(collection.get_items(), key=lambda item: item.id)
    assert [item.id for item in items] == [
        "la-thermal-20230622T193234000Z",
        "la-thermal-20230622T211000000Z",
        "la-thermal-20230701T030000250Z",
    ]
    for index, item in enumerate(items):
        assert set(item.assets) == {"lst", "emissivity", "qc"}
        assert item.properties["proj:code"] == "EPSG:32630"
        assert item.properties["proj:shape"] == [301, 270]
        cloud = 100 * float(thermal.cloud_fraction[index])
        assert item.properties["eo:cloud_cover"] == pytest.approx(cloud, abs=1e-4)
        assert item.properties["thermocube:granules"] == [f"g{index}", f"h{index}"]
        with rasterio.open(item.assets["lst"].get_absolute_href()) as layer:
            np.testing.assert_array_equal(layer.read(1), thermal.imagery[index, 0])
            assert layer.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert layer.transform == GRID.affine


def test_the_collection_describes_the_cube(catalogue):
    collection = pystac.Collection.from_file(str(catalogue))
    described = DatacubeExtension.ext(collection)
    assert set(described.variables) == {
        "thermal/lst",
        "thermal/emissivity",
        "thermal/qc",
        "labels/lithology",
    }
    variable = described.variables["thermal/lst"]
    assert variable.unit == "K"
    assert variable.dimensions == ["thermal/time", "thermal/y", "thermal/x"]
    assert set(variable.dimensions) <= set(described.dimensions)
    assert collection.extra_fields["thermocube:snapshot"] == "S1"
    assert collection.assets["zarr"].href == "https://x.org/la.zarr"
    classes = collection.assets["labels/lithology"].extra_fields["classification:classes"]
    assert len(classes) == 14
    with rasterio.open(collection.assets["labels/lithology"].get_absolute_href()) as layer:
        assert layer.shape == GRID.shape


def test_the_catalogue_validates_and_can_be_moved(catalogue, tmp_path):
    """Against the schemas of STAC itself, which pystac brings along."""
    import shutil

    pytest.importorskip("jsonschema")
    from pystac.validation.stac_validator import JsonSchemaSTACValidator

    moved = shutil.copytree(catalogue.parent, tmp_path / "moved")
    collection = pystac.Collection.from_file(str(moved / "collection.json"))
    validator = JsonSchemaSTACValidator()
    version = pystac.get_stac_version()
    kind = pystac.STACObjectType.COLLECTION
    validator.validate_core(collection.to_dict(), kind, version)
    for item in collection.get_items():
        validator.validate_core(item.to_dict(), pystac.STACObjectType.ITEM, version)
        assert Path(item.assets["qc"].get_absolute_href()).is_relative_to(moved)


def test_a_catalogue_of_nothing_is_refused(labels, tmp_path):
    with pytest.raises(SelectionError, match="no scene"):
        to_stac({"labels": labels}, tmp_path / "c", name="la", description="none")
