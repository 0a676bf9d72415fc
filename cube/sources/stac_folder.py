"""STAC items in local folders."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cube.errors import SourceError
from cube.sources.files import walk
from cube.sources.stac_items import Found, RawItem, considered


def find_items(location: Path, wanted: Callable[[RawItem], bool]) -> Iterator[Found]:
    """Find the STAC items in a folder, its subfolders, or one JSON file.

    A file may hold one item, a list of items or a FeatureCollection. JSON that is no STAC item,
    or one that is not wanted, is passed over; what cannot be parsed is not. The folder is searched
    rather than walked by pystac, which follows the links of a catalogue: downloaded items seldom
    come with one, and its walk ends at the first item that is malformed.

    Raises
    ------
    SourceError
        If the folder, or one below it, is not there or cannot be listed.
    """
    for file in files_below(location, ".json"):
        try:
            content = json.loads(file.read_bytes())
        except (OSError, ValueError) as error:
            yield Found(file, None, f"{file.name} cannot be read as JSON: {error}")
            continue
        for raw in _features(content):
            if "stac_version" in raw and considered(raw, wanted):
                yield Found.parse(raw, file)


def files_below(location: Path, *extensions: str) -> list[Path]:
    """List the files with these extensions (lower case), sorted; or `location` if it is one.

    Raises
    ------
    SourceError
        If the folder, or one below it, is not there or cannot be listed.
    """
    if location.is_file():
        return [location]
    try:
        return walk(location, lambda name: name.lower().endswith(extensions))
    except OSError as error:
        raise SourceError(
            f"the folder {location} cannot be searched: {error}; check `path` in the region file"
        ) from error


def _features(content: Any) -> list[RawItem]:
    if isinstance(content, dict) and content.get("type") == "FeatureCollection":
        content = content.get("features")
    candidates = content if isinstance(content, list) else [content]
    return [raw for raw in candidates if isinstance(raw, dict) and raw.get("type") == "Feature"]
