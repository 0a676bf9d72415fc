"""From a trained network to class maps in the cube, chunk by chunk, in one commit."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.errors import ModelError, StoreError
from cube.labels import LITHOLOGY_ATTRS
from cube.timeline import CHUNK
from cube.version import code_version
from pipelines.blend import Lattice, Network, Window, blend, windows
from pipelines.model_folder import ModelFolder

if TYPE_CHECKING:
    import xarray as xr

    from cube.store import Cube, Transaction

Progress = Callable[[int, int], None]
"""Called with the number of steps done and of all steps; a step is one scene on one chunk."""

_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def predict(
    cube: Cube,
    model: str | Path,
    *,
    run: str | None = None,
    batch_size: int = 32,
    stride: int | None = None,
    probability: bool = False,
    overwrite: bool = False,
    on_scene: Progress | None = None,
) -> str:
    """Map every selected scene of a cube and write the maps to ``/predictions/<run>``.

    Each chunk is read with its halo, scene by scene, and written once; what is held in memory
    does not grow with the region or the number of scenes. Nothing is visible before the last
    chunk is written.

    Parameters
    ----------
    cube
        Read at its snapshot.
    model
        A model folder; its recipe says which scenes and bands are taken.
    run
        Name of the result; by default that of the model folder.
    batch_size
        Most patches in one call of the network.
    stride
        Step between overlapping patches, pixels; by default half a patch.
    probability
        Keep the probabilities of all classes as well: 13 times the bytes of the confidence.
    overwrite
        Replace a run of the same name.
    on_scene
        Called after each step, for progress.

    Returns
    -------
    str
        The name of the run.

    Raises
    ------
    ModelError
        If the model folder is not complete, or the network gives no numbers.
    SelectionError
        If the cube lacks what the recipe selects.
    StoreError
        If there is a run of that name and `overwrite` is False.
    """
    folder = ModelFolder.load(model)
    run = _require_name(run or folder.name)
    dataset = folder.recipe.selection.of(cube.at(cube.snapshot))
    lattice = _lattice(dataset, folder.recipe.patch, stride)
    network = taught_classes(folder.network().predict_on_batch, _taught(folder))
    lineage = _lineage(cube, folder, run)
    with cube.transaction(f"predict {run}", lineage, exclusive=False) as change:
        group = f"predictions/{run}"
        if not overwrite and group in cube.at(change.base).groups():
            raise StoreError(
                f"cube {cube.location} has a run {run!r} already; give the new one another name, "
                "or allow overwriting it",
                kind="run_exists",
            )
        template = _template(dataset, len(folder.recipe.classes), probability, lineage)
        change.template(group, template, {"time": 1, "y": CHUNK, "x": CHUNK})
        job = _Job(dataset["imagery"], lattice, network, batch_size, len(folder.recipe.classes))
        job.run(_Sink(change, group, probability), on_scene)
    return run


def taught_classes(network: Network, codes: Collection[int]) -> Network:
    """Leave in a network's softmax only classes that it was taught.

    What it says of class 0 (no data), and of classes that were not in its training part, is what
    its random start left over. These shares are dropped and the others are divided by their sum,
    patch by patch, before anything is averaged. The channels stay, with probability 0.

    Parameters
    ----------
    network
        Gives softmax shares (n, y, x, class).
    codes
        Classes in the training part; 0 is left out whether it is among them or not.
    """

    def renormalised(batch: np.ndarray) -> np.ndarray:
        shares = np.array(network(batch), dtype=np.float64)
        untaught = [code for code in range(shares.shape[-1]) if code == 0 or code not in codes]
        shares[..., untaught] = 0.0
        total = shares.sum(axis=-1, keepdims=True)
        return shares / np.maximum(total, np.finfo(np.float64).tiny)

    return renormalised


def _taught(folder: ModelFolder) -> frozenset[int]:
    shares = folder.plan.summary["parts"]["train"]["class_shares"]
    return frozenset(int(code) for code in shares)


def decide(probabilities: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choose the most probable class of each pixel.

    Parameters
    ----------
    probabilities : ndarray of float, (y, x, class)
        That of class 0 is not looked at.
    valid : ndarray of bool, (y, x)

    Returns
    -------
    lithology : ndarray of uint8, (y, x)
        0 where not valid, and nowhere else.
    confidence : ndarray of float32, (y, x)
        Probability of the class chosen; NaN where not valid.
    """
    ground = probabilities[..., 1:]
    lithology = np.where(valid, 1 + ground.argmax(axis=-1), 0).astype(np.uint8)
    confidence = np.where(valid, ground.max(axis=-1), np.nan).astype(np.float32)
    return lithology, confidence


@dataclass(frozen=True)
class _Sink:
    """The arrays of a run, written a chunk at a time."""

    change: Transaction
    group: str
    probability: bool

    def scene(
        self, time: int, window: Window, probabilities: np.ndarray, valid: np.ndarray
    ) -> None:
        lithology, confidence = decide(probabilities, valid)
        self._put("lithology", (time, *window), lithology)
        self._put("confidence", (time, *window), confidence)
        if self.probability:
            masked = np.where(valid[..., None], probabilities, np.nan).astype(np.float32)
            channels = np.moveaxis(masked[..., 1:], -1, 0)
            self._put("probability", (time, slice(None), *window), channels)

    def all_dates(self, window: Window, total: np.ndarray, dates: np.ndarray) -> None:
        mean = total / np.maximum(dates, 1)[..., None]
        lithology, confidence = decide(mean, dates > 0)
        self._put("lithology_all", window, lithology)
        self._put("confidence_all", window, confidence)

    def _put(self, name: str, where: tuple[Any, ...], values: np.ndarray) -> None:
        self.change.array(f"{self.group}/{name}")[where] = values


