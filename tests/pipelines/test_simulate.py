from __future__ import annotations

import json
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from cube.lithology import Lithology
from cube.region import Region
from pipelines.simulate import (
    MATERIALS,
    Simulation,
    SimulationSettings,
    Truth,
    build_world,
    deliver_late,
    physics,
    qc,
    simulate,
)

TINY = SimulationSettings.tiny()
NAME = re.compile(
    r"(?P<granule>ECOv002_L2T_LSTE_(?P<orbit>\d{5})_(?P<scene>\d{3})_(?P<tile>\d{2}[A-Z]{3})_"
    r"(?P<time>\d{8}T\d{6})_(?P<build>\d{4})_\d{2})_"
    r"(?P<layer>LST|LST_err|EmisWB|QC|cloud|water|view_zenith)\.tif"
)
JUNE = datetime(2023, 6, 20, tzinfo=UTC)


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    return simulate(tmp_path_factory.mktemp("region"), TINY)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


def inner(values: np.ndarray) -> np.ndarray:
    return values[TINY.margin : -TINY.margin, TINY.margin : -TINY.margin]


def layer(simulation: Simulation, granule: str, name: str) -> np.ndarray:
    return read(simulation.folder / "ecostress" / f"{granule}_{name}.tif")


def granules_of(simulation: Simulation, kind: str) -> list[str]:
    """Granules of the one pass of a kind, by the time in their names."""
    time = simulation.truth.time[list(simulation.truth.kind).index(kind)]
    orbit = re.compile(rf"_{str(time)[:10].replace('-', '')}T")
    return sorted(g for g in simulation.granules if g.startswith("ECO") and orbit.search(g))


def test_every_granule_has_all_layers_under_the_products_names(simulation: Simulation) -> None:
    layers: dict[str, set[str]] = {}
    for path in (simulation.folder / "ecostress").iterdir():
        match = NAME.fullmatch(path.name)
        assert match, path.name
        layers.setdefault(match["granule"], set()).add(match["layer"])
    assert layers.pop(simulation.orphan) == {"QC"}
    assert set(layers) == {
        g for g in simulation.granules if g.startswith("ECO") and g != simulation.orphan
    }
    assert all(len(found) == 7 for found in layers.values())


def test_layers_are_cogs_with_the_products_encodings(simulation: Simulation) -> None:
    granule = granules_of(simulation, "plain")[0]
    expected = {"LST": "float32", "EmisWB": "float32", "QC": "uint16", "cloud": "uint8"}
    for name, dtype in expected.items():
        with rasterio.open(simulation.folder / "ecostress" / f"{granule}_{name}.tif") as file:
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert file.dtypes == (dtype,)
            assert file.crs.to_epsg() == 32630
            # On the pixel lines of tile 30SVH.
            assert (file.transform.c - 399960) % 70 == 0
            assert (file.transform.f - 4300020) % 70 == 0
            if dtype == "float32":
                assert np.isnan(file.nodata)


def test_no_value_exists_where_qc_says_not_produced(simulation: Simulation) -> None:
    for granule in (g for g in simulation.granules if g.startswith("ECO")):
        if granule == simulation.orphan:
            continue
        word, lst = layer(simulation, granule, "QC"), layer(simulation, granule, "LST")
        assert np.isnan(lst[word & 3 == 3]).all()
        produced = (word & 3) != 3
        assert ((word[produced] >> 6) & 3 == 3).all()
        emissivity = layer(simulation, granule, "EmisWB")
        # The word is made before emissivity is rounded to steps of 0.002.
        low, high = emissivity < 0.948, emissivity > 0.952
        striped = (word >> 2) & 3 == 1
        assert (word[low] & 3 == 1).all()
        assert (word[high & ~striped] & 3 == 0).all()


@given(
    st.lists(st.floats(0.72, 0.99), min_size=1, max_size=8),
    st.floats(0.1, 6),
    st.integers(0, 3),
)
def test_the_qc_word_decodes_to_what_it_was_made_of(
    values: list[float], error: float, opacity: int
) -> None:
    emissivity = np.array(values)
    produced, lines = np.ones(emissivity.shape, bool), np.zeros(emissivity.shape, bool)
    word = qc.encode(produced, lines, emissivity, np.full(emissivity.shape, error), opacity)
    assert ((word >> 8) & 3 == opacity).all()
    limits = {0: (2.0, np.inf), 1: (1.5, 2.0), 2: (1.0, 1.5), 3: (0.0, 1.0)}
    for code in np.unique(word >> 14):
        low, high = limits[int(code)]
        assert low <= error < high
    assert (qc.encode(~produced, lines, emissivity, emissivity, 1) == qc.NOT_PRODUCED).all()


