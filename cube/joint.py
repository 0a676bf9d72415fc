"""Joint selections: one modality's scenes, others joined to them, dates stacked; from a cube."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cube.align import How, align, pairs_of
from cube.anomalies import anomalies
from cube.errors import SelectionError, ThermocubeError
from cube.scene_rules import Scenes
from cube.select import masked, select, with_bands
from cube.selection_report import SelectionReport
from cube.side_by_side import stack_dates, stackable

if TYPE_CHECKING:
    import xarray as xr

    from cube.store import Cube


class Join(BaseModel):
    """Another modality, to be set beside each scene."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    modality: str
    bands: tuple[str, ...] = ()
    """Empty means all."""
    how: How = "nearest"
    """``nearest`` in time, the nearest of the ``same_day``, or ``ffill``, the last one before,
    for what changes slowly."""
    tolerance: str = "16D"
    """Longest time between the two, in pandas notation."""
    only_dates: bool = False
    """Keep the scenes that have a partner, but none of its bands: the fair control."""
    max_cloud: float | None = Field(default=None, ge=0, le=1)
    max_bad: float | None = Field(default=None, ge=0, le=1)
    min_valid: float | None = Field(default=None, ge=0, le=1)
    """Limits for the partner's scenes; see `cube.select.select`."""


Joins = str | Join | Mapping[str, Any] | Sequence[str | Join | Mapping[str, Any]]
"""One or several: names of modalities, `Join`, or tables that make one."""


def select_from(cube: Cube, modality: str, **wanted: Any) -> xr.Dataset:
    """Select scenes of a cube, join other modalities to them, stack dates. Lazy.

    Parameters
    ----------
    cube
        Read at its snapshot.
    modality
        The one whose scenes are chosen; its times are kept.
    join : Joins
        What is set beside each scene; scenes without a partner are left out.
    bands
        Of all that is joined, in the order wanted; with `stack` also single ones, ``lst@-1``.
    stack : int
        So many dates beside one another; see `cube.select.stack_dates`.
    stack_gap : float
        Days between two of them, at most.
    anomalies : str or sequence of str
        Bands that are given less the median of their scene; see `cube.anomalies.anomalies`.
    chunks : dict
        Dask chunks; by default those of the store. None reads without Dask, lazily still.
    **wanted
        All else: rules of `cube.select.select`.

    Returns
    -------
    xarray.Dataset
        ``imagery(time, band, y, x)``, ``qc(time, y, x)``. Its attribute ``selection`` says how
        many scenes each rule left out; `cube.select.report` reads it.

    Raises
    ------
    SelectionError
        If a name is unknown, or no scene is left.
    GridError
        If a joined modality lies on another grid.

    Examples
    --------
    >>> pairs = select_from(
    ...     la, "thermal", season="summer", join=[
    ...         Join(modality="sar", how="same_day"),
    ...         Join(modality="optical", bands=("ndvi",), max_cloud=0.1),
    ...     ],
    ... )  # doctest: +SKIP
    """
    return _Choice(cube, modality, **wanted).dataset()


def explain_from(cube: Cube, modality: str, **wanted: Any) -> SelectionReport:
    """Say of every scene that `select_from` would leave out why; an empty selection is no error.

    Parameters
    ----------
    cube, modality, **wanted
        Of `select_from`.
    """
    return _Choice(cube, modality, **wanted).report()


def select_regions(
    cubes: Mapping[str, Cube], modality: str, **wanted: Any
) -> dict[str, xr.Dataset]:
    """Make the same selection from several regions.

    Parameters
    ----------
    cubes
        By name of the region.
    modality, **wanted
        Of `select_from`.

    Raises
    ------
    ThermocubeError
        What `select_from` raises, with the region's name.
    """
    chosen = {}
    for name, cube in cubes.items():
        try:
            chosen[name] = select_from(cube, modality, **wanted)
        except ThermocubeError as error:
            raise type(error)(f"region {name!r}: {error}", kind=error.kind) from error
    return chosen


