"""Imagery less the level of its scene: what weather and hour do to all of it, taken away."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cube.errors import SelectionError
from cube.lazy import Index, scenes, variable
from cube.quality import is_valid

if TYPE_CHECKING:
    import xarray as xr

LEVEL_PIXELS = 1 << 20
"""A level is the median of all valid pixels, or of a regular grid of about so many of them."""
STRIP = 1024
"""Rows that are held at once while a level is worked out."""


def anomalies(dataset: xr.Dataset, bands: Sequence[str]) -> xr.Dataset:
    """Give some bands less the median of their scene's valid pixels. Lazy.

    Surface temperatures of two dates differ by tens of kelvins with weather, season and hour, and
    rocks of one date by a few: relative to its scene, a pixel says more of what it is made of.

    Parameters
    ----------
    dataset
        ``imagery(time, band, y, x)``, ``qc(time, y, x)``, opened with ``chunks=None``.
    bands
        Names. Others stay as they are.

    Returns
    -------
    xarray.Dataset
        A scene without a valid pixel is NaN in these bands. Levels are worked out from the whole
        scene when any window of it is first read, and kept.

    Raises
    ------
    SelectionError
        If a name is unknown, or the data set is backed by Dask.
    """
    if not bands:
        return dataset
    known = [str(name) for name in dataset["band"].values]
    if unknown := [name for name in bands if name not in known]:
        raise SelectionError(f"there is no band {unknown[0]!r}; the bands are {', '.join(known)}")
    if dataset["imagery"].chunks is not None:
        raise SelectionError(
            "anomalies are taken before imagery is cut into Dask's chunks: ask Cube.select for them"
        )
    stored = dataset["imagery"].variable.transpose("time", "band", "y", "x")
    reader = Anomalies.of(stored, dataset["qc"].variable, [known.index(name) for name in bands])
    return dataset.assign(imagery=variable(("time", "band", "y", "x"), reader, stored))


@dataclass(frozen=True, eq=False)
class Anomalies:
    """Imagery (time, band, y, x) with some bands given less the level of their scene."""

    imagery: xr.Variable
    qc: xr.Variable
    bands: tuple[int, ...]
    levels: np.ndarray
    """float32 (time, bands): filled in as scenes are met."""
    known: np.ndarray
    """bool (time,): whether they are."""
    dtype = np.dtype(np.float32)

    @classmethod
    def of(cls, imagery: xr.Variable, qc: xr.Variable, bands: Sequence[int]) -> Anomalies:
        """With no level known yet."""
        times = imagery.sizes["time"]
        levels = np.full((times, len(bands)), np.nan, np.float32)
        return cls(imagery, qc, tuple(bands), levels, np.zeros(times, bool))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole array."""
        return tuple(self.imagery.sizes[dim] for dim in ("time", "band", "y", "x"))

    def read(self, key: Index) -> np.ndarray:
        """Read a window."""
        times, bands = (np.arange(self.shape[axis])[key[axis]] for axis in (0, 1))
        for time in np.unique(times[~self.known[times]]):
            # Two threads may come here for one scene; they find the same.
            self.levels[time] = self._level(int(time))
            self.known[time] = True
        pixels = np.array(scenes(self.imagery, times, key[2:]), np.float32)
        pixels[:, self.bands] -= self.levels[times][:, :, np.newaxis, np.newaxis]
        return pixels[:, bands]

    def _level(self, time: int) -> np.ndarray:
        """Median of each of the bands of one scene; NaN where it has no valid pixel."""
        height, width = self.shape[2:]
        step = math.ceil(math.sqrt(height * width / LEVEL_PIXELS))
        strips = [
            self._strip(time, slice(first, first + STRIP), step)
            for first in range(0, height, STRIP)
        ]
        valid = np.concatenate(strips, axis=1)
        return np.array([_median(band) for band in valid], np.float32)

    def _strip(self, time: int, rows: slice, step: int) -> np.ndarray:
        """Pixels (band, pixel) of some rows, NaN where they are not valid."""
        window = {"time": time, "y": rows}
        pixels = self.imagery.isel(window).values[list(self.bands), ::step, ::step]
        flags = self.qc.isel(window).transpose("y", "x").values[::step, ::step]
        return np.where(is_valid(flags), pixels, np.nan).reshape(len(self.bands), -1)


def _median(values: np.ndarray) -> float:
    there = values[np.isfinite(values)]
    return float(np.median(there)) if there.size else math.nan
