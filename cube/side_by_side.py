"""Scenes side by side: the bands of several scenes as one, and what is bad in any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cube.errors import SelectionError
from cube.quality import BAD
from cube.sequences import longest

if TYPE_CHECKING:
    import xarray as xr

    from cube.lazy import Layer

Source = tuple["xr.Dataset", np.ndarray]
"""A data set, and the index of the scene that is taken from it at each time."""


def side_by_side(base: xr.Dataset, *sources: Source, times: np.ndarray) -> xr.Dataset:
    """Set the bands of several scenes beside one another. Lazy: no pixel is read.

    Backed by Dask if any of the sources is, and otherwise read window by window without it, as
    a training stream wants it.

    Parameters
    ----------
    base
        What everything but the bands is taken from: flags that say nothing bad, coordinates,
        attributes.
    *sources
        On one grid; no band name twice.
    times
        int (time,): the scenes of `base` that the new ones stand for.

    Returns
    -------
    xarray.Dataset
        ``imagery(time, band, y, x)`` with the bands of all in the order given, ``qc`` with the
        bad flags of all.
    """
    import xarray as xr

    bands = xr.concat(
        [_band_coords(dataset) for dataset, _ in sources],
        "band",
        coords="minimal",
        data_vars="minimal",
        compat="override",
        join="exact",
        combine_attrs="override",
    )
    kept = base.isel(time=times).drop_dims("band").drop_vars(["imagery", "qc"], errors="ignore")
    lazily = all(dataset["imagery"].chunks is None for dataset, _ in sources)
    imagery, qc = (_read_later if lazily else _by_dask)((base, times), sources)
    return kept.assign(imagery=imagery, qc=qc).assign_coords(bands.coords)


def _band_coords(dataset: xr.Dataset) -> xr.Dataset:
    """The coordinates of the bands, and nothing else."""
    import xarray as xr

    coords = {name: each.variable for name, each in dataset.coords.items() if "band" in each.dims}
    return xr.Dataset(coords=coords)


def _read_later(base: Source, sources: tuple[Source, ...]) -> tuple[xr.Variable, xr.Variable]:
    from cube.lazy import CombinedFlags, SideBySide, variable

    like = base[0]
    layers = [_layer(source) for source in sources]
    imagery = SideBySide(layers)
    qc = CombinedFlags([_layer(base), *(_layer(source) for source in _others(base, sources))])
    return (
        variable(("time", "band", "y", "x"), imagery, like["imagery"].variable),
        variable(("time", "y", "x"), qc, like["qc"].variable),
    )


def _layer(source: Source) -> Layer:
    from cube.lazy import Layer

    dataset, times = source
    return Layer(dataset["imagery"].variable, dataset["qc"].variable, times)


def _by_dask(base: Source, sources: tuple[Source, ...]) -> tuple[xr.Variable, xr.Variable]:
    import xarray as xr

    imagery = [_chunked(dataset["imagery"]).isel(time=times) for dataset, times in sources]
    qc = _chunked(base[0]["qc"]).isel(time=base[1])
    for dataset, times in _others(base, sources):
        qc = qc | (_chunked(dataset["qc"]).isel(time=times) & np.uint8(BAD))
    joined: xr.Variable = xr.Variable.concat(imagery, "band")  # type: ignore[no-untyped-call]
    joined.attrs, qc.attrs = base[0]["imagery"].attrs, base[0]["qc"].attrs
    return joined, qc


def _others(base: Source, sources: tuple[Source, ...]) -> list[Source]:
    """Leave out the scenes of the base itself: its flags count whole already."""
    return [each for each in sources if not (each[0] is base[0] and each[1] is base[1])]


def _chunked(layer: xr.DataArray) -> xr.Variable:
    dims = ("time", "band", "y", "x") if layer.ndim == 4 else ("time", "y", "x")
    stored = layer.variable.transpose(*dims)
    return stored if stored.chunks is not None else stored.chunk(time=1)


def stack_dates(dataset: xr.Dataset, dates: int, *, max_gap: float | None = None) -> xr.Dataset:
    """Set each scene beside the ones before it, as bands for a network without memory. Lazy.

    Parameters
    ----------
    dataset
        ``imagery(time, band, y, x)``, ``qc(time, y, x)``.
    dates
        Scenes beside one another, the scene itself included.
    max_gap
        Days between two scenes that follow one another, at most; by default any number.

    Returns
    -------
    xarray.Dataset
        Bands from the earliest scene to the scene itself, e.g. for two dates ``lst@-1``,
        ``emissivity@-1``, ``lst``, ``emissivity``. A pixel that is bad on one of the dates is
        bad. Scenes without enough scenes before them are left out.

    Raises
    ------
    SelectionError
        If none is left, or `dates` is less than 1.
    """
    last = stackable(dataset, dates, max_gap)
    if not len(last):
        raise SelectionError(
            f"none of the {dataset.sizes['time']} scenes has {dates - 1} before it"
            + (f" with {max_gap:g} days between two, at most" if max_gap else "")
            + "; stack fewer dates"
        )
    if dates == 1:
        return dataset
    earlier = [(_renamed(dataset, back), last - back) for back in range(dates - 1, 0, -1)]
    return side_by_side(dataset, *earlier, (dataset, last), times=last)


def stackable(dataset: xr.Dataset, dates: int, max_gap: float | None = None) -> np.ndarray:
    """Indices of the scenes that have ``dates - 1`` before them: int (n,); see `stack_dates`."""
    if dates < 1:
        raise SelectionError(f"a stack is of 1 date or more, not {dates}")
    last = np.arange(dates - 1, dataset.sizes["time"])
    if max_gap is None or dates == 1:
        return last
    far = np.diff(dataset["time"].values) > longest(max_gap)
    seen = np.concatenate([[0], np.cumsum(far)])
    return np.asarray(last[seen[last] == seen[last - (dates - 1)]])


def _renamed(dataset: xr.Dataset, back: int) -> xr.Dataset:
    names = np.array([f"{name}@-{back}" for name in dataset["band"].values], object)
    return dataset.assign_coords(band=("band", names, dataset["band"].attrs))
