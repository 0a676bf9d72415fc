"""The region file: one TOML file says where a cube lies, what goes in, and what is refused."""

from __future__ import annotations

import difflib
import tomllib
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, FiniteFloat, PrivateAttr, ValidationError, model_validator

from cube.bands import MODALITIES, Band
from cube.errors import RegionError
from cube.grid import grid_of_bounds, nested_grid, region_grid
from cube.labels import LabelSettings
from cube.sources import AnySource
from cube.sources.base import Period, Settings

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

MAX_SIDE = 1e7
"""Metres, a quarter of the Earth's girth: no projection shows more of it faithfully."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Box = tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]


class Area(Settings):
    """``[area]``: the ground and the grid."""

    bbox: Box | None = None
    """West, south, east, north in degrees (WGS 84); the grid covers all of it."""
    bounds: Box | None = None
    """Instead of `bbox`: left, bottom, right, top in metres of `crs`, to match a grid exactly."""
    crs: str | None = None
    """Projected CRS of the grid; by default the UTM zone under the box's centre."""
    resolution: FiniteFloat = Field(default=70.0, gt=0)
    """Pixel size in metres."""
    anchor: tuple[FiniteFloat, FiniteFloat] | None = None
    """A pixel corner (x, y) the grid runs through, e.g. a tile's upper-left corner."""

    @model_validator(mode="after")
    def _one_box(self) -> Self:
        if (self.bbox is None) == (self.bounds is None):
            raise ValueError("give either bbox (degrees) or bounds (metres of crs), and not both")
        if self.bounds is not None and self.crs is None:
            raise ValueError("bounds are metres of a CRS: give crs as well")
        west, south, east, north = self.bbox or self.bounds or (0, 0, 0, 0)
        if not (west < east and south < north):
            raise ValueError("a box is [west, south, east, north], west < east and south < north")
        if self.bbox and not (west >= -180 and south >= -90 and east <= 180 and north <= 90):
            raise ValueError("bbox is in degrees of longitude and latitude; for metres give bounds")
        self._build()  # A CRS that makes no grid is an error of the file.
        return self

    @cached_property
    def grid(self) -> GeoBox:
        """The grid, snapped outwards so that the whole box lies inside."""
        return self._build()

    def _build(self) -> GeoBox:
        grid = self._snapped()
        height, width = (size * self.resolution for size in grid.shape)
        if max(height, width) > MAX_SIDE:
            raise ValueError(
                f"{list(self.bbox or self.bounds or ())} makes a grid of {width / 1e3:.4g} x "
                f"{height / 1e3:.4g} km in {grid.crs}, and a region may have {MAX_SIDE / 1e3:.0f} "
                "km a side: a cube is one region, not the world; write a region file for each "
                "part, or give a crs that suits the area"
            )
        return grid

    def _snapped(self) -> GeoBox:
        if self.bounds is not None and self.crs is not None:
            return grid_of_bounds(self.bounds, self.crs, self.resolution, self.anchor)
        assert self.bbox is not None  # `_one_box` saw to it
        return region_grid(self.bbox, self.crs, self.resolution, self.anchor)


class TimeSpan(Settings):
    """``[period]``: first and last day, both included; open ended without `end`."""

    start: date
    end: date | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.end is not None and self.end < self.start:
            raise ValueError(f"period ends ({self.end}) before it starts ({self.start})")
        return self

    @property
    def period(self) -> Period:
        """The span as half-open UTC datetimes."""
        last = self.end or date(9998, 12, 31)
        start = datetime(self.start.year, self.start.month, self.start.day, tzinfo=UTC)
        end = datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1)
        return Period(start, end)


class ModalitySettings(Settings):
    """``[modalities.<name>]``: the bands of one group and which scenes are kept."""

    bands: tuple[str, ...] = Field(min_length=1)
    resolution: float | None = Field(default=None, gt=0)
    """Pixel size in metres; by default that of the area. All of a region's grids start at the
    same upper-left corner, so that 1 km pixels hold 4 x 4 pixels of 250 m."""
    max_cloud: Fraction = 0.10
    """A scene with a larger share of cloud among its measured pixels is rejected."""
    max_bad: Fraction = 0.10
    """The same for pixels invalid for any other reason."""
    min_valid: Fraction = 0.0
    """A scene whose valid pixels cover less of the region is rejected."""
    pass_gap: float = Field(default=120.0, ge=0)
    """Granules of one platform at most this many seconds apart are one scene."""


