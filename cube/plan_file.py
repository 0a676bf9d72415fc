"""The file of a sample plan: one ``.npz`` with a header, a digest and the tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from cube.errors import PlanError

ADVICE = "make a new plan, or take the file from a backup"


def write_plan_file(path: Path, header: str, digest: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a plan whole, or not at all.

    Parameters
    ----------
    path
        Replaced if it is there.
    header
        JSON.
    digest
        Of all content.
    arrays
        The tables.
    """
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        np.savez_compressed(
            file,
            header=np.array(header),
            digest=np.array(digest),
            allow_pickle=False,
            **arrays,
        )
    part.replace(path)


@contextmanager
def reading_plan_file(path: Path) -> Iterator[Any]:
    """Open a plan's file; what goes wrong with it inside the block is a `PlanError`.

    Yields
    ------
    numpy.lib.npyio.NpzFile

    Raises
    ------
    PlanError
        If it is not there, or not a plan.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            yield stored
    except FileNotFoundError:
        raise PlanError(f"there is no such file; {ADVICE}") from None
    except PlanError:
        raise
    except (OSError, BadZipFile, EOFError, KeyError, TypeError, ValueError) as error:
        raise PlanError(f"the file cannot be read ({error}); {ADVICE}") from error
