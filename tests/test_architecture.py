"""The direction of imports, and what a scientist's `import cube` must not bring in."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "cube": {"cube"},
    "models": {"models"},
    "pipelines": {"pipelines", "models", "cube"},
}


def imported_packages(file: Path) -> set[str]:
    """First parts of every absolute import in a file, those inside functions included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports_run_one_way(package: str) -> None:
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        ours = imported_packages(file) & ALLOWED.keys()
        assert ours <= ALLOWED[package], f"{file.relative_to(ROOT)} imports {ours}"


@pytest.mark.parametrize("package", ["cube", "models"])
def test_no_tensorflow_calls_outside_the_stream(package: str) -> None:
    """Networks stay backend-neutral: Keras only."""
    for file in (ROOT / package).rglob("*.py"):
        assert not imported_packages(file) & {"tensorflow", "jax", "torch"}, file


def modules_after(statement: str) -> set[str]:
    """What is in `sys.modules` of a fresh interpreter after a statement."""
    code = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {name.split(".")[0] for name in run.stdout.split()}


def test_opening_a_cube_needs_no_network_library_and_no_plotting() -> None:
    heavy = {"tensorflow", "keras", "matplotlib", "sklearn", "scipy", "geopandas", "distributed"}
    assert not modules_after("import cube") & heavy


def test_the_command_line_starts_without_tensorflow() -> None:
    heavy = {"tensorflow", "keras", "matplotlib"}
    assert not modules_after("import pipelines.cli") & heavy


def test_the_core_installs_without_tensorflow_and_plotting() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = " ".join(project["dependencies"]).lower()
    assert not any(name in names for name in ("tensorflow", "keras", "matplotlib"))
    assert set(project["optional-dependencies"]) >= {"train", "plot"}


def test_no_file_names_a_package_index_or_a_machine() -> None:
    hosts = ["pypi" + ".org", "python" + "hosted.", "registry." + "npmjs"]
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    for name in tracked.stdout.split():
        path = ROOT / name
        if path.suffix in {".png", ".npz", ".xz"} or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        assert not [host for host in hosts if host in text], name
