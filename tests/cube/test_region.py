"""A region file says what it means, or is refused with the key and a way out."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from cube.errors import GridError, RegionError
from cube.region import Region

Tables = dict[str, Any]


def tables() -> Tables:
    """The smallest region with a key of every level."""
    return {
        "name": "tiny",
        "area": {"bbox": [-4.10, 38.70, -4.06, 38.73], "resolution": 70.0},
        "period": {"start": date(2024, 1, 1), "end": date(2024, 1, 31)},
        "modalities": {"thermal": {"bands": ["lst", "emissivity"]}},
        "sources": [{"kind": "ecostress", "name": "eco", "path": "granules"}],
        "labels": {"path": "geology.gpkg", "column": "class"},
    }


def parse(changed: Tables) -> Region:
    return Region.parse(changed, Path("/somewhere"))


def refused(changed: Tables) -> str:
    with pytest.raises(RegionError) as caught:
        parse(changed)
    return str(caught.value)


def test_a_whole_region_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(tomli_w.dumps(tables()), encoding="utf-8")
    region = Region.load(file)
    assert region.name == "tiny"
    assert [band.name for band in region.bands("thermal")] == ["lst", "emissivity"]
    assert str(region.grid.crs) == "EPSG:32630"
    assert region.modalities["thermal"].max_cloud == 0.10


@pytest.mark.parametrize(
    ("place", "wrong", "right"),
    [
        ((), "modalites", "modalities"),
        (("area",), "resolutoin", "resolution"),
        (("period",), "strat", "start"),
        (("modalities", "thermal"), "max_clouds", "max_cloud"),
        (("sources", 0), "alow_missing", "allow_missing"),
        (("labels",), "colum", "column"),
    ],
)
def test_an_unknown_key_is_named_with_a_suggestion(
    place: tuple[str | int, ...], wrong: str, right: str
) -> None:
    changed = tables()
    table: Any = changed
    for part in place:
        table = table[part]
    table[wrong] = 1
    message = refused(changed)
    line = next(line for line in message.splitlines() if "unknown key" in line)
    assert f"{wrong}: unknown key; did you mean {right!r}?" in line
    assert all(str(part) in line for part in place)


def test_a_key_like_no_other_gets_no_suggestion() -> None:
    assert "qqqq: unknown key; no key of that name exists" in refused(tables() | {"qqqq": 1})


def test_every_mistake_is_listed_at_once() -> None:
    changed = tables() | {"qqqq": 1}
    changed["period"] = {}
    changed["modalities"]["thermal"]["max_cloud"] = 1.5
    message = refused(changed)
    for key in ("qqqq", "period.start", "modalities.thermal.max_cloud"):
        assert f"\n  {key}: " in message


@pytest.mark.parametrize(
    ("area", "message"),
    [
        ({}, "either bbox"),
        (
            {"bbox": [-4.1, 38.7, -4.0, 38.8], "bounds": [0, 0, 9, 9], "crs": "EPSG:32630"},
            "and not both",
        ),
        ({"bounds": [0.0, 0.0, 900.0, 900.0]}, "give crs as well"),
        ({"bbox": [-4.0, 38.7, -4.1, 38.8]}, "west < east"),
        ({"bbox": [-4.1, 38.8, -4.0, 38.7]}, "south < north"),
        ({"bbox": [404000.0, 4284000.0, 407000.0, 4287000.0]}, "for metres give bounds"),
        ({"bbox": [-4.1, 38.7, -4.0]}, "area.bbox"),
        ({"bbox": [-4.1, 38.7, -4.0, 38.8], "resolution": 0.0}, "area.resolution"),
        ({"bbox": [-4.1, 38.7, -4.0, 38.8], "resolution": float("inf")}, "area.resolution"),
        ({"bounds": [0.0, 0.0, float("inf"), 9.0], "crs": "EPSG:32630"}, "area.bounds"),
    ],
)
def test_an_area_that_is_none_is_refused(area: Tables, message: str) -> None:
    assert message in refused(tables() | {"area": area})


@pytest.mark.parametrize(
    ("crs", "message"),
    [("EPSG:4326", "geographic"), ("EPSG:2229", "metre"), ("EPSG:99999", "no coordinate system")],
)
def test_a_crs_without_metres_is_refused_when_the_file_is_read(crs: str, message: str) -> None:
    changed = tables()
    changed["area"]["crs"] = crs
    text = refused(changed)
    assert "area: " in text
    assert message in text


def test_bounds_are_kept_exactly() -> None:
    area = {"bounds": [404000.0, 4284000.0, 407500.0, 4287010.0], "crs": "EPSG:32630"}
    grid = parse(tables() | {"area": area}).grid
    assert tuple(grid.boundingbox.bbox) == (404000.0, 4284000.0, 407500.0, 4287010.0)
    assert tuple(grid.shape) == (43, 50)


def test_the_period_includes_its_last_day() -> None:
    period = parse(tables()).period.period
    assert datetime(2024, 1, 1, tzinfo=UTC) in period
    assert datetime(2024, 1, 31, 23, 59, 59, tzinfo=UTC) in period
    assert datetime(2024, 2, 1, tzinfo=UTC) not in period
    assert datetime(2023, 12, 31, 23, 59, 59, tzinfo=UTC) not in period


def test_a_period_without_end_stays_open() -> None:
    period = parse(tables() | {"period": {"start": date(2024, 1, 1)}}).period.period
    assert datetime(2999, 1, 1, tzinfo=UTC) in period


def test_a_period_that_ends_before_it_starts_is_refused() -> None:
    period = {"start": date(2024, 2, 1), "end": date(2024, 1, 1)}
    assert "ends (2024-01-01) before it starts" in refused(tables() | {"period": period})


def test_unknown_modalities_and_bands_are_named_with_those_there_are() -> None:
    message = refused(tables() | {"modalities": {"infrared": {"bands": ["lst"]}}})
    assert "'infrared'" in message
    assert "thermal, sar, optical" in message
    message = refused(tables() | {"modalities": {"thermal": {"bands": ["lst", "ndvi"]}}})
    assert "'ndvi'" in message
    assert "lst, emissivity, lst_err" in message
    message = refused(tables() | {"modalities": {"thermal": {"bands": ["lst", "lst"]}}})
    assert "names a band twice" in message


def test_a_source_needs_its_modality_and_a_name_of_its_own() -> None:
    message = refused(tables() | {"modalities": {"sar": {"bands": ["vv"]}}})
    assert "no [modalities.thermal]" in message
    assert "'eco'" in message
    source = tables()["sources"][0]
    assert "same name: eco, eco" in refused(tables() | {"sources": [source, source]})
    assert "sources" in refused(tables() | {"sources": []})


@pytest.mark.parametrize("name", ["", "Two Words", "../up", "-dash", "Ä"])
def test_a_name_that_is_no_file_name_is_refused(name: str) -> None:
    assert "name: " in refused(tables() | {"name": name})


def test_relative_paths_start_at_the_region_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "regions"
    home.mkdir()
    (home / "tiny.toml").write_text(tomli_w.dumps(tables() | {"store": "../cubes/t"}))
    monkeypatch.chdir(tmp_path)
    region = Region.load("regions/tiny.toml")
    assert region.sources[0].location == home / "granules"
    assert Path(region.location) == home / "../cubes/t"
    assert region.labels is not None
    assert region.labels.location == home / "geology.gpkg"


def test_absolute_paths_and_urls_are_kept() -> None:
    assert parse(tables() | {"store": "/data/cube"}).location == "/data/cube"
    url = "s3://bucket/a/prefix"
    assert parse(tables() | {"store": url}).location == url


def test_the_store_is_called_after_the_region_by_default() -> None:
    assert parse(tables()).location == "/somewhere/tiny.icechunk"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text('name = "tiny\n', encoding="utf-8")
    with pytest.raises(RegionError, match=r"broken\.toml is not valid TOML.*line 1"):
        Region.load(broken)
    latin = tmp_path / "latin.toml"
    latin.write_bytes('name = "münchen"'.encode("latin-1"))
    with pytest.raises(RegionError, match=r"latin\.toml cannot be read"):
        Region.load(latin)
    with pytest.raises(RegionError, match="cannot be read"):
        Region.load(tmp_path)
    with pytest.raises(RegionError, match="thermocube init"):
        Region.load(tmp_path / "none.toml")


def test_messages_of_a_file_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(tomli_w.dumps(tables() | {"nmae": "x"}), encoding="utf-8")
    with pytest.raises(RegionError, match=r"tiny\.toml:\n  nmae: unknown key; did you mean 'name'"):
        Region.load(file)


def test_a_box_outside_of_where_the_crs_is_of_use_is_refused() -> None:
    changed = tables()
    changed["area"] = {"bbox": [-180.0, -80.0, 180.0, 80.0], "resolution": 7000.0}
    assert "area: " in refused(changed)


@pytest.mark.parametrize("crs", ["EPSG:6933", "EPSG:3857", "EPSG:3035", "EPSG:3031"])
@pytest.mark.parametrize("bbox", [[-180.0, -80.0, 180.0, 80.0], [-100.0, -60.0, 100.0, 60.0]])
def test_a_world_is_no_region_whatever_its_crs(crs: str, bbox: list[float]) -> None:
    changed = tables()
    changed["area"] = {"bbox": bbox, "crs": crs, "resolution": 7000.0}
    message = refused(changed)
    assert "area: " in message and "a cube is one region, not the world" in message
    changed["area"] = {"bounds": [-2e7, -5e6, 2e7, 5e6], "crs": crs, "resolution": 7000.0}
    assert "not the world" in refused(changed)


def test_a_continent_at_the_pole_is_a_region() -> None:
    changed = tables()
    changed["area"] = {"bbox": [-180.0, -90.0, 180.0, -60.0], "crs": "EPSG:3031"}
    changed["area"]["resolution"] = 7000.0
    assert parse(changed).grid.shape == (954, 954)


def test_region_errors_are_value_errors() -> None:
    assert issubclass(RegionError, ValueError)
    assert issubclass(GridError, ValueError)
