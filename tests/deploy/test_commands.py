"""Every command line anywhere in deploy/ is one that the programs understand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main

from cube.region import Region
from pipelines.cli import app

# Commands that the pages speak of and the command line does not have yet. Empty it as they land;
# what is no longer listed is parsed in full.
PENDING: frozenset[str] = frozenset()

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PROSE = re.compile(
    r"^\s*(?:\$ )?thermocube ([a-z]+\b[^`|&;\n#]*)|`thermocube ([a-z]+\b[^`]*)`", re.M
)


def in_text() -> list[tuple[str, str]]:
    """File, and command line without the program's name, in pages, comments and units."""
    found = []
    for file in sorted(DEPLOY.rglob("*")):
        if not file.is_file() or file.suffix in {".pyc"}:
            continue
        text = file.read_text(encoding="utf-8")
        lines = [one or other for one, other in PROSE.findall(text)]
        lines += re.findall(r"^ExecStart=\S*/thermocube (.*)$", text, re.M)
        lines += re.findall(r"\brun --rm ingest (ingest [^`\n]*)", text)
        found += [(str(file.relative_to(DEPLOY)), line.strip()) for line in lines]
    return found


def understood(words: list[str]) -> None:
    """Parse a command line as the program would, without running it."""
    program = typer.main.get_command(app)
    with program.make_context("thermocube", list(words), resilient_parsing=True) as context:
        command = program.get_command(context, words[0])  # type: ignore[attr-defined]
        if command is None:
            assert words[0] in PENDING, f"no command {words[0]!r}"
            return
    command.make_context(words[0], words[1:])


@pytest.mark.parametrize(("file", "line"), in_text())
def test_commands_in_text_are_understood(file: str, line: str) -> None:
    understood(shlex.split(line))


def test_the_page_shows_commands() -> None:
    files = {file for file, _ in in_text()}
    assert {"README.md", "systemd/thermocube-ingest@.service"} <= files


def containers(compose: dict[str, Any], manifests: list[dict[str, Any]]) -> list[list[str]]:
    """Whole command lines of our image, the entry point first."""
    lines = [
        [*service.get("entrypoint", ["thermocube"]), *service["command"]]
        for service in compose["services"].values()
        if service["image"].startswith("thermocube")
    ]
    cluster, job = (
        next(entry["spec"] for entry in manifests if entry["kind"] == kind)
        for kind in ("DaskCluster", "CronJob")
    )
    pods = [cluster["scheduler"]["spec"], cluster["worker"]["spec"]]
    pods.append(job["jobTemplate"]["spec"]["template"]["spec"])
    for pod in pods:
        (container,) = pod["containers"]
        lines.append([*container.get("command", ["thermocube"]), *container["args"]])
    return lines


def test_commands_of_containers_are_understood(
    compose: dict[str, Any], manifests: list[dict[str, Any]]
) -> None:
    from distributed.cli.dask_scheduler import main as scheduler
    from distributed.cli.dask_worker import main as worker

    seen = set()
    for program, *words in containers(compose, manifests):
        seen.add((program, words[0]))
        if program == "thermocube":
            understood(words)
        else:
            dask = {"scheduler": scheduler, "worker": worker}[words[0]]
            parsed = dask.make_context(words[0], words[1:]).params
            if words[0] == "worker":
                assert parsed["nthreads"] == 4
                assert parsed["memory_limit"] == "auto"
    assert seen == {("thermocube", "ingest"), ("dask", "scheduler"), ("dask", "worker")}


def test_a_misspelt_option_is_noticed() -> None:
    with pytest.raises(Exception, match="No such option"):
        understood(["ingest", "REGION.toml", "--wrokers", "4"])


@pytest.mark.parametrize("file", sorted(DEPLOY.rglob("*.toml")), ids=lambda file: file.parts[-3])
def test_example_regions_are_valid_and_need_nothing_beside_them(file: Path) -> None:
    """Mounted read-only, and through symbolic links: all places in them must be absolute."""
    region = Region.load(file)
    assert region.location.startswith("s3://")
    for source in region.sources:
        assert Path(str(getattr(source, "path", "/"))).is_absolute()
