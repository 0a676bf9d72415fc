"""STAC APIs and files over the wire: a real API server, a range server, recorded answers."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import requests
import yaml
from affine import Affine
from odc.geo.geobox import GeoBox
from pydantic import ValidationError

from cube.bands import OPTICAL, SAR
from cube.errors import GranuleError, SourceError
from cube.grid import region_grid
from cube.quality import is_valid
from cube.scene import Granule
from cube.sources import stac_api
from cube.sources.base import Period
from cube.sources.remote import GDAL_OPTIONS
from cube.sources.sentinel import Sentinel1Source, Sentinel2Source
from pipelines.simulate import Simulation, SimulationSettings, simulate
from stac_server import HANG_UP, Answer, Loopback, RangeServer, Request, StacServer, published

EVER = Period(datetime(2014, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))
VV_VH = SAR.require(("vv", "vh"))
RED_NIR_NDVI = OPTICAL.require(("red", "nir", "ndvi"))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry as often as ever, but at once."""
    monkeypatch.setattr(stac_api, "BACKOFF", 0.0)
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.001")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    settings = SimulationSettings.tiny(sentinel1=4, sentinel2=3)
    return simulate(tmp_path_factory.mktemp("world"), settings)


@pytest.fixture(scope="module")
def files(world: Simulation) -> Iterator[RangeServer]:
    with RangeServer(world.folder) as server:
        yield server


