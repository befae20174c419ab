"""Calls that an agent refused are Events of the Agent: one for a caller, however often it tries."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import manifests as m
from tests.support import operator as support

from aixgo.contract import RefusedCalls
from aixgo_operator.kube.resources import AGENTS, EVENTS
from aixgo_operator.reconcile.refusals import REASON, RETENTION

if TYPE_CHECKING:
    from tests.support.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.apiserver

CALLER = "spiffe://cluster.local/ns/team-b/client/ci"


def refused(count: int, caller: str = CALLER, ago: timedelta = timedelta(0)) -> RefusedCalls:
    last = (datetime.now(UTC) - ago).strftime("%Y-%m-%dT%H:%M:%SZ")
    return RefusedCalls(agent="assistant", caller=caller, count=count, last_at=last)


async def test_a_caller_that_is_refused_is_one_event(plane: ControlPlane, cluster: support.Cluster) -> None:
    namespace = await cluster.namespace()
    chosen = support.settings(namespace, (namespace,), steady_probe_interval_seconds=0.2)

    async def events() -> list[dict[str, Any]]:
        found = await cluster.client.list_objects(EVENTS, namespace)
        return [event for event in found if event["reason"] == REASON]

    await cluster.apply(m.runtime(namespace, replicas=2))
    await cluster.apply(m.agent(namespace))
    async with support.running(plane, cluster, chosen) as operator:
        await cluster.until_condition(AGENTS, namespace, "assistant", "Ready", "True")
        pods = operator.pods
        answer = await pods._answer((namespace, "runtime"))
        assert answer.statusz is not None

        async def looks(*said: RefusedCalls) -> None:
            """Let the pods say so, and wait until they were asked often."""
            assert answer.statusz is not None
            told = answer.statusz.changed(refused_calls=said)
            pods.override[(namespace, "runtime")] = replace(answer, statusz=told)
            probes = pods.probes
            await support.until(lambda: pods.probes >= probes + 8, "four looks at two pods")

        await looks(refused(1, ago=2 * RETENTION))
        assert await events() == []
        await looks(refused(2))
        await looks(refused(3))
        (event,) = await events()
        assert event["type"] == "Warning"
        assert event["involvedObject"]["kind"] == "Agent"
        assert event["involvedObject"]["name"] == "assistant"
        assert CALLER in event["message"]
        assert "spec.allowedCallers" in event["message"]
        await looks(refused(4), refused(1, caller=f"{CALLER}-2"))
        assert len(await events()) == 2
        # It is told, and nothing is wrong with the agent.
        assert (await cluster.condition(AGENTS, namespace, "assistant", "Ready"))["status"] == "True"
    # Another operator tells it to nobody again.
    async with support.running(plane, cluster, chosen, kubelet=operator.kubelet) as operator:
        operator.pods.override.update(pods.override)
        await cluster.until_condition(AGENTS, namespace, "assistant", "Ready", "True")
        await support.until(lambda: operator.pods.probes >= 8, "four looks at two pods")
        assert len(await events()) == 2
