"""What the sources share: settings, periods, and reading a raster layer onto a grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from cube.errors import SourceError
from cube.scene import utc
from cube.sources.files import Header, read_header, walk
from cube.sources.raster import NO_VALUE, Layer, read_layer

__all__ = [
    "NO_VALUE",
    "BoundSettings",
    "Header",
    "Layer",
    "ListedSettings",
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


class ListedSettings(Settings):
    """``[[sources.granules]]``: a granule whose files are called otherwise than the product's."""

    id: str = Field(min_length=1)
    time: datetime
    """Start of acquisition; without an offset it is UTC."""

    @field_validator("time")
    @classmethod
    def _aware(cls, time: datetime) -> datetime:
        return utc(time)


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

    def files(self, wanted: Callable[[str], bool]) -> list[Path]:
        """Files of the folder and its sub-folders whose names are wanted, sorted.

        Folders behind symbolic links are not entered.

        Raises
        ------
        SourceError
            If the folder is not there or cannot be listed.
        """
        root = self.location
        if not root.is_dir():
            raise SourceError(
                f"source {self.name!r}: there is no folder {root}; check `path` in the region file "
                "(relative paths start at the region file)"
            )
        try:
            return walk(root, wanted)
        except OSError as error:
            raise SourceError(f"source {self.name!r}: {root} cannot be listed: {error}") from error
