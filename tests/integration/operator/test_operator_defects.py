"""Defects that operators are known for, if not tested elsewhere: docs/architecture/operator-defects.md."""

from __future__ import annotations

import base64
import collections
import json
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import manifests as m
from tests.support import operator as support
from tests.support.split_client import watch_through
from tests.support.tcp_proxy import TcpProxy

from aixgo_operator.api.constants import FIELD_MANAGER
from aixgo_operator.kube.client import ApiServerClient
from aixgo_operator.kube.contention import FREE
from aixgo_operator.kube.resources import (
    AGENT_RUNTIMES,
    AGENTS,
    AUTOSCALERS,
    CHILD_KINDS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    EVENTS,
    OUR_KINDS,
    PODS,
    SECRETS,
    SESSION_BACKENDS,
    Manifest,
    resource_of,
)
from aixgo_operator.reconcile.status import condition

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.apiserver

PART_OF = "app.kubernetes.io/part-of"
OURS = "app.kubernetes.io/managed-by=aixgo-operator"


async def everything(cluster: support.Cluster, namespace: str) -> None:
    """What is in order."""
    await cluster.apply(m.managed_redis(namespace))
    await cluster.apply(
        m.runtime(namespace, sessionBackendRef={"name": "sessions"}, clients=[{"name": "ci"}])
    )
    await cluster.apply(m.agent(namespace))
    await cluster.until_condition(AGENTS, namespace, "assistant", "Ready", "True", timeout=30)
    await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True", timeout=30)


async def trouble(cluster: support.Cluster, namespace: str) -> None:
    """What is not, for a reason each."""
    key = {"name": "no-such", "key": "token"}
    model = {"provider": "openai", "name": "small", "baseURL": "http://model/v1", "apiKeySecretRef": key}
    await cluster.apply(m.agent(namespace, "keyless", model=model))
    await cluster.apply(m.agent(namespace, "homeless", "no-such"))
    await cluster.apply(m.runtime(namespace, "held", sessionBackendRef={"name": "no-such"}))
    await cluster.apply(m.runtime(namespace, "asleep", operatingMode="Suspended"))
    limits = {"requests": {"cpu": "1"}, "limits": {"cpu": "500m"}}
    await cluster.apply(m.runtime(namespace, "refused", resources=limits))
    elsewhere = {"addresses": ["redis.example:6379"], "auth": {"passwordSecretRef": key}}
    await cluster.apply(m.managed_redis(namespace, "locked", redis=elsewhere))
    for resource, name, kind, reason in (
        (AGENTS, "keyless", "ResolvedRefs", "SecretNotFound"),
        (AGENTS, "homeless", "ResolvedRefs", "RuntimeNotFound"),
        (AGENT_RUNTIMES, "held", "ResolvedRefs", "SessionBackendNotFound"),
        (AGENT_RUNTIMES, "asleep", "Ready", "Suspended"),
        (SESSION_BACKENDS, "locked", "ResolvedRefs", "SecretNotFound"),
    ):
        await cluster.until_condition(resource, namespace, name, kind, "False", reason, timeout=20)
    await cluster.until_condition(AGENT_RUNTIMES, namespace, "refused", "Degraded", "True", timeout=20)


