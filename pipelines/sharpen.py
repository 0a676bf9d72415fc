"""Score sharpening methods over a pairs file: resumable, with tables and figures at the end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from cube.errors import ModelError
from models.sharpening import Degradation, bicubic
from pipelines.pairs import SCALE, Pair, read_pairs
from pipelines.sharpen_protocol import Frame, Protocol, Score, inputs_of, scores
from pipelines.sharpen_rows import Rows
from pipelines.sharpen_table import Table, table
from pipelines.sharpen_variants import Catalogue, Variant

Progress = Callable[[int, int, str], None]
"""Called with rows done, rows in all, and what was done last."""
SENSOR = Degradation.gaussian()
"""The point spread function by which consistency is measured beside the block mean."""


@dataclass
class Comparison:
    """What became of a comparison."""

    folder: Path
    tables: dict[Protocol, Table] = field(default_factory=dict)
    left_out: dict[Protocol, list[int]] = field(default_factory=dict)
    """Pairs of which the protocol scores no rectangle."""
    failures: list[str] = field(default_factory=list)
    """Pair, method and reason of each row that could not be made; tried again next time."""
    rows: int = 0
    resumed: int = 0
    """Of these, those that an earlier attempt had finished."""
    files: list[Path] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "folder": str(self.folder),
            "tables": {str(protocol): table.to_dict() for protocol, table in self.tables.items()},
            "left_out": {str(protocol): pairs for protocol, pairs in self.left_out.items()},
            "failures": self.failures,
            "rows": self.rows,
            "resumed": self.resumed,
            "files": [str(file) for file in self.files],
        }


def compare(
    pairs_file: str | Path,
    folder: str | Path,
    *,
    protocols: Sequence[Protocol] = tuple(Protocol),
    methods: Sequence[str] | None = None,
    models: Sequence[str | Path] = (),
    pairs: Sequence[int] | None = None,
    figures: int = 3,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Comparison:
    """Score methods on the pairs of a file, and write tables and figures to a folder.

    Every finished pair and method is kept in ``scores.jsonl``. Killed and started again on the
    same file, the job goes on where it was; with more methods, pairs or protocols it makes only
    what is lacking. Tables hold what was asked for.

    Parameters
    ----------
    pairs_file
        See `pipelines.pairs.read_pairs`.
    folder
        For ``scores.jsonl``, ``scores.csv``, ``summary.csv``, ``table.md``, ``page.html`` and
        figures.
    protocols
        By which maps are made and judged.
    methods
        Names of `pipelines.sharpen_variants.Catalogue`; None for all.
    models
        Folders of trained methods (`pipelines.superres_train.train`), each known by its name.
        A pair is sharpened by networks that have not learnt from its place.
    pairs
        Their ids; None for all.
    figures
        Draw so many pairs, spread over those scored.
    overwrite
        Drop what the folder holds of other pairs files or other code.
    progress
        Told of each row.

    Returns
    -------
    Comparison
        With a table for each protocol that scored a pair.

    Raises
    ------
    PairsError
        If the file is no pairs file or lacks a pair.
    ModelError
        If no row could be made, a folder is no trained method, or there is no such method.
    StoreError
        If the folder cannot be written or holds rows that were made otherwise.
    """
    from pipelines.sharpen_page import write_all

    given = read_pairs(pairs_file, pairs)
    result = Comparison(Path(folder))
    asked = _asked(protocols, methods, models)
    settings = {"pairs": _file_digest(Path(pairs_file)), "code": _code_digest()}
    with Rows.at(result.folder, settings, overwrite=overwrite) as rows:
        _fill(rows, given, asked, result, progress)
        wanted = {protocol: _wanted(rows, protocol, asked[protocol], given) for protocol in asked}
    result.rows = sum(map(len, wanted.values()))
    if not result.rows:
        reasons = "; ".join(result.failures[:3]) or "the protocol scores none of these pairs"
        raise ModelError(f"no map could be scored: {reasons}")
    locations = {pair.id: pair.location for pair in given}
    result.tables = {
        protocol: table(found, protocol, locations) for protocol, found in wanted.items() if found
    }
    write_all(result, wanted, given, asked, figures)
    return result


def _asked(
    protocols: Sequence[Protocol], methods: Sequence[str] | None, models: Sequence[str | Path]
) -> dict[Protocol, dict[str, Variant]]:
    """The variants that are wanted, by protocol."""
    if models:
        from pipelines.superres_folder import Trained

        catalogue = Catalogue([Trained.load(model) for model in models])
    else:
        catalogue = Catalogue()
    unknown = [name for name in methods or () if catalogue.get(name) is None]
    if unknown:
        raise ModelError(
            f"no method is called {', '.join(unknown)}; there are {', '.join(catalogue.names())}, "
            "and means of them such as local_slope+dms"
        )
    return {protocol: catalogue.chosen(protocol, methods) for protocol in protocols}


def _fill(
    rows: Rows,
    pairs: Sequence[Pair],
    asked: Mapping[Protocol, Mapping[str, Variant]],
    result: Comparison,
    progress: Progress | None,
) -> None:
    """Make the rows that are lacking."""
    total = len(pairs) * sum(map(len, asked.values()))
    done = 0
    for protocol, known in asked.items():
        for pair in pairs:
            lacking = {
                name: variant
                for name, variant in known.items()
                if (str(protocol), pair.id, variant.key) not in rows
            }
            result.resumed += len(known) - len(lacking)
            done += len(known) - len(lacking)
            frame = Frame.of(pair, protocol)
            if frame.crop is None:
                result.left_out.setdefault(protocol, []).append(pair.id)
                done += len(lacking)
                continue
            for name, found in _rows_of(frame, lacking):
                done += 1
                if isinstance(found, Score):
                    rows.add(found)
                else:
                    result.failures.append(f"pair {pair.id}, {name} ({protocol}): {found}")
                if progress is not None:
                    progress(done, total, f"{protocol}: pair {pair.id}, {name}")


def _rows_of(frame: Frame, known: Mapping[str, Variant]) -> Iterator[tuple[str, Score | str]]:
    """Score variants on one pair; the reason instead for those that cannot be made."""
    if not known:
        return
    given, truth = inputs_of(frame.pair, frame.protocol), frame.truth()
    smooth = frame.image(bicubic(given.lst, SCALE))
    for name, variant in known.items():
        try:
            fine = variant.make(given)
        except ValueError as problem:
            # A scene with too little to learn from; the other methods may do with it.
            yield name, str(problem)
            continue
        metrics = scores(truth, frame.image(fine), smooth)
        metrics["consistency_box"] = variant.misfit(fine, given)
        metrics["consistency_psf"] = variant.misfit(fine, given, SENSOR)
        yield name, Score(frame.pair.id, variant.key, frame.protocol, metrics)


def _wanted(
    rows: Rows, protocol: Protocol, known: Mapping[str, Variant], pairs: Sequence[Pair]
) -> list[Score]:
    """Rows of the methods and pairs asked for, in the order they were asked for."""
    keys = (
        (name, (str(protocol), pair.id, variant.key))
        for pair in pairs
        for name, variant in known.items()
    )
    found = ((name, rows.get(key)) for name, key in keys)
    return [replace(score, method=name) for name, score in found if score is not None]


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=1)
def _code_digest() -> str:
    """Of all source that a figure depends on: rows of other code are not mixed in."""
    import models

    root = Path(models.__path__[0])
    folders = ("sharpening", "image_metrics", "superres")
    files = [file for folder in folders for file in root.glob(f"{folder}/*.py")]
    files += [Path(__file__).with_name(f"{name}.py") for name in _SOURCES]
    parts = sorted((file.name, file.read_bytes()) for file in files)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


_SOURCES = ("pairs", "sharpen", "sharpen_protocol", "sharpen_variants")
