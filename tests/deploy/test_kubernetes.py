"""The Kubernetes manifests against the schemas of Kubernetes and of the Dask operator."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
import yaml

# podFailurePolicy is stable since 1.31.
OLDEST = "1.31.0"
OPERATOR = "kubernetes.dask.org/v1"

Manifest = dict[str, Any]


def validate(manifest: Manifest) -> None:
    """Against the schema of the oldest supported and of the newest known Kubernetes, strictly."""
    schemas = pytest.importorskip("kubernetes_validate", reason="ships the schemas of Kubernetes")
    for version in (OLDEST, schemas.latest_version()):
        schemas.validate(manifest, version, strict=True)


def schema_of(kind: str) -> Manifest:
    """The openAPIV3Schema of one of the operator's resources, from its own package."""
    try:
        package = distribution("dask-kubernetes")
    except PackageNotFoundError:
        pytest.skip("dask-kubernetes ships the operator's schemas and is not installed")
    name = f"dask-kubernetes-operator/crds/{kind.lower()}.yaml"
    file = next(entry for entry in package.files or () if str(entry).endswith(name))
    definition = yaml.safe_load(Path(str(package.locate_file(file))).read_text(encoding="utf-8"))
    served = [entry for entry in definition["spec"]["versions"] if entry["name"] == "v1"]
    return served[0]["schema"]["openAPIV3Schema"]


def of_kind(manifests: list[Manifest], kind: str) -> Manifest:
    (found,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The pod specifications inside the objects."""
    cluster = of_kind(manifests, "DaskCluster")["spec"]
    job = of_kind(manifests, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]
    return {
        "scheduler": cluster["scheduler"]["spec"],
        "worker": cluster["worker"]["spec"],
        "job": job["spec"],
    }


def test_objects_keep_to_the_schemas_of_kubernetes(manifests: list[Manifest]) -> None:
    own = [manifest for manifest in manifests if manifest["apiVersion"] != OPERATOR]
    assert {manifest["kind"] for manifest in own} == {
        "Namespace",
        "PersistentVolumeClaim",
        "NetworkPolicy",
        "CronJob",
    }
    for manifest in own:
        validate(manifest)


@pytest.mark.parametrize("kind", ["DaskCluster", "DaskAutoscaler"])
def test_dask_objects_keep_to_the_schemas_of_the_operator(
    manifests: list[Manifest], kind: str
) -> None:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(schema_of(kind))
    manifest = of_kind(manifests, kind)
    assert [error.message for error in validator.iter_errors(manifest)] == []
    assert list(validator.iter_errors({**manifest, "spec": {}})), "the schema lets all through"


def test_pods_and_service_inside_the_dask_cluster_are_whole(manifests: list[Manifest]) -> None:
    """The operator's schema drops keys that it does not know; that of Kubernetes names them."""
    for name in ("scheduler", "worker"):
        spec = pods(manifests)[name]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        validate(pod)
    service = of_kind(manifests, "DaskCluster")["spec"]["scheduler"]["service"]
    validate(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "scheduler"}, "spec": service}
    )


def test_the_service_finds_the_scheduler_and_its_ports(manifests: list[Manifest]) -> None:
    cluster = of_kind(manifests, "DaskCluster")
    service = cluster["spec"]["scheduler"]["service"]
    assert service["selector"] == {
        "dask.org/cluster-name": cluster["metadata"]["name"],
        "dask.org/component": "scheduler",
    }
    container = pods(manifests)["scheduler"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {port["targetPort"]: port["port"] for port in service["ports"]} == ports
    assert of_kind(manifests, "DaskAutoscaler")["spec"]["cluster"] == cluster["metadata"]["name"]


def test_the_job_asks_the_scheduler_that_there_is(manifests: list[Manifest]) -> None:
    args = pods(manifests)["job"]["containers"][0]["args"]
    name = of_kind(manifests, "DaskCluster")["metadata"]["name"]
    assert args[args.index("--scheduler") + 1] == f"tcp://{name}-scheduler:8786"


def test_probes_and_mounts_name_what_is_there(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests).items():
        (container,) = pod["containers"]
        ports = {port["name"] for port in container.get("ports", [])}
        for probe in ("readinessProbe", "livenessProbe"):
            if probe in container:
                assert container[probe]["httpGet"]["port"] in ports
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}, name
        assert "limits" in container["resources"], name
    claims = {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in pods(manifests).values()
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert claims == {of_kind(manifests, "PersistentVolumeClaim")["metadata"]["name"]}


def test_pods_are_admitted_by_the_restricted_standard(manifests: list[Manifest]) -> None:
    labels = of_kind(manifests, "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in pods(manifests).values():
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_a_job_runs_once_ends_and_is_tried_again_where_that_helps(
    manifests: list[Manifest],
) -> None:
    cron = of_kind(manifests, "CronJob")["spec"]
    job = cron["jobTemplate"]["spec"]
    assert cron["concurrencyPolicy"] == "Forbid"
    assert job["backoffLimit"] >= 1
    assert job["activeDeadlineSeconds"] <= 24 * 3600
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    (stop,) = [rule for rule in job["podFailurePolicy"]["rules"] if rule["action"] == "FailJob"]
    assert stop["onExitCodes"]["values"] == [2, 3]
    (container,) = job["template"]["spec"]["containers"]
    assert stop["onExitCodes"]["containerName"] == container["name"]


def kustomizations(deploy: Path) -> list[Path]:
    return sorted((deploy / "kubernetes").rglob("kustomization.yaml"))


def test_kustomizations_name_files_that_are_there(deploy: Path) -> None:
    for file in kustomizations(deploy):
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        for resource in content["resources"]:
            target = file.parent / resource
            assert target.is_file() or (target / "kustomization.yaml").is_file(), resource
        for generator in content.get("configMapGenerator", []):
            for name in generator["files"]:
                assert (file.parent / name).is_file(), name


def test_every_region_file_is_in_its_config_map(deploy: Path) -> None:
    for folder in (deploy / "kubernetes").glob("*/regions"):
        content = yaml.safe_load((folder.parent / "kustomization.yaml").read_text("utf-8"))
        (generator,) = content["configMapGenerator"]
        assert sorted(generator["files"]) == sorted(
            f"regions/{file.name}" for file in folder.glob("*.toml")
        )


def test_kustomize_builds_what_the_files_say(deploy: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    # No cluster is asked: there is no configuration that names one.
    built = subprocess.run(
        [kubectl, "kustomize", str(deploy / "kubernetes")],
        env=os.environ | {"KUBECONFIG": os.devnull},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    objects = list(yaml.safe_load_all(built))
    assert all(
        entry["metadata"].get("namespace") == "thermocube"
        for entry in objects
        if entry["kind"] != "Namespace"
    )
    images = {pod["containers"][0]["image"] for pod in pods(objects).values()}
    assert images == {"thermocube-ingest:0.1.0"}
    job = of_kind(objects, "CronJob")
    assert job["metadata"]["name"] == "ingest-iberia"
    volumes = pods(objects)["job"]["volumes"]
    (regions,) = [volume["configMap"]["name"] for volume in volumes if "configMap" in volume]
    assert regions == of_kind(objects, "ConfigMap")["metadata"]["name"]
    for entry in objects:
        if entry["apiVersion"] != OPERATOR:
            validate(entry)
