"""From an agent's name to the pod that is called and the certificate that is used."""

from typing import Any, cast

import pytest

from aixgo_cli import targets
from aixgo_cli.errors import CliError, ExitCode
from aixgo_cli.kube import Cluster

PEM = {"tls.crt": b"certificate", "tls.key": b"key", "ca.crt": b"authority"}


class FakeCluster:
    """The reads of a cluster, answered from dictionaries."""

    def __init__(self) -> None:
        self.spec: dict[str, Any] = {"clients": [{"name": "ci"}, {"name": "cli"}], "tls": {"mode": "Mutual"}}
        self.agent_runtime: dict[str, str] = {"name": "agents"}
        self.secrets: dict[str, dict[str, bytes]] = {"agents-client-cli": PEM}
        self.pod_list = [pod("agents-1")]
        self.asked: list[tuple[str, str, str]] = []

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        self.asked.append((kind, namespace, name))
        spec = {"runtimeRef": self.agent_runtime} if kind == "Agent" else self.spec
        return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}

    def secret(self, namespace: str, name: str) -> dict[str, bytes]:
        if name not in self.secrets:
            raise CliError(f"Secret {name} not found", code=ExitCode.NOT_FOUND)
        return self.secrets[name]

    def pods(self, namespace: str, selector: str) -> list[dict[str, Any]]:
        assert selector == "aixgo.dev/runtime=agents"
        return self.pod_list


def pod(name: str, ready: str = "True", **metadata: str) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready}]
    return {"metadata": {"name": name, **metadata}, "status": {"conditions": conditions}}


def find(cluster: FakeCluster, **options: str) -> targets.Target:
    return targets.find(cast("Cluster", cluster), "demo", "assistant", **options)


def test_uses_the_first_client_whose_secret_can_be_read() -> None:
    target = find(FakeCluster())
    assert (target.pod, target.port, target.server_name) == ("agents-1", 50051, "agents.demo.svc")
    assert target.identity is not None
    assert target.identity.certificate == b"certificate"


def test_key_is_not_in_the_representation() -> None:
    assert b"key" not in repr(find(FakeCluster()).identity).encode().replace(b"tls.key", b"")


def test_runtime_in_another_namespace() -> None:
    cluster = FakeCluster()
    cluster.agent_runtime = {"name": "agents", "namespace": "shared"}
    target = find(cluster)
    assert (target.namespace, target.server_name) == ("shared", "agents.shared.svc")
    assert cluster.asked == [("Agent", "demo", "assistant"), ("AgentRuntime", "shared", "agents")]


def test_named_client_and_pod() -> None:
    cluster = FakeCluster()
    cluster.pod_list = []
    assert find(cluster, client="cli", pod="agents-9").pod == "agents-9"


def test_unknown_client_names_the_known_ones() -> None:
    with pytest.raises(CliError) as failure:
        find(FakeCluster(), client="me")
    assert failure.value.code is ExitCode.NOT_FOUND
    assert "ci, cli" in str(failure.value.then)


def test_no_readable_secret_is_the_first_refusal() -> None:
    cluster = FakeCluster()
    cluster.secrets = {}
    with pytest.raises(CliError, match="agents-client-ci"):
        find(cluster)


def test_runtime_without_clients() -> None:
    cluster = FakeCluster()
    del cluster.spec["clients"]
    with pytest.raises(CliError, match="no clients"):
        find(cluster)


def test_no_certificate_outside_of_mutual_mode() -> None:
    cluster = FakeCluster()
    cluster.spec = {"tls": {"mode": "External"}, "grpc": {"port": 6000}}
    target = find(cluster)
    assert (target.identity, target.port) == (None, 6000)


@pytest.mark.parametrize(
    "pods",
    [[], [pod("agents-1", ready="False")], [pod("agents-1", deletionTimestamp="2030-01-01T00:00:00Z")]],
)
def test_no_ready_pod_is_not_ready(pods: list[dict[str, Any]]) -> None:
    cluster = FakeCluster()
    cluster.pod_list = pods
    with pytest.raises(CliError) as failure:
        find(cluster)
    assert failure.value.code is ExitCode.NOT_READY
    assert "aixgo explain agentruntime/agents -n demo" in str(failure.value.then)