class _Choice:
    """A selection in the making: the scenes left, and the partners of each."""

    def __init__(
        self,
        cube: Cube,
        modality: str,
        *,
        join: Joins = (),
        bands: str | Sequence[str] | None = None,
        stack: int = 1,
        stack_gap: float | None = None,
        mask: str | Sequence[str] = (),
        anomalies: str | Sequence[str] = (),
        allow_empty: bool = False,
        chunks: dict[str, int] | None = {},  # noqa: B006
        **rules: Any,
    ) -> None:
        self._cube, self._chunks, self._allow_empty = cube, chunks, allow_empty
        # Chosen without Dask, whose graphs of many scenes take seconds to rearrange.
        self._base = cube.dataset(modality, chunks=None)
        self._joins = _joins(join)
        self._bands = [bands] if isinstance(bands, str) else list(bands or ())
        self._mask = [mask] if isinstance(mask, str) else list(mask)
        self._anomalies = [anomalies] if isinstance(anomalies, str) else list(anomalies)
        self._stack, self._stack_gap = stack, stack_gap
        self._stacked: np.ndarray | None = None
        self._scenes = Scenes(self._base)
        self._scenes.rules(**rules)
        self._partners = [(each, self._partner(each)) for each in self._joins]
        self._scenes.asked |= {
            "join": [each.model_dump(exclude_defaults=True) for each in self._joins] or None,
            "bands": self._bands or None,
            "mask": self._mask or None,
            "anomalies": self._anomalies or None,
        }
        if stack != 1:
            self._drop_unstackable()

    def _partner(self, join: Join) -> xr.Dataset:
        """Open a partner, and leave out the scenes without one."""
        limits = {name: getattr(join, name) for name in ("max_cloud", "max_bad", "min_valid")}
        other = select(
            self._cube.dataset(join.modality, chunks=None),
            bands=join.bands or None,
            allow_empty=True,
            **limits,
        )
        found = pairs_of(self._base, other, join.tolerance, join.how)
        self._scenes.drop(f"no {join.modality} within {join.tolerance} ({join.how})", found < 0)
        return other

    def _drop_unstackable(self) -> None:
        kept = self._scenes.kept
        left = self._base[["time"]].isel(time=kept)
        alone = np.ones(self._base.sizes["time"], bool)
        alone[kept[stackable(left, self._stack, self._stack_gap)]] = False
        self._stacked = kept
        self._scenes.drop(f"fewer than {self._stack - 1} dates before it to stack", alone)
        self._scenes.asked |= {"stack": self._stack, "stack_gap": self._stack_gap}

    def report(self) -> SelectionReport:
        return self._scenes.report(whole=True)

    def dataset(self) -> xr.Dataset:
        noted = self._scenes.apply(self._base, self._allow_empty)
        chosen = self._chosen() if noted.sizes["time"] else noted
        chosen = chosen.assign_attrs(selection=noted.attrs["selection"])
        return chosen if self._chunks is None else in_chunks(chosen, self._chunks)

    def _chosen(self) -> xr.Dataset:
        # What is stacked on a scene that is left may not be left itself.
        scenes = self._scenes.kept if self._stacked is None else self._stacked
        chosen = self._base.isel(time=scenes)
        for join, other in self._partners:
            if not join.only_dates:
                chosen = align(chosen, other, tolerance=join.tolerance, how=join.how)
        if self._bands:
            names = [name.split("@")[0] for name in self._bands]
            chosen = with_bands(chosen, list(dict.fromkeys(names)))
        if self._mask:
            chosen = masked(chosen, self._mask)
        chosen = anomalies(chosen, self._anomalies)
        if self._stack != 1:
            chosen = stack_dates(chosen, self._stack, max_gap=self._stack_gap)
        if any("@" in name for name in self._bands):
            chosen = with_bands(chosen, self._bands)
        chosen.attrs.pop("alignment", None)
        return chosen


def in_chunks(dataset: xr.Dataset, chunks: Mapping[str, int]) -> xr.Dataset:
    """Back the layers of pixels by Dask, in chunks of the store where none are given.

    Scene coordinates stay what they are, small and looked at often.
    """
    layers = {}
    for name, layer in dataset.data_vars.items():
        if {"time", "y", "x"} <= set(layer.dims):
            sizes = {"time": 1} | layer.encoding.get("preferred_chunks", {}) | dict(chunks)
            layers[name] = layer.variable.chunk({dim: sizes.get(dim, -1) for dim in layer.dims})
    return dataset.assign(layers)


def _joins(given: Joins) -> list[Join]:
    each = [given] if isinstance(given, str | Join | Mapping) else list(given)
    return [_join(one) for one in each]


def _join(given: str | Join | Mapping[str, Any]) -> Join:
    from pydantic import ValidationError

    if isinstance(given, Join):
        return given
    try:
        return Join.model_validate({"modality": given} if isinstance(given, str) else given)
    except ValidationError as error:
        problems = "; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors())
        raise SelectionError(f"{given!r} does not say what to join ({problems})") from error


DATA_SETS: Mapping[str, Mapping[str, Any]] = {
    "thermal": {},
    "thermal+sar": {"join": (Join(modality="sar", how="same_day"),)},
    "thermal on sar dates": {"join": (Join(modality="sar", how="same_day", only_dates=True),)},
    "day": {"time_of_day": "day"},
    "night": {"time_of_day": "night"},
    "winter": {"season": "winter"},
    "summer": {"season": "summer"},
}
"""The study's seven data sets, as rules of `select_from` for the modality ``thermal``."""


def data_set(cube: Cube, name: str, *, tolerance: str | None = None, **changes: Any) -> xr.Dataset:
    """Select one of the study's seven data sets. Lazy.

    Parameters
    ----------
    cube
        With ``thermal``, and ``sar`` where that has a part in it.
    name
        One of `DATA_SETS`.
    tolerance
        Join the nearest radar scene within so much time, instead of one of the same day.
    **changes
        More rules of `select_from`, such as ``bands``, ``max_cloud``; ``clock="utc"`` is the
        study's day, 06:00 to 17:59.

    Raises
    ------
    SelectionError
        If there is no such data set, or what it needs is not in the cube.
    """
    return select_from(cube, "thermal", **data_set_rules(name, tolerance=tolerance), **changes)


def data_set_rules(name: str, *, tolerance: str | None = None) -> dict[str, Any]:
    """Rules of one of `DATA_SETS`; see `data_set`."""
    if name not in DATA_SETS:
        raise SelectionError(f"the study has no data set {name!r}; it has {', '.join(DATA_SETS)}")
    rules = dict(DATA_SETS[name])
    if tolerance is not None and "join" in rules:
        nearest = {"how": "nearest", "tolerance": tolerance}
        rules["join"] = tuple(join.model_copy(update=nearest) for join in rules["join"])
    return rules
