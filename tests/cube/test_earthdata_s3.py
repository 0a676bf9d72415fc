"""ECOSTRESS read in S3: a real S3 server, and temporary credentials from a login on loopback."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
import trustme

from cube.bands import THERMAL
from cube.errors import GranuleError
from cube.quality import is_valid
from cube.retry import Clock
from cube.scene import Granule
from cube.sources.base import Period
from cube.sources.earthdata import EarthdataSource
from cube.sources.ecostress import EcostressSource
from cube.sources.ecostress_names import parse
from loopback import Answer, EarthdataServer, Request, record_of
from pipelines.simulate import Simulation, SimulationSettings, simulate

pytestmark = pytest.mark.usefixtures("stranger")

ALWAYS = Period(datetime(2018, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))
BANDS = THERMAL.require(("lst", "emissivity"))
SECRET, TOKEN = "a-temporary-secret", "a-temporary-session-token"
WHOLE_WORLD = {
    "HorizontalSpatialDomain": {
        "Geometry": {
            "BoundingRectangles": [
                {
                    "WestBoundingCoordinate": -180,
                    "EastBoundingCoordinate": 180,
                    "SouthBoundingCoordinate": -90,
                    "NorthBoundingCoordinate": 90,
                }
            ]
        }
    }
}


class DataCentre(EarthdataServer):
    """Catalogue and login, and the door at which credentials for S3 are given out."""

    CREDENTIALS = "/s3credentials"
    answers: dict[str, Any] | None = None
    lifetime = timedelta(hours=1)

    def answer(self, request: Request, *, whole: bool = False) -> Answer:
        if request.path != self.CREDENTIALS:
            return super().answer(request, whole=whole)
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return Answer(401)
        end = f"{datetime.now(UTC) + self.lifetime:%Y-%m-%d %H:%M:%S+00:00}"
        usual = {
            "accessKeyId": "ASIATEMPORARY",
            "secretAccessKey": SECRET,
            "sessionToken": TOKEN,
            "expiration": end,
        }
        return Answer(200, json.dumps(self.answers or usual).encode())


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    settings = SimulationSettings.tiny(sentinel1=0, sentinel2=0)
    return simulate(tmp_path_factory.mktemp("simulated"), settings)


@pytest.fixture(scope="module")
def store(simulation: Simulation) -> Iterator[str]:
    """URL of a bucket with the granules' files, under the keys of the catalogue's links."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    bucket = f"http://{host}:{port}/bucket"
    requests.put(bucket, timeout=10).raise_for_status()
    for file in (simulation.folder / "ecostress").glob("*.tif"):
        requests.put(f"{bucket}/{file.name}", file.read_bytes(), timeout=10).raise_for_status()
    yield bucket
    server.stop()


