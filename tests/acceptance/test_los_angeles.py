"""Los Angeles, summer 2023: ten real ECOSTRESS granules through the public path."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.warp import Resampling, reproject
from scipy.ndimage import map_coordinates

import cube
from cube.ledger import Status
from cube.quality import BAD, Flag, is_valid
from cube.region import Region
from cube.store import Cube
from pipelines.ingest import IngestReport, ingest, plan

ROOT = Path(__file__).resolve().parents[2]
SET = "granules/ecostress/L2_LSTE_002_AppEEARS_LosAngeles"

PART = [-118.36, 33.70, -117.93, 34.06]
"""40 x 40 km of harbour, coast and city: each pass of two granules has its seam in it."""
SEAM = [-118.08, 33.71, -117.94, 33.88]
"""13 x 19 km with the seams of both passes."""
WHOLE = [-118.71, 33.66, -117.53, 34.32]

ALONE = {
    "172202153": "2023-06-21T20:21:53",
    "175112358": "2023-06-24T11:23:58",
    "179094538": "2023-06-28T09:45:38",
    "186071642": "2023-07-05T07:16:42",
    "188134933": "2023-07-07T13:49:33",
    "190054140": "2023-07-09T05:41:40",
}
"""Granules that are a pass of their own, with their times (UTC)."""
PAIRS = {
    ("173193234", "173193326"): "2023-06-22T19:32:34",
    ("191045313", "191045405"): "2023-07-10T04:53:13",
}
ORPHAN = "172121314"

Find = Callable[[str], Path]
WriteRegion = Callable[..., Region]


def granule_id(name: str) -> str:
    return f"ECO_L2_LSTE.002_doy2023{name}_aid0001"


def tables(folder: Path, bbox: list[float], **limits: float) -> dict[str, Any]:
    """A region file over a folder of granules; the limits are the defaults unless given."""
    return {
        "name": "los-angeles",
        "area": {"bbox": bbox, "crs": "EPSG:32611", "resolution": 70.0},
        "period": {"start": date(2023, 6, 1), "end": date(2023, 8, 31)},
        "modalities": {"thermal": {"bands": ["lst"], **limits}},
        "sources": [{"kind": "ecostress", "name": "appeears", "path": str(folder)}],
    }


@pytest.fixture(scope="module")
def granules(real: Find) -> Path:
    return real(SET)


@dataclass(frozen=True)
class Ingested:
    region: Region
    report: IngestReport

    @property
    def cube(self) -> Cube:
        return cube.open(self.region)


@pytest.fixture(scope="module")
def everything(
    granules: Path, write_region: WriteRegion, tmp_path_factory: pytest.TempPathFactory
) -> Ingested:
    """Every scene, however cloudy."""
    region = write_region(
        tmp_path_factory.mktemp("all"), **tables(granules, PART, max_cloud=1.0, max_bad=1.0)
    )
    return Ingested(region, ingest(region))


@pytest.fixture(scope="module")
def screened(
    granules: Path, write_region: WriteRegion, tmp_path_factory: pytest.TempPathFactory
) -> Ingested:
    """With the default limits of 10 % cloud and 10 % bad pixels."""
    region = write_region(tmp_path_factory.mktemp("screened"), **tables(granules, PART))
    return Ingested(region, ingest(region))


@pytest.fixture(scope="module")
def scenes(everything: Ingested) -> xr.Dataset:
    return everything.cube.dataset("thermal", chunks=None).load()


# --- an independent reading of the files ------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """One granule warped by rasterio straight from its files."""

    lst: np.ndarray
    """K, NaN where the file has no value."""
    word: np.ndarray
    """QC word; -99999 is fill."""
    cloud: np.ndarray
    water: np.ndarray

    @property
    def fill(self) -> np.ndarray:
        return self.word == -99999

    @property
    def clear(self) -> np.ndarray:
        """Produced from good radiances, by the user guide's table, and free of cloud."""
        produced = (self.word & 0b11 != 0b11) & (self.word >> 2 & 0b11 != 0b11)
        return np.isfinite(self.lst) & ~self.fill & produced & (self.cloud == 0)


