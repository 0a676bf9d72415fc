"""Sentinel-2 tile 33TWL: a clear and a cloudy date of August 2023, copies of 120 m."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning

import cube
from cube.ledger import Status
from cube.quality import BAD, Flag, is_valid
from cube.region import Region
from cube.store import Cube
from pipelines.ingest import ingest

CORNER = (499980.0, 5100000.0)
"""Upper left of the tile; its copies hold 915 x 915 pixels of 120 m."""
ROWS, COLUMNS = slice(200, 500), slice(50, 350)
CLEAR, CLOUDY = "S2A_33TWL_20230815_0_L2A", "S2B_33TWL_20230810_0_L2A"


def tables(
    folder: Path, rows: slice = ROWS, columns: slice = COLUMNS, **limits: float
) -> dict[str, Any]:
    """A region that lies on the copies' own pixels."""
    left, right = (CORNER[0] + 120 * edge for edge in (columns.start, columns.stop))
    top, bottom = (CORNER[1] - 120 * edge for edge in (rows.start, rows.stop))
    return {
        "name": "twl",
        "area": {
            "bounds": [left, bottom, right, top],
            "crs": "EPSG:32633",
            "resolution": 120.0,
            "anchor": list(CORNER),
        },
        "period": {"start": date(2023, 8, 1), "end": date(2023, 8, 31)},
        "modalities": {"optical": {"bands": ["red", "nir", "ndvi"], **limits}},
        "sources": [{"kind": "sentinel2", "name": "s2", "path": str(folder)}],
    }


@pytest.fixture(scope="module")
def tile(real: Callable[[str], Path]) -> Path:
    folder = real("granules/sentinel2")
    for name in (CLEAR, CLOUDY):
        real(f"granules/sentinel2/{name}")
    return folder


@pytest.fixture(scope="module")
def both(
    tile: Path, write_region: Callable[..., Region], tmp_path_factory: pytest.TempPathFactory
) -> Cube:
    """Both dates, whatever their cloud."""
    region = write_region(
        tmp_path_factory.mktemp("twl"), **tables(tile, max_cloud=1.0, max_bad=1.0)
    )
    assert ingest(region).scenes["written"] == 2
    return cube.open(region)


@pytest.fixture(scope="module")
def optical(both: Cube) -> xr.Dataset:
    return both.dataset("optical", chunks=None).load()


def numbers(folder: Path, name: str, layer: str) -> np.ndarray:
    """The file's own numbers in the region."""
    with (
        pytest.warns(NotGeoreferencedWarning),
        rasterio.open(folder / name / f"{layer}.tif") as src,
    ):
        values: np.ndarray = src.read(1)[ROWS, COLUMNS]
    return values


def scene_of(optical: xr.Dataset, name: str) -> xr.Dataset:
    (index,) = np.flatnonzero(optical["granules"].values == name)
    return optical.isel(time=int(index))


@pytest.mark.parametrize("name", [CLEAR, CLOUDY])
def test_reflectance_is_a_ten_thousandth_of_the_number_and_ndvi_follows(
    optical: xr.Dataset, tile: Path, name: str
) -> None:
    """The items say that the offset of -1000 is applied, and yet state an offset of -0.1."""
    scene = scene_of(optical, name)
    valid = is_valid(scene["qc"].values)
    np.testing.assert_array_equal(np.isfinite(scene["imagery"]).all("band").values, valid)
    assert valid.sum() > 10_000
    red, nir = (numbers(tile, name, layer) * 1e-4 for layer in ("B04", "B08"))
    names = ("red", "nir", "ndvi")
    found = {name: scene["imagery"].sel(band=name).values[valid] for name in names}
    np.testing.assert_allclose(found["red"], red[valid], atol=2e-7)
    np.testing.assert_allclose(found["nir"], nir[valid], atol=2e-7)
    ndvi = ((nir - red) / np.maximum(nir + red, 1e-9))[valid]
    np.testing.assert_allclose(found["ndvi"], ndvi, atol=1e-4)


def test_an_offset_applied_twice_would_show(optical: xr.Dataset) -> None:
    """August forest: a tenth less and red would be negative, NDVI out of its range."""
    scene = scene_of(optical, CLEAR)
    red = scene["imagery"].sel(band="red").values
    assert 0.02 < np.nanmedian(red) < 0.06
    assert 0.7 < np.nanmedian(scene["imagery"].sel(band="ndvi").values) < 0.95
    assert scene["bad_fraction"] < 0.05


