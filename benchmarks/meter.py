"""Measuring: processes of their own, figures of this one, medians, tables."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def spawn(script: str, *arguments: object) -> dict[str, Any]:
    """Run a script in a process of its own; its last line is JSON.

    Raises
    ------
    RuntimeError
        With the last line of its errors, if it fails.
    """
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rsplit("\n", 1)[-1])
    result: dict[str, Any] = json.loads(done.stdout.strip().rsplit("\n", 1)[-1])
    return result


def peak_of(field: str = "VmHWM") -> float:
    """A memory figure of this process, MB (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def forget_peak() -> None:
    """Start the peak of this process anew (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Median of every figure over some runs."""
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def table(title: str, rows: Sequence[Sequence[object]], head: Sequence[str]) -> str:
    """Lay figures out in columns."""
    lines = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(head))]
    body = [
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join(["", title, "", *body])
