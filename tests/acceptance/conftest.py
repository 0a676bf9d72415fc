"""Region files over the real granules, written to temporary folders; no granule is copied."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from cube.region import Region

WriteRegion = Callable[..., Region]
"""Folder and tables of a region file to the region as a user would load it."""


def _write(folder: Path, name: str = "region", **tables: Any) -> Region:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "region.toml"
    file.write_text(tomli_w.dumps({"name": name, **tables}), encoding="utf-8")
    return Region.load(file)


@pytest.fixture(scope="session")
def write_region() -> WriteRegion:
    """Write ``region.toml`` into a folder and load it."""
    return _write


@pytest.fixture(scope="session")
def real(shared_data: Path) -> Callable[[str], Path]:
    """Path of a real file or folder below the shared data; the test skips if it is not there."""

    def find(name: str) -> Path:
        path = shared_data / name
        if not path.exists():
            pytest.skip(f"needs the real data at {path}, which are not here")
        return path

    return find
