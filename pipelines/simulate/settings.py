"""What is simulated: where, when, how much of each product, and how cloudy."""

from __future__ import annotations

from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

CRS = "EPSG:32630"
TILE = "30SVH"
TILE_CORNER = (399960.0, 4300020.0)
"""Upper-left corner of MGRS tile 30SVH, which the 70 m grid of the L2T product starts from."""
TILE_SIZE = 109760.0
"""Side of a tile's 70 m grid, 1568 px (that of the 10 m grid is 109 800 m)."""
NEIGHBOUR = "30SUH"
NEIGHBOUR_CORNER = (300000.0, 4300020.0)
"""The tile to the west; it overlaps 30SVH by 9.8 km and shares its pixel lines."""
RESOLUTION = 70.0

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class SimulationSettings(BaseModel):
    """Settings of one simulated region; the same settings give the same pixels.

    The region lies near Puertollano in MGRS tile 30SVH (UTM zone 30N).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="simulated", pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Of the region. Regions of other seeds have other maps, weather and overpasses, but the
    same rocks and physics."""
    seed: int = Field(default=7, ge=0)
    size: tuple[int, int] = (192, 208)
    """Rows and columns of the region's 70 m grid."""
    centre: tuple[float, float] = (-4.0, 38.75)
    """Longitude and latitude of the region's middle, within tile 30SVH."""
    start: date = date(2023, 1, 1)
    days: int = Field(default=365, ge=30)
    """Length of the simulated period."""
    ecostress: int = Field(default=36, ge=6)
    """Overpasses of ECOSTRESS; some come as two granules."""
    sentinel1: int = Field(default=8, ge=0)
    sentinel2: int = Field(default=4, ge=0)
    cloudiness: Share = 0.3
    """Share of overpasses that are partly or mostly cloudy."""
    day_share: Share = 0.6
    """Share of ECOSTRESS overpasses by day; the others are at night."""
    sentinel1_resolution: float = Field(default=20.0, gt=0)
    """Pixel size in metres; the product has 10, at four times the volume."""
    margin: int = Field(default=8, ge=2)
    """Pixels by which the granules reach beyond the region on every side."""

    @classmethod
    def tiny(cls, **changes: object) -> Self:
        """A region of 64 x 56 pixels with few scenes, for tests."""
        few = {"size": (64, 56), "ecostress": 6, "sentinel1": 2, "sentinel2": 2, "days": 120}
        return cls.model_validate(few | changes)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if min(self.size) < 16:
            raise ValueError(f"size {self.size} is too small for a geology; take 16 pixels or more")
        if self.days < 4 * self.ecostress:
            raise ValueError(
                f"{self.ecostress} passes of ECOSTRESS need 4 days each, {4 * self.ecostress} in "
                f"all, but `days` is {self.days}"
            )
        box = self.world_grid.boundingbox
        left, top = TILE_CORNER
        if (
            box.left < left
            or box.top > top
            or box.right > left + TILE_SIZE
            or box.bottom < top - TILE_SIZE
        ):
            raise ValueError(
                f"a region of {self.size} pixels around {self.centre} leaves tile {TILE}; "
                "move `centre` or make `size` smaller"
            )
        return self

    @cached_property
    def grid(self) -> GeoBox:
        """The region's grid, `size` pixels of 70 m on the tile's pixel lines."""
        from affine import Affine
        from odc.geo.geobox import GeoBox
        from rasterio.warp import transform

        height, width = self.size
        (x,), (y,) = transform("EPSG:4326", CRS, [self.centre[0]], [self.centre[1]])
        column = round((x - TILE_CORNER[0]) / RESOLUTION - width / 2)
        row = round((TILE_CORNER[1] - y) / RESOLUTION - height / 2)
        left = TILE_CORNER[0] + column * RESOLUTION
        top = TILE_CORNER[1] - row * RESOLUTION
        return GeoBox(self.size, Affine(RESOLUTION, 0, left, 0, -RESOLUTION, top), CRS)

    @cached_property
    def world_grid(self) -> GeoBox:
        """The region's grid with `margin` pixels more on every side: what the granules cover."""
        from affine import Affine
        from odc.geo.geobox import GeoBox

        height, width = self.size
        corner, reach = self.grid.affine, self.margin * RESOLUTION
        transform = Affine(RESOLUTION, 0, corner.c - reach, 0, -RESOLUTION, corner.f + reach)
        return GeoBox((height + 2 * self.margin, width + 2 * self.margin), transform, CRS)

    @cached_property
    def bbox(self) -> tuple[float, float, float, float]:
        """West, south, east, north in degrees, such that snapping the box gives `grid` exactly.

        A box of meridians and parallels is skewed in UTM, so the box is fitted: each side is
        moved until the box's projection ends a quarter pixel inside the grid.
        """
        from rasterio.warp import transform_bounds

        want = self.grid.boundingbox.buffered(-RESOLUTION / 4)
        sides = list(transform_bounds(CRS, "EPSG:4326", *want.bbox))
        scale = [
            (sides[2] - sides[0]) / (want.right - want.left),
            (sides[3] - sides[1]) / (want.top - want.bottom),
        ]
        for _ in range(12):
            have = transform_bounds("EPSG:4326", CRS, *sides)
            for i, (target, found) in enumerate(zip(want.bbox, have, strict=True)):
                sides[i] += (target - found) * scale[i % 2]
        west, south, east, north = (round(side, 7) for side in sides)
        return west, south, east, north
