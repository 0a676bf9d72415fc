"""The Sentinel sources: COGs in a folder beside their STAC items, or found by a STAC API."""

from cube.sources.sentinel1 import Sentinel1Source
from cube.sources.sentinel2 import Sentinel2Source

__all__ = ["Sentinel1Source", "Sentinel2Source"]
