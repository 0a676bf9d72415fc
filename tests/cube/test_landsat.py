"""Landsat 8/9 Collection 2 Level 2: real files, small rasters, items of several catalogues."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from cube.bands import THERMAL
from cube.errors import GranuleError
from cube.grid import region_grid
from cube.quality import BAD, Flag, is_valid
from cube.scene import Granule, Reading
from cube.sources.base import Period
from cube.sources.landsat import QA_FLAGS, LandsatSource, decode_qa_pixel
from stac_server import Answer, Loopback, RangeServer, StacServer

EVER = Period(datetime(2013, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
PRODUCT = "LC08_L2SP_017036_20130419_20200913_02_T2"
CLEAR, CLOUD = 0b0101010101000000, 0b0101011101001000
CRS = "EPSG:32617"
LEFT, TOP = 300_000.0, 3_900_000.0
LST = THERMAL.require(("lst",))
BOTH = THERMAL.require(("lst", "emissivity"))


def landsat(**settings: Any) -> LandsatSource:
    return LandsatSource(kind="landsat", name="landsat", **settings)


def only(granules: list[Granule]) -> Granule:
    (granule,) = granules
    assert granule.defect == ""
    return granule


def grid70(height: int = 3, width: int = 4) -> GeoBox:
    return GeoBox((height, width), Affine(70, 0, LEFT, 0, -70, TOP), CRS)


def write(path: Path, values: np.ndarray, dtype: str, nodata: float | None = None) -> None:
    import rasterio

    height, width = values.shape
    place = {"crs": CRS, "transform": Affine(35, 0, LEFT, 0, -35, TOP), "nodata": nodata}
    with rasterio.open(path, "w", "GTiff", width, height, 1, dtype=dtype, **place) as file:
        file.write(values.astype(dtype), 1)


def kelvin(temperature: float) -> int:
    return round((temperature - 149.0) / 0.00341802)


def product(
    folder: Path,
    lst: np.ndarray | float = 300.0,
    qa: np.ndarray | int = CLEAR,
    *,
    name: str = PRODUCT,
    mtl: bool = True,
    **layers: np.ndarray,
) -> None:
    """A small product at 35 m: two pixels to one of the grid."""
    shape = (6, 8)
    number = np.full(shape, kelvin(lst)) if isinstance(lst, float) else lst
    write(folder / f"{name}_ST_B10.TIF", number, "uint16", 0)
    write(folder / f"{name}_QA_PIXEL.TIF", np.broadcast_to(qa, shape), "uint16")
    for suffix, values in layers.items():
        write(folder / f"{name}_{suffix}.TIF", values, "int16", -9999)
    if mtl:
        attributes = {"IMAGE_ATTRIBUTES": {"SCENE_CENTER_TIME": "16:01:51.8294190Z"}}
        (folder / f"{name}_MTL.json").write_text(json.dumps(attributes))


def read(folder: Path, bands: Any = LST, grid: GeoBox | None = None) -> Reading:
    grid, source = grid or grid70(), landsat(path=folder)
    reading = source.read(only(source.search(grid, EVER)), grid, bands)
    finite = np.isfinite(reading.imagery).all(axis=0)
    np.testing.assert_array_equal(finite, is_valid(reading.qc))
    return reading


# --- the real product -----------------------------------------------------------------------


@pytest.fixture
def real(shared_data: Path) -> Path:
    return shared_data / "granules" / "landsat" / "LC08_L2SP_017036_20130419"


def georgia() -> GeoBox:
    return GeoBox((300, 300), Affine(500, 0, 250_000, 0, -500, 3_900_000), CRS)


def test_real_files_are_known_by_their_names(real: Path) -> None:
    granule = only(landsat(path=real).search(georgia(), EVER))

    assert granule.id == PRODUCT
    assert granule.key == "LC08_017036_20130419"
    assert granule.version == "20200913-1"
    assert granule.platform == "Landsat-8"
    assert granule.time == datetime(2013, 4, 19, 16, 1, 51, 829419, tzinfo=UTC)
    assert set(granule.assets) == {"lst", "lst_err", "qa"}  # SR_B4 is none of ours
    assert granule.size == sum(Path(href).stat().st_size for href in granule.assets.values())
    # Level 1 and other products in the folders beside it are none of this source's business.
    assert only(landsat(path=real.parent).search(georgia(), EVER)).id == PRODUCT


def test_the_floor_of_real_cloud_does_not_survive(real: Path) -> None:
    """Trap 7: 120 792 pixels of DN 293, 150 K; the scene is all cloud."""
    reading = read(real, grid=georgia())

    assert not is_valid(reading.qc).any()
    seen = (reading.qc & int(Flag.MISSING)) == 0
    assert seen.mean() > 0.5
    assert ((reading.qc[seen] & int(Flag.CLOUD)) != 0).all()
    assert ((reading.qc[seen] & int(Flag.OUT_OF_RANGE)) != 0).mean() > 0.5
    assert set(np.unique(reading.product_qc)) - {-1} == {1, 22280, 55052}


def test_the_floor_does_not_survive_where_the_mask_fails(real: Path, tmp_path: Path) -> None:
    """As if the mask called a clear sky: no pixel with a share of DN 293 is valid."""
    import rasterio
    from rasterio.warp import Resampling, reproject

    grid = georgia()
    for file in real.glob("*"):
        shutil.copyfile(file, tmp_path / file.name)
    (tmp_path / f"{PRODUCT}_ST_QA.TIF").unlink()
    with rasterio.open(tmp_path / f"{PRODUCT}_ST_B10.TIF") as src:
        number, profile, place = src.read(1), src.profile, src.transform
    floor = number == 293
    assert floor.sum() == 120_792
    with rasterio.open(tmp_path / f"{PRODUCT}_QA_PIXEL.TIF", "w", **profile) as file:
        # Here and there only, or the layer would be refused as a whole.
        file.write(
            np.where(
                floor, np.where(floor.cumsum().reshape(floor.shape) % 40 == 0, CLEAR, CLOUD), CLEAR
            ),
            1,
        )

    reading = read(tmp_path, grid=grid)

    share = np.zeros(grid.shape, np.float32)
    reproject(
        np.where(number == 0, np.nan, floor).astype(np.float32),
        share,
        src_transform=place,
        src_crs=CRS,
        src_nodata=np.nan,
        dst_transform=grid.affine,
        dst_crs=CRS,
        dst_nodata=np.nan,
        resampling=Resampling.bilinear,
    )
    valid = is_valid(reading.qc)
    assert valid.sum() > 1000
    assert not (share[valid] > 0).any()
    assert np.nanmin(reading.imagery) >= 170


def test_real_values_are_those_of_an_independent_warp(real: Path, tmp_path: Path) -> None:
    import rasterio
    from rasterio.warp import Resampling, reproject

    grid = georgia()
    for layer in ("ST_B10", "QA_PIXEL"):
        shutil.copyfile(real / f"{PRODUCT}_{layer}.TIF", tmp_path / f"{PRODUCT}_{layer}.TIF")
    shutil.copyfile(real / f"{PRODUCT}_MTL.json", tmp_path / f"{PRODUCT}_MTL.json")
    with rasterio.open(real / f"{PRODUCT}_ST_B10.TIF") as src:
        number, profile, place = src.read(1), src.profile, src.transform
    with rasterio.open(tmp_path / f"{PRODUCT}_QA_PIXEL.TIF", "w", **profile) as file:
        file.write(np.where(number == 293, CLOUD, CLEAR).astype(np.uint16), 1)
    expected = np.full(grid.shape, np.nan, np.float32)
    temperature = number * np.float64(0.00341802) + 149.0
    reproject(
        np.where(number == 0, np.nan, temperature).astype(np.float32),
        expected,
        src_transform=place,
        src_crs=CRS,
        src_nodata=np.nan,
        dst_transform=grid.affine,
        dst_crs=CRS,
        dst_nodata=np.nan,
        resampling=Resampling.bilinear,
    )

    reading = read(tmp_path, grid=grid)

    valid = is_valid(reading.qc)
    assert valid.sum() > 1000
    np.testing.assert_allclose(reading.imagery[0][valid], expected[valid], atol=2e-3)


# --- small rasters --------------------------------------------------------------------------


def test_temperature_and_emissivity_are_scaled(tmp_path: Path) -> None:
    emissivity = np.full((6, 8), 9650)
    emissivity[:2, :2] = -9999
    product(tmp_path, 295.5, ST_EMIS=emissivity, ST_QA=np.full((6, 8), 123))

    reading = read(tmp_path, THERMAL.require(("lst", "emissivity", "lst_err")))

    valid = is_valid(reading.qc)
    assert valid.sum() == 11
    for band, expected in zip(reading.imagery, (295.5, 0.965, 1.23), strict=True):
        np.testing.assert_allclose(band[valid], expected, atol=2e-3)
    assert reading.qc[0, 0] == Flag.POOR_QUALITY  # measured, but no emissivity
    assert read(tmp_path).qc[0, 0] == 0


def test_fill_of_the_temperature_is_a_failed_retrieval(tmp_path: Path) -> None:
    number = np.full((6, 8), kelvin(300.0))
    number[:2, :2] = 0
    word = np.full((6, 8), CLEAR)
    word[4:, 6:] = 1
    product(tmp_path, number, word)

    reading = read(tmp_path)

    assert reading.qc[0, 0] == Flag.POOR_QUALITY
    assert reading.qc[2, 3] == Flag.MISSING
    assert is_valid(reading.qc).sum() == 10
    assert reading.product_qc[2, 3] == 1


@pytest.mark.parametrize(("bit", "flag"), QA_FLAGS.items())
def test_each_bit_has_its_flag(tmp_path: Path, bit: int, flag: Flag) -> None:
    product(tmp_path, 300.0, CLEAR & ~(1 << 6) | 1 << bit)
    reading = read(tmp_path)
    assert (reading.qc == int(flag)).all()
    assert is_valid(reading.qc).all() == (flag & BAD == 0)


@given(st.integers(0, 0xFFFF))
def test_every_word_is_decoded_or_refused(word: int) -> None:
    reserved = any((word >> bit) & 3 == 2 for bit in (10, 12, 14))
    if reserved:
        with pytest.raises(GranuleError, match="reserved") as caught:
            decode_qa_pixel(np.array([word]))
        assert caught.value.kind == "bad_quality_word"
        return
    expected = Flag(0)
    for bit, flag in QA_FLAGS.items():
        expected |= flag if word >> bit & 1 else Flag(0)
    assert decode_qa_pixel(np.array([word]))[0] == (Flag.MISSING if word & 1 else expected)


@pytest.mark.parametrize("word", [-1, 0x10000])
def test_words_of_more_than_16_bits_are_refused(word: int) -> None:
    with pytest.raises(GranuleError, match="16 bits"):
        decode_qa_pixel(np.array([word]))


def test_another_layer_under_the_name_is_refused(tmp_path: Path) -> None:
    """Defect 1: ST_QA, hundredths of a kelvin, in place of ST_B10."""
    product(tmp_path, np.random.default_rng(1).integers(100, 900, (6, 8)))
    with pytest.raises(GranuleError, match="another layer") as caught:
        read(tmp_path)
    assert caught.value.kind == "wrong_layer"


def test_a_band_that_is_not_there_is_named(tmp_path: Path) -> None:
    product(tmp_path)
    with pytest.raises(GranuleError, match="'emissivity'") as caught:
        read(tmp_path, BOTH)
    assert caught.value.kind == "missing_layer"


def test_product_beside_the_grid_reads_as_empty(tmp_path: Path) -> None:
    product(tmp_path)
    far = GeoBox((3, 4), Affine(70, 0, LEFT + 70_000, 0, -70, TOP), CRS)
    assert (read(tmp_path, grid=far).qc == Flag.MISSING).all()


# --- names, versions, defects ---------------------------------------------------------------


def test_deliveries_of_one_scene_are_ordered_by_processing_then_tier(tmp_path: Path) -> None:
    names = [
        "LC09_L2SP_017036_20230419_20230420_02_RT",
        "LC09_L2SP_017036_20230419_20230505_02_RT",
        "LC09_L2SP_017036_20230419_20230505_02_T2",
        "LC09_L2SP_017036_20230419_20230505_02_T1",
        "LC09_L2SP_017036_20230419_20240101_02_T2",
    ]
    for name in reversed(names):
        product(tmp_path, name=name)

    granules = landsat(path=tmp_path).search(grid70(), EVER)

    assert {granule.key for granule in granules} == {"LC09_017036_20230419"}
    assert {granule.platform for granule in granules} == {"Landsat-9"}
    assert [one.id for one in sorted(granules, key=lambda one: one.version)] == names


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("json", '{"SCENE_CENTER_TIME": "16:01:51.8294190Z"}'),
        ("txt", '    SCENE_CENTER_TIME = "16:01:51.8294190Z"\n'),
        ("xml", "<SCENE_CENTER_TIME>16:01:51.8294190Z</SCENE_CENTER_TIME>"),
    ],
)
def test_time_of_day_comes_from_the_metadata(tmp_path: Path, text: str, kind: str) -> None:
    product(tmp_path, mtl=False)
    (tmp_path / f"{PRODUCT}_MTL.{kind}").write_text(text)
    granule = only(landsat(path=tmp_path).search(grid70(), EVER))
    assert granule.time == datetime(2013, 4, 19, 16, 1, 51, 829419, tzinfo=UTC)


def test_what_cannot_be_used_says_why(tmp_path: Path) -> None:
    def defect(folder: str, **settings: Any) -> str:
        (granule,) = landsat(path=tmp_path / folder).search(grid70(), EVER)
        return granule.defect

    for folder in ("undated", "partial", "copied", "reflectance", "clash"):
        (tmp_path / folder).mkdir()
    product(tmp_path / "undated", mtl=False)
    product(tmp_path / "partial")
    (tmp_path / "partial" / f"{PRODUCT}_QA_PIXEL.TIF").unlink()
    (tmp_path / "copied" / f"{PRODUCT}_ST_B10 (1).TIF").write_bytes(b"")
    name = PRODUCT.replace("L2SP", "L2SR")
    (tmp_path / "reflectance" / f"{name}_QA_PIXEL.TIF").write_bytes(b"")
    product(tmp_path / "clash")
    (tmp_path / "clash" / "again").mkdir()
    (tmp_path / "clash" / "again" / f"{PRODUCT}_QA_PIXEL.TIF").write_bytes(b"other")

    assert "MTL.json" in defect("undated")
    assert defect("partial") == "layer QA_PIXEL missing"
    assert "not named as a layer" in defect("copied")
    assert "no surface temperature" in defect("reflectance")
    assert "two different files" in defect("clash")


def test_period_limits_the_search(tmp_path: Path) -> None:
    product(tmp_path)
    later = Period(datetime(2014, 1, 1, tzinfo=UTC), EVER.end)
    assert landsat(path=tmp_path).search(grid70(), later) == []


# --- STAC items -----------------------------------------------------------------------------


def stac_item(folder: str | Path, *, name: str = PRODUCT, **properties: Any) -> dict[str, Any]:
    """An item as Planetary Computer gives it: its id lacks the day of processing."""
    parts = name.split("_")
    assets = {"lwir11": "ST_B10", "qa_pixel": "QA_PIXEL"}
    west, south, east, north = -84.0, 34.0, -82.0, 36.0
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "_".join([*parts[:4], *parts[5:]]),
        "collection": "landsat-c2-l2",
        "bbox": [west, south, east, north],
        "geometry": {
            "type": "Polygon",
            "coordinates": [
                [[west, south], [east, south], [east, north], [west, north], [west, south]]
            ],
        },
        "properties": {
            "datetime": "2013-04-19T16:01:51.829419Z",
            "platform": "landsat-8",
            **properties,
        },
        "links": [],
        "assets": {
            key: {"href": f"{folder}/{name}_{suffix}.TIF"} for key, suffix in assets.items()
        },
    }


def test_item_bare_files_and_api_give_the_same_granule(tmp_path: Path) -> None:
    here, beside = tmp_path / "bare", tmp_path / "items"
    here.mkdir()
    product(here)
    shutil.copytree(here, beside)
    (beside / f"{PRODUCT}_MTL.json").unlink()
    (beside / "item.json").write_text(json.dumps(stac_item(".")))
    with RangeServer(here) as files:
        item = stac_item(files.url)
        for asset in item["assets"].values():
            asset["file:size"] = (here / asset["href"].rsplit("/", 1)[-1]).stat().st_size
        with StacServer([item], tmp_path) as catalog:
            sources = [
                landsat(path=here),
                landsat(path=beside),
                landsat(catalog=catalog.url),
            ]
            granules = [only(source.search(grid70(), EVER)) for source in sources]
            readings = [
                source.read(granule, grid70(), LST)
                for source, granule in zip(sources, granules, strict=True)
            ]
    for attribute in ("id", "key", "version", "platform", "time", "size", "fingerprint"):
        assert len({getattr(granule, attribute) for granule in granules}) == 1
    for reading in readings[1:]:
        np.testing.assert_array_equal(reading.imagery, readings[0].imagery)
        np.testing.assert_array_equal(reading.qc, readings[0].qc)
    assert is_valid(readings[0].qc).all()


def test_items_of_other_craft_and_level_are_told_apart(tmp_path: Path) -> None:
    def named(name: str, **properties: Any) -> dict[str, Any]:
        return stac_item(tmp_path, name=name, **properties)

    reflectance = named("LC09_L2SR_017036_20230419_20230505_02_T1", platform="landsat-9")
    del reflectance["assets"]["lwir11"]
    seven = named("LE07_L2SP_017036_20230419_20230505_02_T1", platform="landsat-7")
    nameless = stac_item(tmp_path)
    nameless["id"] = "renamed"
    for asset in nameless["assets"].values():
        asset["href"] = "renamed.tif"
    (tmp_path / "items.json").write_text(json.dumps([reflectance, seven, nameless]))

    found = {one.id: one for one in landsat(path=tmp_path).search(grid70(), EVER)}

    assert set(found) == {"LC09_L2SR_017036_20230419_20230505_02_T1", "renamed"}
    assert "no surface temperature" in found["LC09_L2SR_017036_20230419_20230505_02_T1"].defect
    assert "no name of a Landsat" in found["renamed"].defect


def test_real_items_of_planetary_computer(shared_data: Path, tmp_path: Path) -> None:
    file = shared_data / "granules/api/stac_items_planetary_computer/landsat-c2-l2-pc.json"
    items = json.loads(file.read_text())
    box = items[0]["bbox"]
    grid = region_grid((box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1), None, 1000.0)
    with StacServer(items, tmp_path) as catalog:
        granules = landsat(catalog=catalog.url).search(grid, EVER)

    (granule,) = [one for one in granules if "089090" in one.id]
    assert granule.id == "LC09_L2SP_089090_20240417_20240418_02_T1"
    assert granule.key == "LC09_089090_20240417"
    assert granule.version == "20240418-2"
    assert granule.platform == "Landsat-9"
    assert granule.defect == ""
    assert set(granule.assets) == {"lst", "emissivity", "lst_err", "qa"}
    assert len(granules) < 4  # the other rows of the pass lie elsewhere


def test_hundred_real_items_over_several_pages(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow.parquet

    from cube.sources import stac_api

    file = shared_data / "granules/api/stac_geoparquet_rustac/100-landsat-items.parquet"
    items = [_item_of(row) for row in pyarrow.parquet.read_table(file).to_pylist()]
    grid = region_grid((-106.0, 39.0, -104.0, 41.0), None, 1000.0)
    with StacServer(items, tmp_path) as catalog, pytest.MonkeyPatch.context() as patch:
        patch.setattr(stac_api, "PAGE", 7)
        granules = landsat(catalog=catalog.url).search(grid, EVER)

    wanted = {item["id"] for item in items if item["properties"]["platform"] != "landsat-7"}
    short = {"_".join([*one.id.split("_")[:4], *one.id.split("_")[5:]]) for one in granules}
    assert len(wanted) == 99
    assert short == wanted
    assert len({one.key for one in granules}) == len(granules)


def _item_of(row: dict[str, Any]) -> dict[str, Any]:
    """A row of stac-geoparquet as an item; only what a search needs."""
    box = row["bbox"]
    west, south, east, north = box["xmin"], box["ymin"], box["xmax"], box["ymax"]
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": row["id"],
        "collection": row["collection"],
        "bbox": [west, south, east, north],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "datetime": row["datetime"].isoformat().replace("+00:00", "Z"),
            "platform": row["platform"],
        },
        "links": [],
        "assets": {
            key: {"href": asset["href"]}
            for key, asset in row["assets"].items()
            if asset is not None
        },
    }


def test_recorded_landsat_items_of_a_collection(shared_data: Path) -> None:
    """Ten items of Planetary Computer, all without surface temperature (level L2SR)."""
    import yaml

    file = shared_data / "granules/api/stac_cassettes_pystac_client/test_fallback_strategy.yaml"
    exchanges = yaml.safe_load(file.read_text())["interactions"]
    root, _, page = (json.loads(one["response"]["body"]["string"]) for one in exchanges)
    page["links"] = []
    with Loopback(lambda request: Answer.of(page if request.path == "/search" else home)) as server:
        host = "https://planetarycomputer.microsoft.com/api/stac/v1"
        home = json.loads(json.dumps(root).replace(host, server.url))
        box = page["features"][0]["bbox"]
        grid = region_grid((box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1), None, 1000.0)
        granules = landsat(catalog=server.url).search(grid, EVER)

    assert granules
    assert all("no surface temperature" in granule.defect for granule in granules)
    assert all(granule.time and granule.platform == "Landsat-9" for granule in granules)
