"""Letting go of old snapshots, and of the objects that nothing refers to any more, safely."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cube.errors import SelectionError
from cube.storage import is_url, open_repository, write_lock
from cube.store import Commit, Cube
from pipelines.rollback import ABANDONED, STAMP, plain

if TYPE_CHECKING:
    import icechunk

KEPT = "kept-"
"""Tags of this prefix keep snapshots that stored predictions were made from or trained on."""

MIN_GRACE = timedelta(hours=1)
GRACE = timedelta(days=1)
"""Objects younger than this are never collected: they may belong to a write in flight.

A day, since inference over a large region writes for hours before it commits.
"""


@dataclass(frozen=True, slots=True)
class Expiry:
    """What `expire` let go of, or would."""

    cube: str
    cutoff: datetime
    """Snapshots before it went."""
    dry_run: bool
    snapshots: tuple[Commit, ...]
    """Gone from the history and from every tag, newest first."""
    tags: tuple[str, ...]
    """Tags of old rollbacks that were removed."""
    kept: tuple[str, ...]
    """Old snapshots that stay because stored predictions rest on them."""
    objects: int
    bytes: int
    """Freed; None of it was reachable, all of it older than the grace period."""
    failed: int = 0
    """Objects that could not be deleted; the next run tries again."""
    complete: bool = True
    """False for a dry run on an object store: `bytes` is then what is garbage already, and what
    the expired snapshots would free comes on top."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        names = ("cube", "dry_run", "tags", "kept", "objects", "bytes", "failed", "complete")
        return {
            **{name: getattr(self, name) for name in names},
            "cutoff": self.cutoff.isoformat(),
            "snapshots": [plain(entry) for entry in self.snapshots],
        }


def expire(
    cube: Cube,
    older_than: timedelta,
    *,
    keep: int = 10,
    grace: timedelta = GRACE,
    dry_run: bool = False,
    now: datetime | None = None,
) -> Expiry:
    """Let go of old snapshots, and delete what nothing refers to any more.

    Kept whatever their age: the head, the last `keep` snapshots, every tag that is not a
    rollback's, and snapshots that stored predictions name as their input or training snapshot.
    Nothing that a kept snapshot refers to is deleted, and nothing younger than `grace`.

    Parameters
    ----------
    cube
        Moved on to its newest snapshot.
    older_than
        Age from which a snapshot goes.
    keep
        Snapshots of the history that stay whatever their age; at least one.
    grace
        Age from which an unreferenced object is garbage. Longer than the longest write: a job
        that writes for longer than this before it commits would lose its chunks.
    dry_run
        Only say what would go. On disk the figures are exact (it runs on a shadow of the store
        whose chunks are empty files of the same size).
    now
        By default the clock's.

    Raises
    ------
    SelectionError
        If `grace` is under an hour, `keep` under one, or `older_than` negative.
    """
    _require_safe(older_than, keep, grace)
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    cube.refresh()
    history = cube.history()
    youngest_kept = history[: max(keep, 1)][-1].time
    cutoff = min(moment - older_than, youngest_kept)
    job = _Expire(cube, cutoff, moment - grace, _named(cube))
    if not dry_run:
        with write_lock(cube.location):
            return job.run(cube.repository)
    if is_url(cube.location):
        return job.foresee(cube.repository)
    with _shadow(Path(cube.location)) as repository:
        return job.run(repository, dry_run=True)


def _require_safe(older_than: timedelta, keep: int, grace: timedelta) -> None:
    if grace < MIN_GRACE:
        raise SelectionError(
            f"a grace period of {grace} is not safe: garbage collection during a write deletes "
            "the chunks it has not committed yet, and the loss shows only when they are read. "
            "Give at least one hour, or rather more than the longest job takes"
        )
    if keep < 1 or older_than < timedelta(0):
        raise SelectionError("keep at least one snapshot, and give an age that is not negative")


def _named(cube: Cube) -> frozenset[str]:
    """Snapshots that stored predictions name."""
    runs = (name for name in cube.groups() if name.startswith(("predictions/", "sharpened/")))
    attrs = [cube.dataset(run, chunks=None).attrs for run in runs]
    names = ("input_snapshot", "training_snapshot")
    return frozenset(str(entry[name]) for entry in attrs for name in names if name in entry)


