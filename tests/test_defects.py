"""The twenty defects found in the study's code and data: here none of them can happen.

Numbered as in the list of defects the project was built against.
"""

from __future__ import annotations

import itertools
import re
import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox
from rasterio.warp import Resampling, reproject
from scipy.ndimage import maximum_filter
from shapely import box

import cube
from cube.errors import GridError, PlanError, SelectionError
from cube.grid import grid_of
from cube.labels import LabelSettings, rasterise
from cube.ledger import Row, Status
from cube.quality import is_valid
from cube.region import Region
from cube.sampling import PARTS, SamplePlan, Sequence, SplitSettings, make_plan
from cube.select import align, on_dates_of
from cube.store import Cube
from deliveries import granules_of
from models.baselines import MemorisePlace
from models.metrics import confusion
from pipelines.blend import Lattice, blend
from pipelines.ingest import ingest
from pipelines.predict import decide
from pipelines.simulate import Simulation, SimulationSettings, simulate
from pipelines.stream import band_statistics, batches

LEFT, TOP, STEP = 400_000.0, 4_290_000.0, 70.0


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    return simulate(tmp_path_factory.mktemp("simulated"), SimulationSettings.tiny())


@pytest.fixture(scope="module")
def sound(simulation: Simulation) -> Cube:
    """The cube of a simulated region, all three modalities and labels."""
    region = Region.load(simulation.region)
    assert not ingest(region).failures
    return cube.open(region)


@pytest.fixture(scope="module")
def thermal(sound: Cube) -> xr.Dataset:
    return sound.dataset("thermal", chunks=None).load()


@pytest.fixture(scope="module")
def labels(sound: Cube) -> xr.Dataset:
    return sound.dataset("labels", chunks=None).load()


@dataclass(frozen=True)
class Damaged:
    """A delivery after the accidents of defects 1, 6 and 10, as it was ingested."""

    cube: Cube
    wrong: str
    """Granule whose LST layer is its LST_err."""
    stale: str
    """Granule that another region left in the folder."""

    def row(self, granule: str) -> Row:
        row = self.cube.ledger.get(granule)
        assert row is not None, granule
        return row