def test_clear_pixels_are_the_true_temperature_within_noise(simulation: Simulation) -> None:
    truth = simulation.truth
    for kind in ("plain", "edge"):
        index = list(truth.kind).index(kind)
        (granule,) = granules_of(simulation, kind)
        clear = (inner(layer(simulation, granule, "cloud")) == 0) & truth.swath[index]
        difference = (inner(layer(simulation, granule, "LST")) - truth.lst[index])[clear]
        assert np.isfinite(difference).mean() > 0.95
        assert np.sqrt(np.nanmean(difference**2)) < 0.6
        assert np.nanmax(np.abs(difference)) < 3


def test_nothing_lies_outside_the_swath(simulation: Simulation) -> None:
    (granule,) = granules_of(simulation, "edge")
    outside = ~simulation.truth.swath[list(simulation.truth.kind).index("edge")]
    assert 0.05 < outside.mean() < 0.5
    assert np.isnan(inner(layer(simulation, granule, "LST"))[outside]).all()
    assert (inner(layer(simulation, granule, "cloud"))[outside] == 255).all()
    assert (inner(layer(simulation, granule, "QC"))[outside] == qc.FILL).all()


def test_clouds_are_cold_or_have_no_value(simulation: Simulation) -> None:
    (granule,) = granules_of(simulation, "overcast")
    assert (layer(simulation, granule, "cloud") == 1).all()
    lst = layer(simulation, granule, "LST")
    assert 0.2 < np.isnan(lst).mean() < 0.8
    assert np.nanmin(lst) > 215
    assert np.nanmax(lst) < 273


def test_one_pass_comes_as_two_granules_52_seconds_apart(simulation: Simulation) -> None:
    granules = granules_of(simulation, "two_granules")
    first, second = (NAME.fullmatch(f"{granule}_LST.tif") for granule in granules)
    assert first and second
    assert first["orbit"] == second["orbit"]
    assert int(second["scene"]) == int(first["scene"]) + 1
    start, end = (datetime.strptime(m["time"], "%Y%m%dT%H%M%S") for m in (first, second))
    assert (end - start).total_seconds() == 52
    seen = [layer(simulation, m["granule"], "QC") != qc.FILL for m in (first, second)]
    assert (seen[0] | seen[1]).all()
    assert 0 < (seen[0] & seen[1]).mean() < 0.3


def test_late_and_reprocessed_granules_come_with_the_second_delivery(tmp_path: Path) -> None:
    simulation = simulate(tmp_path, TINY)
    before = {path.name for path in (tmp_path / "ecostress").iterdir()}
    (old,) = granules_of(simulation, "reprocessed")
    assert granules_of(simulation, "late") == []

    assert tuple(deliver_late(tmp_path, TINY)) == simulation.late

    late, new = simulation.late
    added = {path.name for path in (tmp_path / "ecostress").iterdir()} - before
    assert {match["granule"] for match in map(NAME.fullmatch, added) if match} == {late, new}
    assert len(added) == 14
    assert old.replace("_0710_", "_0712_") == new
    difference = layer(simulation, old, "LST") - layer(simulation, new, "LST")
    assert np.nanmedian(difference) == pytest.approx(0.3, abs=1e-3)


def test_the_same_seed_gives_the_same_pixels(simulation: Simulation, tmp_path: Path) -> None:
    again = simulate(tmp_path / "again", TINY)
    assert again.granules == simulation.granules
    paths = [
        path.relative_to(simulation.folder)
        for path in simulation.folder.rglob("*.tif*")
        if "0710" in path.name or "B04" in path.name or "rtc" in path.name
    ]
    assert len(paths) > 5
    for path in paths:
        assert read(simulation.folder / path).tobytes() == read(again.folder / path).tobytes()


def test_another_seed_gives_another_ground(simulation: Simulation, tmp_path: Path) -> None:
    few = SimulationSettings.tiny(seed=8, sentinel1=0, sentinel2=0)
    other = simulate(tmp_path, few)
    assert (other.truth.ground != simulation.truth.ground).mean() > 0.3
    assert set(Region.load(other.region).modalities) == {"thermal"}


def test_the_region_file_gives_the_truths_grid_and_labels(simulation: Simulation) -> None:
    from cube.labels import rasterise

    region = Region.load(simulation.region)
    assert region.grid == TINY.grid
    assert region.labels is not None
    labels = rasterise(region.labels, region.grid)["lithology"].to_numpy()
    np.testing.assert_array_equal(labels, simulation.truth.lithology)
    classes = set(np.unique(labels).tolist())
    assert {0, int(Lithology.WATER)} < classes
    assert len(classes) >= 7


def test_sources_find_everything_and_the_orphan_with_its_defect(simulation: Simulation) -> None:
    region = Region.load(simulation.region)
    found = [g for s in region.sources for g in s.search(region.grid, region.period.period)]
    assert sorted(g.id for g in found) == sorted(simulation.granules)
    assert [g.id for g in found if g.defect] == [simulation.orphan]


