from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_opening

from cube import ground, plan_facts
from cube.errors import GridError, PlanError
from cube.patches import lay_patches, window_sums
from cube.sampling import PARTS, SamplePlan, SplitSettings, make_plan


def scenes(shape: tuple[int, int], dates: int = 6, seed: int = 0, bad: float = 0.2) -> xr.Dataset:
    """Cloud comes in bands of rows, so that patches of one date differ in validity."""
    rng = np.random.default_rng(seed)
    qc = np.repeat((rng.random((dates, shape[0], 1)) < bad) * np.uint8(2), shape[1], axis=2)
    days = np.datetime64("2023-01-01T10:00", "ns") + np.arange(dates) * np.timedelta64(3, "D")
    return xr.Dataset(
        {"qc": (("time", "y", "x"), qc)},
        coords={
            "time": days,
            "band": ["lst", "emissivity"],
            "y": 4.3e6 - 70.0 * np.arange(shape[0]),
            "x": 4.0e5 + 70.0 * np.arange(shape[1]),
        },
    )


def geology(shape: tuple[int, int], seed: int = 0, classes: int = 4) -> xr.Dataset:
    """Straight-edged units of 1..classes, and a strip without labels along the upper edge."""
    rng = np.random.default_rng(seed)
    units = rng.integers(1, classes + 1, size=(shape[0] // 8 + 1, shape[1] // 8 + 1))
    lithology = np.kron(units, np.ones((8, 8), int))[: shape[0], : shape[1]].astype(np.uint8)
    lithology[: shape[0] // 12] = 0
    grid = scenes(shape, dates=1)
    return xr.Dataset(
        {"lithology": (("y", "x"), lithology)}, coords={"y": grid["y"], "x": grid["x"]}
    )


SHAPE = (96, 120)
BLOCKS = SplitSettings(kind="blocks", buffer=8, block=8)


@pytest.fixture(scope="module")
def plan() -> SamplePlan:
    return make_plan(scenes(SHAPE), geology(SHAPE), patch=8, stride=8, split=BLOCKS, snapshot="S1")


def gap(one: np.ndarray, other: np.ndarray, patch: int) -> int:
    """Pixels between the closest patches, along the axis where they are further apart."""
    return int(np.abs(one[:, np.newaxis] - other[np.newaxis]).max(axis=-1).min()) - patch


@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(60, 100),
    columns=st.integers(60, 100),
    patch=st.integers(3, 9),
    stride=st.integers(2, 9),
    block=st.integers(4, 16),
    buffer=st.integers(1, 9),
    seed=st.integers(0, 5),
    min_valid=st.sampled_from([0.0, 0.5, 0.9]),
)
def test_parts_by_place_keep_their_distance(
    rows: int,
    columns: int,
    patch: int,
    stride: int,
    block: int,
    buffer: int,
    seed: int,
    min_valid: float,
) -> None:
    shape = (rows, columns)
    dataset, labels = scenes(shape, dates=3, seed=seed, bad=0.02), geology(shape, seed)
    split = SplitSettings(kind="blocks", block=block, buffer=buffer, seed=seed)
    with pytest.MonkeyPatch.context() as fewer:
        # The distance must hold for any assignment, not only for the best of many.
        fewer.setattr(ground, "_MAX_TRIES", 32)
        plan = make_plan(
            dataset, labels, patch=patch, stride=stride, split=split, min_valid=min_valid
        )

    assert (plan.places >= 0).all()
    assert (plan.places + patch <= shape).all()
    owned = {name: plan.places[np.unique(plan.part(name)[:, 0])] for name in PARTS}
    for one, other in itertools.combinations(PARTS, 2):
        assert gap(owned[one], owned[other], patch) >= buffer
        assert not (plan.mask(one) & plan.mask(other)).any()
    for number, name in enumerate(PARTS):
        for row, column in owned[name]:
            inside = plan.blocks[
                row // block : (row + patch - 1) // block + 1,
                column // block : (column + patch - 1) // block + 1,
            ]
            assert (inside == number).all()


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 99),
    min_valid=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    kind=st.sampled_from(["blocks", "time", "thesis"]),
)
def test_samples_are_exactly_the_patches_with_enough_valid_and_labelled_pixels(
    seed: int, min_valid: float, kind: str
) -> None:
    dataset, labels = scenes(SHAPE, seed=seed, bad=0.05), geology(SHAPE, seed)
    split = SplitSettings.model_validate({"kind": kind, "block": 8, "buffer": 4})
    with pytest.MonkeyPatch.context() as fewer:
        fewer.setattr(ground, "_MAX_TRIES", 32)
        plan = make_plan(dataset, labels, patch=8, stride=8, split=split, min_valid=min_valid)
    good = (dataset["qc"].values == 0) & (labels["lithology"].values > 0)
    expected = {
        (place, time)
        for place, (row, column) in enumerate(plan.places)
        for time in range(len(plan.times))
        if good[time, row : row + 8, column : column + 8].sum() >= max(1, min_valid * 64)
    }
    assert {(int(place), int(time)) for place, time, _ in plan.samples} == expected
    assert len(plan.samples) == len(expected)


