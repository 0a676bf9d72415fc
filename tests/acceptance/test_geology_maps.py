"""Two published geological maps as the labels of a region."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import xarray as xr
from shapely import box

import cube
from cube.errors import LabelError
from cube.labels import LabelReport
from cube.lithology import Lithology, parse
from cube.region import Region
from pipelines.ingest import ingest

HAMERSLEY = "granules/vector/geology_Hamersley_GSWA/geology.geojson"
ASHIBE = "granules/vector/geology_Ashibe_GSJ/Japan_Ashibe.zip"

UNITS = {
    "Fortescue Group": "plutonic",
    "Jeerinah Formation": "detritic",
    "Marra Mamba Iron Formation": "detritic",
    "Mount McRae Shale and Mount Sylvia Formation": "detritic",
    "Wittenoom Formation": "carbonate",
    "Rocklea Inlier greenstones": "volcanic",
    "Boolgeeda Iron Formation": "detritic",
    "Bunjinah Formation": "volcanic",
    "Brockman Iron Formation": "detritic",
    "Woongarra Rhyolite": "volcanic",
    "Turee Creek Group": "detritic",
    "Weeli Wolli Formation": "plutonic",
    "Pyradie Formation": "volcanic",
    "Boongal Formation": "volcanic",
    "Rocklea Inlier metagranitic unit": "non-foliated",
    "Hardey Formation": "detritic",
    "Mount Roe Basalt": "volcanic",
}
"""Unit names of the Hamersley map to classes, for this test."""

CODES = {"1": "sand", "2": "silt", "11": "non-foliated", "12": "detritic", "13": "detritic"}
CODES |= {str(number): "volcanic" for number in range(3, 11)} | {"88": "water"}
"""Major codes of the Ashibe map to classes, for this test."""


HAMERSLEY_BOX = [117.2, -22.8, 117.5, -22.5]
ASHIBE_BOX = [129.75, 33.67, 130.0, 33.85]

Find = Callable[[str], Path]
WriteRegion = Callable[..., Region]


def tables(folder: Path, bbox: list[float], **labels: Any) -> dict[str, Any]:
    """A region with labels and a source that has nothing yet."""
    (folder / "granules").mkdir()
    return {
        "name": "map",
        "area": {"bbox": bbox, "resolution": 140.0},
        "period": {"start": date(2024, 1, 1)},
        "modalities": {"thermal": {"bands": ["lst"]}},
        "sources": [{"kind": "ecostress", "name": "none", "path": "granules"}],
        "labels": labels,
    }


def labels_of(region: Region) -> xr.Dataset:
    return cube.open(region).dataset("labels", chunks=None).load()


def assert_inside_polygons(
    labels: xr.Dataset, frame: gpd.GeoDataFrame, column: str, mapping: Mapping[str, str]
) -> None:
    """Well inside a class, the polygon over a pixel's centre says which one it is."""
    frame = frame.to_crs(labels["spatial_ref"].attrs["crs_wkt"])
    rows, columns = np.nonzero(labels["weight"].values == 1)
    chosen = np.random.default_rng(0).choice(len(rows), 2000, replace=False)
    rows, columns = rows[chosen], columns[chosen]
    centres = gpd.points_from_xy(labels["x"].values[columns], labels["y"].values[rows])
    points = gpd.GeoDataFrame({"pixel": np.arange(len(rows))}, geometry=centres, crs=frame.crs)
    frame = frame.assign(area=frame.area)
    over = points.sjoin(frame, predicate="within").sort_values("area").drop_duplicates("pixel")
    over = over.sort_values("pixel")
    assert len(over) == len(points)
    expected = [int(parse(mapping[str(value)])) for value in over[column]]
    np.testing.assert_array_equal(labels["lithology"].values[rows, columns], expected)


