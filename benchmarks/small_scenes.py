"""Many small scenes for benchmarks that count scenes, not pixels: items that share a few files."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

CRS = "EPSG:32630"
LEFT, TOP = 400_000.0, 4_300_000.0
SIDE = 40
"""Pixels of 20 m along the side of a file."""
GRID = 10
"""Pixels of 70 m along the side of the grid."""
FILES = 4
FIRST = datetime(1984, 1, 1, 11, tzinfo=UTC)
STEP = timedelta(hours=25)

LAYERS = ("B04", "B08", "SCL")


def write_region(folder: Path, scenes: int) -> Path:
    """Write files, items and a region file for so many scenes; returns the region file."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(FILES):
        for name in LAYERS:
            _write(folder / f"{number}_{name}.tif", name, number)
    (folder / "items.json").write_text(json.dumps([_item(index) for index in range(scenes)]))
    side = GRID * 70.0
    file = folder / "region.toml"
    file.write_text(
        f"""name = "small"
[area]
crs = "{CRS}"
bounds = [{LEFT + 35}, {TOP - 35 - side}, {LEFT + 35 + side}, {TOP - 35}]
resolution = 70.0
anchor = [{LEFT + 35}, {TOP - 35}]
[period]
start = 1984-01-01
[modalities.optical]
bands = ["red", "nir"]
max_cloud = 1.0
max_bad = 1.0
[[sources]]
kind = "sentinel2"
name = "s2"
path = "items.json"
"""
    )
    return file


def day(index: int) -> datetime:
    """When the scene of a number was taken."""
    return FIRST + index * STEP


def _write(file: Path, name: str, number: int) -> None:
    import rasterio
    from affine import Affine

    random = np.random.default_rng((number, len(name)))
    values = (
        np.full((SIDE, SIDE), 4, np.uint8)
        if name == "SCL"
        else random.integers(1500, 3500, (SIDE, SIDE)).astype(np.uint16)
    )
    with rasterio.open(
        file,
        "w",
        driver="GTiff",
        height=SIDE,
        width=SIDE,
        count=1,
        dtype=values.dtype,
        crs=CRS,
        transform=Affine(20, 0, LEFT, 0, -20, TOP),
        nodata=0,
    ) as dataset:
        dataset.write(values, 1)


def _item(index: int) -> dict[str, Any]:
    from rasterio.warp import transform_bounds

    side = 20 * SIDE
    west, south, east, north = transform_bounds(
        CRS, "EPSG:4326", LEFT, TOP - side, LEFT + side, TOP
    )
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"S2A_{index:05d}",
        "collection": "sentinel-2-l2a",
        "bbox": [west, south, east, north],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "datetime": f"{day(index):%Y-%m-%dT%H:%M:%SZ}",
            "platform": "sentinel-2a",
            "s2:processing_baseline": "05.09",
            "s2:mgrs_tile": "30SVH",
        },
        "links": [],
        "assets": {name: _asset(name, index % FILES) for name in LAYERS},
    }


def _asset(name: str, number: int) -> dict[str, Any]:
    return {
        "href": f"./{number}_{name}.tif",
        "type": "image/tiff; application=geotiff",
        "roles": ["data"],
    }
