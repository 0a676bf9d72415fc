"""ECOSTRESS granules from local folders."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pydantic import ValidationError
from rasterio.warp import Resampling, reproject

from cube.bands import THERMAL
from cube.errors import GranuleError, SourceError
from cube.grid import region_grid
from cube.quality import BAD, Flag, is_valid
from cube.scene import Coverage, Granule, Reading
from cube.sources.base import Period
from cube.sources.ecostress import EcostressSource
from pipelines.simulate import SimulationSettings, simulate

UTM = "EPSG:32630"
GRID = GeoBox((20, 24), Affine(70, 0, 300_000, 0, -70, 4_200_000), UTM)
ALWAYS = Period(datetime(2018, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
LST = THERMAL.require(("lst",))
BOTH = THERMAL.require(("lst", "emissivity"))
TILE = "ECOv002_L2T_LSTE_34366_004_30SUG_20240728T204025_0712_01"
GOOD = 0b10_00_11_11_11_00_00_00


def source(folder: Path, **settings: Any) -> EcostressSource:
    return EcostressSource.model_validate(
        {"kind": "ecostress", "name": "eco", "path": folder} | settings
    )


def write(path: Path, values: np.ndarray, nodata: float | None, grid: GeoBox = GRID) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1], count=1,
        dtype=values.dtype, nodata=nodata, crs=str(grid.crs), transform=grid.affine,
    ) as dst:  # fmt: skip
        dst.write(values, 1)
    return path


def full(value: float, dtype: str = "float32") -> np.ndarray:
    return np.full(GRID.shape, value, dtype)


def write_tile(folder: Path, name: str = TILE, grid: GeoBox = GRID, **layers: np.ndarray) -> None:
    """Write the layers of one L2T granule, clear and of good quality unless given."""
    nodata = {"cloud": 255, "water": 255}
    content = {
        "LST": full(300.0),
        "QC": full(GOOD, "uint16"),
        "cloud": full(0, "uint8"),
        "water": full(0, "uint8"),
    } | layers
    for layer, values in content.items():
        write(
            folder / f"{name}_{layer}.tif",
            values,
            nodata.get(layer, np.nan if values.dtype.kind == "f" else None),
            grid,
        )


def only(granules: list[Granule]) -> Granule:
    assert len(granules) == 1, [granule.id for granule in granules]
    return granules[0]


def read(folder: Path, grid: GeoBox = GRID, bands: Any = LST, **settings: Any) -> Reading:
    eco = source(folder, **settings)
    return eco.read(only(eco.search(grid, ALWAYS)), grid, bands)


# --- names -----------------------------------------------------------------------------------


def test_a_tile_is_found_with_all_that_its_name_says(tmp_path: Path) -> None:
    write_tile(tmp_path / "2024" / TILE, EmisWB=full(0.95), view_zenith=full(3.0))
    granule = only(source(tmp_path).search(GRID, ALWAYS))
    assert granule.id == TILE
    assert granule.key == "L2T_LSTE_34366_004_30SUG_20240728T204025"
    assert granule.version == "002_0712_01"
    assert granule.time == datetime(2024, 7, 28, 20, 40, 25, tzinfo=UTC)
    assert granule.platform == "ISS" and granule.modality == "thermal" and not granule.defect
    assert set(granule.assets) == {"LST", "QC", "cloud", "water", "EmisWB", "view_zenith"}
    assert granule.size == sum(Path(href).stat().st_size for href in granule.assets.values())
    assert granule.extra["orbit"] == "34366" and granule.extra["build"] == "0712"


def test_a_reprocessed_granule_has_the_same_key_and_a_higher_version(tmp_path: Path) -> None:
    for end in ("0712_01", "0712_02", "0713_01"):
        write_tile(tmp_path, TILE[:-7] + end)
    granules = source(tmp_path).search(GRID, ALWAYS)
    assert len({granule.key for granule in granules}) == 1
    versions = [granule.version for granule in granules]
    assert versions == sorted(versions) and len(set(versions)) == 3


def test_lst_err_is_never_taken_for_lst(tmp_path: Path) -> None:
    """Defect 1: a substring match read the uncertainty as the temperature."""
    write_tile(tmp_path, LST_err=full(1.2))
    granule = only(source(tmp_path).search(GRID, ALWAYS))
    assert granule.assets["LST"].endswith("_LST.tif")
    assert granule.assets["LST_err"].endswith("_LST_err.tif")
    Path(granule.assets["LST"]).unlink()
    assert "LST" in only(source(tmp_path).search(GRID, ALWAYS)).defect.split()


def test_lst_err_renamed_to_lst_is_refused(tmp_path: Path) -> None:
    error = np.random.default_rng(0).uniform(0.5, 2.0, GRID.shape).astype(np.float32)
    write_tile(tmp_path, LST=error)
    with pytest.raises(GranuleError, match="LST_err has such values") as caught:
        read(tmp_path)
    assert caught.value.kind == "wrong_layer"
    assert TILE in str(caught.value)


def test_emissivity_in_place_of_lst_is_refused(tmp_path: Path) -> None:
    write_tile(tmp_path, LST=full(0.95))
    with pytest.raises(GranuleError) as caught:
        read(tmp_path)
    assert caught.value.kind == "wrong_layer"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (f"{TILE}_LST_dangermond.tif", "'LST_dangermond' is not a layer"),
        (f"{TILE}_lst.tif", "'lst' is not a layer"),
        ("ECO_LST_0312.tif", "not that of a layer"),
        ("eco_l2t_lste.tif", "not that of a layer"),
        ("ECO_L2T_LSTE.001_LST_doy2023012222450_aid0001_30N.tif", "collection 001"),
        ("ECO_L2T_LSTE.002_LST_doy2023400222450_aid0001_30N.tif", "not a date"),
    ],
)
def test_names_that_are_not_understood_are_reported(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / name).touch()
    granule = only(source(tmp_path).search(GRID, ALWAYS))
    assert reason in granule.defect and "[[sources.granules]]" in granule.defect
    assert granule.id == f"sub/{name}" and granule.time is None


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    for name in ("dem.tif", f"{TILE}_LST.tif.aux.xml", f"._{TILE}_LST.tif", f"{TILE}.json"):
        (tmp_path / name).touch()
    assert source(tmp_path).search(GRID, ALWAYS) == []


def test_two_different_files_of_one_name_are_a_defect(tmp_path: Path) -> None:
    write_tile(tmp_path / "a")
    write_tile(tmp_path / "b")
    assert not only(source(tmp_path).search(GRID, ALWAYS)).defect
    with (tmp_path / "b" / f"{TILE}_LST.tif").open("ab") as file:
        file.write(b"more")
    assert "two different files" in only(source(tmp_path).search(GRID, ALWAYS)).defect


def test_the_period_is_half_open(tmp_path: Path) -> None:
    write_tile(tmp_path)
    time = datetime(2024, 7, 28, 20, 40, 25, tzinfo=UTC)
    second = timedelta(seconds=1)
    assert source(tmp_path).search(GRID, Period(time, time + second))
    assert not source(tmp_path).search(GRID, Period(time - second, time))


def test_a_folder_that_is_not_there_is_an_error_not_an_empty_list(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        source(tmp_path / "nowhere").search(GRID, ALWAYS)


@pytest.mark.parametrize("layer", ["LST", "QC", "cloud"])
def test_a_missing_layer_is_named(tmp_path: Path, layer: str) -> None:
    write_tile(tmp_path)
    (tmp_path / f"{TILE}_{layer}.tif").unlink()
    assert f"layer {layer} missing" in only(source(tmp_path).search(GRID, ALWAYS)).defect
    if layer != "LST":
        allowed = source(tmp_path, allow_missing=[layer])
        assert not only(allowed.search(GRID, ALWAYS)).defect


def test_missing_emissivity_shows_when_it_is_asked_for(tmp_path: Path) -> None:
    write_tile(tmp_path)
    with pytest.raises(GranuleError, match="EmisWB") as caught:
        read(tmp_path, bands=BOTH)
    assert caught.value.kind == "missing_layer"


def test_listed_granules(tmp_path: Path) -> None:
    write(tmp_path / "ECO_LST_0312.tif", full(290.0), np.nan)
    write(tmp_path / "emis.tif", full(0.95), np.nan)
    entry = {
        "id": "0312",
        "time": "2024-12-03T12:00:00",
        "layers": {"LST": "ECO_LST_0312.tif", "EmisWB": "emis.tif"},
    }
    gone = entry | {"id": "1812", "layers": {"LST": "ECO_LST_1812.tif"}}
    eco = source(tmp_path, granules=[entry, gone], allow_missing=["QC", "cloud"])
    good, bad = eco.search(GRID, ALWAYS)
    assert good.time == datetime(2024, 12, 3, 12, tzinfo=UTC) and not good.defect
    assert "ECO_LST_1812.tif, which is not there" in bad.defect
    reading = eco.read(good, GRID, BOTH)
    assert (reading.imagery[0] == 290).all() and (reading.qc == Flag.UNSCREENED).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"max_lst_error": 0.7},
        {"allow_missing": ["LST"]},
        {"granule": []},
        {"granules": [{"id": "a", "time": "2024-12-03T12:00:00", "layers": {"Lst": "a.tif"}}]},
        {"granules": [{"id": "a", "time": "2024-12-03T12:00:00", "layers": {"LST": "a.tif"}}] * 2},
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        source(tmp_path, **settings)


# --- encodings -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint16", "int32"])
@pytest.mark.parametrize("nodata", [0, None])
@pytest.mark.parametrize("in_band", [True, False])
def test_scaled_lst(tmp_path: Path, dtype: str, nodata: int | None, in_band: bool) -> None:
    """Trap 1: the same quantity as uint16, int32 or float32, scale in the band or in a tag."""
    dn = full(15_000, dtype)
    dn[:3] = 0
    write_tile(tmp_path, LST=dn)
    path = write(tmp_path / f"{TILE}_LST.tif", dn, nodata)
    with rasterio.open(path, "r+") as dst:
        if in_band:
            dst.scales = (0.02,)
        else:
            dst.update_tags(scale_factor="0.02", add_offset="0.0")
    reading = read(tmp_path)
    assert np.allclose(reading.imagery[0, 3:], 300.0)
    assert np.isnan(reading.imagery[0, :3]).all()
    assert (reading.qc[:3] == Flag.POOR_QUALITY).all()


def test_lst_that_lost_its_scale_is_refused(tmp_path: Path) -> None:
    write_tile(tmp_path, LST=full(15_000, "uint16"))
    with pytest.raises(GranuleError, match="scale factor"):
        read(tmp_path)


def test_emissivity_and_lst_err_in_bytes(tmp_path: Path) -> None:
    write_tile(tmp_path)
    for layer, dn, scale, offset in (("EmisWB", 230, 0.002, 0.49), ("LST_err", 30, 0.04, 0.0)):
        path = write(tmp_path / f"{TILE}_{layer}.tif", full(dn, "uint8"), 0)
        with rasterio.open(path, "r+") as dst:
            dst.scales, dst.offsets = (scale,), (offset,)
    reading = read(tmp_path, bands=THERMAL.require(("emissivity", "lst", "lst_err")))
    assert np.allclose(reading.imagery[:, 5, 5], [0.95, 300.0, 1.2], atol=1e-5)


def test_the_view_angle_is_a_band_if_asked_for(tmp_path: Path) -> None:
    angles = np.linspace(0.5, 28, GRID.shape[0] * GRID.shape[1], dtype="float32")
    angles = angles.reshape(GRID.shape)
    angles[0, :3] = np.nan
    write_tile(tmp_path, view_zenith=angles)
    reading = read(tmp_path, bands=THERMAL.require(("lst", "view_zenith")))
    np.testing.assert_array_equal(reading.imagery[1], angles)
    np.testing.assert_array_equal(np.isnan(reading.imagery[0]), np.isnan(angles))
    assert (reading.qc[0, :3] == Flag.POOR_QUALITY).all()
    np.testing.assert_array_equal(read(tmp_path).imagery[0], 300)


def test_a_missing_view_angle_shows_when_it_is_asked_for(tmp_path: Path) -> None:
    write_tile(tmp_path)
    with pytest.raises(GranuleError, match="needs layer view_zenith") as caught:
        read(tmp_path, bands=THERMAL.require(("lst", "view_zenith")))
    assert caught.value.kind == "missing_layer"


def test_view_angles_of_a_whole_simulated_tile(tmp_path: Path) -> None:
    """As the product writes them, float32 with NaN: no real layer of this kind is at hand."""
    world = simulate(tmp_path, SimulationSettings.tiny(sentinel1=0, sentinel2=0))
    grid = world.settings.grid
    eco = source(world.folder / "ecostress")
    seen = 0
    for granule in eco.search(grid, ALWAYS):
        if granule.defect or "view_zenith" not in granule.assets:
            continue
        reading = eco.read(granule, grid, THERMAL.require(("lst", "view_zenith")))
        plain = eco.read(granule, grid, LST)
        valid = is_valid(reading.qc)
        np.testing.assert_array_equal(reading.imagery[0][valid], plain.imagery[0][valid])
        assert ((reading.imagery[1][valid] >= 0) & (reading.imagery[1][valid] < 60)).all()
        seen += int(valid.any())
    assert seen > 1


def test_masks_are_never_scaled(tmp_path: Path) -> None:
    """Trap 2: scaling by the tag would turn cloud into 0.0001."""
    cloud = full(0, "uint16")
    cloud[4:8] = 1
    write_tile(tmp_path, cloud=cloud)
    with rasterio.open(tmp_path / f"{TILE}_cloud.tif", "r+") as dst:
        dst.update_tags(scale_factor="0.0001")
        dst.scales = (0.0001,)
    assert (read(tmp_path).qc[4:8] == Flag.CLOUD).all()


@pytest.mark.parametrize("values", [full(3, "uint8"), full(0.0001)])
def test_a_mask_that_is_none_is_refused(tmp_path: Path, values: np.ndarray) -> None:
    write_tile(tmp_path, cloud=values)
    with pytest.raises(GranuleError, match="layer cloud holds") as caught:
        read(tmp_path)
    assert caught.value.kind == "bad_quality_word"


# --- flags -----------------------------------------------------------------------------------


def flags_of(tmp_path: Path, **pixel: float) -> int:
    """Flags of one pixel with other layer values, in a clear and good granule."""
    content: dict[str, np.ndarray] = {
        "LST": full(300.0),
        "QC": full(GOOD, "int32"),
        "cloud": full(0, "uint8"),
        "water": full(0, "uint8"),
    }
    for layer, value in pixel.items():
        content[layer][10, 12] = value
    write_tile(tmp_path, **content)
    reading = read(tmp_path)
    assert (reading.qc == 0).sum() == reading.qc.size - 1 or not any(pixel.values())
    assert bool(np.isnan(reading.imagery[0, 10, 12])) == bool(reading.qc[10, 12] & int(BAD))
    return int(reading.qc[10, 12])


@pytest.mark.parametrize(
    ("pixel", "expected"),
    [
        ({"QC": -99_999}, Flag.MISSING),
        ({"QC": -99_999, "LST": np.nan}, Flag.MISSING),
        ({"QC": 15}, Flag.POOR_QUALITY),
        ({"QC": GOOD | 0b1100}, Flag.POOR_QUALITY),
        ({"QC": GOOD | 0b0101, "LST": 301.0}, 0),
        ({"LST": np.nan}, Flag.POOR_QUALITY),
        ({"LST": 133.0}, Flag.OUT_OF_RANGE),
        ({"cloud": 1}, Flag.CLOUD),
        ({"cloud": 1, "LST": np.nan}, Flag.CLOUD | Flag.POOR_QUALITY),
        ({"cloud": 1, "LST": np.nan, "QC": -99_999}, Flag.CLOUD),
        ({"cloud": 255}, Flag.POOR_QUALITY),
        ({"cloud": 255, "LST": np.nan, "QC": -99_999}, Flag.MISSING),
        ({"water": 1}, Flag.WATER),
        ({"water": 1, "LST": np.nan}, Flag.WATER | Flag.POOR_QUALITY),
    ],
)
def test_flags(tmp_path: Path, pixel: dict[str, float], expected: int) -> None:
    if expected:
        assert flags_of(tmp_path, **pixel) == expected
    else:
        write_tile(tmp_path, QC=full(int(pixel["QC"]), "int32"))
        assert (read(tmp_path).qc == 0).all()


def test_qc_fill_never_reads_as_good_even_without_nodata_in_the_header(tmp_path: Path) -> None:
    """Trap 3: -99999 & 3 == 1."""
    write_tile(tmp_path, QC=full(-99_999, "int32"))
    reading = read(tmp_path)
    assert (reading.qc == Flag.MISSING).all() and (reading.product_qc == -1).all()


def test_an_undefined_quality_word_names_the_granule(tmp_path: Path) -> None:
    write_tile(tmp_path, QC=full(GOOD | 0b10, "uint16"))
    with pytest.raises(GranuleError, match=TILE) as caught:
        read(tmp_path)
    assert caught.value.kind == "bad_quality_word"


def test_worse_accuracy_than_wanted_is_poor(tmp_path: Path) -> None:
    write_tile(tmp_path, QC=full(0b01 << 14, "uint16"))
    assert (read(tmp_path).qc == 0).all()
    assert (read(tmp_path, max_lst_error=1.5).qc == Flag.POOR_QUALITY).all()


def test_wrong_retrievals_under_cloud_do_not_make_a_wrong_layer(tmp_path: Path) -> None:
    lst, cloud = full(300.0), full(0, "uint8")
    lst[:14], cloud[:14] = 133.0, 1
    write_tile(tmp_path, LST=lst, cloud=cloud)
    reading = read(tmp_path)
    assert is_valid(reading.qc).sum() == 6 * 24


def test_without_quality_layers_a_granule_is_unscreened(tmp_path: Path) -> None:
    lst = full(300.0)
    lst[0] = np.nan
    write(tmp_path / f"{TILE}_LST.tif", lst, np.nan)
    reading = read(tmp_path, allow_missing=["QC", "cloud"])
    assert (reading.qc[0] == Flag.MISSING).all()
    assert (reading.qc[1:] == Flag.UNSCREENED).all()


def test_a_pixel_without_emissivity_is_invalid_in_both_bands(tmp_path: Path) -> None:
    emissivity = full(0.95)
    emissivity[3] = np.nan
    write_tile(tmp_path, EmisWB=emissivity)
    reading = read(tmp_path, bands=BOTH)
    assert (reading.qc[3] == Flag.POOR_QUALITY).all()
    assert np.isnan(reading.imagery[:, 3]).all() and np.isfinite(reading.imagery[:, 4]).all()


# --- files that fail, and files elsewhere ----------------------------------------------------


def test_an_html_page_is_one_clear_error(tmp_path: Path) -> None:
    write_tile(tmp_path)
    (tmp_path / f"{TILE}_LST.tif").write_text("<html><form action='login'>...</form></html>")
    with pytest.raises(GranuleError, match="login page") as caught:
        read(tmp_path)
    assert caught.value.kind == "not_a_raster"


@pytest.mark.parametrize("layer", ["LST", "QC", "cloud"])
def test_a_truncated_layer_fails_the_granule(tmp_path: Path, layer: str) -> None:
    write_tile(tmp_path)
    path = tmp_path / f"{TILE}_{layer}.tif"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(GranuleError, match=path.name) as caught:
        read(tmp_path)
    assert caught.value.kind == "truncated"


def test_a_tile_elsewhere_is_empty(tmp_path: Path) -> None:
    elsewhere = GeoBox(GRID.shape, Affine(70, 0, 600_000, 0, -70, 4_200_000), UTM)
    write_tile(tmp_path, grid=elsewhere)
    reading = read(tmp_path, bands=LST)
    assert (reading.qc == Flag.MISSING).all() and np.isnan(reading.imagery).all()


def test_a_tile_in_another_utm_zone_lands_where_it_lies(tmp_path: Path) -> None:
    """Defect 4: labels and scenes read by pixel index across zones were 10 km off."""
    box = (-6.05, 37.95, -5.95, 38.02)
    west, east = region_grid(box, "EPSG:32629", 70.0), region_grid(box, UTM, 70.0)
    rows, columns = np.mgrid[: west.shape[0], : west.shape[1]]
    layers = {
        "LST": (290 + 0.05 * columns + 0.1 * rows).astype(np.float32),
        "QC": np.full(west.shape, GOOD, np.uint16),
        "cloud": (columns > 70).astype(np.uint8),
        "water": np.zeros(west.shape, np.uint8),
    }
    write_tile(tmp_path, grid=west, **layers)
    reading = read(tmp_path, east)
    compare(reading, tmp_path / f"{TILE}_LST.tif", tmp_path / f"{TILE}_cloud.tif", east, 1.0)


# --- real granules ---------------------------------------------------------------------------


def plain(path: Path, grid: GeoBox, method: Resampling, fill: float) -> np.ndarray:
    out = np.full(grid.shape, fill, np.float32)
    with rasterio.open(path) as src:
        reproject(
            rasterio.band(src, 1), out, dst_transform=grid.affine, dst_crs=str(grid.crs),
            dst_nodata=fill, resampling=method,
        )  # fmt: skip
    return out


def compare(reading: Reading, lst: Path, cloud: Path, grid: GeoBox, scale: float) -> None:
    """Hold a reading against an independent warp of its files."""
    expected = plain(lst, grid, Resampling.bilinear, np.nan) * scale
    values = reading.imagery[0]
    both = np.isfinite(values) & np.isfinite(expected)
    assert both.sum() == np.isfinite(values).sum() > 1000
    assert np.abs(values - expected)[both].max() < 0.02
    cloudy = plain(cloud, grid, Resampling.nearest, 255) == 1
    assert np.array_equal((reading.qc & np.uint8(Flag.CLOUD)) != 0, cloudy)
    assert np.isnan(values[cloudy]).all()
    assert np.array_equal(np.isfinite(values), is_valid(reading.qc))


@pytest.fixture(scope="module")
def angeles(shared_data: Path) -> Iterator[tuple[EcostressSource, dict[str, Granule], GeoBox]]:
    folder = shared_data / "granules" / "ecostress" / "L2_LSTE_002_AppEEARS_LosAngeles"
    eco = source(folder)
    grid = region_grid((-118.45, 33.75, -118.0, 34.2), None, 70.0)
    yield eco, {granule.id[19:32]: granule for granule in eco.search(grid, ALWAYS)}, grid


def test_los_angeles_is_found_whole(angeles: Any) -> None:
    _, granules, _ = angeles
    assert len(granules) == 11
    orphan = granules.pop("2023172121314")
    assert orphan.defect == "layer LST and cloud missing; there is only QC, water"
    assert not any(granule.defect for granule in granules.values())
    assert granules["2023188134933"].version == "002_0710"
    assert granules["2023173193234"].extra == {"build": "0711", "orbit": "28131", "scene": "013"}
    assert granules["2023173193234"].time == datetime(2023, 6, 22, 19, 32, 34, tzinfo=UTC)


@pytest.mark.parametrize(
    "time", ["2023173193234", "2023175112358", "2023186071642", "2023188134933", "2023191045405"]
)
def test_los_angeles_equals_an_independent_warp(angeles: Any, time: str) -> None:
    eco, granules, grid = angeles
    granule = granules[time]
    reading = eco.read(granule, grid, LST)
    assets = {layer: Path(href) for layer, href in granule.assets.items()}
    compare(reading, assets["LST"], assets["cloud"], grid, 0.02)
    word = plain(assets["QC"], grid, Resampling.nearest, -99_999).astype(np.int32)
    assert np.array_equal(reading.product_qc, np.where(word == -99_999, -1, word))
    assert not is_valid(reading.qc)[word == -99_999].any()
    assert not is_valid(reading.qc)[(word & 3) == 3].any()
    water = plain(assets["water"], grid, Resampling.nearest, 255) == 1
    assert np.array_equal((reading.qc & np.uint8(Flag.WATER)) != 0, water)


def test_cloud_of_los_angeles_comes_from_the_mask_alone(angeles: Any) -> None:
    """Trap 5: bits 1-0 = 10 never occurs, so the quality word knows of no cloud."""
    eco, granules, grid = angeles
    reading = eco.read(granules["2023188134933"], grid, LST)
    assert Coverage.of(reading.qc).cloud_fraction > 0.3
    assert not (reading.product_qc[reading.product_qc >= 0] & 3 == 2).any()


def test_brittany_has_water_without_lst(shared_data: Path) -> None:
    """Trap 3: the quality word alone does not prove a value."""
    folder = shared_data / "granules" / "ecostress" / "L2T_LSTE_002_AppEEARS_30N"
    eco = source(folder, allow_missing=["cloud"])
    grid = GeoBox((414, 331), Affine(70, 0, 566_410, 0, -70, 5_401_530), UTM)
    granule = only(eco.search(grid, ALWAYS))
    assert granule.id == "ECO_L2T_LSTE.002_doy2023012222450_aid0001_30N"
    reading = eco.read(granule, grid, LST)
    with rasterio.open(granule.assets["LST"]) as src:
        lst = src.read(1)
    assert np.array_equal(reading.imagery[0], lst, equal_nan=True)
    failed = reading.qc == Flag.WATER | Flag.POOR_QUALITY | Flag.UNSCREENED
    assert failed.sum() == 5171
    assert is_valid(reading.qc).sum() == np.isfinite(lst).sum()


def test_30sug_pair_on_its_own_grid_is_bit_identical(shared_data: Path) -> None:
    names = {"0312": ("ECO_LST_0312.tif", "ECO_EmisWB_0312.tif", "2024-12-03T12:00:00Z")}
    names["1812"] = ("ECO_LST_1812.tif", "ECO_EMISS_1812.tif", "2024-12-18T12:00:00Z")
    listed = [
        {"id": name, "time": time, "layers": {"LST": lst, "EmisWB": emissivity}}
        for name, (lst, emissivity, time) in names.items()
    ]
    folder = shared_data / "granules" / "ecostress" / "L2T_LSTE_layers_30SUG"
    eco = source(folder, granules=listed, allow_missing=["QC", "cloud"])
    box = (-4.9, 37.5, -4.1, 37.9)
    grid = region_grid(box, UTM, 70.0, anchor=(300_000, 4_200_000))
    column = round((grid.affine.c - 300_000) / 70)
    row = round((4_200_000 - grid.affine.f) / 70)
    assert row >= 0 and column >= 0
    granules = eco.search(grid, ALWAYS)
    assert [granule.id for granule in granules] == ["0312", "1812"]
    for granule in granules:
        reading = eco.read(granule, grid, BOTH)
        window = rasterio.windows.Window(column, row, grid.shape[1], grid.shape[0])
        files = []
        for layer in ("LST", "EmisWB"):
            with rasterio.open(granule.assets[layer]) as src:
                files.append(src.read(1, window=window))
        valid = is_valid(reading.qc)
        assert valid.mean() > 0.1
        for values, file in zip(reading.imagery, files, strict=True):
            assert np.array_equal(values[valid], file[valid])
        assert not np.isfinite(np.stack(files)).all(axis=0)[~valid].any()
