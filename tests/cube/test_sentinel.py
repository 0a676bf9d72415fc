"""Sentinel-1 and Sentinel-2 sources: STAC items and COGs on disk."""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pydantic import TypeAdapter, ValidationError

from cube.bands import OPTICAL, SAR
from cube.errors import GranuleError, SourceError
from cube.quality import BAD, Flag, is_valid
from cube.scene import Granule, Reading, group, mosaic
from cube.sources import AnySource
from cube.sources.base import Period
from cube.sources.decibel import to_decibel, to_power
from cube.sources.sentinel import Sentinel1Source, Sentinel2Source
from cube.sources.sentinel2 import SCL_FLAGS, ndvi

LONG_AGO, LATER = datetime(2014, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
EVER = Period(LONG_AGO, LATER)
CRS = "EPSG:32630"
LEFT, TOP = 400_000.0, 4_300_020.0
RED_NIR_NDVI = OPTICAL.require(("red", "nir", "ndvi"))
VV_VH = SAR.require(("vv", "vh"))


def grid70(height: int = 3, width: int = 4) -> GeoBox:
    """A region of 70 m pixels over the small rasters below; taller than wide on no account."""
    return GeoBox((height, width), Affine(70, 0, LEFT, 0, -70, TOP), CRS)


def write(
    path: Path,
    values: np.ndarray,
    *,
    step: float = 10.0,
    left: float = LEFT,
    top: float = TOP,
    crs: str | None = CRS,
    nodata: float | None = None,
) -> None:
    import warnings

    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    place = {"crs": crs, "transform": Affine(step, 0, left, 0, -step, top)} if crs else {}
    height, width = values.shape
    with warnings.catch_warnings():
        # Some of these files have no georeference on purpose.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", "GTiff", width, height, 1, dtype=values.dtype, nodata=nodata, **place
        ) as file:
            file.write(values, 1)


def item(
    name: str, collection: str | None, properties: dict[str, Any], assets: dict[str, Any]
) -> dict[str, Any]:
    west, south, east, north = -4.2, 38.7, -4.0, 38.9
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "collection": collection,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, east, north],
        "properties": {"datetime": "2024-04-19T10:55:49.024Z", **properties},
        "links": [],
        "assets": {
            key: asset if isinstance(asset, dict) else {"href": asset}
            for key, asset in assets.items()
        },
    }


def l2a(
    folder: Path, *, name: str = "S2B_T30SVH", made: str = "2024", **extra: Any
) -> dict[str, Any]:
    """A Planetary Computer item."""
    baseline = extra.pop("baseline", "05.10")
    content = item(
        name,
        "sentinel-2-l2a",
        {
            "platform": "Sentinel-2B",
            "proj:code": CRS,
            "s2:mgrs_tile": "30SVH",
            "s2:processing_baseline": baseline,
            "s2:datatake_id": "GS2B_20240419T105549_037185_N05.10",
            "s2:generation_time": f"{made}-04-19T12:34:58.775234Z",
            "eo:cloud_cover": 12.5,
            **extra,
        },
        {"B04": "B04.tif", "B08": "B08.tif", "SCL": "SCL.tif"},
    )
    (folder / f"{name}.json").write_text(json.dumps(content))
    return content


