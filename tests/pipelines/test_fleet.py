"""A folder of regions: what is wrong with one stops no other, and one summary tells."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cube.errors import RegionError
from cube.region import Region
from cube.store import Cube
from deliveries import assert_same, at_home, granules_of
from pipelines.fleet import for_each, regions_in
from pipelines.ingest import ingest
from pipelines.simulate import Simulation

ROOT = Path(__file__).resolve().parents[2]


def thermocube(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def fleet(complete: Simulation, tmp_path: Path) -> Path:
    """Regions a good one, one with a misspelt key, one without its folder, one without a store."""
    at_home(complete, tmp_path, granules_of(complete))
    text = (tmp_path / "region.toml").read_text()
    (tmp_path / "region.toml").unlink()
    (tmp_path / "b-good.toml").write_text(f'store = "good.icechunk"\n{text}')
    (tmp_path / "a-misspelt.toml").write_text(text.replace("resolution", "resolutoin"))
    (tmp_path / "c-no-folder.toml").write_text(
        f'store = "none.icechunk"\n{text}'.replace('path = "ecostress"', 'path = "nowhere"')
    )
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "d-no-store.toml").write_text(f'store = "file/cube.icechunk"\n{text}')
    (tmp_path / "e-good.toml").write_text(f'store = "other.icechunk"\n{text}')
    return tmp_path


KINDS = [("region", True), (None, False), ("source", True), ("store", True), (None, False)]


def test_one_bad_region_stops_no_other(fleet: Path, reference: Cube) -> None:
    run = thermocube("ingest", "--all", fleet, "--json")
    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stderr
    document = json.loads(run.stdout)
    entries = document["regions"]
    assert [Path(entry["file"]).name[0] for entry in entries] == ["a", "b", "c", "d", "e"]
    for entry, (kind, failed) in zip(entries, KINDS, strict=True):
        assert (entry["error"] is not None) == failed
        assert (entry["result"] is None) == failed
        if failed:
            assert entry["error"]["kind"] == kind
    assert "resolutoin" in entries[0]["error"]["message"]
    assert document["failures"] == 0
    assert document["bytes_read"] == 2 * entries[1]["result"]["bytes_read"] > 0
    assert len(document["failed"]) == 3
    for name in ("b-good", "e-good"):
        assert_same(Cube.open(fleet / f"{name}.toml"), reference)


def test_the_summary_has_a_line_a_region_and_failed_granules_show(fleet: Path) -> None:
    for name in ("a-misspelt", "c-no-folder", "d-no-store"):
        (fleet / f"{name}.toml").unlink()
    victim = next((fleet / "ecostress").glob("*_LST.tif"))
    victim.write_text("<html>login</html>")
    run = thermocube("ingest", "--all", fleet)
    assert run.returncode == 3, run.stderr
    assert run.stdout.count("failures") == 2
    assert run.stdout.count("not_a_raster") == 2
    planned = thermocube("plan", "--all", fleet, "--json")
    assert planned.returncode == 0
    for entry in json.loads(planned.stdout)["regions"]:
        assert entry["result"]["sources"]["ecostress"]["retry"] == 1


def test_planning_a_fleet_tells_what_is_wrong(fleet: Path) -> None:
    run = thermocube("plan", "--all", fleet)
    assert run.returncode == 1
    assert run.stdout.count("failed (") == 3
    assert "did you mean 'resolution'" in " ".join(run.stdout.split())
    assert not list(fleet.glob("*.icechunk"))


def test_the_status_of_a_fleet_has_a_line_a_cube(fleet: Path) -> None:
    ingest(Region.load(fleet / "b-good.toml"))
    run = thermocube("status", "--all", fleet, "--json")
    assert run.returncode == 1, run.stderr
    document = json.loads(run.stdout)
    entries = {Path(entry["file"]).stem: entry for entry in document["regions"]}
    alone = json.loads(thermocube("status", fleet / "b-good.toml", "--json").stdout)
    assert entries["b-good"]["result"] == alone
    assert entries["e-good"]["error"]["kind"] == "no_cube"
    assert entries["a-misspelt"]["error"]["kind"] == "region"
    assert len(document["failed"]) == 4
    for name in set(entries) - {"b-good"}:
        (fleet / f"{name}.toml").unlink()
    shown = thermocube("status", "--all", fleet)
    assert shown.returncode == 0, shown.stderr
    assert f"{alone['modalities']['thermal']['scenes']} thermal" in shown.stdout


def test_an_unexpected_error_is_one_regions_only(fleet: Path) -> None:
    def job(region: Region) -> str:
        if region.location.endswith("good.icechunk"):
            raise ZeroDivisionError("a bug")
        return region.location

    entries = {entry.file.stem: entry for entry in for_each(regions_in(fleet), job)}
    assert entries["b-good"].kind == "unexpected"
    assert "ZeroDivisionError: a bug" in entries["b-good"].message
    assert entries["e-good"].result is not None


def test_a_folder_without_regions_is_bad_usage(tmp_path: Path) -> None:
    with pytest.raises(RegionError, match=r"no region file \(\*\.toml\)"):
        regions_in(tmp_path)
    with pytest.raises(RegionError, match="no folder"):
        regions_in(tmp_path / "nowhere")
    assert thermocube("ingest", "--all", tmp_path).returncode == 2


def test_a_region_file_or_a_folder_but_not_both(fleet: Path) -> None:
    both = thermocube("ingest", fleet / "b-good.toml", "--all", fleet)
    assert both.returncode == 2
    assert "--all" in both.stderr
    assert thermocube("plan").returncode == 2
    shutil.rmtree(fleet)