@pytest.fixture
def centre(
    simulation: Simulation,
    store: str,
    certificate: trustme.LeafCert,
    stranger: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[DataCentre]:
    """The data centre; the machine has its login's token, and no credentials of AWS."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE"):
        stranger.delenv(f"AWS_{name}", raising=False)
    for name, value in {
        "AWS_S3_ENDPOINT": urlsplit(store).netloc,
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "CPL_AWS_AUTODETECT_EC2": "NO",
        "EARTHDATA_TOKEN": "a-login-token",
    }.items():
        stranger.setenv(name, value)
    with DataCentre(simulation.folder / "ecostress", certificate) as running:
        running.token = "a-login-token"
        running.records = records(simulation.folder / "ecostress", running.url)
        yield running


def owner(store: str) -> Any:
    """A client that may do anything with the bucket."""
    return pytest.importorskip("boto3").client(
        "s3",
        endpoint_url=store.removesuffix("/bucket"),
        region_name="us-east-1",
        aws_access_key_id="owner",
        aws_secret_access_key="word",
    )


def records(folder: Path, url: str) -> list[dict[str, Any]]:
    granules: dict[str, list[Path]] = {}
    for file in sorted(folder.glob("*.tif")):
        granules.setdefault(parse(file.stem).granule, []).append(file)
    found = []
    for name, files in granules.items():
        time = f"{parse(files[0].stem).time:%Y-%m-%dT%H:%M:%S.000Z}"
        umm = {
            "CollectionReference": {"ShortName": "ECO_L2T_LSTE", "Version": "002"},
            "SpatialExtent": WHOLE_WORLD,
            "TemporalExtent": {
                "RangeDateTime": {"BeginningDateTime": time, "EndingDateTime": time}
            },
        }
        found.append(record_of(umm, name, [f"{url}/{file.name}" for file in files], files))
    return found


class Impatient(EarthdataSource):
    """A source that does not really wait."""

    clock: ClassVar[Clock] = Clock(lambda seconds: None)


def source(centre: DataCentre, folder: Path, **settings: Any) -> Impatient:
    hosts = {
        "cmr": f"{centre.url}/search",
        "edl": f"localhost:{centre.port}",
        "s3_credentials": f"{centre.url}{DataCentre.CREDENTIALS}",
    }
    table = {"kind": "earthdata", "name": "eco", "access": "s3"}
    made = Impatient.model_validate(table | hosts | settings)
    made.bind(folder)
    return made


def found(there: EarthdataSource, simulation: Simulation) -> list[Granule]:
    return [one for one in there.search(simulation.settings.grid, ALWAYS) if not one.defect]


def test_granules_are_read_in_s3_as_from_a_folder(
    centre: DataCentre, simulation: Simulation, tmp_path: Path
) -> None:
    grid = simulation.settings.grid
    here = EcostressSource(kind="ecostress", name="eco", path=simulation.folder / "ecostress")
    mine = {granule.id: granule for granule in here.search(grid, ALWAYS)}
    there = source(centre, tmp_path)
    granules = found(there, simulation)
    assert len(granules) >= 6
    for granule in granules:
        assert all(url.startswith("s3://bucket/") for url in granule.assets.values())
        reading, expected = (
            there.read(granule, grid, BANDS),
            here.read(mine[granule.id], grid, BANDS),
        )
        np.testing.assert_array_equal(reading.imagery, expected.imagery)
        np.testing.assert_array_equal(reading.qc, expected.qc)
    assert is_valid(reading.qc).size
    # Once an hour, not once a granule; and no file came over HTTPS, none is kept.
    assert len(centre.asked(DataCentre.CREDENTIALS)) == 1
    assert not [asked for asked in centre.requests if asked.path.endswith(".tif")]
    assert not (tmp_path / ".cache").exists()


def test_credentials_that_end_soon_are_renewed(
    centre: DataCentre, simulation: Simulation, tmp_path: Path
) -> None:
    centre.lifetime = timedelta(minutes=2)
    there = source(centre, tmp_path)
    granule, *_ = found(there, simulation)
    for _ in range(3):
        there.read(granule, simulation.settings.grid, BANDS)
    assert len(centre.asked(DataCentre.CREDENTIALS)) == 3


def test_a_refusal_says_that_this_may_be_the_wrong_region(
    centre: DataCentre, store: str, simulation: Simulation, tmp_path: Path
) -> None:
    there = source(centre, tmp_path)
    granule, *_ = found(there, simulation)
    client = owner(store)
    rule = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::bucket/*",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
    client.put_bucket_policy(Bucket="bucket", Policy=policy)
    try:
        with pytest.raises(GranuleError, match=r'us-west-2.*access = "https"') as caught:
            there.read(granule, simulation.settings.grid, BANDS)
    finally:
        client.delete_bucket_policy(Bucket="bucket")
    assert caught.value.kind == "unauthorised"
    assert f"s3://bucket/{granule.id}" in str(caught.value)
    assert SECRET not in str(caught.value) and TOKEN not in str(caught.value)


def test_a_file_that_is_gone_is_named(
    centre: DataCentre, store: str, simulation: Simulation, tmp_path: Path
) -> None:
    there = source(centre, tmp_path)
    granule, *_ = found(there, simulation)
    key = granule.assets["EmisWB"].rsplit("/", 1)[-1]
    body = (simulation.folder / "ecostress" / key).read_bytes()
    owner(store).delete_object(Bucket="bucket", Key=key)
    try:
        with pytest.raises(GranuleError, match="there is no file") as caught:
            there.read(granule, simulation.settings.grid, BANDS)
    finally:
        owner(store).put_object(Bucket="bucket", Key=key, Body=body)
    assert caught.value.kind == "not_found" and key in str(caught.value)


@pytest.mark.parametrize(
    ("answers", "token", "kind"),
    [
        ({"accessKeyId": "x"}, "a-login-token", "unavailable"),
        ({"message": "soon"}, "a-login-token", "unavailable"),
        (None, "another-token", "unauthorised"),
    ],
)
def test_a_door_that_gives_no_credentials(
    centre: DataCentre,
    simulation: Simulation,
    tmp_path: Path,
    answers: dict[str, Any] | None,
    token: str,
    kind: str,
) -> None:
    there = source(centre, tmp_path)
    granule, *_ = found(there, simulation)
    centre.answers, centre.token = answers, token
    with pytest.raises(GranuleError, match=r"127\.0\.0\.1") as caught:
        there.read(granule, simulation.settings.grid, BANDS)
    assert caught.value.kind == kind


def test_nothing_secret_is_told_logged_or_stored(
    centre: DataCentre, simulation: Simulation, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    there = source(centre, tmp_path / "home")
    with caplog.at_level(logging.DEBUG):
        granule, *_ = found(there, simulation)
        there.read(granule, simulation.settings.grid, BANDS)
    credentials = there._account.s3_credentials(there.s3_credentials)
    told = caplog.text + repr(credentials) + repr(there) + repr(granule) + there.model_dump_json()
    for word in (SECRET, TOKEN, "a-login-token"):
        assert word not in told
        assert word.encode() not in pickle.dumps((there, granule))
    assert not (tmp_path / "home").exists()


def test_how_files_are_fetched_is_no_setting_of_the_pixels() -> None:
    base = {"kind": "earthdata", "name": "eco"}
    plain, other = (
        EarthdataSource.model_validate(base | more)
        for more in ({}, {"access": "s3", "s3_credentials": "https://h/door"})
    )
    assert plain.model_dump_json() == other.model_dump_json()