def test_hamersley_by_unit_name(real: Find, write_region: WriteRegion, tmp_path: Path) -> None:
    """GeoJSON in EPSG:28350, although the standard wants degrees."""
    path = real(HAMERSLEY)
    region = write_region(
        tmp_path,
        **tables(tmp_path, HAMERSLEY_BOX, path=str(path), column="unitname", mapping=UNITS),
    )
    report = ingest(region)
    assert report.labels == "label map written" and report.changed
    assert region.grid.crs.to_epsg() == 32750
    labels = labels_of(region)
    summary = LabelReport.of(labels)
    assert summary.labelled > 0.99 and not summary.unmapped
    assert {name.lower() for name in summary.area_km2} - {"no data"} == set(UNITS.values())
    assert_inside_polygons(labels, gpd.read_file(path), "unitname", UNITS)
    again = ingest(region)
    assert again.labels == "label map unchanged" and not again.changed


def test_hamersley_by_rock_name_leaves_what_has_none_unlabelled(
    real: Find, write_region: WriteRegion, tmp_path: Path
) -> None:
    """A third of the polygons have no ``lithname1``; they must not become some class."""
    path = real(HAMERSLEY)
    rocks = {
        "iron formation": "detritic",
        "siltstone/mudstone": "detritic",
        "dolostone/dolomite": "carbonate",
        "dolerite": "plutonic",
        "basalt": "volcanic",
        "pyroxene spinifex-textured basalt": "volcanic",
        "rhyolite": "volcanic",
        "granitic gneiss": "non-foliated",
    }
    labels = {"path": str(path), "column": "lithname1", "mapping": rocks}
    region = write_region(tmp_path, **tables(tmp_path, HAMERSLEY_BOX, **labels))
    with pytest.raises(LabelError, match=r"'': [0-9]+ polygons"):
        ingest(region)
    shutil.rmtree(tmp_path / "granules")
    lenient = write_region(tmp_path, **tables(tmp_path, HAMERSLEY_BOX, **labels, unmapped="nodata"))
    ingest(lenient)
    found = labels_of(lenient)
    assert_inside_polygons(found, gpd.read_file(path), "lithname1", rocks)
    share = float((found["lithology"] == Lithology.NODATA).mean())
    frame = gpd.read_file(path).to_crs(found["spatial_ref"].attrs["crs_wkt"])
    inside = frame.clip(box(*lenient.grid.boundingbox.bbox))
    nameless = inside[inside["lithname1"].isna()].area.sum() / inside.area.sum()
    assert 0.1 < share < 0.9 and share == pytest.approx(nameless, abs=0.01)
    assert set(LabelReport.of(found).unmapped) == {""}


def test_ashibe_from_a_shapefile_in_a_folder_in_a_zip(
    real: Find, write_region: WriteRegion, tmp_path: Path
) -> None:
    """Japanese geographic datum, numeric codes, macOS resource forks beside the shapefile."""
    path = real(ASHIBE)
    labels = {"path": str(path), "layer": "geo_A", "column": "MAJOR_CODE", "mapping": CODES}
    region = write_region(tmp_path, **tables(tmp_path, ASHIBE_BOX, **labels))
    ingest(region)
    found = labels_of(region)
    assert region.grid.crs.to_epsg() == 32652
    summary = LabelReport.of(found)
    assert summary.polygons == 14 and summary.labelled > 0.9
    assert {"Volcanic", "Water", "Sand"} <= set(summary.area_km2)
    frame = gpd.read_file(f"/vsizip/{path}/Japan_Ashibe/geo_A.shp")
    assert_inside_polygons(found, frame, "MAJOR_CODE", CODES)


def test_without_its_layer_the_archive_lists_what_it_has(
    real: Find, write_region: WriteRegion, tmp_path: Path
) -> None:
    labels = {"path": str(real(ASHIBE)), "column": "MAJOR_CODE", "mapping": CODES}
    region = write_region(tmp_path, **tables(tmp_path, ASHIBE_BOX, **labels))
    with pytest.raises(LabelError, match="give `layer`; there are: geo_A, geo_L, pnt, strdip"):
        ingest(region)