def warp(file: Path, grid: GeoBox, how: Resampling, fill: float, dtype: str) -> np.ndarray:
    out = np.full(grid.shape, np.nan if dtype == "float32" else fill, dtype)
    with rasterio.open(file) as src:
        reproject(
            rasterio.band(src, 1),
            out,
            src_nodata=fill,
            dst_nodata=np.nan if dtype == "float32" else fill,
            dst_transform=rasterio.Affine(*tuple(grid.affine)[:6]),
            dst_crs=f"EPSG:{grid.crs.to_epsg()}",
            resampling=how,
        )
    return out


def truth_of(folder: Path, name: str, grid: GeoBox) -> Truth:
    def file(layer: str) -> Path:
        return folder / f"ECO_L2_LSTE.002_{layer}_doy2023{name}_aid0001.tif"

    return Truth(
        warp(file("LST"), grid, Resampling.bilinear, 0, "float32") * np.float32(0.02),
        warp(file("QC"), grid, Resampling.nearest, -99999, "int32"),
        warp(file("cloud_mask"), grid, Resampling.nearest, 255, "int32"),
        warp(file("water_mask"), grid, Resampling.nearest, 255, "int32"),
    )


def scene_at(scenes: xr.Dataset, time: str) -> xr.Dataset:
    """The scene of one exact time, with ``lst`` in place of the band axis."""
    scene = scenes.sel(time=np.datetime64(time, "ns"))
    return scene.assign(lst=scene["imagery"].sel(band="lst"))


def assert_scene_is(scene: xr.Dataset, truth: Truth) -> None:
    """Every pixel: value, validity, word, cloud and water."""
    lst, qc = scene["lst"].values, scene["qc"].values
    np.testing.assert_array_equal(np.isfinite(lst), truth.clear)
    np.testing.assert_array_less(np.abs(lst - truth.lst)[truth.clear], 0.02)
    np.testing.assert_array_equal(scene["product_qc"].values, np.where(truth.fill, -1, truth.word))
    np.testing.assert_array_equal((qc & Flag.CLOUD) != 0, truth.cloud == 1)
    np.testing.assert_array_equal((qc & Flag.WATER) != 0, truth.water == 1)


# --- pixels -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALONE)
def test_a_scene_is_the_warped_file(
    everything: Ingested, scenes: xr.Dataset, granules: Path, name: str
) -> None:
    scene = scene_at(scenes, ALONE[name])
    assert str(scene["granules"].item()) == granule_id(name)
    truth = truth_of(granules, name, everything.cube.grid)
    assert_scene_is(scene, truth)
    assert truth.clear.sum() > 10_000


@pytest.mark.parametrize("pair", PAIRS, ids="+".join)
def test_two_granules_of_one_pass_are_one_scene_of_first_valid_values(
    everything: Ingested, scenes: xr.Dataset, granules: Path, pair: tuple[str, str]
) -> None:
    scene = scene_at(scenes, PAIRS[pair])
    assert str(scene["granules"].item()).split() == [granule_id(name) for name in pair]
    first, second = (truth_of(granules, name, everything.cube.grid) for name in pair)
    lst = scene["lst"].values
    np.testing.assert_array_equal(np.isfinite(lst), first.clear | second.clear)
    assert np.abs(lst - first.lst)[first.clear].max() < 0.02
    added = second.clear & ~first.clear
    assert np.abs(lst - second.lst)[added].max() < 0.02
    assert (first.clear & second.clear).sum() > 1000
    assert added.sum() > 50
    words = np.where(first.clear, first.word, second.word)[np.isfinite(lst)]
    np.testing.assert_array_equal(scene["product_qc"].values[np.isfinite(lst)], words)


def test_there_is_one_scene_a_pass_in_order_of_time(
    everything: Ingested, scenes: xr.Dataset
) -> None:
    times = np.array(sorted([*ALONE.values(), *PAIRS.values()]), "datetime64[ns]")
    np.testing.assert_array_equal(scenes["time"].values, times)
    assert everything.report.scenes["written"] == 8
    assert everything.report.granules == {"ingested": 10, "rejected": 1}


