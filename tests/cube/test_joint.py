"""Selections from a cube: modalities joined, dates stacked, several regions; lazy throughout."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from long_cube import counted_reads, long_cube
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

import cube.accessor  # noqa: F401  (registers `dataset.thermocube`)
from cube.errors import SelectionError
from cube.joint import DATA_SETS, Join, data_set, select_regions
from cube.quality import BAD, Flag, is_valid, mask
from cube.region import Region
from cube.select import align, explain, report, select, stack_dates
from cube.store import Cube
from pipelines.ingest import ingest
from pipelines.simulate import SimulationSettings, simulate

GRID = GeoBox((5, 6), Affine(70, 0, 400_000, 0, -70, 4_290_000), "EPSG:32630")


def scenes(days, bands, seed: int = 0, cloud: float = 0.2) -> xr.Dataset:
    """A modality in memory: a pixel is NaN in every band where it is bad, and only there."""
    rng = np.random.default_rng(seed)
    times = np.datetime64("2023-01-01T10", "ns") + np.asarray(days) * np.timedelta64(1, "D")
    shape = (len(times), *GRID.shape)
    qc = np.where(rng.random(shape) < cloud, Flag.CLOUD, 0).astype(np.uint8)
    qc |= np.where(rng.random(shape) < 0.3, np.uint8(Flag.WATER), np.uint8(0))
    pixels = rng.random((len(times), len(bands), *GRID.shape), np.float32)
    pixels = np.where((qc & np.uint8(BAD))[:, np.newaxis] == 0, pixels, np.nan)
    return xr.Dataset(
        {"imagery": (("time", "band", "y", "x"), pixels), "qc": (("time", "y", "x"), qc)},
        coords={
            **xr_coords(GRID),
            "time": times,
            "band": np.array(bands, object),
            "band_units": ("band", np.array(["u"] * len(bands), object)),
            "cloud_fraction": ("time", rng.random(len(times))),
        },
    )


# --- arrays put together ----------------------------------------------------------------------

# xarray itself stumbles over empty slices that run backwards.
keys = st.one_of(
    st.integers(0, 4),
    st.slices(5).filter(lambda key: key.step is None or key.step > 0),
    st.lists(st.integers(0, 4), min_size=1, max_size=6).map(np.array),
)


@pytest.fixture(scope="module")
def both_ways() -> tuple[xr.Dataset, xr.Dataset]:
    """The same selection, read late and computed by Dask."""
    base = scenes(range(0, 40, 4), ("lst", "emissivity"))
    other = scenes(range(1, 41, 3), ("vv", "vh", "hh"), seed=1)
    late = stack_dates(align(select(base, mask="water"), other, tolerance="3D"), 2)
    chunked = align(select(base.chunk(time=4), mask="water"), other.chunk(time=5), tolerance="3D")
    dask = stack_dates(chunked, 2)
    assert late["imagery"].chunks is None and dask["imagery"].chunks is not None
    return late, dask.compute()


def test_it_is_lazy_with_dask_and_without(both_ways):
    late, eager = both_ways
    xr.testing.assert_identical(late.copy().load(), eager)
    assert not late["imagery"].variable._in_memory


@settings(max_examples=60, deadline=None)
@given(picked=st.tuples(keys, keys, keys, keys))
def test_what_is_read_late_is_what_dask_computes(both_ways, picked):
    late, eager = both_ways
    where = dict(zip(("time", "band", "y", "x"), picked, strict=True))
    whole = eager["imagery"].variable
    np.testing.assert_array_equal(late["imagery"].variable.isel(where), whole.isel(where))
    turned = late["imagery"].variable.isel(where).transpose()
    np.testing.assert_array_equal(turned, whole.isel(where).transpose())
    place = {name: key for name, key in where.items() if name != "band"}
    np.testing.assert_array_equal(late["qc"].variable.isel(place), eager["qc"].variable.isel(place))


def test_a_stack_holds_each_scene_with_those_before_it():
    dataset = scenes([0, 1, 2, 9, 10, 11, 12], ("lst", "emissivity"))
    stacked = stack_dates(dataset, 3, max_gap=5)
    assert stacked["band"].values.tolist() == [
        "lst@-2", "emissivity@-2", "lst@-1", "emissivity@-1", "lst", "emissivity",
    ]  # fmt: skip
    np.testing.assert_array_equal(stacked["time"], dataset["time"].values[[2, 5, 6]])
    np.testing.assert_array_equal(stacked["cloud_fraction"], dataset["cloud_fraction"][[2, 5, 6]])
    for index, scene in enumerate((2, 5, 6)):
        for back in (0, 1, 2):
            name = f"lst@-{back}" if back else "lst"
            np.testing.assert_array_equal(
                stacked["imagery"].isel(time=index).sel(band=name),
                dataset["imagery"].isel(time=scene - back).sel(band="lst"),
            )
    # Bad on one date is bad; that an earlier date saw water is that date's own remark.
    finite = np.isfinite(stacked["imagery"].values).all(axis=1)
    valid = is_valid(dataset["qc"].values)
    for index, scene in enumerate((2, 5, 6)):
        all_three = valid[scene - 2 : scene + 1].all(axis=0)
        np.testing.assert_array_equal(is_valid(stacked["qc"].values)[index], all_three)
    water = (stacked["qc"].values & Flag.WATER) > 0
    np.testing.assert_array_equal(water, (dataset["qc"].values[[2, 5, 6]] & Flag.WATER) > 0)
    assert (is_valid(stacked["qc"].values) <= finite).all()
    xr.testing.assert_identical(stack_dates(dataset, 1), dataset)
    with pytest.raises(SelectionError, match="none of the 7 scenes has 4 before it with 5 days"):
        stack_dates(dataset, 5, max_gap=5)
    with pytest.raises(SelectionError, match="1 date or more"):
        stack_dates(dataset, 0)


def test_seasons_by_day_of_the_year():
    dataset = scenes(range(365), ("lst",))
    assert select(dataset, season=(1, 59)).sizes["time"] == 59
    assert select(dataset, season=(360, 2)).sizes["time"] == 6 + 2
    for season, message in (((0, 9), "from 1 to 366"), ((1, "03-01"), "both days")):
        with pytest.raises(SelectionError, match=message):
            select(dataset, season=season)


# --- reports ----------------------------------------------------------------------------------


def test_a_report_says_what_was_left_out_and_why():
    dataset = scenes(range(0, 100, 10), ("lst",))
    rules = {"season": ("01-01", "02-28"), "max_cloud": 0.5}
    chosen = select(dataset, **rules)
    told = report(chosen)
    assert (told.scenes, told.kept) == (10, chosen.sizes["time"])
    assert told.kept + sum(told.left_out.values()) == 10 and told.reasons == ()
    full = explain(dataset, **rules)
    assert (full.left_out, full.kept) == (told.left_out, told.kept)
    frame = full.to_frame()
    assert len(frame) == 10 - told.kept and frame["time"].is_monotonic_increasing
    cloudy = frame[frame["rule"] == "max_cloud"].iloc[0]
    fraction = float(dataset["cloud_fraction"].sel(time=cloudy["time"]))
    assert cloudy["why"] == f"max_cloud = 0.5: cloud_fraction {fraction:.3g}"
    text = str(full)
    assert f"{told.kept} of 10 scenes selected" in text and cloudy["why"] in text
    assert "max_cloud = 0.5" in told._repr_html_() and "<table>" in full._repr_html_()
    kept = set(chosen["time"].values) | set(frame["time"].values)
    assert kept == set(dataset["time"].values)
    nothing = explain(dataset, max_cloud=0.0)
    assert nothing.kept == 0 and "scenes more; see to_frame()" in str(nothing)
    with pytest.raises(SelectionError, match="does not say how it was selected"):
        report(dataset)


# --- the accessor -----------------------------------------------------------------------------


def test_the_accessor_and_the_functions_give_the_same():
    dataset, other = scenes(range(9), ("lst", "emissivity")), scenes(range(0, 9, 2), ("vv",))
    short = dataset.thermocube
    rules = {"max_cloud": 0.7, "bands": ["lst"]}
    xr.testing.assert_identical(short.select(**rules).load(), select(dataset, **rules).load())
    assert short.select(**rules).thermocube.report == report(select(dataset, **rules))
    assert short.explain(**rules) == explain(dataset, **rules)
    xr.testing.assert_identical(short.mask("water").load(), mask(dataset, "water"))
    xr.testing.assert_identical(short.mask(Flag.WATER).load(), mask(dataset, Flag.WATER))
    options = {"tolerance": "1h", "how": "same_day"}
    xr.testing.assert_identical(
        short.align(other, **options).load(), align(dataset, other, **options).load()
    )
    assert short.on_dates_of(other, **options).sizes["time"] == 5
    xr.testing.assert_identical(short.stack_dates(2).load(), stack_dates(dataset, 2).load())
    np.testing.assert_array_equal(short.valid, is_valid(dataset["qc"].values))
    assert short.grid.shape == GRID.shape


# --- from a cube ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Cube:
    """The cube of a simulated region, all three modalities and labels."""
    made = simulate(tmp_path_factory.mktemp("simulated"), SimulationSettings.tiny())
    region = Region.load(made.region)
    assert not ingest(region).failures
    return Cube.open(region)


def test_the_study_s_seven_data_sets(sound):
    made = {name: data_set(sound, name, tolerance="40D") for name in DATA_SETS}
    assert len(made) == 7
    bands = {name: each["band"].values.tolist() for name, each in made.items()}
    assert bands.pop("thermal+sar") == ["lst", "emissivity", "vv", "vh"]
    assert all(each == ["lst", "emissivity"] for each in bands.values())
    np.testing.assert_array_equal(made["thermal+sar"]["time"], made["thermal on sar dates"]["time"])
    for one, other in (("day", "night"), ("winter", "summer")):
        together = np.concatenate([made[one]["time"], made[other]["time"]])
        np.testing.assert_array_equal(np.sort(together), made["thermal"]["time"])
    by_clock = data_set(sound, "day", clock="utc")["time"]
    assert by_clock.dt.hour.min() >= 6 and by_clock.dt.hour.max() < 18
    with pytest.raises(SelectionError, match="has no data set 'spring'; it has thermal, thermal"):
        data_set(sound, "spring")


def test_modalities_are_joined_with_limits_and_order_of_their_own(sound):
    joins = [
        Join(modality="sar", tolerance="40D"),
        {"modality": "optical", "bands": ["ndvi"], "how": "ffill", "max_cloud": 0.5},
    ]
    bands = ["ndvi", "lst", "vh"]
    chosen = sound.select("thermal", join=joins, bands=bands, mask="water", chunks=None)
    assert chosen["band"].values.tolist() == bands and chosen["imagery"].chunks is None
    thermal, sar, optical = (
        sound.dataset(name, chunks=None).load() for name in ("thermal", "sar", "optical")
    )
    for index, when in enumerate(chosen["time"].values):
        scene = chosen.isel(time=index).load()
        pair = optical.sel(time=scene["optical_time"].values)
        assert when - pair["time"].values <= np.timedelta64(16, "D") and pair["time"] <= when
        assert float(pair["cloud_fraction"]) <= 0.5
        dry = (thermal["qc"].sel(time=when).values & Flag.WATER) == 0
        for source, band in ((pair, "ndvi"), (thermal.sel(time=when), "lst"),
                             (sar.sel(time=scene["sar_time"].values), "vh")):  # fmt: skip
            expected = np.where(dry, source["imagery"].sel(band=band), np.nan)
            np.testing.assert_array_equal(scene["imagery"].sel(band=band), expected)
    told = chosen.thermocube.report
    assert told.kept == chosen.sizes["time"] < told.scenes
    assert [item["modality"] for item in told.asked["join"]] == ["sar", "optical"]
    scenes_left_out = sound.explain("thermal", join=joins).to_frame()
    assert set(scenes_left_out["rule"]) == {"no optical within 16D (ffill)"}
    by_dask = sound.select("thermal", join=joins, bands=bands, mask="water")
    assert by_dask["imagery"].chunks is not None
    xr.testing.assert_identical(by_dask.load(), chosen.load())


def test_single_bands_of_a_stack(sound):
    chosen = sound.select("thermal", join="sar", bands=["lst", "vv"], stack=2)
    assert chosen["band"].values.tolist() == ["lst@-1", "vv@-1", "lst", "vv"]
    picked = sound.select("thermal", join="sar", bands=["vv", "lst@-1"], stack=2)
    assert picked["band"].values.tolist() == ["vv", "lst@-1"]
    xr.testing.assert_equal(
        picked["imagery"].sel(band="lst@-1").load(), chosen["imagery"].sel(band="lst@-1").load()
    )
    told = picked.thermocube.report
    assert told.left_out["fewer than 1 dates before it to stack"] == 1
    xr.testing.assert_identical(
        chosen.drop_attrs().load(),
        stack_dates(sound.select("thermal", join="sar", bands=["lst", "vv"]), 2)
        .drop_attrs()
        .load(),
    )


def test_several_regions_at_once_name_the_region_that_fails(sound):
    chosen = select_regions({"a": sound, "b": sound}, "thermal", season="winter")
    assert list(chosen) == ["a", "b"]
    xr.testing.assert_identical(chosen["a"].load(), chosen["b"].load())
    with pytest.raises(SelectionError, match="region 'a': there is no band 'vv'"):
        select_regions({"a": sound}, "thermal", bands="vv")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"join": "radar"}, "has no group 'radar'"),
        ({"join": {"modality": "sar", "within": "3D"}}, "does not say what to join"),
        ({"join": {"modality": "sar", "tolerance": "1ms"}}, "emptied by no sar within 1ms"),
        ({"stack": 99}, "emptied by fewer than 98 dates"),
        ({"join": "sar", "bands": ["vv", "ndvi"]}, "no band 'ndvi'; the bands are lst"),
        ({"seasons": "winter"}, "seasons"),
    ],
)
def test_joint_selections_that_cannot_be_made(sound, wanted, message):
    with pytest.raises((SelectionError, TypeError), match=message):
        sound.select("thermal", **wanted)


# --- ten thousand scenes ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def ten_thousand(tmp_path_factory: pytest.TempPathFactory) -> Cube:
    return long_cube(Path(tmp_path_factory.mktemp("long")), 10_000)


@pytest.mark.parametrize("chunks", [None, {}], ids=["plain", "dask"])
@pytest.mark.parametrize(
    "wanted",
    [
        {"season": "winter", "time_of_day": "night", "max_cloud": 0.3, "mask": "water"},
        {
            "join": ["sar", {"modality": "optical", "max_cloud": 0.2}],
            "bands": ["vv", "ndvi", "lst"],
        },
        {"join": "sar", "stack": 5, "stack_gap": 3, "season": "summer"},
    ],
    ids=["rules", "join", "stack"],
)
def test_a_selection_of_ten_thousand_scenes_reads_no_pixel(ten_thousand, wanted, chunks):
    seconds = []
    with counted_reads() as read:
        for _ in range(3):
            # Of the processor: the limit is for the work, not for a machine that others use too.
            start = time.process_time()
            chosen = ten_thousand.select("thermal", chunks=chunks, **wanted)
            seconds.append(time.process_time() - start)
        assert not read
        chosen["imagery"].isel(time=3).load()
        scenes_read = {key.split("/c/")[0].split("/")[0] for key in read}
        assert 0 < len(read) <= 15 and scenes_read <= {"thermal", "sar", "optical"}
    assert min(seconds) < 1.0
