"""Manifests in, owned objects and a truthful status out. Pods are played: see tests/support/kubelet.py."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import manifests as m
from tests.support import operator as support
from tests.support.kubelet import Kubelet

from aixgo_operator.kube.lease import LeaseTimes
from aixgo_operator.kube.resources import AGENT_RUNTIMES, AGENTS, CHILD_KINDS, SESSION_BACKENDS
from aixgo_operator.reconcile import engine

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.apiserver


async def test_everything_becomes_ready_and_then_nothing_is_written(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    namespace = await cluster.namespace()
    chosen = support.settings(namespace, (namespace,))
    async with support.running(plane, cluster, chosen) as operator:
        await cluster.apply(m.managed_redis(namespace))
        await cluster.apply(m.runtime(namespace, sessionBackendRef={"name": "sessions"}))
        await cluster.apply(m.agent(namespace))
        for resource, name in (
            (SESSION_BACKENDS, "sessions"),
            (AGENT_RUNTIMES, "runtime"),
            (AGENTS, "assistant"),
        ):
            await cluster.until_condition(resource, namespace, name, "Ready", "True")
        await operator.quiet()
        before = operator.writes()
        probes = operator.pods.probes
        await support.until(lambda: operator.pods.probes >= probes + 3, "three more looks at the pod")
        assert operator.writes() == before
        # The canary knows every watch by its name: else it would never, or always, sing.
        canary = operator.process._canary
        assert canary is not None
        assert len(canary.expected) == 14
        assert canary.dead() == []
        assert canary._missing_since is None


@pytest.fixture
def only_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is looked at because time has passed: that would hide an event that is not followed."""
    monkeypatch.setattr(engine, "_FIRST_RESYNC", 900.0)


@pytest.mark.usefixtures("only_events")
async def test_every_order_of_applying_ends_in_the_same_objects(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    """O19: All 120 orders of five objects."""
    await _apply_in_every_order(plane, cluster, _with_files, objects=8)


@pytest.mark.usefixtures("only_events")
async def test_every_order_with_a_managed_redis_ends_in_the_same_objects(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    """O19: Here the runtime has to wait for credentials, which have to wait for the list of consumers."""
    await _apply_in_every_order(plane, cluster, _with_redis, objects=15)


async def _apply_in_every_order(
    plane: ControlPlane,
    cluster: support.Cluster,
    wanted: Callable[[str, str], list[dict[str, Any]]],
    *,
    objects: int,
) -> None:
    namespace = await cluster.namespace("order")
    orders = list(itertools.permutations(range(len(wanted(namespace, "")))))
    marks = [f"o{number:03}" for number in range(len(orders))]
    # No pods: the objects are what counts. With the real lease times, as this is a load test, too.
    chosen = support.settings(
        namespace, (namespace,), steady_probe_interval_seconds=900.0, probe_interval_seconds=900.0
    )
    idle = Kubelet(cluster.client)
    async with support.running(plane, cluster, chosen, kubelet=idle, lease_times=LeaseTimes()) as operator:
        limit = asyncio.Semaphore(4)

        async def apply_all(mark: str, order: tuple[int, ...]) -> None:
            async with limit:
                for number in order:
                    await cluster.apply(wanted(namespace, mark)[number])

        await asyncio.gather(*map(apply_all, marks, orders))
        assert operator.process.engine is not None
        cache = operator.process.engine.cache

        def complete() -> bool:
            return len(list(cache.all_of("Deployment"))) == len(orders)

        await support.until(complete, "all Deployments", timeout=60.0, every=0.2)
        await operator.quiet(timeout=30.0)
        states = await _owned_states(cluster, namespace)
        assert set(states) == {*marks, ""}
        assert len(states[marks[0]]) == objects, sorted(states[marks[0]])
        for mark, order in zip(marks, orders, strict=True):
            assert states[mark] == states[marks[0]], f"order {order}"
        errors = operator.process.metrics.registry.get_sample_value(
            "aixgo_operator_reconcile_errors_total", {"kind": "AgentRuntime"}
        )
        assert not errors


def _with_files(namespace: str, mark: str) -> list[dict[str, Any]]:
    key = {"name": f"model-{mark}", "key": "token"}
    model = {"provider": "openai", "name": "small", "baseURL": "http://model/v1", "apiKeySecretRef": key}
    tools = [{"name": "helper", "agentRef": {"name": f"helper-{mark}"}}]
    backend, runtime = f"sessions-{mark}", f"runtime-{mark}"
    return [
        m.file_backend(namespace, backend),
        m.runtime(namespace, runtime, sessionBackendRef={"name": backend}, replicas=0),
        m.agent(namespace, f"assistant-{mark}", runtime, tools=tools),
        m.agent(namespace, f"helper-{mark}", runtime, model=model),
        m.secret(namespace, f"model-{mark}", token="k"),
    ]


def _with_redis(namespace: str, mark: str) -> list[dict[str, Any]]:
    backend, runtime = f"sessions-{mark}", f"runtime-{mark}"
    return [
        m.managed_redis(namespace, backend),
        m.runtime(
            namespace, runtime, sessionBackendRef={"name": backend}, replicas=0, clients=[{"name": "ci"}]
        ),
        m.agent(namespace, f"assistant-{mark}", runtime),
    ]


async def _owned_states(cluster: support.Cluster, namespace: str) -> dict[str, dict[str, Any]]:
    """Return what the operator owns, by mark, without what differs from one creation to the next."""
    states: dict[str, dict[str, Any]] = {}
    for resource in CHILD_KINDS:
        for item in await cluster.client.list_objects(
            resource, namespace, label_selector="app.kubernetes.io/managed-by=aixgo-operator"
        ):
            metadata = item["metadata"]
            found = re.search(r"o\d\d\d", metadata["name"])
            mark = found.group() if found else ""
            kept = {key: metadata.get(key) for key in ("name", "labels")}
            kept["owners"] = [(o["kind"], o["name"]) for o in metadata.get("ownerReferences") or ()]
            content = {key: value for key, value in item.items() if key not in ("metadata", "status")}
            if resource.kind == "Secret":
                content["data"] = sorted(content["data"])
            text = json.dumps({"metadata": kept} | content, sort_keys=True)
            text = re.sub(r'"clusterIPs?": (\[[^\]]*\]|"[^"]*")', "", text)
            # Revisions and the restart hash are over content that has the name in it.
            text = re.sub(r"\b[0-9a-f]{16}\b", "HASH", text)
            if mark:
                text = text.replace(mark, "MARK")
            state = states.setdefault(mark, {})
            state[f"{resource.kind} {metadata['name']}".replace(mark or " ", "MARK")] = text
    return states
