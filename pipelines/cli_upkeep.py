"""The commands that keep cubes well and hand them on: check, rollback, expire, export."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from pipelines.console import EXIT_FAILED, EXIT_WITH_FAILURES, emit, progress

RegionFile = Annotated[Path, typer.Argument(help="Region file (TOML).", metavar="REGION.toml")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")]


def check(
    region: RegionFile,
    max_age: Annotated[
        float | None, typer.Option(min=0, help="Days; the newest scene must not be older.")
    ] = None,
    sample: Annotated[int, typer.Option(min=0, help="Scenes of each modality to read.")] = 8,
    deep: Annotated[bool, typer.Option("--deep", help="Read every chunk there is.")] = False,
    sources: Annotated[
        bool, typer.Option(help="Search the sources for scenes that the cube has not.")
    ] = True,
    repair: Annotated[
        bool, typer.Option("--repair", help="Have the next ingest read damaged scenes anew.")
    ] = False,
    json: Json = False,
) -> None:
    """Look a cube over: chunks, checksums, values, flags, ledger, grid, gaps, freshness.

    Exits 0 if all is well, 1 if something in the cube is wrong, 3 if something is worth a look.

    Example: thermocube check regions/los-angeles.toml --max-age 7
    """
    from cube.region import Region
    from cube.store import Cube
    from pipelines.check import check as run
    from pipelines.repair import repair as mark

    loaded = Region.load(region)
    cube = Cube.open(loaded)
    with progress("check", quiet=json) as tell:
        report = run(
            cube,
            loaded,
            max_age=None if max_age is None else timedelta(days=max_age),
            sample=sample,
            deep=deep,
            search=sources,
            progress=tell,
        )
    marked = mark(cube, report) if repair else []
    looked = ", ".join(f"{count} {what}" for what, count in report.checked.items())
    lines = [str(entry) for entry in report.findings] or ["no findings"]
    if marked:
        lines.append(f"{len(marked)} granules are read anew by the next `thermocube ingest`")
    document = {**report.to_dict(), "marked": marked}
    emit(document, f"{cube.name} at snapshot {report.snapshot}: {looked}", *lines, json=json)
    if report.errors:
        raise typer.Exit(EXIT_FAILED)
    if report.warnings:
        raise typer.Exit(EXIT_WITH_FAILURES)


def rollback(
    region: RegionFile,
    snapshot: Annotated[
        str, typer.Argument(help="Snapshot id (or its beginning) from `history`, or a tag.")
    ],
    json: Json = False,
) -> None:
    """Give the cube the content of an earlier snapshot; nothing is lost.

    What is left behind stays under a tag, and rolling back to that tag undoes it. The next ingest
    reads again what is missing.

    Example: thermocube rollback regions/los-angeles.toml 9E9A82QN
    """
    from cube.store import Cube
    from pipelines.rollback import rollback as run

    done = run(Cube.open(region), snapshot)
    lines = [f"the cube is as it was at {done.target}; head is {done.snapshot}"]
    lines += [f"  left behind: {entry.id} {entry.message}" for entry in done.abandoned]
    lines.append(f"to undo: thermocube rollback {region} {done.tag}")
    emit(done.to_dict(), *lines, json=json)


def expire(
    region: RegionFile,
    older_than: Annotated[float, typer.Option(min=0, help="Days; older snapshots go.")] = 30.0,
    keep: Annotated[int, typer.Option(min=1, help="Newest snapshots that stay anyway.")] = 10,
    grace: Annotated[
        float, typer.Option(help="Hours; younger objects stay: they may be in a write.")
    ] = 24.0,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Let go of old snapshots and delete what nothing refers to any more.

    Snapshots that stored predictions rest on are kept. The grace period must be longer than the
    longest job that may be writing, and at least one hour.

    Example: thermocube expire regions/los-angeles.toml --older-than 30 --dry-run
    """
    from rich.filesize import decimal

    from cube.store import Cube
    from pipelines.expire import expire as run

    done = run(
        Cube.open(region),
        timedelta(days=older_than),
        keep=keep,
        grace=timedelta(hours=grace),
        dry_run=dry_run,
    )
    size = f"{decimal(done.bytes)} in {done.objects} objects"
    count = f"{len(done.snapshots)} {'would go' if dry_run else 'gone'}"
    lines = [f"snapshots before {done.cutoff:%Y-%m-%d %H:%M}: {count}; {size}"]
    lines += [f"  {entry.id} {entry.time:%Y-%m-%d} {entry.message}" for entry in done.snapshots]
    lines += [f"  kept, predictions rest on it: {name}" for name in done.kept]
    if not done.complete:
        lines.append("on an object store the bytes of the snapshots themselves show afterwards")
    emit(done.to_dict(), *lines, json=json)
    if done.failed:
        raise typer.Exit(EXIT_WITH_FAILURES)


def export(
    region: RegionFile,
    what: Annotated[
        str, typer.Argument(help="Groups (thermal,labels or all); for a .tif group/variable.")
    ],
    path: Annotated[
        Path, typer.Argument(help="*.tif, *.zarr, *.nc, or a folder for a STAC catalogue.")
    ],
    band: Annotated[
        list[str] | None, typer.Option(help="Band, e.g. lst; repeat for several.")
    ] = None,
    time: Annotated[str | None, typer.Option(help="For a .tif: UTC time of the scene.")] = None,
    period: Annotated[
        str | None, typer.Option(help="Year, month or day, or two of them: 2023-06..2023-08.")
    ] = None,
    season: Annotated[str | None, typer.Option(help="winter, summer, djf, mam, jja, son.")] = None,
    time_of_day: Annotated[str | None, typer.Option(help="day or night, by solar time.")] = None,
    max_cloud: Annotated[float | None, typer.Option(help="Largest share of cloud.")] = None,
    overviews: Annotated[int, typer.Option(min=0, help="Coarser copies in a .zarr.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    json: Json = False,
) -> None:
    """Write a layer as a Cloud-Optimised GeoTIFF, or groups as Zarr, NetCDF or a STAC catalogue.

    The target's name says which. Zarr, NetCDF and STAC have one variable or asset a band, with CF
    attributes; memory stays bounded whatever the size.

    Example: thermocube export la.toml thermal,labels la.zarr --overviews 3 --period 2023
    """
    from cube.errors import SelectionError
    from cube.store import Cube
    from pipelines.cli_show import export_layer
    from pipelines.publish import publish

    cube = Cube.open(region)
    if path.suffix.lower() in (".tif", ".tiff"):
        if band is not None and len(band) > 1:
            raise SelectionError("a GeoTIFF takes one --band, or all without it")
        export_layer(cube, what, path, band=band[0] if band else None, time=time)
        written = path
    else:
        rules = {
            "bands": band,
            "period": _period(period if time is None else time),
            "season": season,
            "time_of_day": time_of_day,
            "max_cloud": max_cloud,
        }
        with progress("export", quiet=json) as tell:
            written = publish(
                cube, what, path, rules=rules, overviews=overviews, overwrite=overwrite,
                progress=tell,
            )  # fmt: skip
    emit({"file": str(written), "snapshot": cube.snapshot}, f"wrote {written}", json=json)


def _period(text: str | None) -> str | tuple[str | None, str | None] | None:
    if text is None or ".." not in text:
        return text
    first, _, last = text.partition("..")
    return first or None, last or None