class Region(Settings):
    """A region file, validated.

    Examples
    --------
    >>> region = Region.load("regions/los-angeles.toml")  # doctest: +SKIP
    >>> region.grid.shape  # doctest: +SKIP
    (1052, 1570)
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    store: str | None = None
    """Folder, or object-store URL (``s3://bucket/prefix``); default ``<name>.icechunk``."""
    storage_options: dict[str, Any] = Field(default_factory=dict)
    """Passed to the object store, e.g. ``endpoint_url``, ``region``. Never credentials."""
    area: Area
    period: TimeSpan
    modalities: dict[str, ModalitySettings] = Field(min_length=1)
    sources: tuple[AnySource, ...] = Field(min_length=1)
    labels: LabelSettings | None = None

    _folder: Path = PrivateAttr(default_factory=Path)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, settings in self.modalities.items():
            if name not in MODALITIES:
                raise ValueError(
                    f"no modality is called {name!r}; there are {', '.join(MODALITIES)}"
                )
            for band in settings.bands:
                if band not in MODALITIES[name].bands:
                    known = ", ".join(MODALITIES[name].bands)
                    raise ValueError(
                        f"modality {name!r} has no band {band!r}; its bands are {known}"
                    )
            if len(set(settings.bands)) < len(settings.bands):
                raise ValueError(
                    f"modality {name!r} names a band twice: {', '.join(settings.bands)}"
                )
        names = [source.name for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError(f"two sources have the same name: {', '.join(sorted(names))}")
        for source in self.sources:
            if source.modality not in self.modalities:
                raise ValueError(
                    f"source {source.name!r} delivers {source.modality!r}, "
                    f"but there is no [modalities.{source.modality}]"
                )
        return self

    @classmethod
    def load(cls, path: str | Path) -> Region:
        """Read and validate a region file.

        Raises
        ------
        RegionError
            Naming the file, the key, what is wrong with it, and a likely correction.
        """
        path = Path(path)
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RegionError(
                f"there is no region file at {path}; `thermocube init` writes one"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise RegionError(f"region file {path} cannot be read: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise RegionError(f"region file {path} is not valid TOML: {error}") from error
        return cls.parse(tables, folder=path.resolve().parent, origin=f"region file {path}")

    @classmethod
    def parse(cls, tables: dict[str, Any], folder: Path, origin: str = "region") -> Region:
        """Validate tables that are already in memory; relative paths start at `folder`.

        Raises
        ------
        RegionError
        """
        try:
            region = cls.model_validate(tables)
        except ValidationError as error:
            raise RegionError(f"{origin}:\n" + "\n".join(_explain(error))) from None
        region._folder = folder
        for source in region.sources:
            source.bind(folder)
        if region.labels is not None:
            region.labels.bind(folder)
        return region

    @property
    def grid(self) -> GeoBox:
        """The grid of labels, predictions, and every modality without a resolution of its own."""
        return self.area.grid

    def grid_of(self, modality: str) -> GeoBox:
        """The grid of one modality."""
        resolution = self.modalities[modality].resolution
        if resolution is None or resolution == self.area.resolution:
            return self.grid
        return nested_grid(self.grid, resolution)

    @property
    def location(self) -> str:
        """Where the cube is: an absolute path or an object-store URL."""
        if self.store and "://" in self.store:
            return self.store
        path = Path(self.store or f"{self.name}.icechunk").expanduser()
        return str(path if path.is_absolute() else self._folder / path)

    def bands(self, modality: str) -> tuple[Band, ...]:
        """The bands of one modality, in the order of the region file."""
        return MODALITIES[modality].require(self.modalities[modality].bands)


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"]) or "(whole file)"
        if problem["type"] == "extra_forbidden":
            lines.append(f"  {where}: unknown key{_suggest(problem['loc'])}")
        else:
            lines.append(f"  {where}: {problem['msg'].removeprefix('Value error, ')}")
    return lines


def _suggest(location: tuple[int | str, ...]) -> str:
    key = str(location[-1])
    close = difflib.get_close_matches(key, _known_keys(), n=1)
    return f"; did you mean {close[0]!r}?" if close else "; no key of that name exists"


def _known_keys() -> set[str]:
    keys: set[str] = set()

    def collect(schema: Any) -> None:
        if isinstance(schema, dict):
            keys.update(schema.get("properties", {}))
            for value in schema.values():
                collect(value)
        elif isinstance(schema, list):
            for value in schema:
                collect(value)

    collect(Region.model_json_schema())
    return keys
