"""Files over HTTP against a server on loopback that does all the wrong things."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cube.cache import GRACE, Cache
from cube.errors import GranuleError
from cube.fetch import fetch
from cube.retry import LONGEST_WAIT, Clock, PassingError, retrying
from loopback import LOGIN_PAGE, Fault, FileServer

CONTENT = b"II*\0" + np.random.default_rng(1).bytes(400_000)
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
SECRET = "Signature=top-secret"


@dataclass
class FakeClock:
    """Time that passes only by waiting."""

    time: float = 1_800_000_000.0
    waits: list[float] = field(default_factory=list)

    @property
    def clock(self) -> Clock:
        return Clock(self._sleep, lambda: self.time)

    def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += seconds


@pytest.fixture
def fake() -> FakeClock:
    return FakeClock()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    root = tmp_path / "served"
    root.mkdir()
    (root / "a.tif").write_bytes(CONTENT)
    with FileServer(root) as running:
        yield running


def get(server: FileServer, tmp_path: Path, fake: FakeClock, **options: Any) -> Path:
    options.setdefault("timeout", (1.0, 0.2))
    url = f"{server.url}/a.tif?{SECRET}"
    return fetch(url, tmp_path / "here" / "a.tif", clock=fake.clock, **options)


def left_over(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "here").iterdir())


def refused(server: FileServer, tmp_path: Path, fake: FakeClock, **options: Any) -> GranuleError:
    """The error of a fetch that fails; nothing is left of it and nothing secret is told."""
    with pytest.raises(GranuleError) as caught:
        get(server, tmp_path, fake, **options)
    assert left_over(tmp_path) == []
    assert "secret" not in str(caught.value)
    return caught.value


def test_a_whole_file(server: FileServer, tmp_path: Path, fake: FakeClock) -> None:
    path = get(server, tmp_path, fake, size=len(CONTENT), checksum=MD5)
    assert path.read_bytes() == CONTENT
    assert left_over(tmp_path) == ["a.tif"] and fake.waits == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault(cut=100_000),
        Fault(cut=100_000, reset=True),
        Fault(cut=0),
        Fault(cut=100_000, stall=True),
        Fault(cut=0, stall=True),
        *(Fault(status) for status in (408, 429, 500, 502, 503, 504)),
        Fault(body=CONTENT[:-5]),
        Fault(body=CONTENT + b"more"),
        Fault(body=b""),
        Fault(headers={"Content-Length": str(len(CONTENT) + 10)}),
        Fault(headers={"Content-Encoding": "gzip"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("times", [1, 3])
def test_what_passes_is_tried_again(
    server: FileServer, tmp_path: Path, fake: FakeClock, fault: Fault, times: int
) -> None:
    server.faults["/a.tif"] = [fault] * times
    path = get(server, tmp_path, fake, size=len(CONTENT), checksum=MD5)
    assert path.read_bytes() == CONTENT
    assert len(fake.waits) == times
    assert left_over(tmp_path) == ["a.tif"]


def test_a_cut_body_is_continued_where_it_stopped(
    server: FileServer, tmp_path: Path, fake: FakeClock
) -> None:
    server.faults["/a.tif"] = [Fault(cut=250_000)]
    get(server, tmp_path, fake)
    _, again = server.asked("/a.tif")
    start = int(again.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 150_000 < start <= 250_000
    assert again.headers["If-Range"] == f'"{MD5.removeprefix("md5:")}"'
    assert server.bytes_sent == 250_000 + len(CONTENT) - start


@pytest.mark.parametrize(
    "second",
    [Fault(no_range=True), Fault(status=416), Fault(headers={"Content-Range": "bytes 7-9/400004"})],
    ids=["ignores the range", "416", "another part"],
)
def test_a_server_that_cannot_continue_starts_over(
    server: FileServer, tmp_path: Path, fake: FakeClock, second: Fault
) -> None:
    server.faults["/a.tif"] = [Fault(cut=250_000), second]
    assert get(server, tmp_path, fake).read_bytes() == CONTENT


@pytest.mark.parametrize("tag", ["", 'W/"weak"'])
def test_without_a_version_nothing_is_continued(
    server: FileServer, tmp_path: Path, fake: FakeClock, tag: str
) -> None:
    server.faults["/a.tif"] = [Fault(cut=250_000, headers={"ETag": tag})]
    assert get(server, tmp_path, fake).read_bytes() == CONTENT
    assert "Range" not in server.asked("/a.tif")[1].headers


def test_halves_of_two_versions_are_never_joined(
    server: FileServer, tmp_path: Path, fake: FakeClock
) -> None:
    newer = bytes(reversed(CONTENT))
    server.faults["/a.tif"] = [Fault(cut=250_000)]
    take = server.take

    def replaced(request: Any) -> Fault:
        if server.asked("/a.tif"):
            (server.root / "a.tif").write_bytes(newer)
        return take(request)

    server.take = replaced  # type: ignore[method-assign]
    assert get(server, tmp_path, fake).read_bytes() == newer


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.one_of(
            st.builds(Fault, cut=st.integers(0, 400_003), reset=st.booleans()),
            st.builds(Fault, status=st.sampled_from([429, 500, 503, 416])),
            st.builds(Fault, cut=st.integers(0, 400_003), no_range=st.booleans()),
            st.builds(Fault, body=st.binary(max_size=50).map(b"II*\0".__add__)),
        ),
        max_size=4,
    )
)
def test_any_row_of_faults_ends_in_the_right_bytes(
    server: FileServer, tmp_path: Path, faults: list[Fault]
) -> None:
    server.faults["/a.tif"] = faults
    path = get(server, tmp_path, FakeClock(), size=len(CONTENT), checksum=MD5)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "refused"), (401, "unauthorised"), (403, "forbidden"), (404, "not_found"),
     (410, "not_found"), (451, "refused"), (501, "refused")],
)  # fmt: skip
def test_what_cannot_pass_is_asked_once(
    server: FileServer, tmp_path: Path, fake: FakeClock, status: int, kind: str
) -> None:
    server.always["/a.tif"] = Fault(status)
    error = refused(server, tmp_path, fake)
    assert error.kind == kind and f"({status})" in str(error)
    assert len(server.requests) == 1 and fake.waits == []
    if status in (401, 403):
        assert "EARTHDATA_TOKEN" in str(error) and ".netrc" in str(error)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(status=503), "unavailable"),
        (Fault(status=429), "unavailable"),
        (Fault(cut=10, stall=True), "timeout"),
        (Fault(cut=0), "truncated"),
        (Fault(body=CONTENT[:-5]), "wrong_length"),
        (Fault(body=b"II*\0" + CONTENT[:-4]), "checksum"),
    ],
    ids=str,
)
def test_after_the_last_try_the_error_has_a_kind(
    server: FileServer, tmp_path: Path, fake: FakeClock, fault: Fault, kind: str
) -> None:
    server.always["/a.tif"] = fault
    error = refused(server, tmp_path, fake, attempts=3, size=len(CONTENT), checksum=MD5)
    assert error.kind == kind
    assert f"{server.url}/a.tif: 127.0.0.1" in str(error) and "3 times in a row" in str(error)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "fault",
    [
        Fault(body=LOGIN_PAGE),
        Fault(body=b"\n  <HTML><body>Earthdata Login</body>"),
        Fault(body=b"  Sign in, please", headers={"Content-Type": "text/html; charset=utf-8"}),
    ],
)
def test_a_login_page_is_no_raster(
    server: FileServer, tmp_path: Path, fake: FakeClock, fault: Fault
) -> None:
    server.always["/a.tif"] = fault
    error = refused(server, tmp_path, fake)
    assert error.kind == "login_page" and len(server.requests) == 1


def test_retry_after_is_honoured(server: FileServer, tmp_path: Path, fake: FakeClock) -> None:
    until = format_datetime(datetime.fromtimestamp(fake.time + 100, UTC), usegmt=True)
    server.faults["/a.tif"] = [
        Fault(429, headers={"Retry-After": "7"}),
        Fault(503, headers={"Retry-After": until}),
        Fault(503, headers={"Retry-After": "soon"}),
    ]
    get(server, tmp_path, fake)
    first, second, third = fake.waits
    assert 7 <= first <= 8
    assert 100 - first - 1 <= second <= 102
    assert third <= 4


def test_a_server_that_wants_to_be_left_alone_is(
    server: FileServer, tmp_path: Path, fake: FakeClock
) -> None:
    server.always["/a.tif"] = Fault(429, headers={"Retry-After": "3600"})
    error = refused(server, tmp_path, fake)
    assert "3600 s" in str(error) and error.kind == "unavailable"
    assert len(server.requests) == 1 and fake.waits == []


def test_waits_double_with_full_jitter() -> None:
    waits = []

    def fail() -> None:
        raise PassingError("no")

    for _ in range(40):
        fake = FakeClock()
        with pytest.raises(PassingError):
            retrying(9, fake.clock, "it")(fail)
        waits.append(fake.waits)
    ceiling = np.minimum(2.0 ** np.arange(8), LONGEST_WAIT)
    assert (np.array(waits) <= ceiling).all()
    assert np.allclose(np.mean(waits, axis=0), ceiling / 2, rtol=0.35)


def test_nobody_there(tmp_path: Path, fake: FakeClock, server: FileServer) -> None:
    server.__exit__(None, None, None)
    error = refused(server, tmp_path, fake, attempts=2)
    assert error.kind == "unavailable" and len(fake.waits) == 1


def test_an_address_that_is_none(tmp_path: Path, fake: FakeClock) -> None:
    for url in ("ftp://127.0.0.1/a.tif?token=secret", "a.tif", "http://?token=secret"):
        with pytest.raises(GranuleError) as caught:
            fetch(url, tmp_path / "a.tif", clock=fake.clock)
        assert caught.value.kind == "refused" and "secret" not in str(caught.value)


def test_nothing_secret_in_the_log(
    server: FileServer, tmp_path: Path, fake: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    server.faults["/a.tif"] = [Fault(503), Fault(cut=9)]
    with caplog.at_level(logging.INFO, "thermocube"):
        get(server, tmp_path, fake)
    ours = [entry.getMessage() for entry in caplog.records if entry.name.startswith("thermocube")]
    assert len(ours) == 2 and "attempt 2 of 5" in ours[0]
    assert not any("secret" in line for line in ours)


def test_a_full_disk(
    server: FileServer, tmp_path: Path, fake: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("cube.fetch.os.fsync", full)
    error = refused(server, tmp_path, fake)
    assert error.kind == "disk_full" and "make room" in str(error)
    assert len(server.requests) == 1


def test_a_folder_that_cannot_be_made(server: FileServer, tmp_path: Path, fake: FakeClock) -> None:
    (tmp_path / "here").write_text("a file")
    with pytest.raises(GranuleError, match="cannot be written"):
        get(server, tmp_path, fake)


def test_sessions_are_taken_or_opened(server: FileServer, tmp_path: Path, fake: FakeClock) -> None:
    def signed() -> requests.Session:
        session = requests.Session()
        session.headers["Authorization"] = "Bearer token"
        return session

    get(server, tmp_path, fake, session=signed)
    with signed() as session:
        get(server, tmp_path, fake, session=session)
    assert [one.headers["Authorization"] for one in server.requests] == ["Bearer token"] * 2


def test_a_checksum_that_is_none_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no checksum"):
        fetch("http://127.0.0.1/a", tmp_path / "a", checksum="crc7:12")


def _fetch_there(url: str, target: Path) -> int:
    return fetch(url, target).stat().st_size


def test_two_processes_end_in_one_whole_file(server: FileServer, tmp_path: Path) -> None:
    target = tmp_path / "here" / "a.tif"
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        jobs = [pool.submit(_fetch_there, f"{server.url}/a.tif", target) for _ in range(8)]
        assert {job.result() for job in jobs} == {len(CONTENT)}
    assert target.read_bytes() == CONTENT and left_over(tmp_path) == ["a.tif"]


def cached(server: FileServer, tmp_path: Path, fake: FakeClock, **options: Any) -> Cache:
    return Cache(tmp_path / "cache", clock=fake.clock, **options)


def test_a_cached_file_is_fetched_once(server: FileServer, tmp_path: Path, fake: FakeClock) -> None:
    cache = cached(server, tmp_path, fake)
    url = f"{server.url}/a.tif?{SECRET}"
    first = cache.get("G/1", url, size=len(CONTENT), checksum=MD5)
    assert cache.get("G/1", url, size=len(CONTENT), checksum=MD5) == first
    assert first.name == "a.tif" and first.parent.parent == tmp_path / "cache"
    assert len(server.requests) == 1
    assert cache.get("G/2", url) != first


@pytest.mark.parametrize("harm", ["cut", "bits", "note", "size", "checksum", "gone"])
def test_a_cached_file_that_is_not_what_it_was_is_fetched_anew(
    server: FileServer, tmp_path: Path, fake: FakeClock, harm: str
) -> None:
    cache = cached(server, tmp_path, fake)
    path = cache.get("G", f"{server.url}/a.tif")
    newer = CONTENT if harm not in ("size", "checksum") else CONTENT[::-1] + b"1" * (harm == "size")
    (server.root / "a.tif").write_bytes(newer)
    match harm:
        case "cut":
            path.write_bytes(CONTENT[:-1])
        case "bits":
            path.write_bytes(bytes([CONTENT[0] ^ 1]) + CONTENT[1:])
        case "note":
            path.with_name(".a.tif.sha256").unlink()
        case "gone":
            path.unlink()
    told = {"size": len(newer), "checksum": "md5:" + hashlib.md5(newer).hexdigest()}
    assert cache.get("G", f"{server.url}/a.tif", **told).read_bytes() == newer  # type: ignore[arg-type]
    assert len(server.requests) == 2


def test_the_cache_is_bounded_and_the_oldest_goes(
    server: FileServer, tmp_path: Path, fake: FakeClock
) -> None:
    cache = cached(server, tmp_path, fake, max_bytes=int(2.5 * len(CONTENT)))
    url = f"{server.url}/a.tif"
    paths = {}
    for name in "ABC":
        paths[name] = cache.get(name, url)
        fake.time += 1
    assert all(path.exists() for path in paths.values())  # all of them are still in use
    fake.time += GRACE
    cache.get("A", url)
    cache.get("D", url)
    assert [name for name in "ABC" if paths[name].exists()] == ["A"]
    fake.time += GRACE
    cache.drop("A")
    assert not paths["A"].exists() and list(paths["A"].parent.iterdir()) == []


def test_what_a_killed_process_left_goes_after_a_day(
    server: FileServer, tmp_path: Path, fake: FakeClock
) -> None:
    cache = cached(server, tmp_path, fake, max_bytes=10**9)
    path = cache.get("A", f"{server.url}/a.tif")
    old, young = (path.with_name(f".a.tif.{name}.part") for name in ("old", "young"))
    for part, age in ((old, 90_000), (young, 60)):
        part.write_bytes(b"half")
        os.utime(part, (fake.time - age,) * 2)
    cache.get("A", f"{server.url}/a.tif")
    assert young.exists() and not old.exists()


@pytest.mark.parametrize("name", ["..", ".", ""])
def test_no_name_leads_out_of_the_cache(name: str, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with pytest.raises(ValueError, match="no file name"):
        cache.path(name, "https://127.0.0.1/a.tif")
    with pytest.raises(ValueError, match="no file name"):
        cache.path("G", f"https://127.0.0.1/{name}")
    inside = cache.path("../../G", "https://127.0.0.1/x/..%2F..%2Fa.tif")
    assert inside.resolve().is_relative_to(tmp_path.resolve())


def test_threads_share_a_cache(server: FileServer, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", max_bytes=1)
    found: list[bytes] = []

    def work(index: int) -> None:
        found.append(cache.get(f"G{index % 3}", f"{server.url}/a.tif").read_bytes())

    threads = [threading.Thread(target=work, args=(index,)) for index in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 12
