"""The one table of modalities and bands: names, units, valid ranges, resampling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import xarray as xr

Resampling = Literal["bilinear", "average", "nearest"]


@dataclass(frozen=True, slots=True)
class Band:
    """One physical quantity of a modality."""

    name: str
    """Name on the cube's ``band`` dimension."""
    long_name: str
    units: str
    """UDUNITS string: ``K``, ``1``, ``degree`` or ``dB``."""
    valid_min: float
    """Values below are out of range: no such value was ever measured on land."""
    valid_max: float
    resampling: Resampling
    """How a source file is brought onto the region's grid."""
    standard_name: str | None = None
    """CF standard name, where CF has one."""


@dataclass(frozen=True, slots=True)
class Modality:
    """One group of the cube: bands that are acquired together on one time axis."""

    name: str
    title: str
    bands: Mapping[str, Band]

    def require(self, names: tuple[str, ...]) -> tuple[Band, ...]:
        """Look bands up by name, in the order given.

        Raises
        ------
        SelectionError
            If a name is not a band of this modality.
        """
        from cube.errors import SelectionError

        unknown = [name for name in names if name not in self.bands]
        if unknown:
            raise SelectionError(
                f"modality {self.name!r} has no band {unknown[0]!r}; "
                f"its bands are {', '.join(self.bands)}"
            )
        return tuple(self.bands[name] for name in names)


def _modality(name: str, title: str, *bands: Band) -> Modality:
    return Modality(name, title, MappingProxyType({band.name: band for band in bands}))


# The range of LST leaves room on both sides of what satellites have seen on land
# (about 175 K in Antarctica, 354 K in the Lut desert) and still refuses LST_err (0-10 K)
# and the 133 K that the retrieval writes where it went wrong.
THERMAL = _modality(
    "thermal",
    "Land surface temperature and emissivity",
    Band("lst", "land surface temperature", "K", 170.0, 380.0, "bilinear", "surface_temperature"),
    Band("emissivity", "wide-band land surface emissivity", "1", 0.45, 1.0, "bilinear"),
    Band("lst_err", "uncertainty of land surface temperature", "K", 0.0, 10.2, "bilinear"),
    Band(
        "view_zenith", "view zenith angle", "degree", 0.0, 90.0, "bilinear", "sensor_zenith_angle"
    ),
)

SAR = _modality(
    "sar",
    "Radar backscatter, terrain-corrected gamma nought",
    Band("vv", "gamma nought, vertical-vertical polarisation", "dB", -50.0, 25.0, "average"),
    Band("vh", "gamma nought, vertical-horizontal polarisation", "dB", -60.0, 20.0, "average"),
)

# Surface reflectance over bright targets passes 1 and slightly negative values come out of
# the atmospheric correction of dark ones; both are real output of the product.
OPTICAL = _modality(
    "optical",
    "Surface reflectance and vegetation index",
    Band("red", "surface reflectance, red", "1", -0.1, 1.6, "average"),
    Band("nir", "surface reflectance, near infrared", "1", -0.1, 1.6, "average"),
    Band("ndvi", "normalised difference vegetation index", "1", -1.0, 1.0, "average"),
)

# MOD11 and MOD21 give LST from 7500 x 0.02 = 150 K on; the range is that of thermal LST.
MODIS_LST = _modality(
    "modis_lst",
    "MODIS land surface temperature",
    Band("lst", "land surface temperature", "K", 170.0, 380.0, "bilinear", "surface_temperature"),
)

MODIS_NDVI = _modality(
    "modis_ndvi",
    "MODIS surface reflectance and vegetation index",
    Band("red", "surface reflectance, red", "1", -0.01, 1.6, "bilinear"),
    Band("nir", "surface reflectance, near infrared", "1", -0.01, 1.6, "bilinear"),
    Band("ndvi", "normalised difference vegetation index", "1", -1.0, 1.0, "bilinear"),
)

ASTER_LST = _modality(
    "aster_lst",
    "ASTER land surface temperature",
    Band("lst", "land surface temperature", "K", 170.0, 380.0, "average", "surface_temperature"),
)

MODALITIES: Mapping[str, Modality] = MappingProxyType(
    {
        modality.name: modality
        for modality in (THERMAL, SAR, OPTICAL, MODIS_LST, MODIS_NDVI, ASTER_LST)
    }
)


def modality_of(dataset: xr.Dataset) -> str:
    """Name of the modality that a dataset holds.

    Parameters
    ----------
    dataset
        A group of a cube, which says so in its attributes, or data with the bands of one; then
        the first modality that has all of them.

    Returns
    -------
    str
        Empty if no modality has these bands.
    """
    if "modality" in dataset.attrs:
        return str(dataset.attrs["modality"])
    bands = {str(name) for name in dataset["band"].values}
    return next((name for name, one in MODALITIES.items() if bands <= set(one.bands)), "")
