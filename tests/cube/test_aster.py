"""The ASTER source: AST_08 GeoTIFFs as delivered, rotated ones too, and files derived from them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pydantic import ValidationError
from pyproj import Transformer

from cube.bands import ASTER_LST
from cube.errors import GranuleError, SourceError
from cube.quality import Flag, is_valid
from cube.scene import Granule, Reading
from cube.sources.aster import AsterSource
from cube.sources.aster_swath import read_swath
from cube.sources.base import Period
from modis_files import write_swath

EVER = Period(datetime(1999, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC))
LST = ASTER_LST.require(("lst",))
V4 = "AST_08_00409032015104740_20250822003637"
V3 = "AST_08_00309032015104740_20210822003637_24184"
CRS = "EPSG:32631"

# Scenes are rotated by the orbit's inclination.
ROTATED = Affine.translation(500_000, 4_400_000) @ Affine.rotation(-8.5) @ Affine.scale(90, -90)
SHAPE = (280, 330)
GRID = GeoBox((40, 48), Affine(250, 0, 510_000, 0, -250, 4_390_000), CRS)


def plane(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A temperature that is linear in x and y, K."""
    return 300 + (x - 515_000) * 4e-4 + (y - 4_385_000) * 7e-4


def places(affine: Affine, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    row, column = np.mgrid[: shape[0], : shape[1]] + 0.5
    a, b, c, d, e, f = tuple(affine)[:6]
    return a * column + b * row + c, d * column + e * row + f


def stored(dtype: str = "uint16") -> np.ndarray:
    values = plane(*places(ROTATED, SHAPE)) * 10
    return (np.round(values) if dtype == "uint16" else values).astype(dtype)


def write(path: Path, values: np.ndarray, affine: Affine = ROTATED, **tags: str) -> Path:
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=values.shape[0],
        width=values.shape[1],
        count=1,
        dtype=values.dtype,
        crs=CRS,
        transform=affine,
    ) as file:
        file.write(values, 1)
        file.update_tags(**tags)
    return path


def source(folder: Path, **extra: Any) -> AsterSource:
    return AsterSource.model_validate({"kind": "aster", "name": "aster", "path": folder} | extra)


def only(origin: AsterSource, grid: GeoBox = GRID) -> Granule:
    (granule,) = origin.search(grid, EVER)
    return granule


def read(folder: Path, **extra: Any) -> Reading:
    origin = source(folder, **extra)
    return origin.read(only(origin), GRID, LST)


def assert_invariant(reading: Reading) -> None:
    np.testing.assert_array_equal(np.isfinite(reading.imagery[0]), is_valid(reading.qc))


def has(reading: Reading, flag: Flag) -> np.ndarray:
    return (reading.qc & np.uint8(flag)) != 0


# --- names ------------------------------------------------------------------------------------


def test_both_versions_of_the_product_are_recognised(tmp_path: Path) -> None:
    for name in (
        f"{V4}_SKT.tif",
        f"{V4}_SKT_QA_DataPlane.tif",
        f"{V4}_SKT_QA_DataPlane2.tif",
        f"{V3}.SurfaceKineticTemperature.KineticTemperature.tif",
    ):
        (tmp_path / name).write_bytes(b"II*\0")
    old, new = source(tmp_path).search(GRID, EVER)

    assert (old.id, new.id) == (V3, V4)
    assert (old.time, new.time) == (datetime(2015, 9, 3, 10, 47, 40, tzinfo=UTC),) * 2
    assert old.key == new.key
    assert old.version < new.version
    assert set(old.assets) == {"SKT"}
    assert set(new.assets) == {"SKT", "QA"}
    assert (new.platform, new.modality, new.defect) == ("Terra", "aster_lst", "")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("AST_08_shortened.tif", "list it under"),
        ("AST_08_00413032015104740_20250822003637_SKT.tif", "list it under"),  # month 13
        (f"{V4}_SKT_QA_DataPlane.tif", "layer SKT missing"),
    ],
)
def test_what_cannot_be_used_says_why(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / name).write_bytes(b"II*\0")

    assert problem in only(source(tmp_path)).defect


def test_only_the_period_is_searched(tmp_path: Path) -> None:
    (tmp_path / f"{V4}_SKT.tif").write_bytes(b"II*\0")
    later = Period(datetime(2016, 1, 1, tzinfo=UTC), EVER.end)

    assert source(tmp_path).search(GRID, later) == []


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no folder"):
        source(tmp_path / "gone").search(GRID, EVER)


def test_listed_granules_are_found_once(tmp_path: Path) -> None:
    write(tmp_path / f"{V4}_SKT.tif", stored())
    entry = {"id": "mine", "time": "2004-07-30T10:52:00", "layers": {"SKT": f"{V4}_SKT.tif"}}
    granule = only(source(tmp_path, granules=[entry]))

    assert (granule.id, granule.key) == ("mine", "mine")
    assert granule.time == datetime(2004, 7, 30, 10, 52, tzinfo=UTC)
    with pytest.raises(ValidationError, match="listed twice"):
        source(tmp_path, granules=[entry, entry])


