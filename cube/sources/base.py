"""What the sources share: settings, periods, and reading a raster layer onto a grid."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, PrivateAttr

from cube.sources.files import Header, read_header
from cube.sources.raster import NO_VALUE, Layer, read_layer

__all__ = [
    "NO_VALUE",
    "Header",
    "Layer",
    "Period",
    "Settings",
    "SourceSettings",
    "read_header",
    "read_layer",
]


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open span of time [start, end), aware UTC datetimes."""

    start: datetime
    end: datetime

    def __contains__(self, time: datetime) -> bool:
        return self.start <= time < self.end


class Settings(BaseModel):
    """A table of the region file: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceSettings(Settings):
    """What every ``[[sources]]`` table has in common."""

    name: str
    """Stands in the ledger; unique in the region."""
    path: Path
    """Folder or file; relative to the region file."""

    _base: Path = PrivateAttr(default_factory=Path)

    @property
    def location(self) -> Path:
        """The path as it is opened: relative ones start at the region file's folder."""
        path = self.path.expanduser()
        return path if path.is_absolute() else self._base / path

    def bind(self, folder: Path) -> None:
        """Tell the source in which folder its region file lies."""
        self._base = folder
