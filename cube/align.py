"""Two modalities on one time axis: each scene with its partner, or the scenes that have one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

import numpy as np

from cube.bands import modality_of
from cube.errors import SelectionError
from cube.grid import grid_of, require_same
from cube.side_by_side import side_by_side

if TYPE_CHECKING:
    import xarray as xr

How = Literal["nearest", "same_day", "ffill"]


def align(
    base: xr.Dataset, other: xr.Dataset, *, tolerance: str = "16D", how: How = "nearest"
) -> xr.Dataset:
    """Set the bands of another modality beside each scene. Lazy: no pixel is read.

    Parameters
    ----------
    base
        The modality whose times are kept.
    other
        The modality to take partners from, on the same grid, with other bands. One scene may be
        the partner of several.
    tolerance
        Longest time between partners (pandas notation: ``"16D"``, ``"12h"``).
    how
        ``"nearest"`` takes the nearest in time (the earlier of two equally near), ``"ffill"``
        the last one before or at the same time, ``"same_day"`` the nearest of the same UTC date.

    Returns
    -------
    xarray.Dataset
        ``imagery`` with the bands of both, ``qc`` with the bad flags of both, everything else
        from `base`. A coordinate such as ``sar_time`` names each partner. Scenes without a
        partner are left out; the attribute ``alignment`` says, as JSON, how many.

    Raises
    ------
    GridError
        If the two lie on different grids.
    SelectionError
        If they share a band, or no scene has a partner.
    """
    _require_other_bands(base, other)
    require_same(grid_of(base), grid_of(other), "align")
    scenes, partners = partners_of(base, other, tolerance, how)
    name = modality_of(other) or "partner"
    joined = side_by_side(base, (base, scenes), (other, partners), times=scenes)
    times = other["time"].values[partners]
    return joined.assign_coords({f"{name}_time": ("time", times)}).assign_attrs(
        alignment=_record(base, scenes, name, tolerance, how)
    )


def on_dates_of(
    base: xr.Dataset, other: xr.Dataset, *, tolerance: str = "16D", how: How = "nearest"
) -> xr.Dataset:
    """Keep the scenes that `align` would keep, with none of the other modality's bands. Lazy.

    The fair control for a data set of two modalities: the same scenes, without the second one.

    Parameters
    ----------
    base, other, tolerance, how
        As for `align`.

    Returns
    -------
    xarray.Dataset
        A subset of `base` in time, otherwise unchanged.

    Raises
    ------
    SelectionError
        If `base` already holds a band of `other`, or no scene has a partner.
    """
    _require_other_bands(base, other)
    scenes, _ = partners_of(base, other, tolerance, how)
    record = _record(base, scenes, modality_of(other) or "partner", tolerance, how)
    return base.isel(time=scenes).assign_attrs(alignment=record)


def pairs_of(base: xr.Dataset, other: xr.Dataset, tolerance: str, how: How) -> np.ndarray:
    """Find the partner of each scene, by the times alone; see `align`.

    Returns
    -------
    ndarray of int, (time,)
        Index into the other's scenes, -1 where there is no partner.

    Raises
    ------
    SelectionError
        If `how` or `tolerance` mean nothing.
    """
    import pandas as pd

    if how not in ("nearest", "same_day", "ffill"):
        raise SelectionError(f"cannot align by {how!r}; there are nearest, same_day, ffill")
    try:
        limit = pd.Timedelta(tolerance)
    except ValueError as error:
        raise SelectionError(
            f"{tolerance!r} is no length of time; write it like '16D' or '12h'"
        ) from error
    times, theirs = base["time"].values, other["time"].values
    if not len(theirs):
        return np.full(len(times), -1)
    before = np.searchsorted(theirs, times, side="right") - 1
    after = np.searchsorted(theirs, times, side="left")
    choices = [before] if how == "ffill" else [before, after]
    return _nearest(times, theirs, choices, limit.to_timedelta64(), how == "same_day")


def partners_of(
    base: xr.Dataset, other: xr.Dataset, tolerance: str, how: How
) -> tuple[np.ndarray, np.ndarray]:
    """Find the indices of the scenes that have a partner, and of the partners; see `align`.

    Raises
    ------
    SelectionError
        If no scene has one.
    """
    found = pairs_of(base, other, tolerance, how)
    scenes = np.flatnonzero(found >= 0)
    if not len(scenes):
        raise SelectionError(
            f"none of the {len(found)} scenes has a partner among the {other.sizes['time']} scenes "
            f"of {modality_of(other) or 'the other data'} ({how}, tolerance {tolerance}); "
            "widen the tolerance"
        )
    return scenes, found[scenes]


def _nearest(
    times: np.ndarray,
    theirs: np.ndarray,
    choices: list[np.ndarray],
    limit: np.timedelta64,
    same_day: bool,
) -> np.ndarray:
    """Take the nearest of the candidates that is near enough, -1 if there is none."""
    best = np.full(len(times), -1)
    gap = np.full(len(times), np.timedelta64(np.iinfo(np.int64).max, "ns"))
    for choice in choices:
        partner = theirs[np.clip(choice, 0, len(theirs) - 1)]
        distance = np.abs(times - partner)
        good = (choice >= 0) & (choice < len(theirs)) & (distance <= limit) & (distance < gap)
        if same_day:
            good &= times.astype("datetime64[D]") == partner.astype("datetime64[D]")
        best, gap = np.where(good, choice, best), np.where(good, distance, gap)
    return best


def _require_other_bands(base: xr.Dataset, other: xr.Dataset) -> None:
    shared = [str(name) for name in other["band"].values if name in base["band"].values]
    if shared:
        raise SelectionError(
            f"both data sets hold the band {', '.join(shared)}; take it out of the first, "
            "e.g. with select(..., bands=[...])"
        )


def _record(base: xr.Dataset, scenes: np.ndarray, name: str, tolerance: str, how: str) -> str:
    total = base.sizes["time"]
    return json.dumps(
        {
            "with": name,
            "how": how,
            "tolerance": tolerance,
            "scenes": total,
            "kept": len(scenes),
            "without_partner": total - len(scenes),
        }
    )
