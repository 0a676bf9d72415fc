"""Where a cube may lie, and who may write to it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import cube.storage
from cube.errors import CubeLockedError, CubeNotFoundError, StoreError
from cube.storage import cause, is_url, open_repository, storage, write_lock
from s3_server import s3_bucket

ROOT = Path(__file__).resolve().parents[2]

HOLD = """
import sys
from cube.storage import write_lock
with write_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
print("released", flush=True)
"""


@contextmanager
def holder(location: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until it reads a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(location)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def locked(location: str | Path) -> bool:
    try:
        with write_lock(str(location), timeout=0.1):
            return False
    except CubeLockedError:
        return True


def test_a_second_writer_gives_up_after_its_time_and_says_what_to_do(tmp_path: Path) -> None:
    cube = tmp_path / "a.icechunk"
    with (
        holder(cube),
        pytest.raises(CubeLockedError) as caught,
        write_lock(str(cube), timeout=0.2),
    ):
        pytest.fail("two writers at once")
    message = str(caught.value)
    assert f"{cube} for more than 0.2 s" in message
    assert f"{cube.resolve()}.lock" in message
    assert caught.value.kind == "locked"


def test_a_second_writer_gets_its_turn(tmp_path: Path) -> None:
    with holder(tmp_path / "a") as first:
        assert locked(tmp_path / "a")
        assert first.stdin is not None
        first.stdin.write("\n")
        first.stdin.flush()
        with write_lock(str(tmp_path / "a"), timeout=30):
            assert first.wait(30) == 0


def test_the_lock_of_a_killed_writer_is_free(tmp_path: Path) -> None:
    with holder(tmp_path / "a") as first:
        assert locked(tmp_path / "a")
        first.kill()
        with write_lock(str(tmp_path / "a"), timeout=30):
            assert first.wait(30) < 0


def test_the_lock_is_let_go_when_the_writer_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), write_lock(str(tmp_path / "a")):
        raise RuntimeError
    assert not locked(tmp_path / "a")


def test_cubes_have_locks_of_their_own(tmp_path: Path) -> None:
    with write_lock(str(tmp_path / "a")):
        assert locked(tmp_path / "a")
        assert not locked(tmp_path / "b")


def test_a_cube_has_one_lock_by_whatever_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writers that do not see each other lose each other's commits without an error."""
    (tmp_path / "disk" / "a.icechunk").mkdir(parents=True)
    (tmp_path / "link.icechunk").symlink_to(tmp_path / "disk" / "a.icechunk")
    (tmp_path / "home").symlink_to(tmp_path / "disk")
    monkeypatch.chdir(tmp_path)
    with write_lock(str(tmp_path / "disk" / "a.icechunk")):
        for path in (
            "disk/a.icechunk",
            "disk/a.icechunk/",
            "disk/../disk/a.icechunk",
            "home/a.icechunk",
            "link.icechunk",
        ):
            assert locked(path), path


def test_where_nothing_can_be_written_the_error_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StoreError, match="cannot write beside"),
        write_lock(str(tmp_path / "file" / "a.icechunk")),
    ):
        pytest.fail("there is no such folder")


def test_object_stores_take_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with write_lock("s3://bucket/a"), write_lock("s3://bucket/a", timeout=0):
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("location", ["s3://bucket/cubes/la", "gs://bucket/cubes/la"])
@pytest.mark.parametrize("options", [{}, {"anonymous": True}])
def test_an_object_store_is_described_without_being_asked(
    location: str, options: dict[str, bool]
) -> None:
    place = repr(storage(location, options))
    assert "bucket: bucket" in place
    assert "prefix: cubes/la" in place


def test_options_reach_the_object_store() -> None:
    options = {"endpoint_url": "http://127.0.0.1:9", "allow_http": True, "region": "eu-central-1"}
    place = repr(storage("s3://bucket/la", options))
    assert "127.0.0.1:9" in place
    assert "eu-central-1" in place


