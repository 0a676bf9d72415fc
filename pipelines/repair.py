"""Repair: what a check found wrong in scenes is marked to be read anew."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

from cube.bands import MODALITIES
from cube.ledger import Status
from cube.store import Cube
from pipelines.check_ledger import scenes_of
from pipelines.findings import CheckReport


def repair(cube: Cube, report: CheckReport) -> list[str]:
    """Have granules read anew by the next ingest, whose scenes a check found wrong.

    Their ledger rows say that they are damaged and keep the scene they stand in, so nothing leaves
    the cube before something better is there to take its place.

    Returns
    -------
    list of str
        The granules; those of findings that reading anew does not heal are not among them.
    """
    reasons = {name: str(entry.what) for entry in report.errors for name in entry.granules}
    if not reasons:
        return []
    with cube.transaction(
        f"mark {len(reasons)} granules to be read anew", {"job": "repair", "granules": [*reasons]}
    ) as change:
        cube.refresh()
        places = _places(cube)
        rows = [
            dataclasses.replace(
                row,
                status=Status.INGESTED if row.granule in places else Status.FAILED,
                rule="damaged",
                reason=reasons[row.granule],
                scene=places.get(row.granule),
                tries=0,
            )
            for row in cube.ledger
            if row.granule in reasons
        ]
        change.write("ledger", cube.ledger.updated(rows).to_dataset())
    return [row.granule for row in rows]


def _places(cube: Cube) -> dict[str, datetime]:
    places = {}
    for modality in set(cube.groups()) & MODALITIES.keys():
        coords = cube.dataset(modality, chunks=None)
        stored = scenes_of(coords["time"].values, coords["granules"].values)
        for time, granules in stored.items():
            for granule in granules:
                places[granule] = datetime.fromtimestamp(time / 1000, UTC)
    return places
