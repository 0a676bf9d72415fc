"""``[labels]`` of a region file: where the map lies, and how its units become classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from cube.errors import GranuleError, LabelError
from cube.fetch import Checksum, fetch
from cube.lithology import parse
from cube.sources.base import LocatedSettings
from cube.sources.gridded import Dims, Placement

_OF_POLYGONS = frozenset({"layer", "mapping", "unmapped", "crs", "supersampling"})
_OF_RASTERS = frozenset({"dims", "placement"})


class LabelSettings(LocatedSettings):
    """``[labels]``: where the rock and soil map lies and how its units become classes."""

    path: Path
    """Vector file (GeoPackage, GeoJSON, shapefile, also zipped) or NetCDF file; relative to the
    region file."""
    url: str | None = Field(default=None, pattern="^https?://")
    """Where the file is fetched from, once, if it is not at `path`."""
    checksum: str | None = None
    """What is fetched must have this digest: ``sha256:...`` or ``md5:...``."""
    layer: str | None = None
    """Layer of a file that has several."""
    column: str | None = None
    """Attribute with the class code, the class name, or a name that `mapping` knows."""
    variable: str | None = None
    """Instead of `column`: the variable of a NetCDF file that holds class codes."""
    mapping: dict[str, int | str] = Field(default_factory=dict)
    """Value of `column` to class code or class name; the key ``""`` stands for an empty value.
    If given, only values that it names have a class."""
    unmapped: Literal["error", "nodata"] = "error"
    """What to do with polygons whose value has no class."""
    crs: str | None = None
    """CRS of the polygons' coordinates, for files that carry none or a wrong one."""
    dims: Dims | None = None
    """Names of a NetCDF file's dimensions, where they are not ``y`` and ``x``."""
    placement: Placement | None = None
    """Where the pixels of a NetCDF file without CF georeferencing lie."""
    edge_distance: Annotated[float, Field(gt=0)] = 2.0
    """Distance from a class edge, in pixels, at which a label's weight reaches 1."""
    supersampling: Annotated[int, Field(ge=1, le=25)] = 5
    """Samples along each side of a pixel; the class with most samples takes the pixel."""

    @field_validator("mapping")
    @classmethod
    def _classes_exist(cls, mapping: dict[str, int | str]) -> dict[str, int | str]:
        return {name: int(parse(value)) for name, value in mapping.items()}

    @field_validator("checksum")
    @classmethod
    def _is_checksum(cls, checksum: str | None) -> str | None:
        Checksum.parse(checksum)
        return checksum

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.column is None) == (self.variable is None):
            raise ValueError("give either `column` (polygons) or `variable` (NetCDF), and not both")
        origin, idle = ("variable", _OF_POLYGONS) if self.variable else ("column", _OF_RASTERS)
        unused = sorted(self.model_fields_set & idle)
        if unused:
            raise ValueError(f"{', '.join(unused)} has no meaning together with `{origin}`")
        if self.checksum and not self.url:
            raise ValueError("`checksum` is of what is fetched: give `url` too")
        return self

    def fetch(self) -> None:
        """Fetch the file if it is not there and `url` says from where.

        Raises
        ------
        LabelError
            If it cannot be fetched, or is not what `checksum` says.
        """
        if self.url is None or self.location.exists():
            return
        try:
            fetch(self.url, self.location, checksum=self.checksum)
        except GranuleError as error:
            raise LabelError(
                f"the label map cannot be fetched: {error}. It may also be put at {self.location} "
                "by hand",
                kind=error.kind,
            ) from error
