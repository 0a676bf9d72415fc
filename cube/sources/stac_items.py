"""One STAC item as it was found: parsed, dated and placed, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cube.scene import utc

if TYPE_CHECKING:
    from pystac import Item

RawItem = dict[str, Any]

Home = Path | str
"""Where an item was found, and its relative hrefs start: a JSON file, or a URL."""

# What parsing raises on JSON whose values have other types than they should.
MALFORMED = (ValueError, TypeError, LookupError, AttributeError)


@dataclass(frozen=True)
class Found:
    """One STAC item, or what stood in its place."""

    home: Home
    item: Item | None
    defect: str = ""
    """Why there is no item although something looks like one."""
    id: str = ""
    """The id that a malformed item gives itself."""

    @classmethod
    def parse(cls, raw: RawItem, home: Home) -> Self:
        """Parse an item's JSON; one that is malformed has a defect in place of an item."""
        import pystac
        from shapely.errors import ShapelyError

        try:
            item = pystac.Item.from_dict(raw, migrate=False)
            start_time(item)
            footprint(item)
        except (pystac.STACError, ShapelyError, *MALFORMED) as error:
            return cls(home, None).malformed(str(raw.get("id") or ""), error)
        return cls(home, item)

    def malformed(self, name: str, error: Exception) -> Self:
        """The same place with a defect instead of an item."""
        where = self.home.name if isinstance(self.home, Path) else self.home
        reason = f"{type(error).__name__}: {error}"
        defect = f"STAC item {name or 'without id'} in {where} is malformed ({reason})"
        return type(self)(self.home, None, defect, name)


def considered(raw: RawItem, wanted: Callable[[RawItem], bool]) -> bool:
    """Tell whether an item is wanted; one too malformed to tell is, so that parsing names it."""
    try:
        return wanted(raw)
    except MALFORMED:
        return True


def start_time(item: Item) -> datetime | None:
    """Start of acquisition, UTC: ``start_datetime`` where given, else ``datetime``."""
    start = item.properties.get("start_datetime")
    if start:
        return utc(datetime.fromisoformat(str(start)))
    return utc(item.datetime) if item.datetime else None


def footprint(item: Item) -> tuple[float, float, float, float] | None:
    """West, south, east, north of an item in degrees, if it says so in degrees."""
    from shapely.geometry import shape

    boxes = [shape(item.geometry).bounds if item.geometry else None, item.bbox]
    for box in boxes:
        if not box:
            continue
        half = len(box) // 2
        west, south, east, north = (float(box[index]) for index in (0, 1, half, half + 1))
        # The first Sentinel-1 RTC items give footprint and bbox in UTM metres.
        if max(abs(west), abs(east)) <= 180 and max(abs(south), abs(north)) <= 90:
            return west, south, east, north
    return None
