"""What of a scene stands in the cube while not everything of it can be read anew."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cube.ledger import Ledger, Row, Status
from cube.quality import Flag
from cube.scene import Granule, Reading
from pipelines.outcome import Outcome
from pipelines.plan import Work

HELD_BACK = "held_back"
"""Rule under which a granule fails that can be read, but not be laid into its stored scene."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A granule that could be read, and the deliveries it is used instead of."""

    granule: Granule
    reading: Reading
    instead_of: tuple[Row, ...]

    @property
    def measured(self) -> bool:
        """Whether any pixel of it lies inside the region."""
        return bool(((self.reading.qc & int(Flag.MISSING)) == 0).any())


def is_stored(ledger: Ledger, work: Work, taken: Sequence[Taken]) -> bool:
    """Whether the readable granules are exactly those of the one stored scene."""
    rows = [ledger.get(entry.granule.id) for entry in taken]
    return len(work.stored) == 1 and all(
        row is not None
        and (row.status is Status.EMPTY or row.scene == work.stored[0])
        and not row.failing
        and row.settings == work.settings
        and row.fingerprint == entry.granule.fingerprint
        for row, entry in zip(rows, taken, strict=True)
    )


def with_stored(ledger: Ledger, taken: Sequence[Taken]) -> list[Taken] | None:
    """Granules whose files are gone, with what the cube holds of them.

    A stored scene cannot be taken apart. It stands for all its granules at once, as long as each
    of them is still the same, and no other granule comes between them.

    Returns
    -------
    list of Taken or None
        None if the mosaic cannot be told any more.
    """
    result = list(taken)
    for gone in taken:
        row = ledger.get(gone.granule.id)
        if gone.granule.assets or row is None:
            continue
        assert row.scene is not None  # else there was nothing to read
        members = {other.granule: other for other in ledger.in_scene(row.modality, row.scene)}
        places = [i for i, entry in enumerate(taken) if entry.granule.id in members]
        if len(places) < len(members) or places[-1] - places[0] >= len(places):
            return None
        for index in places:
            granule = taken[index].granule
            if granule.assets and granule.fingerprint != members[granule.id].fingerprint:
                return None
            result[index] = dataclasses.replace(taken[index], reading=gone.reading)
    return result


def torn(ledger: Ledger, outcomes: Sequence[Outcome]) -> list[str]:
    """Granules that would be gone although their rows say that they are in the cube.

    A stored scene may be taken out only if all that it holds is shown elsewhere, or is no more to
    be shown.

    Parameters
    ----------
    outcomes
        All that are committed at once.
    """
    rows = {row.granule: row for outcome in outcomes for row in outcome.rows}
    shown = {name for outcome in outcomes if outcome.step for name in outcome.step.granules}
    members = [
        row.granule
        for outcome in outcomes
        for time in outcome.remove
        for row in ledger.in_scene(outcome.work.scene.modality, time)
        if rows.get(row.granule, row).scene is not None
    ]
    return sorted(set(members) - shown)


def regrouped(ledger: Ledger, work: Work, told: Iterable[Row]) -> list[Row]:
    """Rows that stay as they are, now with others in their pass.

    Parameters
    ----------
    told
        New rows of the pass, which are not among the result.
    """
    names = {row.granule for row in told}
    rows = {
        row.granule: row
        for granule in work.scene.granules
        for row in ledger.of(granule.key)
        if row.scene is not None or row.granule == granule.id
    }
    return [
        dataclasses.replace(row, group=work.digest)
        for row in rows.values()
        if row.granule not in names
        and row.group != work.digest
        and row.status is not Status.SUPERSEDED
    ]


def retired(ledger: Ledger, granule: Granule, shown: set[str]) -> list[Row]:
    """Rows of versions older than a granule that stand in the ledger, their files gone."""
    nan = float("nan")
    return [
        dataclasses.replace(
            row,
            status=Status.SUPERSEDED,
            rule="",
            reason=f"newer version in use: {granule.id}",
            figure=nan,
            limit=nan,
            scene=None,
            group="",
            settings="",
            tries=1,
        )
        for row in ledger.of(granule.key)
        if row.granule not in shown and row.version < granule.version
    ]


def waiting(ledger: Ledger, taken: Sequence[Taken]) -> list[Granule]:
    """Granules that can be read but not be shown, as their stored scene stays as it is."""
    rows = [(entry.granule, ledger.get(entry.granule.id)) for entry in taken]
    return [granule for granule, row in rows if row is None or row.status is Status.FAILED]


def why_held(taken: Sequence[Taken], failed: Sequence[Row]) -> str:
    """What keeps a stored scene from being made anew, for people."""
    names = [row.granule for row in failed if row.scene is not None]
    if names:
        return f"its scene is made anew when {', '.join(names)} can be read again"
    gone = [entry.granule.id for entry in taken if not entry.granule.assets]
    return (
        f"its scene cannot be made anew without the files of {', '.join(gone)}; bring them back, "
        "or ingest without --only"
    )
