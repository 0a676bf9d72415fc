"""Polygons of a map: opened, repaired, given a class, and brought into a grid's CRS."""

from __future__ import annotations

import difflib
import math
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.errors import LabelError
from cube.lithology import Lithology, parse

if TYPE_CHECKING:
    import pandas as pd
    from geopandas import GeoDataFrame, GeoSeries
    from odc.geo.geobox import GeoBox

    from cube.label_settings import LabelSettings

type _Bounds = tuple[float, float, float, float]

_VECTOR_SUFFIXES = (".shp", ".gpkg", ".geojson", ".json", ".fgb")


@dataclass(frozen=True, slots=True, eq=False)
class Polygons:
    """The polygons that touch a region, in the order in which they are painted."""

    shapes: np.ndarray
    """Shapely polygons in the grid's CRS; a later one covers an earlier one."""
    codes: np.ndarray
    """uint8, one class code a polygon; 0 where the map's value is mapped to nodata."""
    features: int
    """Rows of the file that touch the region, whatever their number of parts."""
    repaired: int
    """Rows whose outline crossed itself and was made valid."""
    unmapped: Mapping[str, int]
    """Values without a class, with the number of rows."""


def read_polygons(settings: LabelSettings, grid: GeoBox) -> Polygons:
    """Read the polygons of a map that touch a region.

    Parts are sorted from large to small (by area in the file's CRS, so that the order does not
    depend on the region; equal areas by class code): where polygons overlap, the smaller one
    lies on top.

    Parameters
    ----------
    settings
        With `column`.
    grid
        The region's grid.

    Raises
    ------
    LabelError
        If the file cannot be read, has no CRS, does not reach the region, or holds values that
        are no class.
    """
    import shapely

    path, layer = _open(settings)
    frame, bounds = _read(path, layer, settings, grid)
    valid = shapely.is_valid(frame.geometry.to_numpy())
    frame = frame.set_geometry(frame.geometry.make_valid())
    frame = frame.assign(row=np.arange(len(frame)), broken=~valid)
    parts = frame.explode(index_parts=False)
    parts = parts[parts.geometry.geom_type.isin(["Polygon", "MultiPolygon"])]
    parts = parts.assign(area=shapely.area(parts.geometry.to_numpy()))
    parts = parts.set_geometry(_onto(parts.geometry.clip_by_rect(*bounds), grid))
    parts = parts[parts.geometry.intersects(grid.extent.geom).to_numpy()]
    if parts.empty:
        raise LabelError(_elsewhere(settings, grid))
    rows = parts.drop_duplicates("row")
    codes, unmapped = _classes(rows[settings.column], settings)
    code = parts["row"].map(dict(zip(rows["row"], codes, strict=True))).to_numpy(np.uint8)
    order = np.lexsort((code, -parts["area"].to_numpy()))
    return Polygons(
        parts.geometry.to_numpy()[order],
        code[order],
        len(rows),
        int(rows["broken"].sum()),
        unmapped,
    )


def _open(settings: LabelSettings) -> tuple[str, str | None]:
    """Find what GDAL has to open: a shapefile may lie in a folder inside a zip archive."""
    path = settings.location
    if not path.exists():
        raise LabelError(f"there is no label map at {path}; correct `path` under [labels]")
    if path.suffix.lower() != ".zip":
        return str(path), settings.layer
    members = _members(path)
    by_layer = [name for name in members if PurePosixPath(name).stem == settings.layer]
    chosen = by_layer or members
    if len(chosen) != 1:
        names = ", ".join(PurePosixPath(name).stem for name in members) or "none"
        raise LabelError(
            f"label map {path}: which of the archive's layers? give `layer`; there are: {names}"
        )
    member = chosen[0]
    shapefile = member.lower().endswith(".shp")
    return f"/vsizip/{path}/{member}", None if shapefile or by_layer else settings.layer


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise LabelError(f"label map {path} is no readable zip archive: {error}") from error
    # macOS adds a "__MACOSX/._name.shp" of resource forks for every file it packs.
    return [
        name
        for name in sorted(names)
        if name.lower().endswith(_VECTOR_SUFFIXES) and not name.startswith("__MACOSX/")
    ]


