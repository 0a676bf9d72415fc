"""A small delivery, its two halves, and the cubes that come of it undisturbed."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cube.region import Region
from cube.store import Cube
from deliveries import at_home, granules_of
from inspection import Figures, Known
from pipelines.ingest import ingest
from pipelines.simulate import Simulation, SimulationSettings, deliver_late, simulate


@dataclass(frozen=True)
class Delivery:
    """What is delivered, in what units, and what a cube of it must hold."""

    simulation: Simulation
    units: list[list[str]]
    """Granules that make one scene together; those that make none stand alone."""
    late: list[str]
    known: Known
    complete: Cube


@pytest.fixture(scope="session")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Delivery:
    folder = tmp_path_factory.mktemp("delivery")
    settings = SimulationSettings.tiny(size=(40, 48), sentinel1=0, sentinel2=0)
    simulation = simulate(folder, settings)
    first = granules_of(simulation)
    deliver_late(folder, settings)
    late = sorted(set(granules_of(simulation)) - set(first))
    early = cube_of(simulation, tmp_path_factory.mktemp("early"), first)
    complete = cube_of(simulation, tmp_path_factory.mktemp("complete"), [*first, *late])
    together = [
        str(ids).split() for ids in early.dataset("thermal", chunks=None)["granules"].values
    ]
    alone = [[name] for name in first if not any(name in unit for unit in together)]
    known = Known(Region.load(simulation.region), complete)
    return Delivery(simulation, [*together, *alone], late, known, complete)


def cube_of(simulation: Simulation, home: Path, names: list[str]) -> Cube:
    """The cube of some granules, ingested at once."""
    region = at_home(simulation, home, names)
    ingest(region)
    return Cube.open(region)


@pytest.fixture(scope="session")
def told() -> dict[str, dict[str, Any]]:
    """Figures by storm; what the file of an earlier run says of other storms is kept."""
    target = _report()
    kept: dict[str, dict[str, Any]] = {}
    if target and target.exists():
        kept = json.loads(target.read_text())
    return kept


def _report() -> Path | None:
    name = os.environ.get("THERMOCUBE_SOAK_REPORT")
    return Path(name) if name else None


@pytest.fixture
def tell(
    told: dict[str, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> Callable[[str, Figures], None]:
    """Print a storm's figures so far, and write them to the file THERMOCUBE_SOAK_REPORT names."""
    began = time.monotonic()

    def show(name: str, figures: Figures) -> None:
        told[name] = figures.to_dict() | {"seconds": round(time.monotonic() - began)}
        with capsys.disabled():
            sys.stdout.write(f"\n{name}: {figures}\n")
        if target := _report():
            target.write_text(json.dumps(told, indent=1) + "\n")

    return show
