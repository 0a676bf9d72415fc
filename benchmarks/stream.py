"""How fast a network is fed: our stream beside its ceilings and its peers, in one run.

The rounds take turns, so that what else the machine does falls on all alike, and medians count::

    python benchmarks/stream.py --out bench        # all of it, a quarter of an hour on two cores
    python benchmarks/stream.py --out bench --quick

Writes ``stream.json``, ``stream.png`` (throughput against patch size, sequence length, layout,
threads and store) and prints the tables. Needs TensorFlow, xbatcher and moto.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import stream_cube as cubes
import stream_ways as ways

AIMS = {"xbatcher": 60.0, "first / constant": 0.7, "staged / constant": 0.95}


def compare(folder: Path, length: int, rounds: int, quick: bool) -> dict[str, Any]:
    """Ours and others on one cube."""
    where, some = str(folder / "cube"), 32 if quick else 128
    source = cubes.source_of(where, length=length)
    plan, stage = source.plan, folder / "staged"
    constant, ready = ways.Constant(source), ways.Ready(source, 256 if quick else 2048)
    staging = ways.first_epoch(source, staging=stage)

    def fresh() -> Any:
        return cubes.source_of(where, plan=plan)

    runs: dict[str, Callable[[], dict[str, float]]] = {
        "ours, first epoch": lambda: ways.first_epoch(fresh()),
        "ours, 96 MB of memory": lambda: ways.first_epoch(fresh(), memory=96.0),
        "ours, staged": lambda: ways.staged(fresh(), stage),
        "cube as a constant": constant.run,
        "samples in memory": lambda: ready.run(1 if quick else 8),
        "one read a sample": lambda: ways.one_read_a_sample(fresh(), some),
        "xbatcher": lambda: ways.xbatcher(fresh(), some),
    }
    for run in runs.values():
        run()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            found[name].append(run())
    medians = {
        name: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        for name, rows in found.items()
    }
    ratios = {
        "first / xbatcher": _ratio(found, "ours, first epoch", "xbatcher"),
        "first / constant": _ratio(found, "ours, first epoch", "cube as a constant"),
        "96 MB / constant": _ratio(found, "ours, 96 MB of memory", "cube as a constant"),
        "staged / constant": _ratio(found, "ours, staged", "cube as a constant"),
        "staged / in memory": _ratio(found, "ours, staged", "samples in memory"),
    }
    return {
        "sequence": length,
        "samples": len(plan.part("train")),
        "medians": medians,
        "ratios": ratios,
        "epoch_that_stages": staging,
    }


def _ratio(found: dict[str, list[dict[str, float]]], one: str, other: str) -> float:
    """Median of the rounds' ratios: both ran within seconds of one another."""
    pairs = zip(found[one], found[other], strict=True)
    return statistics.median(a["per_s"] / b["per_s"] for a, b in pairs)


def show(result: dict[str, Any]) -> None:
    """Print the tables."""
    for each in result["compared"]:
        print(f"\nsequences of {each['sequence']}, {each['samples']} samples an epoch")
        for name, row in each["medians"].items():
            print(f"  {name:24s} {row['per_s']:10.0f}/s   first batch {row['first_s']:6.2f} s")
        for name, ratio in each["ratios"].items():
            print(f"  {name:24s} {ratio:10.2f}")
    print("\nwhere the time of a first epoch goes, CPU seconds")
    for name, seconds in result["profile"]["cpu_s"].items():
        print(f"  {name:24s} {seconds:10.2f}")
    print(f"  {'wall, NumPy':24s} {result['profile']['wall_s']['numpy']:10.2f}")
    print(f"  {'wall, tf.data':24s} {result['profile']['wall_s']['tf.data']:10.2f}")
    print(f"\nfirst batch of a long cube: {result['long']}")
    print(f"resident MB after each epoch: {[round(value) for value in result['memory']]}")
    for kind, row in result.get("sweep", {}).items():
        print(f"\n{kind}")
        for name, value in row.items():
            print(f"  {name:24s} {value:10.0f}")
    print(f"\nload average {result['load'][0]} -> {result['load'][1]} on {os.cpu_count()} cores")


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("bench"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small cubes, one round: a smoke test")
    parser.add_argument("--no-sweep", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import stream_checks as checks
    import stream_sweep as sweeps

    quick, rounds = options.quick, 1 if options.quick else options.rounds
    size = (24, 200, 150) if quick else (200, 400, 300)
    options.out.mkdir(parents=True, exist_ok=True)
    before = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="thermocube-bench-") as scratch:
        folder = Path(scratch)
        cubes.write(str(folder / "cube"), *cubes.scenes(size[0], size[1:]), cubes.Chunks())
        result: dict[str, Any] = {
            "size": size,
            "compared": [compare(folder, length, rounds, quick) for length in (5, 1)],
            "profile": checks.profile(cubes.source_of(str(folder / "cube"))),
            "memory": checks.memory(cubes.source_of(str(folder / "cube")), 3 if quick else 10),
            "long": checks.first_batch(folder, 500 if quick else 10_000),
        }
        if not options.no_sweep:
            result["sweep"] = sweeps.sweep(folder / "sweep", size, rounds)
            sweeps.plot(result["sweep"], options.out / "stream.png")
    result["load"] = [before, os.getloadavg()]
    result["aims"] = AIMS
    (options.out / "stream.json").write_text(json.dumps(result, indent=1))
    show(result)


if __name__ == "__main__":
    main()
