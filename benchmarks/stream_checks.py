"""First batch of a long cube, memory over epochs, and where the time of an epoch goes."""

from __future__ import annotations

import functools
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import stream_cube as cubes
from stream_ways import BATCH, pace

from cube.sampling import SamplePlan
from pipelines import epoch
from pipelines.cutter import Cutter
from pipelines.planes import Reader, Source
from pipelines.stream import Stream, tf_dataset_of


def first_batch(folder: Path, dates: int) -> dict[str, Any]:
    """Open a cube and a saved plan, and wait for the first batch."""
    where, saved = str(folder / "long"), folder / "long.npz"
    imagery, qc = cubes.scenes(min(dates, 500), (128, 128))
    cubes.write(where, imagery, qc, cubes.Chunks(), repeat=max(dates // 500, 1))
    made = cubes.source_of(where, length=5, stride=32).plan
    made.save(saved)
    begin = time.perf_counter()
    plan = SamplePlan.load(saved)
    opened = time.perf_counter()
    stream = Stream([cubes.source_of(where, plan=plan)], "train", batch_size=BATCH)
    next(stream.epoch())
    end = time.perf_counter()
    return {
        "scenes": len(plan.times),
        "samples": stream.count,
        "load_plan_s": opened - begin,
        "open_and_first_batch_s": end - opened,
        "total_s": end - begin,
    }


def memory(source: Source, epochs: int) -> list[float]:
    """Resident megabytes after each epoch, through tf.data, with less memory than the cube is."""
    stream = tf_dataset_of([source], "train", batch_size=BATCH, memory=96)
    after = []
    for _ in range(epochs):
        pace(stream)
        after.append(_resident())
    return after


def _resident() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


class _Clock:
    """Wall and CPU seconds of functions, summed over threads."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
        self._lock = threading.Lock()

    def watch(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def watched(*args: Any, **options: Any) -> Any:
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return function(*args, **options)
            finally:
                with self._lock:
                    row = self.spent[name]
                    row[0] += time.perf_counter() - wall
                    row[1] += time.thread_time() - cpu
                    row[2] += 1

        return watched


def profile(source: Source, **options: Any) -> dict[str, Any]:
    """Seconds of one first epoch by what they went into.

    Icechunk and the codecs work in threads of their own, so the CPU time of reading is what is
    left of the process's.
    """
    clock = _Clock()
    kept = Reader._load, Reader.fill, Cutter.cut, epoch._Feed._advance
    Reader._load = clock.watch("read and decode", kept[0])  # type: ignore[method-assign]
    Reader.fill = clock.watch("read, decode, mask and put in place", kept[1])  # type: ignore[method-assign]
    Cutter.cut = clock.watch("cut", kept[2])  # type: ignore[method-assign]
    epoch._Feed._advance = clock.watch("wait for a window", kept[3])  # type: ignore[method-assign]
    try:
        plain = pace(Stream([source], "train", batch_size=BATCH, **options).epoch())
        alone = {name: tuple(row) for name, row in clock.spent.items()}
        handed = pace(tf_dataset_of([source], "train", batch_size=BATCH, **options))
    finally:
        Reader._load, Reader.fill, Cutter.cut, epoch._Feed._advance = kept  # type: ignore[method-assign]
    filled, read = (
        alone[name] for name in ("read, decode, mask and put in place", "read and decode")
    )
    cut, waited = alone["cut"], alone["wait for a window"]
    mask = filled[1] - read[1]
    return {
        "samples": plain["samples"],
        "wall_s": {
            "numpy": plain["samples"] / plain["per_s"],
            "tf.data": handed["samples"] / handed["per_s"],
        },
        "wait_for_window_wall_s": waited[0],
        "reads": read[2],
        "read_wall_s_over_threads": read[0],
        "cpu_s": {
            "read and decode": plain["cpu_s"] - mask - cut[1],
            "mask and put in place": mask,
            "cut": cut[1],
            "hand over to TensorFlow": max(handed["cpu_s"] - plain["cpu_s"], 0.0),
        },
    }
