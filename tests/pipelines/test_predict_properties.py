"""What must hold of a map however it was worked through, on the public function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster, Scheduler, SpecCluster, Worker, get_worker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cube.lithology import CLASS_COUNT
from cube.store import Cube
from pipelines.model_folder import ModelFolder
from pipelines.predict import predict

WriteModel = Callable[..., ModelFolder]
Answer = Callable[[np.ndarray], np.ndarray]

few = settings(
    deadline=None,
    max_examples=6,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Network:
    """Gives what a function makes of the batch."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def predict_on_batch(self, batch: np.ndarray) -> np.ndarray:
        return self._answer(batch)


def constant(batch: np.ndarray) -> np.ndarray:
    shares = np.zeros((*batch.shape[:3], CLASS_COUNT), np.float32)
    shares[..., 7], shares[..., 8], shares[..., 9] = 0.2, 0.5, 0.3
    return shares


def identity(batch: np.ndarray) -> np.ndarray:
    """The emissivity as the share of class 7, and the rest as that of class 8."""
    shares = np.zeros((*batch.shape[:3], CLASS_COUNT), np.float32)
    shares[..., 7] = np.nan_to_num(batch[..., 1])
    shares[..., 8] = 1 - shares[..., 7]
    return shares


def contextual(batch: np.ndarray) -> np.ndarray:
    """Depends on the place in the patch and on all of the patch: overlapping ones disagree."""
    filled = np.nan_to_num(batch[..., 0] - 298)
    mean = filled.mean(axis=(1, 2), keepdims=True)
    side = batch.shape[1]
    ramp = np.linspace(0, 1, side, dtype=np.float32)
    shares = np.zeros((*batch.shape[:3], CLASS_COUNT), np.float32)
    shares[..., 7] = 1 + np.tanh(filled + ramp[:, None])
    shares[..., 8] = 1 + np.tanh(mean + ramp)
    shares[..., 9] = 1 + np.sin(filled + 3 * mean)
    return shares / shares.sum(-1, keepdims=True)


@st.composite
def ways(draw: st.DrawFn) -> dict[str, Any]:
    """Chunk, dates at once, batch, threads: none of it may show."""
    return {
        "chunk": draw(st.sampled_from([16, 64, 256])),
        "dates": draw(st.integers(1, 4)),
        "batch_size": draw(st.integers(1, 80)),
        "workers": draw(st.integers(1, 3)),
    }


@contextmanager
def worked(chunk: int, dates: int) -> Iterator[None]:
    with (
        patch("pipelines.inference_plan.CHUNK", chunk),
        patch("pipelines.inference.DATES", dates),
    ):
        yield


def maps_of(
    cube: Cube, model: ModelFolder, answer: Answer, way: dict[str, Any], **more: Any
) -> xr.Dataset:
    way = dict(way)
    with (
        worked(way.pop("chunk", 256), way.pop("dates", 8)),
        patch.object(ModelFolder, "network", lambda self: Network(answer)),
    ):
        run = predict(
            cube, model.path, run="way", overwrite=True, probability=True, entropy=True,
            **way, **more,
        )  # fmt: skip
        return cube.dataset(f"predictions/{run}", chunks=None).load()


def with_patch(model: ModelFolder, side: int) -> ModelFolder:
    """The model as if its network took patches of another size."""
    file = model.path / "recipe.toml"
    text = file.read_text(encoding="utf-8").replace("patch = 8\n", f"patch = {side}\n")
    file.write_text(text, encoding="utf-8")
    return ModelFolder.load(model.path)


def assert_alike(left: xr.Dataset, right: xr.Dataset) -> None:
    for name in right.data_vars:
        np.testing.assert_allclose(left[name], right[name], atol=1e-6, err_msg=str(name))


sides = st.sampled_from([8, 40])
"""Of the patches; the region is 26 px high."""


@given(side=sides, way=ways(), stride=st.integers(4, 8))
@few
def test_constant_model_gives_a_constant_map(
    tiny_cube: Cube, thermometer: WriteModel, side: int, way: dict[str, Any], stride: int
) -> None:
    model = with_patch(thermometer(f"constant-{np.random.default_rng().integers(1 << 60)}"), side)
    maps = maps_of(tiny_cube, model, constant, way, stride=stride)
    seen = maps.lithology.values > 0
    assert (maps.lithology.values[seen] == 8).all()
    np.testing.assert_allclose(maps.confidence.values[seen], 0.5, atol=1e-6)
    for code, share in ((7, 0.2), (8, 0.5), (9, 0.3)):
        np.testing.assert_allclose(
            maps.probability.sel({"class": code}).values[seen], share, atol=1e-6
        )


@given(side=sides, way=ways(), stride=st.integers(4, 8), tta=st.booleans())
@few
def test_identity_network_gives_back_its_input_borders_included(
    tiny_cube: Cube, thermometer: WriteModel, side: int, way: dict[str, Any], stride: int, tta: bool
) -> None:
    model = with_patch(thermometer(f"identity-{np.random.default_rng().integers(1 << 60)}"), side)
    maps = maps_of(tiny_cube, model, identity, way, stride=stride, tta=tta)
    imagery = tiny_cube.dataset("thermal", chunks=None).imagery.load()
    valid = np.isfinite(imagery).all("band").values
    expected = np.where(valid, imagery.sel(band="emissivity").values, np.nan)
    found = maps.probability.sel({"class": 7}).values
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)


@given(side=sides, way=ways())
@few
def test_map_does_not_depend_on_chunks_batches_and_threads(
    tiny_cube: Cube, thermometer: WriteModel, side: int, way: dict[str, Any]
) -> None:
    model = with_patch(thermometer(f"way-{np.random.default_rng().integers(1 << 60)}"), side)
    reference = maps_of(tiny_cube, model, contextual, {}, stride=side // 2)
    assert_alike(maps_of(tiny_cube, model, contextual, way, stride=side // 2), reference)


@pytest.mark.parametrize(
    ("workers", "threads", "resources"),
    [(1, 1, None), (2, 1, None), (1, 3, None), (2, 2, {"GPU": 1})],
)
def test_map_does_not_depend_on_workers(
    tiny_cube: Cube,
    thermometer: WriteModel,
    workers: int,
    threads: int,
    resources: dict[str, int] | None,
) -> None:
    model = thermometer("workers")
    reference = maps_of(tiny_cube, model, contextual, {})
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=threads,
            processes=False,
            dashboard_address=None,
            resources=resources,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        way = {"chunk": 64, "dates": 2, "client": client}
        assert_alike(maps_of(tiny_cube, model, contextual, way), reference)


def test_each_worker_loads_the_network_once_and_only_those_with_a_gpu_if_any_has(
    tiny_cube: Cube, thermometer: WriteModel
) -> None:
    model = thermometer("labelled")
    loaded: list[str] = []

    def load(self: ModelFolder) -> Network:
        loaded.append(get_worker().name)
        return Network(contextual)

    def worker(**options: Any) -> dict[str, Any]:
        return {"cls": Worker, "options": {"nthreads": 2, "dashboard_address": None, **options}}

    cluster = SpecCluster(
        workers={"plain": worker(), "gpu": worker(resources={"GPU": 1})},
        scheduler={
            "cls": Scheduler,
            "options": {"dashboard": False, "protocol": "inproc://", "port": 0},
        },
    )
    with (
        cluster,
        Client(cluster, set_as_default=False) as client,
        worked(64, 1),
        patch.object(ModelFolder, "network", load),
    ):
        predict(tiny_cube, model.path, run="labelled", client=client)
    assert loaded == ["gpu"]
