"""thermocube's datacubes: what a region's cube is, and how imagery gets into and out of it.

>>> import cube
>>> la = cube.open("regions/los-angeles.toml")  # doctest: +SKIP
>>> night = la.select("thermal", season="summer", time_of_day="night")  # doctest: +SKIP
>>> lst = cube.mask(night, "water").imagery.sel(band="lst")  # doctest: +SKIP
>>> lst.median("time").plot()  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cube.errors import ThermocubeError
from cube.lithology import Lithology
from cube.quality import Flag, is_valid, mask
from cube.region import Region
from cube.store import Cube

__all__ = ["Cube", "Flag", "Lithology", "Region", "ThermocubeError", "is_valid", "mask", "open"]


def open(where: str | Path | Region, *, storage_options: Mapping[str, Any] | None = None) -> Cube:
    """Open a datacube by its place, its region file or its region; see `Cube.open`."""
    return Cube.open(where, storage_options=storage_options)
