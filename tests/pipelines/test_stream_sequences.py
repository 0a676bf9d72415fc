"""Sequences, several regions, time jitter, staging and checkpoints of the stream."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cube.errors import PlanError, StoreError
from cube.sampling import SamplePlan, SplitSettings, make_plan
from cube.sequences import Sequence
from pipelines.staging import prune, stage, staged_bytes
from pipelines.stream import (
    Batch,
    Source,
    Stream,
    band_statistics_of,
    batches_of,
    keras_dataset,
    tf_dataset_of,
)

PATCH, LENGTH, BANDS = 8, 3, ("lst", "emissivity")


def region(seed: int, dates: int, shape: tuple[int, int]) -> Source:
    """Random pixels, so that no two patches are alike; 15 % of them flagged."""
    rng = np.random.default_rng(seed)
    imagery = rng.random((dates, len(BANDS), *shape)).astype(np.float32)
    qc = np.where(rng.random((dates, *shape)) < 0.15, 2, 0).astype(np.uint8)
    qc[:, :9, :9] = 2  # a corner where no date of a sequence has a pixel
    axes = {"y": -70.0 * np.arange(shape[0]), "x": 70.0 * np.arange(shape[1])}
    time = np.datetime64("2023-01-01", "ns") + np.arange(dates) * np.timedelta64(2, "D")
    dataset = xr.Dataset(
        {"imagery": (("time", "band", "y", "x"), imagery), "qc": (("time", "y", "x"), qc)},
        coords={"time": time, "band": list(BANDS), **axes},
    )
    lithology = rng.integers(0, 5, shape).astype(np.uint8)
    labels = xr.Dataset({"lithology": (("y", "x"), lithology)}, coords=axes)
    plan = make_plan(
        dataset,
        labels,
        patch=PATCH,
        stride=5,
        split=SplitSettings(kind="whole", part="train"),
        sequence=Sequence(length=LENGTH, stride=1),
        min_valid=0.6,
        snapshot=f"SNAPSHOT{seed}",
    )
    return Source(dataset, labels, plan)


@pytest.fixture(scope="module")
def one() -> Source:
    return region(1, 9, (40, 52))


@pytest.fixture(scope="module")
def two() -> Source:
    return region(2, 6, (33, 24))


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.blocks.TILE", 16)
    monkeypatch.setattr("pipelines.blocks.CHUNK", 16)


def truth(source: Source, place: int, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One sample, cut the slow way."""
    plan: SamplePlan = source.plan
    top, left = plan.places[place]
    at = {"y": slice(top, top + PATCH), "x": slice(left, left + PATCH)}
    cut = source.dataset.isel(time=plan.sequences[row], **at)
    valid = (cut["qc"] == 0).values
    x = np.where(valid[..., np.newaxis], np.moveaxis(cut["imagery"].values, 1, -1), np.nan)
    y = source.labels["lithology"].isel(**at).values
    return x, y, (valid.any(axis=0) & (y > 0)).astype(np.float32)


def key(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> bytes:
    return x.astype(np.float32).tobytes() + y.tobytes() + weight.tobytes()


def same(one: Iterator[Any], other: Iterator[Any]) -> bool:
    return all(
        np.array_equal(a, b, equal_nan=a.dtype == np.float32)
        for first, second in zip(one, other, strict=True)
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_sequence_of_every_region_comes_once_with_its_own_pixels(
    one: Source, two: Source, shuffle: bool
) -> None:
    wanted = [
        key(*truth(source, place, row))
        for source in (one, two)
        for place, row in source.plan.part("train").tolist()
    ]
    stream = batches_of([one, two], "train", batch_size=7, shuffle=shuffle, memory=0.2)
    got = []
    for batch in stream:
        assert batch.x.shape[1:] == (LENGTH, PATCH, PATCH, len(BANDS))
        got += [key(*sample) for sample in zip(*batch, strict=True)]
    assert len(set(wanted)) == len(wanted)
    assert sorted(got) == sorted(wanted)
    assert (got == wanted) == (not shuffle)


def test_shuffling_mixes_regions(one: Source, two: Source) -> None:
    own = {key(*truth(two, place, row)) for place, row in two.plan.part("train").tolist()}
    stream = batches_of([one, two], "train", batch_size=16, memory=20)
    shares = [np.mean([key(*s) in own for s in zip(*batch, strict=True)]) for batch in stream]
    assert np.mean([0 < share < 1 for share in shares]) > 0.5


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 99),
    epoch=st.integers(0, 5),
    batch_size=st.integers(1, 40),
    memory=st.sampled_from([0.1, 0.3, 5.0]),
    threads=st.integers(2, 5),
    start=st.integers(0, 9),
    jitter=st.sampled_from([0.0, 0.5]),
)
def test_an_epoch_is_the_same_for_any_threads_staged_and_resumed(
    one: Source,
    two: Source,
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    epoch: int,
    batch_size: int,
    memory: float,
    threads: int,
    start: int,
    jitter: float,
) -> None:
    options: dict[str, Any] = {
        "batch_size": batch_size,
        "seed": seed,
        "memory": memory,
        "augment": True,
        "jitter": jitter,
    }

    def stream(**others: Any) -> Iterator[Batch]:
        return Stream([one, two], "train", **options | others).epoch(epoch)

    folder = tmp_path_factory.getbasetemp() / "staged"
    assert same(stream(threads=1), stream(threads=threads))
    assert same(stream(), stream(staging="memory", threads=threads))
    assert same(stream(), stream(staging=folder, threads=threads))
    resumed = Stream([one, two], "train", threads=threads, **options).epoch(epoch, start)
    assert same(itertools.islice(stream(threads=1), start, None), resumed)


