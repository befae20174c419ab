"""What the operator owns stays as it wants it; what it does not own stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support import manifests as m
from tests.support import operator as support

from aixgo_operator.api.constants import FINALIZER_SESSION_PROTECTION
from aixgo_operator.kube.resources import (
    AGENT_RUNTIMES,
    AGENTS,
    BUDGETS,
    CLAIMS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    PODS,
    SECRETS,
    SERVICES,
    SESSION_BACKENDS,
)
from aixgo_operator.reconcile.status import condition, is_ready

if TYPE_CHECKING:
    from tests.support.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.apiserver


async def test_drift_is_repaired_and_foreign_fields_stay(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    """O5: deleted and edited children come back, fields of others stay."""
    namespace = await cluster.namespace()
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        await cluster.apply(m.runtime(namespace, replicas=2))
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")
        await operator.quiet()

        # Deleted children come back.
        for resource, name in (
            (SERVICES, "runtime-pods"),
            (BUDGETS, "runtime"),
            (CONFIG_MAPS, "runtime-config"),
        ):
            old = (await cluster.get(resource, namespace, name))["metadata"]["uid"]
            await cluster.delete(resource, namespace, name)

            async def back(resource=resource, name=name, old=old) -> bool:  # type: ignore[no-untyped-def]
                found = await cluster.client.get(resource, namespace, name)
                return found is not None and found["metadata"]["uid"] != old

            await support.until(back, f"{resource.kind} {name} is back")

        # Edited fields come back; what others added stays.
        before = await cluster.get(DEPLOYMENTS, namespace, "runtime")
        image = before["spec"]["template"]["spec"]["containers"][0]["image"]
        await cluster.patch(
            SERVICES,
            namespace,
            "runtime",
            {"metadata": {"labels": {"team": "blue"}}, "spec": {"selector": {"aixgo.dev/runtime": "other"}}},
        )
        await cluster.patch(
            DEPLOYMENTS,
            namespace,
            "runtime",
            {"spec": {"template": {"spec": {"automountServiceAccountToken": True}}}},
        )
        container: dict[str, Any] = {"name": "runtime", "image": "example.org/other:1"}
        container["env"] = [{"name": "THEIRS", "value": "1"}]
        template = {"template": {"spec": {"containers": [container]}}}
        theirs = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": template}
        metadata = {"name": "runtime", "namespace": namespace}
        await cluster.apply({**theirs, "metadata": metadata}, manager="mesh")

        async def repaired() -> bool:
            service = await cluster.get(SERVICES, namespace, "runtime")
            deployment = await cluster.get(DEPLOYMENTS, namespace, "runtime")
            pod = deployment["spec"]["template"]["spec"]
            return (
                pod["containers"][0]["image"] == image
                and service["spec"]["selector"]["aixgo.dev/runtime"] == "runtime"
                and pod["automountServiceAccountToken"] is False
            )

        await support.until(repaired, "both edits are repaired")
        service = await cluster.get(SERVICES, namespace, "runtime")
        assert service["metadata"]["labels"]["team"] == "blue"
        deployment = await cluster.get(DEPLOYMENTS, namespace, "runtime")
        env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        assert {"name": "THEIRS", "value": "1"} in env
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")


async def test_removed_wishes_are_pruned_and_other_objects_are_not(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    """O6: what is not wanted any more goes; an object with our labels and another owner stays."""
    namespace = await cluster.namespace()
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))):
        clients = [{"name": "ci"}, {"name": "bob"}]
        more: dict[str, Any] = {"grpc": {"port": 6000}, "nodeSelector": {"disk": "ssd"}}
        await cluster.apply(m.runtime(namespace, replicas=2, clients=clients, **more))
        bystander = m.secret(namespace, "bystander", a="b")
        bystander["metadata"]["labels"] = {
            "app.kubernetes.io/managed-by": "aixgo-operator",
            "aixgo.dev/runtime": "runtime",
        }
        await cluster.apply(bystander)
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")
        await cluster.get(SECRETS, namespace, "runtime-client-bob")
        await cluster.get(BUDGETS, namespace, "runtime")

        await cluster.apply(m.runtime(namespace, clients=[{"name": "ci"}]))

        async def pruned() -> bool:
            bob = await cluster.client.get(SECRETS, namespace, "runtime-client-bob")
            return bob is None and await cluster.client.get(BUDGETS, namespace, "runtime") is None

        await support.until(pruned, "bob's certificate and the budget are gone")

        async def dropped() -> bool:
            service = await cluster.get(SERVICES, namespace, "runtime")
            pod = (await cluster.get(DEPLOYMENTS, namespace, "runtime"))["spec"]["template"]["spec"]
            return service["spec"]["ports"][0]["port"] == 50051 and "nodeSelector" not in pod

        await support.until(dropped, "fields that nobody wants any more are gone")
        await cluster.get(SECRETS, namespace, "runtime-client-ci")
        await cluster.get(SECRETS, namespace, "bystander")


async def test_an_object_of_somebody_else_is_never_adopted(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    namespace = await cluster.namespace()
    theirs = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "runtime-config", "namespace": namespace},
        "data": {"mine": "yes"},
    }
    await cluster.apply(theirs)
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        await cluster.apply(m.runtime(namespace))
        condition = await cluster.until_condition(
            AGENT_RUNTIMES, namespace, "runtime", "Accepted", "False", "NameConflict"
        )
        assert "runtime-config" in condition["message"]
        found = await cluster.get(CONFIG_MAPS, namespace, "runtime-config")
        assert found["data"] == {"mine": "yes"}
        assert not found["metadata"].get("ownerReferences")
        ready = await cluster.condition(AGENT_RUNTIMES, namespace, "runtime", "Ready")
        assert ready["status"] == "False"
        await operator.quiet(seconds=2.0)

        await cluster.delete(CONFIG_MAPS, namespace, "runtime-config")
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")


async def test_a_restarted_operator_writes_nothing(plane: ControlPlane, cluster: support.Cluster) -> None:
    """O14: no certificate is issued anew. O3: nothing else either."""
    namespace = await cluster.namespace()
    chosen = support.settings(namespace, (namespace,))
    async with support.running(plane, cluster, chosen) as first:
        await cluster.apply(m.managed_redis(namespace))
        await cluster.apply(
            m.runtime(namespace, sessionBackendRef={"name": "sessions"}, replicas=2, clients=[{"name": "ci"}])
        )
        await cluster.apply(m.agent(namespace))
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")
        await cluster.until_condition(AGENTS, namespace, "assistant", "Ready", "True")
        await first.quiet()
    async with support.running(plane, cluster, chosen) as second:
        await support.until(lambda: second.pods.probes >= 6, "three looks at both pods")
        assert second.writes() == {}


async def test_changes_of_content_reach_pods_without_a_restart(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    namespace = await cluster.namespace()
    key = {"name": "model", "key": "token"}
    model = {"provider": "openai", "name": "small", "baseURL": "http://model/v1", "apiKeySecretRef": key}
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        await cluster.apply(m.secret(namespace, "model", token="one"))
        await cluster.apply(m.agent(namespace, model=model))
        # So that the runtime's first configuration has it.
        await cluster.until_condition(
            AGENTS, namespace, "assistant", "ResolvedRefs", "False", "RuntimeNotFound"
        )
        await cluster.apply(m.runtime(namespace))
        await cluster.until_condition(AGENTS, namespace, "assistant", "Ready", "True")
        await operator.quiet()

        async def pod() -> tuple[str, str | None]:
            (found,) = await cluster.client.list_objects(PODS, namespace)
            return found["metadata"]["uid"], found["metadata"]["annotations"].get("aixgo.dev/synced")

        async def changed_from(old: tuple[str, str | None]) -> bool:
            return (await pod())[1] != old[1]

        # Everything that it mounts was there before it was: there is nothing to tell it.
        assert (await pod())[1] is None

        for change in (
            m.secret(namespace, "model", token="two"),
            m.agent(namespace, model=model, prompt="Rhyme."),
        ):
            before = await pod()
            await cluster.apply(change)
            await support.until(lambda before=before: changed_from(before), "the pod is told")  # type: ignore[misc]
            assert (await pod())[0] == before[0]

        async def loaded() -> bool:
            status = (await cluster.get(AGENTS, namespace, "assistant"))["status"]
            ready = condition(status, "Ready")
            return bool(status["observedGeneration"] == 2 == ready["observedGeneration"] and is_ready(status))

        await support.until(loaded, "the agent is ready with its new prompt")

        # A later pod, too: its Deployment was there before the changes.
        await cluster.patch(AGENT_RUNTIMES, namespace, "runtime", {"spec": {"replicas": 2}})

        async def told() -> bool:
            pods = await cluster.client.list_objects(PODS, namespace)
            words = [each["metadata"].get("annotations", {}).get("aixgo.dev/synced") for each in pods]
            return len(words) == 2 and None not in words and len(set(words)) == 1

        await support.until(told, "both pods are told of the same state")


async def test_a_backend_in_use_is_not_deleted(plane: ControlPlane, cluster: support.Cluster) -> None:
    namespace = await cluster.namespace()
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))):
        await cluster.apply(m.managed_redis(namespace))
        await cluster.apply(m.runtime(namespace, sessionBackendRef={"name": "sessions"}))
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")
        stored = await cluster.get(SESSION_BACKENDS, namespace, "sessions")
        assert stored["metadata"]["finalizers"] == [FINALIZER_SESSION_PROTECTION]

        await cluster.delete(SESSION_BACKENDS, namespace, "sessions")
        blocked = await cluster.until_condition(
            SESSION_BACKENDS, namespace, "sessions", "InUse", "True", "DeletionBlocked"
        )
        assert f"{namespace}/runtime" in blocked["message"]

        await cluster.delete(AGENT_RUNTIMES, namespace, "runtime")

        async def gone() -> bool:
            return await cluster.client.get(SESSION_BACKENDS, namespace, "sessions") is None

        await support.until(gone, "the backend is deleted when its consumer is")
        # Retain: the data outlives its backend, and a new one of the name takes it over.
        claim = await cluster.get(CLAIMS, namespace, "sessions-redis")
        await cluster.apply(m.managed_redis(namespace))
        await cluster.until_condition(SESSION_BACKENDS, namespace, "sessions", "Ready", "True")
        kept = await cluster.get(CLAIMS, namespace, "sessions-redis")
        assert kept["metadata"]["uid"] == claim["metadata"]["uid"]