async def test_o01_a_status_is_of_its_generation_and_ready_falls_before_it_rises(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    """O1: no stale status: Ready=True of a new generation only when the new pod serves."""
    namespace = await cluster.namespace()
    seen: list[tuple[int, int, str]] = []
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        await cluster.apply(m.runtime(namespace))
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")
        before = {pod["metadata"]["name"] for pod in await cluster.client.list_objects(PODS, namespace)}
        operator.kubelet.hold.add("runtime-")
        await cluster.apply(m.runtime(namespace, image="example.org/runtime:2"))

        async def look() -> tuple[int, int, str]:
            found = await cluster.get(AGENT_RUNTIMES, namespace, "runtime")
            ready = condition(found["status"], "Ready")
            seen.append((found["status"]["observedGeneration"], ready["observedGeneration"], ready["status"]))
            return seen[-1]

        async def fallen() -> bool:
            return (await look())[0] == 2

        await support.until(fallen, "the new generation is observed")
        probes = operator.pods.probes
        await support.until(lambda: operator.pods.probes >= probes + 3, "three looks at the old pod")
        assert (await look())[2] != "True"
        operator.kubelet.hold.clear()

        async def risen() -> bool:
            return (await look())[2] == "True"

        await support.until(risen, "the new pod serves", timeout=20)
        after = {pod["metadata"]["name"] for pod in await cluster.client.list_objects(PODS, namespace)}
        assert after - before
        # Each says of which generation it is, all conditions in one write with it.
        assert {one == other for one, other, _ in seen} == {True}
        assert next(status for number, _, status in seen if number == 2) != "True"


async def test_o02_o23_o25_only_status_and_finalizer_of_users_objects_are_written_and_nothing_is_lost(
    plane: ControlPlane, cluster: support.Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """O2: what is written is what is read back. O25: no spec. O23: no value of a Secret in any of it."""
    namespace = await cluster.namespace()
    caplog.set_level(logging.DEBUG)
    token = "model-token-that-is-secret"
    key = {"name": "model", "key": "token"}
    model = {"provider": "openai", "name": "small", "baseURL": "http://model/v1", "apiKeySecretRef": key}
    wanted: dict[tuple[str, str], Any] = {}
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        await cluster.apply(m.secret(namespace, "model", token=token))
        await everything(cluster, namespace)
        await trouble(cluster, namespace)
        await cluster.apply(m.agent(namespace, "keyed", model=model))
        await cluster.until_condition(AGENTS, namespace, "keyed", "Ready", "True")
        for resource in OUR_KINDS:
            for item in await cluster.client.list_objects(resource, namespace):
                wanted[resource.kind, item["metadata"]["name"]] = item["spec"]
        assert operator.process.engine is not None
        # Nothing of a status was stored in another way than it was written.
        assert operator.process.engine._context.status._normalised == {}
    texts: dict[str, str] = {"logs": "\n".join(f"{r.getMessage()} {r.__dict__}" for r in caplog.records)}
    for resource in OUR_KINDS:
        items = (await cluster.client.request("GET", resource.path(namespace)))["items"]
        assert items
        for item in items:
            texts[f"{resource.kind} {item['metadata']['name']}"] = json.dumps(item)
            assert item["spec"] == wanted[resource.kind, item["metadata"]["name"]]
            for entry in item["metadata"]["managedFields"]:
                if entry["manager"] != FIELD_MANAGER or entry.get("subresource") == "status":
                    continue
                assert resource is SESSION_BACKENDS
                assert set(entry["fieldsV1"]) == {"f:metadata"}
                assert set(entry["fieldsV1"]["f:metadata"]) <= {"f:finalizers"}
    for resource in (*(each for each in CHILD_KINDS if each is not SECRETS), EVENTS, PODS):
        for item in await cluster.client.list_objects(resource, namespace):
            texts[f"{resource.kind} {item['metadata']['name']}"] = json.dumps(item)
    values = {}
    for secret in await cluster.client.list_objects(SECRETS, namespace):
        # Of a Secret only the values may have them: its annotations may not.
        texts[f"Secret {secret['metadata']['name']}"] = json.dumps(secret["metadata"])
        for name, encoded in secret["data"].items():
            text = base64.b64decode(encoded).decode()
            if name in {"tls.key", "ca.key", "token"} or "password" in name:
                # Whole objects that are printed have them so.
                values[f"{secret['metadata']['name']}/{name} (base64)"] = encoded[:200]
            if name in {"tls.key", "ca.key"}:
                values[f"{secret['metadata']['name']}/{name}"] = text.splitlines()[1]
            elif "password" in name or name == "token":
                values[f"{secret['metadata']['name']}/{name}"] = text
    assert len(values) >= 12
    assert token in values.values()
    assert [(where, name) for where, text in texts.items() for name, v in values.items() if v in text] == []


async def test_o03_o13_o14_o27_fifty_looks_at_everything_do_and_say_nothing(
    plane: ControlPlane, cluster: support.Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """O3: no write. O13: one Event per object and reason. O14: no certificate issued. O27: no line."""
    namespace = await cluster.namespace()
    # Refused by the API server, it is tried again with pauses: a write each.
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        await everything(cluster, namespace)
        await trouble(cluster, namespace)
        await cluster.delete(AGENT_RUNTIMES, namespace, "refused")
        await operator.quiet(seconds=1.5)
        engine = operator.process.engine
        assert engine is not None
        before = operator.writes()
        caplog.clear()
        caplog.set_level(logging.INFO)
        kinds = ("AgentRuntime", "Agent", "SessionBackend")

        def looks() -> dict[str, float]:
            return {
                kind: operator.sample("aixgo_operator_reconciles_total", kind=kind) or 0 for kind in kinds
            }

        for _ in range(50):
            seen = looks()
            engine._enqueue_all()
            await support.until(
                lambda seen=seen: all(looks()[kind] > seen[kind] for kind in kinds),  # type: ignore[misc]
                "everything is looked at",
                every=0.01,
            )
        assert operator.writes() == before
        assert [record for record in caplog.records if record.name.startswith("aixgo_operator")] == []
    told = collections.Counter(
        (event["involvedObject"]["kind"], event["involvedObject"]["name"], event["reason"])
        for event in await cluster.client.list_objects(EVENTS, namespace)
        if event["source"].get("component") == FIELD_MANAGER
    )
    failures = ("SecretNotFound", "RuntimeNotFound", "SessionBackendNotFound")
    assert {reason for _, _, reason in told} >= set(failures)
    assert {count for (_, _, reason), count in told.items() if reason in failures} == {1}


@pytest.mark.parametrize("contested", [False, True], ids=["with fields of its own", "with one of ours"])
async def test_o04_another_manager_answers_every_write(
    plane: ControlPlane, cluster: support.Cluster, monkeypatch: pytest.MonkeyPatch, contested: bool
) -> None:
    """O4: whoever touches a child after each of our writes does not make us write without end."""
    namespace = await cluster.namespace()
    apply, answers = ApiServerClient.apply, 0

    async def answered(self: ApiServerClient, manifest: Manifest, *, force: bool = True) -> Manifest:
        nonlocal answers
        stored = await apply(self, manifest, force=force)
        metadata = manifest["metadata"]
        answers += 1
        ours = contested and manifest["kind"] == "ConfigMap"
        change = (
            {"labels": {PART_OF: "else"}} if ours else {"annotations": {"example.org/seen": str(answers)}}
        )
        await cluster.patch(resource_of(manifest), namespace, metadata["name"], {"metadata": change})
        return stored

    monkeypatch.setattr(ApiServerClient, "apply", answered)
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:

        def written() -> int:
            return sum(n for what, n in operator.writes().items() if what.split()[1] != "events")

        await cluster.apply(m.runtime(namespace))
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True", timeout=30)
        if contested:
            # Five seconds of it: without pauses there would be two hundred writes.
            end = time.monotonic() + 5
            await support.until(lambda: time.monotonic() > end, "five seconds", every=0.2)
            assert FREE <= operator.writes()["PATCH configmaps"] <= FREE + 4
        else:
            await operator.quiet(timeout=30)
            before = written()
            probes = operator.pods.probes
            await support.until(lambda: operator.pods.probes >= probes + 3, "three more looks")
            assert written() == before
            assert answers <= 9  # each child once, and the Service or Deployment again at most


async def test_o08_the_garbage_collector_keeps_what_we_own(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    """O8: owners are in the namespace of what they own: what has no owner goes, ours stays."""
    namespace = await cluster.namespace()
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))):
        await everything(cluster, namespace)

        async def uids() -> dict[str, str]:
            return {
                f"{resource.kind} {item['metadata']['name']}": item["metadata"]["uid"]
                for resource in CHILD_KINDS
                for item in await cluster.client.list_objects(resource, namespace, label_selector=OURS)
            }

        before = await uids()
        assert len(before) > 15
        owners = {
            (resource.kind, item["metadata"]["name"]): item["metadata"]["uid"]
            for resource in OUR_KINDS
            for item in await cluster.client.list_objects(resource, namespace)
        }
        for resource in CHILD_KINDS:
            for item in await cluster.client.list_objects(resource, namespace, label_selector=OURS):
                for owner in item["metadata"].get("ownerReferences") or ():
                    assert owners[owner["kind"], owner["name"]] == owner["uid"]
        # One whose owner is in another namespace, as the collector sees it: proof that it is at work.
        other = await cluster.namespace()
        owner = (await cluster.get(AGENT_RUNTIMES, namespace, "runtime"))["metadata"]["uid"]
        reference = {
            "apiVersion": "aixgo.dev/v1alpha1",
            "kind": "AgentRuntime",
            "name": "runtime",
            "uid": owner,
        }
        stray = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "stray", "namespace": other, "ownerReferences": [reference]},
        }
        await cluster.client.create(stray)

        async def collected() -> bool:
            return await cluster.client.get(CONFIG_MAPS, other, "stray") is None

        await support.until(collected, "the collector takes what has no owner", timeout=60)
        assert await uids() == before