@dataclass(frozen=True)
class _Expire:
    cube: Cube
    cutoff: datetime
    garbage_before: datetime
    named: frozenset[str]

    def run(self, repository: icechunk.Repository, *, dry_run: bool = False) -> Expiry:
        """Expire and collect; a dry run collects nothing (but does expire: use a shadow)."""
        before = _reachable(repository)
        kept = self._keep_named(repository, before)
        tags = self._old_tags(repository)
        for tag in tags:
            repository.delete_tag(tag)
        repository.expire_snapshots(self.cutoff)
        after = _reachable(repository)
        gone = [entry for name, entry in before.items() if name not in after]
        summary = repository.garbage_collect(self.garbage_before, dry_run=dry_run)
        return self._report(gone, tags, kept, summary, dry_run=dry_run)

    def foresee(self, repository: icechunk.Repository) -> Expiry:
        """What `run` would do, as far as it shows without doing it."""
        before = _reachable(repository)
        tags = self._old_tags(repository)
        tips = {repository.lookup_tag(tag) for tag in repository.list_tags() - set(tags)}
        kept = sorted(name for name in self.named if name in before)
        stay = {*tips, *kept, *(repository.lookup_branch(b) for b in repository.list_branches())}
        gone = [
            entry
            for name, entry in before.items()
            if name not in stay and entry.time < self.cutoff and not _is_root(entry)
        ]
        summary = repository.garbage_collect(self.garbage_before, dry_run=True)
        return self._report(gone, tags, kept, summary, dry_run=True, complete=False)

    def _keep_named(self, repository: icechunk.Repository, before: dict[str, Commit]) -> list[str]:
        tags = repository.list_tags()
        for tag in tags:
            if tag.startswith(KEPT) and _kept_by(tag) not in self.named:
                repository.delete_tag(tag)
        kept = sorted(
            name for name in self.named if name in before and before[name].time < self.cutoff
        )
        for name in sorted(set(kept) - {_kept_by(tag) for tag in tags}):
            # Dated, since Icechunk never lets the name of a deleted tag be used again.
            repository.create_tag(f"{KEPT}{name}-{datetime.now(UTC):{STAMP}}", name)
        return kept

    def _old_tags(self, repository: icechunk.Repository) -> list[str]:
        tags = sorted(tag for tag in repository.list_tags() if tag.startswith(ABANDONED))
        return [tag for tag in tags if _tagged_at(tag) < self.cutoff]

    def _report(
        self,
        gone: Iterable[Commit],
        tags: Iterable[str],
        kept: Iterable[str],
        summary: icechunk.GCSummary,
        *,
        dry_run: bool,
        complete: bool = True,
    ) -> Expiry:
        self.cube.refresh()
        objects = (
            summary.chunks_deleted
            + summary.manifests_deleted
            + summary.snapshots_deleted
            + summary.attributes_deleted
            + summary.transaction_logs_deleted
        )
        return Expiry(
            self.cube.location,
            self.cutoff,
            dry_run,
            tuple(sorted(gone, key=lambda entry: entry.time, reverse=True)),
            tuple(tags),
            tuple(kept),
            int(objects),
            int(summary.bytes_deleted),
            int(summary.objects_failed_to_delete),
            complete,
        )


def _kept_by(tag: str) -> str:
    return tag.removeprefix(KEPT).split("-")[0]


def _tagged_at(tag: str) -> datetime:
    stamp = tag.removeprefix(ABANDONED).split("-")[0]
    return datetime.strptime(stamp, STAMP).replace(tzinfo=UTC)


def _reachable(repository: icechunk.Repository) -> dict[str, Commit]:
    refs = [{"branch": name} for name in repository.list_branches()]
    refs += [{"tag": name} for name in repository.list_tags()]
    return {
        entry.id: Commit(entry.id, entry.written_at, entry.message, dict(entry.metadata))
        for ref in refs
        for entry in repository.ancestry(**ref)
    }


def _is_root(entry: Commit) -> bool:
    return bool(entry.metadata.get("__icechunk", {}).get("is_root"))


@contextmanager
def _shadow(store: Path) -> Iterator[icechunk.Repository]:
    """A throw-away copy of a local store's metadata, its chunks empty files of the same size."""
    with tempfile.TemporaryDirectory(prefix="thermocube-expire-") as folder:
        copy = Path(folder) / "store"
        with write_lock(str(store)):
            shutil.copytree(store, copy, ignore=lambda path, names: _chunks(store, path))
        (copy / "chunks").mkdir()
        for chunk in (store / "chunks").glob("*"):
            _hollow(chunk, copy / "chunks" / chunk.name)
        yield open_repository(str(copy))


def _chunks(store: Path, folder: str) -> set[str]:
    return {"chunks"} if Path(folder) == store else set()


def _hollow(source: Path, target: Path) -> None:
    state = source.stat()
    with target.open("wb") as file:
        file.truncate(state.st_size)
    os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns))
