"""The version of the code, as it is written into every commit of a cube."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def code_version() -> str:
    """The installed distribution's version, or ``unknown`` when run from bare sources."""
    try:
        return version("thermocube")
    except PackageNotFoundError:
        return "unknown"
