"""The benchmarks run and give figures that can be true."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def bench(out: Path, *options: str) -> dict[str, Any]:
    command = [sys.executable, "benchmarks/ingest.py", "--quick", "--out", str(out), *options]
    done = subprocess.run(command, cwd=ROOT, env=None, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(out.read_text())
    return figures


@pytest.mark.slow
def test_every_figure_of_a_growing_cube_is_measured(tmp_path: Path) -> None:
    figures = bench(tmp_path / "out.json", "--parts", "growth", "memory")
    growth = figures["growth"]
    assert growth["plan_new"]["new"] == growth["plan_settled"]["skip"] == 48
    assert growth["open"]["scenes"] == growth["open"]["rows"] == 48
    assert 0 < growth["append"]["1"]["commit_ms"] < growth["append"]["1"]["append_ms"]
    assert all(entry["peak"] > 0 for entry in figures["memory"].values())


@pytest.mark.slow
def test_throughput_is_set_against_the_floor(tmp_path: Path) -> None:
    figures = bench(tmp_path / "out.json", "--parts", "throughput")["throughput"]
    for ways in figures.values():
        assert ways["floor"]["cpu"] > 0 and ways["thermocube"]["cpu"] > 0
