"""The systemd units, verified by systemd where it is at hand."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

UNITS = ("thermocube-ingest@.service", "thermocube-ingest@.timer", "thermocube-notify@.service")


def options(file: Path) -> dict[str, list[str]]:
    """All values of every option of a unit; options may occur more than once."""
    found: dict[str, list[str]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def installed(deploy: Path, tmp_path: Path) -> Iterator[list[str]]:
    """Paths of copies whose command exists on this machine."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for name in UNITS:
        text = (deploy / "systemd" / name).read_text(encoding="utf-8")
        text = re.sub(r"/opt/thermocube/\S+/thermocube", "/bin/true", text)
        (tmp_path / name).write_text(text, encoding="utf-8")
    yield [str(tmp_path / name) for name in UNITS]


def test_systemd_accepts_the_units(installed: list[str]) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *installed],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr.strip(), "an unknown option is a warning only"


def test_the_job_is_exposed_to_little(installed: list[str]) -> None:
    # A threshold of 20 is an exposure of 2.0; systemd calls all below 4 well protected.
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", installed[0]],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze cannot look at files")
    assert done.returncode == 0, [*done.stdout.splitlines()[-1:], done.stderr]


def test_the_units_belong_together(deploy: Path) -> None:
    service, timer, notify = (options(deploy / "systemd" / name) for name in UNITS)
    assert service["Type"] == ["oneshot"]
    assert service["OnFailure"] == ["thermocube-notify@%n.service"]
    assert timer["WantedBy"] == ["timers.target"]
    assert timer["OnCalendar"] == ["*-*-* 03:17:00 UTC"]
    assert "%i" in notify["ExecStart"][0]
    assert service["User"] != ["root"]


def test_a_job_is_tried_again_where_that_helps(deploy: Path) -> None:
    service = options(deploy / "systemd" / UNITS[0])
    assert service["Restart"] == ["on-failure"]
    assert service["RestartPreventExitStatus"] == ["2 3"]
    assert int(service["StartLimitBurst"][0]) > 1


def test_no_lock_is_put_around_the_cubes_own(deploy: Path) -> None:
    (command,) = options(deploy / "systemd" / UNITS[0])["ExecStart"]
    assert "flock" not in command