def test_the_truth_can_be_read_back(simulation: Simulation) -> None:
    loaded = Truth.load(simulation.folder / "truth.npz")
    np.testing.assert_array_equal(loaded.lst, simulation.truth.lst)
    np.testing.assert_array_equal(loaded.kind, simulation.truth.kind)
    assert (np.diff(loaded.time) > np.timedelta64(0, "s")).all()


def test_sand_swings_more_than_rock_and_rock_more_than_water() -> None:
    def swing(lithology: Lithology) -> float:
        material = MATERIALS[lithology]
        return physics.diurnal_range(JUNE, TINY.centre, material.inertia, material.albedo, 15.0)

    sand, limestone, water = map(swing, (Lithology.SAND, Lithology.CARBONATE, Lithology.WATER))
    assert 25 < sand < 50
    assert sand > limestone + 5
    assert limestone > water + 15
    assert water < 8


@given(st.floats(300, 3000), st.floats(1.05, 3), st.floats(0.05, 0.5), st.floats(8, 50))
def test_more_inertia_always_means_a_smaller_swing(
    inertia: float, factor: float, albedo: float, exchange: float
) -> None:
    low, high = (
        physics.diurnal_range(JUNE, TINY.centre, p, albedo, exchange)
        for p in (inertia, inertia * factor)
    )
    assert high < low


def test_the_mean_temperature_does_not_depend_on_inertia() -> None:
    forcing = physics.day(JUNE, TINY.centre)
    hours = [JUNE.replace(hour=h) for h in range(24)]
    means = [
        np.mean([physics.surface_temperature(h, forcing, p, 0.2, 15.0) for h in hours])
        for p in (500.0, 2500.0)
    ]
    assert means[0] == pytest.approx(means[1], abs=1e-6)


def test_sentinel2_counts_keep_the_offset_of_their_baseline(simulation: Simulation) -> None:
    for path in (simulation.folder / "sentinel2").glob("*/*.json"):
        item = json.loads(path.read_text(encoding="utf-8"))
        assert item["properties"]["s2:processing_baseline"] == "05.09"
        hrefs = {key: path.parent / asset["href"] for key, asset in item["assets"].items()}
        with rasterio.open(hrefs["B04"]) as red, rasterio.open(hrefs["SCL"]) as classes:
            assert (red.dtypes, classes.dtypes) == (("uint16",), ("uint8",))
            assert (red.res, classes.res) == ((10, 10), (20, 20))
            assert red.read(1).min() > 1000
            assert set(np.unique(classes.read(1))) <= {3, 4, 5, 6, 8, 9}
            assert item["assets"]["B04"]["proj:transform"] == list(red.transform)[:6]


def test_speckle_leaves_the_mean_power_and_has_its_number_of_looks(simulation: Simulation) -> None:
    passes = sorted(simulation.folder.glob("sentinel1/*/measurement/iw-vv.rtc.tiff"))
    assert len(passes) == 3
    with rasterio.open(passes[0]) as file:
        assert file.nodata == -32768
        vv = file.read(1)
    halves = [read(path) == -32768 for path in passes[1:]]
    assert (halves[0] ^ halves[1]).all()
    assert vv.min() > 0
    # Neighbours show the same ground: their normalised difference is speckle: of two gamma
    # variables of shape L, (a - b) / (a + b) has the variance 1 / (2 L + 1).
    pairs = 2 * (vv[:, 1:] - vv[:, :-1]) / (vv[:, 1:] + vv[:, :-1])
    assert np.var(pairs) == pytest.approx(4 / (2 * 4.4 + 1), rel=0.15)


def test_a_region_outside_the_tile_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves tile 30SVH"):
        SimulationSettings(centre=(-4.2, 38.7))


def test_more_passes_than_days_can_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="4 days"):
        SimulationSettings(ecostress=200)


@given(st.integers(16, 300), st.integers(16, 300), st.floats(-3.9, -3.2), st.floats(38.05, 38.7))
def test_the_bbox_snaps_to_exactly_the_grid(
    height: int, width: int, longitude: float, latitude: float
) -> None:
    from rasterio.warp import transform_bounds

    settings = SimulationSettings(size=(height, width), centre=(longitude, latitude))
    box = transform_bounds("EPSG:4326", "EPSG:32630", *settings.bbox)
    want = settings.grid.boundingbox
    for found, edge, inwards in zip(box, want.bbox, (1, 1, -1, -1), strict=True):
        assert 5 < (found - edge) * inwards < 65


def test_regions_of_other_seeds_have_their_own_name_and_map(tmp_path: Path) -> None:
    from pipelines.simulate.run import region_file

    one, other = (SimulationSettings.tiny(name=name, seed=seed) for name, seed in
                  (("east", 1), ("west", 2)))  # fmt: skip
    assert Region.parse(tomllib.loads(region_file(other)), tmp_path).name == "west"
    assert (build_world(one).mapped == build_world(other).mapped).mean() < 0.4
    with pytest.raises(ValueError, match="name"):
        SimulationSettings(name="No Name")
