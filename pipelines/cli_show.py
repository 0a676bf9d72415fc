"""How plans, runs and cubes are shown on a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from cube.ledger import Ledger, Row, Status
from cube.region import Region
from cube.store import Cube
from pipelines.console import emit
from pipelines.ingest import IngestReport
from pipelines.plan import Action, Plan


def plan_document(region: Region, plan: Plan) -> dict[str, Any]:
    """A plan as JSON: scenes by source and action, with the bytes to be read."""
    return {
        "region": region.name,
        "sources": {
            source.name: {
                **{action.value: count for action, count in plan.count(source.name).items()},
                "bytes": plan.size(source.name),
            }
            for source in region.sources
        },
        "notes": [{"granule": row.granule, "reason": row.reason} for row in plan.notes],
        "scenes": [
            {
                "time": work.scene.time.isoformat(),
                "modality": work.scene.modality,
                "action": work.action.value,
                "granules": [granule.id for granule in work.scene.granules],
            }
            for work in plan.work
        ],
    }


def show_plan(region: Region, plan: Plan, *, json: bool) -> None:
    """Print scenes by source and action, with the bytes to be read."""
    document = plan_document(region, plan)
    table = table_of("source", *(action.value for action in Action), "to read")
    for name, figures in document["sources"].items():
        counts = (str(figures[action.value]) for action in Action)
        table.add_row(name, *counts, readable(figures["bytes"]))
    lines = [f"  {row.granule}: {row.status}, {row.reason}" for row in plan.notes]
    if lines:
        lines.insert(0, "without reading, these go into the ledger:")
    head = f"plan for {region.name}: scenes by source"
    last = (
        "nothing to do: the cube is up to date"
        if not plan.todo and not plan.notes
        else f"{len(plan.todo)} scenes to read, {readable(plan.size())}; "
        "`thermocube ingest` does it"
    )
    emit(document, head, table, *lines, last, json=json)


def show_ingest(report: IngestReport, *, json: bool) -> None:
    """Print what a run did."""
    lines = [f"{report.region}: scenes: {counted(report.scenes) or 'none'}"]
    if report.granules:
        lines.append(f"granules of this run: {counted(report.granules)}")
    lines.append(f"read {readable(report.bytes_read)} in {report.seconds:.1f} s")
    if report.labels:
        lines.append(report.labels)
    if report.failures:
        lines.append("failed, and tried again by the next run:")
        lines += [f"  {failure}" for failure in report.failures]
    if report.changed:
        lines.append(f"cube: {report.location} at snapshot {report.snapshot}")
    else:
        lines.append("nothing changed: the cube is up to date")
    emit(report.to_dict(), *lines, json=json)


def counted(counts: Mapping[str, int]) -> str:
    """Counts in a line: ``3 written, 1 replaced``."""
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def show_status(cube: Cube, *, json: bool) -> None:
    """Print scenes and coverage by modality and month, and what is not in the cube."""
    document, shown = _status(cube)
    emit(document, *shown, json=json)


def status_document(cube: Cube) -> dict[str, Any]:
    """A cube's scenes, coverage and ledger as JSON."""
    return _status(cube)[0]


def _status(cube: Cube) -> tuple[dict[str, Any], list[Any]]:
    ledger = cube.ledger
    document: dict[str, Any] = {
        "region": cube.name,
        "cube": cube.location,
        "snapshot": cube.snapshot,
        "ledger": {status.value: count for status, count in ledger.count().items()},
        "modalities": {},
        "not_ingested": [_left_out(row) for row in ledger if row.status in _LEFT_OUT],
        "incomplete_scenes": _incomplete(ledger),
        "not_renewed": [
            _left_out(row) for row in ledger if row.failing and row.status is Status.INGESTED
        ],
    }
    shown: list[Any] = [f"{cube.name}: {cube.location} at snapshot {cube.snapshot}"]
    for modality in _modalities(cube):
        figures, table = _coverage(cube, modality)
        document["modalities"][modality] = figures
        shown.append(table)
    shown.append(f"granules: {counted(document['ledger']) or 'none yet'}")
    if document["not_ingested"]:
        shown.append(_left_out_table(row for row in ledger if row.status in _LEFT_OUT))
    for scene in document["incomplete_scenes"]:
        head = f"incomplete: the {scene['modality']} scene of {scene['time']} lacks"
        shown.append(f"{head} {', '.join(scene['missing'])}; the next ingest tries again")
    for row in document["not_renewed"]:
        shown.append(f"as read before: {row['granule']}: {row['rule']}: {row['reason']}")
    return document, shown


