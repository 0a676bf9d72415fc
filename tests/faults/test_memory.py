"""What a job holds in memory does not grow with the number of scenes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

ROOT = Path(__file__).resolve().parents[2]
SIZE, FEW, MANY = 290, 4, 28
LEFT, TOP, STEP = 396_880.0, 4_299_300.0, 70.0
SCENE = SIZE * SIZE * (2 * 4 + 1)
"""Bytes of a scene's imagery and flags."""

REGION = f"""
name = "memory"
[area]
bbox = [-4.15, 38.62, -3.92, 38.80]
resolution = {STEP}
[period]
start = "2024-01-01"
[modalities.thermal]
bands = ["lst", "emissivity"]
[[sources]]
kind = "netcdf"
name = "file"
path = "scenes.nc"
platform = "ISS"
variable = "image"
bands = {{ lst = "LST", emissivity = "Emis" }}
placement = {{ crs = "EPSG:32630", upper_left = [{LEFT}, {TOP}], pixel_size = {STEP} }}
"""

JOB = """
import sys
from pathlib import Path
from cube.region import Region
from cube.store import Cube
from pipelines.check import check
from pipelines.ingest import ingest
from pipelines.publish import publish
region = Region.load(sys.argv[1])
{job}
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""
JOBS = {
    "ingest": "assert ingest(region, batch=2, workers=1).changed",
    "check": "assert not check(Cube.open(region), deep=True, workers=1).errors",
    "export": "publish(Cube.open(region), 'thermal', Path(sys.argv[1]).parent / 'out.zarr')",
}


def delivery(home: Path, scenes: int) -> None:
    home.mkdir()
    rng = np.random.default_rng(1)
    image = np.empty((scenes, 2, SIZE, SIZE), np.float32)
    image[:, 0] = rng.uniform(290, 310, image[:, 0].shape)
    image[:, 1] = rng.uniform(0.9, 1.0, image[:, 1].shape)
    times = np.datetime64("2024-01-01T10:00", "ns") + np.arange(scenes) * np.timedelta64(1, "D")
    dataset = xr.Dataset(
        {"image": (("time", "band", "y", "x"), image)}, {"time": times, "band": ["LST", "Emis"]}
    )
    chunks = {"image": {"chunksizes": (1, 2, SIZE, SIZE)}}
    dataset.to_netcdf(home / "scenes.nc", engine="h5netcdf", encoding=chunks)
    (home / "region.toml").write_text(REGION)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    folder = tmp_path_factory.mktemp("memory")
    for scenes in (FEW, MANY):
        delivery(folder / str(scenes), scenes)
    yield [folder / str(FEW), folder / str(MANY)]


def peak(job: str, home: Path) -> int:
    """Peak memory of a process that does a job, bytes."""
    command = [sys.executable, "-c", JOB.format(job=JOBS[job]), str(home / "region.toml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
@pytest.mark.parametrize("job", JOBS)
def test_peak_memory_is_flat_in_the_number_of_scenes(job: str, homes: list[Path]) -> None:
    few, many = (peak(job, home) for home in homes)
    # Less than half of the scenes that came on top; allocators are no exact instruments.
    assert many - few < (MANY - FEW) * SCENE / 2, (few, many)
