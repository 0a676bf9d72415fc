"""What a check found: findings for people and for machines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"
    """The cube holds something wrong, or has lost something."""
    WARNING = "warning"
    """What the cube holds is right, but somebody should have a look."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    severity: Severity
    kind: str
    """Stable, machine-readable name, such as ``damaged_chunk``."""
    where: str
    """Group, scene, granule, chunk: as far down as is known."""
    what: str
    """The fault, with the figures."""
    advice: str
    """What to do next."""
    granules: tuple[str, ...] = ()
    """Granules whose reading anew would put it right."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        names = ("kind", "where", "what", "advice", "granules")
        plain = {name: getattr(self, name) for name in names}
        return {"severity": self.severity.value, **plain}

    def __str__(self) -> str:
        return f"{self.severity} ({self.kind}) {self.where}: {self.what}. {self.advice}"


REREAD = "Run `thermocube check --repair`, then `thermocube ingest`: it is read anew"
GO_BACK = (
    "Somebody wrote past the ledger: see `thermocube history`, "
    "and `thermocube rollback` to before it"
)


def error(kind: str, where: str, what: str, advice: str, granules: Iterable[str] = ()) -> Finding:
    """A finding that makes the cube wrong."""
    return Finding(Severity.ERROR, kind, where, what, advice, tuple(granules))


def warning(kind: str, where: str, what: str, advice: str) -> Finding:
    """A finding that is worth a look."""
    return Finding(Severity.WARNING, kind, where, what, advice)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All findings about one snapshot of a cube, the worst first."""

    cube: str
    snapshot: str
    findings: tuple[Finding, ...]
    checked: Mapping[str, int] = field(default_factory=dict)
    """How much was looked at: scenes, chunks decoded, chunks counted, granules."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What is wrong."""
        return tuple(entry for entry in self.findings if entry.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is worth a look."""
        return tuple(entry for entry in self.findings if entry.severity is Severity.WARNING)

    @property
    def healthy(self) -> bool:
        """Whether there is no finding at all."""
        return not self.findings

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "cube": self.cube,
            "snapshot": self.snapshot,
            "healthy": self.healthy,
            "errors": len(self.errors),
            "warnings": len(self.warnings),
            "checked": dict(self.checked),
            "findings": [entry.to_dict() for entry in self.findings],
        }
