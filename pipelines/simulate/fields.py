"""Random fields and rasters: what every product of the simulator is made of."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox


def generator(seed: int, *stream: str | int) -> np.random.Generator:
    """Give a named stream of random numbers of its own.

    Each overpass draws from its own stream, so adding one changes none of the others.
    """
    words = [s if isinstance(s, int) else zlib.crc32(s.encode()) for s in stream]
    return np.random.default_rng([seed, *words])


def smooth(random: np.random.Generator, shape: tuple[int, int], scale: float) -> np.ndarray:
    """Draw a smooth field of zero mean and unit variance.

    Parameters
    ----------
    random
        Source of the white noise.
    shape
        Rows and columns.
    scale
        Standard deviation of the Gaussian that the noise is filtered with, in pixels.

    Returns
    -------
    ndarray of float64, (y, x)
    """
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(random.standard_normal(shape), scale)
    return (field - field.mean()) / field.std()


def highest(field: np.ndarray, share: float) -> np.ndarray:
    """Mark the given share of the pixels, those with the highest values."""
    if share <= 0:
        return np.zeros(field.shape, bool)
    return field >= np.quantile(field, 1 - share)


def resample(values: np.ndarray, source: GeoBox, target: GeoBox, order: int = 1) -> np.ndarray:
    """Bring a field from one north-up grid onto another of the same CRS, as float32.

    Pixels outside the source repeat its edge. `order` 0 is nearest neighbour, 1 bilinear.
    """
    from scipy.ndimage import affine_transform

    a, b = source.affine, target.affine
    ratio = b.e / a.e, b.a / a.a
    # Index 0 is a pixel's centre, half a pixel inside the corner that the transform gives.
    return affine_transform(
        values.astype(np.float32),
        ratio,
        ((b.f - a.f) / a.e + (ratio[0] - 1) / 2, (b.c - a.c) / a.a + (ratio[1] - 1) / 2),
        output_shape=tuple(target.shape),
        order=order,
        mode="nearest",
    )


def write_cog(
    path: Path, values: np.ndarray, grid: GeoBox, *, nodata: float | None, predict: bool = False
) -> None:
    """Write one band as a cloud-optimised GeoTIFF, deflated, in 256 px blocks, no overviews.

    That is how the L2T tiles are laid out. `values` may be smaller than the grid: they lie in
    its upper-left corner.
    """
    import rasterio

    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = values.shape
    profile: dict[str, Any] = {
        "driver": "COG",
        "height": height,
        "width": width,
        "count": 1,
        "dtype": values.dtype.name,
        "crs": str(grid.crs),
        "transform": grid.affine,
        "nodata": nodata,
        "compress": "deflate",
        "blocksize": 256,
        "overviews": "NONE",
        "predictor": "YES" if predict else "NO",
    }
    with rasterio.open(path, "w", **profile) as file:
        file.write(values, 1)
