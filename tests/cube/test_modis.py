"""The MODIS source: HDF4-EOS tiles and single layers, read onto a region's grid."""

from __future__ import annotations

import importlib.util
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pydantic import ValidationError
from pyproj import Transformer
from rasterio.io import MemoryFile
from rasterio.warp import Resampling, reproject

from cube.bands import MODIS_LST, MODIS_NDVI
from cube.errors import GranuleError, SourceError
from cube.quality import Flag, is_valid
from cube.scene import Coverage, Granule, Reading, group, mosaic
from cube.sources.base import Period
from cube.sources.modis import ModisSource
from cube.sources.modis_grid import RADIUS, TILE, sinusoidal, tile_box
from cube.sources.modis_hdf import read_planes
from modis_files import (
    GQ,
    GRID,
    H17,
    LST_ATTRIBUTES,
    crop,
    field,
    lst_layers,
    metadata,
    window,
    write_hdf,
    write_lst,
    write_reflectance,
)

pytest.importorskip("pyhdf.SD", reason="needs pyhdf, of the extra `modis`")

EVER = Period(datetime(1999, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC))
LST = MODIS_LST.require(("lst",))
RED_NIR_NDVI = MODIS_NDVI.require(("red", "nir", "ndvi"))


def source(folder: Path, product: str = "MOD11A1", **extra: Any) -> ModisSource:
    table = {"kind": "modis", "name": "modis", "path": folder, "product": product}
    return ModisSource.model_validate(table | extra)


def granules(origin: ModisSource, grid: GeoBox = GRID) -> dict[str, Granule]:
    return {granule.id: granule for granule in origin.search(grid, EVER)}


def read_day(folder: Path, grid: GeoBox = GRID, **extra: Any) -> Reading:
    origin = source(folder, **extra)
    return origin.read(granules(origin, grid)[f"{H17}:day"], grid, LST)


def assert_invariant(reading: Reading) -> None:
    finite = np.isfinite(reading.imagery).all(axis=0)
    np.testing.assert_array_equal(finite, is_valid(reading.qc))


def warp_by_rasterio(values: np.ndarray, box: GeoBox, grid: GeoBox, how: Resampling) -> np.ndarray:
    """The same warp, by rasterio alone and with the CRS written another way."""
    out = np.full(grid.shape, np.nan, np.float32)
    wkt = rasterio.crs.CRS.from_proj4(
        "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +a=6371007.181 +b=6371007.181 +units=m +no_defs"
    )
    reproject(
        values.astype(np.float32),
        out,
        src_transform=box.affine,
        src_crs=wkt,
        dst_transform=grid.affine,
        dst_crs="EPSG:32630",
        src_nodata=np.nan,
        dst_nodata=np.nan,
        resampling=how,
    )
    return out


# --- times and settings ---


def test_times_are_the_satellites_overpass_at_the_regions_longitude(tmp_path: Path) -> None:
    write_lst(tmp_path)
    found = granules(source(tmp_path))

    # 4.0 degrees west is 16 minutes behind Greenwich.
    assert found[f"{H17}:day"].time == datetime(2020, 5, 2, 10, 46, tzinfo=UTC)
    assert found[f"{H17}:night"].time == datetime(2020, 5, 2, 22, 46, tzinfo=UTC)


