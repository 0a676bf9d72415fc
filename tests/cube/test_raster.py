"""Reading a raster layer onto a region's grid."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning
from rasterio.warp import Resampling, reproject, transform

from cube.errors import GranuleError
from cube.grid import region_grid
from cube.scene import Granule
from cube.sources.asset import Georeference, read_asset
from cube.sources.base import NO_VALUE, read_header, read_layer

UTM = "EPSG:32630"
GRID = GeoBox((40, 50), Affine(70, 0, 400_000, 0, -70, 4_300_000), UTM)


def write(
    path: Path,
    values: np.ndarray,
    grid: GeoBox = GRID,
    nodata: float | None = None,
    **profile: Any,
) -> Path:
    options = {"crs": str(grid.crs), "transform": grid.affine} | profile
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=values.shape[0],
        width=values.shape[1],
        count=1,
        dtype=values.dtype,
        nodata=nodata,
        **options,
    ) as dst:
        dst.write(values, 1)
    return path


def write_bare(path: Path) -> Path:
    """Write the ramp without CRS and transform, as JPEG 2000 files of Sentinel-2 may come."""
    with pytest.warns(NotGeoreferencedWarning):
        return write(path, ramp(), crs=None, transform=None)


def plain_warp(path: Path, grid: GeoBox, method: Resampling) -> np.ndarray:
    out = np.full(grid.shape, np.nan, np.float32)
    with rasterio.open(path) as src:
        reproject(
            rasterio.band(src, 1),
            out,
            dst_transform=grid.affine,
            dst_crs=str(grid.crs),
            dst_nodata=np.nan,
            resampling=method,
        )
    return out


def ramp(grid: GeoBox = GRID) -> np.ndarray:
    rows, columns = np.mgrid[: grid.shape[0], : grid.shape[1]]
    return (280 + 0.3 * columns - 0.2 * rows).astype(np.float32)


def shifted(dx: float, dy: float, crs: str = UTM, size: tuple[int, int] = (30, 30)) -> GeoBox:
    return GeoBox(size, Affine(70, 0, 400_000 + dx, 0, -70, 4_300_000 + dy), crs)


def test_the_own_grid_is_taken_over_bit_by_bit(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(290, 5, GRID.shape).astype(np.float32)
    layer = read_layer(write(tmp_path / "a.tif", values), GRID, resampling="bilinear")
    assert np.array_equal(layer.values, values)
    assert layer.covered.all() and not layer.out_of_range.any() and layer.overlaps


def test_an_affine_field_keeps_its_values_between_the_pixels(tmp_path: Path) -> None:
    target = shifted(70 * 10.25, -70 * 5.5, size=(20, 20))
    layer = read_layer(write(tmp_path / "a.tif", ramp()), target, resampling="bilinear")
    rows, columns = np.mgrid[:20, :20]
    expected = 280 + 0.3 * (columns + 10.25) - 0.2 * (rows + 5.5)
    assert np.abs(layer.values - expected).max() < 1e-3


@pytest.mark.parametrize(
    "transform",
    [
        Affine(70, 0, 400_000, 0, 70, 4_297_200),
        Affine(70, 12, 400_000, 15, -65, 4_299_500),
        Affine(35, 0, 400_000, 0, -90, 4_300_000),
    ],
    ids=["south-up", "rotated", "not square"],
)
def test_any_source_grid_is_put_where_it_lies(tmp_path: Path, transform: Affine) -> None:
    columns, rows = np.meshgrid(np.arange(60) + 0.5, np.arange(45) + 0.5)
    x = transform.a * columns + transform.b * rows + transform.c
    y = transform.d * columns + transform.e * rows + transform.f
    values = (300 + (x - 400_000) * 1e-3 + (y - 4_300_000) * 2e-3).astype(np.float32)
    layer = read_layer(
        write(tmp_path / "a.tif", values, transform=transform), GRID, resampling="bilinear"
    )
    x, y = np.meshgrid(400_035 + 70 * np.arange(50), 4_299_965 - 70 * np.arange(40))
    expected = 300 + (x - 400_000) * 1e-3 + (y - 4_300_000) * 2e-3
    # A pixel's width in from the file's edge, where bilinear has all its neighbours.
    inner = layer.covered & np.roll(layer.covered, 2, 0) & np.roll(layer.covered, -2, 0)
    inner &= np.roll(layer.covered, 2, 1) & np.roll(layer.covered, -2, 1)
    assert inner.sum() > 200
    assert np.abs(layer.values - expected)[inner].max() < 0.03


zones = st.sampled_from(["EPSG:32629", "EPSG:32630"])
steps = st.floats(25, 90)


@st.composite
def placements(draw: st.DrawFn) -> tuple[Affine, str]:
    """Where a file of 90 x 110 pixels may lie, around a place where two UTM zones meet."""
    crs = draw(zones)
    across, down = draw(steps), draw(steps)
    turn = draw(st.sampled_from([0.0, 0.0, 90.0, 180.0, 13.7, -71.2]))
    upside = draw(st.sampled_from([1, -1]))
    (x,), (y,) = transform("EPSG:4326", crs, [-6.0], [38.0])
    shift = draw(st.tuples(st.floats(-9, 9), st.floats(-9, 9)))
    centred = Affine.scale(across, -upside * down) @ Affine.translation(
        shift[0] - 55, shift[1] - 45
    )
    return Affine.translation(x, y) @ Affine.rotation(turn) @ centred, crs


@given(placement=placements(), target=zones, slopes=st.tuples(*[st.floats(-2e-3, 2e-3)] * 2))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_affine_fields_keep_their_place_on_any_grid_and_across_zones(
    placement: tuple[Affine, str], target: str, slopes: tuple[float, float]
) -> None:
    """The field is affine in the target's metres; a tenth of a source pixel is the tolerance."""
    place, crs = placement
    (x0,), (y0,) = transform("EPSG:4326", target, [-6.0], [38.0])

    def field(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return 300 + slopes[0] * (x - x0) + slopes[1] * (y - y0)

    column, row = np.meshgrid(np.arange(110) + 0.5, np.arange(90) + 0.5)
    x, y = (part.ravel() for part in place @ (column, row))
    x, y = transform(crs, target, x, y) if crs != target else (x, y)
    values = field(np.array(x), np.array(y)).reshape(90, 110).astype(np.float32)
    grid = GeoBox((14, 16), Affine(35, 0, x0 - 280, 0, -35, y0 + 245), target)
    with TemporaryDirectory() as folder:
        path = write(Path(folder) / "a.tif", values, transform=place, crs=crs)
        extra = {"georeference": {"vv": Georeference.unknown()}}
        granule = Granule("a", "a", "", "here", "sar", "", None, {"vv": str(path)}, extra=extra)
        layer = read_asset(granule, "vv", grid, resampling="bilinear")
    x, y = np.meshgrid(x0 - 280 + 35 * (np.arange(16) + 0.5), y0 + 245 - 35 * (np.arange(14) + 0.5))
    assert layer.covered.all()
    pixel = max(np.hypot(place.a, place.d), np.hypot(place.b, place.e))
    assert np.abs(layer.values - field(x, y)).max() <= 0.125 * pixel * np.hypot(*slopes) + 2e-4


def test_another_utm_zone_is_reprojected(tmp_path: Path) -> None:
    box = (-6.1, 37.9, -5.9, 38.0)
    west = region_grid(box, "EPSG:32629", 70.0)
    east = region_grid(box, "EPSG:32630", 70.0)
    path = write(tmp_path / "a.tif", ramp(west), west)
    layer = read_layer(path, east, resampling="bilinear")
    expected = plain_warp(path, east, Resampling.bilinear)
    assert layer.covered.mean() > 0.9
    assert np.nanmax(np.abs(layer.values - expected)) < 1e-3
    assert np.array_equal(layer.covered, np.isfinite(expected))


@pytest.mark.parametrize("grid", [shifted(1e6, 0), shifted(0, 0, "EPSG:32756")])
def test_a_file_elsewhere_is_all_missing(tmp_path: Path, grid: GeoBox) -> None:
    path = write(tmp_path / "a.tif", ramp())
    layer = read_layer(path, grid, resampling="bilinear")
    assert not layer.overlaps and not layer.covered.any() and np.isnan(layer.values).all()


def test_scaled_integers_are_not_rounded_by_the_warp(tmp_path: Path) -> None:
    dn = np.tile(np.array([15_000, 15_001], np.uint16), (40, 25))
    path = write(tmp_path / "a.tif", dn, nodata=0)
    layer = read_layer(path, shifted(35 * 11, -70 * 5), resampling="bilinear", scale=0.02)
    assert np.allclose(layer.values, 300.01, atol=1e-4)


def test_the_range_includes_its_bounds(tmp_path: Path) -> None:
    dn = np.full(GRID.shape, 255, np.uint8)
    path = write(tmp_path / "a.tif", dn, nodata=0)
    layer = read_layer(
        path, GRID, resampling="bilinear", scale=0.002, offset=0.49, valid=(0.45, 1.0)
    )
    assert not layer.out_of_range.any()
    assert (layer.values == 1.0).all()


def test_no_pixel_with_a_share_of_a_wrong_value_survives(tmp_path: Path) -> None:
    """Defect 20 and trap 4: 133 K in a warm scene must not leak into its neighbours."""
    values = ramp()
    values[20, 25] = 133.0
    path = write(tmp_path / "a.tif", values)
    target = shifted(70 * 10.4, -70 * 10.4)
    layer = read_layer(path, target, resampling="bilinear", valid=(170.0, 380.0))
    plain = plain_warp(path, target, Resampling.bilinear)
    clean = plain_warp(write(tmp_path / "b.tif", ramp()), target, Resampling.bilinear)
    touched = np.abs(plain - clean) > 1e-4
    assert touched.sum() == 4
    assert np.array_equal(layer.out_of_range, touched)
    assert np.isnan(layer.values[touched]).all()
    assert np.array_equal(layer.values[~touched], plain[~touched])
    assert layer.seen[0] < 270 < layer.seen[1]


def test_fill_next_to_a_wrong_value_changes_no_weight(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(300, 5, GRID.shape).astype(np.float32)
    values[rng.random(GRID.shape) < 0.2] = np.nan
    values[rng.random(GRID.shape) < 0.05] = 133.0
    path = write(tmp_path / "a.tif", values, nodata=np.nan)
    target = GeoBox((20, 25), Affine(120, 0, 400_100, 0, -120, 4_299_900), UTM)
    layer = read_layer(path, target, resampling="bilinear", valid=(170.0, 380.0))
    plain = plain_warp(path, target, Resampling.bilinear)
    good = np.isfinite(layer.values)
    assert good.any() and layer.out_of_range.any()
    assert np.array_equal(layer.values[good], plain[good])
    assert np.array_equal(layer.covered, np.isfinite(plain))
    assert layer.values[good].min() > 270


def test_a_wrong_value_in_an_average_spoils_that_pixel_only(tmp_path: Path) -> None:
    values = ramp()
    values[5, 5] = 1e6
    coarse = GeoBox((10, 12), Affine(280, 0, 400_000, 0, -280, 4_300_000), UTM)
    layer = read_layer(
        write(tmp_path / "a.tif", values), coarse, resampling="average", valid=(170.0, 380.0)
    )
    assert np.argwhere(layer.out_of_range).tolist() == [[1, 1]]
    assert np.allclose(layer.values[0, 0], ramp()[:4, :4].mean())


def test_flags_are_nearest_whole_numbers_and_never_minus_99999(tmp_path: Path) -> None:
    word = np.full(GRID.shape, 40_645, np.int32)
    word[:, :10] = -99_999
    path = write(tmp_path / "a.tif", word, nodata=-99_999)
    layer = read_layer(path, shifted(33, -21, size=GRID.shape), resampling="nearest")
    assert layer.values.dtype == np.int32
    assert set(np.unique(layer.values)) == {NO_VALUE, 40_645}
    assert np.array_equal(layer.covered, layer.values == 40_645)


def test_a_given_nodata_overrides_the_header(tmp_path: Path) -> None:
    scl = np.full(GRID.shape, 4, np.uint8)
    scl[0] = 0
    path = write(tmp_path / "a.tif", scl)
    assert read_layer(path, GRID, resampling="nearest").covered.all()
    assert not read_layer(path, GRID, resampling="nearest", nodata=0).covered[0].any()


def test_georeference_can_come_from_elsewhere(tmp_path: Path) -> None:
    path = write_bare(tmp_path / "a.tif")
    layer = read_layer(path, GRID, resampling="bilinear", crs=UTM, transform=GRID.affine)
    assert np.array_equal(layer.values, ramp())
    with pytest.raises(GranuleError, match="no coordinate system") as caught:
        read_layer(path, GRID, resampling="bilinear", layer="LST")
    assert caught.value.kind == "unreadable"


def test_files_without_georeference_open_quietly_in_threads(tmp_path: Path) -> None:
    path = write_bare(tmp_path / "a.tif")

    def read(_: int) -> bool:
        layer = read_layer(path, GRID, resampling="nearest", crs=UTM, transform=GRID.affine)
        return bool(layer.covered.all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(24)))


def test_several_bands_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=4, width=5, count=3, dtype="uint8", crs=UTM,
        transform=GRID.affine,
    ) as dst:  # fmt: skip
        dst.write(np.ones((3, 4, 5), np.uint8))
    with pytest.raises(GranuleError, match="3 bands"):
        read_layer(path, GRID, resampling="bilinear")


