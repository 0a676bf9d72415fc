"""MODIS from STAC: recorded items, a real API, and what a folder gives for the same layers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from odc.geo.geobox import GeoBox
from pydantic import ValidationError

from cube.bands import MODIS_LST
from cube.errors import GranuleError
from cube.quality import is_valid
from cube.sources.base import Period
from cube.sources.modis import ModisSource
from cube.sources.modis_grid import tile_box
from cube.sources.modis_hdf import read_planes
from cube.sources.modis_stac import ModisStacSource
from modis_files import GRID, H17, crop, lst_layers
from stac_server import RangeServer, StacServer

EVER = Period(datetime(2000, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))
LST = MODIS_LST.require(("lst",))
REAL = "MOD11A1.A2019305.h14v09.006.2019306084028"
RECORDED = "granules/api/stac_cassettes_planetary_computer/test_smoke[modis-11A1-061].yaml"
STACTOOLS = "granules/api/stactools_modis_items/modis-11A1-061/MOD11A1.A2022041.h19v02.061"


def source(product: str = "MOD11A1", **settings: Any) -> ModisStacSource:
    table = {"kind": "modis-stac", "name": "modis", "product": product}
    return ModisStacSource.model_validate(table | settings)


def folder_source(path: Path) -> ModisSource:
    return ModisSource(kind="modis", name="modis", path=path, product="MOD11A1")


def recorded(shared_data: Path) -> dict[str, Any]:
    """The item of a recorded answer of Planetary Computer."""
    for exchange in yaml.safe_load((shared_data / RECORDED).read_text())["interactions"]:
        answer = json.loads(exchange["response"]["body"]["string"])
        if answer.get("features"):
            found: dict[str, Any] = answer["features"][0]
            return found
    raise LookupError("no items in the recording")


def write_layer(path: Path, values: np.ndarray, box: GeoBox, **tags: Any) -> None:
    height, width = values.shape
    with rasterio.open(
        path, "w", "GTiff", width, height, 1, dtype=values.dtype, crs=box.crs.to_wkt(),
        transform=box.affine, tiled=True, compress="deflate",
    ) as file:  # fmt: skip
        file.write(values, 1)
        file.update_tags(**tags)


def write_cogs(folder: Path, stem: str, layers: dict[str, np.ndarray], box: GeoBox) -> None:
    for name, values in layers.items():
        tags = {"scale_factor": 0.02} if name.startswith("LST") else {}
        write_layer(folder / f"{stem}_{name}.tif", values, box, **tags)


def item_of(real: dict[str, Any], stem: str, base: str) -> dict[str, Any]:
    """The recorded item, of another tile and with its files elsewhere."""
    text = json.dumps(real).replace(real["id"], stem)
    item: dict[str, Any] = json.loads(text)
    west, south, east, north = -180.0, -89.0, 180.0, 89.0
    item["bbox"] = [west, south, east, north]
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item["geometry"] = {"type": "Polygon", "coordinates": [ring]}
    day = datetime.strptime(stem.split(".")[1], "A%Y%j")
    item["properties"] |= {
        "start_datetime": f"{day:%Y-%m-%dT00:00:00Z}",
        "end_datetime": f"{day:%Y-%m-%dT23:59:59Z}",
    }
    for name, asset in item["assets"].items():
        asset["href"] = f"{base}/{stem}_{name}.tif"
    item["links"] = []
    return item


def test_a_recorded_item_is_two_overpasses(shared_data: Path, tmp_path: Path) -> None:
    item = recorded(shared_data)
    (tmp_path / "item.json").write_text(json.dumps(item))
    fiji = tile_box(35, 10, 1200)
    day, night = source("MYD11A1", path=tmp_path).search(fiji, EVER)
    assert item["id"] == "MYD11A1.A2025068.h35v10.061.2025070002721"
    assert (day.id, night.id) == (f"{item['id']}:day", f"{item['id']}:night")
    assert set(day.assets) == {"LST_Day_1km", "QC_Day"}
    assert (day.platform, day.version) == ("Aqua", "061.2025070002721")
    assert "asset not here" in day.defect
    assert day.time is not None and night.time is not None
    assert abs(day.time - night.time) == timedelta(hours=12)
    # Of Terra there is nothing in it, and elsewhere neither.
    assert source("MOD11A1", path=tmp_path).search(fiji, EVER) == []
    assert source("MYD11A1", path=tmp_path).search(tile_box(17, 5, 1200), EVER) == []


def test_an_item_whose_id_lacks_its_production(shared_data: Path) -> None:
    day, _ = source(path=shared_data / STACTOOLS).search(tile_box(19, 2, 1200), EVER)
    assert day.id == "MOD11A1.A2022041.h19v02.061.2022042095544:day"


@pytest.mark.parametrize("where", ["folder", "api"])
def test_layers_of_the_real_tile_are_read_as_its_hdf(
    shared_data: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layers of a real HDF file as COGs, behind an item as Planetary Computer gives it."""
    pytest.importorskip("pyhdf.SD", reason="needs pyhdf, of the extra `modis`")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    names = ["LST_Day_1km", "QC_Day", "LST_Night_1km", "QC_Night"]
    planes = read_planes(shared_data / "granules/modis/MOD11A1/MOD11A1.hdf", names)
    layers = {name: plane.values for name, plane in planes.items()}
    (tmp_path / "cogs").mkdir()
    write_cogs(tmp_path / "cogs", REAL, layers, tile_box(14, 9, 1200))
    (tmp_path / "hdf").mkdir()
    (tmp_path / "hdf" / f"{REAL}.hdf").symlink_to(
        shared_data / "granules/modis/MOD11A1/MOD11A1.hdf"
    )
    with RangeServer(tmp_path / "cogs") as files:
        base = files.url if where == "api" else str(tmp_path / "cogs")
        item = item_of(recorded(shared_data), REAL, base)
        item["collection"] = "modis-11A1-061"
        (tmp_path / "cogs" / "item.json").write_text(json.dumps(item))
        if where == "folder":
            compare(source(path=tmp_path / "cogs"), tmp_path / "hdf")
            return
        (tmp_path / "catalog").mkdir()
        with StacServer([item], tmp_path / "catalog") as server:
            compare(source(catalog=server.url), tmp_path / "hdf")
        assert files.sent > 0


