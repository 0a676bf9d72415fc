from __future__ import annotations

import gc
import itertools
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from cube.errors import GridError, PlanError
from cube.sampling import PARTS, Part, SamplePlan, SplitSettings, make_plan
from pipelines.planes import Reader
from pipelines.stream import Batch, Source, Stream, band_statistics, batches, tf_dataset

DATES, BANDS, SHAPE, PATCH = 7, ("lst", "emissivity"), (60, 76), 8


def code(time: int, band: int, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """What a pixel holds: where, when and which band it is. Exact in float32."""
    return ((time * len(BANDS) + band) * SHAPE[0] + row) * SHAPE[1] + column


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    row, column = np.indices(SHAPE)
    imagery = np.array(
        [[code(t, b, row, column) for b in range(len(BANDS))] for t in range(DATES)], np.float32
    )
    rng = np.random.default_rng(0)
    qc = np.where(rng.random((DATES, *SHAPE)) < 0.15, 2, 16).astype(np.uint8)
    imagery[np.broadcast_to((qc == 2)[:, np.newaxis], imagery.shape)] = np.nan
    return xr.Dataset(
        {"imagery": (("time", "band", "y", "x"), imagery), "qc": (("time", "y", "x"), qc)},
        coords={
            "time": np.datetime64("2023-01-01", "ns") + np.arange(DATES) * np.timedelta64(2, "D"),
            "band": list(BANDS),
            "y": 4.3e6 - 70.0 * np.arange(SHAPE[0]),
            "x": 4.0e5 + 70.0 * np.arange(SHAPE[1]),
        },
    )


@pytest.fixture(scope="module")
def labels(dataset: xr.Dataset) -> xr.Dataset:
    rng = np.random.default_rng(1)
    lithology = rng.integers(0, 5, SHAPE).astype(np.uint8)
    weight = rng.random(SHAPE).astype(np.float32)
    return xr.Dataset(
        {"lithology": (("y", "x"), lithology), "weight": (("y", "x"), weight)},
        coords={"y": dataset["y"], "x": dataset["x"]},
    )


@pytest.fixture(scope="module")
def plan(dataset: xr.Dataset, labels: xr.Dataset) -> SamplePlan:
    split = SplitSettings(kind="blocks", block=4, buffer=4)
    return make_plan(dataset, labels, patch=PATCH, stride=4, split=split, min_valid=0.5)


@pytest.fixture(scope="module")
def stored(dataset: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    path = tmp_path_factory.mktemp("cube") / "thermal.zarr"
    encoding = {
        "imagery": {"chunks": (1, len(BANDS), 32, 32)},
        "qc": {"chunks": (1, 32, 32)},
    }
    dataset.to_zarr(path, zarr_format=3, consolidated=False, encoding=encoding)
    return xr.open_zarr(path, chunks=None, consolidated=False)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tiles a date, although the region is small."""
    monkeypatch.setattr("pipelines.blocks.TILE", 16)
    monkeypatch.setattr("pipelines.blocks.CHUNK", 16)


def found(x: np.ndarray) -> tuple[int, int, int]:
    """Read time, row and column of a patch's corner off its pixels."""
    row, column = np.argwhere(np.isfinite(x[..., 0]))[0]
    value = int(x[row, column, 0])
    value, at_column = divmod(value, SHAPE[1])
    value, at_row = divmod(value, SHAPE[0])
    return value // len(BANDS), at_row - int(row), at_column - int(column)


def expected(plan: SamplePlan, part: Part) -> list[tuple[int, int, int]]:
    return [
        (int(time), int(plan.places[place, 0]), int(plan.places[place, 1]))
        for place, time in plan.part(part)
    ]


def positions(stream: Iterator[Batch]) -> list[tuple[int, int, int]]:
    return [found(x) for batch in stream for x in batch.x]


def equal(one: Iterator[Batch], other: Iterator[Batch]) -> bool:
    return all(
        np.array_equal(a, b, equal_nan=a.dtype == np.float32)
        for first, second in zip(one, other, strict=True)
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("shuffle", [True, False])
def test_each_sample_of_the_part_comes_once_with_its_own_pixels(
    dataset: xr.Dataset, labels: xr.Dataset, plan: SamplePlan, part: Part, shuffle: bool
) -> None:
    seen = []
    for batch in batches(dataset, labels, plan, part, batch_size=5, shuffle=shuffle, memory=0.05):
        assert batch.x.shape == (len(batch.x), PATCH, PATCH, 2)
        assert (batch.x.dtype, batch.y.dtype, batch.weight.dtype) == ("f4", "u1", "f4")
        for x, y, weight in zip(*batch, strict=True):
            time, top, left = found(x)
            seen.append((time, top, left))
            row, column = np.indices((PATCH, PATCH)) + np.array([top, left])[:, None, None]
            window = slice(top, top + PATCH), slice(left, left + PATCH)
            valid = dataset["qc"].values[time][window] == 16
            for band in range(len(BANDS)):
                truth = np.where(valid, code(time, band, row, column), np.nan)
                np.testing.assert_array_equal(x[..., band], truth)
            lithology = labels["lithology"].values[window]
            np.testing.assert_array_equal(y, lithology)
            np.testing.assert_array_equal(weight, (valid & (lithology > 0)).astype(np.float32))
    assert sorted(seen) == sorted(expected(plan, part))
    assert (seen == expected(plan, part)) == (not shuffle)


def test_batches_are_whole_but_for_the_last(
    dataset: xr.Dataset, labels: xr.Dataset, plan: SamplePlan
) -> None:
    count = len(plan.part("train"))
    sizes = [len(b.y) for b in batches(dataset, labels, plan, "train", batch_size=32, memory=0.02)]
    assert sizes == [32] * (count // 32) + [count % 32]


def test_zarr_and_memory_give_the_same(
    dataset: xr.Dataset, stored: xr.Dataset, labels: xr.Dataset, plan: SamplePlan
) -> None:
    assert stored["imagery"].chunks is None
    options = {"batch_size": 7, "seed": 3, "augment": True}
    assert equal(
        batches(dataset, labels, plan, "train", **options),
        batches(stored, labels, plan, "train", **options),
    )


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 99),
    epoch=st.integers(0, 9),
    batch_size=st.integers(1, 40),
    memory=st.sampled_from([0.03, 0.07, 0.2, 4.0]),
    threads=st.integers(2, 5),
    start=st.integers(0, 9),
)
def test_an_epoch_depends_on_its_seed_and_not_on_threads_and_resumes_exactly(
    dataset: xr.Dataset,
    labels: xr.Dataset,
    plan: SamplePlan,
    seed: int,
    epoch: int,
    batch_size: int,
    memory: float,
    threads: int,
    start: int,
) -> None:
    def stream(threads: int, start: int = 0) -> Iterator[Batch]:
        return batches(
            dataset,
            labels,
            plan,
            "val",
            batch_size=batch_size,
            seed=seed,
            epoch=epoch,
            memory=memory,
            threads=threads,
            start=start,
            augment=True,
        )

    assert equal(stream(1), stream(threads))
    assert equal(itertools.islice(stream(1), start, None), stream(threads, start))


def test_seeds_and_epochs_give_other_orders(
    dataset: xr.Dataset, labels: xr.Dataset, plan: SamplePlan
) -> None:
    orders = [
        positions(batches(dataset, labels, plan, "train", batch_size=64, seed=seed, epoch=epoch))
        for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    assert all(one != other for one, other in itertools.combinations(orders, 2))
    assert all(sorted(order) == sorted(orders[0]) for order in orders)


def test_shuffling_goes_over_several_blocks(
    dataset: xr.Dataset, labels: xr.Dataset, plan: SamplePlan
) -> None:
    stream = batches(dataset, labels, plan, "train", batch_size=64, memory=2)
    places = [found(x) for x in next(stream).x]
    assert len({time for time, _, _ in places}) >= 2
    assert len({(row // 16, column // 16) for _, row, column in places}) >= 4
    assert places != sorted(places)


def test_no_more_planes_are_held_than_the_memory_allows(
    dataset: xr.Dataset, labels: xr.Dataset, plan: SamplePlan
) -> None:
    source, allowed = Source(dataset, labels, plan), 0.03
    stream = Stream([source], "train", batch_size=8, memory=allowed)
    held = []
    for number in range(3):
        assert sum(len(batch.x) for batch in stream.epoch(number)) == stream.count
        held.append(sum(arena.x.nbytes + arena.valid.nbytes for arena in stream.arenas))
    assert held[0] == held[1] == held[2]
    assert 0 < held[0] <= allowed * 1e6


def test_what_fits_into_memory_is_read_once_in_all_epochs(
    dataset: xr.Dataset, labels: xr.Dataset, plan: SamplePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, read, fill = threading.Lock(), [], Reader.fill

    def counted(self: Reader, times: np.ndarray, rows: slice, columns: slice, *into: Any) -> None:
        with lock:
            read.extend((int(time), rows.start, columns.start) for time in times)
        fill(self, times, rows, columns, *into)

    monkeypatch.setattr(Reader, "fill", counted)
    stream = Stream([Source(dataset, labels, plan)], "train", batch_size=8, memory=50)
    for number in range(3):
        for _ in stream.epoch(number):
            pass
    assert len(read) == len(set(read)) > 0


def test_a_stream_left_early_stops_its_threads(
    dataset: xr.Dataset, labels: xr.Dataset, plan: SamplePlan
) -> None:
    stream = batches(dataset, labels, plan, "train", batch_size=4)
    next(stream)
    assert any(t.name.startswith("thermocube-read") for t in threading.enumerate())
    del stream
    assert not any(t.name.startswith("thermocube-read") for t in threading.enumerate())


def test_bands_come_in_the_order_of_the_plan_whatever_the_store_has(
    dataset: xr.Dataset, labels: xr.Dataset, plan: SamplePlan
) -> None:
    turned = dataset.isel(band=[1, 0]).transpose("x", "band", "time", "y")
    assert equal(
        batches(dataset, labels, plan, "test", batch_size=9),
        batches(turned, labels.transpose("x", "y"), plan, "test", batch_size=9),
    )


def test_augmentation_turns_image_label_and_weight_alike(
    dataset: xr.Dataset, labels: xr.Dataset, plan: SamplePlan
) -> None:
    lithology = labels["lithology"].values
    plain = batches(dataset, labels, plan, "val", batch_size=10, seed=5)
    turned = batches(dataset, labels, plan, "val", batch_size=10, seed=5, augment=True)
    kinds = set()
    for before, after in zip(plain, turned, strict=True):
        for x, x_after, y_after, weight_after in zip(before.x, *after, strict=True):
            valid = np.isfinite(x_after[..., 0])
            rest = x_after[..., 0][valid].astype(int) % (SHAPE[0] * SHAPE[1])
            own = lithology[rest // SHAPE[1], rest % SHAPE[1]]
            np.testing.assert_array_equal(y_after[valid], own)
            np.testing.assert_array_equal(weight_after[valid], own > 0)
            assert (weight_after[~valid] == 0).all()
            kinds |= {
                (turn, flip)
                for turn in range(4)
                for flip in (False, True)
                if np.array_equal(
                    np.rot90(x, turn)[:, ::-1] if flip else np.rot90(x, turn),
                    x_after,
                    equal_nan=True,
                )
            }
    assert len(kinds) == 8


def test_the_weight_layer_is_used_when_asked_for(
    dataset: xr.Dataset, labels: xr.Dataset, plan: SamplePlan
) -> None:
    batch = next(
        batches(dataset, labels, plan, "test", batch_size=3, shuffle=False, label_weight=True)
    )
    _, row, column = expected(plan, "test")[0]
    window = slice(row, row + PATCH), slice(column, column + PATCH)
    counts = np.isfinite(batch.x[0, ..., 0]) & (batch.y[0] > 0)
    truth = np.where(counts, labels["weight"].values[window], 0)
    np.testing.assert_allclose(batch.weight[0], truth)
    with pytest.raises(PlanError, match="no layer 'weight'; they have lithology"):
        batches(dataset, labels[["lithology"]], plan, "test", batch_size=3, label_weight=True)


def test_a_flagged_pixel_is_never_learnt_from_though_it_holds_a_number(
    dataset: xr.Dataset, labels: xr.Dataset, plan: SamplePlan
) -> None:
    filled = dataset.assign(imagery=dataset["imagery"].fillna(0.0))
    assert equal(
        batches(dataset, labels, plan, "val", batch_size=9),
        batches(filled, labels, plan, "val", batch_size=9),
    )
    holes = dataset["imagery"].where(dataset["band"] != "emissivity")
    blind = batches(dataset.assign(imagery=holes), labels, plan, "val", batch_size=9)
    assert all((batch.weight == 0).all() and np.isnan(batch.x).all() for batch in blind)


def test_other_data_than_the_plans_are_refused_at_the_call(
    dataset: xr.Dataset, labels: xr.Dataset, plan: SamplePlan
) -> None:
    other = dataset.assign_coords(band=["lst_err", "emissivity"])
    with pytest.raises(PlanError, match="lst, emissivity, the dataset has lst_err, emissivity"):
        batches(other, labels, plan, "train", batch_size=4)
    with pytest.raises(PlanError, match=r"7 dates .* has 6 dates"):
        batches(dataset.isel(time=slice(6)), labels, plan, "train", batch_size=4)
    with pytest.raises(GridError, match="other grid"):
        batches(dataset, labels.isel(x=slice(10)), plan, "train", batch_size=4)
    with pytest.raises(PlanError, match="lst, emissivity, the dataset has"):
        band_statistics(other, plan)
    for wrong in ({"batch_size": 0}, {"threads": 0}, {"memory": 0}, {"start": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            batches(dataset, labels, plan, "train", **({"batch_size": 4} | wrong))


def test_band_statistics_are_those_of_the_train_samples_alone(
    dataset: xr.Dataset, stored: xr.Dataset, labels: xr.Dataset, plan: SamplePlan
) -> None:
    pixels = np.concatenate(
        [batch.x.reshape(-1, 2) for batch in batches(dataset, labels, plan, "train", batch_size=50)]
    )
    pixels = pixels[np.isfinite(pixels).all(axis=1)].astype(np.float64)
    mean, std = band_statistics(stored, plan)
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(std, pixels.std(axis=0), rtol=1e-6)

    spoilt = dataset["imagery"].where(xr.DataArray(plan.mask("train"), dims=("y", "x")), 1e9)
    other_mean, other_std = band_statistics(dataset.assign(imagery=spoilt), plan)
    np.testing.assert_array_equal(other_mean, mean)
    np.testing.assert_array_equal(other_std, std)


def test_band_statistics_of_a_constant_and_of_an_empty_band(
    dataset: xr.Dataset, plan: SamplePlan
) -> None:
    constant = dataset["imagery"].where(dataset["imagery"].isnull(), 300.125)
    mean, std = band_statistics(dataset.assign(imagery=constant), plan)
    np.testing.assert_array_equal(mean, np.float32([300.125, 300.125]))
    np.testing.assert_array_equal(std, np.float32([1, 1]))
    with pytest.raises(PlanError, match="no pixel of any train sample"):
        band_statistics(dataset.assign(imagery=dataset["imagery"] * np.nan), plan)


@pytest.mark.train
def test_tf_dataset_yields_what_batches_yields(
    stored: xr.Dataset, labels: xr.Dataset, plan: SamplePlan
) -> None:
    tf = pytest.importorskip("tensorflow", reason="needs TensorFlow")
    options = {"batch_size": 16, "seed": 2, "augment": True}
    stream = tf_dataset(stored, labels, plan, "val", shuffle=True, **options)
    signature = [(tuple(spec.shape), spec.dtype.name) for spec in stream.element_spec]
    assert signature == [
        ((None, PATCH, PATCH, 2), "float32"),
        ((None, PATCH, PATCH), "uint8"),
        ((None, PATCH, PATCH), "float32"),
    ]
    assert int(stream.cardinality()) == -(-len(plan.part("val")) // 16)
    assert isinstance(stream, tf.data.Dataset)
    for epoch in range(2):
        passed = (Batch(*item) for item in stream.as_numpy_iterator())
        assert equal(passed, batches(stored, labels, plan, "val", epoch=epoch, **options))


@pytest.mark.train
def test_a_pass_that_tensorflow_leaves_early_stops_its_threads_and_the_next_is_whole(
    stored: xr.Dataset, labels: xr.Dataset, plan: SamplePlan
) -> None:
    pytest.importorskip("tensorflow", reason="needs TensorFlow")
    options = {"batch_size": 4, "seed": 2, "shuffle": True}
    stream = tf_dataset(stored, labels, plan, "train", prefetch=1, **options)
    first = stream.as_numpy_iterator()
    next(first)
    assert any(t.name.startswith("thermocube-") for t in threading.enumerate())
    del first
    gc.collect()
    assert not any(t.name.startswith("thermocube-") for t in threading.enumerate())
    passed = (Batch(*item) for item in stream.as_numpy_iterator())
    assert equal(passed, batches(stored, labels, plan, "train", epoch=1, **options))


@pytest.mark.train
def test_a_read_that_fails_under_tensorflow_says_why(
    stored: xr.Dataset, labels: xr.Dataset, plan: SamplePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    tf = pytest.importorskip("tensorflow", reason="needs TensorFlow")

    def broken(*_: Any) -> None:
        raise OSError("chunk c/3/0/0/0 is torn")

    stream = tf_dataset(stored, labels, plan, "train", batch_size=4)
    monkeypatch.setattr(Reader, "fill", broken)
    with pytest.raises(tf.errors.UnknownError, match="c/3/0/0/0 is torn"):
        list(stream)
