"""Where a cube's bytes lie: a local folder or an object store, behind one seam."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cube.errors import CubeLockedError, CubeNotFoundError, StoreError

if TYPE_CHECKING:
    import icechunk

LOCK_TIMEOUT = 900.0
"""Seconds that a writer waits for another one before it gives up."""

MAKING_TIMEOUT = 10.0
"""Seconds in which another job that is making a repository on an object store must be done."""

_SCENES_A_MANIFEST = 64

_ROOT = "1CECHNKREP0F1RSTCMT0"
"""Icechunk's name of the first, empty snapshot of every repository."""


def is_url(location: str) -> bool:
    """Tell an object-store URL from a local path."""
    return "://" in location


def storage(location: str, options: Mapping[str, Any] | None = None) -> icechunk.Storage:
    """Describe the place to Icechunk.

    Parameters
    ----------
    location
        A path, or ``s3://bucket/prefix`` or ``gs://bucket/prefix``.
    options
        Keyword arguments of Icechunk's storage, such as ``endpoint_url``, ``region``,
        ``allow_http``, ``anonymous``. Credentials come from the environment or the cloud's own
        places.

    Raises
    ------
    StoreError
        For another kind of URL, or options the storage does not know.
    """
    import icechunk

    # A local store is only ever committed to under `write_lock`, which is what
    # Icechunk's warning about local folders asks for.
    icechunk.set_logs_filter("error")
    if not is_url(location):
        return icechunk.local_filesystem_storage(location)
    url = urlsplit(location)
    makers: dict[str, Callable[..., icechunk.Storage]] = {
        "s3": icechunk.s3_storage,
        "gs": icechunk.gcs_storage,
    }
    if url.scheme not in makers or not url.netloc:
        raise StoreError(
            f"no cube can be kept at {location}: give a local path, s3://bucket/prefix or "
            "gs://bucket/prefix"
        )
    settings = dict(options or {})
    if not settings.get("anonymous"):
        settings.setdefault("from_env", True)
    try:
        return makers[url.scheme](bucket=url.netloc, prefix=url.path.strip("/"), **settings)
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"storage_options for {location} are not understood: {error}; credentials are not "
            "among them, they come from the environment"
        ) from error


def open_repository(
    location: str, options: Mapping[str, Any] | None = None, *, create: bool = False
) -> icechunk.Repository:
    """Open the Icechunk repository at a place.

    Raises
    ------
    CubeNotFoundError
        If there is none and `create` is False.
    StoreError
        If the place cannot be reached or is not a cube.
    """
    import icechunk

    place = storage(location, options)
    try:
        if icechunk.Repository.exists(place):
            return icechunk.Repository.open(place, config=_config())
        if create:
            return _created(location, place)
    except icechunk.IcechunkError as error:
        raise StoreError(f"the cube at {location} cannot be opened: {cause(error)}") from error
    raise CubeNotFoundError(
        f"there is no cube at {location}; `thermocube ingest REGION.toml` makes one"
    )


def _created(location: str, place: icechunk.Storage) -> icechunk.Repository:
    import icechunk

    try:
        return icechunk.Repository.create(place, config=_config())
    except icechunk.IcechunkError as error:
        # On an object store another job may have made it since `exists` was asked, or be at it.
        if _comes(place, MAKING_TIMEOUT if is_url(location) else 0.0):
            return icechunk.Repository.open(place, config=_config())
        if "clean prefixes" not in str(error):
            raise
        if is_url(location) or not _only_begun(place):
            raise StoreError(
                f"there is no cube at {location}, and yet the place is not empty: a job was "
                "killed while it made the cube, or something else lies there. Look at it, and "
                "empty it or give the region another `store`",
                kind="not_empty",
            ) from error
    return icechunk.Repository.create(place, config=_config(), check_clean_root=False)


def _comes(place: icechunk.Storage, timeout: float) -> bool:
    """Whether there is a repository, now or soon."""
    import icechunk

    end = monotonic() + timeout
    while not icechunk.Repository.exists(place):
        if monotonic() >= end:
            return False
        sleep(0.1)
    return True


def _only_begun(place: icechunk.Storage) -> bool:
    """Whether all that is there is what a job left that was killed while it made a repository.

    The file that makes it a repository comes last. Asked of local places only, which are locked:
    on an object store another job may be at it still.
    """
    found = {entry.key for entry in place.list_objects_metadata()}
    return found <= {f"snapshots/{_ROOT}", f"transactions/{_ROOT}"}


def _config() -> icechunk.RepositoryConfig:
    """Chunk tables of bounded length, so that a commit does not rewrite those of all scenes."""
    import icechunk

    time = icechunk.ManifestSplitDimCondition.DimensionName("time")
    every = icechunk.ManifestSplitCondition.AnyArray()
    splitting = icechunk.ManifestSplittingConfig.from_dict({every: {time: _SCENES_A_MANIFEST}})
    return icechunk.RepositoryConfig(manifest=icechunk.ManifestConfig(splitting=splitting))


def cause(error: BaseException) -> str:
    """What the store says of an error, on one line, without its trace."""
    told = str(error).partition("\n\ncontext:")[0]
    return " ".join(told.split())


@contextmanager
def write_lock(location: str, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
    """Hold the right to commit.

    A local folder has no conditional write, so two committers would lose each other's commits
    without an error; an advisory file lock beside the folder keeps them apart and is let go by
    the system when its holder dies. Object stores need no lock.

    Raises
    ------
    CubeLockedError
        If another job held the lock for longer than `timeout` seconds.
    """
    if is_url(location):
        yield
        return
    from filelock import FileLock, Timeout

    # One lock a cube, by whatever links it is reached.
    path = Path(f"{Path(location).resolve()}.lock")
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=timeout)
    except Timeout:
        raise CubeLockedError(
            f"another job has been writing to {location} for more than {timeout:g} s "
            f"(lock file {path}); wait for it, or stop it, and run again: nothing is lost"
        ) from None
    except OSError as error:
        raise StoreError(f"cannot write beside {location}: {error}") from error
    try:
        yield
    finally:
        lock.release()
