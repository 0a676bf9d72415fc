"""Surface temperature of a half-space under the sun: the periodic solution of heat conduction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

OMEGA = 2 * np.pi / 86400
"""Angular frequency of the day, rad/s."""
HARMONICS = 6
"""Harmonics of the day that are kept; the first two carry most of the amplitude."""
NET_LONGWAVE = 85.0
"""Net long-wave loss of the ground under a clear sky, W m-2."""
STEPS = 144
LAPSE_RATE = 0.0065
"""K m-1."""


@dataclass(frozen=True, slots=True, eq=False)
class Day:
    """What drives the surface through one UTC day, in steps of ten minutes."""

    sun: np.ndarray
    """Clear-sky global irradiance on the horizontal, W m-2, (144,)."""
    air: np.ndarray
    """Air temperature, K, (144,)."""


def day(when: datetime, centre: tuple[float, float]) -> Day:
    """Compute a day's irradiance and a climatological course of air temperature.

    Irradiance: sun's position by the SPA algorithm and Haurwitz's clear-sky model, both of pvlib.
    Air: annual and daily sines with the means of central Spain's southern plateau
    (6 deg C in January, 26 deg C in July, 12 K a day), warmest at 15 h local solar time.

    Parameters
    ----------
    when
        Any time of that day, UTC.
    centre
        Longitude and latitude, degrees.
    """
    import pandas as pd
    from pvlib.clearsky import haurwitz
    from pvlib.solarposition import get_solarposition

    longitude, latitude = centre
    midnight = pd.Timestamp(when).normalize()
    times = pd.date_range(midnight, periods=STEPS, freq="10min")
    position = get_solarposition(times, latitude, longitude)
    sun = haurwitz(position["apparent_zenith"])["ghi"].to_numpy()
    solar_hour = np.arange(STEPS) / 6 + longitude / 15
    season = np.cos(2 * np.pi * (when.timetuple().tm_yday - 205) / 365.25)
    air = 289.2 + 10 * season + 6 * np.cos(2 * np.pi * (solar_hour - 15) / 24)
    return Day(sun, air)


def sun_elevation(when: datetime, centre: tuple[float, float]) -> float:
    """Elevation of the sun above the horizon at one place and time, degrees."""
    import pandas as pd
    from pvlib.solarposition import get_solarposition

    longitude, latitude = centre
    position = get_solarposition(pd.DatetimeIndex([when]), latitude, longitude)
    return float(position["elevation"].iloc[0])


def surface_temperature(
    when: datetime,
    forcing: Day,
    inertia: np.ndarray | float,
    albedo: np.ndarray | float,
    exchange: np.ndarray | float,
) -> np.ndarray:
    """Solve for the periodic surface temperature of a homogeneous half-space.

    The balance at the surface, with losses to air and sky linearised,
    ``(1 - A) S(t) - L + h (Ta(t) - T) = G``, is met harmonic by harmonic. The half-space takes up
    ``G_n = P sqrt(i n w) T_n``, so that ``T_n = ((1 - A) S_n + h Ta_n) / (h + P sqrt(i n w))``
    and the mean has no ground heat flux (Jaeger 1953, Aust. J. Phys. 6, 10; Watson 1975,
    Proc. IEEE 63, 128; Price 1977, J. Geophys. Res. 82, 2582).

    Parameters
    ----------
    when
        Time, UTC, on the day of `forcing`.
    forcing
        Irradiance and air temperature of that day.
    inertia
        Thermal inertia P, J m-2 K-1 s-1/2.
    albedo
        Short-wave albedo A.
    exchange
        h, radiative, sensible and latent together, W m-2 K-1.

    Returns
    -------
    ndarray of float64
        K, in the common shape of the three fields.
    """
    sun = np.fft.rfft(forcing.sun) / STEPS
    air = np.fft.rfft(forcing.air) / STEPS
    midnight = when.replace(hour=0, minute=0, second=0, microsecond=0)
    phase = OMEGA * (when - midnight).total_seconds()
    absorbed = 1 - np.asarray(albedo)
    result = air[0].real + (absorbed * sun[0].real - NET_LONGWAVE) / exchange
    for n in range(1, HARMONICS + 1):
        admittance = exchange + np.asarray(inertia) * np.sqrt(1j * n * OMEGA)
        response = (absorbed * sun[n] + exchange * air[n]) / admittance
        result = result + 2 * (response * np.exp(1j * n * phase)).real
    return np.asarray(result)


def diurnal_range(
    when: datetime,
    centre: tuple[float, float],
    inertia: float,
    albedo: float,
    exchange: float,
) -> float:
    """Warmest minus coldest surface temperature of a day, K."""
    forcing = day(when, centre)
    start = when.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=UTC)
    hours = [
        float(surface_temperature(start + timedelta(hours=h), forcing, inertia, albedo, exchange))
        for h in range(24)
    ]
    return max(hours) - min(hours)
