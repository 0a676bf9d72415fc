"""The simulator: a region's granules in the real products' formats, with the truth kept apart.

What it writes goes through the same sources as real files. See `simulate` and `deliver_late`.
"""

from __future__ import annotations

from pipelines.simulate.run import Simulation, Truth, deliver_late, simulate
from pipelines.simulate.settings import SimulationSettings
from pipelines.simulate.world import MATERIALS, Material, World, build_world

__all__ = [
    "MATERIALS",
    "Material",
    "Simulation",
    "SimulationSettings",
    "Truth",
    "World",
    "build_world",
    "deliver_late",
    "simulate",
]