@settings(max_examples=60, deadline=None)
@given(
    boxes=st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(1, 30), st.integers(1, 30)),
        min_size=1,
        max_size=4,
    ),
    patch=st.integers(1, 9),
    stride=st.integers(1, 9),
)
def test_patches_stay_in_an_area_and_reach_its_ragged_edges(
    boxes: list[tuple[int, int, int, int]], patch: int, stride: int
) -> None:
    area = np.zeros((37, 41), bool)
    for row, column, height, width in boxes:
        area[row : row + height, column : column + width] = True
    covered = np.zeros_like(area)
    places = lay_patches(area, patch, stride)
    for row, column in places:
        assert area[row : row + patch, column : column + patch].all()
        covered[row : row + patch, column : column + patch] = True
    assert len(np.unique(places, axis=0)) == len(places)
    if stride <= patch:
        padded = np.pad(area, patch)
        reachable = binary_opening(padded, np.ones((patch, patch)))[patch:-patch, patch:-patch]
        np.testing.assert_array_equal(covered, reachable)


def test_a_whole_region_gets_the_regular_lattice() -> None:
    area = np.ones((256, 384), bool)
    assert len(lay_patches(area, 64, 64)) == 4 * 6
    assert len(lay_patches(area, 64, 32)) == 7 * 11
    ragged = lay_patches(np.ones((20, 27), bool), 8, 8)
    assert sorted(set(ragged[:, 0])) == [0, 8, 12]
    assert sorted(set(ragged[:, 1])) == [0, 8, 16, 19]


def test_window_sums_match_sums_written_out() -> None:
    array = np.random.default_rng(0).integers(0, 5, (9, 12))
    sums = window_sums(array, 4)
    assert sums.shape == (6, 9)
    assert all(
        sums[row, column] == array[row : row + 4, column : column + 4].sum()
        for row in range(6)
        for column in range(9)
    )


def test_every_part_has_every_date_when_split_by_place(plan: SamplePlan) -> None:
    assert not plan.leaky
    for name in PARTS:
        np.testing.assert_array_equal(plan.times_of(name), plan.times)
    assert plan.modality == "thermal"
    assert plan.bands == ("lst", "emissivity")


def test_block_shares_come_near_the_fractions(plan: SamplePlan) -> None:
    ground = np.array([plan.mask(name).sum() for name in PARTS], float)
    np.testing.assert_allclose(ground / ground.sum(), plan.split.fractions, atol=0.08)
    shares = [set(plan.summary["parts"][name]["class_shares"]) for name in PARTS]
    assert shares == [{"1", "2", "3", "4"}] * 3


def test_the_buffer_is_one_patch_unless_given() -> None:
    plan = make_plan(scenes(SHAPE), geology(SHAPE), patch=6, stride=6, split=SplitSettings())
    assert (plan.split.buffer, plan.split.block) == (6, 3)


def test_the_same_seed_gives_the_same_plan(plan: SamplePlan) -> None:
    def make(seed: int) -> SamplePlan:
        split = BLOCKS.model_copy(update={"seed": seed})
        return make_plan(
            scenes(SHAPE), geology(SHAPE), patch=8, stride=8, split=split, snapshot="S1"
        )

    assert make(0) == plan
    assert make(0).digest == plan.digest
    assert hash(make(0)) == hash(plan)
    assert make(1) != plan


def test_the_digest_changes_with_any_content(plan: SamplePlan) -> None:
    changed = {
        "stride": 4,
        "min_valid": 0.25,
        "snapshot": "S2",
        "modality": "sar",
        "bands": ("emissivity", "lst"),
        "split": plan.split.model_copy(update={"seed": 9}),
        "times": plan.times + np.timedelta64(1, "s"),
        "samples": plan.samples[:-1],
        "facts": {"parts": {}},
    }
    digests = {dataclasses.replace(plan, **{key: value}).digest for key, value in changed.items()}
    assert len(digests | {plan.digest}) == len(changed) + 1