@pytest.fixture(scope="module")
def catalog(
    world: Simulation, files: RangeServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    items = published(world.folder, files.url)
    with StacServer(items, tmp_path_factory.mktemp("catalog")) as server:
        yield server.url


@pytest.fixture
def fresh_files(files: RangeServer) -> Iterator[RangeServer]:
    files.reset()
    yield files
    files.fault = lambda request: None


def s1(**settings: Any) -> Sentinel1Source:
    return Sentinel1Source(kind="sentinel1", name="s1", **settings)


def s2(**settings: Any) -> Sentinel2Source:
    return Sentinel2Source(kind="sentinel2", name="s2", **settings)


def what_counts(granules: list[Granule]) -> list[tuple[Any, ...]]:
    """All that decides what becomes of a granule; where its files lie is left out."""
    return sorted(
        (
            one.id,
            one.key,
            one.version,
            one.platform,
            one.time,
            one.size,
            one.defect,
            one.fingerprint,
        )
        for one in granules
    )


# --- a real STAC API ------------------------------------------------------------------------


@pytest.mark.parametrize("page", [1, 2, 100])
def test_granules_of_an_api_are_those_of_the_folder(
    world: Simulation, catalog: str, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stac_api, "PAGE", page)
    for source, folder in ((s1, "sentinel1"), (s2, "sentinel2")):
        here = source(path=world.folder / folder).search(world.settings.grid, EVER)
        there = source(catalog=catalog).search(world.settings.grid, EVER)

        assert len(there) >= 3
        assert what_counts(there) == what_counts(here)
        for granule in there:
            assert all(href.startswith("http://127.0.0.1") for href in granule.assets.values())
            assert granule.extra["checksum"].keys() == granule.assets.keys()


def test_values_through_an_api_are_those_of_the_folder(
    world: Simulation, catalog: str, fresh_files: RangeServer
) -> None:
    grid = world.settings.grid
    for source, folder, bands in ((s1, "sentinel1", VV_VH), (s2, "sentinel2", RED_NIR_NDVI)):
        local, remote = source(path=world.folder / folder), source(catalog=catalog)
        there = {granule.id: granule for granule in remote.search(grid, EVER)}
        for granule in local.search(grid, EVER):
            expected = local.read(granule, grid, bands)
            reading = remote.read(there[granule.id], grid, bands)
            assert is_valid(expected.qc).any()
            np.testing.assert_array_equal(reading.imagery, expected.imagery)
            np.testing.assert_array_equal(reading.qc, expected.qc)
            np.testing.assert_array_equal(reading.product_qc, expected.product_qc)
    assert fresh_files.sent > 0


def test_an_api_is_asked_for_place_and_period_only(world: Simulation, catalog: str) -> None:
    grid = world.settings.grid
    times = sorted(one.time for one in s1(catalog=catalog).search(grid, EVER) if one.time)
    first = Period(times[0], times[0] + timedelta(seconds=1))
    before = Period(EVER.start, times[0])
    step = grid.affine
    far = GeoBox(grid.shape, Affine(step.a, 0, step.c + 300_000, 0, step.e, step.f), grid.crs)

    assert [one.time for one in s1(catalog=catalog).search(grid, first)] == times[:1]
    assert s1(catalog=catalog).search(grid, before) == []
    assert s1(catalog=catalog).search(far, EVER) == []
    assert s1(catalog=catalog, collection="other").search(grid, EVER) == []


def test_a_region_is_filled_from_an_api_and_an_outage_does_not_empty_it(
    world: Simulation, catalog: str, tmp_path: Path
) -> None:
    from cube.region import Region
    from cube.store import Cube
    from pipelines.ingest import ingest

    west, south, east, north = world.settings.bbox
    head = f"""
        name = "simulated"
        [area]
        bbox = [{west}, {south}, {east}, {north}]
        [period]
        start = 2023-01-01
        [modalities.sar]
        bands = ["vv", "vh"]
        [modalities.optical]
        bands = ["red", "ndvi"]
        max_cloud = 1
        max_bad = 1
        """
    table = '[[sources]]\nkind = "{0}"\nname = "{0}"\n{1}\n'
    kinds = ("sentinel1", "sentinel2")
    local = head + "".join(table.format(one, f'path = "{world.folder / one}"') for one in kinds)
    remote = head + "".join(table.format(one, f'catalog = "{catalog}"') for one in kinds)
    cubes = {}
    for name, text in (("local", local), ("remote", remote)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "region.toml").write_text(text)
        cubes[name] = Region.load(tmp_path / name / "region.toml")
        ingest(cubes[name])
    for modality in ("sar", "optical"):
        here, there = (Cube.open(cubes[name]).dataset(modality).load() for name in cubes)
        assert here.sizes["time"] > 0
        assert here.equals(there)
    assert not ingest(cubes["remote"]).changed

    before = Cube.open(cubes["remote"]).snapshot
    gone = tmp_path / "remote" / "region.toml"
    gone.write_text(remote.replace(catalog, "http://127.0.0.1:9"))
    with pytest.raises(SourceError, match=r"127\.0\.0\.1:9"):
        ingest(Region.load(gone))
    assert Cube.open(cubes["remote"]).snapshot == before


# --- catalogues that fail -------------------------------------------------------------------

GEOJSON = "application/geo+json"
CONFORMS = "https://api.stacspec.org/v1.0.0/"


def landing(url: str) -> dict[str, Any]:
    return {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "scripted",
        "description": "scripted",
        "conformsTo": [CONFORMS + "core", CONFORMS + "item-search"],
        "links": [{"rel": "search", "href": f"{url}/search", "type": GEOJSON, "method": "POST"}],
    }


def page_of(*items: dict[str, Any], following: str = "", **fields: Any) -> dict[str, Any]:
    links = [{"rel": "next", "href": following, "method": "GET"}] if following else []
    return {"type": "FeatureCollection", "features": list(items), "links": links, **fields}


@pytest.fixture
def scripted() -> Iterator[Callable[[Callable[[Request], Answer | None]], Loopback]]:
    """Make a catalogue that answers its searches by a function (landing page if that is None)."""
    servers: list[Loopback] = []

    def start(answer: Callable[[Request], Answer | None]) -> Loopback:
        server = Loopback(lambda request: answer(request) or Answer.of(landing(server.url)))
        servers.append(server)
        server.__enter__()
        return server

    yield start
    for server in servers:
        server.__exit__(None, None, None)


def s1_items(world: Simulation) -> list[dict[str, Any]]:
    return published(world.folder / "sentinel1", "http://127.0.0.1:9")


def search_answers(*answers: Answer) -> Callable[[Request], Answer | None]:
    """Answer searches and further pages in this order, the last one again and again."""
    left = list(answers)

    def answer(request: Request) -> Answer | None:
        if request.path == "/":
            return None
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


HTML = Answer(200, b"<html><body>Down for maintenance</body></html>")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(500), "try again later"),
        (Answer(503, b"<html>busy</html>"), "try again later"),
        (Answer(429), "try again later"),
        (Answer(401), "netrc"),
        (Answer(403), "netrc"),
        (Answer(404), "check `catalog`"),
        (Answer(400, b"bad collection"), "bad collection"),
        (HANG_UP, "try again later"),
        (HTML, "try again later"),
        (Answer(200), "try again later"),
        (Answer.of({}), "something else than items"),
        (Answer.of([]), "something else than items"),
        (Answer.of({"detail": "backend not reachable"}), "backend not reachable"),
        (Answer.of({"type": "FeatureCollection"}), "something else than items"),
        (Answer.of({"type": "FeatureCollection", "features": None}), "something else than items"),
        (Answer.of({"type": "FeatureCollection", "features": ["x"]}), "something else than items"),
        (Answer.of(page_of(following="http://127.0.0.1:9/more")), "more follow"),
        (Answer(200, b'{"type": "FeatureCollection", "features": []}', cut=20), "try again later"),
    ],
)
def test_a_catalogue_that_fails_is_an_error_and_never_empty(
    scripted: Any, world: Simulation, answer: Answer, words: str
) -> None:
    server = scripted(search_answers(answer))

    with pytest.raises(SourceError) as caught:
        s1(catalog=server.url).search(world.settings.grid, EVER)

    assert server.url in str(caught.value)
    assert "sentinel-1-rtc" in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "root",
    [
        HTML,
        Answer(503),
        Answer.of({"type": "Catalog"}),
        Answer.of([1, 2]),
        Answer.of({**landing(""), "conformsTo": [CONFORMS + "core"]}),
        Answer.of({key: value for key, value in landing("").items() if key != "conformsTo"}),
    ],
)
def test_what_is_no_searchable_catalogue_is_an_error(
    scripted: Any, world: Simulation, root: Answer
) -> None:
    server = scripted(lambda request: root)
    with pytest.raises(SourceError, match=server.url):
        s1(catalog=server.url).search(world.settings.grid, EVER)


