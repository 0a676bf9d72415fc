"""Going back: a cube gets the content of an earlier snapshot, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cube.errors import SelectionError, StoreError
from cube.storage import write_lock
from cube.store import BRANCH, Commit, Cube
from cube.version import code_version

if TYPE_CHECKING:
    import icechunk

ABANDONED = "rolled-back-"
"""Tags of this prefix keep what a rollback left behind; the rest of the name is its time."""

STAMP = "%Y%m%dT%H%M%SZ"
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Rollback:
    """What a rollback did."""

    cube: str
    before: str
    """Snapshot that the branch stood at."""
    target: str
    """Snapshot whose content the cube has now."""
    snapshot: str
    """The new head: a commit that changes nothing and records the rollback."""
    tag: str
    """Keeps the abandoned snapshots; ``rollback`` to it undoes the rollback."""
    abandoned: tuple[Commit, ...]
    """Newest first."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        names = ("cube", "before", "target", "snapshot", "tag")
        figures = {name: getattr(self, name) for name in names}
        return {**figures, "abandoned": [plain(entry) for entry in self.abandoned]}


def rollback(cube: Cube, snapshot: str, *, now: datetime | None = None) -> Rollback:
    """Give a cube the content of an earlier snapshot of its own.

    The branch moves in one step from its head to a commit on top of the wanted snapshot, which
    changes nothing and says in the history who came from where. What is left behind stays
    reachable by a tag until `expire` lets go of it. The ledger goes back too, so the next ingest
    reads again what is missing and arrives at the same cube.

    Parameters
    ----------
    cube
        Moved on to the new head.
    snapshot
        Id, or an unambiguous beginning of one, from `Cube.history`; or the tag of an earlier
        rollback, which undoes it.
    now
        Time that goes into the tag; by default the clock's.

    Raises
    ------
    SelectionError
        If the cube's history has no such snapshot, or it holds no cube yet.
    StoreError
        ``conflict``: another job committed at the same moment; nothing is changed.
    """
    import icechunk

    repository = cube.repository
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    with write_lock(cube.location):
        cube.refresh()
        before = cube.snapshot
        history = cube.history()
        target = _resolve(cube, snapshot, history)
        if target == before:
            raise SelectionError(f"{cube.location} is at snapshot {before} already: nothing to do")
        kept = {entry.id for entry in repository.ancestry(snapshot_id=target)}
        abandoned = tuple(entry for entry in history if entry.id not in kept)
        tag = f"{ABANDONED}{moment:{STAMP}}-{before[:8]}"
        try:
            repository.create_tag(tag, before)
            head = _record(repository, target, before, tag)
            repository.reset_branch(BRANCH, head, from_snapshot_id=before)
        except icechunk.ConflictError as error:
            raise StoreError(
                f"cannot roll {cube.location} back: another job committed meanwhile ({error}); "
                "look at its history and run it again",
                kind="conflict",
            ) from error
        finally:
            _drop_branches(repository)
    cube.refresh()
    return Rollback(cube.location, before, target, head, tag, abandoned)


def _record(repository: icechunk.Repository, target: str, before: str, tag: str) -> str:
    """Commit the rollback on a branch of its own, so that the move itself is one step."""
    branch = f"{tag}-record"
    repository.create_branch(branch, target)
    metadata = {
        "job": "rollback",
        "from": before,
        "to": target,
        "tag": tag,
        "code": code_version(),
    }
    message = f"roll back from {before} to {target}"
    head: str = repository.writable_session(branch).commit(message, metadata, allow_empty=True)
    return head


def _drop_branches(repository: icechunk.Repository) -> None:
    """Remove branches of rollbacks, those of a job that died in mid-rollback included."""
    for branch in repository.list_branches():
        if branch.startswith(ABANDONED):
            repository.delete_branch(branch)


def _resolve(cube: Cube, wanted: str, history: list[Commit]) -> str:
    repository = cube.repository
    tags = repository.list_tags()
    if wanted in tags:
        return str(repository.lookup_tag(wanted))
    known = {entry.id for entry in history}
    for tag in tags:
        known |= {entry.id for entry in repository.ancestry(tag=tag)}
    found = [name for name in sorted(known) if wanted and name.startswith(wanted.upper())]
    if len(found) != 1:
        fault = f"{wanted!r} is the beginning of {len(found)}" if found else f"{wanted!r} is none"
        raise SelectionError(
            f"{fault} of the snapshots of {cube.location}. Its last ones are:\n{_lines(history)}"
        )
    if "proj:transform" not in cube.at(found[0]).attrs:
        raise SelectionError(
            f"snapshot {found[0]} of {cube.location} is from before the cube was made; to start "
            f"anew, remove the store. The last snapshots are:\n{_lines(history)}"
        )
    return found[0]


def _lines(history: Iterable[Commit]) -> str:
    rows = list(history)[:_SHOWN]
    return "\n".join(f"  {row.id}  {row.time:%Y-%m-%d %H:%M:%S}  {row.message}" for row in rows)


def plain(entry: Commit) -> dict[str, Any]:
    """A commit as JSON-able figures."""
    return {"id": entry.id, "time": entry.time.isoformat(), "message": entry.message}
