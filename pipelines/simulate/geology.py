"""The geological map as a survey would publish it: polygons in another CRS than the grid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cube.lithology import Lithology

if TYPE_CHECKING:
    from pipelines.simulate.world import World

FILE = "geology.gpkg"
COLUMN = "class"
CRS = "EPSG:4326"


def write(folder: Path, world: World) -> None:
    """Write the mapped units, one polygon each, with columns ``class`` (code) and ``unit`` (name).

    Ground that was not mapped has no polygon.
    """
    import geopandas
    from rasterio.features import shapes
    from shapely.geometry import shape

    mapped = world.mapped
    found = [
        (shape(outline), int(code))
        for outline, code in shapes(mapped, mapped != 0, transform=world.grid.affine)
    ]
    units = [f"{Lithology(code).label} {i:03d}" for i, (_, code) in enumerate(found, start=1)]
    frame = geopandas.GeoDataFrame(
        {COLUMN: [code for _, code in found], "unit": units},
        geometry=[outline for outline, _ in found],
        crs=str(world.grid.crs),
    )
    frame.to_crs(CRS).to_file(folder / FILE, layer="geology", driver="GPKG")
