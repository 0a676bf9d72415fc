"""All regions of a folder, one after the other; what is wrong with one stops no other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cube.errors import RegionError, ThermocubeError
from cube.region import Region
from pipelines.cli_show import counted, plan_document, readable, table_of
from pipelines.console import EXIT_DONE, EXIT_FAILED, EXIT_WITH_FAILURES, emit
from pipelines.plan import Action, Plan
from pipelines.tally import IngestReport

log = logging.getLogger("thermocube.fleet")


@dataclass(frozen=True, slots=True)
class Entry[Result]:
    """What became of one region."""

    file: Path
    name: str
    """Of the region; of the file if it is no region."""
    result: Result | None
    kind: str = ""
    """Of the error, if there was one."""
    message: str = ""

    @property
    def failed(self) -> bool:
        """Whether the region as a whole failed."""
        return self.result is None

    def to_dict(self, document: dict[str, Any] | None) -> dict[str, Any]:
        """JSON-able, with the result as a document."""
        error = {"kind": self.kind, "message": self.message} if self.failed else None
        return {"file": str(self.file), "region": self.name, "error": error, "result": document}


def regions_in(folder: Path) -> list[Path]:
    """The region files of a folder, in order of their names.

    Raises
    ------
    RegionError
        If there is no folder, or no region file in it.
    """
    if not folder.is_dir():
        raise RegionError(f"there is no folder {folder}; --all takes a folder of region files")
    files = sorted(folder.glob("*.toml"))
    if not files:
        raise RegionError(f"there is no region file (*.toml) in {folder}")
    return files


def for_each[Result](
    files: Sequence[Path], job: Callable[[Region], Result]
) -> Iterator[Entry[Result]]:
    """Do something for every region, whatever happens to the others.

    Parameters
    ----------
    files
        Region files; one that is wrong is an entry with an error.
    job
        What to do; the top of a job each, so that even an unexpected error is one region's only.
    """
    for file in files:
        name = file.stem
        try:
            region = Region.load(file)
            name = region.name
            yield Entry(file, name, job(region))
        except ThermocubeError as error:
            yield Entry(file, name, None, error.kind, str(error))
        except Exception as error:
            log.exception("region %s", file)
            yield Entry(file, name, None, "unexpected", f"{type(error).__name__}: {error}")


def exit_code(entries: Sequence[Entry[IngestReport]]) -> int:
    """1 if a region failed, else 3 if granules did, else 0."""
    if any(entry.failed for entry in entries):
        return EXIT_FAILED
    failures = any(entry.result and entry.result.failures for entry in entries)
    return EXIT_WITH_FAILURES if failures else EXIT_DONE


def show_ingests(entries: Sequence[Entry[IngestReport]], *, json: bool) -> None:
    """Print one line a region, then what failed."""
    table = table_of("region", "scenes", "granules failed", "read", "seconds", "")
    lines = []
    for entry in entries:
        report = entry.result
        if report is None:
            table.add_row(entry.name, "", "", "", "", f"failed ({entry.kind})")
            lines.append(f"{entry.name}: error ({entry.kind}): {entry.message}")
            continue
        state = "failures" if report.failures else "done" if report.changed else "up to date"
        table.add_row(
            entry.name,
            counted(report.scenes) or "none",
            str(len(report.failures)),
            readable(report.bytes_read),
            f"{report.seconds:.1f}",
            state,
        )
        lines += [f"{entry.name}: {failure}" for failure in report.failures]
    reports = [entry.result for entry in entries if entry.result is not None]
    document = {
        "regions": [
            entry.to_dict(entry.result.to_dict() if entry.result else None) for entry in entries
        ],
        "failed": [entry.name for entry in entries if entry.failed],
        "failures": sum(len(report.failures) for report in reports),
        "bytes_read": sum(report.bytes_read for report in reports),
        "seconds": round(sum(report.seconds for report in reports), 3),
    }
    emit(document, table, *lines, json=json)


def show_plans(entries: Sequence[Entry[tuple[Region, Plan]]], *, json: bool) -> None:
    """Print one line a region, then what is wrong."""
    table = table_of("region", *(action.value for action in Action), "to read", "")
    lines, documents = [], []
    for entry in entries:
        if entry.result is None:
            table.add_row(entry.name, *("" for _ in Action), "", f"failed ({entry.kind})")
            lines.append(f"{entry.name}: error ({entry.kind}): {entry.message}")
            documents.append(entry.to_dict(None))
            continue
        region, plan = entry.result
        counts = plan.count()
        table.add_row(
            entry.name, *(str(counts[action]) for action in Action), readable(plan.size())
        )
        documents.append(entry.to_dict(plan_document(region, plan)))
    failed = [entry.name for entry in entries if entry.failed]
    emit({"regions": documents, "failed": failed}, table, *lines, json=json)


def show_statuses(entries: Sequence[Entry[dict[str, Any]]], *, json: bool) -> None:
    """Print one line a cube, then what is wrong."""
    statuses = ("ingested", "rejected", "failed")
    table = table_of("region", "scenes", "newest (UTC)", *statuses, "")
    lines = []
    for entry in entries:
        if entry.result is None:
            table.add_row(entry.name, "", "", *("" for _ in statuses), f"failed ({entry.kind})")
            lines.append(f"{entry.name}: error ({entry.kind}): {entry.message}")
            continue
        groups = entry.result["modalities"]
        scenes = ", ".join(f"{figures['scenes']} {name}" for name, figures in groups.items())
        newest = max((time for figures in groups.values() for time in figures["times"]), default="")
        counts = (str(entry.result["ledger"][status]) for status in statuses)
        table.add_row(entry.name, scenes or "none", newest[:16], *counts)
    document = {
        "regions": [entry.to_dict(entry.result) for entry in entries],
        "failed": [entry.name for entry in entries if entry.failed],
    }
    emit(document, table, *lines, json=json)
