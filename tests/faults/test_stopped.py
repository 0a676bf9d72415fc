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


def heeds_interrupts() -> None:
    """What a shell starts in the background ignores interrupts, and so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupted(home: Path) -> tuple[int, str]:
    """Interrupt an ingest after its first scene; its exit code and what it said."""
    command = [sys.executable, "-m", "pipelines.cli", "ingest", str(home / "region.toml")]
    with subprocess.Popen(
        [*command, "--batch", "1"], cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        text=True, preexec_fn=heeds_interrupts,
    ) as job:  # fmt: skip
        assert job.stderr is not None
        first = job.stderr.readline()
        job.send_signal(signal.SIGINT)
        rest = job.stderr.read()
    return job.returncode, first + rest


def test_an_interrupted_ingest_says_that_it_stopped(delivery: Any, tmp_path: Path) -> None:
    for attempt in range(5):
        home = tmp_path / str(attempt)
        home.mkdir()
        region = at_home(delivery.simulation, home, granules_of(delivery.simulation))
        code, said = interrupted(home)
        if code:  # else it was done before the signal reached it
            break
    assert code == 130, said
    assert "stopped; what was committed is kept, run again to go on" in said
    assert "Traceback" not in said
    inspector = Inspector(region, delivery.known, Figures())
    assert inspector.look()
    ingest(region)
    assert_same(Cube.open(region), delivery.complete)
