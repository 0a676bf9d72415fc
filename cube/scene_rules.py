"""Rules that choose scenes: what each of them left out, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.errors import SelectionError
from cube.seasons import (
    Clock,
    Hours,
    Instant,
    Season,
    at_hours,
    coordinate,
    in_period,
    in_season,
)
from cube.selection_report import LeftOut, SelectionReport

if TYPE_CHECKING:
    import xarray as xr


class Scenes:
    """The rules applied so far, and the scenes that each of them left out.

    Parameters
    ----------
    dataset
        With the scene coordinates that the rules look at.
    """

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset
        self._keep = np.ones(dataset.sizes["time"], bool)
        self._left_out: dict[str, int] = {}
        self._reasons: list[tuple[np.ndarray, str, str | None]] = []
        self.asked: dict[str, Any] = {}

    @property
    def kept(self) -> np.ndarray:
        """Indices of the scenes that are left: int (n,)."""
        return np.flatnonzero(self._keep)

    def rules(
        self,
        *,
        period: str | tuple[Instant, Instant] | None = None,
        season: Season | None = None,
        time_of_day: str | Hours | None = None,
        clock: Clock = "solar",
        max_cloud: float | None = None,
        max_bad: float | None = None,
        min_valid: float | None = None,
    ) -> None:
        """Apply the rules of `select` that choose scenes."""
        hours = {"utc": None, "sun": "sun_elevation"}.get(clock, "local_solar_time")
        self._rule("period", period, in_period)
        self._rule("season", season, in_season)
        self._rule("time_of_day", time_of_day, lambda ds, x: at_hours(ds, x, clock), hours)
        self._limit("max_cloud", max_cloud, "cloud_fraction", np.less_equal)
        self._limit("max_bad", max_bad, "bad_fraction", np.less_equal)
        self._limit("min_valid", min_valid, "valid_fraction", np.greater_equal)
        if time_of_day is not None:
            self.asked["clock"] = clock

    def _rule(
        self,
        name: str,
        value: Any,
        test: Callable[[xr.Dataset, Any], np.ndarray],
        figure: str | None = None,
    ) -> None:
        """Leave out the scenes that fail a test; no value, no rule."""
        if value is not None:
            self.drop(name, ~test(self._dataset, value), figure)
            self.asked[name] = value

    def _limit(self, name: str, limit: float | None, figure: str, passes: np.ufunc) -> None:
        self._rule(name, limit, lambda ds, x: passes(_share(ds, figure, x), x), figure)

    def drop(self, name: str, failed: np.ndarray, figure: str | None = None) -> None:
        """Leave scenes out.

        Parameters
        ----------
        name
            Of the rule.
        failed
            bool (time,).
        figure
            The scene coordinate that tells why.
        """
        gone = self._keep & failed
        self._left_out[name] = int(gone.sum())
        self._reasons.append((np.flatnonzero(gone), name, figure))
        self._keep &= ~failed

    def report(self, *, whole: bool = False) -> SelectionReport:
        """Sum up; `whole` with every scene that was left out."""
        asked = {name: value for name, value in self.asked.items() if value is not None}
        reasons = sorted(self._scene_reasons(), key=lambda scene: scene.time) if whole else ()
        total, kept = len(self._keep), int(self._keep.sum())
        return SelectionReport(total, kept, dict(self._left_out), asked, tuple(reasons))

    def _scene_reasons(self) -> Iterator[LeftOut]:
        times = self._dataset["time"].values
        granules = _values(self._dataset, "granules", len(times))
        for scenes, rule, figure in self._reasons:
            figures = None if figure is None else _values(self._dataset, figure, len(times))
            said = f"{rule} = {self.asked[rule]}" if rule in self.asked else rule
            for scene in scenes:
                why = said if figures is None else f"{said}: {figure} {figures[scene]:.3g}"
                yield LeftOut(times[scene], str(granules[scene]), rule, why)

    def apply(self, dataset: xr.Dataset, allow_empty: bool = False) -> xr.Dataset:
        """Keep of a data set the scenes that are left, and note how they were chosen.

        Raises
        ------
        SelectionError
            If none is left.
        """
        if not self._keep.any() and not allow_empty:
            raise SelectionError(self._why_empty())
        chosen = dataset if self._keep.all() else dataset.isel(time=self.kept)
        return chosen.assign_attrs(selection=self.report().to_json())

    def _why_empty(self) -> str:
        total = len(self._keep)
        if not total:
            return "the data set holds no scene at all: ingest first"
        steps = ", ".join(f"{name} left out {count}" for name, count in self._left_out.items())
        last = [name for name, count in self._left_out.items() if count][-1]
        by = f"{last} = {self.asked[last]!r}" if last in self.asked else last
        return (
            f"the selection is empty: of {total} scenes, {steps}. The last was emptied by {by}; "
            "relax it, or pass allow_empty=True"
        )


def _values(dataset: xr.Dataset, name: str, count: int) -> np.ndarray:
    return np.asarray(dataset[name].values if name in dataset.coords else [""] * count)


def _share(dataset: xr.Dataset, name: str, limit: float) -> np.ndarray:
    if not 0 <= limit <= 1:
        raise SelectionError(f"a limit of {limit:g} is no share; 10 % is written 0.1")
    return coordinate(dataset, name)
