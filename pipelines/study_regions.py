"""Region files of the rock-and-soil study's own pixels, two regions in four grids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FLAGS = {
    "variable": "valid_flag",
    "values": {"1": "poor_quality", "2": "missing", "3": "missing"},
}
BANDS = {"lst_err": "LST_err", "emissivity": "EmisWB"}
"""What the files hold. The study took the first of them for the temperature."""
STEP = 70.0

Corner = tuple[str, float, float]
"""CRS, and x and y of the upper-left corner of the upper-left pixel."""

PUERTOLLANO: Corner = ("EPSG:32630", 396_880.0, 4_299_300.0)
SANTA: dict[str, Corner] = {
    "grid-29n": ("EPSG:32629", 717_640.0, 4_209_560.0),
    "grid-30sth": ("EPSG:32630", 200_000.0, 4_211_730.0),
    "grid-30stg": ("EPSG:32630", 200_000.0, 4_200_000.0),
}
"""Grids of Santa's images, in the order of the file's ``grid_id``."""


def puertollano(file: Path) -> dict[str, Any]:
    """The tables of Puertollano's region file: 256 x 384 px."""
    source = _source("study", file, PUERTOLLANO)
    return _region("puertollano", PUERTOLLANO, (256, 384), [source], _labels(file, PUERTOLLANO))


def santa(file: Path) -> dict[str, Any]:
    """The tables of Santa's region file: 281 x 287 px, the grid that most of its images are on.

    Each of the three grids is a source with a place of its own; the labels lie on the first.
    """
    sources = [
        _source(name, file, corner) | {"where": {"grid_id": number}}
        for number, (name, corner) in enumerate(SANTA.items())
    ]
    labels = _labels(file, SANTA["grid-29n"])
    return _region("santa", SANTA["grid-30sth"], (281, 287), sources, labels)


def write_regions(data: Path, folder: Path) -> list[Path]:
    """Write a region file for each of the study's files that is there.

    Parameters
    ----------
    data
        Folder with ``thesis_puertollano.nc`` and ``thesis_santa.nc``.
    folder
        For the region files; made if not there.
    """
    import tomli_w

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for make in (puertollano, santa):
        file = (data / f"thesis_{make.__name__}.nc").resolve()
        if file.exists():
            written.append(folder / f"{make.__name__}.toml")
            written[-1].write_text(tomli_w.dumps(make(file)), encoding="utf-8")
    return written


def _region(
    name: str,
    corner: Corner,
    shape: tuple[int, int],
    sources: list[dict[str, Any]],
    labels: dict[str, Any],
) -> dict[str, Any]:
    from datetime import date

    crs, left, top = corner
    bounds = [left, top - STEP * shape[0], left + STEP * shape[1], top]
    # Scenes were screened by the study already; what is left of them is taken as it is.
    thermal = {"bands": list(BANDS), "max_cloud": 1.0, "max_bad": 1.0}
    return {
        "name": name,
        "area": {"bounds": bounds, "crs": crs, "resolution": STEP},
        "period": {"start": date(2019, 1, 1), "end": date(2024, 12, 31)},
        "modalities": {"thermal": thermal},
        "sources": sources,
        "labels": labels,
    }


def _source(name: str, file: Path, corner: Corner) -> dict[str, Any]:
    return {
        "kind": "netcdf",
        "name": name,
        "path": str(file),
        "platform": "ISS",
        "variable": "thermal",
        "bands": BANDS,
        "time": "datetime_utc",
        "placement": _placement(corner),
        "flags": FLAGS,
    }


def _labels(file: Path, corner: Corner) -> dict[str, Any]:
    return {"path": str(file), "variable": "labels", "placement": _placement(corner)}


def _placement(corner: Corner) -> dict[str, Any]:
    crs, left, top = corner
    return {"crs": crs, "upper_left": [left, top], "pixel_size": STEP}
