"""Plans of sequences, folds, whole regions and balanced samples."""

from __future__ import annotations

import dataclasses
import itertools
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cube import folds, ground
from cube.balance import MOST, repeat_factors
from cube.errors import PlanError
from cube.folds import fold_map
from cube.ground import block_map
from cube.sampling import (
    PARTS,
    SamplePlan,
    Sequence,
    SplitSettings,
    leave_one_out,
    make_plan,
    pool_facts,
)
from cube.splits import split_dates

SHAPE, PATCH = (64, 72), 6
START = np.datetime64("2023-01-01T10:00", "ns")


def scenes(dates: int = 12, seed: int = 0, bad: float = 0.15, shape=SHAPE) -> xr.Dataset:
    """Cloud over whole patches, so that places are valid on different dates; gaps of 1-9 days."""
    rng = np.random.default_rng(seed)
    cloud = rng.random((dates, -(-shape[0] // 8), -(-shape[1] // 8))) < bad
    qc = np.kron(cloud, np.ones((8, 8), bool))[:, : shape[0], : shape[1]] * np.uint8(2)
    gaps = rng.integers(1, 10, dates)
    return xr.Dataset(
        {"qc": (("time", "y", "x"), qc)},
        coords={
            "time": START + np.cumsum(gaps) * np.timedelta64(1, "D"),
            "band": ["lst", "emissivity"],
            "y": 4.3e6 - 70.0 * np.arange(shape[0]),
            "x": 4.0e5 + 70.0 * np.arange(shape[1]),
        },
    )


def geology(seed: int = 0, shape=SHAPE, classes=(1, 2, 3)) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    units = rng.choice(classes, size=(shape[0] // 4 + 1, shape[1] // 4 + 1))
    lithology = np.kron(units, np.ones((4, 4), int))[: shape[0], : shape[1]].astype(np.uint8)
    lithology[:5] = 0
    grid = scenes(1, shape=shape)
    return xr.Dataset(
        {"lithology": (("y", "x"), lithology)}, coords={"y": grid["y"], "x": grid["x"]}
    )


def plan_of(**options) -> SamplePlan:
    wanted = {"patch": PATCH, "stride": PATCH, "split": SplitSettings(block=4, buffer=6)}
    return make_plan(scenes(), geology(), **(wanted | options))


def valid_dates(plan: SamplePlan, dataset: xr.Dataset, labels: xr.Dataset, place: int) -> list[int]:
    """Dates on which a place is valid enough, counted pixel by pixel."""
    row, column = plan.places[place]
    window = np.s_[row : row + plan.patch, column : column + plan.patch]
    good = (dataset["qc"].values[(slice(None), *window)] == 0) & (
        labels["lithology"].values[window] > 0
    )
    need = max(1, plan.min_valid * plan.patch**2)
    return np.flatnonzero(good.sum(axis=(1, 2)) >= need).tolist()


def chained(dates: list[int], times: np.ndarray, rule: Sequence) -> set[tuple[int, ...]]:
    """The sequences of one place, found one after the other."""
    runs: list[list[int]] = []
    for date in dates:
        far = (
            runs
            and rule.max_gap is not None
            and (times[date] - times[runs[-1][-1]] > np.timedelta64(round(rule.max_gap * 24), "h"))
        )
        if not runs or far:
            runs.append([])
        runs[-1].append(date)
    return {
        tuple(run[start : start + rule.length])
        for run in runs
        for start in range(0, len(run) - rule.length + 1, rule.steps)
    }


# --- sequences --------------------------------------------------------------------------------

KINDS = ("blocks", "folds", "blocks+time", "time", "thesis", "70/30", "random", "whole")


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    length=st.integers(2, 4),
    stride=st.integers(1, 5),
    max_gap=st.sampled_from([None, 4.0, 8.0]),
    seed=st.integers(0, 20),
    bad=st.sampled_from([0.0, 0.1, 0.3]),
    min_valid=st.sampled_from([0.0, 0.6, 1.0]),
)
def test_a_sequence_is_one_place_on_dates_of_one_part(
    kind: str,
    length: int,
    stride: int,
    max_gap: float | None,
    seed: int,
    bad: float,
    min_valid: float,
) -> None:
    dataset, labels = scenes(30, seed, bad), geology(seed)
    split = SplitSettings.model_validate(
        {"kind": kind, "seed": seed, "part": "train" if kind == "whole" else None}
        | ({"block": 4, "buffer": 6} if kind in ("blocks", "folds", "blocks+time") else {})
        | ({"folds": 3} if kind == "folds" else {})
    )
    rule = Sequence(length=length, stride=stride, max_gap=max_gap)
    wanted = {"patch": PATCH, "stride": PATCH, "split": split, "min_valid": min_valid}
    try:
        with few_tries():
            plan = make_plan(dataset, labels, sequence=rule, **wanted)
            single = make_plan(dataset, labels, **wanted)
    except PlanError as error:
        assert "part is empty" in str(error) or "no split" in str(error) or "folds" in str(error)
        return
    assert plan.sequences.shape[1] == plan.sequence_length == length
    assert (np.diff(plan.sequences, axis=1) > 0).all()
    # Every place has the sequences of its valid dates, part by part, and no other.
    table = sequences_by_corner(plan)
    for number, part in enumerate(PARTS):
        allowed = set(np.flatnonzero(np.isin(plan.times, single.times_of(part))).tolist())
        rows = single.samples[single.samples[:, 2] == number]
        for place in np.unique(rows[:, 0]):
            dates = [d for d in valid_dates(single, dataset, labels, place) if d in allowed]
            if not split.by_date:
                assert dates == valid_dates(single, dataset, labels, place)
            expected = chained(dates, plan.times, rule)
            corner = tuple(single.places[place].tolist())
            assert table.pop((number, *corner), set()) == expected
    assert not table
    for one, other in itertools.combinations(plan.split.parts, 2):
        if plan.split.by_date:
            assert not np.isin(plan.times_of(one), plan.times_of(other)).any()
        if plan.split.by_place:
            assert distance(plan, one, other) >= 6


def sequences_by_corner(plan: SamplePlan) -> dict[tuple[int, ...], set[tuple[int, ...]]]:
    """Part, row and column of each place to its sequences."""
    table: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    for place, row, part in plan.samples.tolist():
        key = (part, *plan.places[place].tolist())
        table.setdefault(key, set()).add(tuple(plan.sequences[row].tolist()))
    return table


@contextmanager
def few_tries():
    """The rules must hold for any assignment of blocks, not only for the best of many."""
    with pytest.MonkeyPatch.context() as fewer:
        for name in ("_MIN_TRIES", "_MAX_TRIES"):
            fewer.setattr(ground, name, 24)
            fewer.setattr(folds, name, 4)
        yield


def distance(plan: SamplePlan, one, other) -> int:
    """Pixels between the closest patches of two parts."""
    mine, theirs = (plan.places[np.unique(plan.part(name)[:, 0])] for name in (one, other))
    gaps = np.abs(mine[:, np.newaxis] - theirs[np.newaxis]).max(axis=-1) - plan.patch
    return int(gaps.min())


def test_sequences_are_counted_date_by_date() -> None:
    dataset, labels = scenes(), geology()
    plan = plan_of(sequence=Sequence(length=3, stride=2))
    lithology, good = labels["lithology"].values, dataset["qc"].values == 0
    counts = np.zeros(4)
    for place, row in plan.part("test"):
        r, c = plan.places[place]
        window = np.s_[r : r + PATCH, c : c + PATCH]
        for date in plan.sequences[row]:
            counts += np.bincount(lithology[window][good[date][window]], minlength=4)
    counts[0] = 0
    facts = plan.summary["parts"]["test"]
    assert facts["labelled_pixels"] == counts.sum()
    assert facts["class_shares"] == pytest.approx(
        {str(code): counts[code] / counts.sum() for code in (1, 2, 3)}
    )
    assert facts["samples"] == len(plan.part("test"))
    assert facts["dates"] == len(plan.times_of("test"))
    assert plan.summary["baselines"]["memorise_place"] == plan.summary["baselines"]["majority"]


def test_remembering_wins_with_sequences_too() -> None:
    plan = make_plan(
        scenes(30),
        geology(),
        patch=PATCH,
        stride=PATCH,
        split=SplitSettings(kind="thesis"),
        sequence=Sequence(length=2),
        min_valid=0.1,
    )
    assert plan.leaky
    assert plan.summary["baselines"]["memorise_place"]["oa"] > 0.95


def test_no_dates_left_for_a_sequence_is_said() -> None:
    with pytest.raises(PlanError, match="fewer than 9 dates"):
        plan_of(split=SplitSettings(kind="thesis"), sequence=Sequence(length=9))
    with pytest.raises(ValidationError, match="2 dates or more"):
        Sequence(stride=2)


def test_broken_sequences_are_refused() -> None:
    plan = plan_of(sequence=Sequence(length=3, stride=2, max_gap=9))
    for sequences, message in (
        (plan.sequences[:, ::-1], "not strictly increasing"),
        (plan.sequences[::-1], "twice, or out of order"),
        (plan.sequences + 100, "does not have"),
        (plan.sequences[:, :2], r"a table \(13, 2\), not of 3 dates"),
    ):
        with pytest.raises(PlanError, match=message):
            dataclasses.replace(plan, sequences=sequences)
    tighter = plan.sequence.model_copy(update={"max_gap": 1.0})
    with pytest.raises(PlanError, match="days between two dates, where max_gap is 1"):
        dataclasses.replace(plan, sequence=tighter)


def test_sequences_that_reach_into_another_part_are_refused() -> None:
    split = SplitSettings(kind="time", fractions=(0.4, 0.3, 0.3))
    plan = plan_of(split=split, sequence=Sequence(length=2), min_valid=0.1)
    train = int(plan.part("train")[-1, 1])
    first_val = int(plan.sequences[plan.part("val")[0, 1], 0])
    stretched = plan.sequences.copy()
    stretched[train, 1] = first_val
    with pytest.raises(PlanError, match="train and val share 1 dates"):
        dataclasses.replace(plan, sequences=stretched)


# --- splits -----------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    rows=st.integers(60, 100),
    columns=st.integers(60, 100),
    count=st.integers(3, 5),
    block=st.integers(3, 9),
    buffer=st.integers(1, 6),
    seed=st.integers(0, 9),
)
def test_folds_test_every_block_once_and_keep_their_distance(
    rows: int, columns: int, count: int, block: int, buffer: int, seed: int
) -> None:
    shape = (rows, columns)
    dataset, labels = scenes(2, seed, 0.0, shape), geology(seed, shape)
    tested = np.zeros((-(-rows // block), -(-columns // block)), int)
    validated, covered = tested.copy(), np.zeros(shape, int)
    for fold in range(count):
        split = SplitSettings(
            kind="folds", folds=count, fold=fold, block=block, buffer=buffer, seed=seed
        )
        with few_tries():
            plan = make_plan(dataset, labels, patch=4, stride=4, split=split, min_valid=0.5)
        tested += plan.blocks == PARTS.index("test")
        validated += plan.blocks == PARTS.index("val")
        covered += plan.mask("test")
        for one, other in itertools.combinations(PARTS, 2):
            assert distance(plan, one, other) >= buffer
        assert not plan.leaky
    assert (tested == 1).all() and (validated == 1).all()
    # What no fold tests are edges of the folds and ground without labels.
    assert covered.max() == 1
    assert covered[labels["lithology"].values > 0].mean() > 0.6


def test_folds_are_of_about_the_same_size() -> None:
    split = SplitSettings(kind="folds", folds=4, block=4, buffer=6)
    labels = geology()["lithology"].values
    numbers = block_map(fold_map(labels, PATCH, split), 4, SHAPE)
    shares = np.bincount(numbers[labels > 0]) / (labels > 0).sum()
    assert len(shares) == 4 and shares.min() > 0.2 and shares.max() < 0.3


def test_folds_that_do_not_fit_are_refused() -> None:
    with pytest.raises(PlanError, match=r"no 9 folds.*take fewer folds"):
        plan_of(split=SplitSettings(kind="folds", folds=9, block=8, buffer=20))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"kind": "folds", "fold": 5}, "none of 5 folds"),
        ({"kind": "folds", "folds": 2}, "greater than or equal to 3"),
        ({"fold": 1}, "kind 'folds', not 'blocks'"),
        ({"kind": "whole"}, "needs the part"),
        ({"part": "test"}, "needs the part"),
        ({"fractions": (0.0, 0.5, 0.5)}, "train above 0"),
    ],
)
def test_splits_that_mean_nothing_are_refused(asked: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SplitSettings.model_validate(asked)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(3, 80), seed=st.integers(0, 5))
def test_random_dates_are_the_ordered_ones_in_another_order(count: int, seed: int) -> None:
    random = split_dates(count, SplitSettings(kind="random", seed=seed))
    ordered = split_dates(count, SplitSettings(kind="time"))
    np.testing.assert_array_equal(np.sort(random), ordered)
    assert set(ordered) == {0, 1, 2}
    two = split_dates(count, SplitSettings(kind="time", fractions=(0.5, 0.0, 0.5)))
    assert set(two) == {0, 2}


def test_a_random_split_leaks_and_says_so() -> None:
    plan = plan_of(split=SplitSettings(kind="random"), min_valid=0.1)
    assert plan.leaky and "remembers places" in plan.leak_reason
    assert not np.isin(plan.times_of("train"), plan.times_of("test")).any()
    with pytest.raises(PlanError, match="share"):
        samples = plan.samples.copy()
        samples[-1, 1] = plan.part("train")[0, 1]
        samples = samples[np.lexsort((samples[:, 0], samples[:, 1], samples[:, 2]))]
        dataclasses.replace(plan, samples=samples)


def test_70_30_is_that_of_the_proposal() -> None:
    plan = make_plan(
        scenes(40, bad=0.0),
        geology(),
        patch=PATCH,
        stride=PATCH,
        split=SplitSettings(kind="70/30"),
    )
    assert [len(plan.times_of(part)) for part in PARTS] == [24, 4, 12]


def test_other_places_and_other_dates() -> None:
    split = SplitSettings(kind="blocks+time", block=4, buffer=6, fractions=(0.5, 0.25, 0.25))
    plan = plan_of(split=split)
    assert not plan.leaky
    for earlier, later in itertools.pairwise(PARTS):
        assert plan.times_of(earlier)[-1] < plan.times_of(later)[0]
        assert distance(plan, earlier, later) >= 6
    moved = plan.samples.copy()
    moved[-1, 1] = plan.part("train")[0, 1]
    moved = moved[np.lexsort((moved[:, 0], moved[:, 1], moved[:, 2]))]
    with pytest.raises(PlanError, match="share 1 dates"):
        dataclasses.replace(plan, samples=moved)


def test_a_split_without_a_part_has_none() -> None:
    split = SplitSettings(block=4, buffer=6, fractions=(0.8, 0.2, 0.0))
    plan = plan_of(split=split)
    assert len(plan.part("val")) and not len(plan.part("test")) and not len(plan.times_of("test"))
    assert plan.summary["baselines"] == {}
    samples = plan.samples.copy()
    samples[samples[:, 2] == 1, 2] = 2
    with pytest.raises(PlanError, match="val part is empty"):
        dataclasses.replace(plan, samples=samples)


# --- several regions --------------------------------------------------------------------------

REGIONS = {
    "north": (scenes(seed=1), geology(1, classes=(1, 2, 2, 3))),
    "middle": (scenes(seed=2), geology(2)),
    "south": (scenes(seed=3), geology(3, classes=(1, 2, 2, 4))),
}


def test_leaving_one_region_out() -> None:
    plans = leave_one_out(
        REGIONS,
        "south",
        patch=PATCH,
        stride=3,
        sequence=Sequence(length=2),
        snapshots={"north": "N1"},
    )
    assert list(plans) == ["north", "middle", "south"]
    assert plans["north"].snapshot == "N1"
    assert not len(plans["south"].part("train")) and not len(plans["south"].part("val"))
    for name in ("north", "middle"):
        assert not len(plans[name].part("test"))
        assert len(plans[name].part("train")) > len(plans[name].part("val")) > 0
        assert distance(plans[name], "train", "val") >= PATCH
    facts = pool_facts(plans)
    assert not facts["leaky"]
    assert set(facts["parts"]["test"]["class_shares"]) == {"1", "2", "4"}
    total = sum(plan.summary["parts"]["train"]["labelled_pixels"] for plan in plans.values())
    assert facts["parts"]["train"]["labelled_pixels"] == total
    shares = facts["parts"]["test"]["class_shares"]
    train = facts["parts"]["train"]["class_shares"]
    majority = max(train, key=lambda code: train[code])
    assert facts["baselines"]["majority"]["oa"] == pytest.approx(shares.get(majority, 0.0))
    assert facts["baselines"]["memorise_place"] == facts["baselines"]["majority"]


def test_validating_on_a_region_of_its_own() -> None:
    plans = leave_one_out(REGIONS, "south", validation="north", patch=PATCH, stride=PATCH)
    parts = {name: plan.split.part for name, plan in plans.items()}
    assert parts == {"north": "val", "middle": "train", "south": "test"}
    assert all(
        plan.split.parts == (part,)
        for part, plan in zip(parts.values(), plans.values(), strict=True)
    )


@pytest.mark.parametrize(
    ("held_out", "validation", "message"),
    [
        ("east", 0.2, "cannot leave out 'east'"),
        ("south", "south", "one more is needed"),
        ("south", 1.5, "share between 0 and 1"),
    ],
)
def test_regions_that_cannot_be_left_out(
    held_out: str, validation: float | str, message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        leave_one_out(REGIONS, held_out, validation=validation, patch=PATCH, stride=PATCH)
    with pytest.raises(PlanError, match="region 'north': "):
        leave_one_out(REGIONS, "south", patch=500, stride=8)


# --- balance ----------------------------------------------------------------------------------


def test_balanced_plans_show_rare_classes_more_often() -> None:
    labels = geology(classes=(1, 1, 1, 1, 1, 1, 1, 2))
    plain = make_plan(scenes(), labels, patch=4, stride=4, split=SplitSettings(block=4, buffer=4))
    plan = make_plan(
        scenes(),
        labels,
        patch=4,
        stride=4,
        split=SplitSettings(block=4, buffer=4),
        drawing="balanced",
    )
    np.testing.assert_array_equal(plan.samples, plain.samples)
    for part in ("val", "test"):
        np.testing.assert_array_equal(plan.part(part), plain.part(part))
    lithology = labels["lithology"].values

    def share_of_rare(each: SamplePlan) -> float:
        rows = each.places[each.part("train")[:, 0]]
        return float(np.mean([(lithology[r : r + 4, c : c + 4] == 2).mean() for r, c in rows]))

    assert share_of_rare(plan) > 1.4 * share_of_rare(plain)
    drawn = np.unique(plan.part("train"), axis=0)
    np.testing.assert_array_equal(drawn, np.unique(plain.part("train"), axis=0))
    assert (plan.times_of("train") == plain.times_of("train")).all()
    assert plan.digest != plain.digest


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(2, 6), st.integers(0, 99))
def test_no_sample_is_lost_and_none_drowns_the_others(count: int, classes: int, seed: int) -> None:
    shares = np.random.default_rng(seed).dirichlet(np.full(classes, 0.2), count)
    shares = np.concatenate([np.zeros((count, 1)), shares], axis=1)
    repeats = repeat_factors(shares, seed)
    assert repeats.min() >= 1 and repeats.max() <= MOST
    np.testing.assert_array_equal(repeats, repeat_factors(shares, seed))


def test_only_train_samples_of_a_balanced_plan_repeat() -> None:
    plan = plan_of(drawing="balanced")
    with pytest.raises(PlanError, match="only train samples"):
        dataclasses.replace(plan, repeats=np.full(len(plan.samples), 2))
    with pytest.raises(PlanError, match="number of times"):
        dataclasses.replace(plan, repeats=plan.repeats[:-1])


# --- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_plans_of_every_kind_are_the_same_again_and_come_back(tmp_path: Path, kind: str) -> None:
    split = SplitSettings.model_validate(
        {"kind": kind}
        | ({"part": "val"} if kind == "whole" else {})
        | ({"fractions": (0.4, 0.3, 0.3)} if kind in ("time", "random", "blocks+time") else {})
        | ({"block": 4, "buffer": 6} if kind in ("blocks", "folds", "blocks+time") else {})
    )
    made = [
        make_plan(
            scenes(40, bad=0.05),
            geology(),
            patch=PATCH,
            stride=4,
            split=split,
            sequence=Sequence(length=2, max_gap=40),
            drawing="balanced",
            snapshot="S",
        )
        for _ in range(2)
    ]
    assert made[0].digest == made[1].digest
    made[0].save(tmp_path / "plan.npz")
    loaded = SamplePlan.load(tmp_path / "plan.npz")
    assert loaded == made[0]
    assert loaded.sequence == made[0].sequence and loaded.split == made[0].split
    np.testing.assert_array_equal(loaded.repeats, made[0].repeats)
    np.testing.assert_array_equal(loaded.sequences, made[0].sequences)
    changed = {
        "sequence": loaded.sequence.model_copy(update={"max_gap": 50.0}),
        "snapshot": "T",
        "split": loaded.split.model_copy(update={"seed": 9}),
    }
    digests = {dataclasses.replace(loaded, **{key: value}).digest for key, value in changed.items()}
    assert len(digests | {loaded.digest}) == 4


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("blocks", "0049aae6592d2022b766e7930f5f2a89e8d2e4d15cad95f12c66501e1ba46d1f"),
        ("thesis", "36105ff7f227f36a91f729c424db0289b2f52fabae63e5b8eb0ecfc4bb7811a3"),
    ],
)
def test_plans_of_format_1_are_read_as_they_were(name: str, digest: str, tmp_path: Path) -> None:
    path = Path(__file__).parents[1] / "data" / f"plan-format1-{name}.npz"
    plan = SamplePlan.load(path)
    assert plan.digest == digest
    assert plan.sequence_length == 1 and plan.sequences.shape == (4, 1)
    np.testing.assert_array_equal(plan.sequences[:, 0], np.arange(4))
    assert len(plan.part("train")) == (plan.samples[:, 2] == 0).sum()
    # Written again, it is the same file: versions that know format 1 only can still read it.
    plan.save(tmp_path / "again.npz")
    with np.load(tmp_path / "again.npz") as again, np.load(path) as stored:
        assert set(again.files) == set(stored.files)
        assert str(again["header"]) == str(stored["header"])


def test_another_format_is_refused(tmp_path: Path) -> None:
    path = Path(__file__).parents[1] / "data" / "plan-format1-blocks.npz"
    with np.load(path) as stored:
        content = dict(stored)
    content["header"] = np.array(str(content["header"]).replace('"format": 1', '"format": 3'))
    np.savez(tmp_path / "new.npz", allow_pickle=False, **content)
    with pytest.raises(PlanError, match="of format 3, not 1 or 2"):
        SamplePlan.load(tmp_path / "new.npz")
