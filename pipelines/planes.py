"""Planes: one date of one tile, read from a cube into arrays that are there already."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cube.errors import PlanError
from cube.quality import is_valid

if TYPE_CHECKING:
    import xarray as xr

    from cube.sample_plan import SamplePlan


class Source(NamedTuple):
    """One region's cube, its label map and the plan that was made from them."""

    dataset: xr.Dataset
    """``imagery``, ``qc`` on Zarr, opened with ``chunks=None``: Dask inside a loader costs half of
    the speed and more."""
    labels: xr.Dataset
    """``lithology(y, x)``, and ``weight(y, x)`` if it is asked for."""
    plan: SamplePlan


class Reader:
    """Reads dates of one dataset; holds no pixel, and may be used by threads.

    Parameters
    ----------
    dataset : xarray.Dataset
        See `Source`.
    plan : SamplePlan
        Gives the order of the bands.

    Raises
    ------
    PlanError
        If the plan was made for other data.
    """

    def __init__(self, dataset: xr.Dataset, plan: SamplePlan) -> None:
        plan.require(dataset)
        self._imagery, self._qc = dataset["imagery"], dataset["qc"]
        stored = [str(name) for name in dataset["band"].values]
        # Bands are put in order after the read: asking Zarr for a list of indices is 2-3x slower.
        self._bands = [stored.index(name) for name in plan.bands]

    def read(
        self, times: np.ndarray, rows: slice, columns: slice
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Read one window on some dates.

        Parameters
        ----------
        times : ndarray of int, (date,)
            Increasing.
        rows, columns
            Pixels.

        Returns
        -------
        bands : list of ndarray of float32, (date, y, x)
            One for each band of the plan.
        valid : ndarray of bool, (date, y, x)
            Where neither quality nor a band says otherwise.
        """
        pixels, valid = self._load(times, rows, columns)
        bands = [pixels[:, band] for band in self._bands]
        for band in bands:
            valid &= np.isfinite(band)
        return bands, valid

    def fill(
        self,
        times: np.ndarray,
        rows: slice,
        columns: slice,
        slots: np.ndarray,
        x: np.ndarray,
        valid: np.ndarray,
    ) -> None:
        """Read into planes; a pixel that is not valid becomes NaN in every band.

        Parameters
        ----------
        times, rows, columns
            See `read`.
        slots : ndarray of int, (date,)
            Plane for each date.
        x : ndarray of float32, (plane, y, x, band)
            Planes at least as large as the window, which goes to their corner.
        valid : ndarray of uint8, (plane, y, x)
            Likewise; 1 where valid.
        """
        from pipelines.kernels import put_in_place

        pixels, usable = self._load(times, rows, columns)
        put_in_place(pixels, np.array(self._bands), usable, slots, x, valid)

    def _load(
        self, times: np.ndarray, rows: slice, columns: slice
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (date, stored band, y, x), and where their quality lets them be used."""
        first, last = int(times[0]), int(times[-1])
        run = slice(first, last + 1) if last - first + 1 == len(times) else times
        place = {"time": run, "y": rows, "x": columns}
        pixels = self._imagery.isel(place).load().transpose("time", "band", "y", "x").values
        usable = is_valid(self._qc.isel(place).load().transpose("time", "y", "x").values)
        return pixels.astype(np.float32, copy=False), usable


class Labels:
    """Class codes and weights of one region's ground, in memory.

    Parameters
    ----------
    source
        Its labels are read.
    label_weight
        Multiply the weight by the labels' ``weight``.

    Raises
    ------
    PlanError
        If the labels lack a layer.
    GridError
        If they lie on another grid than the imagery.
    """

    def __init__(self, source: Source, label_weight: bool = False) -> None:
        source.plan.require(source.dataset, source.labels)
        self.lithology = _plane(source.labels, "lithology", np.uint8)
        self.weight = (self.lithology > 0).astype(np.float32)
        if label_weight:
            self.weight *= _plane(source.labels, "weight", np.float32)


def _plane(labels: xr.Dataset, name: str, dtype: type) -> np.ndarray:
    if name not in labels:
        raise PlanError(
            f"the labels have no layer {name!r}; they have {', '.join(map(str, labels.data_vars))}"
        )
    return np.ascontiguousarray(labels[name].transpose("y", "x").values, dtype=dtype)
