"""Throughput against patch size, sequence length, chunk layout, threads and store; a plot of it."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import stream_cube as cubes
from stream_ways import BATCH, pace

from pipelines.stream import Stream

LAYOUTS = {
    "512": cubes.Chunks(),
    "256": cubes.Chunks(1, 256),
    "128": cubes.Chunks(1, 128),
    "128 in a shard": cubes.Chunks(1, 128, 512),
    "8 dates x 256": cubes.Chunks(8, 256),
    "8 dates x 128": cubes.Chunks(8, 128),
}
WIDE = {
    "1024": cubes.Chunks(1, 1024),
    "512": cubes.Chunks(),
    "256": cubes.Chunks(1, 256),
    "128": cubes.Chunks(1, 128),
}
"""Of a region so wide that no chunk is a whole date, 1100 x 1000."""


def sweep(folder: Path, size: tuple[int, int, int], rounds: int) -> dict[str, dict[str, float]]:
    """Samples a second of a first epoch, as NumPy, medians of rounds that take turns."""
    imagery, qc = cubes.scenes(size[0], size[1:])
    for name, chunks in LAYOUTS.items():
        cubes.write(_where(folder, name), imagery, qc, chunks)
    default = _where(folder, "512")
    wide = folder / "wide"
    for name, chunks in WIDE.items():
        cubes.write(_where(wide, name), *cubes.scenes(max(size[0] // 8, 8), (1100, 1000)), chunks)
    with _object_store() as options:
        cubes.write(options["location"], imagery, qc, cubes.Chunks(), options["options"])
        runs = _runs(folder, default, options) + _wide_runs(wide)
        found: dict[str, dict[str, list[float]]] = {}
        for _ in range(rounds):
            for kind, name, run in runs:
                found.setdefault(kind, {}).setdefault(name, []).append(run())
    sizes = {name: _megabytes(Path(_where(folder, name))) for name in LAYOUTS}
    medians = {
        kind: {name: statistics.median(values) for name, values in each.items()}
        for kind, each in found.items()
    }
    return medians | {"megabytes on disk": sizes}


def _runs(
    folder: Path, default: str, store: dict[str, Any]
) -> list[tuple[str, str, Callable[[], float]]]:
    runs: list[tuple[str, str, Callable[[], float]]] = []
    for patch in (32, 64, 128):
        plan = cubes.source_of(default, patch=patch).plan
        runs.append(("patch", f"{patch}", _run(default, plan)))
    for length in (1, 3, 5, 9):
        plan = cubes.source_of(default, length=length).plan
        runs.append(("sequence", f"{length}", _run(default, plan)))
    plan = cubes.source_of(default).plan
    for threads in (1, 2, 4, 8):
        runs.append(("threads", f"{threads}", _run(default, plan, threads=threads)))
    for name in LAYOUTS:
        where = _where(folder, name)
        runs.append(("layout, one pass", name, _run(where, cubes.source_of(where).plan)))
        runs.append(("layout, 96 MB", name, _run(where, cubes.source_of(where).plan, memory=96.0)))
    runs.append(("store", "disk", _run(default, plan)))
    remote = cubes.source_of(store["location"], options=store["options"]).plan
    for threads in (2, 8):
        name = f"S3, {threads} threads"
        runs.append(
            ("store", name, _run(store["location"], remote, store["options"], threads=threads))
        )
    return runs


def _wide_runs(folder: Path) -> list[tuple[str, str, Callable[[], float]]]:
    plans = {name: cubes.source_of(_where(folder, name)).plan for name in WIDE}
    return [
        (f"1100 x 1000, {memory:.0f} MB", name, _run(_where(folder, name), plan, memory=memory))
        for memory in (512.0, 96.0)
        for name, plan in plans.items()
    ]


def _run(where: str, plan: Any, store: Any = None, **options: Any) -> Callable[[], float]:
    def run() -> float:
        source = cubes.source_of(where, plan=plan, options=store)
        return pace(Stream([source], "train", batch_size=BATCH, **options).epoch())["per_s"]

    return run


def _where(folder: Path, name: str) -> str:
    return str(folder / name.replace(" ", "-"))


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


@contextmanager
def _object_store() -> Iterator[dict[str, Any]]:
    """S3 on loopback."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    os.environ |= {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}
    try:
        boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(
            Bucket="bench"
        )
        options = {
            "endpoint_url": endpoint,
            "region": "us-east-1",
            "allow_http": True,
            "force_path_style": True,
        }
        yield {"location": "s3://bench/cube", "options": options}
    finally:
        server.stop()


def plot(found: dict[str, dict[str, float]], path: Path) -> None:
    """One panel for each thing that was varied."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    kinds = list(found)
    columns = 4
    figure, axes = pyplot.subplots(
        -(-len(kinds) // columns), columns, figsize=(15, 7), layout="constrained"
    )
    for axis in np.ravel(axes)[len(kinds) :]:
        axis.set_axis_off()
    for axis, kind in zip(np.ravel(axes), kinds, strict=False):
        names = list(found[kind])
        axis.barh(names[::-1], [found[kind][name] for name in names[::-1]], color="#4477aa")
        axis.set_title(kind)
        axis.set_xlabel("MB" if "megabytes" in kind else "samples/s")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
