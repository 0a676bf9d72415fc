"""What a cube holds, in figures that any later release must give back from the same bytes."""

from __future__ import annotations

import hashlib
import tarfile
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from cube.store import Cube
from pipelines.simulate import SimulationSettings

SETTINGS = SimulationSettings.tiny(size=(32, 28), sentinel1=2, sentinel2=1)
"""The region of every golden cube; its late granules are held back for the test."""
CUBE = "simulated.icechunk"
RUN = "golden"


def describe(cube: Cube) -> dict[str, Any]:
    """Checksums of all arrays, and the ledger and the history, JSON-able.

    Returns
    -------
    dict
        ``groups``: by group and variable its dimensions and the SHA-256 of its values;
        ``ledger``: the rows; ``history``: message and granules of every commit, newest first.
    """
    return {
        "name": cube.name,
        "transform": [float(number) for number in cube.grid.affine],
        "groups": {group: _group(cube.dataset(group, chunks=None)) for group in cube.groups()},
        "ledger": [
            {name: _plain(value) for name, value in row.items()}
            for row in cube.ledger.to_frame().to_dict("records")
        ],
        "history": [
            {"id": entry.id, "message": entry.message, "granules": entry.metadata.get("granules")}
            for entry in cube.history()
        ],
    }


def _group(dataset: xr.Dataset) -> dict[str, Any]:
    return {
        str(name): {"dims": list(variable.dims), "sha256": checksum(variable.values)}
        for name, variable in dataset.variables.items()
    }


def checksum(values: np.ndarray) -> str:
    """SHA-256 of values, whatever unit times come in and however text is kept."""
    if values.dtype.kind == "M":
        values = values.astype("datetime64[ns]").astype(np.int64)
    if values.dtype.kind in "iufb":
        held = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    else:
        held = "\n".join(str(value) for value in values.ravel().tolist()).encode()
    return hashlib.sha256(held).hexdigest()


def _plain(value: Any) -> Any:
    if value is None or value != value:  # NaN and NaT are no values
        return None
    return value.isoformat() if isinstance(value, datetime) else value


def pack(home: Path, archive: Path) -> None:
    """Put a region's file, labels and cube into an archive that is the same every time."""
    with tarfile.open(archive, "w:xz", preset=9) as target:
        for name in ("region.toml", "geology.gpkg", CUBE):
            target.add(home / name, name, filter=_nobody)


def unpack(archive: Path, home: Path) -> Path:
    """Unpack an archive; return the place of the cube."""
    with tarfile.open(archive) as source:
        source.extractall(home, filter="data")
    return home / CUBE


def _nobody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