def test_a_page_that_fails_takes_the_pages_before_with_it(scripted: Any, world: Simulation) -> None:
    items = s1_items(world)
    server = scripted(lambda request: None)
    first = Answer.of(page_of(*items[:2], following=f"{server.url}/more"))
    server.answer = lambda request: {
        "/": Answer.of(landing(server.url)),
        "/search": first,
        "/more": Answer(502),
    }[request.path]

    with pytest.raises(SourceError, match="try again later"):
        s1(catalog=server.url).search(world.settings.grid, EVER)

    server.answer = lambda request: first if request.path != "/" else Answer.of(landing(server.url))
    with pytest.raises(SourceError, match="circles"):
        s1(catalog=server.url).search(world.settings.grid, EVER)


def test_what_passes_is_tried_again(scripted: Any, world: Simulation) -> None:
    items = s1_items(world)
    good = Answer.of(page_of(*items))
    short = Answer(200, good.body, good.headers, cut=500)
    busy = Answer(429, b"", (("Retry-After", "0"),))
    server = scripted(search_answers(Answer(503), busy, HANG_UP, short, Answer(500), short, good))

    granules = s1(catalog=server.url).search(world.settings.grid, EVER)

    assert {one.id for one in granules} == {item["id"] for item in items}
    searches = [request for request in server.requests if request.path == "/search"]
    assert len(searches) == 7
    asked = searches[-1].json
    assert asked["collections"] == ["sentinel-1-rtc"]
    assert asked["datetime"] == "2013-12-31T23:00:00Z/.."
    west, south, east, north = asked["bbox"]
    assert west < -4.0 < east
    assert south < 38.75 < north


