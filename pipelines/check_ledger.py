"""The ledger against what is stored: every row and every scene must bear the other out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import numpy as np

from cube.ledger import Ledger, Row, Status
from cube.timeline import milliseconds
from pipelines.findings import GO_BACK, REREAD, Finding, error, warning

MANY_TRIES = 3
"""A granule that failed as often will not come by itself."""

Scenes = Mapping[str, Mapping[int, tuple[str, ...]]]
"""By modality, the granules of each scene by its time in milliseconds."""


def check_ledger(ledger: Ledger, scenes: Scenes) -> Iterator[Finding]:
    """Compare every row with the scenes, and every scene with the rows.

    An ingested row's scene exists and lists the granule, and a row that is not ingested has no
    scene. Every granule of a scene has such a row, and stands in one scene only. A scene of whose
    pass a granule failed is incomplete, which is a warning.

    Parameters
    ----------
    ledger
        Of the same snapshot as `scenes`.
    scenes
        What is stored.
    """
    for row in ledger:
        yield from _row(row, scenes)
    for modality, stored in scenes.items():
        for time, granules in stored.items():
            for granule in granules:
                yield from _member(ledger.get(granule), granule, modality, time)
    yield from _twice(scenes)
    yield from _incomplete(ledger)
    yield from _never_read(ledger)


def _row(row: Row, scenes: Scenes) -> Iterator[Finding]:
    where = f"ledger, granule {row.granule}"
    if row.scene is None:
        if row.status is Status.INGESTED:
            what = "it stands as ingested, but names no scene"
            yield error("ledger_without_scene", where, what, REREAD, [row.granule])
        return
    if row.status is not Status.INGESTED:
        what = f"it stands as {row.status}, but names the scene {row.scene:%Y-%m-%d %H:%M:%S}"
        yield error("ledger_scene_unexpected", where, what, REREAD, [row.granule])
        return
    listed = scenes.get(row.modality, {}).get(milliseconds(row.scene))
    if listed is None:
        what = f"the cube holds no {row.modality} scene at {row.scene:%Y-%m-%d %H:%M:%S.%f}"
        yield error("scene_lost", where, what, REREAD, [row.granule])
    elif row.granule not in listed:
        what = f"its {row.modality} scene {row.scene:%Y-%m-%d %H:%M:%S} does not list it"
        yield error("scene_without_granule", where, what, REREAD, [row.granule])


def _member(row: Row | None, granule: str, modality: str, time: int) -> Iterator[Finding]:
    where = f"{modality} {_when(time)}, granule {granule}"
    if row is None:
        yield error("granule_not_in_ledger", where, "the ledger does not know it", GO_BACK)
    elif row.status is not Status.INGESTED or row.scene is None:
        what = f"the scene lists it, but the ledger has it as {row.status}"
        yield error("granule_not_ingested", where, what, REREAD, [granule])
    elif milliseconds(row.scene) != time or row.modality != modality:
        what = f"the ledger has it in {row.modality} {row.scene:%Y-%m-%d %H:%M:%S}"
        yield error("granule_elsewhere", where, what, GO_BACK)


def _twice(scenes: Scenes) -> Iterator[Finding]:
    places: dict[str, list[str]] = defaultdict(list)
    for modality, stored in scenes.items():
        for time, granules in stored.items():
            for granule in granules:
                places[granule].append(f"{modality} {_when(time)}")
    for granule, where in places.items():
        if len(where) > 1:
            what = f"it stands in {len(where)} scenes: {', '.join(where)}"
            yield error("granule_twice", f"granule {granule}", what, GO_BACK)


def _incomplete(ledger: Ledger) -> Iterator[Finding]:
    for (modality, scene), rows in ledger.incomplete().items():
        names = ", ".join(f"{row.granule} ({row.rule})" for row in rows)
        what = f"{len(rows)} granules of its pass are missing, as they could not be read: {names}"
        advice = "The next `thermocube ingest` that can read them completes it"
        yield warning("scene_incomplete", f"{modality} {scene:%Y-%m-%d %H:%M:%S}", what, advice)


def _never_read(ledger: Ledger) -> Iterator[Finding]:
    stuck = [row for row in ledger if row.failing and row.tries >= MANY_TRIES]
    for row in stuck:
        yield warning(
            "granule_keeps_failing",
            f"ledger, granule {row.granule}",
            f"it failed {row.tries} times, last by {row.rule}: {row.reason}",
            "Fetch it anew, or take it out of the source",
        )


def _when(time: int) -> str:
    return f"{datetime.fromtimestamp(time / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def scenes_of(times: np.ndarray, granules: np.ndarray) -> dict[int, tuple[str, ...]]:
    """Granules by time in milliseconds, from a group's coordinates."""
    stamps = times.astype("datetime64[ms]").astype(np.int64)
    return {int(time): tuple(str(ids).split()) for time, ids in zip(stamps, granules, strict=True)}
