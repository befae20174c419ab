"""status, explain and call errors against a real API server, which accepts examples/quickstart as it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.support.aixgo_command import Result, aixgo
from tests.support.cluster.cache import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.apiserver

KINDS = ("sessionbackend/sessions", "agentruntime/agents", "agent/assistant", "agent/reviewer")


@pytest.fixture(scope="module")
def cluster(control_plane: ControlPlane) -> ControlPlane:
    control_plane.kubectl("apply", "--server-side", "-f", str(REPOSITORY / "crds"))
    control_plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    control_plane.kubectl("apply", "-f", str(REPOSITORY / "examples" / "quickstart"))
    return control_plane


def run(cluster: ControlPlane, *arguments: str) -> Result:
    return aixgo(*arguments, kubeconfig=cluster.kubeconfig)


def set_status(cluster: ControlPlane, target: str, status: dict[str, object]) -> None:
    cluster.kubectl(
        *("-n", "quickstart", "patch", target, "--subresource=status", "--type=merge"),
        *("-p", json.dumps({"status": status})),
    )


def condition(type_: str, status: str, reason: str, message: str = "") -> dict[str, object]:
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2030-01-01T00:00:00Z",
        "observedGeneration": 1,
    }


def test_status_shows_all_kinds(cluster: ControlPlane) -> None:
    ready = condition("Ready", "True", "Ready", "2 replicas serve 2 agents")
    not_after = "2030-01-02T00:00:00Z"
    set_status(cluster, "agentruntime/agents", {"conditions": [ready], "tls": {"notAfter": not_after}})

    result = run(cluster, "status", "-n", "quickstart", "-o", "json")

    assert (result.code, result.stderr) == (0, "")
    found = {(row["kind"], row["name"]): row for row in json.loads(result.stdout)}
    assert len(found) == 4
    runtime = found["AgentRuntime", "agents"]
    assert (runtime["ready"], runtime["certificateExpires"]) == ("True", not_after)
    # The default of the CRD, until an operator has looked.
    assert found["SessionBackend", "sessions"]["ready"] == "Unknown"
    assert found["Agent", "assistant"]["sessionBackend"] == "sessions"


def test_status_of_all_namespaces_as_a_table(cluster: ControlPlane) -> None:
    lines = run(cluster, "status", "-A").stdout.splitlines()
    assert lines[0].split()[:4] == ["NAMESPACE", "KIND", "NAME", "READY"]
    assert len(lines) == 5
    assert all(line.startswith("quickstart") for line in lines[1:])


def test_status_of_an_empty_namespace(cluster: ControlPlane) -> None:
    result = run(cluster, "status", "-n", "nothing-here")
    assert (result.code, result.stdout) == (0, "")
    assert "Nothing in namespace nothing-here" in result.stderr


def test_explain_shows_every_condition_and_the_pods(cluster: ControlPlane) -> None:
    conditions = [
        condition("Ready", "False", "SecretNotFound", "Secret keys not found"),
        condition("ResolvedRefs", "False", "SecretNotFound", "Secret keys not found"),
    ]
    set_status(cluster, "agent/reviewer", {"conditions": conditions})
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "agents-x",
            "namespace": "quickstart",
            "labels": {"aixgo.dev/runtime": "agents"},
        },
        "spec": {
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "runtime",
                    "image": "none",
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }
    cluster.kubectl("apply", "-f", "-", input=json.dumps(pod))
    try:
        text = run(cluster, "explain", "agent/reviewer", "-n", "quickstart").stdout
        data = json.loads(run(cluster, "explain", "agt/reviewer", "-n", "quickstart", "-o", "json").stdout)
    finally:
        cluster.kubectl("-n", "quickstart", "delete", "pod", "agents-x", "--grace-period=0", "--force")
    assert "ResolvedRefs" in text
    assert "Secret keys not found" in text
    assert "agents-x: Pending, not Ready" in text
    assert [entry["reason"] for entry in data["conditions"]] == ["SecretNotFound"] * 2
    assert data["pods"][0]["name"] == "agents-x"


def test_unknown_object_is_not_found(cluster: ControlPlane) -> None:
    for arguments in (("explain", "agent/ghost"), ("call", "ghost", "hello")):
        result = run(cluster, *arguments, "-n", "quickstart")
        assert (result.code, result.stdout) == (3, "")
        assert "Agent 'ghost' not found" in result.stderr


def test_call_without_the_client_secret(cluster: ControlPlane) -> None:
    result = run(cluster, "call", "assistant", "hello", "-n", "quickstart")
    assert result.code == 3
    assert "Secret 'agents-client-cli' not found" in result.stderr


def test_call_without_a_ready_pod_is_not_ready(cluster: ControlPlane) -> None:
    data = dict.fromkeys(("tls.crt", "tls.key", "ca.crt"), "eA==")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "agents-client-cli"}, "data": data}
    cluster.kubectl("-n", "quickstart", "apply", "-f", "-", input=json.dumps(secret))
    try:
        result = run(cluster, "call", "assistant", "hello", "-n", "quickstart")
    finally:
        cluster.kubectl("-n", "quickstart", "delete", "secret", "agents-client-cli")
    assert result.code == 4
    assert "no pod of AgentRuntime 'agents' is Ready" in result.stderr


def test_missing_right_is_named(cluster: ControlPlane, tmp_path: Path) -> None:
    cluster.kubectl("-n", "quickstart", "create", "serviceaccount", "visitor")
    token = cluster.kubectl("-n", "quickstart", "create", "token", "visitor").strip()
    config = json.loads(cluster.kubectl("config", "view", "--raw", "-o", "json"))
    config["users"][0]["user"] = {"token": token}
    own = tmp_path / "kubeconfig"
    own.write_text(json.dumps(config))

    result = aixgo("status", "-A", kubeconfig=own)

    assert result.code == 1
    assert "cannot list sessionbackends: you are not allowed to" in result.stderr
    assert token not in result.stderr
