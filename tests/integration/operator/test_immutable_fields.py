"""Fields that never change once an object exists: repaired where nobody loses anything, else told."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import manifests as m
from tests.support import operator as support

from aixgo_operator.kube.resources import (
    AGENT_RUNTIMES,
    CLAIMS,
    DEPLOYMENTS,
    PODS,
    SECRETS,
    SESSION_BACKENDS,
    STATEFUL_SETS,
    Resource,
)

if TYPE_CHECKING:
    from tests.support.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.apiserver


async def orphan(cluster: support.Cluster, resource: Resource, namespace: str, name: str) -> dict[str, Any]:
    """Delete an object without what it controls; return what may be made of it again."""
    found = await cluster.get(resource, namespace, name)
    body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Orphan"}
    await cluster.client.request("DELETE", resource.path(namespace, name), body=body)

    async def gone() -> bool:
        return await cluster.client.get(resource, namespace, name) is None

    await support.until(gone, f"{resource.kind} {name} is gone")
    kept = ("name", "namespace", "labels", "annotations", "ownerReferences")
    metadata = {key: value for key, value in found["metadata"].items() if key in kept}
    return {key: found[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": metadata}


async def only_pod(cluster: support.Cluster, namespace: str) -> str:
    (found,) = await cluster.client.list_objects(PODS, namespace)
    return str(found["metadata"]["uid"])


async def test_a_stateful_set_is_made_anew_around_its_pod_and_its_volume(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    namespace = await cluster.namespace()
    chosen = support.settings(namespace, (namespace,))
    async with support.running(plane, cluster, chosen):
        await cluster.apply(m.managed_redis(namespace))
        await cluster.until_condition(SESSION_BACKENDS, namespace, "sessions", "Ready", "True")
    pod = await only_pod(cluster, namespace)
    claim = (await cluster.get(CLAIMS, namespace, "sessions-redis"))["metadata"]["uid"]
    # As an older operator may have made it.
    old = await orphan(cluster, STATEFUL_SETS, namespace, "sessions-redis")
    old["spec"]["serviceName"] = "elsewhere"
    old["spec"]["podManagementPolicy"] = "OrderedReady"
    await cluster.client.create(old)

    async with support.running(plane, cluster, chosen) as operator:

        async def repaired() -> bool:
            found = await cluster.client.get(STATEFUL_SETS, namespace, "sessions-redis")
            return bool(found and found["spec"]["serviceName"] == "sessions-redis")

        await support.until(repaired, "the StatefulSet has its own Service again")
        await cluster.until_condition(SESSION_BACKENDS, namespace, "sessions", "Ready", "True")
        await operator.quiet()
        assert await only_pod(cluster, namespace) == pod
        assert (await cluster.get(CLAIMS, namespace, "sessions-redis"))["metadata"]["uid"] == claim


async def test_a_secret_that_was_made_immutable_is_made_anew(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    namespace = await cluster.namespace()
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))) as operator:
        await cluster.apply(m.managed_redis(namespace))
        await cluster.until_condition(SESSION_BACKENDS, namespace, "sessions", "Ready", "True")
        await operator.quiet()
        before = await cluster.get(SECRETS, namespace, "sessions-redis-auth")
        broken = {"immutable": True, "data": {"users.acl": "bm9ib2R5"}}
        await cluster.patch(SECRETS, namespace, "sessions-redis-auth", broken)

        async def repaired() -> bool:
            found = await cluster.client.get(SECRETS, namespace, "sessions-redis-auth")
            return bool(found and found["data"] == before["data"] and not found.get("immutable"))

        await support.until(repaired, "the same users and passwords in a new Secret")
        await cluster.until_condition(SESSION_BACKENDS, namespace, "sessions", "Ready", "True")


async def test_a_selector_never_changes_and_holds_nothing_else_up(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    """O7: a 422 is a condition, and tried again with pauses."""
    namespace = await cluster.namespace()
    chosen = support.settings(namespace, (namespace,))
    async with support.running(plane, cluster, chosen):
        await cluster.apply(m.runtime(namespace))
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")
    other = copy.deepcopy(await orphan(cluster, DEPLOYMENTS, namespace, "runtime"))
    label = "app.kubernetes.io/component"
    other["spec"]["selector"]["matchLabels"][label] = "other"
    other["spec"]["template"]["metadata"]["labels"][label] = "other"
    made = await cluster.client.create(other)

    async with support.running(plane, cluster, chosen) as operator:
        told = await cluster.until_condition(
            AGENT_RUNTIMES, namespace, "runtime", "Degraded", "True", "ReconcileError"
        )
        assert f"Deployment {namespace}/runtime is refused" in told["message"]
        assert "spec.selector" in told["message"]
        assert "delete the Deployment" in told["message"]
        stalled = await cluster.condition(AGENT_RUNTIMES, namespace, "runtime", "Stalled")
        assert stalled["status"] == "True"
        before = operator.writes()["PATCH deployments"]
        await cluster.apply(m.runtime(namespace, clients=[{"name": "ci"}]))

        async def issued() -> bool:
            return await cluster.client.get(SECRETS, namespace, "runtime-client-ci") is not None

        await support.until(issued, "a client's certificate although the Deployment is refused")
        await operator.quiet(seconds=1.5)
        assert operator.writes()["PATCH deployments"] - before <= 6
        kept = await cluster.get(DEPLOYMENTS, namespace, "runtime")
        assert kept["metadata"]["uid"] == made["metadata"]["uid"]

        await cluster.delete(DEPLOYMENTS, namespace, "runtime")
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")
        assert not await cluster.condition(AGENT_RUNTIMES, namespace, "runtime", "Stalled")


async def test_a_volume_that_cannot_shrink_is_told_and_certificates_go_on(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    namespace = await cluster.namespace()
    async with support.running(plane, cluster, support.settings(namespace, (namespace,))):
        await cluster.apply(m.managed_redis(namespace, redis={"managed": {"storage": "2Gi"}}))
        await cluster.until_condition(SESSION_BACKENDS, namespace, "sessions", "Ready", "True")
        claim = await cluster.get(CLAIMS, namespace, "sessions-redis")
        first = (await cluster.get(SECRETS, namespace, "sessions-redis-tls"))["data"]["tls.crt"]

        await cluster.apply(m.managed_redis(namespace, redis={"managed": {"storage": "1Gi"}}))
        told = await cluster.until_condition(
            SESSION_BACKENDS, namespace, "sessions", "Degraded", "True", "ReconcileError"
        )
        assert f"PersistentVolumeClaim {namespace}/sessions-redis is refused" in told["message"]
        assert "put the old value back" in told["message"]
        kept = await cluster.get(CLAIMS, namespace, "sessions-redis")
        assert kept["metadata"]["uid"] == claim["metadata"]["uid"]
        await cluster.delete(SECRETS, namespace, "sessions-redis-tls")

        async def renewed() -> bool:
            found = await cluster.client.get(SECRETS, namespace, "sessions-redis-tls")
            return bool(found and found["data"]["tls.crt"] != first)

        await support.until(renewed, "a new certificate although the volume is refused")
        await cluster.apply(m.managed_redis(namespace, redis={"managed": {"storage": "2Gi"}}))
        await cluster.until_condition(SESSION_BACKENDS, namespace, "sessions", "Ready", "True")
