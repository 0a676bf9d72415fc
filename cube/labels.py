"""Labels: from the polygons of a geological map to classes and weights on a region's grid."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from cube.label_settings import LabelSettings as LabelSettings
from cube.lithology import CLASS_COUNT, Lithology
from cube.polygons import Polygons, read_polygons

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

_STRIP = 256
"""Rows rasterised at a time, so that the sub-pixels of a large region need not fit in memory."""


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
        If the map cannot be fetched or read, or holds values that are no class.
    """
    settings.fetch()
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