async def test_o20_what_happens_while_watches_are_cut_is_noticed(
    plane: ControlPlane, cluster: support.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """O20: streams that stall and are dropped; nothing is read again meanwhile but by new watches."""
    namespace = await cluster.namespace()
    async with TcpProxy(plane.url) as proxy:
        watch_through(proxy, monkeypatch)
        chosen = support.settings(
            namespace, (namespace,), resync_seconds=600.0, steady_probe_interval_seconds=600.0
        )
        monkeypatch.setattr("aixgo_operator.reconcile.engine._FIRST_RESYNC", 600.0)
        async with support.running(plane, cluster, chosen) as operator:
            await everything(cluster, namespace)
            await operator.quiet()
            for number in range(2):
                proxy.cut()
                await cluster.patch(
                    AGENTS, namespace, "assistant", {"spec": {"prompt": f"Version {number}."}}
                )
                proxy.heal()
                await _until_prompt(cluster, namespace, f"Version {number}.")
            assert operator.process._problems() == []


async def _until_prompt(cluster: support.Cluster, namespace: str, prompt: str) -> None:
    async def there() -> bool:
        found = await cluster.get(CONFIG_MAPS, namespace, "runtime-config")
        return prompt in found["data"]["runtime.json"]

    await support.until(there, f"{prompt!r} is in the configuration", timeout=40)


async def test_o24_replicas_belong_to_the_autoscaler(plane: ControlPlane, cluster: support.Cluster) -> None:
    """O24: with an HPA, or after another manager has scaled the Deployment, no write sets replicas back."""
    namespace = await cluster.namespace()
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        await cluster.apply(m.runtime(namespace, autoscaling={"minReplicas": 1, "maxReplicas": 5}))
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True", timeout=30)
        target = (await cluster.get(AUTOSCALERS, namespace, "runtime"))["spec"]["scaleTargetRef"]
        assert target["kind"] == "AgentRuntime"
        # What its autoscaler does, through the /scale of the AgentRuntime.
        await _scale(cluster, AGENT_RUNTIMES, namespace, 3)
        await support.until(_replicas(cluster, namespace, 3), "the runtime has three", timeout=20)
        await cluster.apply(m.runtime(namespace, "other"))
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "other", "Ready", "True", timeout=30)
        await _scale(cluster, DEPLOYMENTS, namespace, 4, "other")
        for name, autoscaling in (("runtime", {"minReplicas": 1, "maxReplicas": 6}), ("other", None)):
            spec: dict[str, Any] = {"image": "example.org/runtime:2"}
            await cluster.apply(
                m.runtime(namespace, name, **spec, **({"autoscaling": autoscaling} if autoscaling else {}))
            )
            await support.until(
                _image(cluster, namespace, name, "example.org/runtime:2"), "it rolls", timeout=20
            )
        await operator.quiet(timeout=40)
        assert await _replicas(cluster, namespace, 3)()
        assert await _replicas(cluster, namespace, 4, "other")()


async def _scale(
    cluster: support.Cluster, resource: Any, namespace: str, replicas: int, name: str = "runtime"
) -> None:
    await cluster.patch(resource, namespace, name, {"spec": {"replicas": replicas}}, "scale")


def _replicas(
    cluster: support.Cluster, namespace: str, number: int, name: str = "runtime"
) -> Callable[[], Any]:
    async def there() -> bool:
        return bool((await cluster.get(DEPLOYMENTS, namespace, name))["spec"]["replicas"] == number)

    return there


def _image(cluster: support.Cluster, namespace: str, name: str, image: str) -> Callable[[], Any]:
    async def there() -> bool:
        spec = (await cluster.get(DEPLOYMENTS, namespace, name))["spec"]["template"]["spec"]
        return bool(spec["containers"][0]["image"] == image)

    return there
