"""Every command block of the README and the tutorial are run, as a new user would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [body.strip() for kind, body in BLOCK.findall(text) if kind == language]


def commands() -> list[str]:
    return [line for block in blocks("bash") for line in block.splitlines()]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with the command on the path, as after `make setup`."""
    folder = tmp_path_factory.mktemp("desk")
    shim = folder / "bin" / "thermocube"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pipelines.cli "$@"\n')
    shim.chmod(0o755)
    return folder


def run(desk: Path, *command: str) -> str:
    path = f"{desk / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    done = subprocess.run(
        command, cwd=desk, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_two_commands_are_what_make_runs() -> None:
    assert [line for line in commands() if line.startswith("make ")] == ["make demo", "make test"]
    for target, expected in (("demo", "thermocube demo demo"), ("test", "python -m pytest")):
        dry = subprocess.run(
            ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert expected in dry.stdout


@pytest.mark.train
@pytest.mark.timeout(1200)
def test_every_block_runs_from_the_demo_onwards(desk: Path) -> None:
    pytest.importorskip("tensorflow", reason="the README trains: install thermocube[train]")
    pytest.importorskip("matplotlib", reason="the README plots: install thermocube[plot]")
    pytest.importorskip("ipykernel", reason="the tutorial is a notebook: install thermocube[dev]")
    printed = run(desk, "thermocube", "demo", "demo")
    for what in ("network", "majority class", "memorise the place", "report.html"):
        assert what in printed
    assert (desk / "demo" / "report.html").stat().st_size > 100_000
    assert (desk / "demo" / "model" / "model.keras").exists()
    for line in commands():
        if not line.startswith("make "):
            run(desk, "sh", "-c", line)
    for block in blocks("python"):
        run(desk, sys.executable, "-W", "error::FutureWarning", "-c", block)
    assert (desk / "lithology.tif").exists()
    assert (desk / "report.html").exists()
    shutil.copy(ROOT / "docs" / "tutorial.ipynb", desk)
    run(desk, sys.executable, "-c", "from nbclient.cli import main; main()", "tutorial.ipynb")
    shutil.rmtree(desk / "demo")


def test_pictures_are_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).stat().st_size > 10_000
