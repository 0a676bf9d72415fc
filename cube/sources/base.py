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
    "BoundSettings",
    "Header",
    "Layer",
    "LocatedSettings",
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


class BoundSettings(Settings):
    """A table that knows in which folder its region file lies."""

    _base: Path = PrivateAttr(default_factory=Path)

    def bind(self, folder: Path) -> None:
        """Tell the table in which folder its region file lies."""
        self._base = folder

    def resolve(self, path: Path) -> Path:
        """A path of the table as it is opened: relative ones start at the region file's folder."""
        path = path.expanduser()
        return path if path.is_absolute() else self._base / path


class LocatedSettings(BoundSettings):
    """A table with one folder or file of its own."""

    path: Path
    """Folder or file; relative to the region file."""

    @property
    def location(self) -> Path:
        """The path as it is opened."""
        return self.resolve(self.path)


class SourceSettings(LocatedSettings):
    """What every ``[[sources]]`` table of local files has in common."""

    name: str
    """Stands in the ledger; unique in the region."""
