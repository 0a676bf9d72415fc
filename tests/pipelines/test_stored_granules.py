"""What the cube holds stays in the ledger, whatever becomes of the files it came from."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import tomli_w

from cube.ledger import Status
from cube.region import Region
from cube.store import Cube
from deliveries import assert_same, at_home, deliver, granules_of
from pipelines.ingest import ingest
from pipelines.simulate import Simulation


def test_a_stored_granule_that_loses_a_file_stays_and_can_be_mended(
    complete: Simulation, reference: Cube, tmp_path: Path
) -> None:
    """The ledger once forgot the scene, and the mended granule clashed with it for ever."""
    region = at_home(complete, tmp_path, granules_of(complete))
    ingest(region)
    victim = next(row for row in reference.ledger if row.status is Status.INGESTED).granule
    (tmp_path / "ecostress" / f"{victim}_QC.tif").unlink()
    ingest(region)
    assert_same(Cube.open(region), reference)
    deliver(complete, tmp_path, [victim])
    ingest(region)
    assert_same(Cube.open(region), reference)


def test_granules_that_two_sources_hold_are_ingested_once(
    complete: Simulation, reference: Cube, tmp_path: Path
) -> None:
    """Every such granule once superseded itself."""
    at_home(complete, tmp_path, granules_of(complete))
    shutil.copytree(tmp_path / "ecostress", tmp_path / "copy")
    file = tmp_path / "region.toml"
    tables = tomllib.loads(file.read_text())
    tables["sources"].insert(0, tables["sources"][0] | {"name": "zz-copy", "path": "copy"})
    file.write_text(tomli_w.dumps(tables))
    region = Region.load(file)
    ingest(region)
    assert_same(Cube.open(region), reference)
    assert not ingest(region).changed
