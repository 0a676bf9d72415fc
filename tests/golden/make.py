"""Make the golden cube of the present version; run once a release, and keep what it writes.

Run from the root of the project: ``PYTHONPATH=.:tests/support python tests/golden/make.py``.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

from cube.region import Region
from cube.sampling import SplitSettings
from cube.store import Cube
from cube.version import code_version
from golden import RUN, SETTINGS, describe, pack
from pipelines.ingest import ingest
from pipelines.predict import predict
from pipelines.recipe import TrainSettings
from pipelines.simulate import simulate
from pipelines.train import train

TRAINING = TrainSettings(
    patch=8, stride=8, epochs=1, min_valid=0.1, split=SplitSettings(kind="time")
)


def make(target: Path) -> None:
    """Write ``v<version>.tar.xz`` and, beside it, what must be read from it.

    Raises
    ------
    FileExistsError
        If the version has a golden cube: what was released does not change.
    """
    name = f"v{code_version().split('+')[0]}"
    archive, figures = target / f"{name}.tar.xz", target / f"{name}.json"
    if archive.exists():
        raise FileExistsError(f"{archive} is there; a released cube is never made anew")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        region = Region.load(simulate(home, SETTINGS).region)
        ingest(region, batch=3)
        cube = Cube.open(region)
        train(cube, home / "model", TRAINING)
        predict(cube, home / "model", run=RUN)
        described = {"version": name, **describe(Cube.open(region))}
        pack(home, archive)
    figures.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    size = archive.stat().st_size / 1000
    sys.stdout.write(f"{archive}: {size:.0f} kB, {len(described['groups'])} groups\n")
    shutil.copystat(archive, figures)


if __name__ == "__main__":
    make(Path(__file__).parent)
