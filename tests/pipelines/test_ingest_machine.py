"""A cube whose archive changes at will and whose jobs die, against plain dictionaries."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cube.ledger import Status
from cube.store import Cube, Transaction
from inspection import Figures, Inspector, Known
from pipelines.expire import expire
from pipelines.ingest import ingest
from pipelines.rollback import rollback
from upstream import DELIVERIES, GRANULES, Archive

LATER = datetime.now(UTC) + timedelta(days=30)


@cache
def archive() -> Archive:
    return Archive(Path(tempfile.mkdtemp(prefix="archive-")))


@cache
def known() -> Known:
    """The readings of all granules; there is no one cube to arrive at."""
    region = archive().region
    return Known(region, Cube.create(region))


@pytest.fixture(scope="module", autouse=True)
def _tidy() -> Any:
    yield
    shutil.rmtree(archive().folder)
    archive.cache_clear()
    known.cache_clear()


@dataclass
class Model:
    """What the cube must hold, worked out from what was shown to it and nothing else."""

    status: dict[str, Status] = field(default_factory=dict)
    """Of every granule ever considered."""

    def copy(self) -> Model:
        return Model(dict(self.status))

    def held(self, names: list[str]) -> str | None:
        """The version of an acquisition that is in the cube."""
        return next((name for name in names if self.status.get(name) is Status.INGESTED), None)

    def scene(self, keys: list[list[str]]) -> list[str]:
        """The granules of a pass that are in the cube."""
        return [name for names in keys if (name := self.held(names)) is not None]

    def see(self, keys: list[list[str]], shown: dict[str, bool]) -> None:
        """One ingest looks at a pass: by granule, whether what is shown can be read."""
        chosen = [self._choose(names, shown) for names in keys]
        failed = {name for choice in chosen for name in choice.failed}
        taken = [choice.name for choice in chosen if choice.name is not None]
        before = self.scene(keys)
        stays = any(
            (choice.name is None and self.held(names)) or self.held(names) in choice.failed
            for names, choice in zip(keys, chosen, strict=True)
        )
        if stays or not self._whole(before, taken, shown):
            failed |= {name for name in taken if name in shown and name not in before}
            failed -= {name for name in failed if self.status.get(name) is Status.SUPERSEDED}
        elif taken:
            for names, choice in zip(keys, chosen, strict=True):
                if choice.name is not None:
                    older = names[: names.index(choice.name)]
                    known = {name for name in older if name in self.status or name in shown}
                    self.status |= dict.fromkeys(known, Status.SUPERSEDED)
                    self.status[choice.name] = Status.INGESTED
        self.status |= dict.fromkeys(failed - set(before), Status.FAILED)

    def _choose(self, names: list[str], shown: dict[str, bool]) -> Choice:
        held = self.held(names)
        there = [name for name in reversed(names) if name in shown]
        if held and (not there or names.index(there[0]) < names.index(held)):
            return Choice(held)  # its files are gone, or only older ones are shown
        failed: list[str] = []
        for name in there:
            if held and names.index(name) < names.index(held):
                break
            if shown[name]:
                return Choice(name, failed)
            failed.append(name)
        return Choice(None, failed)

    def _whole(self, before: list[str], taken: list[str], shown: dict[str, bool]) -> bool:
        """Whether a scene some of whose files are gone can be made anew from the stored one."""
        if all(name in shown for name in taken):
            return True
        places = [taken.index(name) for name in before if name in taken]
        return len(places) == len(before) and places[-1] - places[0] < len(places)


@dataclass
class Choice:
    """Of one acquisition, the granule that goes into the scene, and those tried before it."""

    name: str | None
    failed: list[str] = field(default_factory=list)


class Killed(BaseException):
    """Ends a job like a signal would."""


class Region(RuleBasedStateMachine):
    """Deliver, break, reprocess, delete, ingest, die, roll back, undo and expire."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="machine-"))
        self.region = archive().at(self.home)
        self.shown: dict[str, bool] = {}
        self.model = Model()
        self.cube = Cube.create(self.region)
        self.past = {self.cube.snapshot: self.model.copy()}
        self.undo: tuple[str, Model] | None = None

    def teardown(self) -> None:
        shutil.rmtree(self.home)

    @rule(name=st.sampled_from(GRANULES), whole=st.sampled_from([True, True, False]))
    def deliver(self, name: str, whole: bool) -> None:
        """In time or late, for the first time or again, also a new version of another one."""
        archive().show(self.home, name, whole=whole)
        self.shown[name] = whole

    @rule(place=st.sampled_from(sorted(DELIVERIES)))
    def deliver_a_pass(self, place: str) -> None:
        for names in DELIVERIES[place]:
            self.deliver(names[0], whole=True)

    @precondition(lambda self: self.shown)
    @rule(data=st.data())
    def delete_upstream(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.shown)))
        archive().hide(self.home, name)
        del self.shown[name]

    @rule()
    def outage(self) -> None:
        """The source answers, and shows nothing at all."""
        (self.home / "ecostress").rename(self.home / "aside")
        (self.home / "ecostress").mkdir()
        assert not ingest(self.region).failures
        (self.home / "ecostress").rmdir()
        (self.home / "aside").rename(self.home / "ecostress")

    def expected(self) -> list[Model]:
        """The model after none, one, and so on of the passes of a run were committed."""
        models = [self.model]
        for keys in DELIVERIES.values():
            model = models[-1].copy()
            model.see(keys, self.shown)
            if model != models[-1]:
                models.append(model)
        return models

    @rule(batch=st.sampled_from([1, 8]))
    def ingest(self, batch: int) -> None:
        self.model = self.expected()[-1]
        ingest(self.region, batch=batch, workers=1)
        self.remember()

    @rule(at=st.integers(0, 2), after=st.booleans())
    def die_in_mid_commit(self, at: int, after: bool) -> None:
        """Just before a batch is committed, or just after it was and nobody was told."""
        commit, count = Transaction.commit, 0

        def dying(self: Transaction, message: str, lineage: Any) -> Any:
            nonlocal count
            count += 1
            if count > at and not after:
                raise Killed
            commit(self, message, lineage)
            if count > at:
                raise Killed

        with mock.patch.object(Transaction, "commit", dying), suppress(Killed):
            ingest(self.region, batch=1, workers=1)
        found = self.statuses()
        models = [model for model in self.expected() if model.status == found]
        assert models, f"none of {[model.status for model in self.expected()]} is {found}"
        self.model = models[0]
        self.remember()

    @precondition(lambda self: len(self.past) > 1)
    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        here = Cube.open(self.region).snapshot
        target = data.draw(st.sampled_from([name for name in self.past if name != here]))
        before = self.model
        done = rollback(Cube.open(self.region), target)
        self.model = self.past[target].copy()
        self.undo = done.tag, before
        self.remember()

    @precondition(lambda self: self.undo)
    @rule()
    def undo_the_rollback(self) -> None:
        assert self.undo is not None
        tag, self.model = self.undo
        rollback(Cube.open(self.region), tag)
        self.undo = None
        self.remember()

    @rule(keep=st.integers(1, 3))
    def expire(self, keep: int) -> None:
        cube = Cube.open(self.region)
        expire(cube, timedelta(0), keep=keep, now=LATER)
        left = {commit.id for commit in Cube.open(self.region).history()}
        self.past = {name: model for name, model in self.past.items() if name in left}
        self.undo = None

    def remember(self) -> None:
        self.past[Cube.open(self.region).snapshot] = self.model.copy()

    def statuses(self) -> dict[str, Status]:
        return {row.granule: row.status for row in Cube.open(self.region).ledger}

    @invariant()
    def the_ledger_is_the_model(self) -> None:
        assert self.statuses() == self.model.status

    @invariant()
    def the_scenes_are_the_model(self) -> None:
        """Which granules they were made of; and each is the mosaic of just these."""
        ids = Cube.open(self.region).dataset("thermal", chunks=None)["granules"].values
        scenes = [self.model.scene(keys) for keys in DELIVERIES.values()]
        assert [str(each).split() for each in ids] == [scene for scene in scenes if scene]
        figures = Figures()
        Inspector(self.region, known(), figures).look(self.shown)
        assert not figures.half_visible_scenes + figures.wrong_pixels, str(figures)


def machine(examples: int, steps: int) -> Any:
    """A test case of its own."""
    case = type("TestRegion", (Region.TestCase,), {})
    case.settings = settings(  # type: ignore[attr-defined]
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return case


TestRegion = machine(5, 10)
TestRegionForLong = pytest.mark.soak(pytest.mark.timeout(0)(machine(150, 40)))