def test_fewer_items_than_announced_are_worth_a_warning(
    scripted: Any, world: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    server = scripted(search_answers(Answer.of(page_of(*s1_items(world), numberMatched=99))))
    with caplog.at_level(logging.WARNING):
        s1(catalog=server.url).search(world.settings.grid, EVER)
    assert "announced 99 items" in caplog.text


def test_an_empty_answer_is_no_error(scripted: Any, world: Simulation) -> None:
    server = scripted(search_answers(Answer.of(page_of(numberMatched=0))))
    assert s1(catalog=server.url).search(world.settings.grid, EVER) == []


def test_malformed_items_and_odd_hrefs_are_defects(scripted: Any, world: Simulation) -> None:
    bare, undated, strange, relative, listed = s1_items(world)[:5]
    del listed["collection"]
    listed["properties"], listed["links"] = ["no", "table"], "no list"
    bare["assets"] = {}
    undated["properties"]["start_datetime"] = "tomorrow"
    strange["assets"]["vv"]["href"] = "ftp://somewhere/vv.tif"
    relative["assets"]["vv"]["href"] = "../vv.tif"
    relative["links"] = [{"rel": "self", "href": "http://127.0.0.1:9/items/one"}]
    server = scripted(search_answers(Answer.of(page_of(bare, undated, strange, relative, listed))))

    granules = {one.id: one for one in s1(catalog=server.url).search(world.settings.grid, EVER)}

    assert "neither VV nor VH" in granules[bare["id"]].defect
    assert "malformed" in granules[undated["id"]].defect
    assert "malformed" in granules[listed["id"]].defect
    assert "ftp://somewhere" in granules[strange["id"]].defect
    assert granules[relative["id"]].defect == ""
    assert granules[relative["id"]].assets["vv"] == "http://127.0.0.1:9/vv.tif"


def test_a_grid_across_the_antimeridian_is_asked_for_in_two_boxes(
    scripted: Any, world: Simulation
) -> None:
    item = s1_items(world)[0]
    item["geometry"] = None
    item["bbox"] = [179.0, -17.0, 180.0, -16.0]
    server = scripted(search_answers(Answer.of(page_of(item))))
    fiji = GeoBox((100, 100), Affine(2000, 0, 80_000, 0, -2000, 8_200_000), "EPSG:32701")

    granules = s1(catalog=server.url).search(fiji, EVER)

    first, second = (one.json["bbox"] for one in server.requests if one.path == "/search")
    assert (first[2], second[0]) == (180, -180)
    assert len(granules) == 1


# --- recorded answers -----------------------------------------------------------------------


def recorded(file: Path) -> list[dict[str, Any]]:
    """The JSON bodies of a recording, in order."""
    exchanges = yaml.safe_load(file.read_text())["interactions"]
    return [json.loads(exchange["response"]["body"]["string"]) for exchange in exchanges]


def around(item: dict[str, Any]) -> GeoBox:
    west, south, east, north = item["bbox"]
    return region_grid((west, south, east, north), None, 1000.0)


@pytest.mark.parametrize(
    ("source", "name", "key", "version"),
    [
        (
            s1,
            "sentinel-1-rtc",
            "S1A_IW_GRDH_1SDV_20250311T044231_20250311T044249_058252_073302_rtc",
            "0",
        ),
        (
            s2,
            "sentinel-2-l2a",
            "Sentinel-2B_53NKG_20250312T014549_S20250312T014547",
            "05.11-00-20250312041213",
        ),
    ],
)
def test_recorded_items_of_planetary_computer(
    scripted: Any, shared_data: Path, source: Any, name: str, key: str, version: str
) -> None:
    folder = shared_data / "granules" / "api" / "stac_cassettes_planetary_computer"
    page, root, _ = recorded(folder / f"test_smoke[{name}].yaml")
    page["links"] = [link for link in page["links"] if link["rel"] != "next"]
    server = scripted(lambda request: None)
    home = json.loads(
        json.dumps(root).replace("https://planetarycomputer.microsoft.com/api/stac/v1", server.url)
    )
    server.answer = lambda request: Answer.of(page if request.path == "/search" else home)

    (granule,) = source(catalog=server.url).search(around(page["features"][0]), EVER)

    assert (granule.key, granule.defect) == (key, "")
    assert granule.version.startswith(version)
    assert all(".blob.core.windows.net/" in href for href in granule.assets.values())


def test_recorded_search_of_earth_search_goes_over_two_pages(
    scripted: Any, shared_data: Path
) -> None:
    """Its first page says that another follows, and the second is empty."""
    folder = shared_data / "granules" / "api" / "stac_cassettes_pystac_client"
    first, second = recorded(folder / "test_multiple_collections.yaml")
    server = scripted(lambda request: None)
    for link in first["links"]:
        if link["rel"] == "next":
            link["href"] = f"{server.url}/search"

    def answer(request: Request) -> Answer:
        if request.path == "/":
            return Answer.of(landing(server.url))
        return Answer.of(second if request.json.get("next") else first)

    server.answer = answer
    (granule,) = s2(catalog=server.url).search(around(first["features"][0]), EVER)

    assert len(server.requests) == 3
    assert granule.id == "S2A_13TDE_20231008_0_L2A"
    assert granule.extra["boa_offset"] == 0  # earthsearch:boa_offset_applied
    assert granule.defect == ""


# --- files over the wire --------------------------------------------------------------------


def wide(folder: Path) -> tuple[Sentinel1Source, GeoBox]:
    """A file of 16 MB, and a region of 16 pixels in the middle of it."""
    import rasterio

    transform = Affine(10, 0, 400_000, 0, -10, 4_300_020)
    place = {"crs": "EPSG:32630", "transform": transform, "tiled": True}
    for seed, name in enumerate(("vv", "vh")):
        power = np.random.default_rng(seed).integers(1, 9, (4096, 4096)).astype(np.uint8)
        with rasterio.open(
            folder / f"{name}.tif", "w", "GTiff", 4096, 4096, 1, dtype="uint8", **place
        ) as file:
            file.write(power, 1)
    return s1(path=folder), GeoBox(
        (16, 16), Affine(10, 0, 420_000, 0, -10, 4_280_000), place["crs"]
    )


def test_only_the_window_under_the_grid_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "tile").mkdir()
    source, grid = wide(tmp_path / "tile")
    with RangeServer(tmp_path) as server:
        reading = source.read(granule_of({"vv": f"{server.url}/tile/vv.tif"}), grid, VV_VH[:1])

    file = tmp_path / "tile" / "vv.tif"
    local = source.read(granule_of({"vv": str(file)}), grid, VV_VH[:1])
    np.testing.assert_array_equal(reading.imagery, local.imagery)
    size = file.stat().st_size
    assert size > 16_000_000
    assert server.sent < 0.08 * size
    assert len([one for one in server.requests if one.method == "GET"]) < 12
    # No hunt for side-car files in the folder or beside the file.
    assert {one.path for one in server.requests} == {"/tile/vv.tif"}


