"""The manifests for Kubernetes fit together, and agree with docker-compose.yml."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

BASE = ROOT / "deploy/kubernetes/base"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
KUSTOMIZATION = yaml.safe_load((BASE / "kustomization.yaml").read_text())
OBJECTS: list[dict[str, Any]] = [
    document for name in KUSTOMIZATION["resources"] for document in yaml.safe_load_all((BASE / name).read_text())
]
DEPLOYMENTS = ["torchserve", "gateway"]


def found(kind: str, name: str) -> dict[str, Any]:
    (one,) = [o for o in OBJECTS if o["kind"] == kind and o["metadata"]["name"] == name]
    return one


def container(name: str) -> dict[str, Any]:
    (one,) = found("Deployment", name)["spec"]["template"]["spec"]["containers"]
    return one


def test_every_file_is_a_resource_and_no_object_is_there_twice():
    assert {p.name for p in BASE.iterdir()} == {*KUSTOMIZATION["resources"], "kustomization.yaml"}
    names = [(o["kind"], o["metadata"]["name"]) for o in OBJECTS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_whatever_selects_pods_selects_these(name: str):
    deployment = found("Deployment", name)["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    assert found("Service", name)["spec"]["selector"] == labels
    assert found("PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"] == labels
    assert found("NetworkPolicy", name)["spec"]["podSelector"]["matchLabels"] == labels
    scaler = found("HorizontalPodAutoscaler", name)["spec"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    assert scaler["minReplicas"] >= 2 and "replicas" not in deployment
    assert container(name)["image"] in {image["name"] for image in KUSTOMIZATION["images"]}
    assert container(name)["image"] == COMPOSE[name]["image"]


def test_ports_are_those_that_the_images_listen_on():
    (inference,), (http,) = container("torchserve")["ports"], container("gateway")["ports"]
    settings = {e["name"]: e["value"] for name in DEPLOYMENTS for e in container(name)["env"]}
    assert settings["TS_INFERENCE_ADDRESS"].endswith(f":{inference['containerPort']}")
    assert settings["MLBIO_PORT"] == str(http["containerPort"])
    for name, port in (("torchserve", inference), ("gateway", http)):
        (published,) = found("Service", name)["spec"]["ports"]
        assert published["targetPort"] == port["name"] and published["port"] == port["containerPort"]
    assert settings["MLBIO_TORCHSERVE_URL"] == f"http://torchserve:{inference['containerPort']}"
    named = {port["port"] for o in OBJECTS if o["kind"] == "NetworkPolicy" for rule in o["spec"]["ingress"]
             for port in rule["ports"]}  # fmt: skip
    assert named == {inference["name"], http["name"]}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_pods_have_no_privileges_and_write_where_compose_lets_them(name: str):
    pod, made = found("Deployment", name)["spec"]["template"]["spec"], container(name)
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 10001
    assert pod["automountServiceAccountToken"] is False
    assert made["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {m["mountPath"] for m in made["volumeMounts"]} == {t.partition(":")[0] for t in COMPOSE[name]["tmpfs"]}
    assert {m["name"] for m in made["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    assert made["resources"]["limits"]["memory"] == COMPOSE[name]["mem_limit"].upper() + "i"


def test_requests_under_way_get_the_time_that_they_may_take():
    for name in DEPLOYMENTS:
        pod = found("Deployment", name)["spec"]["template"]["spec"]
        waits = int(container(name)["lifecycle"]["preStop"]["exec"]["command"][1])
        needed = int(next(e["value"] for e in container("gateway")["env"] if e["name"] == "MLBIO_STOP_SECONDS"))
        assert pod["terminationGracePeriodSeconds"] >= (waits + needed if name == "gateway" else waits)
        assert needed >= 180
