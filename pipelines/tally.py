"""What an ingest did, counted while it goes on and told at the end."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cube.ledger import Row, Status
from pipelines.outcome import Outcome


class Failure(NamedTuple):
    """A granule that could not be read; the next run tries it again."""

    granule: str
    kind: str
    reason: str
    tries: int

    def __str__(self) -> str:
        again = f" (tried {self.tries} times)" if self.tries > 1 else ""
        return f"{self.granule}: {self.kind}: {self.reason}{again}"


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What a run did."""

    region: str
    location: str
    snapshot: str
    scenes: dict[str, int]
    """Scenes written, replaced, removed, skipped."""
    granules: dict[str, int]
    """Granules of this run by their new status."""
    ledger: dict[str, int]
    """All granules by status, after the run."""
    failures: tuple[Failure, ...] = ()
    """Everything that will be tried again."""
    commits: int = 0
    labels: str = ""
    """What was done about the label map."""
    bytes_read: int = 0
    """Size of the granules that were read, where their source tells it."""
    seconds: float = 0.0

    @property
    def changed(self) -> bool:
        """Whether the cube is another one than before."""
        return self.commits > 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        fields = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        failures = [failure._asdict() for failure in self.failures]
        return fields | {"failures": failures, "changed": self.changed}


@dataclass
class Tally:
    """Counters of one run."""

    scenes: Counter[str] = field(default_factory=Counter)
    granules: Counter[str] = field(default_factory=Counter)
    failures: dict[str, Failure] = field(default_factory=dict)
    commits: int = 0
    bytes_read: int = 0

    def note(self, outcomes: Iterable[Outcome], rows: Sequence[Row]) -> None:
        """Count a batch that was committed."""
        self.commits += 1
        for outcome in outcomes:
            self.bytes_read += outcome.read
            if outcome.step is not None:
                self.scenes["replaced" if outcome.remove else "written"] += 1
            elif outcome.remove:
                self.scenes["removed"] += 1
        for row in rows:
            self.granules[(Status.FAILED if row.failing else row.status).value] += 1
            if row.failing:
                self.failures[row.granule] = Failure(row.granule, row.rule, row.reason, row.tries)
