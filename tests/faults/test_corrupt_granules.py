"""The corrupt-granule collection: each is one row that says why, and nothing of it is seen."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from cube.ledger import Status
from cube.region import Region
from cube.store import Cube
from deliveries import assert_same, at_home, deliver, granules_of
from inspection import scenes_of, unlike
from pipelines.ingest import ingest

ROOT = Path(__file__).resolve().parents[2]
Damage = Callable[[Path, str], None]


def rewritten(path: Path, change: Callable[[np.ndarray], np.ndarray], **profile: Any) -> None:
    """Write a layer again with other values, or in another place."""
    with rasterio.open(path) as source:
        kept, values = source.profile, source.read(1)
    kept.update(driver="GTiff", **profile)
    with rasterio.open(path, "w", **kept) as target:
        target.write(change(values), 1)


def truncated(folder: Path, granule: str) -> None:
    path = folder / f"{granule}_LST.tif"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def login_page(folder: Path, granule: str) -> None:
    (folder / f"{granule}_LST.tif").write_text("<!DOCTYPE html><html>Earthdata Login</html>")


def empty(folder: Path, granule: str) -> None:
    (folder / f"{granule}_LST.tif").write_bytes(b"")


def lst_err(folder: Path, granule: str) -> None:
    shutil.copyfile(folder / f"{granule}_LST_err.tif", folder / f"{granule}_LST.tif")


def swapped(folder: Path, granule: str) -> None:
    lst, emissivity = folder / f"{granule}_LST.tif", folder / f"{granule}_EmisWB.tif"
    aside = lst.with_suffix(".aside")
    lst.rename(aside)
    emissivity.rename(lst)
    aside.rename(emissivity)


def nothing_measured(folder: Path, granule: str) -> None:
    rewritten(folder / f"{granule}_LST.tif", lambda values: np.full_like(values, np.nan))


def elsewhere(folder: Path, granule: str) -> None:
    """The right name, and the pixels of another tile."""
    for path in folder.glob(f"{granule}_*.tif"):
        with rasterio.open(path) as source:
            moved = rasterio.Affine.translation(200_000, 0) @ source.transform
        rewritten(path, lambda values: values, transform=moved)


def wrong_crs(folder: Path, granule: str) -> None:
    for path in folder.glob(f"{granule}_*.tif"):
        rewritten(path, lambda values: values, crs="EPSG:32633")


COLLECTION: list[tuple[Damage, Status, str]] = [
    (truncated, Status.FAILED, "truncated"),
    (login_page, Status.FAILED, "not_a_raster"),
    (empty, Status.FAILED, "truncated"),
    (lst_err, Status.FAILED, "wrong_layer"),
    (swapped, Status.FAILED, "wrong_layer"),
    (nothing_measured, Status.REJECTED, "max_bad"),
    (elsewhere, Status.EMPTY, ""),
    (wrong_crs, Status.EMPTY, ""),
]


@pytest.mark.parametrize(
    ("damage", "status", "rule"), COLLECTION, ids=[entry[0].__name__ for entry in COLLECTION]
)
def test_a_corrupt_granule_is_told_and_nothing_of_it_is_seen(
    delivery: Any, tmp_path: Path, damage: Damage, status: Status, rule: str
) -> None:
    region = at_home(delivery.simulation, tmp_path, granules_of(delivery.simulation))
    victim = alone(delivery)
    damage(tmp_path / "ecostress", victim)
    report = ingest(region)
    cube = Cube.open(region)
    row = cube.ledger.get(victim)
    assert row is not None
    assert (row.status, row.rule) == (status, rule), row.reason
    assert row.reason
    assert [failure.granule for failure in report.failures] == (
        [victim] if status is Status.FAILED else []
    )
    found, right = scenes_of(cube), delivery.known.complete
    assert right.keys() - found.keys() == {("thermal", victim)}
    assert not found.keys() - right.keys()
    for name, scene in found.items():
        assert not unlike(scene["imagery"].values, right[name]["imagery"].values)
    (tmp_path / "ecostress").rename(tmp_path / "gone")
    (tmp_path / "ecostress").mkdir()
    deliver(delivery.simulation, tmp_path, granules_of(delivery.simulation))
    ingest(region)
    assert_same(Cube.open(region), delivery.complete)


def alone(delivery: Any) -> str:
    """A granule that makes a scene by itself, and that no newer version replaces."""
    return next(
        row.granule
        for row in delivery.complete.ledger
        if row.status is Status.INGESTED and ("thermal", row.granule) in delivery.known.complete
        and len(delivery.complete.ledger.of(row.key)) == 1
    )  # fmt: skip


def test_a_collection_of_corrupt_granules_shows_in_exit_code_and_json(
    delivery: Any, tmp_path: Path
) -> None:
    at_home(delivery.simulation, tmp_path, granules_of(delivery.simulation))
    names = [ids for _, ids in delivery.known.complete if " " not in ids][:2]
    for damage, name in zip((truncated, login_page), names, strict=True):
        damage(tmp_path / "ecostress", name)
    command = [sys.executable, "-m", "pipelines.cli", "ingest", str(tmp_path / "region.toml")]
    run = subprocess.run([*command, "--json"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 3, run.stderr
    assert "Traceback" not in run.stderr
    document = json.loads(run.stdout)
    assert {entry["kind"] for entry in document["failures"]} == {"truncated", "not_a_raster"}
    assert {entry["granule"] for entry in document["failures"]} == set(names)


def test_the_real_negatives_are_refused_and_the_region_goes_on(
    delivery: Any, shared_data: Path, tmp_path: Path
) -> None:
    """An HTML login page saved as HDF, and a granule of another product that is all fill."""
    pytest.importorskip("pyhdf", reason="needs pyhdf: install thermocube[modis]")
    region = at_home(delivery.simulation, tmp_path, granules_of(delivery.simulation))
    (tmp_path / "modis").mkdir()
    real = sorted((shared_data / "granules" / "negative_real_world").rglob("*.hdf"))
    assert len(real) == 2
    for day, file in enumerate(real, start=60):
        name = f"MOD11A1.A2023{day:03d}.h17v05.061.2023100000000.hdf"
        shutil.copyfile(file, tmp_path / "modis" / name)
    text = (tmp_path / "region.toml").read_text()
    text = text.replace(
        "[labels]",
        '[modalities.modis_lst]\nbands = ["lst"]\nresolution = 280\n\n[[sources]]\nkind = "modis"\n'
        'name = "modis"\nproduct = "MOD11A1"\npath = "modis"\n\n[labels]',
    )
    (tmp_path / "region.toml").write_text(text)
    report = ingest(Region.load(tmp_path / "region.toml"))
    cube = Cube.open(region.location)
    rows = [row for row in cube.ledger if row.modality == "modis_lst"]
    assert len(rows) >= 2
    assert {row.status for row in rows} == {Status.FAILED}
    assert all(row.reason and row.rule for row in rows)
    assert report.failures
    assert cube.dataset("modis_lst").sizes["time"] == 0
    assert set(scenes_of(cube)) == set(delivery.known.complete)
