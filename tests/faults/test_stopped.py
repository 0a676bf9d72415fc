"""A job that somebody stops says so, and leaves whole scenes behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from cube.store import Cube
from deliveries import assert_same, at_home, granules_of
from inspection import Figures, Inspector
from pipelines.ingest import ingest

ROOT = Path(__file__).resolve().parents[2]


def test_an_interrupted_ingest_says_that_it_stopped(delivery: Any, tmp_path: Path) -> None:
    region = at_home(delivery.simulation, tmp_path, granules_of(delivery.simulation))
    command = [sys.executable, "-m", "pipelines.cli", "ingest", str(tmp_path / "region.toml")]
    with subprocess.Popen(
        [*command, "--batch", "1"], cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        text=True,
    ) as job:  # fmt: skip
        assert job.stderr is not None
        first = job.stderr.readline()
        job.send_signal(signal.SIGINT)
        rest = job.stderr.read()
    assert job.returncode == 130, first + rest
    assert "stopped; what was committed is kept, run again to go on" in rest
    assert "Traceback" not in first + rest
    inspector = Inspector(region, delivery.known, Figures())
    assert inspector.look()
    ingest(region)
    assert_same(Cube.open(region), delivery.complete)