def test_a_listed_file_that_is_not_there_is_a_defect(tmp_path: Path) -> None:
    entry = {"id": "gone", "time": "2004-07-30T10:52:00Z", "layers": {"SKT": "gone.tif"}}

    assert "not there" in only(source(tmp_path, granules=[entry])).defect


# --- reading ----------------------------------------------------------------------------------


def test_a_rotated_scene_is_averaged_in_its_place(tmp_path: Path) -> None:
    write(tmp_path / f"{V4}_SKT.tif", stored())
    reading = read(tmp_path)
    error = reading.imagery[0] - plane(*places(GRID.affine, GRID.shape))

    assert_invariant(reading)
    # 0.02 K is a shift of 25 m.
    assert abs(float(error.mean())) < 0.002
    assert float(np.abs(error).max()) < 0.02
    assert (reading.qc == int(Flag.UNSCREENED)).all()


def test_fill_and_floor_are_missing(tmp_path: Path) -> None:
    values = stored()
    values[:150, :160] = 0
    values[150:, :160] = 2000
    write(tmp_path / f"{V4}_SKT.tif", values)
    reading = read(tmp_path)

    assert_invariant(reading)
    assert 0.1 < has(reading, Flag.MISSING).mean() < 0.9
    # An average over pixels with data alone: nothing is drawn towards 200 K.
    error = reading.imagery[0] - plane(*places(GRID.affine, GRID.shape))
    assert float(np.nanmax(np.abs(error))) < 0.15


def test_what_the_quality_plane_refuses_has_no_share(tmp_path: Path) -> None:
    values, quality = stored(), np.zeros(SHAPE, np.uint8)
    quality[:, :160] = 4
    values[:, :160] = 2500
    write(tmp_path / f"{V4}_SKT.tif", values)
    write(tmp_path / f"{V4}_SKT_QA_DataPlane.tif", quality)
    reading = read(tmp_path)

    assert_invariant(reading)
    np.testing.assert_array_equal(has(reading, Flag.POOR_QUALITY), reading.product_qc == 4)
    assert 0.2 < is_valid(reading.qc).mean() < 0.9
    assert np.nanmin(reading.imagery) > 290
    assert not has(reading, Flag.UNSCREENED).any()


def test_a_scene_elsewhere_is_all_missing(tmp_path: Path) -> None:
    write(tmp_path / f"{V4}_SKT.tif", stored())
    origin = source(tmp_path)
    far = GeoBox((10, 10), Affine(250, 0, 700_000, 0, -250, 4_390_000), CRS)

    reading = origin.read(only(origin), far, LST)
    assert (reading.qc == int(Flag.MISSING)).all()


def test_interpolated_files_lose_the_pixels_next_to_fill(tmp_path: Path) -> None:
    values = stored("float32")
    values[:, :160] = 1999.9995
    values[:, 160:163] = np.array([2150.0, 2500.0, 2900.0], np.float32)
    write(tmp_path / "derived.tif", values)
    entry = {"id": "derived", "time": "2004-07-30T10:52:00Z", "layers": {"SKT": "derived.tif"}}

    assert np.nanmin(read(tmp_path, granules=[entry]).imagery) > 290
    assert np.nanmin(read(tmp_path, granules=[entry], border=0).imagery) < 290


@pytest.mark.parametrize(
    ("values", "tags", "problem"),
    [
        (np.full(SHAPE, 300, np.uint16), {}, "in other units"),  # K, not 0.1 K
        (stored(), {"scale_factor": "0.02"}, "scale_factor is 0.02"),
    ],
)
def test_another_encoding_is_refused(
    tmp_path: Path, values: np.ndarray, tags: dict[str, str], problem: str
) -> None:
    write(tmp_path / f"{V4}_SKT.tif", values, **tags)

    with pytest.raises(GranuleError, match=problem) as caught:
        read(tmp_path)
    assert caught.value.kind == "wrong_layer"


def test_a_quality_plane_of_another_place_is_refused(tmp_path: Path) -> None:
    write(tmp_path / f"{V4}_SKT.tif", stored())
    shifted = Affine.translation(900, 0) @ ROTATED
    write(tmp_path / f"{V4}_SKT_QA_DataPlane.tif", np.zeros(SHAPE, np.uint8), shifted)

    with pytest.raises(GranuleError, match="different deliveries"):
        read(tmp_path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / f"{V4}_SKT.tif", stored())
    path.write_bytes(path.read_bytes()[:60_000])

    with pytest.raises(GranuleError, match="download it again") as caught:
        read(tmp_path)
    assert caught.value.kind == "truncated"


# --- swaths -----------------------------------------------------------------------------------

SWATH = (700, 830)
SWATH_PLACE = Affine.translation(490_000, 4_420_000) @ Affine.rotation(-8.5) @ Affine.scale(90, -90)


def swath_values() -> np.ndarray:
    values: np.ndarray = np.round(plane(*places(SWATH_PLACE, SWATH)) * 10).astype(np.uint16)
    values[:, :40], values[:, 40:60] = 0, 2000
    return values


