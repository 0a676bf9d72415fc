"""The Sentinel sources: local COGs beside their STAC items."""

from cube.sources.sentinel1 import Sentinel1Source
from cube.sources.sentinel2 import Sentinel2Source

__all__ = ["Sentinel1Source", "Sentinel2Source"]