def test_nothing_invalid_is_finite_and_fill_is_never_good(scenes: xr.Dataset) -> None:
    lst, qc = scenes["imagery"].sel(band="lst").values, scenes["qc"].values
    np.testing.assert_array_equal(np.isfinite(lst), is_valid(qc))
    values = lst[np.isfinite(lst)]
    assert values.min() > 270 and values.max() < 340
    # -99999 & 3 is 1: read as a word, fill would be a nominal retrieval.
    fill = scenes["product_qc"].values == -1
    assert fill.sum() > 100_000
    assert not (scenes["product_qc"].values < -1).any()
    assert ((qc[fill] & int(BAD)) != 0).all()
    assert ((qc[fill] & (Flag.MISSING | Flag.CLOUD)) != 0).all()
    clear_fill = fill & ((qc & Flag.CLOUD) == 0)
    assert ((qc[clear_fill] & Flag.MISSING) != 0).all()
    assert not (qc & Flag.OUT_OF_RANGE).any()
    assert not (qc & Flag.UNSCREENED).any()


def test_temperatures_are_kelvin_of_the_right_hour(scenes: xr.Dataset) -> None:
    """Land at noon in June is tens of kelvins warmer than before dawn; the sea is not."""
    noon = scene_at(scenes, PAIRS["173193234", "173193326"])
    night = scene_at(scenes, ALONE["179094538"])
    assert scenes["band_units"].values.tolist() == ["K"]
    assert noon["sun_elevation"] > 70 and abs(noon["local_solar_time"] - 12) < 1
    assert night["sun_elevation"] < -20
    water = ((noon["qc"] & Flag.WATER) != 0).values
    assert 0.05 < water.mean() < 0.5
    warming = (noon["lst"] - night["lst"]).values
    assert np.nanmedian(warming[~water]) > 15
    assert abs(np.nanmedian(warming[water])) < 5


def test_pixels_lie_where_their_coordinates_say(
    everything: Ingested, scenes: xr.Dataset, granules: Path
) -> None:
    """Looked up in the file by pyproj, without any warper; one pixel off fits far worse."""
    lst = scene_at(scenes, ALONE["179094538"])["lst"].values
    with rasterio.open(
        granules / "ECO_L2_LSTE.002_LST_doy2023179094538_aid0001.tif"
    ) as src:  # no fill inside this part
        values, back = src.read(1) * 0.02, ~src.transform
    to_degrees = Transformer.from_crs(32611, 4326, always_xy=True)
    x, y = np.meshgrid(scenes["x"].values, scenes["y"].values)

    def misfit(dx: float, dy: float) -> float:
        longitude, latitude = to_degrees.transform(x + dx, y + dy)
        column = back.a * longitude + back.c - 0.5
        row = back.e * latitude + back.f - 0.5
        found = map_coordinates(values, [row, column], order=1)
        return float(np.median(np.abs(found - lst)))

    here = misfit(0, 0)
    assert here < 0.05
    for dx, dy in ((70, 0), (-70, 0), (0, 70), (0, -70)):
        assert misfit(dx, dy) > 4 * here


def test_the_whole_area_is_read_as_well_as_a_part(
    granules: Path, write_region: WriteRegion, tmp_path: Path
) -> None:
    day = {"period": {"start": date(2023, 6, 28), "end": date(2023, 6, 28)}}
    region = write_region(tmp_path, **tables(granules, WHOLE) | day)
    ingest(region)
    whole = cube.open(region)
    assert tuple(whole.grid.shape) == (1063, 1570)
    (scene,) = whole.dataset("thermal", chunks=None)["time"].values
    found = scene_at(whole.dataset("thermal", chunks=None).load(), str(scene))
    assert_scene_is(found, truth_of(granules, "179094538", whole.grid))
    assert np.isfinite(found["lst"]).mean() > 0.98


