"""The judge of the storms sees every kind of wrong that it is to find, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cube.ledger import Ledger, Row, Status
from cube.region import Region
from cube.store import Cube, Transaction
from deliveries import at_home, granules_of
from inspection import Figures, Inspector
from pipelines.ingest import ingest

Spoil = Callable[[Cube, Transaction, Row], None]


@pytest.fixture(scope="module")
def home(delivery: Any, tmp_path_factory: pytest.TempPathFactory) -> Region:
    """A cube of everything; each test puts it back as it was."""
    folder = tmp_path_factory.mktemp("judged")
    region = at_home(delivery.simulation, folder, granules_of(delivery.simulation))
    ingest(region)
    return region


def judged(region: Region, delivery: Any) -> Figures:
    figures = Figures()
    Inspector(region, delivery.known, figures).look()
    return figures


def test_a_right_cube_is_right(home: Region, delivery: Any) -> None:
    figures = judged(home, delivery)
    assert not figures.half_visible_scenes + figures.wrong_pixels + figures.scenes_lost, figures


def rewritten(cube: Cube, tx: Transaction, *rows: Row) -> None:
    tx.write("ledger", cube.ledger.updated(rows).to_dataset())


def one_pixel(cube: Cube, tx: Transaction, row: Row) -> None:
    layer = tx.array("thermal/qc")
    flags = layer[0]
    flags[0, 0] ^= 1
    layer[0] = flags


def a_row_is_failed(cube: Cube, tx: Transaction, row: Row) -> None:
    """One of a pair: the ledger says that the scene was made of the other one alone."""
    rewritten(cube, tx, dataclasses.replace(row, status=Status.FAILED, scene=None, rule="x"))


def a_row_is_gone(cube: Cube, tx: Transaction, row: Row) -> None:
    kept = Ledger(entry for entry in cube.ledger.rows if entry.granule != row.granule)
    tx.write("ledger", kept.to_dataset())


def a_rejected_row_has_a_scene(cube: Cube, tx: Transaction, row: Row) -> None:
    rewritten(cube, tx, dataclasses.replace(row, status=Status.REJECTED))


def the_scene_lists_one_only(cube: Cube, tx: Transaction, row: Row) -> None:
    """Ledger and list agree that the other one is not there; its pixels are."""
    names = tx.array("thermal/granules")
    listed = names[:]
    index = next(i for i, ids in enumerate(listed) if row.granule in str(ids))
    listed[index] = " ".join(name for name in str(listed[index]).split() if name != row.granule)
    names[:] = listed
    a_row_is_failed(cube, tx, row)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (one_pixel, "values not of"),
        (a_row_is_failed, "lists other granules"),
        (a_row_is_gone, "lists other granules"),
        (a_rejected_row_has_a_scene, "rejected, scene"),
        (the_scene_lists_one_only, "values not of"),
    ],
)
def test_every_kind_of_wrong_is_seen(home: Region, delivery: Any, spoil: Spoil, words: str) -> None:
    cube = Cube.open(home)
    before = cube.snapshot
    ids = next(ids.split() for _, ids in delivery.known.complete if " " in ids)
    row = cube.ledger.get(ids[1])
    assert row is not None
    with cube.transaction("spoil", {}) as tx:
        spoil(cube, tx, row)
    figures = judged(home, delivery)
    cube.repository.reset_branch("main", before)
    assert figures.half_visible_scenes, figures
    assert any(words in finding for finding in figures.findings), figures
    assert figures.wrong_pixels or words != "values not of", figures


def test_a_scene_that_was_seen_once_and_is_gone_is_lost(delivery: Any, tmp_path: Path) -> None:
    region = at_home(delivery.simulation, tmp_path, delivery.units[0])
    figures = Figures()
    inspector = Inspector(region, delivery.known, figures)
    empty = Cube.create(region).snapshot
    ingest(region)
    assert inspector.look() and not figures.scenes_lost
    Cube.open(region).repository.reset_branch("main", empty)
    inspector.look()
    assert figures.scenes_lost
