"""Real clients and real servers on loopback, with a proxy between them that injects faults."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import rasterio
import trustme
from rasterio.warp import transform_bounds

import cube.sources.earthdata_search
from cube.errors import SourceError
from cube.region import Region
from cube.retry import Clock
from cube.sources import stac_api
from cube.sources.earthdata import EarthdataSource
from cube.sources.ecostress_names import parse
from cube.store import Cube
from flaky_proxy import KINDS, FlakyProxy
from inspection import Figures, Inspector, Known
from loopback import EarthdataServer, record_of
from pipelines.ingest import ingest, plan
from pipelines.simulate import Simulation, SimulationSettings, simulate
from stac_server import RangeServer, StacServer, published

Tell = Callable[[str, Figures], None]
RUNS = 60
"""Runs of a job after which everything must have come through."""


@dataclass(frozen=True)
class Wire:
    """A region whose sources are all behind proxies."""

    region: Region
    proxies: tuple[FlakyProxy, ...]
    known: Known

    def calm(self) -> None:
        """Pass everything on from now."""
        for proxy in self.proxies:
            proxy.share = 0.0
            proxy.due.clear()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    settings = SimulationSettings.tiny(size=(40, 48), sentinel1=2, sentinel2=1)
    return simulate(tmp_path_factory.mktemp("world"), settings)


@pytest.fixture(scope="module")
def known(world: Simulation) -> Known:
    """What comes of the same granules without any network."""
    region = Region.load(world.region)
    ingest(region)
    return Known(region, Cube.open(region))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry as often as ever but at once, and take silence for a stall soon."""
    monkeypatch.setattr(EarthdataSource, "clock", Clock(lambda seconds: None))
    monkeypatch.setattr(EarthdataSource, "timeout", (2.0, 0.5))
    monkeypatch.setattr(cube.sources.earthdata_search, "TIMEOUT", (2.0, 0.5))
    monkeypatch.setattr(stac_api, "BACKOFF", 0.0)
    monkeypatch.setattr(stac_api, "TIMEOUT", (2.0, 0.5))
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.001")
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def wire(
    world: Simulation, known: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Wire]:
    authority = trustme.CA()
    bundle = str(tmp_path / "authority.pem")
    authority.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("EARTHDATA_TOKEN", "a-token")
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    with ExitStack() as running:
        earthdata = running.enter_context(EarthdataServer(world.folder / "ecostress", certificate))
        earthdata.token = "a-token"
        earthdata.records = records(world, earthdata.url)
        files = running.enter_context(RangeServer(world.folder))
        through = running.enter_context(FlakyProxy(files.url, seed=1))
        items = published(world.folder, through.url)
        (tmp_path / "catalog").mkdir()
        stac = running.enter_context(StacServer(items, tmp_path / "catalog"))
        before = running.enter_context(FlakyProxy(stac.url, seed=2))
        secure = running.enter_context(
            FlakyProxy(earthdata.url, seed=3, certificate=certificate, verify=bundle)
        )
        region = rewired(world, tmp_path, secure, before)
        yield Wire(region, (secure, before, through), known)


def rewired(world: Simulation, home: Path, earthdata: FlakyProxy, stac: FlakyProxy) -> Region:
    """The simulated region, with servers in place of folders."""
    for name in ("region.toml", "geology.gpkg"):
        shutil.copyfile(world.folder / name, home / name)
    text = (home / "region.toml").read_text()
    hosts = f'cmr = "{earthdata.url}/search"\nedl = "localhost:{earthdata.port}"'
    text = text.replace('kind = "ecostress"', 'kind = "earthdata"')
    text = text.replace('path = "ecostress"', hosts)
    for kind in ("sentinel1", "sentinel2"):
        text = text.replace(f'path = "{kind}"', f'catalog = "{stac.url}"')
    (home / "region.toml").write_text(text)
    return Region.load(home / "region.toml")


def records(world: Simulation, url: str) -> list[dict[str, Any]]:
    """The simulated granules as CMR lists them."""
    granules: dict[str, list[Path]] = {}
    for file in sorted((world.folder / "ecostress").glob("*.tif")):
        granules.setdefault(parse(file.stem).granule, []).append(file)
    return [_record(name, files, url) for name, files in granules.items()]


def _record(name: str, files: list[Path], url: str) -> dict[str, Any]:
    with rasterio.open(files[0]) as source:
        sides = transform_bounds(source.crs, "EPSG:4326", *source.bounds)
    names = ("West", "South", "East", "North")
    rectangle = {
        f"{side}BoundingCoordinate": value for side, value in zip(names, sides, strict=True)
    }
    time = f"{parse(files[0].stem).time:%Y-%m-%dT%H:%M:%S.000Z}"
    umm = {
        "CollectionReference": {"ShortName": "ECO_L2T_LSTE", "Version": "002"},
        "SpatialExtent": {
            "HorizontalSpatialDomain": {"Geometry": {"BoundingRectangles": [rectangle]}}
        },
        "TemporalExtent": {"RangeDateTime": {"BeginningDateTime": time, "EndingDateTime": time}},
    }
    return record_of(umm, name, [f"{url}/{file.name}" for file in files], files)


def weather(
    wire: Wire,
    figures: Figures,
    faults: int,
    on_cube: Callable[[Figures], None] = lambda _: None,
) -> None:
    """Make the cube anew until so many faults were injected; each time all comes through."""
    while True:
        shutil.rmtree(wire.region.location, ignore_errors=True)
        shutil.rmtree(Path(wire.region.location).parent / ".cache", ignore_errors=True)
        inspector = Inspector(wire.region, wire.known, figures)
        for run in range(RUNS):
            if run == RUNS - 1:
                wire.calm()
            if come_through(wire.region):
                break
            inspector.look()
        inspector.finish()
        figures.faults.clear()
        for proxy in wire.proxies:
            figures.faults.update(proxy.injected)
        on_cube(figures)
        if figures.faults.total() >= faults:
            return


def come_through(region: Region) -> bool:
    """One run of the job; False if there is something left for the next one."""
    try:
        return not ingest(region).failures
    except SourceError:
        return False


def test_without_faults_all_comes_over_the_wire_at_once(wire: Wire) -> None:
    figures = Figures()
    assert come_through(wire.region)
    inspector = Inspector(wire.region, wire.known, figures)
    inspector.finish()
    assert not figures.scenes_lost + figures.half_visible_scenes + figures.wrong_pixels
    assert not plan(wire.region).todo
    assert all(proxy.requests for proxy in wire.proxies)


def test_each_fault_once_on_each_server(wire: Wire) -> None:
    figures = Figures()
    for proxy in wire.proxies:
        proxy.due.extend(KINDS)
    weather(wire, figures, faults=len(KINDS) * len(wire.proxies))
    figures.assert_clean()
    assert set(figures.faults) == set(KINDS)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_a_storm_of_faults(wire: Wire, tell: Tell) -> None:
    figures = Figures()
    for proxy in wire.proxies:
        proxy.share = 0.25
    faults = int(os.environ.get("THERMOCUBE_SOAK_HTTP", "1000"))
    weather(wire, figures, faults, lambda so_far: tell("HTTP", so_far))
    figures.assert_clean()