def granule_of(assets: dict[str, str]) -> Granule:
    from cube.sources.asset import Georeference

    place = Georeference(None, None, None, None)
    return Granule(
        "one", "one", "0", "s1", "sar", "Sentinel-1A", None, assets,
        extra={"georeference": dict.fromkeys(assets, place)},
    )  # fmt: skip


@pytest.fixture
def remote(world: Simulation, fresh_files: RangeServer) -> tuple[RangeServer, Granule, GeoBox]:
    grid = world.settings.grid
    granule = s1(path=world.folder / "sentinel1").search(grid, EVER)[0]
    assets = {
        layer: f"{fresh_files.url}/{Path(href).relative_to(world.folder)}"
        for layer, href in granule.assets.items()
    }
    return fresh_files, granule_of(assets), grid


def after_opening(answer: Answer) -> Callable[[Request], Answer | None]:
    """Let the header through, and answer so to every range behind it."""
    return lambda request: (
        answer if request.range and not request.range.startswith("bytes=0-") else None
    )


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (lambda request: Answer(404), "not_found", "the catalogue names it"),
        (lambda request: Answer(401), "unauthorised", "netrc"),
        (lambda request: Answer(403), "unauthorised", "`sign`"),
        (lambda request: Answer(500), "unavailable", "tries again"),
        (lambda request: Answer(503), "unavailable", "503"),
        (lambda request: Answer(429), "unavailable", "429"),
        (lambda request: HANG_UP, "unavailable", "tries again"),
        (lambda request: HTML, "not_a_raster", "login"),
        (after_opening(Answer(200, b"", cut=10)), "truncated", "again"),
    ],
)
def test_errors_over_the_wire_say_whose_they_are(
    remote: tuple[RangeServer, Granule, GeoBox], fault: Any, kind: str, words: str
) -> None:
    server, granule, grid = remote
    server.fault = fault

    with pytest.raises(GranuleError) as caught:
        s1(catalog=server.url).read(granule, grid, VV_VH)

    assert caught.value.kind == kind
    assert words in str(caught.value)
    assert "iw-v" in str(caught.value)