@pytest.fixture(scope="module")
def damaged(simulation: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Damaged:
    home = tmp_path_factory.mktemp("damaged") / "region"
    shutil.copytree(simulation.folder, home, ignore=shutil.ignore_patterns("*.icechunk*"))
    wrong, *_, other = granules_of(simulation)
    folder = home / "ecostress"
    shutil.copyfile(folder / f"{wrong}_LST_err.tif", folder / f"{wrong}_LST.tif")
    for vv in (home / "sentinel1").rglob("*-vv.rtc.tiff"):
        shutil.copyfile(vv, vv.with_name(vv.name.replace("-vv", "-vh")))
    stale = re.sub(r"30SVH_(\d{8})T\d{6}", r"30SWH_\1T000000", other)
    for layer in ("LST", "EmisWB", "QC", "cloud", "water"):
        move_east(folder / f"{other}_{layer}.tif", folder / f"{stale}_{layer}.tif")
    region = Region.load(home / "region.toml")
    ingest(region)
    return Damaged(cube.open(region), wrong, stale)


def move_east(source: Path, target: Path) -> None:
    """Write a layer again, 60 km from where it was."""
    with rasterio.open(source) as src:
        values, moved = src.read(1), rasterio.Affine.translation(60_200, 0) @ src.transform
        nodata, (height, width) = src.nodata, src.shape
    with rasterio.open(
        target, "w", driver="GTiff", height=height, width=width, count=1, dtype=values.dtype,
        crs="EPSG:32630", transform=moved, nodata=nodata,
    ) as dst:  # fmt: skip
        dst.write(values, 1)


def field(*shape: int) -> np.ndarray:
    """Plausible temperatures without any symmetry, so that a swapped axis shows."""
    axes = np.meshgrid(*map(np.arange, shape), indexing="ij")
    return 280.0 + sum(axis * weight for axis, weight in zip(axes, (3, 0.4, 0.07), strict=False))


def write_scenes(path: Path, times: list[str], values: np.ndarray, order: str = "tbyx") -> None:
    """A NetCDF file of LST and a constant emissivity, dimensions in any order."""
    names = {"t": "time", "b": "band", "y": "y", "x": "x"}
    stack = np.stack([values, np.where(np.isfinite(values), 0.95, np.nan)], axis=1)
    image = xr.DataArray(
        stack,
        dims=list(names.values()),
        coords={"time": np.array(times, "M8[ns]"), "band": ["LST", "Emis"]},
        name="image",
    )
    image.transpose(*(names[letter] for letter in order)).to_netcdf(path, engine="h5netcdf")


def region_of(path: Path, shape: tuple[int, int], home: Path, **options: Any) -> Region:
    """A region exactly on a NetCDF file's grid, unless given otherwise."""
    left, top = options.get("corner", (LEFT, TOP))
    crs = options.get("crs", "EPSG:32630")
    place = options.get("placed", (LEFT, TOP))
    tables = {
        "name": "small",
        "area": {
            "bounds": [left, top - STEP * shape[0], left + STEP * shape[1], top],
            "crs": crs,
            "resolution": STEP,
        },
        "period": {"start": date(2023, 1, 1)},
        "modalities": {"thermal": {"bands": ["lst", "emissivity"]}},
        "sources": [
            {
                "kind": "netcdf",
                "name": "scenes",
                "path": str(path),
                "platform": "ISS",
                "variable": "image",
                "bands": {"lst": "LST", "emissivity": "Emis"},
                "placement": {"crs": crs, "upper_left": list(place), "pixel_size": STEP},
            }
        ],
    }
    return Region.parse(tables, home)


def thermal_of(region: Region) -> xr.Dataset:
    report = ingest(region)
    assert not report.failures
    return cube.open(region).dataset("thermal", chunks=None).load()


def lst_of(dataset: xr.Dataset) -> np.ndarray:
    values: np.ndarray = dataset["imagery"].sel(band="lst").values
    return values


# --- reading ----------------------------------------------------------------------------------


def test_defect_01_uncertainty_read_as_temperature(damaged: Damaged, sound: Cube) -> None:
    """A file name that merely contained "LST" was taken, so that LST_err, 1 K, became LST."""
    row = damaged.row(damaged.wrong)
    assert (row.status, row.rule) == (Status.FAILED, "wrong_layer")
    assert "LST_err has such values" in row.reason
    for opened in (damaged.cube, sound):
        lst = lst_of(opened.dataset("thermal", chunks=None).load())
        assert np.nanmin(lst) > 250 and np.nanmax(lst) < 340


@pytest.mark.parametrize("order", ["tbyx", "tyxb", "xytb"])
def test_defect_02_bands_last_read_as_bands_first(tmp_path: Path, order: str) -> None:
    """Arrays were reshaped by position, which scrambled the pixels of band-last files."""
    values = field(2, 6, 9)
    write_scenes(tmp_path / "s.nc", ["2023-02-01T10", "2023-02-05T10"], values, order)
    found = thermal_of(region_of(tmp_path / "s.nc", (6, 9), tmp_path))
    np.testing.assert_allclose(lst_of(found), values, rtol=1e-6)
    assert (found["imagery"].sel(band="emissivity") == np.float32(0.95)).all()


def test_defect_03_control_without_sar_still_held_sar(sound: Cube) -> None:
    """The "thermal only" control on the SAR dates was the stack with the SAR bands in it."""
    thermal, sar = sound.dataset("thermal"), sound.dataset("sar")
    both = align(thermal, sar, tolerance="40D")
    control = on_dates_of(thermal, sar, tolerance="40D")
    np.testing.assert_array_equal(control["time"], both["time"])
    assert both["band"].values.tolist() == ["lst", "emissivity", "vv", "vh"]
    assert control["band"].values.tolist() == ["lst", "emissivity"]
    np.testing.assert_array_equal(control["imagery"], thermal["imagery"].sel(time=control["time"]))


def test_defect_04_labels_by_pixel_index_of_another_zone(
    simulation: Simulation, thermal: xr.Dataset, labels: xr.Dataset, tmp_path: Path
) -> None:
    """Labels on one UTM zone's grid were laid over images of another by row and column."""
    other_zone = tmp_path / "zone29.gpkg"
    gpd.read_file(simulation.folder / "geology.gpkg").to_crs("EPSG:32629").to_file(other_zone)
    settings = Region.load(simulation.region).labels
    assert settings is not None
    moved = rasterise(LabelSettings(path=other_zone, column=settings.column), grid_of(thermal))
    same = moved["lithology"].values == labels["lithology"].values
    assert same.mean() > 0.99
    shifted = labels.assign_coords(x=labels["x"] + 10 * STEP)
    with pytest.raises(GridError, match="another grid"):
        make_plan(thermal, shifted, patch=8, stride=8, split=SplitSettings())


def test_defect_05_radar_stretched_to_the_size_of_the_image(
    simulation: Simulation, sound: Cube
) -> None:
    """SAR was resized from its array shape to the image's, wherever either lay."""
    sar, grid = sound.dataset("sar", chunks=None).load(), sound.grid
    alone = [" " not in ids for ids in sar["granules"].values].index(True)
    item = sar["granules"].values[alone]
    file = simulation.folder / "sentinel1" / item / "measurement" / "iw-vv.rtc.tiff"
    power = np.full(grid.shape, np.nan, np.float32)
    with rasterio.open(file) as src:
        ratio = src.height / src.width / (grid.shape[0] / grid.shape[1])
        assert abs(ratio - 1) > 0.005 and src.res != (STEP, STEP)
        reproject(
            rasterio.band(src, 1), power, dst_transform=grid.affine, dst_nodata=np.nan,
            dst_crs=grid.crs.to_wkt(), resampling=Resampling.average,
        )  # fmt: skip
    vv = sar["imagery"].isel(time=alone).sel(band="vv").values
    np.testing.assert_allclose(vv, 10 * np.log10(power), atol=0.01)


def test_defect_06_one_polarisation_stored_twice(damaged: Damaged, sound: Cube) -> None:
    """VV was written into both SAR bands, and VH never."""
    refused = [row for row in damaged.cube.ledger if row.modality == "sar"]
    assert refused
    for row in refused:
        assert (row.status, row.rule) == (Status.FAILED, "wrong_layer")
        assert "stored twice" in row.reason
    assert damaged.cube.dataset("sar", chunks=None).sizes["time"] == 0
    sar = sound.dataset("sar", chunks=None)["imagery"]
    assert (sar.sel(band="vh") < sar.sel(band="vv")).mean() > 0.9
    with pytest.raises(SelectionError):
        align(sound.dataset("sar"), sound.dataset("sar"))


def test_defect_07_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Sorted as text "10" comes before "2", so the split in time was in no order of time."""
    values = field(1, 32, 32)
    for number in range(1, 13):
        path = tmp_path / f"scene{number}.nc"
        write_scenes(path, [f"2023-{number:02d}-01T10:00"], values + number)
    region = region_of(tmp_path, (32, 32), tmp_path)
    found = thermal_of(region)
    months = found["time"].dt.month.values.tolist()
    assert months == list(range(1, 13))
    np.testing.assert_allclose(lst_of(found)[:, 0, 0], 280.0 + np.arange(1, 13), rtol=1e-6)
    ground = xr.Dataset({"lithology": (("y", "x"), np.ones((32, 32), np.uint8))})
    plan = make_plan(found, ground, patch=8, stride=8, split=SplitSettings(kind="thesis"))
    train, val, test = (plan.times_of(part) for part in PARTS)
    assert train.max() < val.min() and val.max() < test.min()


# --- samples and splits -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def plan(thermal: xr.Dataset, labels: xr.Dataset) -> SamplePlan:
    split = SplitSettings(kind="blocks", block=4, buffer=8)
    return make_plan(thermal, labels, patch=8, stride=4, split=split, min_valid=0.5)


def test_defect_08_one_map_in_training_and_test(
    thermal: xr.Dataset, labels: xr.Dataset, plan: SamplePlan
) -> None:
    """The label map is the same on all dates, and training and test shared every place of it."""
    for one, other in itertools.combinations(PARTS, 2):
        near = maximum_filter(plan.mask(one), size=2 * 8 + 1)
        assert not (near & plan.mask(other)).any()
    truth = labels["lithology"].values
    memory = MemorisePlace.fit(truth, plan.mask("train"))
    test = plan.mask("test") & (truth > 0)
    assert (memory.predict() == truth)[test].mean() < 0.9
    leaky = make_plan(
        thermal, labels, patch=8, stride=8, split=SplitSettings(kind="thesis"), min_valid=0.5
    )
    assert leaky.leaky and leaky.summary["baselines"]["memorise_place"]["oa"] == 1.0


@pytest.fixture(scope="module")
def series(thermal: xr.Dataset, labels: xr.Dataset) -> SamplePlan:
    """Sequences of two dates."""
    split = SplitSettings(kind="blocks", block=4, buffer=8)
    rule = Sequence(length=2, stride=1)
    return make_plan(thermal, labels, patch=8, stride=4, split=split, sequence=rule, min_valid=0.3)


def test_defect_09_windows_of_one_date_taken_for_a_series(
    thermal: xr.Dataset, labels: xr.Dataset, series: SamplePlan
) -> None:
    """ "Five dates" were five windows of one date, as place and date were one index."""
    imagery = thermal["imagery"].transpose("time", "y", "x", "band").values
    checked = 0
    for part in PARTS:
        table = series.part(part)
        stream = batches(thermal, labels, series, part, batch_size=32, shuffle=False)
        samples = (pair for batch in stream for pair in zip(batch.x, batch.y, strict=True))
        for (place, row), (x, y) in zip(table, samples, strict=True):
            dates = series.sequences[row]
            assert x.shape[0] == len(dates) == 2 and dates[0] < dates[1]
            window = tuple(slice(corner, corner + 8) for corner in series.places[place])
            for step, when in enumerate(dates):
                np.testing.assert_array_equal(x[step], imagery[(when, *window)])
            assert not np.array_equal(x[0], x[1], equal_nan=True)
            np.testing.assert_array_equal(y, labels["lithology"].values[window])
            checked += 1
    assert checked == len(series.samples) > 10


def test_defect_10_stale_files_of_another_region(damaged: Damaged) -> None:
    """Files that another region had left in the folder were taken for this region's."""
    row = damaged.row(damaged.stale)
    assert row.status is Status.EMPTY and "inside the region" in row.reason
    scenes = damaged.cube.dataset("thermal", chunks=None)
    assert scenes.sizes["time"] > 1
    assert not any(damaged.stale in ids for ids in scenes["granules"].values)
    assert np.datetime64(row.time.replace(tzinfo=None)) not in scenes["time"].values


def test_defect_11_a_filter_that_does_not_see_nan(tmp_path: Path) -> None:
    """Patches were kept by comparing values, which NaN passes: many held no valid pixel."""
    values = np.repeat(field(1, 64, 64), 6, axis=0)
    values[::2, :, 20:] = np.nan
    write_scenes(tmp_path / "s.nc", [f"2023-0{month}-01T10" for month in range(1, 7)], values)
    found = thermal_of(region_of(tmp_path / "s.nc", (64, 64), tmp_path))
    np.testing.assert_array_equal(is_valid(found["qc"].values), np.isfinite(values))
    np.testing.assert_allclose(found["valid_fraction"], np.isfinite(values).mean(axis=(1, 2)))
    ground = xr.Dataset({"lithology": (("y", "x"), np.ones((64, 64), np.uint8))})
    split = SplitSettings(kind="time")
    plan = make_plan(found, ground, patch=8, stride=8, split=split, min_valid=0.0)
    assert 0 < len(plan.samples) < 6 * 64
    for place, time, _ in plan.samples:
        row, column = plan.places[place]
        assert np.isfinite(values[time, row : row + 8, column : column + 8]).any()


def test_defect_12_bands_scaled_together_and_valid_values_made_nodata(
    thermal: xr.Dataset, labels: xr.Dataset, plan: SamplePlan
) -> None:
    """One minimum and maximum scaled all bands, and the smallest valid value became nodata, 0."""
    mean, std = band_statistics(thermal, plan)
    inside = thermal["imagery"].values[:, :, plan.mask("train")]
    assert np.nanmin(inside[:, 0]) < mean[0] < np.nanmax(inside[:, 0]) and mean[0] > 250
    assert np.nanmin(inside[:, 1]) < mean[1] < np.nanmax(inside[:, 1]) and mean[1] < 1
    assert std[0] > 100 * std[1] > 0
    for batch in batches(thermal, labels, plan, "train", batch_size=64, shuffle=False):
        # Nothing stands for "no value" that a value could be: missing pixels stay NaN.
        assert np.nanmin(batch.x) > 0
        lost = np.isnan(batch.x)
        np.testing.assert_array_equal(lost.any(axis=-1), lost.all(axis=-1))
        assert (batch.weight[lost.any(axis=-1)] == 0).all()


def test_defect_13_no_data_learnt_and_scored_as_a_class(
    thermal: xr.Dataset, labels: xr.Dataset, plan: SamplePlan
) -> None:
    """Class 0 was a class like the others: trained on, predicted, and counted in the accuracy."""
    for batch in batches(thermal, labels, plan, "train", batch_size=64):
        invalid = (batch.y == 0) | np.isnan(batch.x).any(axis=-1)
        assert (batch.weight[invalid] == 0).all() and (batch.weight[~invalid] > 0).any()
    truth = np.array([0, 0, 7, 8], np.uint8)
    counts = confusion(truth, np.array([0, 7, 7, 0], np.uint8), 14)
    assert counts.sum() == 2 and counts[0].sum() == 0 and counts[8, 0] == 1
    shares = np.zeros((1, 2, 14))
    shares[..., 0], shares[..., 9] = 0.9, 0.1
    lithology, confidence = decide(shares, np.array([[True, False]]))
    assert lithology.tolist() == [[9, 0]] and np.isnan(confidence[0, 1])


# --- scenes -----------------------------------------------------------------------------------


def test_defect_14_radar_slices_side_by_side_not_joined(sound: Cube) -> None:
    """Only one slice of a SAR pass was read: half of the area held zeros."""
    sar = sound.dataset("sar", chunks=None).load()
    (joined,) = (
        sar.isel(time=index) for index, ids in enumerate(sar["granules"].values) if " " in ids
    )
    assert is_valid(joined["qc"].values).all()
    vv = joined["imagery"].sel(band="vv").values
    assert np.isfinite(vv).all() and vv.min() > -40
    upper, lower = vv[:20], vv[-20:]
    assert abs(np.median(upper) - np.median(lower)) < 6


def test_defect_15_day_and_night_by_the_clock_of_greenwich(tmp_path: Path) -> None:
    """Day was 06-18 h UTC wherever the region lies; in Los Angeles that is mostly night."""
    times = ["2023-06-22T08:00", "2023-06-22T19:30", "2023-06-23T05:00", "2023-06-23T23:00"]
    write_scenes(tmp_path / "la.nc", times, field(4, 5, 7))
    there = {"corner": (380_000.0, 3_760_000.0), "placed": (380_000.0, 3_760_000.0)}
    region = region_of(tmp_path / "la.nc", (5, 7), tmp_path, crs="EPSG:32611", **there)
    assert not ingest(region).failures
    opened = cube.open(region)

    def hours(**rules: str) -> list[int]:
        return opened.select("thermal", **rules)["time"].dt.hour.values.tolist()

    assert hours(time_of_day="day") == hours(time_of_day="day", clock="sun") == [19, 23]
    assert hours(time_of_day="night") == [8, 5]
    assert hours(time_of_day="day", clock="utc") == [8]


def test_defect_16_one_overpass_as_two_dates(tmp_path: Path, thermal: xr.Dataset) -> None:
    """Adjacent granules of one pass, seconds apart, stood in the series as two dates."""
    gaps = np.diff(thermal["time"].values)
    assert (gaps > np.timedelta64(120, "s")).all()
    assert 2 in [len(ids.split()) for ids in thermal["granules"].values]
    values = np.repeat(field(1, 6, 8), 3, axis=0)
    values[0, :, 5:], values[1, :, :3] = np.nan, np.nan
    times = ["2023-02-01T10:00:00", "2023-02-01T10:00:01", "2023-02-03T10:00:00"]
    write_scenes(tmp_path / "s.nc", times, values)
    found = thermal_of(region_of(tmp_path / "s.nc", (6, 8), tmp_path))
    assert found.sizes["time"] == 2
    np.testing.assert_allclose(lst_of(found)[0], values[2], rtol=1e-6)


def test_defect_17_class_codes_averaged_where_patches_overlap() -> None:
    """Where one patch said 7 and the next 11, the map said 9."""

    def undecided(batch: np.ndarray) -> np.ndarray:
        shares = np.zeros((*batch.shape[:3], 14), np.float32)
        says_seven = batch[:, 0, 0, 0] < 300
        shares[says_seven, ..., 7] = shares[~says_seven, ..., 11] = 1
        return shares

    image = np.broadcast_to(np.linspace(290, 310, 24, dtype=np.float32), (8, 24))[..., None]
    blended = blend(undecided, image, Lattice((8, 24), patch=8, stride=4))
    np.testing.assert_allclose(blended.sum(axis=-1), 1, rtol=1e-6)
    assert ((blended[..., 7] > 0) & (blended[..., 11] > 0)).any()
    lithology, _ = decide(blended, np.ones((8, 24), bool))
    assert set(np.unique(lithology)) == {7, 11}


def test_defect_18_vegetation_matched_by_its_place_in_a_list(sound: Cube) -> None:
    """The n-th NDVI patch was set beside the n-th thermal patch, whatever place and date."""
    thermal, optical = sound.dataset("thermal"), sound.dataset("optical")
    paired = align(thermal, optical, tolerance="16D")
    apart = np.abs(paired["time"] - paired["optical_time"]).values
    assert 0 < paired.sizes["time"] < thermal.sizes["time"]
    assert (apart <= np.timedelta64(16, "D")).all()
    for index, time in enumerate(paired["optical_time"].values):
        mine = paired["imagery"].isel(time=index).sel(band="ndvi")
        theirs = optical["imagery"].sel(time=time, band="ndvi")
        np.testing.assert_array_equal(mine.values, theirs.values)
    elsewhere = optical.assign_coords(x=optical["x"] + STEP)
    with pytest.raises(GridError):
        align(thermal, elsewhere, tolerance="16D")


def test_defect_19_positions_out_of_step_with_what_was_dropped(
    thermal: xr.Dataset, labels: xr.Dataset, series: SamplePlan
) -> None:
    """Dropped sequences were taken out of the stack but not out of the list of positions."""
    clouded = thermal.copy(deep=True)
    rows, columns = (thermal.sizes[axis] // 2 for axis in ("y", "x"))
    clouded["qc"][1, :rows, :columns] = 2
    clouded["imagery"][1, :, :rows, :columns] = np.nan
    plan = make_plan(
        clouded,
        labels,
        patch=8,
        stride=4,
        split=series.split,
        sequence=series.sequence,
        min_valid=0.3,
    )
    assert 0 < len(plan.samples) != len(series.samples)
    # Where a date was dropped, the one after it stands in its place; elsewhere nothing changed.
    gaps = np.diff(plan.sequences, axis=1)[plan.samples[:, 1]]
    assert (gaps > 1).any() and (gaps == 1).any()
    imagery = clouded["imagery"].transpose("time", "y", "x", "band").values
    for part in PARTS:
        table = plan.part(part)
        stream = batches(clouded, labels, plan, part, batch_size=16, shuffle=False)
        cut = [sample for batch in stream for sample in batch.x]
        assert len(cut) == len(table)
        for (place, row), sample in zip(table, cut, strict=True):
            window = tuple(slice(corner, corner + 8) for corner in plan.places[place])
            expected = np.stack([imagery[(when, *window)] for when in plan.sequences[row]])
            np.testing.assert_array_equal(sample, expected)
    with pytest.raises(PlanError):
        plan.require(clouded.isel(time=slice(1, None)))


def test_defect_20_ringing_at_edges_after_resampling(tmp_path: Path, sound: Cube) -> None:
    """Lanczos resampling left values beyond both sides of an edge, and classes that nobody drew."""
    edge = np.full((1, 20, 24), 280.0)
    edge[:, 8:, 11:] = 300.0
    write_scenes(tmp_path / "s.nc", ["2023-02-01T10"], edge)
    off = {"corner": (LEFT + 5.3 * STEP, TOP - 4.6 * STEP)}
    found = lst_of(thermal_of(region_of(tmp_path / "s.nc", (10, 12), tmp_path, **off)))[0]
    assert np.isfinite(found).all() and ((found > 281) & (found < 299)).any()
    assert found.min() >= 280 - 1e-3 and found.max() <= 300 + 1e-3
    assert set(np.unique(np.round(found[:, -1], 3))) >= {280.0, 300.0}
    grid = GeoBox((9, 9), rasterio.Affine(30, 0, 0, 0, -30, 270), "EPSG:32630")
    drawn = gpd.GeoDataFrame(
        {"class": [7, 11]}, geometry=[box(0, 0, 130, 270), box(130, 0, 270, 270)], crs=32630
    )
    drawn.to_file(tmp_path / "map.gpkg")
    coarse = rasterise(LabelSettings(path=tmp_path / "map.gpkg", column="class"), grid)
    assert set(np.unique(coarse["lithology"])) == {7, 11}