@pytest.mark.parametrize("kind", ["blocks", "time"])
def test_a_plan_comes_back_from_disk_as_it_was(tmp_path: Path, kind: str) -> None:
    split = SplitSettings.model_validate({"kind": kind, "block": 8, "buffer": 8})
    plan = make_plan(scenes(SHAPE), geology(SHAPE), patch=8, stride=8, split=split)
    plan.save(tmp_path / "one.plan")
    plan.save(tmp_path / "two.plan")
    loaded = SamplePlan.load(tmp_path / "one.plan")
    assert loaded == plan
    assert loaded.summary == plan.summary
    assert loaded.split == plan.split
    np.testing.assert_array_equal(loaded.samples, plan.samples)
    np.testing.assert_array_equal(loaded.mask("test"), plan.mask("test"))
    assert (tmp_path / "one.plan").read_bytes() == (tmp_path / "two.plan").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"one.plan", "two.plan"}


def tamper(path: Path, **changed: np.ndarray) -> Path:
    with np.load(path) as stored:
        content = dict(stored)
    other = path.with_name("tampered.npz")
    np.savez(other, allow_pickle=False, **(content | changed))
    return other


def test_a_changed_file_is_refused(plan: SamplePlan, tmp_path: Path) -> None:
    path = tmp_path / "plan.npz"
    plan.save(path)
    with pytest.raises(PlanError, match="changed after it was made"):
        SamplePlan.load(tamper(path, samples=plan.samples[:-1]))
    with pytest.raises(PlanError, match=r"(overlap|px between them)"):
        SamplePlan.load(tamper(path, samples=_first_place_moved_to_test(plan)))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(PlanError, match="cannot be read"):
        SamplePlan.load(path)
    with pytest.raises(PlanError, match="there is no such file"):
        SamplePlan.load(tmp_path / "none.npz")
    (tmp_path / "page.npz").write_text("<html>login</html>")
    with pytest.raises(PlanError, match="cannot be read"):
        SamplePlan.load(tmp_path / "page.npz")


def _first_place_moved_to_test(plan: SamplePlan) -> np.ndarray:
    samples = plan.samples.copy()
    samples[samples[:, 0] == samples[0, 0], 2] = PARTS.index("test")
    return samples[np.lexsort((samples[:, 0], samples[:, 1], samples[:, 2]))]


def test_parts_within_the_buffer_are_refused_with_the_figures(plan: SamplePlan) -> None:
    with pytest.raises(PlanError, match=r"train and test .* at row \d+, column \d+.* 8 px"):
        dataclasses.replace(plan, samples=_first_place_moved_to_test(plan))
    wider = plan.split.model_copy(update={"buffer": 30})
    with pytest.raises(PlanError, match=r"have only \d+ px between them"):
        dataclasses.replace(plan, split=wider)


def test_the_buffer_is_held_to_the_pixel(plan: SamplePlan) -> None:
    owned = [plan.places[np.unique(plan.part(name)[:, 0])] for name in PARTS]
    closest = min(gap(one, other, 8) for one, other in itertools.combinations(owned, 2))
    exact, more = (plan.split.model_copy(update={"buffer": closest + add}) for add in (0, 1))
    assert dataclasses.replace(plan, split=exact).split.buffer == closest
    with pytest.raises(PlanError, match=f"have only {closest} px between them"):
        dataclasses.replace(plan, split=more)


def test_patches_outside_their_blocks_are_refused(plan: SamplePlan) -> None:
    blocks = plan.blocks.copy()
    blocks[blocks == 1] = 0
    with pytest.raises(PlanError, match="val patches lie outside the blocks of val"):
        dataclasses.replace(plan, blocks=blocks)
    with pytest.raises(PlanError, match="a table of all blocks"):
        dataclasses.replace(plan, blocks=plan.blocks[:-1])


def test_broken_tables_are_refused(plan: SamplePlan) -> None:
    with pytest.raises(PlanError, match="val part is empty"):
        dataclasses.replace(plan, samples=plan.samples[plan.samples[:, 2] != 1])
    with pytest.raises(PlanError, match="twice, or out of order"):
        dataclasses.replace(plan, samples=plan.samples[::-1])
    with pytest.raises(PlanError, match="reaches out of the region"):
        dataclasses.replace(plan, places=plan.places + 8)
    with pytest.raises(PlanError, match="does not have"):
        dataclasses.replace(plan, samples=plan.samples + np.array([len(plan.places), 0, 0]))
    with pytest.raises(PlanError, match="strictly increasing"):
        dataclasses.replace(plan, times=plan.times[::-1])