def compare(there: ModisStacSource, hdf: Path) -> None:
    from affine import Affine

    ceara = GeoBox((200, 220), Affine(1000, 0, 390_000, 0, -1000, 9_436_000), "EPSG:32724")
    here = folder_source(hdf)
    mine = {granule.id: granule for granule in here.search(ceara, EVER)}
    found = there.search(ceara, EVER)
    assert {granule.id for granule in found} == mine.keys() and len(mine) == 2
    for granule in found:
        assert (granule.key, granule.time) == (mine[granule.id].key, mine[granule.id].time)
        reading, expected = there.read(granule, ceara, LST), here.read(mine[granule.id], ceara, LST)
        np.testing.assert_array_equal(reading.imagery, expected.imagery)
        np.testing.assert_array_equal(reading.qc, expected.qc)
        assert is_valid(reading.qc).mean() > 0.2


@pytest.fixture
def simulated(shared_data: Path, tmp_path: Path) -> Iterator[Path]:
    box = crop()
    layers = {name: values for name, (values, _) in lst_layers(box).items()}
    write_cogs(tmp_path, H17, layers, box)
    item = item_of(recorded(shared_data), H17, ".")
    (tmp_path / "item.json").write_text(json.dumps(item))
    yield tmp_path


def test_a_layer_that_is_not_there_is_a_defect(simulated: Path) -> None:
    item = json.loads((simulated / "item.json").read_text())
    del item["assets"]["QC_Night"]
    (simulated / "item.json").write_text(json.dumps(item))
    day, night = source(path=simulated).search(GRID, EVER)
    assert not day.defect and "no asset for QC_Night" in night.defect


def test_a_damaged_layer_is_refused(simulated: Path) -> None:
    day, _ = source(path=simulated).search(GRID, EVER)
    path = Path(day.assets["LST_Day_1km"])
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(GranuleError) as caught:
        source(path=simulated).read(day, GRID, LST)
    assert caught.value.kind == "truncated"


def test_an_item_without_geotiffs_is_a_defect(simulated: Path) -> None:
    item = json.loads((simulated / "item.json").read_text())
    item["assets"] = {"hdf": {"href": f"./{H17}.hdf"}}
    (simulated / "item.json").write_text(json.dumps(item))
    (broken,) = source(path=simulated).search(GRID, EVER)
    assert "none of its assets is a GeoTIFF" in broken.defect


@pytest.mark.parametrize(
    "wrong", [{"reader": "stackstac"}, {"max_lst_error": 1.5}, {"product": "MOD09GQ"}]
)
def test_settings_that_cannot_be(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        source(**{"path": tmp_path} | wrong)
