"""An ordinary start is told once: when it is over, or when there is trouble."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support import manifests as m
from tests.support import operator as support

from aixgo_operator.kube.resources import AGENT_RUNTIMES, AGENTS, PODS

if TYPE_CHECKING:
    from tests.support.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.apiserver


async def start_without_pods(
    cluster: support.Cluster, operator: support.Operator, namespace: str
) -> dict[str, int]:
    """Apply a runtime with an Agent whose pods stay Pending, and return what the operator has written."""
    operator.kubelet.hold = {"runtime"}
    await cluster.apply(m.runtime(namespace))
    # Only then the Agent: of two watches, nobody knows which one tells first.
    await support.until(lambda: "PATCH deployments" in operator.writes(), "the Deployment is written")
    await cluster.apply(m.agent(namespace))
    looks = operator.sample("aixgo_operator_reconciles_total", kind="AgentRuntime") or 0.0

    def looked() -> bool:
        return (operator.sample("aixgo_operator_reconciles_total", kind="AgentRuntime") or 0.0) >= looks + 2

    await support.until(looked, "two more looks at the runtime")
    return operator.writes()


async def test_an_ordinary_start_is_one_status_each_and_one_event(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    namespace = await cluster.namespace()
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        written = await start_without_pods(cluster, operator, namespace)
        assert not {"PUT agents", "PUT agentruntimes", "POST events"} & written.keys()
        for resource, name in ((AGENT_RUNTIMES, "runtime"), (AGENTS, "assistant")):
            ready = await cluster.condition(resource, namespace, name, "Ready")
            assert (ready["status"], ready["reason"]) == ("Unknown", "Pending")
        operator.kubelet.hold.clear()
        await cluster.until_condition(AGENTS, namespace, "assistant", "Ready", "True")
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")
        await operator.quiet()
        written = operator.writes()
        assert (written["PUT agents"], written["PUT agentruntimes"], written["POST events"]) == (1, 1, 1)


async def test_trouble_is_told_at_once(plane: ControlPlane, cluster: support.Cluster) -> None:
    namespace = await cluster.namespace()
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        await start_without_pods(cluster, operator, namespace)
        (pod,) = await cluster.client.list_objects(PODS, namespace)
        image = {"name": "runtime", "image": "x", "imageID": "", "ready": False, "restartCount": 0}
        waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
        name = pod["metadata"]["name"]
        status = {"status": {"phase": "Pending", "containerStatuses": [image | {"state": waiting}]}}
        await cluster.client.request(
            "PATCH",
            PODS.path(namespace, name, "status"),
            body=status,
            content_type="application/merge-patch+json",
        )
        await support.until(
            lambda: "PUT agentruntimes" in operator.writes(), "the trouble is told", timeout=5
        )
        ready = await cluster.condition(AGENT_RUNTIMES, namespace, "runtime", "Ready")
        assert "no such image" in ready["message"]


async def test_agents_hear_at_once_of_a_runtime_that_is_held(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    namespace = await cluster.namespace()
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        await cluster.apply(m.runtime(namespace, sessionBackendRef={"name": "nowhere"}))
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "False")
        await cluster.apply(m.agent(namespace))
        await support.until(lambda: "PUT agents" in operator.writes(), "the Agent is told", timeout=5)
        ready = await cluster.condition(AGENTS, namespace, "assistant", "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "Pending")