def _incomplete(ledger: Ledger) -> list[dict[str, Any]]:
    return [
        {
            "modality": modality,
            "time": f"{scene:%Y-%m-%d %H:%M:%S}",
            "missing": [row.granule for row in rows],
        }
        for (modality, scene), rows in ledger.incomplete().items()
    ]


_LEFT_OUT = (Status.REJECTED, Status.FAILED, Status.EMPTY)


def _modalities(cube: Cube) -> list[str]:
    from cube.bands import MODALITIES

    return [name for name in MODALITIES if name in cube.groups()]


def _coverage(cube: Cube, modality: str) -> tuple[dict[str, Any], Table]:
    scenes = cube.dataset(modality, chunks=None)
    bands = [str(band) for band in scenes["band"].values]
    frame = scenes[["valid_fraction", "cloud_fraction", "bad_fraction"]].to_dataframe()
    table = table_of("month", "scenes", "valid", "cloud", "bad", "")
    table.title = f"{modality} ({', '.join(bands)}): {len(frame)} scenes"
    months: dict[str, Any] = {}
    for month, group in frame.groupby(frame.index.strftime("%Y-%m")):  # type: ignore[attr-defined]
        mean = group.mean(numeric_only=True)
        valid, cloud, bad = mean["valid_fraction"], mean["cloud_fraction"], mean["bad_fraction"]
        months[str(month)] = {"scenes": len(group), "valid": valid, "cloud": cloud, "bad": bad}
        bar = "█" * round(20 * valid)
        table.add_row(
            str(month), str(len(group)), f"{valid:.1%}", f"{cloud:.1%}", f"{bad:.1%}", bar
        )
    times = [str(time) for time in frame.index]
    figures = {"bands": bands, "scenes": len(frame), "months": months, "times": times}
    return figures, table


def _left_out(row: Row) -> dict[str, Any]:
    return {
        "granule": row.granule,
        "status": row.status.value,
        "rule": row.rule,
        "reason": row.reason,
        "figure": row.figure if row.figure == row.figure else None,
        "limit": row.limit if row.limit == row.limit else None,
        "tries": row.tries,
    }


def _left_out_table(rows: Iterable[Row]) -> Table:
    table = table_of("granule", "status", "rule", "why")
    table.title = "considered and not in the cube"
    for row in rows:
        table.add_row(row.granule, row.status.value, row.rule, row.reason)
    return table


def show_history(cube: Cube, *, json: bool) -> None:
    """Print the commits, newest first."""
    table = table_of("snapshot", "written (UTC)", "what")
    commits = cube.history()
    for commit in commits:
        table.add_row(commit.id, f"{commit.time:%Y-%m-%d %H:%M:%S}", commit.message)
    document = {
        "cube": cube.location,
        "commits": [
            {
                "id": commit.id,
                "time": commit.time.isoformat(),
                "message": commit.message,
                "metadata": commit.metadata,
            }
            for commit in commits
        ],
    }
    emit(document, table, json=json)


def export_layer(cube: Cube, layer: str, path: Path, *, band: str | None, time: str | None) -> None:
    """Write one layer of a cube as a Cloud-Optimised GeoTIFF.

    Raises
    ------
    SelectionError
        If there is no such layer, band or scene.
    """
    from cube.errors import SelectionError
    from cube.export import pick, to_cog

    group, _, variable = layer.rpartition("/")
    if not group:
        raise SelectionError(
            f"a layer is named group/variable, e.g. thermal/imagery; this is {layer!r}"
        )
    to_cog(pick(cube.dataset(group), variable, band=band, time=time), path)


def table_of(*columns: str) -> Table:
    """An empty table."""
    table = Table(title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def readable(size: int) -> str:
    """Bytes for people: ``21.5 MB``."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
