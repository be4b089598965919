"""The manifests for Kubernetes are valid, fit together, and agree with docker-compose.yml."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import msgspec
import pytest
import yaml

from scale.serving import Arguments
from tests.conftest import ROOT

KUBERNETES = "1.31"
BASES = {name: ROOT / "deploy/kubernetes" / name for name in ("torchserve", "ray")}
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
KUSTOMIZATIONS = {name: yaml.safe_load((base / "kustomization.yaml").read_text()) for name, base in BASES.items()}
OBJECTS: dict[str, list[dict[str, Any]]] = {
    name: [o for file in KUSTOMIZATIONS[name]["resources"] for o in yaml.safe_load_all((base / file).read_text())]
    for name, base in BASES.items()
}
ALL = [pytest.param(o, id=f"{base}-{o['kind']}-{o['metadata']['name']}") for base in BASES for o in OBJECTS[base]]
DEPLOYMENTS = ["torchserve", "gateway"]
SCHEMA = json.loads(Path(__file__).with_name("rayservice.schema.json").read_text())


def found(kind: str, name: str, base: str = "torchserve") -> dict[str, Any]:
    (one,) = [o for o in OBJECTS[base] if o["kind"] == kind and o["metadata"]["name"] == name]
    return one


def container(name: str) -> dict[str, Any]:
    (one,) = found("Deployment", name)["spec"]["template"]["spec"]["containers"]
    return one


def ray_pods() -> dict[str, dict[str, Any]]:
    """The templates of the head's and the workers' pods."""
    cluster = found("RayService", "mlbio", "ray")["spec"]["rayClusterConfig"]
    (workers,) = cluster["workerGroupSpecs"]
    return {"head": cluster["headGroupSpec"]["template"], "workers": workers["template"]}


def validate(manifest: dict[str, Any]) -> None:
    """Raise an error unless ``manifest`` is valid by the strict schemas of Kubernetes and ours of KubeRay."""
    if manifest["kind"] != "RayService":
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        return
    jsonschema.validate(manifest, SCHEMA)
    cluster = manifest["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        spec = {"selector": {"matchLabels": {"app": "ray"}}, "template": group["template"]}
        meta = {"name": "pods"}
        validate({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec})


@pytest.mark.parametrize("manifest", ALL)
def test_a_manifest_is_valid(manifest: dict[str, Any]):
    validate(manifest)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Deployment", "spec.template.spec.containers.0.readinessProbe.httpget"),
        ("RayService", "spec.rayClusterConfig.headGroupSpec.template.spec.containers.0.imagePullpolicy"),
        ("RayService", "spec.rayClusterConfig.headGroup"),
    ],
)
def test_a_field_that_does_not_exist_is_noticed(kind: str, path: str):
    """The test above can fail."""
    name, base = ("gateway", "torchserve") if kind == "Deployment" else ("mlbio", "ray")
    manifest = json.loads(json.dumps(found(kind, name, base)))
    *parents, field = path.split(".")
    place: Any = manifest
    for parent in parents:
        place = place[int(parent) if parent.isdigit() else parent]
    place[field] = "x"
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        validate(manifest)


@pytest.mark.parametrize("base", BASES)
def test_every_file_is_used_and_no_object_is_there_twice(base: str):
    kustomization = KUSTOMIZATIONS[base]
    used = {*kustomization["resources"], *kustomization.get("configurations", []), "kustomization.yaml"}
    assert {p.name for p in BASES[base].iterdir()} == used
    names = [(o["kind"], o["metadata"]["name"]) for o in OBJECTS[base]]
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
    assert container(name)["image"] in {image["name"] for image in KUSTOMIZATIONS["torchserve"]["images"]}
    assert container(name)["image"] == COMPOSE[name]["image"]


def test_ports_are_those_that_the_images_listen_on():
    (inference,), (http,) = container("torchserve")["ports"], container("gateway")["ports"]
    settings = {e["name"]: e.get("value") for name in DEPLOYMENTS for e in container(name)["env"]}
    assert settings["TS_INFERENCE_ADDRESS"].endswith(f":{inference['containerPort']}")
    assert settings["MLBIO_PORT"] == str(http["containerPort"])
    for name, port in (("torchserve", inference), ("gateway", http)):
        (published,) = found("Service", name)["spec"]["ports"]
        assert published["targetPort"] == port["name"] and published["port"] == port["containerPort"]
    assert settings["MLBIO_TORCHSERVE_URL"] == f"http://torchserve:{inference['containerPort']}"
    policies = [o for o in OBJECTS["torchserve"] if o["kind"] == "NetworkPolicy"]
    named = {port["port"] for policy in policies for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    assert named == {inference["name"], http["name"]}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_pods_have_no_privileges_and_write_where_compose_lets_them(name: str):
    pod, made = found("Deployment", name)["spec"]["template"]["spec"], container(name)
    assert pod["automountServiceAccountToken"] is False
    unprivileged(pod)
    assert {m["mountPath"] for m in made["volumeMounts"]} == {t.partition(":")[0] for t in COMPOSE[name]["tmpfs"]}
    assert made["resources"]["limits"]["memory"] == COMPOSE[name]["mem_limit"].upper() + "i"


@pytest.mark.parametrize("name", ["head", "workers"])
def test_rays_pods_have_no_privileges(name: str):
    unprivileged(ray_pods()[name]["spec"])


def unprivileged(pod: dict[str, Any]) -> None:
    """As the namespace's pod security demands, and read-only."""
    (made,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert made["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {m["name"] for m in made["volumeMounts"]} == {v["name"] for v in pod["volumes"]}


def test_requests_under_way_get_the_time_that_they_may_take():
    for name in DEPLOYMENTS:
        pod = found("Deployment", name)["spec"]["template"]["spec"]
        waits = int(container(name)["lifecycle"]["preStop"]["exec"]["command"][1])
        needed = int(next(e["value"] for e in container("gateway")["env"] if e["name"] == "MLBIO_STOP_SECONDS"))
        assert pod["terminationGracePeriodSeconds"] >= (waits + needed if name == "gateway" else waits)
        assert needed >= 180
    spec = found("RayService", "mlbio", "ray")["spec"]
    assert spec["rayClusterDeletionDelaySeconds"] > 180
    assert ray_pods()["workers"]["spec"]["terminationGracePeriodSeconds"] > 180


def test_rays_version_port_and_image_are_the_same_everywhere():
    spec = found("RayService", "mlbio", "ray")["spec"]
    config = yaml.safe_load(spec["serveConfigV2"])
    pins = (ROOT / "requirements-ray.txt").read_text().splitlines()
    assert f"ray=={spec['rayClusterConfig']['rayVersion']}" in pins
    images = {image["name"] for image in KUSTOMIZATIONS["ray"]["images"]}
    for pod in ray_pods().values():
        (made,) = pod["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in made["ports"]}
        assert ports["serve"] == config["http_options"]["port"] == 8089
        assert {made["image"]} == images
        assert pod["metadata"]["labels"] == {"app": "ray"}
    (workers,) = spec["rayClusterConfig"]["workerGroupSpecs"]
    (application,) = config["applications"]
    replicas = application["args"]
    assert (workers["minReplicas"], workers["maxReplicas"]) == (replicas["min_replicas"], replicas["max_replicas"])


def test_the_config_of_ray_serve_has_the_applications_arguments():
    """``tests/e2e/test_ray.py`` deploys it."""
    (application,) = yaml.safe_load(found("RayService", "mlbio", "ray")["spec"]["serveConfigV2"])["applications"]
    path = Path(msgspec.convert(application["args"], Arguments).archive)
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    assert path.parent == Path("/app/model_store") and "WORKDIR /app\n" in dockerfile
    assert f"COPY --from=archive {path} {path}.sha256 model_store/" in dockerfile.partition(" AS ray\n")[2]
