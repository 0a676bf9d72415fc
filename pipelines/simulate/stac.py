"""STAC items, and the grids that Sentinel products lie on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_EXTENSION = "https://stac-extensions.github.io/{}/schema.json"


def fine_grid(world: GeoBox, resolution: float, anchor: tuple[float, float]) -> GeoBox:
    """The grid of another pixel size over the padded region, on its tile's pixel lines."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    box = world.boundingbox
    left = anchor[0] + np.ceil((box.left - anchor[0]) / resolution) * resolution
    top = anchor[1] + np.floor((box.top - anchor[1]) / resolution) * resolution
    width, height = int((box.right - left) / resolution), int((top - box.bottom) / resolution)
    return GeoBox((height, width), Affine(resolution, 0, left, 0, -resolution, top), world.crs)


def projection(grid: GeoBox) -> dict[str, Any]:
    """Fields of the STAC projection extension 2.0 for a grid."""
    return {
        "proj:code": str(grid.crs),
        "proj:shape": list(grid.shape),
        "proj:transform": list(grid.affine)[:6],
        "proj:bbox": list(grid.boundingbox.bbox),
    }


def write_item(
    folder: Path,
    identity: str,
    collection: str,
    grid: GeoBox,
    properties: Mapping[str, Any],
    assets: Mapping[str, Any],
    extensions: tuple[str, ...],
) -> None:
    """Write a STAC item beside its assets: ``<folder>/<identity>/<identity>.json``."""
    from rasterio.warp import transform_bounds

    west, south, east, north = transform_bounds(str(grid.crs), "EPSG:4326", *grid.boundingbox.bbox)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [_EXTENSION.format(extension) for extension in extensions],
        "id": identity,
        "collection": collection,
        "bbox": [west, south, east, north],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": properties,
        "links": [],
        "assets": assets,
    }
    path = folder / identity / f"{identity}.json"
    path.write_text(json.dumps(item, indent=2), encoding="utf-8")


def iso(time: datetime) -> str:
    """Format a UTC time as STAC items have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
