"""A real API server takes every manifest of ``tests/golden``, and under the strictest pod security."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tests.support.cluster.control_plane import ControlPlane

GOLDEN = sorted((Path(__file__).parents[2] / "golden").glob("*.yaml"))


@pytest.mark.apiserver
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_api_server_takes_the_manifests(control_plane: ControlPlane, path: Path) -> None:
    namespace = f"golden-{path.stem.replace('_', '-')}"
    strict = {"pod-security.kubernetes.io/enforce": "restricted"}
    wanted = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": namespace,
            "labels": {**strict, "pod-security.kubernetes.io/warn": "restricted"},
        },
    }
    control_plane.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(wanted))
    manifests = list(yaml.safe_load_all(path.read_text()))
    for manifest in manifests:
        manifest["metadata"]["namespace"] = namespace
        # Their owners are not there: the garbage collector would take them.
        manifest["metadata"].pop("ownerReferences", None)
    text = yaml.safe_dump_all(manifests)
    control_plane.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", input=text)
    for manifest in manifests:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        stored = json.loads(control_plane.kubectl("get", kind, name, "-n", namespace, "-o", "json"))
        assert stored["metadata"]["labels"] == manifest["metadata"]["labels"]
        if kind in ("Deployment", "StatefulSet"):
            # Pod security refuses pods, not workloads: try one.
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "trial", "namespace": namespace},
                "spec": stored["spec"]["template"]["spec"],
            }
            control_plane.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(pod))
