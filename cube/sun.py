"""Where the sun stands when a scene is taken: its elevation, and the time by the sun."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from odc.geo.geobox import GeoBox


class Sun(NamedTuple):
    """Where the sun stands, one value a time."""

    elevation: np.ndarray
    """Degrees, as of `sun_elevation`."""
    local_solar_time: np.ndarray
    """Hours, as of `local_solar_time`."""


def centre(grid: GeoBox) -> tuple[float, float]:
    """Longitude and latitude of a grid's centre, degrees (WGS 84)."""
    from rasterio.warp import transform

    a, b, c, d, e, f = tuple(grid.affine)[:6]
    row, column = grid.shape[0] / 2, grid.shape[1] / 2
    x, y = c + a * column + b * row, f + d * column + e * row
    longitude, latitude = transform(str(grid.crs), "EPSG:4326", [x], [y])
    return float(longitude[0]), float(latitude[0])


def sun_elevation(times: ArrayLike, longitude: float, latitude: float) -> np.ndarray:
    """Elevation of the sun's centre above the horizon, without refraction.

    The NREL solar position algorithm (Reda & Andreas 2004), as in pvlib.

    Parameters
    ----------
    times
        UTC instants, datetime64 or anything numpy turns into it; any length, any order.
    longitude, latitude
        Degrees, east and north positive.

    Returns
    -------
    ndarray of float64
        Degrees, one a time; negative below the horizon.
    """
    return sun(times, longitude, latitude).elevation


def local_solar_time(times: ArrayLike, longitude: float) -> np.ndarray:
    """Apparent solar time: the sun crosses the meridian at 12.0.

    UTC, four minutes a degree of longitude, and the equation of time.

    Parameters
    ----------
    times
        UTC instants, datetime64 or anything numpy turns into it; any length, any order.
    longitude
        Degrees, east positive.

    Returns
    -------
    ndarray of float64
        Hours in [0, 24), one a time.
    """
    # The equation of time is the same everywhere on Earth.
    return sun(times, longitude, 0.0).local_solar_time


def sun(times: ArrayLike, longitude: float, latitude: float) -> Sun:
    """`sun_elevation` and `local_solar_time` at the cost of one."""
    instants = np.asarray(times, dtype="datetime64[ns]")
    position = _position(instants, longitude, latitude)
    since_midnight = instants - instants.astype("datetime64[D]")
    hours = since_midnight / np.timedelta64(1, "h")
    minutes = position["equation_of_time"]
    # A tiny negative number modulo 24 rounds to 24.0 itself.
    solar = np.asarray((hours + longitude / 15 + minutes / 60) % 24 % 24)
    return Sun(position["elevation"], solar)


def _position(instants: np.ndarray, longitude: float, latitude: float) -> dict[str, np.ndarray]:
    import pandas as pd
    from pvlib.solarposition import get_solarposition

    if instants.size == 0:
        empty = np.empty(0)
        return {"elevation": empty, "equation_of_time": empty}
    index = pd.DatetimeIndex(instants, tz="UTC")
    table = get_solarposition(index, latitude, longitude)
    return {name: table[name].to_numpy() for name in ("elevation", "equation_of_time")}
