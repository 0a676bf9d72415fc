"""A first region file, written from a box and a start date."""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path

from cube.errors import RegionError
from cube.region import Region

TEMPLATE = """\
# A region of thermocube: where the cube lies, what goes in, and what is refused.
name = "{name}"
# store = "s3://bucket/{name}"        # default: {name}.icechunk beside this file

[area]
bbox = [{bbox}]   # west, south, east, north in degrees
resolution = 70                       # metres; the CRS is the UTM zone unless `crs` is given

[period]
start = {start}

[modalities.thermal]
bands = ["lst"]                       # add "emissivity" if the granules have EmisWB
max_cloud = 0.10                      # share of measured pixels above which a scene is rejected
max_bad = 0.10

[[sources]]
kind = "ecostress"
name = "ecostress"
path = "{granules}"

# [labels]
# path = "geology.gpkg"
# column = "class"                    # class code or name; or a unit name with [labels.mapping]
"""


def write_region(path: Path, bbox: str, start: str, granules: Path, *, force: bool) -> Region:
    """Write a region file and read it back.

    Parameters
    ----------
    path
        The file; its stem becomes the region's name.
    bbox
        West, south, east, north in degrees, separated by commas.
    start
        First day, ``YYYY-MM-DD``.
    granules
        Folder with ECOSTRESS granules.
    force
        Replace a file that is there.

    Raises
    ------
    RegionError
        If the file is there already, or box or date make no region.
    """
    if path.exists() and not force:
        raise RegionError(f"{path} is there already; choose another name or give --force")
    name = re.sub(r"[^a-z0-9_-]+", "-", path.stem.lower()).strip("-_") or "region"
    box = ", ".join(part.strip() for part in bbox.split(","))
    text = TEMPLATE.format(name=name, bbox=box, start=start, granules=granules.as_posix())
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RegionError(
            f"bbox {bbox!r} and start {start!r} make no region file: {error}; "
            "give --bbox=west,south,east,north and --start YYYY-MM-DD"
        ) from error
    region = Region.parse(tables, path.resolve().parent, f"region file {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return region


def box_of(path: Path) -> str:
    """The lon/lat box around all geometries of a file, whatever its CRS.

    Edges are followed, not only their ends: the top of a box in metres is no parallel.

    Returns
    -------
    str
        West, south, east, north in degrees, separated by commas; rounded outwards.

    Raises
    ------
    RegionError
        If the file cannot be read, holds no geometry, or has no CRS.
    """
    import geopandas
    from pyogrio.errors import DataSourceError

    try:
        shapes = geopandas.read_file(path).geometry
    except (DataSourceError, OSError) as error:
        raise RegionError(f"polygon file {path} cannot be read: {error}") from error
    shapes = shapes[shapes.notna() & ~shapes.is_empty]
    if shapes.empty:
        raise RegionError(f"polygon file {path} holds no geometry")
    if shapes.crs is None:
        raise RegionError(
            f"polygon file {path} does not say in which CRS it is; give it one (a .prj file beside "
            "a shapefile, say), or give --bbox"
        )
    west, south, east, north = shapes.total_bounds
    step = max(east - west, north - south) / 100
    lonlat = (shapes.segmentize(step) if step > 0 else shapes).to_crs(4326)
    west, south, east, north = lonlat.total_bounds
    corners = [math.floor(west * 1e6), math.floor(south * 1e6)]
    corners += [math.ceil(east * 1e6), math.ceil(north * 1e6)]
    return ", ".join(f"{value / 1e6:.6f}" for value in corners)