@pytest.mark.parametrize("name", [CLEAR, CLOUDY])
def test_scene_classes_decide_what_is_valid(optical: xr.Dataset, tile: Path, name: str) -> None:
    scene, classes = scene_of(optical, name), numbers(tile, name, "SCL")
    qc = scene["qc"].values
    np.testing.assert_array_equal(scene["product_qc"].values, classes)
    np.testing.assert_array_equal((qc & Flag.CLOUD) != 0, np.isin(classes, (8, 9, 10)))
    np.testing.assert_array_equal((qc & Flag.WATER) != 0, classes == 6)
    assert ((qc & int(BAD)) != 0)[np.isin(classes, (0, 1, 3, 8, 9, 10, 11))].all()
    ground = np.isin(classes, (4, 5, 7))
    assert is_valid(qc)[ground].mean() > 0.999


def test_the_cloudy_date_is_rejected_by_the_default_limit(
    tile: Path, write_region: Callable[..., Region], tmp_path: Path
) -> None:
    region = write_region(tmp_path, **tables(tile))
    ingest(region)
    screened = cube.open(region)
    kept = screened.dataset("optical", chunks=None)
    assert kept["granules"].values.tolist() == [CLEAR]
    row = screened.ledger.get(CLOUDY)
    assert row is not None
    classes = numbers(tile, CLOUDY, "SCL")
    cloud = np.isin(classes, (8, 9, 10)).sum() / (classes != 0).sum()
    assert (row.status, row.rule, row.limit) == (Status.REJECTED, "max_cloud", 0.10)
    assert row.figure == pytest.approx(cloud, abs=1e-4) and cloud > 0.3
    assert f"{row.figure:.1%}" in row.reason


def test_a_class_map_that_was_compressed_with_loss_fails_by_itself(
    tile: Path, write_region: Callable[..., Region], tmp_path: Path
) -> None:
    """The cloudy copy holds a scene class 12 in three pixels; there is no such class."""
    around = tables(tile, slice(80, 130), slice(865, 915), max_cloud=1.0, max_bad=1.0)
    region = write_region(tmp_path, **around)
    report = ingest(region)
    assert report.scenes["written"] == 1
    (failure,) = report.failures
    assert failure.granule == CLOUDY and "class 12" in failure.reason
    row = cube.open(region).ledger.get(CLOUDY)
    assert row is not None and (row.status, row.rule) == (Status.FAILED, "bad_quality_word")


def split_tile(tile: Path, folder: Path) -> None:
    """The clear date as two products, north and south, that share a band of rows."""
    properties = {"0": "20230815T095630", "1": "20230815T095648"}
    parts = {"0": slice(0, 360), "1": slice(340, 915)}
    for sequence, rows in parts.items():
        name = CLEAR.replace("_0_L2A", f"_{sequence}_L2A")
        item = json.loads((tile / CLEAR / f"{CLEAR}.json").read_text())
        item["id"] = name
        item["properties"]["s2:sequence"] = sequence
        strip = item["properties"]["s2:datastrip_id"]
        item["properties"]["s2:datastrip_id"] = strip.replace(
            "S20230815T095630", f"S{properties[sequence]}"
        )
        (folder / name).mkdir(parents=True)
        for asset in item["assets"].values():
            asset["href"] = f"./{asset['href'].rsplit('/', 1)[-1]}"
        (folder / name / f"{name}.json").write_text(json.dumps(item))
        for layer in ("B04", "B08", "SCL"):
            with (
                pytest.warns(NotGeoreferencedWarning),
                rasterio.open(tile / CLEAR / f"{layer}.tif") as src,
            ):
                values = src.read(1)
            part = np.zeros_like(values)
            part[rows] = values[rows]
            with rasterio.open(
                folder / name / f"{layer}.tif", "w", "GTiff", 915, 915, 1, dtype=part.dtype,
                crs="EPSG:32633", transform=Affine(120, 0, CORNER[0], 0, -120, CORNER[1]),
            ) as file:  # fmt: skip
                file.write(part, 1)


def test_a_tile_in_two_parts_is_one_scene(
    optical: xr.Dataset, tile: Path, write_region: Callable[..., Region], tmp_path: Path
) -> None:
    split_tile(tile, tmp_path / "parts")
    region = write_region(tmp_path, **tables(tmp_path / "parts", max_cloud=1.0, max_bad=1.0))
    report = ingest(region)
    assert report.scenes["written"] == 1 and report.ledger["ingested"] == 2
    halves = cube.open(region).dataset("optical", chunks=None).load()
    whole = scene_of(optical, CLEAR)
    assert str(halves["granules"].item()).count("_L2A") == 2
    for name in ("imagery", "qc", "product_qc"):
        np.testing.assert_array_equal(halves[name].values[0], whole[name].values)
    assert not ingest(region).changed
