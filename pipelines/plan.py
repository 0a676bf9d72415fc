"""The plan of an ingest: what the sources hold now, against what the ledger says was done."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from cube.ledger import Ledger, Row, Status
from cube.region import Region
from cube.scene import Granule, Scene, group
from pipelines.scope import Scope

SETTLED = frozenset({Status.INGESTED, Status.REJECTED, Status.EMPTY})
"""Statuses that stand until the granule, its scene or the settings change."""

INCOMPLETE = "incomplete"
"""Rule under which a granule with a defect is rejected."""


class Action(StrEnum):
    """What an ingest would do with a scene."""

    NEW = "new"
    REPLACE = "replace"
    """Its granules or the settings changed since it was judged."""
    RETRY = "retry"
    """A granule of it failed last time."""
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Work:
    """One scene and what is to be done with it."""

    scene: Scene
    """The newest delivery of each acquisition of the overpass."""
    action: Action
    deliveries: Mapping[str, tuple[Granule, ...]]
    """By acquisition key, all deliveries that were found, newest first."""
    stored: tuple[datetime, ...]
    """Times of the cube's scenes that this one takes the place of."""
    digest: str
    """Names the scene's granules; see `Row.group`."""
    settings: str

    @property
    def size(self) -> int:
        """Bytes to be read."""
        return sum(granule.size for granule in self.scene.granules)


@dataclass(frozen=True, slots=True)
class Plan:
    """What an ingest would do; nothing in it has been read yet."""

    work: tuple[Work, ...]
    """Every scene, the ones to be skipped included, in order of time."""
    notes: tuple[Row, ...] = field(default_factory=tuple)
    """Ledger rows that need no reading: granules with a defect, older versions."""

    @property
    def todo(self) -> tuple[Work, ...]:
        """The scenes that are to be read."""
        return tuple(work for work in self.work if work.action is not Action.SKIP)

    def count(self, source: str | None = None) -> dict[Action, int]:
        """Number of scenes by action, of one source or of all."""
        return {
            action: sum(
                work.action is action for work in self.work if source is None or _from(work, source)
            )
            for action in Action
        }

    def size(self, source: str | None = None) -> int:
        """Bytes to be read, of one source or of all."""
        return sum(work.size for work in self.todo if source is None or _from(work, source))


def _from(work: Work, source: str) -> bool:
    return any(granule.source == source for granule in work.scene.granules)


