"""What grows with a cube and what must not: appends, plans, opening, memory.

Small scenes, so that what is measured is the book-keeping. Scenes are read and committed by
`pipelines.committer.Committer`, as `ingest` does it; the reader here works in line, so that
reading and committing can be told apart.
"""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import small_scenes
from meter import forget_peak, peak_of

WINDOW = 10
"""Commits around a place over which the median is taken."""


class InLine:
    """Reads a scene when its turn comes, and keeps the time."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def ahead(self) -> int:
        return 1

    def submit(self, desk: Any, work: Any) -> Any:
        return Future()

    def outcome(self, desk: Any, work: Any, future: Any) -> Any:
        began = time.process_time()
        try:
            return desk.judge(work)
        finally:
            self.seconds += time.process_time() - began


class Relay:
    """Lets two ingests go on by turns, a batch each, so that a noisy machine slows both alike."""

    def __init__(self) -> None:
        self._turn = {True: threading.Semaphore(0), False: threading.Semaphore(0)}

    def wait(self, mine: bool) -> None:
        self._turn[mine].acquire()

    def hand_over(self, mine: bool) -> None:
        self._turn[not mine].release()


def run(region_file: Path, batch: int, alone: int, relay: Relay, long: bool) -> list[list[float]]:
    """Ingest all scenes, after the first `alone` by turns.

    Returns scene, CPU milliseconds a scene of the whole append, and of the commit alone, for
    each batch.
    """
    from cube.region import Region
    from cube.store import Cube
    from pipelines.committer import Committer
    from pipelines.scope import Scope, search
    from pipelines.tally import Tally

    region = Region.load(region_file)
    found = search(region, Scope())
    reader, steps = InLine(), []
    began = [time.process_time(), 0.0]

    def told(done: int, _total: int, _line: str) -> None:
        if done % batch:
            return
        whole, read = time.process_time() - began[0], reader.seconds - began[1]
        steps.append([done, 1000 * whole / batch, 1000 * (whole - read) / batch])
        if done >= alone:
            relay.hand_over(long)
            if done < len(found):
                relay.wait(long)
        began[:] = time.process_time(), reader.seconds

    if not long:
        relay.wait(long)
    Committer(region, Cube.create(region), found, Scope(), Tally(), batch, told).run(reader)
    return steps


def append(long_file: Path, short_file: Path, batch: int, turns: int) -> dict[str, Any]:
    """Append to a long cube and to a new one by turns, the same number of batches to each."""
    scenes = len(json.loads((long_file.parent / "items.json").read_text()))
    relay = Relay()
    with ThreadPoolExecutor(2) as pool:
        new = pool.submit(run, short_file, batch, 0, relay, False)
        long = pool.submit(run, long_file, batch, scenes - turns * batch, relay, True)
        return {"long": long.result(), "new": new.result()}


def middle(steps: list[list[float]]) -> dict[str, float]:
    """Medians over batches."""
    return {
        "append_ms": statistics.median(step[1] for step in steps),
        "commit_ms": statistics.median(step[2] for step in steps),
    }


def around(steps: list[list[float]], scene: int) -> dict[str, float]:
    """Medians over the batches next to a place."""
    return middle(sorted(steps, key=lambda step: abs(step[0] - scene))[:WINDOW])


def plan(region_file: Path) -> dict[str, Any]:
    """Seconds of the plan: search, ledger, comparison."""
    from cube.region import Region
    from pipelines.ingest import plan

    region = Region.load(region_file)
    began, idle = time.perf_counter(), time.process_time()
    made = plan(region)
    seconds, cpu = time.perf_counter() - began, time.process_time() - idle
    counts = {action.value: count for action, count in made.count().items() if count}
    return {"wall": seconds, "cpu": cpu, **counts}


def open_cube(region_file: Path) -> dict[str, Any]:
    """Seconds from the location to a data set with its coordinates, imports done."""
    import dask.array  # noqa: F401
    import icechunk  # noqa: F401
    import odc.geo.xr  # noqa: F401
    import xarray  # noqa: F401
    import zarr  # noqa: F401

    from cube.region import Region
    from cube.store import Cube

    location = Region.load(region_file).location
    began, idle = time.perf_counter(), time.process_time()
    cube = Cube.open(location)
    dataset = cube.dataset("optical")
    opened, used = time.perf_counter() - began, time.process_time() - idle
    rows = len(cube.ledger)
    return {
        "wall": opened,
        "cpu": used,
        "cpu_with_ledger": time.process_time() - idle,
        "scenes": dataset.sizes["time"],
        "rows": rows,
    }


def memory(region_file: Path) -> dict[str, Any]:
    """Growth of the peak, MB, over what imports and a first scene took."""
    from datetime import timedelta

    from cube.region import Region
    from pipelines.ingest import ingest
    from pipelines.scope import Scope

    region = Region.load(region_file)
    first = small_scenes.day(0).date()
    ingest(region, workers=1, scope=Scope(until=first + timedelta(days=1)))
    forget_peak()
    before = peak_of("VmRSS")
    report = ingest(region, workers=1)
    return {"peak": peak_of(), "growth": peak_of() - before, "scenes": sum(report.scenes.values())}


def main() -> None:
    """Measure one thing: its name, the region file, options."""
    what, region_file, *options = sys.argv[1:]
    measures = {"plan": plan, "open": open_cube, "memory": memory}
    if what == "append":
        result = append(Path(region_file), Path(options[0]), int(options[1]), int(options[2]))
    else:
        result = measures[what](Path(region_file))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
