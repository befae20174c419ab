"""The charts, rendered and installed by the real helm."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from tests.support.cluster.commands import run

from aixgo_operator.domain.settings import OperatorSettings

if TYPE_CHECKING:
    from tests.support.cluster.control_plane import ControlPlane

CHARTS = Path(__file__).resolve().parents[2] / "charts"
#: The values, with their defaults, of the first version of the operator's chart.
FIRST_VALUES = Path(__file__).resolve().parents[1] / "data" / "charts" / "first-values.yaml"
NAMESPACE = "aixgo-system"
NAMESPACED = ("--set", "watchNamespaces={team-a,team-b}")
#: Everything that can be set, set to something else than its default.
EVERYTHING = {
    "fullnameOverride": "other",
    "replicas": 3,
    "image": {"repository": "r.example/o", "digest": f"sha256:{'a' * 64}", "pullPolicy": "Always"},
    "imagePullSecrets": ["pull"],
    "watchNamespaces": ["team-a"],
    "clusterDomain": "k8s.example",
    "trustDomain": "trust.example",
    "runtime": {"image": "r.example/runtime:1"},
    "redis": {"image": "r.example/redis:1"},
    "workloads": {"imagePullPolicy": "Never", "imagePullSecrets": ["a", "b"]},
    "certificates": {"authorityDurationSeconds": 864000, "redisDurationSeconds": 3600},
    "monitoringNamespaces": ["monitoring"],
    "networkPolicy": {"enabled": True},
    "certManager": {"enabled": False},
    "redisOperator": {"enabled": False},
    "settings": {"probeIntervalSeconds": 0.5, "resyncSeconds": 3000000},
    "serviceAccount": {"annotations": {"a": "b"}},
    "uninstallHook": {"enabled": True, "waitSeconds": 5},
    "podDisruptionBudget": {"enabled": True},
    "resources": {"limits": {"cpu": "1"}},
    "podLabels": {"team": "x"},
    "podAnnotations": {"note": "y"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "k", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "system-cluster-critical",
}


@dataclass(frozen=True)
class Helm:
    """The real helm with folders of its own."""

    program: Path
    home: Path
    plane: ControlPlane

    def __call__(self, *arguments: str, values: dict[str, Any] | None = None) -> str:
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.home),
            "KUBECONFIG": str(self.plane.kubeconfig),
        }
        given = () if values is None else ("--values", "-")
        return run(
            [self.program, *arguments, *given],
            timeout=120,
            env=env,
            stdin=None if values is None else json.dumps(values),
        )

    def render(self, *arguments: str, values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the objects of the release, without those of its hooks."""
        return self.template("--no-hooks", *arguments, values=values)

    def hooks(self, *arguments: str, values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the objects that run before an uninstall."""
        return [item for item in self.template(*arguments, values=values) if is_hook(item)]

    def template(self, *arguments: str, values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        text = self(
            *("template", "aixgo-operator", str(CHARTS / "aixgo-operator"), "--namespace", NAMESPACE),
            *arguments,
            values=values,
        )
        return [document for document in yaml.safe_load_all(text) if document]


def is_hook(item: dict[str, Any]) -> bool:
    return "helm.sh/hook" in (item["metadata"].get("annotations") or {})


def as_list(objects: list[dict[str, Any]]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def kinds(objects: list[dict[str, Any]]) -> set[str]:
    return {item["kind"] for item in objects}


def of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (item,) = (item for item in objects if item["kind"] == kind)
    return item


def operator_settings(objects: list[dict[str, Any]]) -> OperatorSettings:
    text = of_kind(objects, "ConfigMap")["data"]["settings.yaml"]
    return OperatorSettings.model_validate(yaml.safe_load(text))
