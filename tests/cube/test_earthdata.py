"""ECOSTRESS from Earthdata: the real client against a catalogue, a login and files on loopback."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import rasterio
import trustme
from odc.geo.geobox import GeoBox
from pydantic import ValidationError
from rasterio.warp import transform_bounds

from cube.bands import THERMAL
from cube.errors import GranuleError, SourceError
from cube.grid import region_grid
from cube.retry import Clock
from cube.scene import Granule, Reading
from cube.sources.base import Period
from cube.sources.earthdata import EarthdataSource
from cube.sources.earthdata_login import FRESH, account
from cube.sources.ecostress import EcostressSource
from cube.sources.ecostress_names import parse
from loopback import LOGIN_PAGE, EarthdataServer, Fault, record_of
from pipelines.simulate import Simulation, SimulationSettings, simulate

BANDS = THERMAL.require(("lst", "emissivity"))
ALWAYS = Period(datetime(2018, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))
LOS_ANGELES = region_grid((-118.7, 33.7, -117.5, 34.3), None, 70.0)
WORLD = Path("granules/api/cmr_from_notebook_outputs")
LISTING = WORLD / "earthaccess_search_LosAngeles_2023_ECO_L2T_LSTE_EMITL2ARFL.json"
CATALOGUE = EarthdataServer.CATALOGUE

pytestmark = pytest.mark.usefixtures("stranger")


class Ticking:
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += seconds

    def now(self) -> float:
        return self.time


class Impatient(EarthdataSource):
    """A source that does not really wait, and soon takes silence for a stall."""

    clock: ClassVar[Clock] = Clock(lambda seconds: None)
    timeout: ClassVar[tuple[float, float]] = (1.0, 0.3)


@pytest.fixture(scope="session")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    settings = SimulationSettings.tiny(sentinel1=0, sentinel2=0)
    return simulate(tmp_path_factory.mktemp("simulated"), settings)


def simulated_records(simulation: Simulation, url: str) -> list[dict[str, Any]]:
    folder = simulation.folder / "ecostress"
    granules: dict[str, list[Path]] = {}
    for file in sorted(folder.glob("*.tif")):
        granules.setdefault(parse(file.stem).granule, []).append(file)
    return [_record(name, files, url) for name, files in granules.items()]


def _record(name: str, files: list[Path], url: str) -> dict[str, Any]:
    with rasterio.open(files[0]) as src:
        west, south, east, north = transform_bounds(src.crs, "EPSG:4326", *src.bounds)
    time = f"{parse(files[0].stem).time:%Y-%m-%dT%H:%M:%S.000Z}"
    umm = {
        "CollectionReference": {"ShortName": "ECO_L2T_LSTE", "Version": "002"},
        "SpatialExtent": _rectangle(west, south, east, north),
        "TemporalExtent": {"RangeDateTime": {"BeginningDateTime": time, "EndingDateTime": time}},
    }
    return record_of(umm, name, [f"{url}/{file.name}" for file in files], files)


def _rectangle(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    sides = {"West": west, "South": south, "East": east, "North": north}
    rectangle = {f"{side}BoundingCoordinate": value for side, value in sides.items()}
    return {"HorizontalSpatialDomain": {"Geometry": {"BoundingRectangles": [rectangle]}}}


@pytest.fixture
def server(simulation: Simulation, certificate: trustme.LeafCert) -> Iterator[EarthdataServer]:
    with EarthdataServer(simulation.folder / "ecostress", certificate) as running:
        running.token = "a-secret-token"
        running.records = simulated_records(simulation, running.url)
        yield running


@pytest.fixture
def known(stranger: pytest.MonkeyPatch, server: EarthdataServer) -> pytest.MonkeyPatch:
    """The token of the server is in the environment."""
    assert server.token is not None
    stranger.setenv("EARTHDATA_TOKEN", server.token)
    return stranger


def source(server: EarthdataServer, folder: Path, **settings: Any) -> Impatient:
    hosts = {"cmr": f"{server.url}/search", "edl": f"localhost:{server.port}"}
    made = Impatient.model_validate({"kind": "earthdata", "name": "eco"} | hosts | settings)
    made.bind(folder)
    return made


def local(simulation: Simulation, **settings: Any) -> EcostressSource:
    path = simulation.folder / "ecostress"
    tables = {"kind": "ecostress", "name": "eco", "path": path} | settings
    return EcostressSource.model_validate(tables)


def grid_of(simulation: Simulation) -> GeoBox:
    return simulation.settings.grid


def by_id(granules: list[Granule]) -> dict[str, Granule]:
    return {granule.id: granule for granule in granules}


def assert_same(left: Reading, right: Reading) -> None:
    np.testing.assert_array_equal(left.imagery, right.imagery)
    np.testing.assert_array_equal(left.qc, right.qc)
    np.testing.assert_array_equal(left.product_qc, right.product_qc)


def first_of(here: Impatient, simulation: Simulation) -> Granule:
    found = here.search(grid_of(simulation), ALWAYS)
    return min((one for one in found if not one.defect), key=lambda one: one.id)


# Search


def test_finds_what_the_local_source_finds(
    server: EarthdataServer, simulation: Simulation, tmp_path: Path
) -> None:
    grid = grid_of(simulation)
    there = by_id(source(server, tmp_path).search(grid, ALWAYS))
    here = by_id(local(simulation).search(grid, ALWAYS))
    assert there.keys() == here.keys()
    for name, granule in there.items():
        mine = here[name]
        assert (granule.key, granule.version, granule.time, granule.platform, granule.modality) == (
            mine.key, mine.version, mine.time, mine.platform, mine.modality,
        )  # fmt: skip
        assert granule.assets.keys() == mine.assets.keys()
        assert granule.size == mine.size
        assert bool(granule.defect) == bool(mine.defect)
    assert [name for name, granule in there.items() if granule.defect] == [simulation.orphan]
    assert all("Authorization" not in asked.headers for asked in server.requests)


def test_the_query_names_collection_box_and_time(
    server: EarthdataServer, simulation: Simulation, tmp_path: Path
) -> None:
    start, end = datetime(2023, 2, 1, tzinfo=UTC), datetime(2023, 3, 1, tzinfo=UTC)
    here = source(server, tmp_path)
    found = here.search(grid_of(simulation), Period(start, end))
    whole = by_id(here.search(grid_of(simulation), ALWAYS))
    assert 0 < len(found) < len(whole)
    assert by_id(found).keys() == {
        name for name, one in whole.items() if one.time and start <= one.time < end
    }
    first, last = (server.asked(CATALOGUE)[index].query["temporal[]"] for index in (0, -1))
    assert first == ["2023-02-01T00:00:00Z,2023-03-01T00:00:00Z"]
    assert last == ["2018-01-01T00:00:00Z,"]
    box = [float(side) for side in server.requests[0].query["bounding_box"][0].split(",")]
    west, south, east, north = simulation.settings.bbox
    assert box == pytest.approx([west, south, east, north], abs=0.03)
    assert box[0] < west and box[1] < south and box[2] > east and box[3] > north


def recorded(shared_data: Path) -> list[dict[str, Any]]:
    """The 126 ECOSTRESS granules of a real answer, put back into the form it came in."""
    return [
        record_of(entry, entry["data_links"][0].rsplit("/", 2)[1], entry["data_links"])
        for entry in json.loads((shared_data / LISTING).read_text())
    ]


@pytest.mark.parametrize("page", [2000, 50, 9])
def test_a_real_listing_page_by_page(
    shared_data: Path, server: EarthdataServer, tmp_path: Path, page: int
) -> None:
    server.records, server.page = recorded(shared_data), page
    found = source(server, tmp_path).search(LOS_ANGELES, ALWAYS)
    assert len(server.records) == 130 and len(by_id(found)) == len(found) == 126
    assert not any(granule.defect for granule in found)
    one = by_id(found)["ECOv002_L2T_LSTE_28264_003_11SLT_20230701T085534_0710_01"]
    assert one.key == "L2T_LSTE_28264_003_11SLT_20230701T085534" and one.version == "002_0710_01"
    assert one.time == datetime(2023, 7, 1, 8, 55, 34, tzinfo=UTC)
    layers = {"LST", "LST_err", "EmisWB", "QC", "cloud", "water", "view_zenith"}
    assert set(one.assets) == layers
    assert one.assets["LST"].startswith("https://data.lpdaac.earthdatacloud.nasa.gov/")
    assert one.assets["LST"].endswith(f"/{one.id}_LST.tif")
    # One request counts, the others turn the pages.
    assert len(server.asked(CATALOGUE)) == 1 + -(-126 // page)


def test_a_real_listing_names_the_local_extracts(
    shared_data: Path, server: EarthdataServer, tmp_path: Path
) -> None:
    server.records = recorded(shared_data)
    found = {granule.time for granule in source(server, tmp_path).search(LOS_ANGELES, ALWAYS)}
    folder = shared_data / "granules/ecostress/L2_LSTE_002_AppEEARS_LosAngeles"
    extracts = {parse(file.stem).time for file in folder.glob("*_LST_doy*.tif")}
    # The listing begins in July; from then on every extract is in it, to the second.
    since = {time for time in extracts if time >= datetime(2023, 7, 1, tzinfo=UTC)}
    assert len(since) >= 5 and since <= found


def test_sizes_and_checksums_stand_where_a_real_record_has_them(
    shared_data: Path, server: EarthdataServer, tmp_path: Path
) -> None:
    """A record as CMR gave it, of another product, under the names of this one."""
    import yaml  # type: ignore[import-untyped]

    cassette = "cmr_cassettes_earthaccess/TestResults.test_get_all_less_than_2k.yaml"
    recording = yaml.safe_load((shared_data / "granules/api" / cassette).read_text())
    answer = json.loads(recording["interactions"][1]["response"]["body"]["string"])
    real, name = json.dumps(answer["items"][0]), "ECOv002_L2T_LSTE_28264_003_11SLT_20230701T085534"
    theirs = answer["items"][0]["umm"]["GranuleUR"]
    for extension, layer in (
        (".nc", "_LST.tif"),
        (".tif", "_QC.tif"),
        (".txt", "_cloud.tif"),
        ("", ""),
    ):
        real = real.replace(f"{theirs}{extension}", f"{name}_0710_01{layer}")
    record = json.loads(real)
    record["umm"]["CollectionReference"] = {"ShortName": "ECO_L2T_LSTE", "Version": "002"}
    span = {"BeginningDateTime": "2023-07-01T08:55:34.839Z"}
    record["umm"]["TemporalExtent"]["RangeDateTime"] = span | {"EndingDateTime": "2023-07-02"}
    server.records = [record]
    (granule,) = source(server, tmp_path).search(LOS_ANGELES, ALWAYS)
    assert granule.extra["files"] == {
        "LST": {"size": 1098347, "checksum": "md5:cdb8ba3cff9617e88b3da89b5c84dc25"},
        "QC": {"size": 525128, "checksum": "md5:95848b32fe418a4ea9c8cca1ccf4f92e"},
        "cloud": {"size": 3958009, "checksum": "md5:8f48e0b8e51bda5acf5118d442e92baf"},
    }
    assert granule.size == 1098347 + 525128 + 3958009 and not granule.defect


def test_an_empty_answer_is_an_answer(
    server: EarthdataServer, simulation: Simulation, tmp_path: Path
) -> None:
    server.records = []
    assert source(server, tmp_path).search(grid_of(simulation), ALWAYS) == []
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(500, body=b"<html>Bad gateway</html>"), "unavailable"),
        (Fault(503), "unavailable"),
        (Fault(429), "unavailable"),
        (Fault(400, body=b'{"errors":["Parameter [bbox] was not recognized."]}'), "refused"),
        (Fault(404), "refused"),
        (Fault(body=LOGIN_PAGE), "malformed"),
        (Fault(body=b'{"items": [{}]}'), "malformed"),
        (Fault(body=b'{"items": [{"meta": {}, "umm": {}}]}'), "malformed"),
        (Fault(body=b'{"feed": {}}'), "malformed"),
        (Fault(body=b"[]"), "malformed"),
        (Fault(headers={"CMR-Hits": ""}), "malformed"),
        (Fault(headers={"CMR-Hits": "many"}), "malformed"),
        (Fault(headers={"CMR-Hits": "900"}), "incomplete"),
        (Fault(body=b'{"items": []}'), "incomplete"),
        (Fault(cut=100), "truncated"),
        (Fault(cut=0, stall=True), "timeout"),
    ],
    ids=str,
)
def test_an_outage_is_no_empty_answer(
    server: EarthdataServer, simulation: Simulation, tmp_path: Path, fault: Fault, kind: str
) -> None:
    server.always[CATALOGUE] = fault
    with pytest.raises(SourceError) as caught:
        source(server, tmp_path).search(grid_of(simulation), ALWAYS)
    assert not isinstance(caught.value, GranuleError)
    assert f"the catalogue {server.url}/search/" in str(caught.value)
    assert caught.value.kind in (kind, "unavailable" if fault.cut else kind)
    if kind == "refused":
        assert len(server.requests) == 1


def test_a_page_that_comes_twice_is_seen(
    server: EarthdataServer, simulation: Simulation, tmp_path: Path
) -> None:
    server.page = 2
    server.always[CATALOGUE] = Fault(headers={"CMR-Search-After": "[0]"})
    with pytest.raises(SourceError, match="showed only 2 of them") as caught:
        source(server, tmp_path).search(grid_of(simulation), ALWAYS)
    assert caught.value.kind == "incomplete"


def test_a_search_survives_what_passes(
    server: EarthdataServer, simulation: Simulation, tmp_path: Path
) -> None:
    server.faults[CATALOGUE] = [
        Fault(503), Fault(), Fault(cut=50), Fault(cut=0, stall=True), Fault(body=b"oops"),
    ]  # fmt: skip
    found = source(server, tmp_path).search(grid_of(simulation), ALWAYS)
    assert len(found) == len(server.records)


def test_nobody_there(server: EarthdataServer, simulation: Simulation, tmp_path: Path) -> None:
    server.__exit__(None, None, None)
    with pytest.raises(SourceError, match="cannot be searched") as caught:
        source(server, tmp_path).search(grid_of(simulation), ALWAYS)
    assert caught.value.kind == "unavailable"


def test_a_certificate_that_nobody_vouches_for(
    server: EarthdataServer, simulation: Simulation, tmp_path: Path, stranger: pytest.MonkeyPatch
) -> None:
    stranger.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(SourceError, match="REQUESTS_CA_BUNDLE") as caught:
        source(server, tmp_path).search(grid_of(simulation), ALWAYS)
    assert caught.value.kind == "refused"


@pytest.mark.parametrize(
    "change",
    [
        {"GranuleUR": "ECOv001_L2T_LSTE_1"},
        {"GranuleUR": None},
        {"RelatedUrls": [{"Type": "GET DATA"}]},
        {"RelatedUrls": None},
    ],
)
def test_a_record_that_is_not_understood_is_a_defect(
    server: EarthdataServer, simulation: Simulation, tmp_path: Path, change: dict[str, Any]
) -> None:
    server.records[1]["umm"] |= change
    found = source(server, tmp_path).search(grid_of(simulation), ALWAYS)
    (odd,) = (one for one in found if one.id == server.records[1]["meta"]["concept-id"])
    assert "not understood" in odd.defect and odd.time is None
    assert len(found) == len(server.records)


def test_links_that_are_no_layers_and_links_without_encryption_are_left_out(
    server: EarthdataServer, simulation: Simulation, tmp_path: Path
) -> None:
    umm = server.records[0]["umm"]
    name = umm["GranuleUR"]
    umm["RelatedUrls"] = [
        {"URL": f"https://h/{name}_{tail}", "Type": kind}
        for tail, kind in (
            ("LST.tif", "GET DATA"), ("QC.tif", "GET DATA"), ("LST.jpeg", "GET DATA"),
            ("QC.json", "GET DATA"), ("height.tif", "GET DATA"), ("LST_clipped.tif", "GET DATA"),
            ("water.tif", "GET RELATED VISUALIZATION"),
        )
    ] + [{"URL": f"http://h/{name}_cloud.tif", "Type": "GET DATA"}]  # fmt: skip
    granule = by_id(source(server, tmp_path).search(grid_of(simulation), ALWAYS))[name]
    assert set(granule.assets) == {"LST", "QC"}
    assert "no layer cloud" in granule.defect
    lenient = source(server, tmp_path, allow_missing=["cloud"])
    assert not by_id(lenient.search(grid_of(simulation), ALWAYS))[name].defect


# Reading


@pytest.mark.parametrize("settings", [{}, {"max_lst_error": 1.5}])
def test_reads_what_the_local_source_reads(
    known: None,
    server: EarthdataServer,
    simulation: Simulation,
    tmp_path: Path,
    settings: dict[str, Any],
) -> None:
    grid = grid_of(simulation)
    there, here = source(server, tmp_path, **settings), local(simulation, **settings)
    mine = by_id(here.search(grid, ALWAYS))
    found = [granule for granule in there.search(grid, ALWAYS) if not granule.defect]
    assert len(found) >= 6
    for granule in found:
        assert_same(there.read(granule, grid, BANDS), here.read(mine[granule.id], grid, BANDS))


def test_only_the_layers_that_are_needed_are_fetched_and_each_once(
    known: None, server: EarthdataServer, simulation: Simulation, tmp_path: Path
) -> None:
    there = source(server, tmp_path)
    granule = first_of(there, simulation)
    server.requests.clear()
    for bands in (("lst",), ("lst", "emissivity"), ("lst", "emissivity")):
        there.read(granule, grid_of(simulation), THERMAL.require(bands))
    layers = [asked.path.removeprefix(f"/{granule.id}_") for asked in server.requests]
    assert sorted(layers) == ["EmisWB.tif", "LST.tif", "QC.tif", "cloud.tif", "water.tif"]
    there.read(granule, grid_of(simulation), THERMAL.require(("lst_err",)))
    assert server.requests[-1].path.endswith("_LST_err.tif")
    assert (tmp_path / ".cache" / granule.id / f"{granule.id}_LST.tif").is_file()


@pytest.mark.parametrize(
    "faults",
    [
        [Fault(cut=2000)],
        [Fault(cut=2000, reset=True), Fault(503), Fault(cut=0)],
        [Fault(cut=1500, stall=True)],
        [Fault(429, headers={"Retry-After": "30"}), Fault(503, headers={"Retry-After": "1"})],
        [Fault(body=b"II*\0short")],
        [Fault(headers={"Content-Length": "999999"})],
        [Fault(cut=2000), Fault(no_range=True)],
        [Fault(cut=2000), Fault(416), Fault(504)],
    ],
    ids=lambda faults: " then ".join(map(str, faults)),
)
def test_a_granule_is_read_right_after_faults(
    known: None,
    server: EarthdataServer,
    simulation: Simulation,
    tmp_path: Path,
    faults: list[Fault],
) -> None:
    grid = grid_of(simulation)
    there, here = source(server, tmp_path), local(simulation)
    granule = first_of(there, simulation)
    for layer in ("LST", "QC", "cloud"):
        server.faults[f"/{granule.id}_{layer}.tif"] = list(faults)
    expected = here.read(by_id(here.search(grid, ALWAYS))[granule.id], grid, BANDS)
    assert_same(there.read(granule, grid, BANDS), expected)
    assert len(server.asked(f"/{granule.id}_LST.tif")) >= 2


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(503), "unavailable"),
        (Fault(403), "forbidden"),
        (Fault(404), "not_found"),
        (Fault(cut=0, stall=True), "timeout"),
        (Fault(body=LOGIN_PAGE), "login_page"),
        (Fault(body=b"II*\0short"), "wrong_length"),
    ],
    ids=str,
)
def test_a_granule_that_cannot_be_fetched_fails_with_its_kind(
    known: None,
    server: EarthdataServer,
    simulation: Simulation,
    tmp_path: Path,
    fault: Fault,
    kind: str,
) -> None:
    there = source(server, tmp_path)
    granule = first_of(there, simulation)
    server.always[f"/{granule.id}_QC.tif"] = fault
    with pytest.raises(GranuleError) as caught:
        there.read(granule, grid_of(simulation), BANDS)
    assert caught.value.kind == kind and f"{granule.id}_QC.tif" in str(caught.value)
    server.always.clear()
    there.read(granule, grid_of(simulation), BANDS)  # as the next run will


def test_bytes_of_another_file_are_refused_by_their_checksum(
    known: None, server: EarthdataServer, simulation: Simulation, tmp_path: Path
) -> None:
    there = source(server, tmp_path)
    granule = first_of(there, simulation)
    whole = (server.root / f"{granule.id}_LST.tif").read_bytes()
    server.always[f"/{granule.id}_LST.tif"] = Fault(body=whole[:-1] + b"?")
    with pytest.raises(GranuleError) as caught:
        there.read(granule, grid_of(simulation), BANDS)
    assert caught.value.kind == "checksum"


def test_a_damaged_file_without_checksum_does_not_stay_in_the_cache(
    known: None, server: EarthdataServer, simulation: Simulation, tmp_path: Path
) -> None:
    for record in server.records:
        del record["umm"]["DataGranule"]
    there = source(server, tmp_path)
    granule = first_of(there, simulation)
    path = f"/{granule.id}_LST.tif"
    server.faults[path] = [Fault(body=b"II*\0\x08\0\0\0 but no TIFF")]
    with pytest.raises(GranuleError) as caught:
        there.read(granule, grid_of(simulation), BANDS)
    assert caught.value.kind == "truncated" and granule.size == 0
    assert there.read(granule, grid_of(simulation), BANDS).imagery.shape[0] == 2
    assert len(server.asked(path)) == 2


# Credentials


def test_without_credentials_the_message_says_where_they_come_from(
    server: EarthdataServer, simulation: Simulation, tmp_path: Path
) -> None:
    there = source(server, tmp_path)
    granule = first_of(there, simulation)
    server.requests.clear()
    for _ in range(3):
        with pytest.raises(GranuleError, match=r"EARTHDATA_TOKEN.*\.netrc") as caught:
            there.read(granule, grid_of(simulation), BANDS)
        assert caught.value.kind == "unauthorised" and f"localhost:{server.port}" in str(
            caught.value
        )
    assert server.requests == []


def netrc(tmp_path: Path, server: EarthdataServer, password: str) -> None:
    # earthaccess looks for host and port, requests for the host alone.
    hosts = (f"localhost:{server.port}", "localhost")
    lines = [f"machine {host} login {server.user[0]} password {password}\n" for host in hosts]
    (tmp_path / "netrc").write_text("".join(lines))


def test_netrc_logs_in_once(
    server: EarthdataServer, simulation: Simulation, tmp_path: Path
) -> None:
    server.user = ("somebody", "aword")
    netrc(tmp_path, server, "aword")
    there = source(server, tmp_path)
    found = [one for one in there.search(grid_of(simulation), ALWAYS) if not one.defect]
    for granule in found[:3]:
        there.read(granule, grid_of(simulation), BANDS)
    assert server.logins == 1


def test_threads_share_one_login(
    server: EarthdataServer, simulation: Simulation, tmp_path: Path
) -> None:
    netrc(tmp_path, server, "aword")
    server.user = ("somebody", "aword")
    there, grid = source(server, tmp_path), grid_of(simulation)
    found = [one for one in there.search(grid, ALWAYS) if not one.defect]
    with ThreadPoolExecutor(4) as pool:
        readings = list(pool.map(lambda granule: there.read(granule, grid, BANDS), found))
    assert server.logins == 1
    mine = by_id(local(simulation).search(grid, ALWAYS))
    for granule, reading in zip(found, readings, strict=True):
        assert_same(reading, local(simulation).read(mine[granule.id], grid, BANDS))


def test_refused_credentials_are_not_tried_over_and_over(
    server: EarthdataServer,
    simulation: Simulation,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    netrc(tmp_path, server, "wrong-word")
    there = source(server, tmp_path)
    granule = first_of(there, simulation)
    for _ in range(4):
        with pytest.raises(GranuleError, match="did not accept") as caught:
            there.read(granule, grid_of(simulation), BANDS)
        assert caught.value.kind == "unauthorised" and "wrong-word" not in str(caught.value)
    assert len(server.asked(EarthdataServer.LOGIN)) == 1
    assert "wrong-word" not in caplog.text


@pytest.mark.parametrize("page", [False, True], ids=["401", "login page"])
def test_a_token_that_expires_is_renewed(
    server: EarthdataServer, simulation: Simulation, tmp_path: Path, page: bool
) -> None:
    server.user = ("somebody", "aword")
    netrc(tmp_path, server, "aword")
    time = Ticking()

    class Timed(Impatient):
        clock: ClassVar[Clock] = Clock(time.sleep, time.now)

    there = Timed.model_validate(source(server, tmp_path).__dict__)
    there.bind(tmp_path)
    grid = grid_of(simulation)
    first, second, *rest = [one for one in there.search(grid, ALWAYS) if not one.defect]
    there.read(first, grid, BANDS)
    server.token, server.login_page = "the-next-token", page
    with pytest.raises(GranuleError) as caught:
        there.read(second, grid, BANDS)
    assert caught.value.kind == ("login_page" if page else "unauthorised") and server.logins == 1
    time.time += FRESH
    with ThreadPoolExecutor(3) as pool:
        readings = list(pool.map(lambda one: there.read(one, grid, BANDS), [second, *rest]))
    assert len(readings) == 1 + len(rest) and server.logins == 2


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(Fault(body=b"{}"), "unavailable"), (Fault(body=b"<html>"), "unavailable")],
    ids=str,
)
def test_a_login_that_gives_no_token(
    server: EarthdataServer, simulation: Simulation, tmp_path: Path, fault: Fault, kind: str
) -> None:
    server.user = ("somebody", "aword")
    netrc(tmp_path, server, "aword")
    server.always[EarthdataServer.LOGIN] = fault
    there = source(server, tmp_path)
    with pytest.raises(GranuleError, match="nobody is signed in") as caught:
        there.read(first_of(there, simulation), grid_of(simulation), BANDS)
    assert caught.value.kind == kind


def test_nothing_secret_is_told_logged_or_stored(
    known: None,
    server: EarthdataServer,
    simulation: Simulation,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    there = source(server, tmp_path / "home")
    with caplog.at_level(logging.DEBUG):
        granule = first_of(there, simulation)
        server.faults[f"/{granule.id}_LST.tif"] = [Fault(503)]
        there.read(granule, grid_of(simulation), BANDS)
    assert server.token is not None
    assert server.token not in caplog.text
    assert server.token.encode() not in pickle.dumps(there)
    assert server.token not in there.model_dump_json() + repr(there) + repr(granule)
    stored = (file for file in (tmp_path / "home").rglob("*") if file.is_file())
    assert not any(server.token.encode() in file.read_bytes() for file in stored)


def test_a_source_travels_to_another_process_and_back(
    known: None, server: EarthdataServer, simulation: Simulation, tmp_path: Path
) -> None:
    there = source(server, tmp_path)
    granule = first_of(there, simulation)
    twin, same = pickle.loads(pickle.dumps((there, granule)))
    grid = grid_of(simulation)
    assert_same(twin.read(same, grid, BANDS), there.read(granule, grid, BANDS))


# Settings


def test_only_what_decides_about_pixels_counts_as_a_setting() -> None:
    base = {"kind": "earthdata", "name": "eco"}
    plain = EarthdataSource.model_validate(base)
    moved = EarthdataSource.model_validate(
        base | {"cache": "elsewhere", "max_cache": 3, "cmr": "https://h/search/", "edl": "h"}
    )
    strict = EarthdataSource.model_validate(base | {"max_lst_error": 1.0})
    assert plain.model_dump_json() == moved.model_dump_json() != strict.model_dump_json()
    assert plain.modality == "thermal" and plain.short_name == "ECO_L2T_LSTE"


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_lst_error": 3},
        {"path": "x"},
        {"access": "ftp"},
        {"s3_credentials": "http://plain"},
        {"max_cache": 0},
        {"kind": "ecostress"},
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EarthdataSource.model_validate({"kind": "earthdata", "name": "eco"} | wrong)


def test_one_login_a_host() -> None:
    assert account("a.host") is account("a.host") is not account("b.host")