# --- the ledger -------------------------------------------------------------------------------


def test_the_orphan_quality_layer_has_a_row_that_says_why(everything: Ingested) -> None:
    row = everything.cube.ledger.get(granule_id(ORPHAN))
    assert row is not None
    assert (row.status, row.rule) == (Status.REJECTED, "incomplete")
    assert row.reason == "layer LST and cloud missing; there is only QC, water"
    assert row.scene is None


def test_scenes_over_the_limits_are_rejected_with_their_figures(
    screened: Ingested, granules: Path
) -> None:
    ledger, grid = screened.cube.ledger, screened.cube.grid
    rules = {
        "172202153": "max_bad",
        "175112358": "max_cloud",
        "186071642": "max_bad",
        "188134933": "max_cloud",
    }
    for name, rule in rules.items():
        row = ledger.get(granule_id(name))
        assert row is not None
        truth = truth_of(granules, name, grid)
        cloudy = truth.cloud == 1
        measured = ~truth.fill | cloudy
        counted = cloudy if rule == "max_cloud" else measured & ~cloudy & ~truth.clear
        figure = counted.sum() / measured.sum()
        assert (row.status, row.rule, row.limit) == (Status.REJECTED, rule, 0.10)
        assert row.figure == pytest.approx(figure, rel=1e-12) and figure > 0.10
        assert f"{figure:.1%}" in row.reason and "10.0%" in row.reason
        assert row.scene is None
    kept = [row.granule for row in ledger if row.status is Status.INGESTED]
    assert kept == [
        granule_id(name)
        for name in ("173193234", "173193326", "179094538", "190054140", "191045313", "191045405")
    ]
    assert len(ledger) == 11


def test_a_scene_is_the_same_whatever_limit_let_it_in(
    screened: Ingested, scenes: xr.Dataset
) -> None:
    kept = screened.cube.dataset("thermal", chunks=None).load()
    assert kept.sizes["time"] == 4
    xr.testing.assert_identical(kept, scenes.sel(time=kept["time"]))


# --- again, in another order, in halves -------------------------------------------------------


def test_a_second_ingest_changes_nothing_and_says_so(screened: Ingested) -> None:
    before = [commit.id for commit in screened.cube.history()]
    again = ingest(screened.region)
    assert not again.changed and again.commits == 0
    assert again.snapshot == screened.report.snapshot
    assert again.scenes == {"skipped": 8}
    assert [commit.id for commit in screened.cube.history()] == before
    assert not plan(screened.region).todo


