"""The page of results agrees with its files, and Santa's images lie where their grids say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from cube.ledger import Status
from cube.quality import is_valid
from cube.region import Region
from cube.store import Cube
from pipelines.cli_settings import parse_settings
from pipelines.evaluation import MEMORISE, NETWORK
from pipelines.ingest import ingest
from pipelines.study_page import page_text
from pipelines.study_protocol_page import PUBLISHED
from pipelines.study_regions import SANTA, santa, write_regions

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_is_what_its_files_say() -> None:
    assert (DOCS / "results.md").read_text(encoding="utf-8") == page_text(DOCS / "results")


def test_networks_under_the_studys_split_are_above_its_figures_and_make_no_headline() -> None:
    for file in sorted((DOCS / "results").glob("protocol-*.json")):
        run = json.loads(file.read_text(encoding="utf-8"))
        network, region = file.stem.removeprefix("protocol-").split("-")
        scores, published = run["scores"][NETWORK], PUBLISHED[region, network]
        assert scores["oa"] > published[0] and scores["macro_f1"] > published[1]
        assert run["cube"] == region and not run["leak_safe"] and run["headline"] is None
        assert run["scores"][MEMORISE]["oa"] == 1
        recipe = parse_settings([], file.with_suffix(".toml"))
        assert recipe.split.kind == "thesis" and recipe.patch == run["plan"]["patch"]


@pytest.fixture(scope="module")
def file(real: Callable[[str], Path]) -> Path:
    return real("thesis_santa.nc")


@pytest.fixture(scope="module")
def opened(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Cube:
    """Santa to the end of July 2019."""
    folder = tmp_path_factory.mktemp("santa")
    tables = santa(file)
    tables["period"]["end"] = tables["period"]["start"].replace(month=7, day=31)
    region = Region.parse(tables, folder)
    report = ingest(region)
    assert not report.failures and report.labels == "label map written"
    return Cube.open(folder / "santa.icechunk")


def test_region_files_are_written_for_what_is_there(file: Path, tmp_path: Path) -> None:
    written = write_regions(file.parent, tmp_path)
    assert [path.name for path in written] == ["puertollano.toml", "santa.toml"]
    assert Region.load(written[1]).name == "santa"
    assert write_regions(tmp_path, tmp_path) == []


def test_each_grid_is_a_source_with_its_own_dates(opened: Cube, file: Path) -> None:
    with xr.open_dataset(file, engine="h5netcdf") as dataset:
        grids, times = dataset["grid_id"].values, dataset["datetime_utc"].values
    first = (times >= np.datetime64("2019-01-01")) & (times < np.datetime64("2019-08-01"))
    for number, name in enumerate(SANTA):
        steps = set(np.flatnonzero((grids == number) & first))
        rows = [row for row in opened.ledger if row.source == name and row.time is not None]
        assert {int(row.granule.split(":")[1]) for row in rows} == steps
        assert all(row.status in (Status.INGESTED, Status.EMPTY) for row in rows)


def test_labels_are_by_place_and_images_of_the_same_grid_untouched(
    opened: Cube, file: Path
) -> None:
    """Defect 4: labels on the 29N grid were read by pixel index for images of the 30N grids."""
    thermal = opened.dataset("thermal", chunks=None).load()
    labels = opened.dataset("labels", chunks=None)["lithology"].values
    with xr.open_dataset(file, engine="h5netcdf") as dataset:
        own = dataset["labels_30STH"].fillna(0).values[:, :287]
        index = dataset["labels"].fillna(0).values[:, :287]
        grids = dataset["grid_id"].values
        both = (labels > 0) & (own > 0)
        assert (labels == own)[both].mean() > 0.98 and (labels == index)[both].mean() < 0.5
        compared = 0
        for at in range(thermal.sizes["time"]):
            scene = thermal.isel(time=at)
            steps = [int(name.split(":")[1]) for name in str(scene["granules"].item()).split()]
            if len(steps) > 1 or grids[steps[0]] != 1:
                continue
            valid = is_valid(scene["qc"].values)
            source = dataset["thermal"][steps[0]].sel(band="EmisWB").values[:, :287]
            found = scene["imagery"].sel(band="emissivity").values
            np.testing.assert_array_equal(found[valid], source[valid].astype(np.float32))
            compared += 1
    assert compared > 0
