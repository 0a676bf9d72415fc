"""stackstac as a way in: it brings what the default reader brings, masks and offsets too."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from cube.bands import OPTICAL, SAR, THERMAL, Band
from cube.errors import GranuleError, SourceError
from cube.quality import Flag, is_valid
from cube.sources.base import Period
from cube.sources.landsat import LandsatSource
from cube.sources.sentinel import Sentinel1Source, Sentinel2Source
from cube.sources.stac import StacSource
from pipelines.simulate import Simulation, SimulationSettings, simulate
from stac_server import RangeServer, StacServer, published

EVER = Period(datetime(2013, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))
OPTICAL_BANDS = OPTICAL.require(("red", "nir", "ndvi"))
SAR_BANDS = SAR.require(("vv", "vh"))
KINDS: dict[str, type[StacSource]] = {
    "sentinel1": Sentinel1Source,
    "sentinel2": Sentinel2Source,
    "landsat": LandsatSource,
}

pytest.importorskip("stackstac", reason="needs the extra `stackstac`")


def source(kind: str, **settings: Any) -> StacSource:
    return KINDS[kind].model_validate({"kind": kind, "name": kind} | settings)


def assert_alike(kind: str, grid: GeoBox, bands: Sequence[Band], **settings: Any) -> list[Any]:
    """Read every granule by both readers; give the readings."""
    plain = source(kind, **settings)
    other = source(kind, **settings, reader="stackstac")
    granules = sorted(other.search(grid, EVER), key=lambda one: one.id)
    assert granules and not any(granule.defect for granule in granules)
    readings = []
    for granule in granules:
        expected, found = (one.read(granule, grid, bands) for one in (plain, other))
        np.testing.assert_array_equal(found.imagery, expected.imagery)
        np.testing.assert_array_equal(found.qc, expected.qc)
        np.testing.assert_array_equal(found.product_qc, expected.product_qc)
        readings.append(found)
    return readings


# --- real files -------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "left"), [(70, 540_000), (500, 499_000), (120, 499_980)])
def test_real_sentinel2_of_both_dates(shared_data: Path, step: int, left: int) -> None:
    """JPEG 2000 without georeference: their items place them; the offset is applied already."""
    grid = GeoBox((60, 90), Affine(step, 0, left, 0, -step, 5_050_000), "EPSG:32633")
    readings = assert_alike(
        "sentinel2", grid, OPTICAL_BANDS, path=shared_data / "granules/sentinel2"
    )
    assert len(readings) == 2
    assert is_valid(readings[0].qc).mean() > 0.5


def test_real_sentinel2_from_another_zone(shared_data: Path) -> None:
    grid = GeoBox((80, 80), Affine(140, 0, 40_000, 0, -140, 5_070_000), "EPSG:32634")
    readings = assert_alike(
        "sentinel2", grid, OPTICAL_BANDS, path=shared_data / "granules/sentinel2"
    )
    assert (is_valid(readings[0].qc)).any()


def test_real_landsat_keeps_the_floor_out(shared_data: Path, tmp_path: Path) -> None:
    """As if the mask called much of the sky clear: 150 K stands beside temperatures."""
    name = "LC08_L2SP_017036_20130419_20200913_02_T2"
    for file in (shared_data / "granules/landsat" / name[:25]).glob("*"):
        shutil.copyfile(file, tmp_path / file.name)
    with rasterio.open(tmp_path / f"{name}_ST_B10.TIF") as src:
        number, profile, crs = src.read(1), src.profile, src.crs
    clear, cloud = 21_824, 22_280
    with rasterio.open(tmp_path / f"{name}_QA_PIXEL.TIF", "w", **profile) as file:
        file.write(np.where(number == 293, cloud, clear).astype(np.uint16), 1)
    grid = GeoBox((300, 300), Affine(500, 0, 250_000, 0, -500, 3_900_000), crs.to_wkt())
    (reading,) = assert_alike("landsat", grid, THERMAL.require(("lst",)), path=tmp_path)
    valid = is_valid(reading.qc)
    assert valid.sum() > 1000 and (reading.qc & np.uint8(Flag.OUT_OF_RANGE)).any()
    assert np.nanmin(reading.imagery) >= 170


def rtc_item(folder: Path, name: str, **assets: Path) -> None:
    """An item as Planetary Computer writes them now: ``proj:code``, and no ``proj:epsg``."""
    content = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": f"S1A_IW_GRDH_1SDV_{name}_rtc",
        "collection": "sentinel-1-rtc",
        "geometry": None,
        "bbox": [-180, -90, 180, 90],
        "properties": {
            "datetime": "2023-06-10T03:00:00Z",
            "platform": "SENTINEL-1A",
            "proj:code": "EPSG:32631",
        },
        "links": [],
        "assets": {key: {"href": str(path)} for key, path in assets.items()},
    }
    (folder / f"{name}.json").write_text(json.dumps(content))


def test_a_real_sentinel1_file_in_decibels(shared_data: Path, tmp_path: Path) -> None:
    file = "S1A__IW___A_20150309T173017_VV_grd_mli_geo_norm_db.tif"
    rtc_item(tmp_path, "camargue", vv=shared_data / "granules/sentinel1" / file)
    grid = GeoBox((50, 60), Affine(70, 0, 620_060, 0, -70, 4_829_900), "EPSG:32631")
    (reading,) = assert_alike("sentinel1", grid, SAR_BANDS[:1], path=tmp_path, units="dB")
    assert is_valid(reading.qc).all()


def test_a_granule_beside_the_grid_is_empty(shared_data: Path, tmp_path: Path) -> None:
    file = "S1A__IW___A_20150309T173017_VV_grd_mli_geo_norm_db.tif"
    rtc_item(tmp_path, "camargue", vv=shared_data / "granules/sentinel1" / file)
    grid = GeoBox((5, 6), Affine(70, 0, 300_000, 0, -70, 4_300_000), "EPSG:32631")
    (reading,) = assert_alike("sentinel1", grid, SAR_BANDS[:1], path=tmp_path, units="dB")
    assert (reading.qc == int(Flag.MISSING)).all()


# --- over the wire ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    settings = SimulationSettings.tiny(sentinel1=2, sentinel2=2)
    return simulate(tmp_path_factory.mktemp("world"), settings)


@pytest.fixture(scope="module")
def files(world: Simulation) -> Iterator[RangeServer]:
    with RangeServer(world.folder) as server:
        yield server


@pytest.fixture(scope="module")
def catalog(
    world: Simulation, files: RangeServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    items = published(world.folder, files.url)
    with StacServer(items, tmp_path_factory.mktemp("catalog")) as server:
        yield server.url


@pytest.mark.parametrize(
    ("kind", "bands"), [("sentinel1", SAR_BANDS), ("sentinel2", OPTICAL_BANDS)]
)
def test_items_of_an_api(
    world: Simulation,
    catalog: str,
    kind: str,
    bands: Sequence[Band],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    readings = assert_alike(kind, world.settings.grid, bands, catalog=catalog)
    assert any(is_valid(reading.qc).any() for reading in readings)


def test_an_outage_is_named(
    world: Simulation, catalog: str, files: RangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.001")
    grid = world.settings.grid
    other = source("sentinel1", catalog=catalog, reader="stackstac")
    granule = other.search(grid, EVER)[0]
    files.fault = lambda request: 503
    try:
        with pytest.raises(GranuleError, match="this may pass") as caught:
            other.read(granule, grid, SAR_BANDS)
    finally:
        files.fault = lambda request: None
    assert caught.value.kind == "unavailable"


# --- what goes wrong --------------------------------------------------------------------------


def write(path: Path, affine: Affine, crs: str = "EPSG:32631") -> None:
    values = np.random.default_rng(1).uniform(0.01, 0.4, (300, 300)).astype(np.float32)
    with rasterio.open(
        path, "w", "GTiff", 300, 300, 1, crs=crs, transform=affine, dtype="float32", nodata=np.nan
    ) as file:
        file.write(values, 1)


NORTH_UP = Affine(10, 0, 500_000, 0, -10, 4_400_000)
GRID = GeoBox((10, 10), Affine(70, 0, 501_000, 0, -70, 4_399_000), "EPSG:32631")
SINUSOIDAL = "+proj=sinu +lon_0=0 +R=6371007.181 +units=m"


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "vv.tif", NORTH_UP)
    rtc_item(tmp_path, "cut", vv=tmp_path / "vv.tif")
    other = source("sentinel1", path=tmp_path, reader="stackstac")
    (granule,) = other.search(GRID, EVER)
    (tmp_path / "vv.tif").write_bytes((tmp_path / "vv.tif").read_bytes()[:100_000])
    with pytest.raises(GranuleError, match="download it again") as caught:
        other.read(granule, GRID, SAR_BANDS[:1])
    assert caught.value.kind == "truncated"


@pytest.mark.parametrize(
    ("affine", "crs"),
    [(NORTH_UP @ Affine.rotation(10), "EPSG:32631"), (NORTH_UP, SINUSOIDAL)],
)
def test_what_stackstac_cannot_place_is_refused(tmp_path: Path, affine: Affine, crs: str) -> None:
    write(tmp_path / "vv.tif", affine, crs)
    rtc_item(tmp_path, "turned", vv=tmp_path / "vv.tif")
    other = source("sentinel1", path=tmp_path, reader="stackstac")
    (granule,) = other.search(GRID, EVER)
    with pytest.raises(GranuleError, match="leave `reader"):
        other.read(granule, GRID, SAR_BANDS[:1])


def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "stackstac" else there(name)
    )
    with pytest.raises(SourceError, match=r"thermocube\[stackstac\]") as caught:
        source("sentinel2", path=tmp_path, reader="stackstac").search(GRID, EVER)
    assert caught.value.kind == "missing_package"
    assert source("sentinel2", path=tmp_path).search(GRID, EVER) == []