def optical(
    folder: Path, red: np.ndarray, nir: np.ndarray, scl: np.ndarray | int = 4, **places: Any
) -> None:
    height, width = red.shape
    if isinstance(scl, int):
        scl = np.full((height // 2 + 1, width // 2 + 1), scl)
    write(folder / "B04.tif", red.astype(np.uint16), **places)
    write(folder / "B08.tif", nir.astype(np.uint16), **places)
    write(folder / "SCL.tif", scl.astype(np.uint8), **({"step": 20.0} | places))


def s2(path: Path, **extra: Any) -> Sentinel2Source:
    return Sentinel2Source(kind="sentinel2", name="s2", path=path, **extra)


def s1(path: Path, **extra: Any) -> Sentinel1Source:
    return Sentinel1Source(kind="sentinel1", name="s1", path=path, **extra)


def only(granules: list[Granule]) -> Granule:
    assert len(granules) == 1
    assert granules[0].defect == ""
    return granules[0]


def assert_invariant(reading: Reading) -> None:
    finite = np.isfinite(reading.imagery).all(axis=0)
    np.testing.assert_array_equal(finite, is_valid(reading.qc))
    assert np.isnan(reading.imagery[:, (reading.qc & np.uint8(BAD)) != 0]).all()


# --- Sentinel-2, the real set 33TWL ---------------------------------------------------------


@pytest.fixture
def twl(shared_data: Path) -> Path:
    return shared_data / "granules" / "sentinel2"


def independent(file: Path, grid: GeoBox, how: str) -> np.ndarray:
    """The 33TWL files are 915 x 915 copies (120 m) of tile 33TWL without georeference."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.warp import Resampling, reproject

    with pytest.warns(NotGeoreferencedWarning), rasterio.open(file) as src:
        values = src.read(1).astype(np.float32)
    out = np.full(grid.shape, np.nan, np.float32)
    reproject(
        values,
        out,
        src_transform=Affine(120, 0, 499980, 0, -120, 5100000),
        src_crs="EPSG:32633",
        src_nodata=0,
        dst_transform=grid.affine,
        dst_crs=grid.crs.to_wkt(),
        dst_nodata=np.nan,
        resampling=Resampling[how],
    )
    return out


def twl_grid(left: float = 540_000, top: float = 5_050_000) -> GeoBox:
    return GeoBox((60, 90), Affine(70, 0, left, 0, -70, top), "EPSG:32633")


def test_both_real_dates_are_found_with_what_their_items_say(twl: Path) -> None:
    granules = s2(twl).search(twl_grid(), EVER)

    assert [(granule.id, granule.platform, granule.defect) for granule in granules] == [
        ("S2A_33TWL_20230815_0_L2A", "Sentinel-2A", ""),
        ("S2B_33TWL_20230810_0_L2A", "Sentinel-2B", ""),
    ]
    assert granules[0].key == "Sentinel-2A_33TWL_20230815T095031_S20230815T095630"
    assert granules[0].time == datetime(2023, 8, 15, 9, 58, 11, 662000, tzinfo=UTC)
    assert granules[0].version.startswith("05.09-00")
    assert granules[0].extra["cloud_cover"] == pytest.approx(0.20399)
    assert granules[0].size > 1_000_000


def test_real_files_without_crs_are_placed_by_their_item(twl: Path) -> None:
    grid = twl_grid()
    source = s2(twl)
    for granule in source.search(grid, EVER):
        folder = Path(granule.assets["red"]).parent
        reading = source.read(granule, grid, RED_NIR_NDVI)
        assert_invariant(reading)
        for index, name in enumerate(("B04", "B08")):
            expected = independent(folder / f"{name}.tif", grid, "average") * 1e-4
            both = is_valid(reading.qc) & np.isfinite(expected)
            np.testing.assert_allclose(reading.imagery[index][both], expected[both], atol=2e-6)
        scl = independent(folder / "SCL.tif", grid, "nearest")
        seen = np.isfinite(scl)
        np.testing.assert_array_equal(reading.product_qc[seen], scl[seen])
        assert seen.mean() > 0.99


def test_offset_already_applied_is_not_applied_again(twl: Path) -> None:
    """Trap 8: earthsearch:boa_offset_applied is true and yet raster:bands offset is -0.1."""
    grid = twl_grid()
    auto = s2(twl).read(s2(twl).search(grid, EVER)[0], grid, RED_NIR_NDVI[:1])
    forced = s2(twl, boa_offset="apply")
    twice = forced.read(forced.search(grid, EVER)[0], grid, RED_NIR_NDVI[:1])

    assert 0.02 < np.nanmedian(auto.imagery) < 0.06  # dark green forest in August
    both = is_valid(auto.qc) & is_valid(twice.qc)
    np.testing.assert_allclose(auto.imagery[0][both] - twice.imagery[0][both], 0.1, atol=1e-6)


def test_real_scene_classes_become_flags(twl: Path) -> None:
    grid = twl_grid()
    cloudy = s2(twl).search(grid, EVER)[1]
    reading = s2(twl).read(cloudy, grid, RED_NIR_NDVI)

    for value, flag in ((3, Flag.SHADOW), (6, Flag.WATER), (9, Flag.CLOUD)):
        where = reading.product_qc == value
        assert where.any()
        assert ((reading.qc[where] & int(flag)) != 0).all()
    assert is_valid(reading.qc)[reading.product_qc == 4].all()


def test_scene_classes_that_were_interpolated_are_refused(twl: Path) -> None:
    """The S2B copy was compressed with loss: three pixels hold class 12, which does not exist."""
    grid = twl_grid(607_200 - 2100, 5_087_340 + 2100)
    cloudy = s2(twl).search(grid, EVER)[1]

    with pytest.raises(GranuleError, match="class 12") as caught:
        s2(twl).read(cloudy, grid, RED_NIR_NDVI)
    assert caught.value.kind == "bad_quality_word"


# --- Sentinel-2, small rasters --------------------------------------------------------------


@pytest.mark.parametrize(
    ("baseline", "extra", "setting", "offset"),
    [
        ("05.10", {}, "auto", -1000),
        ("04.00", {}, "auto", -1000),
        ("03.01", {}, "auto", 0),
        ("02.14", {}, "auto", 0),
        ("05.10", {}, "applied", 0),
        ("02.14", {}, "apply", -1000),
        ("05.10", {"earthsearch:boa_offset_applied": True}, "auto", 0),
        ("05.10", {"earthsearch:boa_offset_applied": False}, "auto", -1000),
        ("02.14", {"earthsearch:boa_offset_applied": False}, "auto", 0),
        (None, {"s2:product_uri": "S2B_MSIL2A_20240419T095549_N0510_R122_T30SVH_X"}, "auto", -1000),
    ],
)
def test_dn_offset_follows_baseline_item_and_setting(
    tmp_path: Path, baseline: str | None, extra: dict[str, Any], setting: Any, offset: int
) -> None:
    l2a(tmp_path, baseline=baseline, **extra)
    optical(tmp_path, np.full((21, 28), 3000), np.full((21, 28), 6000))
    source = s2(tmp_path, boa_offset=setting)

    reading = source.read(only(source.search(grid70(), EVER)), grid70(), RED_NIR_NDVI)

    red, nir = (3000 + offset) / 10000, (6000 + offset) / 10000
    np.testing.assert_allclose(reading.imagery[0], red, rtol=1e-6)
    np.testing.assert_allclose(reading.imagery[1], nir, rtol=1e-6)
    np.testing.assert_allclose(reading.imagery[2], (nir - red) / (nir + red), rtol=1e-5)


def test_unknown_baseline_is_a_defect_that_a_setting_cures(tmp_path: Path) -> None:
    l2a(tmp_path, baseline=None)
    optical(tmp_path, np.full((21, 28), 3000), np.full((21, 28), 6000))

    (granule,) = s2(tmp_path).search(grid70(), EVER)
    assert "boa_offset" in granule.defect
    only(s2(tmp_path, boa_offset="applied").search(grid70(), EVER))


def test_seventy_metres_are_the_mean_of_the_pixels_with_data(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    red = random.integers(1100, 5000, (21, 28))
    red[:, 5:9] = 0
    red[7:14, 14:21] = 0
    l2a(tmp_path)
    optical(tmp_path, red, np.full((21, 28), 6000))

    reading = s2(tmp_path).read(only(s2(tmp_path).search(grid70(), EVER)), grid70(), RED_NIR_NDVI)

    blocks = np.where(red == 0, np.nan, red).reshape(3, 7, 4, 7)
    expected = np.full((3, 4), np.nan)
    count = (~np.isnan(blocks)).sum(axis=(1, 3))
    np.divide(np.nansum(blocks, axis=(1, 3)), count, out=expected, where=count > 0)
    np.testing.assert_allclose(reading.imagery[0], expected * 1e-4 - 0.1, atol=1e-6)
    assert reading.qc[1, 2] == Flag.MISSING
    assert_invariant(reading)


@pytest.mark.parametrize(("scene_class", "flag"), SCL_FLAGS.items())
def test_each_scene_class_has_its_flag(tmp_path: Path, scene_class: int, flag: Flag) -> None:
    l2a(tmp_path)
    optical(tmp_path, np.full((21, 28), 3000), np.full((21, 28), 6000), scene_class)

    reading = s2(tmp_path).read(only(s2(tmp_path).search(grid70(), EVER)), grid70(), RED_NIR_NDVI)

    assert (reading.qc == int(flag)).all()
    assert (reading.product_qc == scene_class).all()
    assert_invariant(reading)


def test_values_out_of_range_do_not_survive(tmp_path: Path) -> None:
    red, nir = np.full((21, 28), 3000), np.full((21, 28), 6000)
    red[2, 2] = 60_000  # a saturated pixel inside the first 70 m pixel
    nir[14:, 21:] = 100  # below zero after the offset, out of the band's range or not
    red[14:, 21:] = 1100
    l2a(tmp_path)
    optical(tmp_path, red, nir)

    reading = s2(tmp_path).read(only(s2(tmp_path).search(grid70(), EVER)), grid70(), RED_NIR_NDVI)

    assert reading.qc[0, 0] == Flag.OUT_OF_RANGE
    assert reading.qc[2, 3] == Flag.OUT_OF_RANGE
    assert is_valid(reading.qc).sum() == 10


@given(
    st.floats(-0.1, 1.6),
    st.floats(-0.1, 1.6),
)
def test_ndvi_is_an_index_or_refused(red: float, nir: float) -> None:
    values, strange = ndvi(np.array([red], np.float32), np.array([nir], np.float32))
    if strange[0]:
        assert red + nir < 2e-3 or min(red, nir) < 0
    else:
        assert -1 <= values[0] <= 1
        assert values[0] == pytest.approx((nir - red) / (nir + red), abs=1e-4)


def test_reprocessed_delivery_has_the_same_key_and_a_higher_version(tmp_path: Path) -> None:
    optical(tmp_path, np.full((21, 28), 3000), np.full((21, 28), 6000))
    l2a(tmp_path, name="old", baseline="02.14", made="2024")
    l2a(tmp_path, name="again", baseline="05.10", made="2025")
    l2a(tmp_path, name="late", baseline="05.10", made="2026")
    l2a(tmp_path, name="second", baseline="05.10", made="2024", **{"s2:sequence": "1"})

    granules = s2(tmp_path).search(grid70(), EVER)

    assert {granule.key for granule in granules} == {"Sentinel-2B_30SVH_20240419T105549"}
    in_order = sorted(granules, key=lambda granule: granule.version)
    assert [granule.id for granule in in_order] == ["old", "again", "late", "second"]


def test_parts_of_a_tile_from_two_datastrips_are_two_acquisitions(tmp_path: Path) -> None:
    optical(tmp_path, np.full((21, 28), 3000), np.full((21, 28), 6000))
    strip = "S2B_OPER_MSI_L2A_DS_2BPS_{made}_S20240419T{start}_N05.10"
    for name, sequence, made, start in (
        ("first", 0, "20240419T120000", "105550"),
        ("second", 1, "20240419T120500", "105610"),
        ("first again", 2, "20250101T000000", "105550"),
    ):
        identity = strip.format(made=made, start=start)
        l2a(tmp_path, name=name, **{"s2:sequence": str(sequence), "s2:datastrip_id": identity})
    keys = {granule.id: granule.key for granule in s2(tmp_path).search(grid70(), EVER)}
    assert keys["first"] == keys["first again"] != keys["second"]


def test_real_reprocessings_keep_the_start_of_their_datastrip(shared_data: Path) -> None:
    """One datatake, its tiles processed again on different days of 2020."""
    file = shared_data / "granules/api/odc_stac_items/site1-20200606-tall-strip-africa.geojson"
    africa = GeoBox((1400, 300), Affine(1000, 0, 500_000, 0, -1000, 10_000_000), "EPSG:32735")
    granules = s2(file).search(africa, EVER)
    assert len(granules) >= 5
    assert {granule.key[-33:] for granule in granules} == {"_20200606T080609_S20200606T083047"}


# --- where a file lies ----------------------------------------------------------------------


def test_georeference_of_the_file_wins_over_that_of_the_item(tmp_path: Path) -> None:
    red = np.arange(21 * 28).reshape(21, 28) + 2000
    elsewhere = [10.0, 0.0, LEFT + 50_000, 0.0, -10.0, TOP]
    l2a(
        tmp_path, **{"proj:transform": elsewhere, "proj:shape": [21, 28], "proj:code": "EPSG:32631"}
    )
    optical(tmp_path, red, red)

    reading = s2(tmp_path).read(only(s2(tmp_path).search(grid70(), EVER)), grid70(), RED_NIR_NDVI)

    expected = red.reshape(3, 7, 4, 7).mean(axis=(1, 3)) * 1e-4 - 0.1
    np.testing.assert_allclose(reading.imagery[0], expected, atol=1e-6)


@pytest.mark.parametrize("crs", [{"proj:epsg": 32630, "proj:code": None}, {"proj:code": CRS}])
def test_reduced_copy_without_georeference_is_placed_by_the_item(
    tmp_path: Path, crs: dict[str, Any]
) -> None:
    red = np.arange(3 * 4).reshape(3, 4) * 100 + 2000
    full = {"proj:transform": [10.0, 0.0, LEFT, 0.0, -10.0, TOP], "proj:shape": [21, 28]}
    l2a(tmp_path, **full, **crs)
    optical(tmp_path, red, red + 1000, np.full((3, 4), 5), crs=None)

    reading = s2(tmp_path).read(only(s2(tmp_path).search(grid70(), EVER)), grid70(), RED_NIR_NDVI)

    np.testing.assert_allclose(reading.imagery[0], red * 1e-4 - 0.1, atol=1e-6)


def test_file_of_other_proportions_is_not_stretched(tmp_path: Path) -> None:
    """Defect 5: SAR was stretched by array size. The first RTC items swap proj:shape."""
    transform = [10.0, 0.0, LEFT, 0.0, -10.0, TOP]
    l2a(tmp_path, **{"proj:transform": transform, "proj:shape": [28, 21]})
    optical(tmp_path, np.full((21, 28), 3000), np.full((21, 28), 6000), crs=None)
    granule = only(s2(tmp_path).search(grid70(), EVER))

    with pytest.raises(GranuleError, match="proj:shape") as caught:
        s2(tmp_path).read(granule, grid70(), RED_NIR_NDVI)
    assert caught.value.kind == "wrong_layer"


def test_no_georeference_anywhere_is_an_error(tmp_path: Path) -> None:
    l2a(tmp_path)
    optical(tmp_path, np.full((21, 28), 3000), np.full((21, 28), 6000), crs=None)
    granule = only(s2(tmp_path).search(grid70(), EVER))

    with pytest.raises(GranuleError, match="where on Earth"):
        s2(tmp_path).read(granule, grid70(), RED_NIR_NDVI)


def test_granule_beside_the_grid_reads_as_empty(tmp_path: Path) -> None:
    l2a(tmp_path)
    optical(tmp_path, np.full((21, 28), 3000), np.full((21, 28), 6000))
    granule = only(s2(tmp_path).search(grid70(), EVER))
    far = GeoBox((3, 4), Affine(70, 0, LEFT + 70_000, 0, -70, TOP), CRS)

    reading = s2(tmp_path).read(granule, far, RED_NIR_NDVI)

    assert reading.imagery.shape == (3, 3, 4)
    assert (reading.qc == Flag.MISSING).all()


# --- items ----------------------------------------------------------------------------------


def test_real_planetary_computer_items_say_that_their_assets_are_not_here(
    shared_data: Path,
) -> None:
    folder = shared_data / "granules" / "api" / "stac_items_planetary_computer"
    arctic = GeoBox((50, 50), Affine(2000, 0, 420_000, 0, -2000, 9_080_000), "EPSG:32647")

    granules = s2(folder / "sentinel-2-l2a-pc.json").search(arctic, EVER)

    assert len(granules) >= 2
    assert all("asset not here" in granule.defect for granule in granules)
    assert {granule.platform for granule in granules} == {"Sentinel-2B"}
    assert all(granule.extra["boa_offset"] == -1000 for granule in granules)
    assert "Sentinel-2B_47XML_20240419T095549_S20240419T095549" in {
        granule.key for granule in granules
    }


def test_real_rtc_items_are_told_apart_by_polarisation(shared_data: Path) -> None:
    folder = shared_data / "granules" / "api" / "stac_items_planetary_computer" / "s1-rtc"
    granules = s1(folder).search(grid70(), EVER)
    dual = [granule for granule in granules if "_1SDV_" in granule.id]
    other = [granule for granule in granules if "_1SDH_" in granule.id]

    # Their footprints are in UTM metres: they lie anywhere, and are not dropped for that.
    assert (len(dual), len(other)) == (4, 4)
    assert all("asset not here" in granule.defect for granule in dual)
    assert all(set(granule.assets) == {"vv", "vh"} for granule in dual)
    assert all("neither VV nor VH, only HH, HV" in granule.defect for granule in other)
    assert {granule.platform for granule in granules} == {"Sentinel-1A"}
    first = min(granule.time for granule in dual if granule.time)
    assert first == datetime(2019, 12, 15, 0, 38, 35, 311681, tzinfo=UTC)
    slices = [len(scene.granules) for scene in group(dual, timedelta(seconds=120))]
    assert slices == [1, 3]  # the pass's slices 2 to 10 are not among the files


def test_real_rtc_list_file_holds_four_slices_of_one_pass(shared_data: Path) -> None:
    file = shared_data / "granules/api/stac_items_planetary_computer/sentinel-1-rtc-pc.json"
    libya = GeoBox((700, 400), Affine(1000, 0, 372_000, 0, -1000, 3_930_000), "EPSG:32633")

    granules = s1(file).search(libya, EVER)

    assert len(granules) == 4
    (scene,) = group(granules, timedelta(seconds=120))
    starts = [granule.time for granule in scene.granules]
    assert starts == sorted(starts, key=str)


def test_other_json_is_passed_over_and_broken_json_is_not(tmp_path: Path) -> None:
    optical(tmp_path, np.full((21, 28), 3000), np.full((21, 28), 6000))
    content = l2a(tmp_path)
    l1c = {**content, "id": "other", "collection": "sentinel-2-l1c"}
    malformed = {**content, "id": "malformed", "geometry": {"type": "Polygon"}, "bbox": None}
    undated = {**content, "id": "undated", "properties": {"datetime": "tomorrow"}}
    projected = json.loads(json.dumps(content)) | {"id": "projected"}
    projected["assets"]["B04"]["proj:transform"] = ["a"] * 6
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "l1c.json").write_text(json.dumps(l1c))
    (tmp_path / "settings.json").write_text('{"type": "Feature", "id": "no stac"}')
    (tmp_path / "list.json").write_text(json.dumps([1, malformed, undated, projected]))
    (tmp_path / "cut.json").write_text(json.dumps(content)[:200])

    granules = {granule.id: granule for granule in s2(tmp_path).search(grid70(), EVER)}

    broken = granules.pop(f"s2:{tmp_path.name}/cut.json")
    assert "cannot be read as JSON" in broken.defect
    assert set(granules) == {"S2B_T30SVH", "malformed", "undated", "projected"}
    for name in ("malformed", "undated", "projected"):
        assert granules[name].time is None
        assert f"STAC item {name} in list.json is malformed" in granules[name].defect


def test_missing_file_and_missing_asset_are_defects(tmp_path: Path) -> None:
    content = l2a(tmp_path)
    optical(tmp_path, np.full((21, 28), 3000), np.full((21, 28), 6000))
    (tmp_path / "SCL.tif").unlink()
    del content["assets"]["B08"]
    (tmp_path / "bare.json").write_text(json.dumps({**content, "id": "bare"}))

    defects = {granule.id: granule.defect for granule in s2(tmp_path).search(grid70(), EVER)}

    assert "asset not here: scl" in defects["S2B_T30SVH"]
    assert "no asset for nir (nir or B08)" in defects["bare"]


def test_of_two_copies_of_an_item_the_usable_one_counts(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        l2a(tmp_path / folder)
    optical(tmp_path / "b", np.full((21, 28), 3000), np.full((21, 28), 6000))

    granule = only(s2(tmp_path).search(grid70(), EVER))

    assert Path(granule.assets["red"]).parent.name == "b"


def test_period_and_footprint_limit_the_search(tmp_path: Path) -> None:
    l2a(tmp_path)
    optical(tmp_path, np.full((21, 28), 3000), np.full((21, 28), 6000))
    year = Period(datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC))
    far = GeoBox((3, 4), Affine(70, 0, LEFT + 200_000, 0, -70, TOP), CRS)

    assert s2(tmp_path).search(grid70(), year) == []
    assert s2(tmp_path).search(far, EVER) == []
    only(s2(tmp_path).search(grid70(), EVER))


def test_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        s2(tmp_path / "nowhere").search(grid70(), EVER)


# --- Sentinel-1 -----------------------------------------------------------------------------


def rtc(
    folder: Path,
    *,
    name: str = "S1A_IW_GRDH_1SDV_rtc",
    start: str = "2024-04-19 04:59:04.220006+00:00",
    assets: tuple[str, ...] = ("vv", "vh"),
    properties: dict[str, Any] | None = None,
) -> None:
    declared = {"raster:bands": [{"nodata": -32768, "data_type": "float32"}]}
    content = item(
        name,
        "sentinel-1-rtc",
        {
            "platform": "SENTINEL-1A",
            "start_datetime": start,
            "proj:code": CRS,
            "sar:polarizations": [key.upper() for key in assets],
            **(properties or {}),
        },
        {key: {"href": f"{name}.{key}.tif", **declared} for key in assets},
    )
    (folder / f"{name}.json").write_text(json.dumps(content))


def backscatter(folder: Path, vv: np.ndarray, vh: np.ndarray, **places: Any) -> None:
    name = places.pop("name", "S1A_IW_GRDH_1SDV_rtc")
    write(folder / f"{name}.vv.tif", vv.astype(np.float32), **places)
    write(folder / f"{name}.vh.tif", vh.astype(np.float32), **places)


def gamma(seed: int = 3, shape: tuple[int, int] = (21, 28), mean: float = 0.1) -> np.ndarray:
    """Single-look speckle: exponential power."""
    return np.random.default_rng(seed).exponential(mean, shape).astype(np.float32) + 1e-5


def test_backscatter_is_averaged_as_power(tmp_path: Path) -> None:
    vv, vh = gamma(3), gamma(4, mean=0.02)
    rtc(tmp_path)
    backscatter(tmp_path, vv, vh)

    reading = s1(tmp_path).read(only(s1(tmp_path).search(grid70(), EVER)), grid70(), VV_VH)

    for band, power in zip(reading.imagery, (vv, vh), strict=True):
        mean = power.reshape(3, 7, 4, 7).mean(axis=(1, 3))
        np.testing.assert_allclose(band, 10 * np.log10(mean), atol=1e-4)
    of_logs = (10 * np.log10(vv)).reshape(3, 7, 4, 7).mean(axis=(1, 3))
    assert (reading.imagery[0] - of_logs).min() > 1.0  # single look: 2.5 dB in the mean
    assert (reading.qc == 0).all()  # no quality layer by design: not `unscreened` either
    assert (reading.product_qc == -1).all()


def test_bands_come_in_the_order_asked_for(tmp_path: Path) -> None:
    rtc(tmp_path)
    backscatter(tmp_path, gamma(3), gamma(4, mean=0.02))
    granule = only(s1(tmp_path).search(grid70(), EVER))

    forward = s1(tmp_path).read(granule, grid70(), VV_VH)
    backward = s1(tmp_path).read(granule, grid70(), VV_VH[::-1])

    np.testing.assert_array_equal(forward.imagery, backward.imagery[::-1])


@settings(max_examples=50)
@given(st.lists(st.floats(-40, 10), min_size=1, max_size=30))
def test_decibels_and_power_are_inverse_and_means_of_power_are_larger(values: list[float]) -> None:
    decibel = np.array(values, np.float32)
    np.testing.assert_allclose(to_decibel(to_power(decibel)), decibel, atol=1e-4)
    assert to_decibel(np.atleast_1d(to_power(decibel).mean()))[0] >= decibel.mean() - 1e-3


@pytest.mark.parametrize("nodata", [None, -99.0, float("nan")])
def test_files_in_decibels_give_the_same_as_files_in_power(
    tmp_path: Path, nodata: float | None
) -> None:
    vv, vh = gamma(3), gamma(4, mean=0.02)
    for folder in ("linear", "logarithmic"):
        (tmp_path / folder).mkdir()
        rtc(tmp_path / folder)
    hole = np.zeros(vv.shape, bool)
    if nodata is not None:
        hole[3:9, 10:16] = hole[14:21, 21:28] = True
    backscatter(
        tmp_path / "linear", np.where(hole, -32768, vv), np.where(hole, -32768, vh), nodata=-32768
    )
    backscatter(
        tmp_path / "logarithmic",
        np.where(hole, nodata or 0, 10 * np.log10(vv)),
        np.where(hole, nodata or 0, 10 * np.log10(vh)),
        nodata=nodata,
    )
    linear, logarithmic = s1(tmp_path / "linear"), s1(tmp_path / "logarithmic", units="dB")

    power = linear.read(only(linear.search(grid70(), EVER)), grid70(), VV_VH)
    decibel = logarithmic.read(only(logarithmic.search(grid70(), EVER)), grid70(), VV_VH)

    np.testing.assert_allclose(power.imagery, decibel.imagery, atol=1e-3)
    np.testing.assert_array_equal(power.qc, decibel.qc)
    assert is_valid(power.qc).sum() == (12 if nodata is None else 11)


def test_real_file_in_decibels_is_averaged_as_power(shared_data: Path, tmp_path: Path) -> None:
    import rasterio
    from rasterio.warp import Resampling, reproject

    name = "S1A__IW___A_20150309T173017_VV_grd_mli_geo_norm_db.tif"
    file = shared_data / "granules" / "sentinel1" / name
    content = item(
        "camargue", "sentinel-1-rtc", {"platform": "sentinel-1a"}, {"vv": {"href": str(file)}}
    )
    content |= {"geometry": None, "bbox": [4.48, 43.57, 4.56, 43.62]}
    (tmp_path / "camargue.json").write_text(json.dumps(content))
    grid = GeoBox((50, 60), Affine(70, 0, 620_060, 0, -70, 4_829_900), "EPSG:32631")
    source = s1(tmp_path, units="dB")

    reading = source.read(only(source.search(grid, EVER)), grid, VV_VH[:1])

    with rasterio.open(file) as src:
        power = 10 ** (src.read(1) / 10)
        expected = np.zeros(grid.shape, np.float32)
        reproject(
            power.astype(np.float32),
            expected,
            src_transform=src.transform,
            src_crs=src.crs,
            dst_transform=grid.affine,
            dst_crs=grid.crs.to_wkt(),
            resampling=Resampling.average,
        )
    valid = is_valid(reading.qc)
    assert valid.all()
    np.testing.assert_allclose(reading.imagery[0], 10 * np.log10(expected), atol=1e-3)


@pytest.mark.parametrize("wrong", ["linear", "dB"])
def test_files_in_other_units_than_said_are_refused(tmp_path: Path, wrong: Any) -> None:
    vv, vh = gamma(3), gamma(4)
    if wrong == "linear":
        vv, vh = 10 * np.log10(vv), 10 * np.log10(vh)
    rtc(tmp_path)
    backscatter(tmp_path, vv, vh)
    source = s1(tmp_path, units=wrong)

    with pytest.raises(GranuleError, match="`units`") as caught:
        source.read(only(source.search(grid70(), EVER)), grid70(), VV_VH)
    assert caught.value.kind == "wrong_layer"


def test_no_data_and_zero_power_are_missing(tmp_path: Path) -> None:
    vv = gamma(3)
    vv[:7, :7] = -32768
    vv[7:14, :7] = 0
    vv[:7, 8] = -32768
    rtc(tmp_path)  # the file declares no fill value, the item does
    backscatter(tmp_path, vv, gamma(4))

    reading = s1(tmp_path).read(only(s1(tmp_path).search(grid70(), EVER)), grid70(), VV_VH)

    assert reading.qc[0, 0] == reading.qc[1, 0] == Flag.MISSING
    mean = np.delete(vv[:7, 7:14], 1, axis=1).mean()
    assert reading.imagery[0, 0, 1] == pytest.approx(10 * np.log10(mean), abs=1e-4)
    assert_invariant(reading)


def test_negative_power_does_not_hide_in_a_mean(tmp_path: Path) -> None:
    vv = gamma(3)
    vv[3, 3] = -0.01
    rtc(tmp_path)
    backscatter(tmp_path, vv, gamma(4))

    reading = s1(tmp_path).read(only(s1(tmp_path).search(grid70(), EVER)), grid70(), VV_VH)

    assert reading.qc[0, 0] == Flag.OUT_OF_RANGE
    assert is_valid(reading.qc).sum() == 11


@pytest.mark.parametrize("bands", [("vv", "vh"), ("vh",)])
def test_vv_stored_twice_is_refused(tmp_path: Path, bands: tuple[str, ...]) -> None:
    """Defect 6."""
    rtc(tmp_path)
    backscatter(tmp_path, gamma(3), gamma(3))
    granule = only(s1(tmp_path).search(grid70(), EVER))

    with pytest.raises(GranuleError, match="stored twice") as caught:
        s1(tmp_path).read(granule, grid70(), SAR.require(bands))
    assert caught.value.kind == "wrong_layer"


def test_polarisation_that_a_granule_lacks_is_named(tmp_path: Path) -> None:
    rtc(tmp_path, assets=("vv",))
    backscatter(tmp_path, gamma(3), gamma(4))
    granule = only(s1(tmp_path).search(grid70(), EVER))

    assert np.isfinite(s1(tmp_path).read(granule, grid70(), VV_VH[:1]).imagery).all()
    with pytest.raises(GranuleError, match="'vh'") as caught:
        s1(tmp_path).read(granule, grid70(), VV_VH)
    assert caught.value.kind == "missing_layer"


def test_slices_of_one_orbit_become_one_scene(tmp_path: Path) -> None:
    """Defect 14: slices that were not mosaicked left half the area empty."""
    for number, second in enumerate(("04", "29")):
        name = f"slice{number}_rtc"
        rtc(tmp_path, name=name, start=f"2024-04-19 04:59:{second}.220006+00:00")
        left = LEFT + 140 * number
        backscatter(
            tmp_path, gamma(number, (21, 14)), gamma(9 + number, (21, 14)), left=left, name=name
        )

    granules = s1(tmp_path).search(grid70(), EVER)
    (scene,) = group(granules, timedelta(seconds=120))
    readings = [s1(tmp_path).read(granule, grid70(), VV_VH) for granule in scene.granules]

    assert not is_valid(readings[0].qc)[:, 2:].any()
    assert not is_valid(readings[1].qc)[:, 0].any()
    assert is_valid(mosaic(readings).qc).all()


def test_items_of_other_collections_are_passed_over(tmp_path: Path) -> None:
    rtc(tmp_path)
    backscatter(tmp_path, gamma(3), gamma(4))
    file = tmp_path / "S1A_IW_GRDH_1SDV_rtc.json"
    content = json.loads(file.read_text())
    (tmp_path / "grd.json").write_text(
        json.dumps({**content, "id": "grd", "collection": "sentinel-1-grd"})
    )

    assert only(s1(tmp_path).search(grid70(), EVER)).id == "S1A_IW_GRDH_1SDV_rtc"
    assert only(s1(tmp_path, collection="sentinel-1-grd").search(grid70(), EVER)).id == "grd"
    assert s2(tmp_path).search(grid70(), EVER) == []


# --- the region file ------------------------------------------------------------------------


def test_tables_of_the_region_file_are_parsed() -> None:
    tables = tomllib.loads(
        """
        [[sources]]
        kind = "sentinel2"
        name = "s2"
        path = "sentinel2"
        boa_offset = "applied"

        [[sources]]
        kind = "sentinel1"
        name = "s1"
        path = "sentinel1"
        units = "dB"
        """
    )
    parsed = TypeAdapter(list[AnySource]).validate_python(tables["sources"])

    assert [(source.kind, source.modality) for source in parsed] == [
        ("sentinel2", "optical"),
        ("sentinel1", "sar"),
    ]
    with pytest.raises(ValidationError, match="extra_forbidden"):
        TypeAdapter(AnySource).validate_python({**tables["sources"][0], "bao_offset": "apply"})
