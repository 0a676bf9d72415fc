"""What `predict` costs over the bare network, and what it holds in memory.

1. Wall and CPU time of `predict`, store to store, beside ``model.predict`` over the same patches
   as one ready array, each patch once: rounds interleaved, medians. Loading the network is timed
   by itself: it is paid once, however large the region. Where other jobs share the machine, the
   CPU time is the one to trust.
2. Peak memory of a process that predicts a region of 1, 4 and 16 times the area, over what the
   imports and the network take, with a network that costs next to nothing.
3. Wall time with one and two Dask worker processes, started and warm.

::

    python benchmarks/predict.py            # some ten minutes on two cores
    python benchmarks/predict.py --quick    # a minute or two

Linux only, for the memory.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

BANDS, RESOLUTION = ("lst", "emissivity"), 70.0
CLASSES = (7, 8, 9, 10, 11)


def make_cube(folder: Path, name: str, side: int, dates: int) -> Any:
    """A cube of about `side` x `side` pixels, smooth fields with holes in them."""
    import xarray as xr

    from cube import timeline
    from cube.region import Region
    from cube.store import Cube

    south, west = 38.7, -4.1
    height = side * RESOLUTION / 111_000
    bbox = [west, south, west + height / np.cos(np.radians(south)), south + height]
    source = {"kind": "netcdf", "name": "none", "path": "none.nc", "platform": "ISS"}
    tables = {
        "name": name,
        "area": {"bbox": bbox, "resolution": RESOLUTION},
        "period": {"start": "2024-01-01"},
        "modalities": {"thermal": {"bands": list(BANDS)}},
        "sources": [{**source, "bands": {band: band for band in BANDS}}],
    }
    cube = Cube.create(Region.parse(tables, folder))
    shape = tuple(cube.grid.shape)
    truth = np.broadcast_to(np.array(CLASSES, np.uint8)[np.arange(shape[1]) // 48 % 5], shape)
    template = cube.dataset("thermal", chunks=None)
    labels = xr.Dataset(
        {
            "lithology": (("y", "x"), truth),
            "weight": (("y", "x"), np.ones(shape, np.float32)),
        },
        {"y": template["y"], "x": template["x"]},
    )
    with cube.transaction("fill", {}) as change:
        steps = (_step(index, truth) for index in range(dates))
        timeline.apply(change.session, "thermal", [], list(steps))
        change.write("labels", labels)
    return cube


def _step(index: int, truth: np.ndarray) -> Any:
    from cube.quality import Flag
    from cube.scene import Coverage, Reading
    from cube.timeline import Step

    random = np.random.default_rng(index)
    lst = 290.0 + truth + random.normal(0, 0.5, truth.shape)
    emissivity = 0.95 + random.normal(0, 0.005, truth.shape)
    qc = np.zeros(truth.shape, np.uint8)
    qc[random.random(truth.shape) < 0.02] = int(Flag.CLOUD)
    reading = Reading.build([lst, emissivity], qc)
    time = datetime(2024, 1, 5, 12, tzinfo=UTC) + timedelta(days=index)
    return Step(time, reading, (f"g{index}",), "ISS", Coverage.of(reading.qc), 30.0, 12.0)


def write_model(cube: Any, target: Path, network: Any, patch: int) -> Path:
    """A model folder around a network with random weights."""
    from cube.lithology import Lithology
    from cube.sampling import make_plan
    from models import files
    from pipelines import model_folder
    from pipelines.recipe import Lineage, Normalisation, Recipe, TrainSettings

    training = TrainSettings(patch=patch)
    plan = make_plan(
        training.of(cube),
        cube.dataset("labels", chunks=None).load(),
        patch=patch,
        stride=patch,
        split=training.split,
        snapshot=cube.snapshot,
    )
    recipe = Recipe(
        classes=tuple(member.label for member in Lithology),
        patch=patch,
        stride=patch,
        selection=training.selection.model_copy(update={"bands": plan.bands}),
        normalisation=Normalisation(mean=(299.0, 0.95), std=(1.5, 0.005)),
        network={},
        training=training,
        lineage=Lineage(
            cube=cube.name,
            snapshot=plan.snapshot,
            plan_digest=plan.digest,
            code_version="benchmark",
            libraries={},
        ),
    )
    with model_folder.new_folder(target) as fresh:
        files.save(network, fresh / model_folder.NETWORK)
        recipe.save(fresh / model_folder.RECIPE)
        plan.save(fresh / model_folder.PLAN)
        model_folder.write_history(fresh / model_folder.HISTORY, [{"loss": 1.0}])
        (fresh / model_folder.METRICS).write_text("{}", encoding="utf-8")
    return target


def unet(patch: int) -> Any:
    from models.unet import UNetSettings, build_unet

    mean, std = (299.0, 0.95), (1.5, 0.005)
    return build_unet(UNetSettings.small(), len(BANDS), 14, patch, mean, std)


def pixelwise(patch: int) -> Any:
    """A network that costs next to nothing."""
    import keras

    from models.unet import Standardise

    inputs = keras.Input((patch, patch, len(BANDS)))
    x = Standardise((299.0, 0.95), (1.5, 0.005))(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(14, 1, activation="softmax")(x))


def all_patches(cube: Any, patch: int) -> np.ndarray:
    """What `predict` gives to the network, each patch once, as one array."""
    from pipelines.lattice import Lattice

    imagery = cube.dataset("thermal", chunks=None)["imagery"]
    images = imagery.transpose("time", "y", "x", "band").to_numpy()
    lattice = Lattice(images.shape[1:3], patch, patch // 2)
    places = lattice.touching((slice(0, images.shape[1]), slice(0, images.shape[2])))
    return np.stack(
        [image[row : row + patch, col : col + patch] for image in images for row, col in places]
    )


def timed(job: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds, all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    job()
    return time.perf_counter() - wall, time.process_time() - cpu


def overhead(folder: Path, side: int, dates: int, patch: int, batch: int, rounds: int) -> None:
    from pipelines.model_folder import ModelFolder
    from pipelines.predict import PredictTally, predict

    cube = make_cube(folder, f"overhead-{patch}", side, dates)
    model = write_model(cube, folder / f"unet-{patch}", unet(patch), patch)
    patches = all_patches(cube, patch)
    bare = ModelFolder.load(model).network()
    bare.predict(patches[: 2 * batch], batch_size=batch, verbose=0)
    names = ("bare", "load", "predict")
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    tally = PredictTally()

    def load() -> None:
        network = ModelFolder.load(model).network()
        network.predict_on_batch(patches[:batch])

    for _ in range(rounds):
        found["bare"].append(timed(lambda: bare.predict(patches, batch_size=batch, verbose=0)))
        found["load"].append(timed(load))
        found["predict"].append(
            timed(lambda: predict(cube, model, batch_size=batch, overwrite=True, tally=tally))
        )
    times = {name: np.array(found[name]) for name in names}
    extra = np.median((times["predict"] - times["load"]) / times["bare"] - 1, axis=0)
    rows, columns = cube.grid.shape
    print(
        f"\nregion {rows} x {columns} px, {dates} dates, patches of {patch} px every {patch // 2}"
    )
    print(f"{len(patches)} patches, {batch} a batch, small U-Net; medians of {rounds} rounds")
    titles = (
        "bare model.predict on ready arrays",
        "loading the network, first batch",
        "predict, store to store",
    )
    print(f"  {'':36}{'wall s':>9}{'CPU s':>9}")
    for name, title in zip(names, titles, strict=True):
        wall, cpu = np.median(times[name], axis=0)
        print(f"  {title:36}{wall:>9.2f}{cpu:>9.2f}")
    print(f"  {'overhead, less the loading':36}{extra[0]:>9.1%}{extra[1]:>9.1%}", flush=True)


def memory(folder: Path, side: int, dates: int, patch: int) -> None:
    print(f"\nmemory, {dates} dates, patches of {patch} px, over that of imports and network")
    for factor in (1, 2, 4):
        cube = make_cube(folder, f"memory-{factor}", side * factor, dates)
        model = folder / "pixelwise"
        if not model.exists():
            write_model(cube, model, pixelwise(patch), patch)
        command = [sys.executable, __file__, "--measure", cube.location, str(model)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        result = json.loads(done.stdout.splitlines()[-1])
        print(
            f"  {factor**2:>2} x the area {result['peak']:8.0f} MB {result['wall']:8.1f} s",
            flush=True,
        )
        shutil.rmtree(cube.location)


def measure(location: str, model: str) -> dict[str, float]:
    """Run in a process of its own: growth of the peak, MB, and seconds."""
    from cube.store import Cube
    from pipelines.model_folder import ModelFolder
    from pipelines.predict import predict

    cube = Cube.open(location)
    folder = ModelFolder.load(model)
    network = folder.network()
    patch = folder.recipe.patch
    network.predict_on_batch(np.zeros((32, patch, patch, len(BANDS)), np.float32))
    Path("/proc/self/clear_refs").write_text("5")  # Forget the peak so far.
    before = peak()
    wall, _ = timed(lambda: predict(cube, model))
    return {"peak": peak() - before, "wall": wall}


def peak() -> float:
    """Most memory that this process held, MB; unlike `getrusage`, not what its parent held."""
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    return int(status.split()[0]) / 1024


def processes(folder: Path, patch: int, rounds: int) -> None:
    from contextlib import ExitStack

    from cube.store import Cube
    from pipelines.cluster import local_cluster
    from pipelines.predict import predict

    cube = Cube.open(folder / f"overhead-{patch}.icechunk")
    model = folder / f"unet-{patch}"
    print("\nDask worker processes, the network loaded by each in every run; medians")
    with ExitStack() as stack:
        clients = {count: stack.enter_context(local_cluster(count)) for count in (1, 2)}
        for client in clients.values():
            predict(cube, model, overwrite=True, client=client)
        found: dict[int, list[float]] = {count: [] for count in clients}
        for _ in range(rounds):
            for count, client in clients.items():
                run = {"overwrite": True, "client": client}
                found[count].append(timed(lambda run=run: predict(cube, model, **run))[0])
    for count, seconds in found.items():
        print(f"  {count} worker{'s' * (count > 1)} {statistics.median(seconds):8.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="smaller regions, fewer rounds")
    parser.add_argument("--rounds", type=int, help="by default 5, or 3 if quick")
    parser.add_argument("--only", choices=["overhead", "memory", "workers"])
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        print(json.dumps(measure(*chosen.measure)))
        return
    quick = chosen.quick
    rounds = chosen.rounds or (3 if quick else 5)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if chosen.only != "memory":
            overhead(folder, 480, 4 if quick else 8, 32, 32, rounds)
        if chosen.only in (None, "overhead") and not quick:
            overhead(folder, 1000, 4, 64, 32, rounds)
        if chosen.only in (None, "memory"):
            memory(folder, 480 if quick else 960, 2 if quick else 4, 32)
        if chosen.only in (None, "workers"):
            processes(folder, 32, rounds)


if __name__ == "__main__":
    main()