@pytest.mark.train
@pytest.mark.parametrize("augment", [True, False])
def test_tensorflow_gets_what_numpy_gets(one: Source, two: Source, augment: bool) -> None:
    pytest.importorskip("tensorflow", reason="needs TensorFlow")
    options: dict[str, Any] = {"batch_size": 9, "seed": 4, "augment": augment, "jitter": 0.4}
    stream = tf_dataset_of([one, two], "train", epoch=2, start=3, device="/CPU:0", **options)
    for number, start in ((2, 3), (3, 0)):
        own = Stream([one, two], "train", **options).epoch(number, start)
        assert same(stream.as_numpy_iterator(), own)
    mean, std = (0.5, 0.25), (2.0, 4.0)
    scaled = tf_dataset_of([one], "train", normalise=(mean, std), **options)
    plain = next(Stream([one], "train", **options).epoch())
    x = next(scaled.as_numpy_iterator())[0]
    np.testing.assert_allclose(x, (plain.x - mean) / std, rtol=1e-6)
    assert np.isnan(x).any()


def test_a_checkpoint_goes_on_exactly_and_into_the_next_epoch(one: Source) -> None:
    options: dict[str, Any] = {"batch_size": 20, "seed": 3, "augment": True}
    whole = Stream([one], "train", **options)
    stopped = Stream([one], "train", **options)
    for _ in itertools.islice(stopped, 4):
        pass
    state = json.loads(json.dumps(stopped.state()))
    assert (state["epoch"], state["batch"]) == (0, 4)
    resumed = Stream([one], "train", threads=3, **options)
    resumed.restore(state)
    assert same(itertools.islice(whole, 4, None), iter(resumed))
    assert (resumed.state()["epoch"], resumed.state()["batch"]) == (1, 0)
    assert same(iter(whole), iter(resumed))
    other = Stream([one], "train", **options | {"seed": 4})
    with pytest.raises(PlanError, match="checkpoint is of a stream with another plan"):
        other.restore(state)


def test_jitter_drops_dates_or_takes_the_neighbour_and_leaves_the_last(one: Source) -> None:
    plain = Stream([one], "train", batch_size=50).epoch()
    jittered = Stream([one], "train", batch_size=50, jitter=0.6).epoch()
    kinds: dict[str, int] = dict.fromkeys(("same", "dropped", "neighbour"), 0)
    for before, after in zip(plain, jittered, strict=True):
        np.testing.assert_array_equal(before.x[:, -1], after.x[:, -1])
        seen = np.isfinite(after.x).all(axis=-1).any(axis=1)
        np.testing.assert_array_equal(after.weight > 0, seen & (before.y > 0))
        for was, now in zip(before.x, after.x, strict=True):
            for date in range(LENGTH - 1):
                near = [each for each in (date - 1, date + 1) if each >= 0]
                if np.array_equal(was[date], now[date], equal_nan=True):
                    kinds["same"] += 1
                elif np.isnan(now[date]).all():
                    kinds["dropped"] += 1
                else:
                    kinds["neighbour"] += 1
                    assert any(np.array_equal(was[e], now[date], equal_nan=True) for e in near)
    total = sum(kinds.values())
    assert kinds["dropped"] / total == pytest.approx(0.3, abs=0.05)
    assert kinds["neighbour"] / total == pytest.approx(0.3, abs=0.05)


