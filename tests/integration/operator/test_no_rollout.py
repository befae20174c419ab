"""A Deployment of a new generation whose pods stay as they are: Ready does not fall, and nobody is told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.support import manifests as m
from tests.support import operator as support

from aixgo_operator.kube.resources import AGENT_RUNTIMES, AGENTS, DEPLOYMENTS, EVENTS
from aixgo_operator.reconcile.status import condition

if TYPE_CHECKING:
    from tests.support.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.apiserver


async def observed(cluster: support.Cluster, namespace: str, generation: int) -> bool:
    """Whether the Deployment controller has seen that generation."""
    found = await cluster.get(DEPLOYMENTS, namespace, "runtime")
    assert found["metadata"]["generation"] >= generation
    return bool(found["status"].get("observedGeneration") == found["metadata"]["generation"])


async def told(cluster: support.Cluster, namespace: str) -> list[tuple[str, str]]:
    events = await cluster.client.list_objects(EVENTS, namespace)
    return sorted(
        (event["involvedObject"]["name"], event["reason"])
        for event in events
        if event["involvedObject"]["kind"] == "AgentRuntime"
    )


async def test_an_annotation_on_the_deployment_is_no_rollout(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    """O13: kubectl annotate makes a new generation of a Deployment."""
    namespace = await cluster.namespace()
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        await cluster.apply(m.runtime(namespace))
        await cluster.apply(m.agent(namespace))
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")
        await cluster.until_condition(AGENTS, namespace, "assistant", "Ready", "True")
        await operator.quiet()
        before, events = operator.writes(), await told(cluster, namespace)
        generation = (await cluster.get(DEPLOYMENTS, namespace, "runtime"))["metadata"]["generation"]
        for number in range(3):
            what = ("deployment", "runtime", "-n", namespace, f"example.org/note={number}", "--overwrite")
            await asyncio.to_thread(plane.kubectl, "annotate", *what)
            generation += 1

            async def seen(generation: int = generation) -> bool:
                return await observed(cluster, namespace, generation)

            await support.until(seen, "the Deployment controller has seen it")
        probes = operator.pods.probes
        await support.until(lambda: operator.pods.probes >= probes + 3, "three more looks")
        assert operator.writes() == before
        assert await told(cluster, namespace) == events


async def test_more_replicas_are_no_rollout(plane: ControlPlane, cluster: support.Cluster) -> None:
    """O13: what an autoscaler does all day."""
    namespace = await cluster.namespace()
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        await cluster.apply(m.runtime(namespace))
        since = await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")
        await operator.quiet()
        events = await told(cluster, namespace)
        for replicas in (3, 1):
            await cluster.apply(m.runtime(namespace, replicas=replicas))

            async def scaled(replicas: int = replicas) -> bool:
                status = (await cluster.get(AGENT_RUNTIMES, namespace, "runtime"))["status"]
                progressing = condition(status, "Progressing")
                return (
                    status["readyReplicas"] == replicas
                    and progressing["message"] == f"{replicas} of {replicas} replicas serve"
                )

            await support.until(scaled, f"{replicas} serve", timeout=20)
        now = await cluster.condition(AGENT_RUNTIMES, namespace, "runtime", "Ready")
        assert now["lastTransitionTime"] == since["lastTransitionTime"]
        assert await told(cluster, namespace) == events


async def test_who_scales_the_deployment_is_told_until_the_runtime_is_scaled(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    """O24: replicas belong to who scaled last: first of the Deployment, then of the AgentRuntime."""
    namespace = await cluster.namespace()
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        await cluster.apply(m.runtime(namespace, autoscaling={"minReplicas": 1, "maxReplicas": 5}))
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")

        async def serving(replicas: int, words: str) -> None:
            async def told() -> bool:
                status = (await cluster.get(AGENT_RUNTIMES, namespace, "runtime"))["status"]
                message = condition(status, "Progressing")["message"]
                return status["readyReplicas"] == replicas and bool(message.endswith(words))

            await support.until(told, f"{replicas} replicas and {words!r}", timeout=20)

        scale = ("scale", "deployment", "runtime", "-n", namespace, "--replicas=3")
        await asyncio.to_thread(plane.kubectl, *scale)
        await serving(3, "scale the AgentRuntime, not its Deployment")
        progressing = await cluster.condition(AGENT_RUNTIMES, namespace, "runtime", "Progressing")
        assert "kubectl scaled the Deployment to 3, and spec.replicas (1) counts" in progressing["message"]
        # What an autoscaler writes, and a person with kubectl scale agentruntime.
        await cluster.patch(AGENT_RUNTIMES, namespace, "runtime", {"spec": {"replicas": 2}}, "scale")
        await serving(2, "2 of 2 replicas serve")
        assert (await cluster.get(DEPLOYMENTS, namespace, "runtime"))["spec"]["replicas"] == 2
        # And it is the operator's again: other numbers are drift.
        edited = await cluster.patch(DEPLOYMENTS, namespace, "runtime", {"spec": {"replicas": 1}})
        assert edited["spec"]["replicas"] == 1

        async def repaired() -> bool:
            found = await cluster.get(DEPLOYMENTS, namespace, "runtime")
            later = found["metadata"]["generation"] > edited["metadata"]["generation"]
            return bool(later and found["spec"]["replicas"] == 2)

        await support.until(repaired, "two are wanted again")
        await operator.quiet()
