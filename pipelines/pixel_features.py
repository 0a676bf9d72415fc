"""The features of a cube's pixels that classifiers of pixels learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.statistics import Features, anomalies, series_statistics, surroundings, waves

if TYPE_CHECKING:
    import xarray as xr

SEASONS = ("winter", "spring", "summer", "autumn")


@dataclass(frozen=True)
class Layers:
    """Maps beside the thermal series, such as those of radar or of the eye's colours."""

    name: str
    values: np.ndarray
    """float32 (y, x, layer), NaN where missing; on the cube's grid."""
    names: tuple[str, ...]


def thermal_features(
    dataset: xr.Dataset, scales: Sequence[float], layers: Sequence[Layers] = ()
) -> Features:
    """Sum up the series of each pixel, and the ground around it.

    Parameters
    ----------
    dataset : xarray.Dataset
        Thermal imagery (time, band, y, x) with ``local_solar_time``; every valid date is used,
        whatever the part its place is in, since dates hold no label.
    scales
        Of `models.statistics.surroundings`, pixels.
    layers
        More maps, taken as they are.

    Returns
    -------
    Features
        Of scenes less their medians: levels, spread, day and night, seasons, waves; then the
        same around the pixel.
    """
    scenes = anomalies(dataset["imagery"].transpose("time", "band", "y", "x").to_numpy())
    bands = [str(name) for name in dataset["band"].values]
    hours = dataset["local_solar_time"].to_numpy()
    days = dataset["time"].dt.dayofyear.to_numpy()
    own = series_statistics(scenes, bands, date_groups(days, hours))
    own += waves(scenes, bands, days, hours)
    for more in layers:
        own += Features(np.asarray(more.values, np.float32), more.names)
    return own + surroundings(own, scales)


def date_groups(days: np.ndarray, hours: np.ndarray) -> dict[str, np.ndarray]:
    """Dates of the day, of the night, and of each quarter of the year: bool (time,).

    Parameters
    ----------
    days
        Day of the year.
    hours
        Of local solar time; day is from 6 to 18.
    """
    light = (hours >= 6) & (hours < 18)
    quarter = ((days + 9) // 91) % 4  # winter begins about 21 December
    quarters = {name: quarter == number for number, name in enumerate(SEASONS)}
    return {"day": light, "night": ~light, **quarters}