def test_a_server_that_is_not_there_may_come_back(world: Simulation) -> None:
    granule = granule_of({"vv": "http://127.0.0.1:9/vv.tif"})
    with pytest.raises(GranuleError, match="tries again") as caught:
        s1(catalog="http://127.0.0.1:9").read(granule, world.settings.grid, VV_VH[:1])
    assert caught.value.kind == "unavailable"


def test_a_failure_is_not_remembered(remote: tuple[RangeServer, Granule, GeoBox]) -> None:
    server, granule, grid = remote
    for fault in (lambda request: Answer(404), lambda request: Answer(503)):
        server.fault = fault
        with pytest.raises(GranuleError):
            s1(catalog=server.url).read(granule, grid, VV_VH)
    server.fault = lambda request: None
    reading = s1(catalog=server.url).read(granule, grid, VV_VH)
    assert is_valid(reading.qc).any()


@pytest.mark.parametrize("fault", [Answer(503), Answer(200, b"", cut=100), HANG_UP])
def test_a_fault_that_passes_leaves_no_trace_in_the_values(
    remote: tuple[RangeServer, Granule, GeoBox], fault: Answer
) -> None:
    server, granule, grid = remote
    expected = s1(catalog=server.url).read(granule, grid, VV_VH)
    steps = len(server.requests)
    for at in range(1, steps + 1):
        server.reset()
        server.fault = lambda request, at=at: fault if request.number == at else None
        reading = s1(catalog=server.url).read(granule, grid, VV_VH)
        np.testing.assert_array_equal(reading.imagery, expected.imagery)
        np.testing.assert_array_equal(reading.qc, expected.qc)


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    source, grid = wide(tmp_path)
    with RangeServer(tmp_path) as server:
        granule = granule_of({"vv": f"{server.url}/vv.tif"})
        before = source.read(granule, grid, VV_VH[:1])
        (tmp_path / "vh.tif").replace(tmp_path / "vv.tif")
        after = source.read(granule, grid, VV_VH[:1])
    assert not np.array_equal(before.imagery, after.imagery)


def test_gdal_settings_give_way_to_the_environment(
    remote: tuple[RangeServer, Granule, GeoBox], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, granule, grid = remote
    server.fault = lambda request: Answer(503)
    counts = []
    for tries in ("0", GDAL_OPTIONS["GDAL_HTTP_MAX_RETRY"]):
        monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", tries)
        server.reset()
        with pytest.raises(GranuleError):
            s1(catalog=server.url).read(granule, grid, VV_VH)
        counts.append(len(server.requests))
    assert counts[0] < counts[1]


# --- S3 ---------------------------------------------------------------------------------------


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of an empty bucket; GDAL is told of the server as it would be in production."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_S3_ENDPOINT": f"{host}:{port}",
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "SECRET",
        "CPL_AWS_AUTODETECT_EC2": "NO",
    }.items():
        monkeypatch.setenv(name, value)
    url = f"http://{host}:{port}/granules"
    requests.put(url, timeout=10).raise_for_status()
    yield url
    server.stop()


