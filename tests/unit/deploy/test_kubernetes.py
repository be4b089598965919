"""The manifests for Kubernetes are valid, and agree with one another and with the code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import kubernetes_validate
import pytest
import yaml

from api.headers import POOL
from gateway.app import create_app
from gateway.settings import Settings
from gateway.torchserve import TorchServe
from tests.conftest import ROOT

KUBERNETES = "1.31"
BASES = {name: ROOT / "deploy/kubernetes" / name for name in ("torchserve", "ray")}
OBJECTS: dict[str, list[dict[str, Any]]] = {
    name: [
        manifest
        for file in yaml.safe_load((base / "kustomization.yaml").read_text())["resources"]
        for manifest in yaml.safe_load_all((base / file).read_text())
    ]
    for name, base in BASES.items()
}
ALL = [pytest.param(o, id=f"{base}-{o['kind']}-{o['metadata']['name']}") for base in BASES for o in OBJECTS[base]]
DEPLOYMENTS = ["torchserve", "gateway"]
SCHEMA = json.loads(Path(__file__).with_name("rayservice.schema.json").read_text())


def find(kind: str, name: str, base: str = "torchserve") -> dict[str, Any]:
    (found,) = [o for o in OBJECTS[base] if o["kind"] == kind and o["metadata"]["name"] == name]
    return found["spec"]


def pods() -> dict[str, dict[str, Any]]:
    """The pods' specifications, each with one container."""
    cluster = find("RayService", "mlbio", "ray")["rayClusterConfig"]
    (workers,) = cluster["workerGroupSpecs"]
    templates = {"ray-head": cluster["headGroupSpec"]["template"], "ray-worker": workers["template"]}
    templates |= {name: find("Deployment", name)["template"] for name in DEPLOYMENTS}
    return {name: template["spec"] for name, template in templates.items()}


PODS = pods()
CONTAINERS = {name: pod["containers"][0] for name, pod in PODS.items()}


def environment(name: str) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in CONTAINERS[name]["env"]}


@pytest.mark.parametrize("manifest", ALL)
def test_a_manifest_is_valid(manifest: dict[str, Any]):
    """By the strict schemas of Kubernetes, and ours of KubeRay's fields."""
    if manifest["kind"] != "RayService":
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        return
    jsonschema.validate(manifest, SCHEMA)
    for pod in ("ray-head", "ray-worker"):
        template = {"metadata": {"labels": {"app": "ray"}}, "spec": PODS[pod]}
        spec = {"selector": {"matchLabels": {"app": "ray"}}, "template": template}
        meta = {"name": "pods"}
        deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}
        kubernetes_validate.validate(deployment, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_whatever_selects_pods_selects_the_deployments(name: str):
    labels = find("Deployment", name)["template"]["metadata"]["labels"]
    selectors = [find(kind, name)["selector"] for kind in ("Deployment", "PodDisruptionBudget")]
    assert [selector["matchLabels"] for selector in selectors] == [labels] * 2
    assert find("NetworkPolicy", name)["podSelector"]["matchLabels"] == find("Service", name)["selector"] == labels
    assert find("HorizontalPodAutoscaler", name)["scaleTargetRef"]["name"] == name


def test_ports_lead_from_the_service_to_what_the_images_listen_on():
    (inference,), (http,) = CONTAINERS["torchserve"]["ports"], CONTAINERS["gateway"]["ports"]
    assert urlsplit(environment("torchserve")["TS_INFERENCE_ADDRESS"]).port == inference["containerPort"]
    assert environment("gateway")["MLBIO_PORT"] == str(http["containerPort"])
    for name, port in (("torchserve", inference), ("gateway", http)):
        (published,) = find("Service", name)["ports"]
        assert published["targetPort"] == port["name"]
        (rule,) = find("NetworkPolicy", name)["ingress"]
        assert [allowed["port"] for allowed in rule["ports"]] == [port["name"]]
    (published,) = find("Service", "torchserve")["ports"]
    assert environment("gateway")["MLBIO_TORCHSERVE_URL"] == f"http://torchserve:{published['port']}"
    known = {f"MLBIO_{name.upper()}" for name in vars(Settings())}
    assert set(environment("gateway")) <= known


@pytest.mark.parametrize("name", PODS)
def test_probes_ask_what_exists(name: str):
    routes = {route.path for route in create_app(Settings(), TorchServe(Settings())).routes}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if http := CONTAINERS[name].get(probe, {}).get("httpGet"):
            assert http["path"] in routes and http["port"] in {p["name"] for p in CONTAINERS[name]["ports"]}
        elif command := CONTAINERS[name].get(probe, {}).get("exec", {}).get("command"):
            assert (ROOT / command[1]).is_file()
            assert ("--predict" in command) == command[-1].endswith(f"/predictions/{POOL}") == (name == "torchserve")


@pytest.mark.parametrize("name", PODS)
def test_pods_have_no_privileges(name: str):
    """The namespaces would refuse others."""
    assert PODS[name]["securityContext"]["runAsUser"] == 10001
    context = CONTAINERS[name]["securityContext"]
    assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
    assert {m["name"] for m in CONTAINERS[name]["volumeMounts"]} == {v["name"] for v in PODS[name]["volumes"]}


def test_running_requests_get_the_time_that_they_may_take():
    longest = Settings().explain_seconds
    for name in ("torchserve", "gateway", "ray-worker"):
        assert PODS[name]["terminationGracePeriodSeconds"] > longest
    assert int(environment("gateway")["MLBIO_STOP_SECONDS"]) > longest
    assert find("RayService", "mlbio", "ray")["rayClusterDeletionDelaySeconds"] > longest


def test_ray_has_the_installed_version_and_its_proxy_the_published_port():
    spec = find("RayService", "mlbio", "ray")
    assert f"ray=={spec['rayClusterConfig']['rayVersion']}" in (ROOT / "requirements-ray.txt").read_text().splitlines()
    ports = {port["name"]: port["containerPort"] for port in CONTAINERS["ray-worker"]["ports"]}
    assert yaml.safe_load(spec["serveConfigV2"])["http_options"]["port"] == ports["serve"]