@pytest.mark.parametrize("location", ["ftp://host/cube", "https://host/cube", "s3:///prefix"])
def test_other_places_are_refused_with_those_there_are(location: str) -> None:
    with pytest.raises(StoreError, match=r"s3://bucket/prefix or gs://bucket/prefix") as caught:
        storage(location)
    assert location in str(caught.value)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"endpoint": "http://127.0.0.1:9"}, "endpoint"), ({"access_key_id": "me"}, "environment")],
)
def test_options_that_are_not_understood_are_named(options: dict[str, str], named: str) -> None:
    with pytest.raises(StoreError, match=r"storage_options for s3://bucket/la") as caught:
        storage("s3://bucket/la", options)
    assert named in str(caught.value)


def test_a_repository_is_made_only_when_asked(tmp_path: Path) -> None:
    place = str(tmp_path / "a.icechunk")
    with pytest.raises(CubeNotFoundError, match="thermocube ingest"):
        open_repository(place)
    assert not (tmp_path / "a.icechunk").exists()
    made = open_repository(place, create=True)
    assert open_repository(place).lookup_branch("main") == made.lookup_branch("main")
    again = open_repository(place, create=True)
    assert again.lookup_branch("main") == made.lookup_branch("main")


def test_a_file_is_no_cube(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be opened"):
        open_repository(str(tmp_path / "file"))


def test_urls_are_told_from_paths() -> None:
    assert is_url("s3://bucket/prefix")
    assert not is_url("/data/cube")
    assert not is_url("C:/data/cube")


def test_jobs_that_create_one_cube_on_an_object_store_at_once_all_open_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with s3_bucket(monkeypatch) as bucket, ThreadPoolExecutor(4) as pool:
        for number in range(3):
            place = bucket.url(f"cube{number}")
            jobs = [
                pool.submit(open_repository, place, bucket.options, create=True) for _ in range(4)
            ]
            assert len({job.result().lookup_branch("main") for job in jobs}) == 1


def test_chunk_tables_are_split_along_time(tmp_path: Path) -> None:
    for _ in range(2):  # made, then opened
        config = open_repository(str(tmp_path / "a.icechunk"), create=True).config
        assert config.manifest is not None and config.manifest.splitting is not None
        assert "time" in repr(config.manifest.splitting)


def test_what_the_store_says_is_told_without_its_trace() -> None:
    error = OSError("no space left\n\ncontext:\n   0: icechunk::store::set\n   at store.rs:1")
    assert cause(error) == "no space left"


@pytest.mark.parametrize("done", [("snapshots",), ("snapshots", "transactions")])
def test_a_repository_that_was_only_begun_is_made(tmp_path: Path, done: tuple[str, ...]) -> None:
    """SIGKILL between the first files of a repository and the one that makes it one."""
    place = tmp_path / "a"
    open_repository(str(place), create=True)
    (place / "repo").unlink()
    for kind in {"snapshots", "transactions"} - set(done):
        shutil.rmtree(place / kind)
    with pytest.raises(CubeNotFoundError):
        open_repository(str(place))
    open_repository(str(place), create=True)
    assert len(list(open_repository(str(place)).ancestry(branch="main"))) == 1


def test_an_object_store_that_holds_something_else_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import boto3

    monkeypatch.setattr(cube.storage, "MAKING_TIMEOUT", 0.3)
    with s3_bucket(monkeypatch) as bucket:
        open_repository(bucket.url("a/b"), bucket.options, create=True)
        client = boto3.client("s3", endpoint_url=bucket.endpoint, region_name="us-east-1")
        client.delete_object(Bucket=bucket.name, Key="a/b/repo")
        with pytest.raises(StoreError, match="the place is not empty") as caught:
            open_repository(bucket.url("a/b"), bucket.options, create=True)
    assert caught.value.kind == "not_empty"


def test_a_cube_that_lost_its_first_file_is_not_made_anew(tmp_path: Path) -> None:
    place = tmp_path / "a"
    session = open_repository(str(place), create=True).writable_session("main")
    session.commit("more", allow_empty=True)
    (place / "repo").unlink()
    with pytest.raises(StoreError, match="the place is not empty"):
        open_repository(str(place), create=True)
