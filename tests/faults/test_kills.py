"""SIGKILL at any moment of any job: nothing is lost, nothing is seen by half, nothing is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inspection import Figures
from killing import KillStorm

Tell = Callable[[str, Figures], None]


def storm(delivery: Any, home: Path, seed: int) -> KillStorm:
    return KillStorm(delivery.simulation, delivery.units, delivery.late, delivery.known, home, seed)


def test_jobs_killed_at_random_moments(delivery: Any, tmp_path: Path) -> None:
    killed = storm(delivery, tmp_path, seed=1)
    killed.run(3)
    killed.figures.assert_clean()


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_hundreds_of_kills(delivery: Any, tmp_path: Path, tell: Tell) -> None:
    killed = storm(delivery, tmp_path, seed=int(os.environ.get("THERMOCUBE_SOAK_SEED", "7")))
    killed.run(
        int(os.environ.get("THERMOCUBE_SOAK_KILLS", "500")), lambda so_far: tell("kills", so_far)
    )
    killed.figures.assert_clean()