def settings_digest(region: Region, source: str) -> str:
    """Digest of everything in the region file that decides what a granule becomes.

    Where files lie and what the source is called does not count: a moved folder changes no pixel.
    """
    settings = next(entry for entry in region.sources if entry.name == source)
    modality = region.modalities[settings.modality]
    text = (
        settings.model_dump_json(exclude={"name", "path", "granules", "catalog", "sign"})
        + modality.model_dump_json()
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_plan(
    region: Region,
    found: Iterable[Granule],
    ledger: Ledger,
    scope: Scope = Scope(),  # noqa: B008
) -> Plan:
    """Compare what was found with the ledger.

    What is not found any more but stands in the ledger counts as there: an empty answer or an
    outage never takes anything out of a cube.

    Parameters
    ----------
    region
        The validated region file.
    found
        From `search`, in any order.
    ledger
        Of the cube as it is now; empty for a new one.
    scope
        What the run is about. What lies outside counts as there too, and no scene of its own is
        planned for it.
    """
    found = _once(found)
    usable = [granule for granule in found if not granule.defect and granule.time is not None]
    deliveries = _by_key(usable)
    remembered = _remembered(region, ledger, deliveries, scope)
    newest = [versions[0] for versions in _by_key([*usable, *remembered]).values()]
    digests = {source.name: settings_digest(region, source.name) for source in region.sources}
    work: list[Work] = []
    for modality, settings in region.modalities.items():
        mine = (granule for granule in newest if granule.modality == modality)
        for scene in group(mine, timedelta(seconds=settings.pass_gap)):
            if scope.everything or any(
                granule.assets and scope.wants(region, granule) for granule in scene.granules
            ):
                work.append(_work(scene, deliveries, ledger, digests))
    work.sort(key=lambda item: (item.scene.time, item.scene.modality))
    inside = [granule for granule in found if scope.wants(region, granule)]
    notes = [*_defects(inside, ledger), *_superseded(work, ledger)]
    return Plan(tuple(work), tuple(notes))


def _once(granules: Iterable[Granule]) -> list[Granule]:
    """Take each granule from one place only, the most complete, where several sources hold it."""

    def order(granule: Granule) -> tuple[Any, ...]:
        unusable = bool(granule.defect) or granule.time is None
        places = sorted(granule.assets.items())
        return (granule.id, unusable, -len(places), -granule.size, granule.source, places)

    once: dict[str, Granule] = {}
    for granule in sorted(granules, key=order):
        once.setdefault(granule.id, granule)
    return list(once.values())


def _by_key(granules: Iterable[Granule]) -> dict[str, tuple[Granule, ...]]:
    """Deliveries by acquisition, newest first; among equals the one with files, then by id."""
    keys: dict[str, list[Granule]] = defaultdict(list)
    for granule in granules:
        keys[granule.key].append(granule)
    return {
        key: tuple(
            sorted(
                versions, key=lambda item: (item.version, bool(item.assets), item.id), reverse=True
            )
        )
        for key, versions in keys.items()
    }


def _remembered(
    region: Region,
    ledger: Ledger,
    deliveries: Mapping[str, tuple[Granule, ...]],
    scope: Scope,
) -> list[Granule]:
    """Granules that the ledger knows and no source showed this time, without their files.

    A failed one is forgotten with its files, unless it was not looked for.
    """
    shown = {granule.id for versions in deliveries.values() for granule in versions}
    return [
        Granule(
            row.granule, row.key, row.version, row.source, row.modality, row.platform, row.time, {}
        )
        for row in ledger
        if (row.status in SETTLED or (row.status is Status.FAILED and not scope.wants(region, row)))
        and row.rule != INCOMPLETE
        and row.time is not None
        and row.granule not in shown
    ]


def _work(
    scene: Scene,
    deliveries: Mapping[str, tuple[Granule, ...]],
    ledger: Ledger,
    digests: Mapping[str, str],
) -> Work:
    digest = _digest(scene.granules)
    used = {granule.source for granule in scene.granules} & digests.keys()
    settings = "+".join(sorted({digests[source] for source in used}))
    mine = {granule.key: deliveries.get(granule.key, ()) for granule in scene.granules}
    related = [row for key in mine for row in ledger.of(key)]
    stored = tuple(sorted({row.scene for row in related if row.scene is not None}))
    action = _action(scene.granules, ledger, related, digest, settings)
    return Work(scene, action, mine, stored, digest, settings)


def _action(
    granules: Sequence[Granule],
    ledger: Ledger,
    related: Sequence[Row],
    digest: str,
    settings: str,
) -> Action:
    rows = [ledger.get(granule.id) for granule in granules]
    if all(
        is_settled(row, granule, digest, settings) or out_of_reach(row, granule)
        for row, granule in zip(rows, granules, strict=True)
    ):
        return Action.SKIP
    if not any(granule.assets for granule in granules):
        # Nothing to read anew: what the cube holds stands.
        return Action.SKIP
    if any(row is not None and row.failing for row in rows):
        return Action.RETRY
    return Action.REPLACE if related else Action.NEW


def is_settled(row: Row | None, granule: Granule, digest: str, settings: str) -> bool:
    """Whether what was found is what the ledger's row was written for."""
    return (
        row is not None
        and row.status in SETTLED
        and not row.failing
        and row.group == digest
        and row.settings == settings
        and (not granule.assets or _as_found(row, granule))
    )


def _as_found(row: Row, granule: Granule) -> bool:
    same_time = granule.time is not None and row.time == floor(granule.time)
    return same_time and row.fingerprint == granule.fingerprint


def out_of_reach(row: Row | None, granule: Granule) -> bool:
    """Whether a granule failed before and lies outside the scope of this run."""
    return row is not None and row.status is Status.FAILED and not granule.assets


def _digest(granules: Iterable[Granule]) -> str:
    text = "\n".join(sorted(granule.id for granule in granules))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _defects(found: Sequence[Granule], ledger: Ledger) -> list[Row]:
    rows = []
    for granule in found:
        known = ledger.get(granule.id)
        if not granule.defect and granule.time is not None:
            continue
        if known is not None and known.fingerprint == granule.fingerprint:
            continue
        if known is not None and known.scene is not None:
            # What the cube holds of it stands, as if its files were gone altogether.
            continue
        reason = granule.defect or "the product names no acquisition time"
        rows.append(note(granule, Status.REJECTED, rule=INCOMPLETE, reason=reason))
    return rows


def _superseded(work: Sequence[Work], ledger: Ledger) -> list[Row]:
    """Older versions that turned up after a newer one was settled.

    In a scene that is still to be read, which version is used shows only then.
    """
    return [
        superseded(granule, newest)
        for item in work
        if item.action is Action.SKIP
        for newest in item.scene.granules
        for granule in item.deliveries[newest.key]
        if granule.id != newest.id and ledger.get(granule.id) is None
    ]


def superseded(old: Granule, new: Granule) -> Row:
    """The row of a delivery for which a newer one is used."""
    return note(old, Status.SUPERSEDED, reason=f"newer version in use: {new.id}")


def note(granule: Granule, status: Status, *, rule: str = "", reason: str = "") -> Row:
    """A ledger row that rests on what was found alone."""
    return Row(
        granule.id,
        granule.key,
        granule.version,
        granule.source,
        granule.modality,
        granule.platform,
        granule.time and floor(granule.time),
        status,
        rule=rule,
        reason=reason,
        fingerprint=granule.fingerprint,
    )


def floor(time: datetime) -> datetime:
    """A time without what is finer than the cube and the ledger keep, which is milliseconds."""
    return time.replace(microsecond=time.microsecond // 1000 * 1000)
