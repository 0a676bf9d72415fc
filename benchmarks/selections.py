"""Build selections over a cube of very many scenes: seconds, and chunks of pixels read.

The cube is real, its scenes have coordinates and no chunk. Seconds are the median of the rounds,
those of opening the groups included::

    python benchmarks/selections.py --scenes 10000 --rounds 5
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

NDVI = {"modality": "optical", "bands": ["ndvi"], "max_cloud": 0.1}
SELECTIONS: dict[str, dict[str, Any]] = {
    "all scenes": {},
    "season, hours, cloud, mask": {
        "season": "winter",
        "time_of_day": "night",
        "max_cloud": 0.1,
        "mask": "water",
    },
    "with radar and NDVI": {"join": ["sar", NDVI]},
    "five dates stacked": {"join": ["sar", NDVI], "stack": 5, "stack_gap": 3},
}


def main() -> None:
    from long_cube import counted_reads, long_cube

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, counted_reads() as read:
        cube = long_cube(Path(folder), asked.scenes)
        print(f"{asked.scenes} scenes; seconds, processor seconds, chunks read, scenes selected")
        for name, wanted in SELECTIONS.items():
            for kind, chunks in (("plain", None), ("dask", {})):
                wall, cpu = [], []
                read.clear()
                for _ in range(asked.rounds):
                    begun, worked = time.perf_counter(), time.process_time()
                    chosen = cube.select("thermal", chunks=chunks, **wanted)
                    wall.append(time.perf_counter() - begun)
                    cpu.append(time.process_time() - worked)
                figures = f"{statistics.median(wall):7.3f} {statistics.median(cpu):7.3f}"
                print(f"{name:28} {kind:6} {figures} {len(read):6} {chosen.sizes['time']:8}")


if __name__ == "__main__":
    main()
