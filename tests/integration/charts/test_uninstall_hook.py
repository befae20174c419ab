"""`helm uninstall` while everything is in use: the hook runs, as a process with the rights of its account.

The operator runs in the test's process; its Deployment is scaled by the hook, and the operator ends as its
pods would.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import manifests as m
from tests.support import operator as support
from tests.support.audit import account, requests_of
from tests.support.charts import CHARTS, NAMESPACE, Helm, operator_settings
from tests.support.hook_pods import uninstall
from tests.support.kubelet import FakeRedis, Kubelet
from tests.support.rights import permissions

from aixgo_operator.api.constants import FINALIZER_SESSION_PROTECTION, LEASE_NAME
from aixgo_operator.kube.resources import (
    AGENT_RUNTIMES,
    AGENTS,
    DEPLOYMENTS,
    LEASES,
    PODS,
    SESSION_BACKENDS,
)
from aixgo_operator.probe.redis_info import ProbeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.audit import Request
    from tests.support.cluster.control_plane import ControlPlane

    from aixgo_operator.kube.client import ApiServerClient
    from aixgo_operator.probe.redis_info import RedisEndpoint

pytestmark = pytest.mark.apiserver

CHART = str(CHARTS / "aixgo-operator")
RELEASE = "aixgo-operator"
HOOK = "aixgo-operator-uninstall"
GONE = "gone.example:6379"
SLOW = "slow.example:6379"


class Redis(FakeRedis):
    """One of the servers does not answer, another one not before the hook has looked at the backends."""

    def __init__(self, client: ApiServerClient, audit_log: Path) -> None:
        super().__init__(client)
        self._audit_log = audit_log
        self._began = datetime.now(UTC)

    def requests_of_the_hook(self) -> list[Request]:
        """Return what this hook has asked; those of earlier tests had the same name."""
        found = requests_of(self._audit_log, account(NAMESPACE, HOOK))
        return [each for each in found if each.received >= self._began]

    async def purge(self, endpoint: RedisEndpoint, prefix: str, *, limit: int) -> int:
        if endpoint.addresses == (GONE,):
            raise ProbeError("no answer")
        looked = any(each.resource == "sessionbackends" for each in self.requests_of_the_hook())
        if endpoint.addresses == (SLOW,) and not looked:
            raise ProbeError("not yet")
        return await super().purge(endpoint, prefix, limit=limit)


@pytest.fixture(scope="module")
def definitions(plane: ControlPlane) -> Iterator[None]:
    support.crds_ready(plane)
    yield
    plane.kubectl("delete", "-f", "crds", "--wait")


@pytest.fixture
async def cluster(plane: ControlPlane, definitions: None) -> AsyncIterator[support.Cluster]:
    async with support.connected(plane) as connected:
        yield connected
        await connected.leave("team-a", "team-b")


def external(namespace: str, name: str, address: str) -> dict[str, Any]:
    where = {"addresses": [address], "tls": {"mode": "Disabled"}}
    return m.managed_redis(namespace, name, redis=where, deletionPolicy="Delete")


@contextlib.asynccontextmanager
async def ends_when_scaled_down(cluster: support.Cluster, operator: support.Operator) -> AsyncIterator[None]:
    async def watch() -> None:
        async def stopped() -> bool:
            found = await cluster.client.get(DEPLOYMENTS, NAMESPACE, "aixgo-operator")
            return found is not None and found["spec"]["replicas"] == 0

        await support.until(stopped, "the Deployment is scaled down", timeout=90, every=0.2)
        operator.process.stop()

    watching = asyncio.create_task(watch())
    try:
        yield
        await watching
    finally:
        watching.cancel()


async def finalizers(cluster: support.Cluster, namespace: str, name: str) -> list[str]:
    found = await cluster.get(SESSION_BACKENDS, namespace, name)
    return list(found["metadata"].get("finalizers") or ())


@pytest.mark.parametrize("namespaces", [(), ("team-a", "team-b")], ids=["cluster-wide", "namespaced"])
async def test_an_uninstall_leaves_nothing_that_only_the_operator_could_remove(
    helm: Helm, cluster: support.Cluster, tmp_path: Path, namespaces: tuple[str, ...]
) -> None:
    """O9: operator first, with backends that are used, being deleted, and impossible to purge."""
    plane = helm.plane
    values: dict[str, Any] = {
        "watchNamespaces": list(namespaces),
        "uninstallHook": {"waitSeconds": 8},
        "settings": {"probeIntervalSeconds": 0.3, "steadyProbeIntervalSeconds": 1.0},
    }
    await asyncio.to_thread(
        helm, "install", RELEASE, CHART, "--namespace", NAMESPACE, "--no-hooks", values=values
    )
    chosen = operator_settings(helm.render(values=values))
    async with Kubelet(cluster.client) as kubelet:
        assert plane.audit_log is not None
        backends = Redis(cluster.client, plane.audit_log)
        async with support.running(plane, cluster, chosen, kubelet=kubelet, backends=backends) as operator:
            await cluster.apply(m.managed_redis("team-a"))
            await cluster.apply(m.runtime("team-a", sessionBackendRef={"name": "sessions"}))
            await cluster.apply(m.agent("team-a"))
            await cluster.apply(external("team-b", "idle", "redis.example:6379"))
            await cluster.apply(external("team-b", "stuck", GONE))
            await cluster.apply(external("team-b", "going", SLOW))
            await cluster.until_condition(AGENTS, "team-a", "assistant", "Ready", "True", timeout=40)
            for name in ("idle", "stuck", "going"):
                await cluster.until_condition(SESSION_BACKENDS, "team-b", name, "Ready", "True", timeout=20)
            assert await finalizers(cluster, "team-b", "idle") == [FINALIZER_SESSION_PROTECTION]
            assert await finalizers(cluster, "team-a", "sessions") == [FINALIZER_SESSION_PROTECTION]
            other = {"metadata": {"finalizers": [FINALIZER_SESSION_PROTECTION, "example.org/other"]}}
            await cluster.patch(SESSION_BACKENDS, "team-b", "idle", other)
            for name in ("stuck", "going"):
                await cluster.delete(SESSION_BACKENDS, "team-b", name)
            async with ends_when_scaled_down(cluster, operator):
                (result,) = await asyncio.to_thread(uninstall, helm, RELEASE, NAMESPACE, tmp_path)
        assert (result.code, result.stderr.count("error")) == (0, 0), result
        said = result.stdout
        assert "SessionBackend team-a/sessions: released\n" in said
        assert "SessionBackend team-b/idle: released\n" in said
        assert "SessionBackend team-b/stuck: released; its keys stay in Redis\n" in said
        # The operator itself purged what could be purged, and the hook let it.
        assert "going: released" not in said
        assert [prefix for prefix in backends.purged if "team-b" in prefix]
        assert await cluster.client.get(SESSION_BACKENDS, "team-b", "stuck") is None
        assert await cluster.client.get(SESSION_BACKENDS, "team-b", "going") is None
        assert await finalizers(cluster, "team-a", "sessions") == []
        # Finalizers of others are theirs.
        assert await finalizers(cluster, "team-b", "idle") == ["example.org/other"]
        nothing = {"metadata": {"finalizers": None}}
        await cluster.patch(SESSION_BACKENDS, "team-b", "idle", nothing)

        # What serves goes on without the operator; nothing of the release or its hook is left.
        assert [pod for pod in await cluster.client.list_objects(PODS, "team-a") if _runs(pod)]
        left = plane.kubectl(
            *("get", "deployment,job,role,rolebinding,serviceaccount,configmap,lease,clusterrole"),
            *("-A", "-o", "name"),
        )
        assert [line for line in left.split() if "aixgo-operator" in line] == []

        # Exactly the rights it needs. The Lease was there, so it did not have to be made.
        requests = backends.requests_of_the_hook()
        assert [each for each in requests if not each.allowed] == []
        unused = {
            each
            for each in permissions(helm.hooks(values=values))
            if not any(each.covers(request) for request in requests)
        }
        assert {(each.resource, each.verb) for each in unused} == {("leases", "create")}

        # Back again, it protects what it finds; then everything can be deleted.
        async with support.running(plane, cluster, chosen, kubelet=kubelet, backends=backends):

            async def protected() -> bool:
                return await finalizers(cluster, "team-a", "sessions") == [FINALIZER_SESSION_PROTECTION]

            await support.until(protected, "the operator that came back protects the backend", timeout=20)
            await cluster.remove_all("team-a")
            await cluster.remove_all("team-b")

            async def gone() -> bool:
                found = await cluster.client.list_objects(SESSION_BACKENDS)
                return not found

            await support.until(gone, "nothing is left", timeout=30)
        # That one made a Lease, which would be in the way of the next release.
        await cluster.delete(LEASES, NAMESPACE, LEASE_NAME)


async def test_after_an_uninstall_everything_can_be_deleted(
    helm: Helm, cluster: support.Cluster, tmp_path: Path
) -> None:
    """O9: also where the operator was dead already, its Lease with it; and volumes go or stay as ever."""
    plane = helm.plane
    team = await cluster.namespace("team")
    await asyncio.to_thread(helm, "install", RELEASE, CHART, "--namespace", NAMESPACE, "--no-hooks")
    chosen = operator_settings(helm.render())
    async with Kubelet(cluster.client) as kubelet:
        async with support.running(plane, cluster, chosen, kubelet=kubelet):
            for name, policy in (("keeps", "Retain"), ("deletes", "Delete")):
                await cluster.apply(m.managed_redis(team, name, deletionPolicy=policy))
                await cluster.apply(m.runtime(team, name, sessionBackendRef={"name": name}))
                await cluster.until_condition(AGENT_RUNTIMES, team, name, "Accepted", "True", timeout=20)
                await cluster.until_condition(SESSION_BACKENDS, team, name, "Ready", "True", timeout=20)
        await cluster.delete(LEASES, NAMESPACE, LEASE_NAME)
        await asyncio.to_thread(uninstall, helm, RELEASE, NAMESPACE, tmp_path)
        requests = requests_of(plane.audit_log, account(NAMESPACE, HOOK))  # type: ignore[arg-type]
        assert any((each.resource, each.verb) == ("leases", "create") for each in requests)
        plane.kubectl("delete", "namespace", team, "--wait=false")

        async def gone() -> bool:
            return plane.kubectl("get", "namespace", team, "--ignore-not-found") == ""

        await support.until(gone, "the namespace is gone", timeout=60, every=0.5)


def test_the_hook_can_be_switched_off(helm: Helm) -> None:
    assert helm.hooks()
    assert not helm.hooks("--set", "uninstallHook.enabled=false")


def _runs(pod: dict[str, Any]) -> bool:
    return pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