def test_a_plan_cannot_be_written_into(plan: SamplePlan) -> None:
    with pytest.raises(ValueError, match="read-only"):
        plan.samples[0, 2] = 2
    plan.summary["parts"]["train"]["samples"] = 0
    assert plan.summary["parts"]["train"]["samples"] > 0
    with pytest.raises(PlanError, match="no 'training'"):
        plan.part("training")  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "dates"), [("time", (14, 3, 3)), ("thesis", (14, 3, 3))])
def test_time_splits_are_in_order_of_time_and_say_that_they_leak(
    kind: str, dates: tuple[int, int, int]
) -> None:
    dataset, labels = scenes(SHAPE, dates=20, bad=0.1), geology(SHAPE)
    split = SplitSettings.model_validate({"kind": kind})
    plan = make_plan(dataset, labels, patch=8, stride=8, split=split)
    assert plan.leaky
    assert "blocks" in plan.summary["leak_reason"]
    assert tuple(len(plan.times_of(name)) for name in PARTS) == dates
    assert plan.times_of("train")[-1] < plan.times_of("val")[0]
    assert plan.times_of("val")[-1] < plan.times_of("test")[0]
    np.testing.assert_array_equal(plan.mask("train"), plan.mask("test"))


def test_dates_in_two_parts_are_refused() -> None:
    split = SplitSettings(kind="time")
    plan = make_plan(scenes(SHAPE), geology(SHAPE), patch=8, stride=8, split=split)
    samples = plan.samples.copy()
    samples[-1, 1] = plan.part("train")[-1, 1]
    samples = samples[np.lexsort((samples[:, 0], samples[:, 1], samples[:, 2]))]
    with pytest.raises(PlanError, match=r"val and test are not in order|share 1 dates"):
        dataclasses.replace(plan, samples=samples)
    with pytest.raises(PlanError, match="at least 3 dates"):
        make_plan(scenes(SHAPE, dates=2), geology(SHAPE), patch=8, stride=8, split=split)


def test_dates_without_samples_take_no_share_of_a_time_split() -> None:
    dataset = scenes(SHAPE, dates=9, bad=0.0)
    dataset["qc"][6:] = 2
    split = SplitSettings(kind="time", fractions=(0.5, 0.25, 0.25))
    plan = make_plan(dataset, geology(SHAPE), patch=8, stride=8, split=split)
    assert plan.part("test")[:, 1].max() == 5


def test_summary_counts_are_those_of_the_pixels(plan: SamplePlan) -> None:
    lithology = geology(SHAPE)["lithology"].values
    good = (scenes(SHAPE)["qc"].values == 0) & (lithology > 0)
    counts = np.zeros(5)
    for place, time in plan.part("val"):
        row, column = plan.places[place]
        window = slice(row, row + 8), slice(column, column + 8)
        counts += np.bincount(lithology[window][good[time][window]], minlength=5)
    facts = plan.summary["parts"]["val"]
    assert facts["labelled_pixels"] == counts.sum()
    assert facts["samples"] == len(plan.part("val"))
    expected = {str(code): counts[code] / counts.sum() for code in range(1, 5)}
    assert facts["class_shares"] == pytest.approx(expected)
    assert json.loads(json.dumps(plan.summary)) == plan.summary


def test_remembering_the_place_wins_in_time_and_is_worthless_in_blocks(plan: SamplePlan) -> None:
    by_place = plan.summary["baselines"]
    assert by_place["memorise_place"] == by_place["majority"]
    assert by_place["majority"]["oa"] == pytest.approx(
        max(plan.summary["parts"]["test"]["class_shares"].values()), abs=0.35
    )
    assert by_place["majority"]["macro_f1"] < by_place["majority"]["oa"] < 0.7
    in_time = make_plan(
        scenes(SHAPE, dates=12, bad=0.05),
        geology(SHAPE),
        patch=8,
        stride=8,
        split=SplitSettings(kind="thesis"),
    ).summary["baselines"]
    assert in_time["memorise_place"]["oa"] > 0.99
    assert in_time["majority"]["oa"] < 0.7


def test_reading_in_slabs_changes_nothing(
    plan: SamplePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_facts, "SLAB_BYTES", 1)
    again = make_plan(scenes(SHAPE), geology(SHAPE), patch=8, stride=8, split=BLOCKS, snapshot="S1")
    assert again == plan


