"""Labels: from the polygons of a geological map to classes and weights on a region's grid."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from cube.lithology import CLASS_COUNT, Lithology, parse
from cube.polygons import Polygons, read_polygons
from cube.sources.base import LocatedSettings
from cube.sources.gridded import Dims, Placement

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox

LITHOLOGY_ATTRS = {
    "long_name": "rock and soil class",
    "flag_values": [int(member) for member in Lithology],
    "flag_meanings": " ".join(member.name.lower() for member in Lithology),
    "flag_colors": " ".join(member.colour for member in Lithology),
}
"""CF attributes of any variable that holds class codes, predictions included."""

_WEIGHT_ATTRS = {
    "long_name": "weight of the label: 0 without a label, rising from a class edge to 1 inside",
    "units": "1",
}

_OF_POLYGONS = frozenset({"layer", "mapping", "unmapped", "crs", "supersampling"})
_OF_RASTERS = frozenset({"dims", "placement"})

_STRIP = 256
"""Rows rasterised at a time, so that the sub-pixels of a large region need not fit in memory."""


class LabelSettings(LocatedSettings):
    """``[labels]``: where the rock and soil map lies and how its units become classes."""

    path: Path
    """Vector file (GeoPackage, GeoJSON, shapefile, also zipped) or NetCDF file; relative to the
    region file."""
    layer: str | None = None
    """Layer of a file that has several."""
    column: str | None = None
    """Attribute with the class code, the class name, or a name that `mapping` knows."""
    variable: str | None = None
    """Instead of `column`: the variable of a NetCDF file that holds class codes."""
    mapping: dict[str, int | str] = Field(default_factory=dict)
    """Value of `column` to class code or class name; the key ``""`` stands for an empty value.
    If given, only values that it names have a class."""
    unmapped: Literal["error", "nodata"] = "error"
    """What to do with polygons whose value has no class."""
    crs: str | None = None
    """CRS of the polygons' coordinates, for files that carry none or a wrong one."""
    dims: Dims | None = None
    """Names of a NetCDF file's dimensions, where they are not ``y`` and ``x``."""
    placement: Placement | None = None
    """Where the pixels of a NetCDF file without CF georeferencing lie."""
    edge_distance: Annotated[float, Field(gt=0)] = 2.0
    """Distance from a class edge, in pixels, at which a label's weight reaches 1."""
    supersampling: Annotated[int, Field(ge=1, le=25)] = 5
    """Samples along each side of a pixel; the class with most samples takes the pixel."""

    @field_validator("mapping")
    @classmethod
    def _classes_exist(cls, mapping: dict[str, int | str]) -> dict[str, int | str]:
        return {name: int(parse(value)) for name, value in mapping.items()}

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.column is None) == (self.variable is None):
            raise ValueError("give either `column` (polygons) or `variable` (NetCDF), and not both")
        origin, idle = ("variable", _OF_POLYGONS) if self.variable else ("column", _OF_RASTERS)
        unused = sorted(self.model_fields_set & idle)
        if unused:
            raise ValueError(f"{', '.join(unused)} has no meaning together with `{origin}`")
        return self


@dataclass(frozen=True, slots=True)
class LabelReport:
    """What became of a map on its way to the grid."""

    polygons: int
    """Rows of the map that touch the region; 0 for labels that came as a raster."""
    area_km2: Mapping[str, float]
    """Area of each class as it stands in the cube."""
    labelled: float
    """Share of the region's pixels that have a class."""
    overlap_m2: float
    """Ground inside the region on which polygons of different classes lie over one another."""
    repaired: int
    """Polygons with an invalid outline that were made valid."""
    unmapped: Mapping[str, int]
    """Values without a class, left as nodata, with the number of polygons."""

    @classmethod
    def of(cls, labels: xr.Dataset) -> LabelReport:
        """Read the report that `rasterise` leaves in the attributes."""
        return cls(**json.loads(labels.attrs["label_report"]))


def rasterise(settings: LabelSettings, grid: GeoBox) -> xr.Dataset:
    """Bring a map onto a region's grid.

    Each pixel takes the class that covers most of it, nodata counted as a class (of equal
    shares, the lower code). Where polygons overlap, the smaller one counts.

    Parameters
    ----------
    settings
        The ``[labels]`` table of a region file.
    grid
        The region's grid.

    Returns
    -------
    xarray.Dataset
        ``lithology(y, x)`` uint8 class codes and ``weight(y, x)`` float32 in [0, 1]: low at a
        class edge, 1 well inside, 0 where there is no label. The attribute ``label_report``
        holds a `LabelReport` as JSON.

    Raises
    ------
    LabelError
        If the map cannot be read, or holds values that are no class.
    """
    if settings.variable is not None:
        from cube.sources.netcdf import netcdf_labels

        lithology = netcdf_labels(
            settings.location,
            settings.variable,
            grid,
            dims=settings.dims,
            placement=settings.placement,
        )
        return _dataset(settings, grid, lithology, None, 0.0)
    polygons = read_polygons(settings, grid)
    lithology = majority(polygons.shapes, polygons.codes, grid, settings.supersampling)
    return _dataset(settings, grid, lithology, polygons, overlap(polygons, grid))


