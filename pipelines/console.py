"""What a command says: results to stdout, progress and errors to stderr."""

from __future__ import annotations

import json as jsons
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType

from cube.errors import ThermocubeError

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_BAD_USAGE = 2
EXIT_WITH_FAILURES = 3
EXIT_STOPPED = 130

Tell = Callable[[int, int, str], None]


def out() -> Console:
    """The console for results."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def emit(document: Mapping[str, Any], *renderables: RenderableType, json: bool) -> None:
    """Print a result for a machine, or for a person."""
    if json:
        sys.stdout.write(jsons.dumps(document, indent=2, default=str) + "\n")
        return
    console = out()
    for renderable in renderables:
        console.print(renderable)


def error(problem: ThermocubeError) -> None:
    """Print an error in a line or two; the kind first, so that logs can be searched."""
    sys.stderr.write(f"error ({problem.kind}): {problem}\n")


@contextmanager
def progress(title: str, *, quiet: bool = False) -> Iterator[Tell]:
    """Show progress on a terminal, plain lines elsewhere, nothing if quiet.

    Yields
    ------
    callable
        Takes steps done, steps in all, and a line about the last one.
    """
    if quiet:
        yield lambda done, total, line: None
    elif sys.stderr.isatty():
        yield from _bar(title)
    else:
        yield lambda done, total, line: _line(f"[{done}/{total}] {line}")


def _line(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _bar(title: str) -> Iterator[Tell]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, line: bar.update(
            task, completed=done, total=total, description=line
        )


def epoch_line(logs: Mapping[str, float]) -> str:
    """Losses and scores of an epoch in a line."""
    return ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in logs.items())
