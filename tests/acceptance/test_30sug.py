"""Tile 30SUG: two LST and emissivity pairs under names of their own, listed one by one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr

import cube
from cube.ledger import Status
from cube.quality import Flag, is_valid
from cube.region import Region
from cube.store import Cube
from pipelines.ingest import ingest

ROWS, COLUMNS = 400, 1568
CORNER = (300000.0, 4200000.0)
PAIRS = {
    "30SUG-20241203": ("2024-12-03T12:00:00", "ECO_LST_0312.tif", "ECO_EmisWB_0312.tif"),
    "30SUG-20241218": ("2024-12-18T12:00:00", "ECO_LST_1812.tif", "ECO_EMISS_1812.tif"),
}


def tables(folder: Path, **source: Any) -> dict[str, Any]:
    """The north of the tile; the box is ten metres smaller, so that the anchor has to snap it."""
    left, top = CORNER
    right, bottom = left + 70 * COLUMNS, top - 70 * ROWS
    return {
        "name": "sug",
        "area": {
            "bounds": [left + 10, bottom + 10, right - 10, top - 10],
            "crs": "EPSG:32630",
            "resolution": 70.0,
            "anchor": list(CORNER),
        },
        "period": {"start": date(2024, 12, 1), "end": date(2024, 12, 31)},
        "modalities": {"thermal": {"bands": ["lst", "emissivity"]}},
        "sources": [
            {
                "kind": "ecostress",
                "name": "layers",
                "path": str(folder),
                "granules": [
                    {
                        "id": name,
                        "time": datetime.fromisoformat(time).replace(tzinfo=UTC),
                        "layers": {"LST": lst, "EmisWB": emissivity},
                    }
                    for name, (time, lst, emissivity) in PAIRS.items()
                ],
                **source,
            }
        ],
    }


@pytest.fixture(scope="module")
def layers(real: Callable[[str], Path]) -> Path:
    return real("granules/ecostress/L2T_LSTE_layers_30SUG")


@pytest.fixture(scope="module")
def pairs(
    layers: Path, write_region: Callable[..., Region], tmp_path_factory: pytest.TempPathFactory
) -> Cube:
    region = write_region(
        tmp_path_factory.mktemp("sug"), **tables(layers, allow_missing=["QC", "cloud"])
    )
    report = ingest(region)
    assert report.scenes["written"] == 2 and not report.failures
    return cube.open(region)


@pytest.fixture(scope="module")
def thermal(pairs: Cube) -> xr.Dataset:
    return pairs.dataset("thermal", chunks=None).load()


def north(file: Path) -> np.ndarray:
    with rasterio.open(file) as src:
        values: np.ndarray = src.read(1)[:ROWS]
    return values


def test_the_grid_is_the_tiles(pairs: Cube) -> None:
    assert tuple(pairs.grid.shape) == (ROWS, COLUMNS)
    assert tuple(pairs.grid.affine)[:6] == (70, 0, CORNER[0], 0, -70, CORNER[1])


@pytest.mark.parametrize("name", PAIRS)
def test_pixels_are_those_of_the_files_to_the_last_bit(
    thermal: xr.Dataset, layers: Path, name: str
) -> None:
    time, *files = PAIRS[name]
    scene = thermal.sel(time=np.datetime64(time, "ns"))
    assert str(scene["granules"].item()) == name
    assert thermal["band"].values.tolist() == ["lst", "emissivity"]
    for band, file in zip(scene["imagery"].values, files, strict=True):
        expected = north(layers / file)
        assert band.dtype == expected.dtype == np.float32
        np.testing.assert_array_equal(band, expected)
        assert np.isfinite(expected).sum() > 100_000


def test_pixels_without_quality_layers_are_valid_but_marked_unscreened(thermal: xr.Dataset) -> None:
    finite = np.isfinite(thermal["imagery"]).all("band").values
    qc = thermal["qc"].values
    np.testing.assert_array_equal(finite, is_valid(qc))
    assert (qc[finite] == int(Flag.UNSCREENED)).all()
    assert (qc[~finite] == int(Flag.MISSING)).all()
    assert (thermal["product_qc"].values == -1).all()


def test_without_leave_to_do_so_nothing_unscreened_comes_in(
    layers: Path, write_region: Callable[..., Region], tmp_path: Path
) -> None:
    region = write_region(tmp_path, **tables(layers))
    report = ingest(region)
    assert report.ledger["rejected"] == 2 and report.ledger["ingested"] == 0
    strict = cube.open(region)
    assert strict.dataset("thermal", chunks=None).sizes["time"] == 0
    for row in strict.ledger:
        assert (row.status, row.rule) == (Status.REJECTED, "incomplete")
        assert "layer QC and cloud missing" in row.reason
