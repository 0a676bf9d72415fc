"""What a selection took, what it left out, and why; to be printed or shown in a notebook."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.errors import SelectionError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_SHOWN = 8
"""Scenes listed when a report is printed; `SelectionReport.to_frame` has all."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One scene that was left out."""

    time: np.datetime64
    granules: str
    """Empty where the data set does not say."""
    rule: str
    """The first that it failed."""
    why: str


@dataclass(frozen=True)
class SelectionReport:
    """How many scenes a selection was made from, how many are left, and where the others went."""

    scenes: int
    kept: int
    left_out: Mapping[str, int]
    """By rule, in the order in which they were applied."""
    asked: Mapping[str, Any]
    """The rules and their values."""
    reasons: tuple[LeftOut, ...] = field(default=(), repr=False)
    """Scene by scene; empty in a report read from a selection's attributes, see `explain`."""

    def to_json(self) -> str:
        """As a selection keeps it in its attribute ``selection``: without the single scenes."""
        names = ("scenes", "kept", "left_out", "asked")
        return json.dumps({name: getattr(self, name) for name in names}, default=str)

    def to_frame(self) -> pd.DataFrame:
        """The scenes left out as a table: time, granules, rule, why."""
        import pandas as pd

        names = ["time", "granules", "rule", "why"]
        rows = [[getattr(scene, name) for name in names] for scene in self.reasons]
        return pd.DataFrame(rows, columns=names)

    def __str__(self) -> str:
        lines = [f"{self.kept} of {self.scenes} scenes selected"]
        lines += [f"  {said}: {what}" for said, what in self._rows()]
        lines += [f"  {scene.time.astype('M8[s]')}  {scene.why}" for scene in self._few()]
        if more := len(self.reasons) - len(self._few()):
            lines.append(f"  ... and {more} scenes more; see to_frame()")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [(said, what) for said, what in self._rows()]
        rows += [(str(scene.time.astype("M8[s]")), scene.why) for scene in self._few()]
        body = "".join(
            f"<tr><td>{escape(left)}</td><td>{escape(right)}</td></tr>" for left, right in rows
        )
        title = f"{self.kept} of {self.scenes} scenes selected"
        return f"<table><caption>{title}</caption><tbody>{body}</tbody></table>"

    def _rows(self) -> list[tuple[str, str]]:
        told = [
            (f"{rule} = {_said(self.asked[rule])}" if rule in self.asked else rule)
            for rule in self.left_out
        ]
        rows = [
            (said, f"{count} left out")
            for said, count in zip(told, self.left_out.values(), strict=True)
        ]
        others = {name: value for name, value in self.asked.items() if name not in self.left_out}
        return rows + [(name, _said(value)) for name, value in others.items()]

    def _few(self) -> tuple[LeftOut, ...]:
        return self.reasons[:_SHOWN]


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name}={_said(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_said(item) for item in value)
    return str(value)


def report(selected: xr.Dataset) -> SelectionReport:
    """Read how a selection was made from the selection itself.

    Raises
    ------
    SelectionError
        If the data set was not made by `cube.select.select` or `Cube.select`.
    """
    if "selection" not in selected.attrs:
        raise SelectionError(
            "the data set does not say how it was selected: it has no attribute 'selection', "
            "which select() leaves"
        )
    return SelectionReport(**json.loads(selected.attrs["selection"]))
