"""Sharpening that breaks off: nothing of it is seen, and the next run goes on where it was."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr
from typer.testing import CliRunner

from cube.errors import CubeLockedError, StoreError
from cube.store import Cube
from pipelines import sharpen_layout
from pipelines.cli import app
from pipelines.inference_work import default_place, run_folder
from pipelines.sharpen_run import SharpenTally, sharpen_cube
from pipelines.sharpen_work import KIND
from sharpen_cubes import make_cube

ROOT = Path(__file__).resolve().parents[2]
SIDE = 24
TILES = 4
"""Of each of the two scenes."""


class Stop(Exception):
    pass


def stop_after(count: int) -> Callable[[int, int, str], None]:
    def stop(done: int, total: int, line: str) -> None:
        if done == count:
            raise Stop

    return stop


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharpen_layout, "TILE", 16)
    monkeypatch.setattr(sharpen_layout, "CHUNK", 64)


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> Cube:
    """With a run that nothing disturbed."""
    cube = make_cube(tmp_path_factory.mktemp("resume"), SIDE)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sharpen_layout, "TILE", 16)
        patched.setattr(sharpen_layout, "CHUNK", 64)
        sharpen_cube(cube, "local_slope", run="whole")
    return cube


def leftovers(cube: Cube, run: str) -> list[Path]:
    return sorted((default_place(cube.location) / KIND).glob(f"*{run}.*"))


def broken(cube: Cube, run: str, tiles: int, method: str = "local_slope", **options: float) -> None:
    with pytest.raises(Stop):
        sharpen_cube(cube, method, run=run, on_tile=stop_after(tiles), **options)


def assert_as_undisturbed(cube: Cube, run: str) -> None:
    found, whole = (cube.dataset(f"sharpened/{one}", chunks=None).load() for one in (run, "whole"))
    xr.testing.assert_equal(found, whole)


@pytest.mark.parametrize("tiles", [TILES + 2, 2 * TILES])
def test_broken_run_shows_nothing_and_goes_on_where_it_was(cube: Cube, tiles: int) -> None:
    run, before, commits = f"broken-{tiles}", cube.snapshot, len(cube.history())
    broken(cube, run, tiles)
    after = Cube.open(cube.location)
    assert after.snapshot == before and f"sharpened/{run}" not in after.groups()
    told: list[tuple[int, int, str]] = []
    tally = sharpen_cube(
        cube, "local_slope", run=run, workers=3, on_tile=lambda *step: told.append(step)
    )
    assert (tally.resumed, tally.tiles, tally.scenes) == (tiles, 2 * TILES, 2)
    assert told[0][2] == f"{tiles} of 8 tiles were there, going on"
    assert [done for done, *_ in told] == list(range(tiles, 2 * TILES + 1))
    assert_as_undisturbed(cube, run)
    assert len(cube.history()) == commits + 1
    assert not leftovers(cube, run)


def test_other_settings_or_another_snapshot_begin_anew_and_clear_up(cube: Cube) -> None:
    seen = []
    for method, options in (
        ("local_slope", {}),
        ("tsharp", {}),
        ("tsharp", {"days": 9.0}),
        ("tsharp", {"consistent": True}),
    ):
        broken(cube, "anew", 2, method, **options)
        seen += leftovers(cube, "anew")
    assert len(set(seen)) == len(seen) == 4 * 2  # a folder and its lock each
    with cube.transaction("touch", {}) as change:
        change.set_attrs({"touched": True})
    assert sharpen_cube(cube, "tsharp", run="anew", consistent=True).resumed == 0
    assert not leftovers(cube, "anew")


def test_file_that_is_not_whole_is_done_again(cube: Cube, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        sharpen_cube(cube, "local_slope", run="torn", work=tmp_path / "w", on_tile=stop_after(7))
    torn = [*(tmp_path / "w").rglob("16-*.zip")]
    assert len(torn) == 3
    for file in torn:
        file.write_bytes(file.read_bytes()[:-40])
    assert sharpen_cube(cube, "local_slope", run="torn", work=tmp_path / "w").resumed == 4
    assert_as_undisturbed(cube, "torn")
    assert not (tmp_path / "w").exists()


def test_a_scene_that_can_have_no_map_is_not_looked_at_again(tmp_path: Path) -> None:
    cloudy = make_cube(tmp_path, SIDE, gaps={"modis_lst": (slice(None), slice(None))})
    broken(cloudy, "cloudy", TILES + 2)
    tally = sharpen_cube(cloudy, "local_slope", run="cloudy")
    assert tally.resumed == TILES + 2 and tally.scenes == 1
    assert tally.without == {"2024-06-03T11:00:00": "no pixel has an LST"}
    stored = cloudy.dataset("sharpened/cloudy")
    assert stored["lst"][0].isnull().all() and stored["lst"][1].notnull().all()
    assert stored["consistency"].isnull().values.tolist() == [True, False]


def test_the_same_run_twice_at_once_is_refused(cube: Cube) -> None:
    def again(done: int, total: int, line: str) -> None:
        with pytest.raises(CubeLockedError, match="another process"):
            sharpen_cube(Cube.open(cube.location), "bilinear", run="twice")
        raise Stop

    with pytest.raises(Stop):
        sharpen_cube(cube, "bilinear", run="twice", on_tile=again)
    assert sharpen_cube(cube, "bilinear", run="twice").resumed == 1


def test_a_run_of_that_name_that_came_meanwhile_is_not_replaced(cube: Cube, tmp_path: Path) -> None:
    done: list[SharpenTally] = []

    def other(*step: object) -> None:
        if not done:
            done.append(
                sharpen_cube(Cube.open(cube.location), "bilinear", run="late", work=tmp_path)
            )

    with pytest.raises(StoreError) as caught:
        sharpen_cube(cube, "tsharp", run="late", on_tile=other)
    assert caught.value.kind == "run_exists"
    assert Cube.open(cube.location).dataset("sharpened/late").attrs["method"] == "bilinear"
    sharpen_cube(cube.refresh(), "tsharp", run="late", overwrite=True)
    assert not leftovers(cube, "late")


def test_maps_of_a_network_under_the_same_name_are_left_alone(cube: Cube) -> None:
    place = default_place(cube.location)
    with run_folder(place, "same", "0" * 64) as folder:
        (folder / "0.zip").write_bytes(b"of predict")
    sharpen_cube(cube, "bilinear", run="same")
    assert (folder / "0.zip").exists()


COMMAND = """
import sys
from pipelines import sharpen_layout
from pipelines.cli import main
from pipelines.sharpen_work import SharpenWork