def test_an_html_page_is_called_a_login_page(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_text("<!DOCTYPE html>\n<html><title>Earthdata Login</title></html>")
    with pytest.raises(GranuleError, match=r"a\.tif \(layer LST\).*login page") as caught:
        read_layer(path, GRID, resampling="bilinear", layer="LST")
    assert caught.value.kind == "not_a_raster"


def test_a_real_login_page_is_called_one(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "granules" / "negative_real_world" / "html_login_saved_as_hdf"
    path = tmp_path / "page.tif"
    path.write_bytes(next(folder.glob("*.hdf")).read_bytes())
    with pytest.raises(GranuleError, match="login page"):
        read_header(path, "LST")


@pytest.mark.parametrize("share", [0.05, 0.5, 0.97, 0.999])
def test_a_truncated_jpeg_2000_fails_and_is_not_noise(
    shared_data: Path, tmp_path: Path, share: float
) -> None:
    scene = shared_data / "granules" / "sentinel2" / "S2A_33TWL_20230815_0_L2A"
    whole = (scene / "B04.tif").read_bytes()
    path = tmp_path / "B04.tif"
    path.write_bytes(whole[: int(len(whole) * share)])
    grid = GeoBox((915, 915), Affine(120, 0, 499_980, 0, -120, 5_100_000), "EPSG:32633")
    with pytest.raises(GranuleError, match="cut short") as caught:
        read_layer(
            path, grid, resampling="average", nodata=0, crs="EPSG:32633", transform=grid.affine
        )
    assert caught.value.kind == "truncated"


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"", "truncated"), (b"II*\0\x10\0\0\0", "truncated"), (b"lorem ipsum", "not_a_raster")],
)
def test_what_is_no_raster_is_named(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with pytest.raises(GranuleError, match=r"a\.tif") as caught:
        read_layer(path, GRID, resampling="bilinear")
    assert caught.value.kind == kind


def test_a_file_that_is_not_there_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(GranuleError, match="gone") as caught:
        read_layer(tmp_path / "gone.tif", GRID, resampling="bilinear")
    assert caught.value.kind == "unreadable"


@pytest.mark.parametrize("compress", ["deflate", "lzw", "none"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
def test_a_truncated_file_fails_and_is_never_filled(
    tmp_path: Path, compress: str, share: float
) -> None:
    noise = np.random.default_rng(1).integers(14_000, 16_000, (512, 512)).astype(np.uint16)
    grid = GeoBox((512, 512), GRID.affine, UTM)
    path = write(
        tmp_path / "a.tif", noise, grid, nodata=0, compress=compress, tiled=True,
        blockxsize=128, blockysize=128,
    )  # fmt: skip
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(GranuleError, match="cut short") as caught:
        read_layer(path, grid, resampling="bilinear")
    assert caught.value.kind == "truncated"


def test_the_header_prefers_the_band_scale_to_the_tag(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.ones((4, 5), np.uint16), nodata=0)
    with rasterio.open(path, "r+") as dst:
        dst.update_tags(scale_factor="0.02", add_offset="0.5", units="K")
    header = read_header(path)
    assert (header.scale, header.offset, header.units, header.nodata) == (0.02, 0.5, "K", 0.0)
    with rasterio.open(path, "r+") as dst:
        dst.scales, dst.offsets = (0.04,), (1.0,)
    header = read_header(path)
    assert (header.scale, header.offset, header.dtype) == (0.04, 1.0, "uint16")


@pytest.mark.parametrize(
    "box",
    [(-118.3, 33.9, -118.0, 34.1), (-118.3, 33.75, -118.15, 34.3), (-117.6, 34.2, -117.4, 34.4)],
)
def test_reading_a_part_equals_warping_the_whole_file(
    shared_data: Path, box: tuple[float, float, float, float]
) -> None:
    folder = shared_data / "granules" / "ecostress" / "L2_LSTE_002_AppEEARS_LosAngeles"
    path = folder / "ECO_L2_LSTE.002_LST_doy2023191045405_aid0001.tif"
    grid = region_grid(box, None, 70.0)
    layer = read_layer(path, grid, resampling="bilinear", scale=0.02)
    expected = plain_warp(path, grid, Resampling.bilinear) * 0.02
    assert np.array_equal(np.isnan(layer.values), np.isnan(expected))
    assert np.abs(layer.values - expected)[layer.covered].max() < 0.001