def test_a_swath_is_read_as_its_geotiff(tmp_path: Path) -> None:
    """Positions of 11 x 11 pixels place all 700 x 830 to a metre."""
    values, quality = swath_values(), np.zeros(SWATH, np.uint8)
    quality[300:330] = 4
    for folder in ("swath", "tiff"):
        (tmp_path / folder).mkdir()
    write_swath(tmp_path / "swath" / f"{V3}.hdf", values, SWATH_PLACE, CRS, quality)
    write(tmp_path / "tiff" / f"{V4}_SKT.tif", values, SWATH_PLACE)
    write(tmp_path / "tiff" / f"{V4}_SKT_QA_DataPlane.tif", quality, SWATH_PLACE)

    found, expected = read(tmp_path / "swath"), read(tmp_path / "tiff")

    granule = only(source(tmp_path / "swath"))
    assert (granule.id, granule.version, set(granule.assets)) == (
        V3,
        "003_20210822003637",
        {"HDF"},
    )
    assert_invariant(found)
    assert has(found, Flag.POOR_QUALITY).any() and is_valid(found.qc).mean() > 0.5
    np.testing.assert_array_equal(found.qc, expected.qc)
    np.testing.assert_array_equal(found.product_qc, expected.product_qc)
    np.testing.assert_allclose(found.imagery, expected.imagery, atol=2e-3)


def test_a_swath_lies_where_its_positions_say(tmp_path: Path) -> None:
    values = swath_values()
    write_swath(tmp_path / f"{V3}.hdf", values, SWATH_PLACE, CRS)
    planes, box = read_swath(str(tmp_path / f"{V3}.hdf"), ("KineticTemperature", "QA_DataPlane"))
    np.testing.assert_array_equal(planes["KineticTemperature"].values, values)
    assert str(box.crs) == CRS and tuple(box.shape) == SWATH
    for here, there in zip(places(box.affine, SWATH), places(SWATH_PLACE, SWATH), strict=True):
        np.testing.assert_allclose(here, there, atol=0.01)


def test_a_swath_in_the_next_zone_is_averaged_in_its_place(tmp_path: Path) -> None:
    write_swath(tmp_path / f"{V3}.hdf", swath_values(), SWATH_PLACE, CRS)
    x, y = Transformer.from_crs(CRS, "EPSG:32630", always_xy=True).transform(515_000, 4_385_000)
    grid = GeoBox((40, 40), Affine(250, 0, round(x), 0, -250, round(y)), "EPSG:32630")
    origin = source(tmp_path)
    reading = origin.read(only(origin, grid), grid, LST)
    expected = plane(
        *Transformer.from_crs("EPSG:32630", CRS, always_xy=True).transform(
            *places(grid.affine, grid.shape)
        )
    )
    assert is_valid(reading.qc).all()
    assert float(np.abs(reading.imagery[0] - expected).max()) < 0.1


def test_of_a_swath_and_its_geotiffs_the_swath_is_read(tmp_path: Path) -> None:
    write_swath(tmp_path / f"{V3}.hdf", swath_values(), SWATH_PLACE, CRS)
    write(tmp_path / f"{V3}.SurfaceKineticTemperature.KineticTemperature.tif", stored())
    assert set(only(source(tmp_path)).assets) == {"HDF"}


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ({"bend": 400.0}, "off a map-projected scene"),
        ({"struct": ""}, "does not say to which pixels"),
    ],
)
def test_a_swath_that_cannot_be_placed_is_refused(
    tmp_path: Path, broken: dict[str, Any], problem: str
) -> None:
    write_swath(tmp_path / f"{V3}.hdf", swath_values(), SWATH_PLACE, CRS, **broken)
    with pytest.raises(GranuleError, match=problem) as caught:
        read(tmp_path)
    assert caught.value.kind == "unreadable"


def test_a_damaged_swath_is_refused(tmp_path: Path) -> None:
    path = write_swath(tmp_path / f"{V3}.hdf", swath_values(), SWATH_PLACE, CRS)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(GranuleError) as caught:
        read(tmp_path)
    assert caught.value.kind == "truncated"


# --- the real files ---------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 102])
def test_the_real_250_m_files_hold_land_and_no_fill(shared_data: Path, number: int) -> None:
    folder = shared_data / "granules/aster/AST_08_derived_250m"
    name = f"{number}_aster_250m.tif"
    entry = {"id": name, "time": "2004-07-30T10:52:00Z", "layers": {"SKT": name}}
    with rasterio.open(folder / name) as file:
        raw, box = file.read(1), GeoBox(file.shape, file.transform, file.crs.to_wkt())
    origin = source(folder, granules=[entry])
    reading = origin.read(only(origin, box), box, LST)
    values = reading.imagery[0]

    # More than one in eight of the stored values is the floor of 200 K.
    assert (np.abs(raw[raw > 0] - 2000) < 20).mean() > 0.125
    assert_invariant(reading)
    assert 0.5 < np.isfinite(values).mean() < (raw > 0).mean()
    assert np.nanmin(values) > 290
    valid = np.isfinite(values)
    np.testing.assert_allclose(values[valid], raw[valid] / 10, atol=0.01)
