"""Radar and colour of the study's files: scaled image by image, so no cube takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.statistics import anomalies, series_statistics
from pipelines.pixel_features import Layers

MOST = 0.5
"""Images of colour that cover less of the region are left out."""


def study_layers(file: str | Path, shape: tuple[int, int]) -> list[Layers]:
    """Sum up radar and colour over their dates.

    Both were stretched to 0..1 image by image, so that their values have no unit and mean nothing
    in another region; within one, where they are high and low does not change.

    Parameters
    ----------
    file
        One of the study's NetCDF files.
    shape
        Of the cube, which must be the file's grid.

    Raises
    ------
    ValueError
        If the file lies on another grid.
    """
    import xarray as xr

    with xr.open_dataset(file, engine="h5netcdf") as dataset:
        radar = dataset["sar"].transpose("time_sar", "y", "x").to_numpy().astype(np.float32)
        colour = dataset["optical"].transpose("time_optical", "rgb", "y", "x").to_numpy()
    if radar.shape[1:] != shape:
        raise ValueError(f"the file has {radar.shape[1:]} pixels, the cube {shape}")
    scatter = series_statistics(anomalies(radar[:, np.newaxis]), ("vv",), {})
    return [
        Layers("radar", scatter.values, scatter.names),
        Layers("colour", _colour(colour.astype(np.float32)), ("r", "g", "b", "g-r", "g-b", "r-b")),
    ]


def _colour(images: np.ndarray) -> np.ndarray:
    """Mean anomaly of each colour and of their differences, in deviations: (y, x, 6)."""
    there = np.isfinite(images).all(axis=1)
    images = images[there.mean(axis=(1, 2)) > MOST]
    red, green, blue = np.moveaxis(anomalies(images), 1, 0)
    found = np.stack([red, green, blue, green - red, green - blue, red - blue], axis=1)
    found /= np.nanstd(found, axis=(2, 3), keepdims=True)
    known = np.isfinite(found)
    number = known.sum(axis=0)
    mean = np.where(known, found, 0).sum(axis=0) / np.maximum(number, 1)
    return np.where(number > 0, mean, np.nan).transpose(1, 2, 0).astype(np.float32)