@dataclass(frozen=True)
class _Job:
    """One network over all scenes of a region."""

    imagery: xr.DataArray
    lattice: Lattice
    network: Network
    batch_size: int
    classes: int

    def run(self, sink: _Sink, on_step: Progress | None) -> None:
        # Chunk by chunk and not scene by scene: the sum over all dates is then a chunk's size.
        chunks = list(windows(self.lattice.shape, CHUNK))
        scenes = self.imagery.sizes["time"]
        done = 0
        for window in chunks:
            size = tuple(part.stop - part.start for part in window)
            total, dates = np.zeros((*size, self.classes)), np.zeros(size, np.int32)
            for time in range(scenes):
                probabilities, valid = self._map(time, window)
                sink.scene(time, window, probabilities, valid)
                total[valid] += probabilities[valid]
                dates += valid
                done += 1
                if on_step is not None:
                    on_step(done, len(chunks) * scenes)
            sink.all_dates(window, total, dates)

    def _map(self, time: int, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (y, x, class) of a chunk on one date, and which pixels are valid."""
        rows, columns = reach = self.lattice.reach(window)
        scene = self.imagery.isel(time=time, y=rows, x=columns)
        image = scene.transpose("y", "x", "band").to_numpy()
        inside = tuple(
            slice(part.start - halo.start, part.stop - halo.start)
            for part, halo in zip(window, reach, strict=True)
        )
        valid = np.isfinite(image[inside]).all(axis=-1)
        if not valid.any():
            return np.zeros((*valid.shape, self.classes), np.float32), valid
        probabilities = blend(
            self.network, image, self.lattice, window, batch_size=self.batch_size, skip_empty=True
        )
        if not np.isfinite(probabilities[valid]).all():
            raise ModelError(
                f"the network gives NaN for scene {self.imagery['time'].values[time]}, rows "
                f"{window[0].start}:{window[0].stop}, columns {window[1].start}:{window[1].stop}; "
                "its weights are broken: train it again, with a lower learning rate"
            )
        return probabilities, valid


def _require_name(run: str) -> str:
    if not _RUN_NAME.fullmatch(run):
        raise ModelError(
            f"a run cannot be called {run!r}: letters, digits, '.', '_' and '-' only; "
            "give it a name with `run`"
        )
    return run


def _lattice(dataset: xr.Dataset, patch: int, stride: int | None) -> Lattice:
    shape = (dataset.sizes["y"], dataset.sizes["x"])
    return Lattice(shape, patch, stride or max(patch // 2, 1))


def _lineage(cube: Cube, folder: ModelFolder, run: str) -> dict[str, str]:
    lineage = folder.recipe.lineage
    return {
        "run": run,
        "model": folder.name,
        "model_digest": folder.digest,
        "training_cube": lineage.cube,
        "training_snapshot": lineage.snapshot,
        "input_snapshot": cube.snapshot,
        "plan_digest": lineage.plan_digest,
        "code": code_version(),
    }


def _template(
    dataset: xr.Dataset, classes: int, probability: bool, lineage: dict[str, str]
) -> xr.Dataset:
    """Coordinates and not yet computed arrays of a run."""
    import dask.array as da
    import xarray as xr

    sizes = {"class": classes - 1, **{dim: dataset.sizes[dim] for dim in ("time", "y", "x")}}
    chunks = {"class": classes - 1, "time": 1, "y": CHUNK, "x": CHUNK}

    def layer(dims: tuple[str, ...], dtype: str, attrs: dict[str, Any]) -> xr.Variable:
        shape = tuple(sizes[dim] for dim in dims)
        parts = tuple(min(chunks[dim], sizes[dim]) for dim in dims)
        data = da.zeros(shape, dtype=dtype, chunks=parts)
        return xr.Variable(dims, data, {**attrs, "grid_mapping": "spatial_ref"})

    cubic, flat = ("time", "y", "x"), ("y", "x")
    layers = {
        "lithology": layer(cubic, "uint8", _class_attrs("most probable class on the date")),
        "confidence": layer(cubic, "float32", _share_attrs("probability of the class chosen")),
        "lithology_all": layer(flat, "uint8", _class_attrs("most probable class over all dates")),
        "confidence_all": layer(
            flat, "float32", _share_attrs("probability of the class chosen, mean over all dates")
        ),
    }
    coords: dict[str, Any] = {name: _bare(dataset[name]) for name in (*cubic, "spatial_ref")}
    if probability:
        layers["probability"] = layer(
            ("time", "class", "y", "x"), "float32", _share_attrs("probability of each class")
        )
        coords["class"] = ("class", np.arange(1, classes, dtype=np.uint8), _class_attrs("class"))
    attrs = {"title": f"Lithology predicted by {lineage['model']}", "Conventions": "CF-1.11"}
    return xr.Dataset(layers, coords, {**attrs, **lineage})


def _bare(coordinate: xr.DataArray) -> xr.Variable:
    """A coordinate without the chunks and codecs of the array it was read from."""
    variable = coordinate.variable.copy(deep=False)
    keep = ("units", "calendar", "dtype") if coordinate.name == "time" else ()
    variable.encoding = {key: variable.encoding[key] for key in keep if key in variable.encoding}
    return variable


def _class_attrs(long_name: str) -> dict[str, Any]:
    return {**LITHOLOGY_ATTRS, "long_name": long_name}


def _share_attrs(long_name: str) -> dict[str, Any]:
    return {"long_name": long_name, "units": "1", "valid_range": [0.0, 1.0]}