def deliver(files: list[Path], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for file in files:
        (folder / file.name).symlink_to(file)


def ledger_of(region: Region) -> pd.DataFrame:
    frame = cube.open(region).ledger.to_frame().drop(columns=["updated", "tries"])
    return frame.sort_values("granule", ignore_index=True)


def test_any_order_of_delivery_gives_the_same_cube(
    granules: Path, write_region: WriteRegion, tmp_path: Path
) -> None:
    """At once; newest first; in halves that tear a pass, and two granules, apart."""
    files = sorted(granules.glob("*.tif"))
    newest_first = sorted(files, key=lambda file: file.name.split("_doy")[1], reverse=True)
    # Later: the first granule of a pass, the cloud mask of one scene, the water mask of another.
    late = ("191045313", "173193234", "cloud_mask_doy2023179", "water_mask_doy2023190", "175112358")
    second = [file for file in files if any(part in file.name for part in late)]
    half = [file for file in files if file not in second]
    deliveries = {
        "at-once": [files],
        "backwards": [newest_first[:12], newest_first[12:30], newest_first[30:]],
        "halves": [half, second],
    }
    regions = {}
    for way, portions in deliveries.items():
        folder = tmp_path / way / "granules"
        folder.parent.mkdir()
        limits = {"max_cloud": 0.7, "max_bad": 0.5}
        region = write_region(tmp_path / way, **tables(folder, SEAM, **limits))
        for portion in portions:
            deliver(portion, folder)
            ingest(region, batch=3)
        regions[way] = region
    reference = cube.open(regions["at-once"]).dataset("thermal", chunks=None).load()
    assert ((reference["qc"] & Flag.WATER) != 0).any(("y", "x")).all()
    assert sorted(len(str(ids).split()) for ids in reference["granules"].values) == [1, 1, 1, 2, 2]
    for way in ("backwards", "halves"):
        other = cube.open(regions[way]).dataset("thermal", chunks=None).load()
        xr.testing.assert_identical(other, reference)
        pd.testing.assert_frame_equal(ledger_of(regions[way]), ledger_of(regions["at-once"]))


# --- what users see ---------------------------------------------------------------------------


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_status_shows_scenes_coverage_and_what_was_left_out(screened: Ingested) -> None:
    region = str(Path(screened.region.location).with_name("region.toml"))
    shown = run("-m", "pipelines.cli", "status", region, "--json")
    assert shown.returncode == 0, shown.stderr
    status = json.loads(shown.stdout)
    thermal = status["modalities"]["thermal"]
    assert thermal["scenes"] == 4 and set(thermal["months"]) == {"2023-06", "2023-07"}
    june = thermal["months"]["2023-06"]
    assert june["scenes"] == 2 and june["valid"] == pytest.approx(1.0)
    assert status["ledger"]["ingested"] == 6 and status["ledger"]["rejected"] == 5
    why = {entry["granule"]: entry for entry in status["not_ingested"]}
    assert why[granule_id("188134933")]["rule"] == "max_cloud"
    assert why[granule_id("188134933")]["figure"] > 0.9
    assert "LST and cloud missing" in why[granule_id(ORPHAN)]["reason"]
    assert status["snapshot"] == screened.report.snapshot


def test_plain_xarray_reads_the_same(screened: Ingested) -> None:
    opened = screened.cube
    plain = xr.open_zarr(opened.session.store, group="thermal", consolidated=False)
    ours = opened.dataset("thermal", chunks=None).load()
    xr.testing.assert_identical(plain.load(), ours)
    assert plain["spatial_ref"].attrs["crs_wkt"].startswith("PROJCRS")
    assert plain["x"].values[0] == opened.grid.affine.c + 35.0
    assert plain["y"].values[0] == opened.grid.affine.f - 35.0


def test_a_scientists_five_lines_give_the_median_night(screened: Ingested) -> None:
    region = cube.open(Path(screened.region.location).with_name("region.toml"))
    night = region.select("thermal", season="summer", time_of_day="night")
    lst = cube.mask(night, "water").imagery.sel(band="lst")
    with warnings.catch_warnings():
        # NumPy says so of every pixel that is NaN at all times, here of the sea.
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        median = lst.median("time").compute()

    stored = screened.cube.dataset("thermal", chunks=None).load()
    nights = [ALONE["179094538"], ALONE["190054140"], PAIRS["191045313", "191045405"]]
    np.testing.assert_array_equal(night["time"].values, np.array(nights, "datetime64[ns]"))
    stored = stored.sel(time=night["time"])
    dry = stored["imagery"].sel(band="lst").where((stored["qc"] & Flag.WATER) == 0).values
    some = np.isfinite(dry).any(axis=0)
    np.testing.assert_array_equal(np.isfinite(median), some)
    np.testing.assert_allclose(
        median.values[some], np.nanmedian(dry[:, some], axis=0), rtol=0, atol=1e-4
    )


def test_the_readme_works_on_this_cube_without_tensorflow(screened: Ingested) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib: install thermocube[plot]")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    # This cube has no radar to join.
    blocks = [block for block in blocks if "join=" not in block]
    region = Path(screened.region.location).with_name("region.toml").as_posix()
    blocks = [block.replace("demo/granules/region.toml", region) for block in blocks]
    assert sum(region in block for block in blocks) >= 2
    code = "\n".join([*blocks, "import sys", "assert 'tensorflow' not in sys.modules"])
    done = run("-c", code, MPLBACKEND="Agg")
    assert done.returncode == 0, done.stderr