def _read(
    path: str, layer: str | None, settings: LabelSettings, grid: GeoBox
) -> tuple[GeoDataFrame, _Bounds]:
    """Read the rows near the region; return them with the rectangle around the region."""
    import pyogrio

    where = f"label map {settings.location}"
    try:
        info = pyogrio.read_info(path, layer=layer)
        crs = settings.crs or info["crs"]
        if crs is None:
            raise LabelError(f"{where} does not say its CRS; give `crs`, e.g. crs = 'EPSG:25830'")
        _require_column(settings, [str(name) for name in info["fields"]])
        kind = info["geometry_type"] or "no geometry"
        if "Polygon" not in kind and kind not in ("Unknown", "GeometryCollection"):
            raise LabelError(f"{where} holds {kind}, not polygons; give the `layer` that does")
        bounds = _surroundings(grid, crs, settings)
        frame = _near(path, layer, settings, bounds)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.FeatureError) as error:
        raise LabelError(f"{where} cannot be read as a vector file: {error}") from error
    except pyogrio.errors.DataLayerError as error:
        layers = ", ".join(name for name, _ in pyogrio.list_layers(path))
        raise LabelError(f"{where} has no layer {layer!r}; its layers are: {layers}") from error
    return frame.set_crs(crs, allow_override=True), bounds


def _near(path: str, layer: str | None, settings: LabelSettings, bounds: _Bounds) -> GeoDataFrame:
    import pyogrio

    try:
        return pyogrio.read_dataframe(path, layer=layer, columns=[settings.column], bbox=bounds)
    except pyogrio.errors.FeatureError as error:
        if "no such module: rtree" not in str(error):
            raise
        # Some wheels bring an SQLite without R-trees into the process, and GDAL may end up with it:
        # the file's spatial index is then of no use, the file is.
        frame = pyogrio.read_dataframe(path, layer=layer, columns=[settings.column])
        west, south, east, north = bounds
        return frame.cx[west:east, south:north].reset_index(drop=True)


def _require_column(settings: LabelSettings, fields: list[str]) -> None:
    if settings.column in fields:
        return
    close = difflib.get_close_matches(str(settings.column), fields, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise LabelError(
        f"label map {settings.location} has no attribute {settings.column!r}{hint}; "
        f"its attributes are: {', '.join(fields)}"
    )


def _surroundings(grid: GeoBox, crs: Any, settings: LabelSettings) -> _Bounds:
    """Bound the region in the file's CRS, with a margin that keeps cut edges off the grid."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        west, south, east, north = _bounds(grid, CRS.from_user_input(crs).to_wkt())
    except CRSError as error:
        raise LabelError(f"label map {settings.location}: {crs!r} is no CRS: {error}") from error
    margin = 0.05 * max(east - west, north - south)
    if not math.isfinite(margin):
        raise LabelError(_elsewhere(settings, grid))
    return west - margin, south - margin, east + margin, north + margin


def _bounds(grid: GeoBox, crs: str) -> _Bounds:
    from rasterio.warp import transform_bounds

    box = grid.boundingbox.bbox
    west, south, east, north = transform_bounds(str(grid.crs), crs, *box, densify_pts=51)
    return west, south, east, north


def _onto(shapes: GeoSeries, grid: GeoBox) -> GeoSeries:
    """Reproject, first adding vertices: a straight edge is not straight in another CRS."""
    from pyproj import CRS

    source, target = shapes.crs, CRS.from_user_input(str(grid.crs))
    if source == target:
        return shapes
    kilometre = 0.01 if source.is_geographic else 1000 / source.axis_info[0].unit_conversion_factor
    return shapes.segmentize(kilometre).to_crs(target)


def _classes(values: pd.Series, settings: LabelSettings) -> tuple[list[int], dict[str, int]]:
    """Turn attribute values into class codes."""
    keys = [_key(value) for value in values]
    table = {key: _code(key, settings) for key in set(keys)}
    counts = Counter(key for key in keys if table[key] is None)
    unmapped = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    if unmapped and settings.unmapped == "error":
        listed = "\n".join(f"  {key!r}: {count} polygons" for key, count in unmapped.items())
        raise LabelError(
            f"label map {settings.location}: these values of {settings.column!r} have no class:\n"
            f'{listed}\nAdd them to [labels.mapping], or set unmapped = "nodata".'
        )
    return [table[key] or int(Lithology.NODATA) for key in keys], unmapped


def _key(value: object) -> str:
    """Write a value as it stands in a mapping: no value is ``""``, 9.0 is ``"9"``."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _code(key: str, settings: LabelSettings) -> int | None:
    # With a mapping, a unit number that is not in it must not pass for a class code.
    if settings.mapping:
        value = settings.mapping.get(key)
        return None if value is None else int(value)
    try:
        return int(parse(key))
    except ValueError:
        return None


def _elsewhere(settings: LabelSettings, grid: GeoBox) -> str:
    text = ", ".join(f"{value:.3f}" for value in _bounds(grid, "EPSG:4326"))
    return (
        f"label map {settings.location} does not touch the region "
        f"(west, south, east, north {text}); is its CRS right? `crs` overrides the file's"
    )
