"""MODIS and ASTER from Earthdata, by the real client: the same as local folders give."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import rasterio
import trustme
from affine import Affine
from odc.geo.geobox import GeoBox
from pydantic import ValidationError

from cube.bands import ASTER_LST, MODIS_LST, MODIS_NDVI
from cube.errors import GranuleError
from cube.quality import is_valid
from cube.region import Region
from cube.retry import Clock
from cube.scene import Granule, Reading
from cube.sources.aster import AsterSource
from cube.sources.base import Period
from cube.sources.earthdata_products import EarthdataAsterSource, EarthdataModisSource
from cube.sources.modis import ModisSource
from loopback import LOGIN_PAGE, EarthdataServer, Fault, record_of
from modis_files import GQ, GRID, H17, write_lst, write_reflectance, write_swath

pytest.importorskip("pyhdf.SD", reason="needs pyhdf, of the extra `modis`")
pytestmark = pytest.mark.usefixtures("stranger")

ALWAYS = Period(datetime(2000, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))
LST = MODIS_LST.require(("lst",))
REAL = "MOD11A1.A2019305.h14v09.006.2019306084028"
"""As the file calls itself."""
BRAZIL = GeoBox((200, 220), Affine(1000, 0, 390_000, 0, -1000, 9_436_000), "EPSG:32724")
SCENE = Affine.translation(490_000, 4_420_000) @ Affine.rotation(-8.5) @ Affine.scale(90, -90)
ASTER_GRID = GeoBox((40, 48), Affine(250, 0, 510_000, 0, -250, 4_390_000), "EPSG:32631")
V3 = "AST_08_00309032015104740_20210822003637_24184"
V4 = "AST_08_00409032015104740_20250822003637"


class ImpatientModis(EarthdataModisSource):
    clock: ClassVar[Clock] = Clock(lambda seconds: None)


class ImpatientAster(EarthdataAsterSource):
    clock: ClassVar[Clock] = Clock(lambda seconds: None)


@pytest.fixture
def server(
    certificate: trustme.LeafCert, stranger: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[EarthdataServer]:
    (tmp_path / "files").mkdir()
    stranger.setenv("EARTHDATA_TOKEN", "a-secret-token")
    with EarthdataServer(tmp_path / "files", certificate) as running:
        running.token = "a-secret-token"
        yield running


def publish(server: EarthdataServer, product: str, version: str, name: str, *files: Path) -> None:
    """Put a granule into the catalogue; its box is the world, its day the one in the files."""
    sides = {"West": -180, "East": 180, "South": -90, "North": 90}
    box = {f"{side}BoundingCoordinate": value for side, value in sides.items()}
    span = {"BeginningDateTime": "2015-01-01T00:00:00Z", "EndingDateTime": "2021-01-01T00:00:00Z"}
    umm = {
        "CollectionReference": {"ShortName": product, "Version": version},
        "SpatialExtent": {"HorizontalSpatialDomain": {"Geometry": {"BoundingRectangles": [box]}}},
        "TemporalExtent": {"RangeDateTime": span},
    }
    urls = [f"{server.url}/{file.name}" for file in files]
    # Beside the files, as at the data centre: metadata and a picture.
    more = [f"{server.url}/{name}.cmr.xml", f"{server.url}/BROWSE.{name}.1.jpg"]
    server.records.append(record_of(umm, name, urls + more, files))


def settings(server: EarthdataServer, **more: Any) -> dict[str, Any]:
    hosts = {"cmr": f"{server.url}/search", "edl": f"localhost:{server.port}"}
    return {"name": "there"} | hosts | more


def modis(server: EarthdataServer, folder: Path, **more: Any) -> ImpatientModis:
    table = settings(server, kind="earthdata-modis", **{"short_name": "MOD11A1"} | more)
    made = ImpatientModis.model_validate(table)
    made.bind(folder)
    return made


def aster(server: EarthdataServer, folder: Path, **more: Any) -> ImpatientAster:
    made = ImpatientAster.model_validate(settings(server, kind="earthdata-aster", **more))
    made.bind(folder)
    return made


def local(folder: Path, product: str, **more: Any) -> ModisSource:
    table = {"kind": "modis", "name": "there", "path": folder, "product": product}
    return ModisSource.model_validate(table | {"not_produced": "missing"} | more)


def assert_same(left: Reading, right: Reading) -> None:
    np.testing.assert_array_equal(left.imagery, right.imagery)
    np.testing.assert_array_equal(left.qc, right.qc)
    np.testing.assert_array_equal(left.product_qc, right.product_qc)


def facts(granule: Granule) -> tuple[Any, ...]:
    return (granule.id, granule.key, granule.version, granule.time, granule.size, granule.defect)


# --- MODIS ------------------------------------------------------------------------------------


def test_day_and_night_of_a_tile_are_those_of_the_folder(
    server: EarthdataServer, tmp_path: Path
) -> None:
    publish(server, "MOD11A1", "061", H17, write_lst(server.root))
    here, there = local(server.root, "MOD11A1"), modis(server, tmp_path)
    mine = {granule.id: granule for granule in here.search(GRID, ALWAYS)}
    found = there.search(GRID, ALWAYS)
    assert sorted(map(facts, found)) == sorted(map(facts, mine.values()))
    assert [granule.id for granule in found] == [f"{H17}:day", f"{H17}:night"]
    for granule in found:
        reading = there.read(granule, GRID, LST)
        assert_same(reading, here.read(mine[granule.id], GRID, LST))
        assert is_valid(reading.qc).all()
    # Both overpasses are in one file, which is fetched once.
    assert len(server.asked(f"/{H17}.hdf")) == 1


def test_reflectance_of_a_tile(server: EarthdataServer, tmp_path: Path) -> None:
    path, *_ = write_reflectance(server.root)
    publish(server, "MOD09GQ", "061", GQ, path)
    bands = MODIS_NDVI.require(("red", "nir", "ndvi"))
    here, there = local(server.root, "MOD09GQ"), modis(server, tmp_path, short_name="MOD09GQ")
    (granule,), (mine,) = there.search(GRID, ALWAYS), here.search(GRID, ALWAYS)
    assert there.modality == "modis_ndvi"
    assert_same(there.read(granule, GRID, bands), here.read(mine, GRID, bands))


def test_the_real_tile_of_north_east_brazil(
    server: EarthdataServer, tmp_path: Path, shared_data: Path
) -> None:
    file = server.root / f"{REAL}.hdf"
    shutil.copyfile(shared_data / "granules/modis/MOD11A1/MOD11A1.hdf", file)
    publish(server, "MOD11A1", "006", REAL, file)
    here, there = local(server.root, "MOD11A1"), modis(server, tmp_path, version="006")
    mine = {granule.id: granule for granule in here.search(BRAZIL, ALWAYS)}
    valid = 0
    for granule in there.search(BRAZIL, ALWAYS):
        reading = there.read(granule, BRAZIL, LST)
        assert_same(reading, here.read(mine[granule.id], BRAZIL, LST))
        valid += int(is_valid(reading.qc).sum())
    assert len(mine) == 2 and valid > 1000


def test_tiles_beside_the_region_are_left_out(server: EarthdataServer, tmp_path: Path) -> None:
    """CMR answers by boxes, and the box of a tile is larger than the tile."""
    publish(server, "MOD11A1", "061", H17.replace("h17v05", "h18v04"))
    assert modis(server, tmp_path).search(GRID, ALWAYS) == []


def test_a_record_without_its_file_is_a_defect(server: EarthdataServer, tmp_path: Path) -> None:
    publish(server, "MOD11A1", "061", H17)
    publish(server, "MOD11A1", "061", "something else")
    *both, odd = sorted(
        modis(server, tmp_path).search(GRID, ALWAYS), key=lambda one: "understood" in one.defect
    )
    assert all(f"links no file {H17}.hdf" in granule.defect for granule in both)
    assert "not understood" in odd.defect


def test_a_login_page_in_place_of_a_file(server: EarthdataServer, tmp_path: Path) -> None:
    publish(server, "MOD11A1", "061", H17, write_lst(server.root))
    there = modis(server, tmp_path)
    granule, _ = there.search(GRID, ALWAYS)
    server.always[f"/{H17}.hdf"] = Fault(body=LOGIN_PAGE)
    with pytest.raises(GranuleError) as caught:
        there.read(granule, GRID, LST)
    assert caught.value.kind == "login_page"
    server.always.clear()
    assert is_valid(there.read(granule, GRID, LST).qc).all()


# --- ASTER ------------------------------------------------------------------------------------


def temperatures(shape: tuple[int, int] = (700, 830)) -> np.ndarray:
    row, column = np.indices(shape)
    return (2950 + 0.1 * row + 0.2 * column).astype(np.uint16)


def compare(server: EarthdataServer, tmp_path: Path, layers: set[str], **more: Any) -> None:
    bands = ASTER_LST.require(("lst",))
    here = AsterSource(kind="aster", name="there", path=server.root)
    there = aster(server, tmp_path, **more)
    (granule,), (mine,) = there.search(ASTER_GRID, ALWAYS), here.search(ASTER_GRID, ALWAYS)
    assert set(granule.assets) == layers and granule.platform == "Terra"
    assert facts(granule) == facts(mine)
    reading = there.read(granule, ASTER_GRID, bands)
    assert_same(reading, here.read(mine, ASTER_GRID, bands))
    assert is_valid(reading.qc).all()


def test_a_swath_of_aster(server: EarthdataServer, tmp_path: Path) -> None:
    path = write_swath(server.root / f"{V3}.hdf", temperatures(), SCENE, "EPSG:32631")
    publish(server, "AST_08", "003", V3, path)
    compare(server, tmp_path, {"HDF"}, version="003")


def test_geotiffs_of_aster(server: EarthdataServer, tmp_path: Path) -> None:
    files = []
    for layer, values in (
        ("SKT", temperatures()),
        ("SKT_QA_DataPlane", np.zeros((700, 830), np.uint8)),
    ):
        files.append(server.root / f"{V4}_{layer}.tif")
        with rasterio.open(
            files[-1], "w", "GTiff", 830, 700, 1, crs="EPSG:32631", transform=SCENE,
            dtype=values.dtype,
        ) as file:  # fmt: skip
            file.write(values, 1)
    publish(server, "AST_08", "004", V4, *files)
    compare(server, tmp_path, {"SKT", "QA"})


def test_a_granule_of_aster_without_its_temperature(
    server: EarthdataServer, tmp_path: Path
) -> None:
    publish(server, "AST_08", "004", V4)
    (granule,) = aster(server, tmp_path).search(ASTER_GRID, ALWAYS)
    assert "no layer SKT" in granule.defect


# --- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"short_name": "MOD11A2"},
        {"max_lst_error": 1.5},
        {"band_quality": [1]},
        {"version": "005"},
        {"access": "s3"},
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    table = {"kind": "earthdata-modis", "name": "x", "short_name": "MOD11A1"}
    EarthdataModisSource.model_validate(table)
    with pytest.raises(ValidationError):
        EarthdataModisSource.model_validate(table | wrong)


def test_a_region_file_names_them() -> None:
    tables = {
        "name": "tiny",
        "area": {"bbox": [-4.10, 38.70, -4.06, 38.73], "resolution": 250.0},
        "period": {"start": datetime(2024, 1, 1).date()},
        "modalities": {
            "modis_lst": {"bands": ["lst"], "resolution": 1000.0},
            "aster_lst": {"bands": ["lst"]},
        },
        "sources": [
            {"kind": "earthdata-modis", "name": "terra", "short_name": "MOD21A1D"},
            {"kind": "earthdata-aster", "name": "aster"},
        ],
    }
    region = Region.parse(tables, Path("/somewhere"))
    assert [source.modality for source in region.sources] == ["modis_lst", "aster_lst"]