def test_staging_is_written_once_named_sized_and_pruned(
    one: Source, two: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = stage(one.dataset, one.plan, tmp_path)
    assert first.nbytes == staged_bytes(one.plan)
    (folder,) = tmp_path.iterdir()
    files = {file.name: file.stat().st_ino for file in folder.iterdir()}
    assert set(files) == {"x.npy", "valid.npy", "stage.json"}
    again = stage(one.dataset, one.plan, tmp_path)
    assert files == {file.name: file.stat().st_ino for file in folder.iterdir()}
    np.testing.assert_array_equal(first.x, again.x)
    os.utime(folder / "stage.json", (1, 1))
    stage(two.dataset, two.plan, tmp_path)
    assert prune(tmp_path, 10**9) == []
    assert prune(tmp_path, staged_bytes(two.plan) + 2000) == [folder]
    assert len(list(tmp_path.iterdir())) == 1
    np.testing.assert_array_equal(first.x, again.x)


def test_staging_refuses_what_it_cannot_answer_for(one: Source, tmp_path: Path) -> None:
    stage(one.dataset, one.plan, tmp_path / "kept")
    other = one.dataset.assign(imagery=one.dataset["imagery"] + 1)
    with pytest.raises(StoreError, match="was staged from other pixels"):
        stage(other, one.plan, tmp_path / "kept")
    (folder,) = (tmp_path / "kept").iterdir()
    (folder / "x.npy").write_bytes(b"cut short")
    with pytest.raises(StoreError, match="cannot stage at"):
        stage(one.dataset, one.plan, tmp_path / "kept")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot stage at"):
        stage(one.dataset, one.plan, tmp_path / "file")
    nameless = SamplePlan(
        **{name: getattr(one.plan, name) for name in one.plan.__dataclass_fields__}
        | {"snapshot": ""}
    )
    with pytest.raises(PlanError, match="names no snapshot"):
        stage(one.dataset, nameless, tmp_path)


def test_a_batch_that_is_kept_is_never_written_over(one: Source) -> None:
    stream = Stream([one], "train", batch_size=6)
    kept, copies = [], []
    for batch in stream.epoch():
        kept.append(batch.x[1:2, 0])  # a view of a view is enough
        copies.append(batch.x[1:2, 0].copy())
    np.testing.assert_array_equal(np.concatenate(kept), np.concatenate(copies))


def test_statistics_of_several_regions_are_those_of_their_samples(one: Source, two: Source) -> None:
    pixels = np.concatenate(
        [b.x.reshape(-1, 2) for b in batches_of([one, two], "train", batch_size=500)]
    )
    pixels = pixels[np.isfinite(pixels).all(axis=1)].astype(np.float64)
    mean, std = band_statistics_of([one, two])
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(std, pixels.std(axis=0), rtol=1e-6)


def test_what_does_not_go_together_is_refused(one: Source, two: Source) -> None:
    plan = make_plan(
        two.dataset,
        two.labels,
        patch=PATCH,
        stride=5,
        split=SplitSettings(kind="whole", part="train"),
    )
    with pytest.raises(PlanError, match=r"sequences of 1; .* sequences of 3"):
        Stream([one, two._replace(plan=plan)], "train", batch_size=4)
    with pytest.raises(PlanError, match="at least one source"):
        Stream([], "train", batch_size=4)
    with pytest.raises(PlanError, match="does not fit into the memory"):
        Stream([one], "train", batch_size=4, memory=0.001)
    with pytest.raises(ValueError, match="jitter 0 to 1"):
        Stream([one], "train", batch_size=4, jitter=2)


@pytest.mark.train
def test_keras_fits_on_the_numpy_stream_and_sees_all_of_it(one: Source) -> None:
    keras = pytest.importorskip("keras", reason="needs Keras")
    stream = Stream([one], "train", batch_size=32, seed=1, augment=True)
    feed = keras_dataset(stream)
    assert len(feed) == len(stream)
    for number in range(2):
        assert same((feed[index] for index in range(len(feed))), stream.epoch(number))
        feed.on_epoch_end()
    assert same(iter([feed[2], feed[3]]), itertools.islice(stream.epoch(2), 2, 4))
    network = keras.Sequential(
        [
            keras.layers.Input((LENGTH, PATCH, PATCH, len(BANDS))),
            keras.layers.Lambda(lambda x: keras.ops.nan_to_num(x)[:, -1]),
            keras.layers.Conv2D(5, 1, activation="softmax"),
        ]
    )
    network.compile(loss="sparse_categorical_crossentropy", optimizer="sgd")
    history = network.fit(keras_dataset(stream), epochs=2, shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