@pytest.mark.parametrize(
    ("product", "extra"),
    [
        ("MOD11A1", {"max_lst_error": 1.5}),
        ("MOD21A1D", {"max_lst_error": 3.0}),
        ("MOD09GQ", {"max_lst_error": 1.0}),
        ("MOD09GQ", {"band_quality": (0, 15)}),
        ("MOD13A2", {}),
    ],
)
def test_settings_that_the_product_cannot_meet_are_errors(
    tmp_path: Path, product: str, extra: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        source(tmp_path, product, **extra)


# --- reading LST ------------------------------------------------------------------------------


def test_lst_is_what_rasterio_makes_of_the_same_pixels(tmp_path: Path) -> None:
    write_lst(tmp_path)
    reading = read_day(tmp_path)
    expected = warp_by_rasterio(field(crop()) * 0.02, crop(), GRID, Resampling.bilinear)

    assert_invariant(reading)
    assert np.isfinite(reading.imagery).all()
    np.testing.assert_allclose(reading.imagery[0], expected, atol=0.02)
    assert (reading.qc == 0).all()
    assert (reading.product_qc == 0).all()


def test_day_and_night_are_two_granules_of_one_file(tmp_path: Path) -> None:
    path = write_lst(tmp_path)
    origin = source(tmp_path)
    found = granules(origin)

    assert set(found) == {f"{H17}:day", f"{H17}:night"}
    assert {one.key for one in found.values()} == {
        "MOD11A1.A2020123.h17v05:day",
        "MOD11A1.A2020123.h17v05:night",
    }
    assert {(one.version, one.platform, one.modality) for one in found.values()} == {
        ("061.2021008155123", "Terra", "modis_lst")
    }
    assert all(one.assets == {"hdf": str(path)} for one in found.values())
    day, night = (origin.read(one, GRID, LST).imagery for one in found.values())
    np.testing.assert_allclose(day - night, 20.0, atol=0.02)


def test_observed_time_is_the_view_time_in_utc(tmp_path: Path) -> None:
    write_lst(tmp_path)
    origin = source(tmp_path)

    # 10.8 h and 21.8 h by the sun at 4.0 degrees west.
    for phase, hour in (("day", 10.8), ("night", 21.8)):
        time = origin.observed_time(granules(origin)[f"{H17}:{phase}"], GRID)
        expected = datetime(2020, 5, 2, tzinfo=UTC) + timedelta(hours=hour + 4.0 / 15)
        assert time is not None
        assert abs(time - expected) < timedelta(minutes=2)


def test_nothing_observed_has_no_time(tmp_path: Path) -> None:
    box = crop()
    write_lst(tmp_path, day=np.zeros(box.shape, np.uint16), quality=3)
    origin = source(tmp_path)

    assert origin.observed_time(granules(origin)[f"{H17}:day"], GRID) is None


def test_cloud_and_holes_are_flagged_where_the_word_says(tmp_path: Path) -> None:
    box = crop()
    day, quality = field(box), np.zeros(box.shape, np.uint8)
    quality[:50, :60], quality[50:, :60] = 2, 3
    day[:, :60] = 0
    write_lst(tmp_path, day=day, quality=quality)

    reading = read_day(tmp_path)
    expected = warp_by_rasterio(quality, box, GRID, Resampling.nearest)
    assert_invariant(reading)
    assert {0, 2, 3} == set(np.unique(reading.product_qc).tolist())
    np.testing.assert_array_equal(reading.product_qc, expected)
    np.testing.assert_array_equal((reading.qc & int(Flag.CLOUD)) != 0, expected == 2)
    np.testing.assert_array_equal((reading.qc & int(Flag.MISSING)) != 0, expected == 3)

    poor = read_day(tmp_path, not_produced="poor_quality")
    np.testing.assert_array_equal((poor.qc & int(Flag.POOR_QUALITY)) != 0, expected == 3)


def test_refused_pixels_have_no_share_in_their_neighbours(tmp_path: Path) -> None:
    box = crop()
    day, quality = field(box), np.zeros(box.shape, np.uint8)
    day[::7, ::5] = 17_500  # 350 K, and the word says that the error is above 3 K
    quality[::7, ::5] = 0b11000001
    write_lst(tmp_path, day=day, quality=quality)

    strict = read_day(tmp_path, max_lst_error=3.0)
    assert_invariant(strict)
    assert np.nanmax(strict.imagery) < 315
    assert (strict.qc == int(Flag.POOR_QUALITY)).any()
    assert np.nanmax(read_day(tmp_path).imagery) > 330


def test_values_out_of_range_are_flagged_not_kept(tmp_path: Path) -> None:
    box = crop()
    day = field(box)
    day[40:60, 50:80] = 7_600  # 152 K
    write_lst(tmp_path, day=day)

    reading = read_day(tmp_path)
    assert_invariant(reading)
    assert (reading.qc == int(Flag.OUT_OF_RANGE)).any()
    assert np.nanmin(reading.imagery) > 290


def test_a_tile_with_nothing_in_it_is_empty(tmp_path: Path) -> None:
    box = crop()
    write_lst(tmp_path, day=np.zeros(box.shape, np.uint16), quality=3)
    reading = read_day(tmp_path)

    assert (reading.qc == int(Flag.MISSING)).all()
    assert np.isnan(reading.imagery).all()


def test_a_tile_under_cloud_is_cloud_not_empty(tmp_path: Path) -> None:
    box = crop()
    write_lst(tmp_path, day=np.zeros(box.shape, np.uint16), quality=2)

    assert (read_day(tmp_path).qc == int(Flag.CLOUD)).all()


def test_tiles_elsewhere_are_none_of_the_regions_business(tmp_path: Path) -> None:
    write_lst(tmp_path, "MOD11A1.A2020123.h18v04.061.2021008155123", box=crop((18, 4)))

    assert granules(source(tmp_path)) == {}


def test_tes_product_is_read_by_its_own_layers(tmp_path: Path) -> None:
    box = crop()
    stem = "MYD21A1N.A2020123.h17v05.061.2021008155123"
    word = np.full(box.shape, 0b1100000000000001, np.uint16)
    attributes = LST_ATTRIBUTES | {"add_offset": 0.0}
    layers = {
        "LST_1KM": (field(box), attributes),
        "QC": (word, {"scale_factor": "n/a", "add_offset": "n/a"}),
    }
    write_hdf(tmp_path / f"{stem}.hdf", layers, metadata(list(layers), box))
    origin = source(tmp_path, "MYD21A1N", max_lst_error=1.0)
    (granule,) = origin.search(GRID, EVER)

    assert (granule.id, granule.platform) == (stem, "Aqua")
    assert granule.time == datetime(2020, 5, 2, 1, 46, tzinfo=UTC)
    reading = origin.read(granule, GRID, LST)
    assert (reading.product_qc == 0b1100000000000001).all()
    assert np.isfinite(reading.imagery).all()


def test_neighbouring_tiles_make_one_scene(tmp_path: Path) -> None:
    for h, columns in ((17, slice(1000, 1200)), (18, slice(0, 200))):
        box = window(tile_box(h, 4, 1200), slice(400, 600), columns)
        day = np.full(box.shape, 15_000 + h, np.uint16)
        write_lst(tmp_path, H17.replace("h17v05", f"h{h}v04"), box=box, day=day)
    # Greenwich, where the tiles meet, runs through the middle.
    grid = GeoBox((60, 120), Affine(1000, 0, 215_000, 0, -1000, 5_100_000), "EPSG:32631")
    origin = source(tmp_path)
    scenes = group(origin.search(grid, EVER), timedelta(seconds=120))

    assert [len(scene.granules) for scene in scenes] == [2, 2]
    readings = [origin.read(one, grid, LST) for one in scenes[0].granules]
    assert all(np.isnan(one.imagery).any() for one in readings)
    whole = mosaic(readings)
    assert np.isfinite(whole.imagery).all()
    assert set(np.unique(np.round(whole.imagery / 0.02)).tolist()) == {15017, 15018}


# --- reading reflectance ----------------------------------------------------------------------


def test_a_scale_of_10000_divides(tmp_path: Path) -> None:
    _, red, nir = write_reflectance(tmp_path)
    origin = source(tmp_path, "MOD09GQ")
    (granule,) = origin.search(GRID, EVER)
    fine = GeoBox((120, 144), Affine(250, 0, 395_000, 0, -250, 4_300_000), "EPSG:32630")
    reading = origin.read(granule, fine, RED_NIR_NDVI)

    box = crop(pixels=4800)
    a, b = (warp_by_rasterio(one * 1e-4, box, fine, Resampling.bilinear) for one in (red, nir))
    assert_invariant(reading)
    assert (granule.modality, granule.id) == ("modis_ndvi", GQ)
    np.testing.assert_allclose(reading.imagery[0], a, atol=1e-5)
    np.testing.assert_allclose(reading.imagery[1], b, atol=1e-5)
    np.testing.assert_allclose(reading.imagery[2], (b - a) / (b + a), atol=1e-4)
    (only,) = MODIS_NDVI.require(("ndvi",))
    np.testing.assert_array_equal(origin.read(granule, fine, [only]).imagery[0], reading.imagery[2])
    assert origin.observed_time(granule, fine) is None


def test_reflectance_that_is_not_ideal_is_refused(tmp_path: Path) -> None:
    box = crop(pixels=4800)
    quality = np.zeros(box.shape, np.uint16)
    quality[:140] = 0b0011000011010001  # band 1 out of bounds
    write_reflectance(tmp_path, quality=quality)
    origin = source(tmp_path, "MOD09GQ")
    (granule,) = origin.search(GRID, EVER)
    reading = origin.read(granule, GRID, RED_NIR_NDVI)

    assert_invariant(reading)
    assert 0.1 < is_valid(reading.qc).mean() < 0.9
    wider = source(tmp_path, "MOD09GQ", band_quality=(0, 13))
    assert is_valid(wider.read(granule, GRID, RED_NIR_NDVI).qc).all()


@pytest.mark.parametrize(
    "attributes",
    [
        {"scale_factor": 0.02},
        {"scale_factor": 10000.0, "_FillValue": 0},
        {"scale_factor": 10000.0, "add_offset": 5.0},
        {"_FillValue": -28672},
    ],
)
def test_another_encoding_than_the_products_is_refused(
    tmp_path: Path, attributes: dict[str, Any]
) -> None:
    write_reflectance(tmp_path, attributes=attributes)
    origin = source(tmp_path, "MOD09GQ")
    (granule,) = origin.search(GRID, EVER)

    with pytest.raises(GranuleError, match=r"scale_factor|_FillValue|add_offset") as caught:
        origin.read(granule, GRID, RED_NIR_NDVI)
    assert caught.value.kind == "wrong_layer"


def test_a_layer_of_impossible_values_is_refused(tmp_path: Path) -> None:
    write_lst(tmp_path, day=np.full(crop().shape, 60_000, np.uint16))

    with pytest.raises(GranuleError, match="Another layer was taken for it") as caught:
        read_day(tmp_path)
    assert caught.value.kind == "wrong_layer"


# --- single layers ----------------------------------------------------------------------------


def write_tifs(folder: Path, stem: str, names: tuple[str, ...]) -> None:
    box = crop()
    layers = lst_layers(box)
    for name in names:
        values, attributes = layers[name]
        with rasterio.open(
            folder / f"{stem}_{name}.tif",
            "w",
            driver="GTiff",
            height=box.shape[0],
            width=box.shape[1],
            count=1,
            dtype=values.dtype,
            crs=str(sinusoidal().to_wkt()),
            transform=box.affine,
        ) as file:
            file.write(values, 1)
            file.update_tags(**{key: str(value) for key, value in attributes.items()})


def test_geotiffs_of_single_layers_read_like_the_file_they_come_from(tmp_path: Path) -> None:
    for kind in ("hdf", "tif"):
        (tmp_path / kind).mkdir()
    write_lst(tmp_path / "hdf")
    write_tifs(tmp_path / "tif", H17, ("LST_Day_1km", "QC_Day", "Day_view_time"))
    origin = source(tmp_path / "tif")
    (granule,) = origin.search(GRID, EVER)  # of the night there is nothing

    assert granule.id == f"{H17}:day"
    whole, single = read_day(tmp_path / "hdf"), origin.read(granule, GRID, LST)
    np.testing.assert_array_equal(single.imagery, whole.imagery)
    np.testing.assert_array_equal(single.product_qc, whole.product_qc)
    time = origin.observed_time(granule, GRID)
    assert time is not None
    assert time.hour == 11


def test_a_lacking_layer_is_a_defect(tmp_path: Path) -> None:
    write_tifs(tmp_path, H17, ("LST_Day_1km",))
    (granule,) = source(tmp_path).search(GRID, EVER)

    assert "QC_Day missing" in granule.defect


def test_a_geotiff_with_another_scale_is_refused(tmp_path: Path) -> None:
    write_tifs(tmp_path, H17, ("LST_Day_1km", "QC_Day"))
    with rasterio.open(tmp_path / f"{H17}_LST_Day_1km.tif", "r+") as file:
        file.update_tags(scale_factor="0.1")
    origin = source(tmp_path)

    with pytest.raises(GranuleError, match=r"scale_factor is 0.1"):
        origin.read(granules(origin)[f"{H17}:day"], GRID, LST)


# --- folders ----------------------------------------------------------------------------------


def test_deliveries_share_a_key_and_the_newest_sorts_last(tmp_path: Path) -> None:
    for version in ("006.2020124101010", "061.2021008155123"):
        write_lst(tmp_path, f"MOD11A1.A2020123.h17v05.{version}")
    days = [one for one in source(tmp_path).search(GRID, EVER) if one.id.endswith(":day")]

    assert len({one.key for one in days}) == 1
    assert max(days, key=lambda one: one.version).version == "061.2021008155123"


def test_names_that_are_not_understood_come_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "MOD11A1.hdf").write_bytes(b"\x0e\x03\x13\x01")
    (tmp_path / f"{H17}.hdf.xml").write_text("<xml/>")
    (tmp_path / "MYD11A1.hdf").write_bytes(b"another product")
    (granule,) = source(tmp_path).search(GRID, EVER)

    assert granule.id == "MOD11A1.hdf"
    assert granule.time is None
    assert "name is not" in granule.defect


