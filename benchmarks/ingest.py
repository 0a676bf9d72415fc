"""How fast ingest is, and what stays flat as a cube grows; figures as tables and as JSON.

::

    python benchmarks/ingest.py --out ingest.json
    python benchmarks/ingest.py --quick

Everything is measured in processes of its own, the rounds of the throughput interleaved. CPU
seconds are what to compare on a machine that others use too. Needs ``odc-stac`` and ``stackstac``
beside thermocube; a way that fails is reported and left out. Linux only, for the memory.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import growth
import loaders
import small_scenes
import throughput
from meter import medians, spawn, table

HERE = Path(__file__).resolve().parent
PARTS = ("throughput", "growth", "memory")


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    scenes: int
    rounds: int
    workers: tuple[int, ...]
    small: int
    """Scenes of the cube that grows."""
    memory: tuple[int, ...]


FULL = Size(scenes=40, rounds=3, workers=(1, 2, 4), small=10_000, memory=(50, 200, 800))
QUICK = Size(scenes=4, rounds=1, workers=(1, 2), small=48, memory=(8, 24))
BATCH = 8
TURNS = 20
"""Batches appended to the long cube and to a new one by turns."""


def measure_throughput(folder: Path, size: Size) -> dict[str, Any]:
    """Wall and CPU seconds of every way, by number of workers."""
    folder.mkdir()
    loaders.make(folder, size.scenes)
    found: dict[str, Any] = {}
    for workers in size.workers:
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in throughput.WAYS}
        for _ in range(size.rounds):
            for way in throughput.WAYS:
                try:
                    script = str(HERE / "throughput.py")
                    runs[way].append(spawn(script, way, folder, size.scenes, workers))
                except RuntimeError as error:
                    print(f"{way}, {workers} workers: {error}")
        middle = {way: medians(some) for way, some in runs.items() if some}
        found[str(workers)] = middle
        rows = [
            (way, *(f"{figures[key]:.2f}" for key in ("wall", "cpu")), *_shares(middle, way))
            for way, figures in middle.items()
        ]
        title = f"{size.scenes} scenes, {workers} workers, medians of {size.rounds}"
        print(table(title, rows, ("", "wall s", "CPU s", "of floor, wall", "of floor, CPU")))
    return found


def _shares(middle: dict[str, dict[str, float]], way: str) -> list[str]:
    if "floor" not in middle:
        return ["", ""]
    return [f"{middle['floor'][key] / middle[way][key]:.2f}" for key in ("wall", "cpu")]


def measure_growth(folder: Path, size: Size) -> dict[str, Any]:
    """Appends along a growing cube, then its plan and its opening."""
    script = str(HERE / "growth.py")
    region = small_scenes.write_region(folder, size.small)
    new = spawn(script, "plan", region)
    turns = min(TURNS, size.small // BATCH // 2)
    fresh = small_scenes.write_region(folder / "new", (turns + 1) * BATCH)
    steps = spawn(script, "append", region, fresh, BATCH, turns)
    places = [place for place in (1, 100, 1000, 2500, 5000, 10_000) if place <= size.small]
    appends = {str(place): growth.around(steps["long"], place) for place in places}
    first = growth.middle(steps["new"][1:])  # the very first commit also loads code
    last = growth.middle(steps["long"][-turns:])
    found = {
        "append": appends,
        "last_to_first": {key: last[key] / first[key] for key in first},
        "plan_new": new,
        "plan_settled": spawn(script, "plan", region),
        "open": spawn(script, "open", region),
    }
    rows = [(place, *(f"{value:.1f}" for value in at.values())) for place, at in appends.items()]
    print(table("CPU ms a scene, appended at", rows, ("scene", "append", "commit alone")))
    ratio = ", ".join(f"{key[:-3]} {value:.2f}" for key, value in found["last_to_first"].items())
    print(f"\nlast to first: {ratio}")
    for name in ("plan_new", "plan_settled", "open"):
        print(f"{name}: {found[name]}")
    return found


def measure_memory(folder: Path, size: Size) -> dict[str, Any]:
    """Peak of an ingest by number of scenes."""
    found = {}
    for count in size.memory:
        region = small_scenes.write_region(folder / str(count), count)
        found[str(count)] = spawn(str(HERE / "growth.py"), "memory", region)
    rows = [
        (count, f"{figures['peak']:.0f}", f"{figures['growth']:.0f}")
        for count, figures in found.items()
    ]
    print(table("Peak memory of an ingest, MB", rows, ("scenes", "peak", "over one scene")))
    return found


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--scenes", type=int, help="scenes of the cube that grows")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    chosen = parser.parse_args()
    size = QUICK if chosen.quick else FULL
    if chosen.scenes:
        size = Size(size.scenes, size.rounds, size.workers, chosen.scenes, size.memory)
    measures = {
        "throughput": measure_throughput,
        "growth": measure_growth,
        "memory": measure_memory,
    }
    with tempfile.TemporaryDirectory() as folder:
        figures = {part: measures[part](Path(folder) / part, size) for part in chosen.parts}
    if chosen.out:
        chosen.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