def test_sizes_that_no_plan_can_have_are_refused() -> None:
    dataset, labels = scenes((40, 60)), geology((40, 60))
    for patch, stride, message in (
        (0, 4, "not 0 and 4"),
        (4, 0, "not 4 and 0"),
        (41, 8, "41 px does not fit into a region of 40 x 60"),
        (16, 16, "no split: in none of"),
    ):
        with pytest.raises(PlanError, match=message):
            make_plan(dataset, labels, patch=patch, stride=stride, split=SplitSettings())
    with pytest.raises(PlanError, match="between 0 and 1"):
        make_plan(dataset, labels, patch=4, stride=4, split=BLOCKS, min_valid=50)
    with pytest.raises(PlanError, match="no class at all"):
        make_plan(dataset, labels * 0, patch=4, stride=4, split=BLOCKS)
    with pytest.raises(PlanError, match="train part is empty"):
        cloudy = dataset.assign(qc=xr.full_like(dataset["qc"], 2))
        make_plan(cloudy, labels, patch=4, stride=4, split=SplitSettings())
    for wrong in ({"buffer": 0}, {"fractions": (0.9, 0.2, 0.1)}, {"fractoins": (0.7, 0.2, 0.1)}):
        with pytest.raises(ValueError, match=r"buffer|fractions|fractoins"):
            SplitSettings.model_validate(wrong)


def test_labels_of_another_grid_are_refused(plan: SamplePlan) -> None:
    dataset, labels = scenes(SHAPE), geology(SHAPE)
    shifted = labels.assign_coords(x=labels["x"] + 9000.0)
    with pytest.raises(GridError, match=r"x has 120 px from 409000"):
        make_plan(dataset, shifted, patch=8, stride=8, split=BLOCKS)
    with pytest.raises(GridError, match="other grid"):
        plan.require(dataset, labels.isel(y=slice(1, None)))


def test_data_of_another_kind_are_refused_naming_both(plan: SamplePlan) -> None:
    dataset, labels = scenes(SHAPE), geology(SHAPE)
    plan.require(dataset, labels)
    plan.require(dataset.isel(band=[1, 0]), labels)
    with pytest.raises(PlanError, match=r"lst, emissivity, the dataset has lst_err.*S1"):
        plan.require(dataset.assign_coords(band=["lst_err", "emissivity"]), labels)
    with pytest.raises(PlanError, match=r"6 dates from 2023-01-01T10:00.*has 5 dates"):
        plan.require(dataset.isel(time=slice(5)), labels)
    with pytest.raises(PlanError, match=r"for 96 x 120 px, the dataset has 95 x 120"):
        plan.require(dataset.isel(y=slice(95)), labels.isel(y=slice(95)))


@pytest.fixture(scope="module")
def puertollano(shared_data: Path) -> tuple[xr.Dataset, xr.Dataset]:
    path = shared_data / "thesis_puertollano.nc"
    if not path.is_file():
        pytest.skip(f"needs the study's pixels, {path.name}")
    with xr.open_dataset(path) as study:
        times = study["datetime_utc"].values
        usable = np.flatnonzero(~np.isnat(times))
        usable = usable[np.unique(times[usable], return_index=True)[1]]
        missing = np.isnan(study["thermal"].isel(time=usable, band=1).values)
        lithology = study["labels"].values.astype(np.uint8)
    dataset = xr.Dataset(
        {"qc": (("time", "y", "x"), missing.astype(np.uint8))},
        coords={"time": times[usable], "band": ["lst_err", "emissivity"]},
    )
    return dataset, xr.Dataset({"lithology": (("y", "x"), lithology)})


@pytest.mark.parametrize(("patch", "samples", "ground"), [(32, 3000, 0.45), (64, 700, 0.35)])
def test_the_study_area_holds_a_leak_safe_split(
    puertollano: tuple[xr.Dataset, xr.Dataset], patch: int, samples: int, ground: float
) -> None:
    plan = make_plan(*puertollano, patch=patch, stride=patch // 2, split=SplitSettings())
    assert len(plan.part("train")) > samples
    assert plan.mask("train").mean() > ground
    facts = plan.summary
    assert all(len(facts["parts"][name]["class_shares"]) >= 5 for name in PARTS)
    assert facts["baselines"]["memorise_place"] == facts["baselines"]["majority"]


def test_the_study_protocol_is_won_by_remembering(
    puertollano: tuple[xr.Dataset, xr.Dataset],
) -> None:
    split = SplitSettings(kind="thesis")
    facts = make_plan(*puertollano, patch=64, stride=64, split=split).summary
    assert facts["baselines"]["memorise_place"] == {"oa": 1.0, "macro_f1": 1.0}
    assert facts["baselines"]["majority"]["oa"] == pytest.approx(0.622, abs=0.005)
    assert facts["baselines"]["majority"]["macro_f1"] == pytest.approx(0.085, abs=0.001)
    assert [facts["parts"][name]["dates"] for name in PARTS] == [68, 12, 14]