def test_s3_hrefs_are_read_with_the_credentials_of_the_environment(
    bucket: str, world: Simulation, scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = world.settings.grid
    local = s1(path=world.folder / "sentinel1")
    items = published(world.folder, "s3://granules")
    for file in (world.folder / "sentinel1").rglob("*.tiff"):
        key = file.relative_to(world.folder)
        requests.put(f"{bucket}/{key}", file.read_bytes(), timeout=10).raise_for_status()
    radar = [item for item in items if item["collection"] == "sentinel-1-rtc"]
    server = scripted(search_answers(Answer.of(page_of(*radar))))
    source = s1(catalog=server.url)

    granules = {granule.id: granule for granule in source.search(grid, EVER)}
    expected = local.search(grid, EVER)[0]
    granule = granules[expected.id]
    reading = source.read(granule, grid, VV_VH)

    assert granule.assets["vv"].startswith("s3://granules/")
    np.testing.assert_array_equal(reading.imagery, local.read(expected, grid, VV_VH).imagery)
    with pytest.raises(GranuleError, match="there is no file at s3://granules/gone") as caught:
        source.read(granule_of({"vv": "s3://granules/gone.tif"}), grid, VV_VH[:1])
    assert caught.value.kind == "not_found"
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(GranuleError, match="AWS_PROFILE") as caught:
        source.read(granule, grid, VV_VH)
    assert caught.value.kind == "unauthorised"


# --- signed URLs ----------------------------------------------------------------------------


@pytest.fixture
def signer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("planetary_computer")
    module.sign = lambda href: f"{href}?sig=SECRET&se=2030"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "planetary_computer", module)
    return module


def test_urls_are_signed_when_read_and_the_signature_stays_secret(
    world: Simulation,
    catalog: str,
    fresh_files: RangeServer,
    signer: ModuleType,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source, grid = s1(catalog=catalog, sign="planetary-computer"), world.settings.grid
    fresh_files.fault = lambda request: None if "sig=SECRET" in request.query else Answer(403)
    granules = source.search(grid, EVER)
    plain = s1(catalog=catalog)

    # A token changes from hour to hour: what is planned must not depend on it.
    assert what_counts(granules) == what_counts(plain.search(grid, EVER))
    assert is_valid(source.read(granules[0], grid, VV_VH).qc).any()
    with pytest.raises(GranuleError, match="`sign`"):
        plain.read(granules[0], grid, VV_VH)
    with caplog.at_level(logging.DEBUG):
        for answer in (Answer(403), Answer(503), HTML, Answer(404), HANG_UP):
            fresh_files.fault = lambda request, answer=answer: answer
            with pytest.raises(GranuleError) as caught:
                source.read(granules[0], grid, VV_VH)
            assert "SECRET" not in str(caught.value)
    assert "SECRET" not in caplog.text


def test_the_real_package_is_asked_for_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("planetary_computer")
    from cube.sources.remote import signed

    token = Answer.of({"msft:expiry": "2999-01-01T00:00:00Z", "token": "sv=1&sig=x"})
    with Loopback(lambda request: token) as server:
        monkeypatch.setenv("PC_SDK_SAS_URL", server.url)
        href = "https://account.blob.core.windows.net/container/file.tif"
        assert signed(href, "planetary-computer") == f"{href}?sv=1&sig=x"
        assert server.requests[0].path == "/account/container"


def test_without_the_package_the_search_says_so(
    world: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "planetary_computer", None)
    source = s1(catalog="http://127.0.0.1:9", sign="planetary-computer")
    with pytest.raises(SourceError, match="pip install planetary-computer"):
        source.search(world.settings.grid, EVER)


# --- settings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "either path"),
        ({"path": "a", "catalog": "https://b/c"}, "not both"),
        ({"path": "a", "sign": "planetary-computer"}, "sign is for"),
        ({"catalog": "stac/v1"}, "http"),
        ({"catalog": "s3://bucket"}, "http"),
        ({"catalog": "https://me:secret@host/stac"}, "netrc"),
        ({"catalog": "https://host/stac", "sign": "aws"}, "planetary-computer"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(
    settings: dict[str, str], words: str
) -> None:
    for source in (s1, s2):
        with pytest.raises(ValidationError, match=words) as caught:
            source(**settings)
        assert "no credentials" not in words or "secret" not in str(caught.value)
