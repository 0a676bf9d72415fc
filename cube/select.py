"""Selections: bands, seasons, times of day and quality limits, without touching a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.align import align, on_dates_of
from cube.errors import SelectionError
from cube.quality import Flag, merge
from cube.quality import mask as mask_flags
from cube.scene_rules import Scenes
from cube.seasons import (
    HOURS,
    SEASONS,
    Clock,
    Hours,
    Instant,
    Season,
    span,
)
from cube.selection_report import SelectionReport, report
from cube.side_by_side import stack_dates

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "HOURS",
    "SEASONS",
    "align",
    "explain",
    "on_dates_of",
    "report",
    "select",
    "span",
    "stack_dates",
]


def select(
    dataset: xr.Dataset,
    *,
    bands: Sequence[str] | None = None,
    period: str | tuple[Instant, Instant] | None = None,
    season: Season | None = None,
    time_of_day: str | Hours | None = None,
    clock: Clock = "solar",
    max_cloud: float | None = None,
    max_bad: float | None = None,
    min_valid: float | None = None,
    mask: str | Sequence[str] = (),
    allow_empty: bool = False,
) -> xr.Dataset:
    """Choose scenes by their coordinates, and bands by name. Lazy: no pixel is read.

    Parameters
    ----------
    dataset
        A modality of a cube: ``imagery(time, band, y, x)``, ``qc(time, y, x)`` and the scene
        coordinates on ``time``.
    bands
        Names, in the order wanted.
    period
        A year, month or day (``"2023"``, ``"2023-06"``), or a first and a last one, both
        included; None leaves an end open. UTC.
    season
        A name of `SEASONS`, or the first and last day as ``(month, day)``, ``"MM-DD"`` or day of
        the year from 1, both included; the year may turn in between. By UTC date.
    time_of_day
        ``"day"``, ``"night"``, or hours ``(from, until)``; midnight may lie in between.
    clock
        What the hours mean: ``"solar"`` apparent solar time at the region's centre (day is
        06-18 h), ``"utc"`` the UTC hour whatever the longitude (the study's day, 06:00-17:59),
        ``"sun"`` day is when the sun stands above the horizon (takes no hours).
    max_cloud, max_bad
        Largest share of cloud, of otherwise bad pixels. A scene that does not know its share
        is left out.
    min_valid
        Smallest share of valid pixels.
    mask
        Flags whose pixels become NaN, e.g. ``"water"``. The flags themselves stay.
    allow_empty
        Return a data set without scenes instead of raising.

    Returns
    -------
    xarray.Dataset
        Its attribute ``selection`` says, as JSON, how many scenes each rule left out; `report`
        reads it, and `explain` says it scene by scene.

    Raises
    ------
    SelectionError
        If a name is unknown, or no scene is left.

    Examples
    --------
    >>> night = select(thermal, season="winter", time_of_day="night", max_cloud=0.05)
    ... # doctest: +SKIP
    """
    scenes = Scenes(dataset)
    scenes.rules(
        period=period,
        season=season,
        time_of_day=time_of_day,
        clock=clock,
        max_cloud=max_cloud,
        max_bad=max_bad,
        min_valid=min_valid,
    )
    names = [bands] if isinstance(bands, str) else bands
    if names is not None:
        dataset = with_bands(dataset, list(names))
    flags = [mask] if isinstance(mask, str) else list(mask)
    if flags:
        dataset = masked(dataset, flags)
    scenes.asked |= {"bands": names, "mask": flags or None}
    return scenes.apply(dataset, allow_empty)


def explain(dataset: xr.Dataset, **rules: Any) -> SelectionReport:
    """Say of every scene that `select` would leave out which rule it fails, and by how much.

    Parameters
    ----------
    dataset, **rules
        Of `select`. No pixel is read, and an empty selection is no error.

    Raises
    ------
    SelectionError
        If a name is unknown.
    """
    given = {name: rules.pop(name, None) for name in ("bands", "mask", "allow_empty")}
    scenes = Scenes(dataset)
    scenes.rules(**rules)
    scenes.asked |= {name: given[name] for name in ("bands", "mask") if given[name]}
    return scenes.report(whole=True)


def with_bands(dataset: xr.Dataset, names: list[str]) -> xr.Dataset:
    """Keep bands by name, in the order given. Lazy.

    Raises
    ------
    SelectionError
        If a name is unknown, or stands there twice.
    """
    known = [str(name) for name in dataset["band"].values]
    unknown = [name for name in names if name not in known]
    if unknown or not names or len(set(names)) < len(names):
        fault = (
            f"there is no band {unknown[0]!r}" if unknown else f"{names} names none or one twice"
        )
        raise SelectionError(f"{fault}; the bands are {', '.join(known)}")
    chosen = np.array([known.index(name) for name in names])
    # A slice where it can be one: lists of indices are slow to read from Zarr.
    if (np.diff(chosen) == 1).all():
        return dataset.isel(band=slice(int(chosen[0]), int(chosen[-1]) + 1))
    return dataset.isel(band=chosen)


def masked(dataset: xr.Dataset, flags: Sequence[str | Flag]) -> xr.Dataset:
    """As `cube.quality.mask`, but lazy with or without Dask."""
    if dataset["imagery"].chunks is not None:
        return mask_flags(dataset, *flags)
    from cube.lazy import Masked, variable

    stored = dataset["imagery"].variable
    reader = Masked(stored, dataset["qc"].variable, int(merge(*flags)))
    return dataset.assign(imagery=variable(("time", "band", "y", "x"), reader, stored))