keep, kept = SharpenWork.add, []

def add(*tile):
    keep(*tile)
    kept.append(tile)
    if len(kept) == 3:
        print("waiting", file=sys.stderr, flush=True)
        sys.stdin.read()

SharpenWork.add = add
sharpen_layout.TILE, sharpen_layout.CHUNK = 16, 64
main()
"""


def heeds_interrupts() -> None:
    """What a shell starts in the background ignores interrupts, and so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_stopped_command_goes_on_and_says_so(cube: Cube, blow: signal.Signals) -> None:
    run = blow.name.lower()
    region = str(Path(cube.location).parent / "region.toml")
    command = ["sharpen", "run", region, "--method", "local_slope", "--run", run]
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, *command],
        cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        text=True, preexec_fn=heeds_interrupts,
    ) as job:  # fmt: skip
        assert job.stderr is not None
        said = [job.stderr.readline() for _ in range(3)]
        job.send_signal(blow)
        rest = job.stderr.read()
    assert said[0].startswith("[1/8] 2024-06-03T11:00:00, tile 1") and said[2] == "waiting\n"
    assert job.returncode == (-9 if blow is signal.SIGKILL else 130)
    assert "Traceback" not in rest and ("run again to go on" in rest) == (job.returncode == 130)
    assert f"sharpened/{run}" not in Cube.open(cube.location).groups()
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith("[3/8] 3 of 8 tiles were there, going on\n[4/8] ")
    assert "2 scenes in" in done.stdout and "3 of 8 tiles were there" in done.stdout
    assert_as_undisturbed(cube.refresh(), run)
    assert not leftovers(cube, run)
