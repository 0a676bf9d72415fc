"""The compose file: its schema, and what the schema does not know."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

SERVICES = {"store", "bucket", "scheduler", "worker", "ingest"}


def test_it_keeps_to_the_compose_specification(compose: dict[str, Any]) -> None:
    pytest.importorskip("check_jsonschema", reason="ships the schema of the specification")
    from jsonschema.validators import validator_for

    vendor = files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((vendor / "compose-spec.json").read_text(encoding="utf-8"))
    validator = validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(compose)] == []
    wrong = {**compose, "services": {"store": {"imagee": "x"}}}
    assert list(validator.iter_errors(wrong)), "the schema lets typos through"


def test_the_services_are_those_of_an_installation(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == SERVICES
    for service in compose["services"].values():
        assert set(service.get("depends_on", {})) <= SERVICES


def test_whoever_is_waited_for_can_be_seen_to_be_ready(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        for name, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert services[name]["healthcheck"]["test"]
            else:
                assert how["condition"] == "service_completed_successfully"
                assert services[name]["restart"] == "no"


def test_volumes_are_declared_and_workers_see_what_the_job_sees(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services["worker"]["volumes"] == services["ingest"]["volumes"]
    named = {
        volume.split(":")[0]
        for service in services.values()
        for volume in service.get("volumes", [])
        if not volume.startswith(("$", ".", "/"))
    }
    assert named == set(compose["volumes"])


def test_no_service_has_more_rights_than_it_needs(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not service.get("privileged"), name
        assert "ports" not in service, f"{name}: a published scheduler runs anybody's code"


def test_one_image_runs_scheduler_workers_and_job(compose: dict[str, Any]) -> None:
    ours = [compose["services"][name] for name in ("scheduler", "worker", "ingest")]
    assert len({service["image"] for service in ours}) == 1
    assert {service["build"]["target"] for service in ours} == {"ingest"}


def test_secrets_come_from_the_environment_alone(compose: dict[str, Any], deploy: Path) -> None:
    for service in compose["services"].values():
        for key, value in service.get("environment", {}).items():
            if "KEY" in key or "TOKEN" in key or "PASSWORD" in key:
                assert value.startswith("${"), key
    assert ".env" in (deploy / ".gitignore").read_text(encoding="utf-8").split()
    example = (deploy / "env.example").read_text(encoding="utf-8").splitlines()
    pairs = [line.lstrip("# ") for line in example if "=" in line and " " not in line.lstrip("# ")]
    assert {"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "EARTHDATA_TOKEN="} <= set(pairs)
    assert all(pair.endswith("=") for pair in pairs)