def test_one_name_with_two_contents_is_a_defect(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    path = write_lst(tmp_path)
    copy = Path(shutil.copy(path, tmp_path / "again"))
    assert all(not one.defect for one in source(tmp_path).search(GRID, EVER))

    copy.write_bytes(path.read_bytes()[:-10])
    assert all("two different files" in one.defect for one in source(tmp_path).search(GRID, EVER))


def test_only_the_period_is_searched(tmp_path: Path) -> None:
    write_lst(tmp_path)
    noon = datetime(2020, 5, 2, 12, tzinfo=UTC)
    found = source(tmp_path).search(GRID, Period(noon, noon + timedelta(days=1)))

    assert [one.id for one in found] == [f"{H17}:night"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no folder"):
        source(tmp_path / "gone").search(GRID, EVER)


def test_a_missing_pyhdf_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lst(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(SourceError, match=r"thermocube\[modis\]") as caught:
        source(tmp_path).search(GRID, EVER)
    assert caught.value.kind == "missing_package"


# --- files that are not what they are called --------------------------------------------------


def failure(folder: Path) -> GranuleError:
    with pytest.raises(GranuleError) as caught:
        read_day(folder)
    assert H17 in str(caught.value)
    return caught.value


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    path = write_lst(tmp_path)
    whole = path.read_bytes()

    for share in (0.001, 0.1, 0.5, 0.9, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert failure(tmp_path).kind == "truncated"
    path.write_bytes(b"")
    assert failure(tmp_path).kind == "truncated"


def test_other_contents_are_named(tmp_path: Path) -> None:
    path = tmp_path / f"{H17}.hdf"
    path.write_bytes(b"neither this nor that")
    assert failure(tmp_path).kind == "not_a_raster"

    with MemoryFile() as memory:
        shape = {"height": 2, "width": 2, "count": 1, "transform": Affine(9, 0, 5, 0, -9, 5)}
        with memory.open(driver="GTiff", dtype="uint8", **shape) as file:
            file.write(np.ones((1, 2, 2), np.uint8))
        path.write_bytes(memory.read())
    error = failure(tmp_path)
    assert (error.kind, "not HDF4" in str(error)) == ("not_a_raster", True)


def test_a_missing_layer_is_named(tmp_path: Path) -> None:
    box = crop()
    layers = lst_layers(box)
    del layers["QC_Day"]
    write_hdf(tmp_path / f"{H17}.hdf", layers, metadata(list(layers), box))

    error = failure(tmp_path)
    assert error.kind == "missing_layer"
    assert "QC_Day" in str(error)


def test_a_renamed_file_is_refused(tmp_path: Path) -> None:
    box = crop()
    layers = lst_layers(box)
    other = H17.replace("A2020123", "A2020124") + ".hdf"
    write_hdf(tmp_path / f"{H17}.hdf", layers, metadata(list(layers), box), own_name=other)

    assert "calls itself MOD11A1.A2020124" in str(failure(tmp_path))


def test_an_undefined_quality_word_is_refused(tmp_path: Path) -> None:
    write_lst(tmp_path, quality=0b1000)

    assert failure(tmp_path).kind == "bad_quality_word"


def test_a_login_page_saved_as_hdf_is_named(tmp_path: Path, shared_data: Path) -> None:
    folder = shared_data / "granules/negative_real_world/html_login_saved_as_hdf"
    shutil.copy(next(folder.glob("*.hdf")), tmp_path / f"{H17}.hdf")

    error = failure(tmp_path)
    assert error.kind == "not_a_raster"
    assert "login page" in str(error)


def test_a_real_file_of_another_product_is_refused(tmp_path: Path, shared_data: Path) -> None:
    folder = shared_data / "granules/negative_real_world/all_fill_granule"
    shutil.copy(next(folder.glob("*.hdf")), tmp_path / f"{H17}.hdf")

    assert failure(tmp_path).kind == "missing_layer"


# --- threads ----------------------------------------------------------------------------------


def test_files_are_read_from_many_threads_at_once(tmp_path: Path) -> None:
    box = crop()
    names = [f"file{number}.hdf" for number in range(6)]
    for number, name in enumerate(names):
        layers = lst_layers(box, field(box, base=14_000 + 100 * number))
        write_hdf(tmp_path / name, layers, metadata(list(layers), box))

    def read(index: int) -> bool:
        number = index % len(names)
        planes = read_planes(tmp_path / names[number], ["LST_Day_1km", "QC_Day"])
        expected = field(box, base=14_000 + 100 * number)
        return np.array_equal(planes["LST_Day_1km"].values, expected)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(240)))


def test_granules_are_read_alike_from_many_threads(tmp_path: Path) -> None:
    write_lst(tmp_path)
    origin = source(tmp_path)
    granule = granules(origin)[f"{H17}:day"]
    alone = origin.read(granule, GRID, LST).imagery

    with ThreadPoolExecutor(8) as pool:
        readings = list(pool.map(lambda _: origin.read(granule, GRID, LST), range(32)))
    assert all(np.array_equal(one.imagery, alone, equal_nan=True) for one in readings)


# --- the real file ----------------------------------------------------------------------------

REAL = "MOD11A1.A2019305.h14v09.006.2019306084028"
CEARA = GeoBox((200, 220), Affine(1000, 0, 390_000, 0, -1000, 9_436_000), "EPSG:32724")


def test_the_real_tile_of_north_east_brazil(tmp_path: Path, shared_data: Path) -> None:
    shutil.copy(shared_data / "granules/modis/MOD11A1/MOD11A1.hdf", tmp_path / f"{REAL}.hdf")
    origin = source(tmp_path)
    day, night = (granules(origin, CEARA)[f"{REAL}:{phase}"] for phase in ("day", "night"))
    reading = origin.read(day, CEARA, LST)

    assert_invariant(reading)
    # By hand from the file: sinusoidal row and column of one pixel's centre, nearest neighbour.
    to_degrees = Transformer.from_crs("EPSG:32724", "EPSG:4326", always_xy=True)
    planes = read_planes(tmp_path / f"{REAL}.hdf", ["LST_Day_1km", "QC_Day"])
    for row, column in ((20, 30), (100, 110), (170, 200)):
        x, y = 390_000 + 1000 * (column + 0.5), 9_436_000 - 1000 * (row + 0.5)
        longitude, latitude = np.radians(to_degrees.transform(x, y))
        across = (RADIUS * longitude * np.cos(latitude) + 4 * TILE) / TILE * 1200
        down = -RADIUS * latitude / TILE * 1200
        assert reading.product_qc[row, column] == planes["QC_Day"].values[int(down), int(across)]
        around = planes["LST_Day_1km"].values[
            int(down) - 1 : int(down) + 2, int(across) - 1 : int(across) + 2
        ]
        low, high = around[around > 0].min() * 0.02, around.max() * 0.02
        assert low - 0.01 <= reading.imagery[0, row, column] <= high + 0.01
    seen, nominal = origin.observed_time(day, CEARA), day.time
    assert seen is not None
    assert nominal is not None
    assert abs(seen - nominal) < timedelta(minutes=30)
    assert 305 < np.nanmedian(reading.imagery) < 320
    assert 285 < np.nanmedian(origin.read(night, CEARA, LST).imagery) < 300


def test_the_sea_of_a_real_coast_is_not_bad_land(tmp_path: Path, shared_data: Path) -> None:
    """What was not produced over the sea must not let `max_bad` reject the scene."""
    shutil.copy(shared_data / "granules/modis/MOD11A1/MOD11A1.hdf", tmp_path / f"{REAL}.hdf")
    coast = GeoBox((200, 220), Affine(1000, 0, 390_000, 0, -1000, 9_780_000), "EPSG:32724")
    shares = {}
    for setting in ("missing", "poor_quality"):
        origin = source(tmp_path, not_produced=setting)
        reading = origin.read(granules(origin, coast)[f"{REAL}:day"], coast, LST)
        shares[setting] = Coverage.of(reading.qc).bad_fraction
    assert shares["missing"] < 0.1 < shares["poor_quality"]


def test_the_open_sea_of_the_real_tile_is_empty(tmp_path: Path, shared_data: Path) -> None:
    shutil.copy(shared_data / "granules/modis/MOD11A1/MOD11A1.hdf", tmp_path / f"{REAL}.hdf")
    sea = GeoBox((50, 50), Affine(1000, 0, 300_000, 0, -1000, 9_700_000), "EPSG:32725")
    origin = source(tmp_path)

    for granule in origin.search(sea, EVER):
        assert (origin.read(granule, sea, LST).qc == int(Flag.MISSING)).all()
