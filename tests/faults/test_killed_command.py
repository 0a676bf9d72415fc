"""SIGKILL of the real command line at random moments; the next run makes it good."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cube.store import Cube
from deliveries import assert_same, at_home, granules_of
from inspection import Figures, Inspector
from killing import files_in

ROOT = Path(__file__).resolve().parents[2]
STEPS = 60
"""A job is killed when it has written so many objects, at random; a commit writes about 20."""


def start(home: Path) -> subprocess.Popen[bytes]:
    """``thermocube ingest`` in a process of its own, a commit a scene."""
    command = [sys.executable, "-m", "pipelines.cli", "ingest", str(home / "region.toml")]
    quiet = subprocess.DEVNULL
    return subprocess.Popen([*command, "--batch", "1"], cwd=ROOT, stdout=quiet, stderr=quiet)


def killed(home: Path, store: Path, moment: int) -> bool:
    """Kill a job when it has written so many objects; False if it came to its end before."""
    end = files_in(store) + moment
    with start(home) as job:
        while job.poll() is None and files_in(store) < end:
            try:
                job.wait(0.002)
            except subprocess.TimeoutExpired:
                continue
        job.kill()
    assert job.returncode in (0, -9)
    return job.returncode == -9


def kill_and_rerun(delivery: Any, home: Path, kills: int, seed: int) -> Figures:
    """Kill jobs on one cube, then let one come to its end."""
    moments = random.Random(seed)
    region = at_home(delivery.simulation, home, granules_of(delivery.simulation))
    store = Path(region.location)
    figures = Figures()
    inspector = Inspector(region, delivery.known, figures)
    for _ in range(kills):
        if not killed(home, store, moments.randint(1, STEPS)):
            break
        figures.faults["commands killed"] += 1
        inspector.look()
    with start(home) as job:
        assert job.wait() == 0
    inspector.finish()
    assert_same(Cube.open(region), delivery.complete)
    return figures


def test_a_killed_command_is_made_good_by_the_next_one(delivery: Any, tmp_path: Path) -> None:
    figures = kill_and_rerun(delivery, tmp_path, 2, seed=3)
    figures.assert_clean()
    assert figures.faults.total() == 2


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_commands_killed_again_and_again(delivery: Any, tmp_path: Path, tell: Any) -> None:
    figures = Figures()
    for seed in range(100):
        home = tmp_path / str(seed)
        home.mkdir()
        one = kill_and_rerun(delivery, home, 6, seed)
        shared = ("looks", "finished", "scenes_lost", "half_visible_scenes", "wrong_pixels")
        for name in shared:
            setattr(figures, name, getattr(figures, name) + getattr(one, name))
        figures.faults += one.faults
        figures.findings += one.findings
        tell("commands", figures)
        if figures.faults.total() >= 40:
            break
    figures.assert_clean()