def majority(shapes: np.ndarray, codes: np.ndarray, grid: GeoBox, samples: int) -> np.ndarray:
    """Give each pixel the class that takes most of its ``samples x samples`` sub-pixels.

    Parameters
    ----------
    shapes
        Polygons in the grid's CRS; later ones cover earlier ones.
    codes
        uint8, one class a polygon.
    grid
        The grid.
    samples
        Sub-pixels along each side of a pixel.

    Returns
    -------
    ndarray of uint8, (y, x)
    """
    from affine import Affine
    from rasterio.features import rasterize

    height, width = grid.shape
    a, b, c, d, e, f = tuple(grid.affine)[:6]
    present = np.union1d(codes, [Lithology.NODATA]).astype(np.uint8)
    result = np.zeros((height, width), np.uint8)
    pairs = list(zip(shapes, codes.tolist(), strict=True))
    for top in range(0, height, _STRIP):
        rows = min(_STRIP, height - top)
        painted = rasterize(
            pairs,
            out_shape=(rows * samples, width * samples),
            transform=Affine(
                a / samples, b / samples, c + b * top, d / samples, e / samples, f + e * top
            ),
            dtype="uint8",
        )
        blocks = painted.reshape(-1, samples, width, samples)
        counts = [(blocks == code).sum(axis=(1, 3), dtype=np.uint16) for code in present]
        result[top : top + rows] = present[np.argmax(counts, axis=0)]
    return result


def edge_weight(lithology: np.ndarray, grid: GeoBox, pixels: float) -> np.ndarray:
    """Weigh labels by their distance to the nearest edge between two classes.

    The distance in metres from a pixel's centre to the edge, divided by `pixels` pixels and
    capped at 1. The border of the region is no edge; nodata has weight 0.

    Parameters
    ----------
    lithology : ndarray of uint8, (y, x)
        Class codes.
    grid
        The grid, for the pixel's size.
    pixels
        Distance at which the weight reaches 1.

    Returns
    -------
    ndarray of float32, (y, x)
    """
    from scipy.ndimage import distance_transform_edt

    affine = grid.affine
    size = (math.hypot(affine.b, affine.e), math.hypot(affine.a, affine.d))
    pixel = math.sqrt(size[0] * size[1])
    weight = np.zeros(lithology.shape, np.float32)
    for code in np.unique(lithology[lithology != Lithology.NODATA]):
        inside = lithology == code
        if inside.all():
            return np.ones(lithology.shape, np.float32)
        # The transform measures to the centre of the next pixel; the edge is half a pixel nearer.
        distance = distance_transform_edt(inside, sampling=size) - pixel / 2
        weight[inside] = np.clip(distance[inside] / (pixels * pixel), 0, 1)
    return weight


def overlap(polygons: Polygons, grid: GeoBox) -> float:
    """Measure the ground, m2, claimed by more than one class; each further claim counts."""
    import shapely

    inside = shapely.intersection(polygons.shapes, grid.extent.geom)
    classes = [shapely.union_all(inside[polygons.codes == code]) for code in set(polygons.codes)]
    claimed = sum(shape.area for shape in classes)
    return max(0.0, round(float(claimed - shapely.union_all(classes).area), 3))


def _dataset(
    settings: LabelSettings,
    grid: GeoBox,
    lithology: np.ndarray,
    polygons: Polygons | None,
    overlapping: float,
) -> xr.Dataset:
    import xarray as xr
    from odc.geo.xr import xr_coords

    weight = edge_weight(lithology, grid, settings.edge_distance)
    return xr.Dataset(
        {
            "lithology": (
                ("y", "x"),
                lithology,
                {**LITHOLOGY_ATTRS, "grid_mapping": "spatial_ref"},
            ),
            "weight": (("y", "x"), weight, {**_WEIGHT_ATTRS, "grid_mapping": "spatial_ref"}),
        },
        coords=xr_coords(grid),
        attrs={
            "title": "Rock and soil classes",
            "source": settings.location.name,
            "label_report": json.dumps(asdict(_report(grid, lithology, polygons, overlapping))),
        },
    )


def _report(
    grid: GeoBox, lithology: np.ndarray, polygons: Polygons | None, overlapping: float
) -> LabelReport:
    pixel = abs(grid.affine.determinant) / 1e6
    counts = np.bincount(lithology.ravel(), minlength=CLASS_COUNT)
    return LabelReport(
        polygons=polygons.features if polygons else 0,
        area_km2={
            member.label: round(float(counts[member] * pixel), 4)
            for member in Lithology
            if counts[member]
        },
        labelled=float(1 - counts[Lithology.NODATA] / lithology.size),
        overlap_m2=overlapping,
        repaired=polygons.repaired if polygons else 0,
        unmapped=dict(polygons.unmapped) if polygons else {},
    )
