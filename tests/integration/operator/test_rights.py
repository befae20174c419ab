"""The chart's rights, proved by the API server's audit log: all of them are used, and none is missing.

An operator with the chart's ServiceAccount walks through creating, repairing, changing, rotating and deleting
everything that it handles. The Certificate kind is a CRD without cert-manager: rights need no more.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.support import cert_manager
from tests.support import manifests as m
from tests.support import operator as support
from tests.support.audit import account, requests_of
from tests.support.operator_process import account_kubeconfig, chart, chart_settings
from tests.support.rights import Permission, permissions
from tests.support.split_client import watch_through
from tests.support.tcp_proxy import TcpProxy

from aixgo_operator.domain.settings import OperatorSettings
from aixgo_operator.kube.resources import (
    AGENT_RUNTIMES,
    AGENTS,
    CERTIFICATES,
    CHILD_KINDS,
    CLAIMS,
    CONFIG_MAPS,
    LEASES,
    PODS,
    SECRETS,
    SESSION_BACKENDS,
    STATEFUL_SETS,
    Resource,
    resource_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.apiserver

OURS = "app.kubernetes.io/managed-by=aixgo-operator"
PART_OF = "app.kubernetes.io/part-of"


@pytest.fixture
def certificates(plane: ControlPlane) -> Iterator[None]:
    cert_manager.install(plane)
    yield
    cert_manager.uninstall(plane)


@dataclass
class Walk:
    """A user who makes the operator do everything."""

    cluster: support.Cluster
    operator: support.Operator
    proxy: TcpProxy
    own: str
    team: str

    async def everything(self) -> None:
        await self.create()
        await self.repair()
        await self.repair_unseen()
        await self.replace()
        await self.lose_the_lease_object()
        await self.prune()
        await self.give_the_volume_an_owner()
        await self.rotate()
        await self.delete_unseen()
        await self.delete()

    async def create(self) -> None:
        team, apply = self.team, self.cluster.apply
        await apply(m.secret(team, "prompt", text="Be brief."))
        await apply(m.managed_redis(team))
        await apply(m.file_backend(team, "files"))
        elsewhere = {"replicationRef": {"name": "no-such"}}
        await apply(m.managed_redis(team, "elsewhere", redis=elsewhere))
        everything: dict[str, Any] = {
            "sessionBackendRef": {"name": "sessions"},
            "clients": [{"name": "ci"}],
            "autoscaling": {"minReplicas": 2, "maxReplicas": 3},
        }
        await apply(m.runtime(team, **everything))
        await apply(m.runtime(team, "filed", sessionBackendRef={"name": "files"}))
        issuer = {"mode": "Mutual", "issuerRef": {"name": "corporate", "kind": "ClusterIssuer"}}
        await apply(m.runtime(team, "issued", tls=issuer))
        agent = m.agent(team, promptFrom={"secretKeyRef": {"name": "prompt", "key": "text"}})
        del agent["spec"]["prompt"]
        await apply(agent)
        await self._ready(AGENT_RUNTIMES, "runtime")
        await self._ready(AGENT_RUNTIMES, "filed")
        await self._ready(SESSION_BACKENDS, "sessions")
        await self._until_exists(CERTIFICATES, "issued-tls")

    async def repair(self) -> None:
        """Someone edits one object of each kind."""
        for resource in (*CHILD_KINDS, CERTIFICATES):
            items = await self.cluster.client.list_objects(resource, self.team, label_selector=OURS)
            assert items, resource.kind
            name = items[0]["metadata"]["name"]
            body = {"metadata": {"labels": {PART_OF: "else"}}}
            await self.cluster.patch(resource, self.team, name, body)

            async def repaired(resource: Resource = resource, name: str = name) -> bool:
                found = await self.cluster.get(resource, self.team, name)
                return bool(found["metadata"]["labels"][PART_OF] == "aixgo")

            await support.until(repaired, f"{resource.kind} {name} is repaired", timeout=20)

    async def repair_unseen(self) -> None:
        """Someone deletes one object of each kind while the watches tell nothing: each is asked for."""
        self.proxy.cut()
        gone = []
        for resource in (*CHILD_KINDS, CERTIFICATES):
            items = await self.cluster.client.list_objects(resource, self.team, label_selector=OURS)
            gone.append(items[0])
            await self.cluster.delete(resource, self.team, items[0]["metadata"]["name"])
        for item in gone:
            await self._until_new(resource_of(item), item)
        self.proxy.heal()

    async def replace(self) -> None:
        """What cannot be changed is made anew."""
        before = await self.cluster.get(CONFIG_MAPS, self.team, "runtime-config")
        await self.cluster.patch(CONFIG_MAPS, self.team, "runtime-config", {"immutable": True})
        await self.cluster.patch(SECRETS, self.team, "prompt", {"stringData": {"text": "Be long."}})
        await self.cluster.patch(AGENTS, self.team, "assistant", {"spec": {"description": "It changes."}})
        await self._until_new(CONFIG_MAPS, before)
        self.proxy.cut()
        path = STATEFUL_SETS.path(self.team, "sessions-redis")
        other = await self.cluster.get(STATEFUL_SETS, self.team, "sessions-redis")
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Orphan"}
        await self.cluster.client.request("DELETE", path, body=options)

        async def gone() -> bool:
            return await self.cluster.client.get(STATEFUL_SETS, self.team, "sessions-redis") is None

        await support.until(gone, "the StatefulSet is gone")
        for field in ("uid", "resourceVersion"):
            del other["metadata"][field]
        other["spec"]["serviceName"] = "elsewhere"
        other = await self.cluster.client.create(other)
        self.proxy.heal()
        await self._until_new(STATEFUL_SETS, other)

    async def lose_the_lease_object(self) -> None:
        await self.cluster.delete(LEASES, self.own, "aixgo-operator")
        await self._until_exists(LEASES, "aixgo-operator", self.own)

    async def prune(self) -> None:
        """Everything that can be left out is left out."""
        team = self.team
        bare: dict[str, Any] = {"serviceAccountName": "default", "networkPolicy": {"management": "Unmanaged"}}
        await self.cluster.apply(m.runtime(team, **bare))
        await self.cluster.apply(m.runtime(team, "issued"))
        elsewhere = {"redis": {"addresses": ["redis.example:6379"]}}
        await self.cluster.apply({**m.managed_redis(team), "spec": {"type": "Redis", **elsewhere}})

        async def pruned() -> bool:
            left = {
                f"{resource.plural}/{item['metadata']['name']}"
                for resource in (*CHILD_KINDS, CERTIFICATES)
                for item in await self.cluster.client.list_objects(resource, team, label_selector=OURS)
            }
            gone = {
                "horizontalpodautoscalers/runtime",
                "poddisruptionbudgets/runtime",
                "networkpolicies/runtime",
                "serviceaccounts/runtime",
                "secrets/runtime-client-ci",
                "certificates/issued-tls",
                "statefulsets/sessions-redis",
                "services/sessions-redis",
            }
            return not left & gone

        await support.until(pruned, "what is not wanted is gone", timeout=30)

    async def give_the_volume_an_owner(self) -> None:
        """Whoever may do this has to be allowed to delete it, says an admission plugin."""
        await self.cluster.patch(SESSION_BACKENDS, self.team, "files", {"spec": {"deletionPolicy": "Delete"}})

        async def owned() -> bool:
            claim = await self.cluster.get(CLAIMS, self.team, "files-sessions")
            return bool(claim["metadata"].get("ownerReferences"))

        await support.until(owned, "the volume goes with the backend", timeout=20)

    async def rotate(self) -> None:
        before = await self.cluster.get(SECRETS, self.own, "aixgo-ca")
        body = {"metadata": {"annotations": {"aixgo.dev/rotate": "now"}}}
        await self.cluster.patch(SECRETS, self.own, "aixgo-ca", body)

        async def rotated() -> bool:
            found = await self.cluster.get(SECRETS, self.own, "aixgo-ca")
            phase = base64.b64decode(found["data"].get("phase", "")).decode() or "Stable"
            return phase == "Stable" and found["data"] != before["data"]

        await support.until(rotated, "the authority is a new one", timeout=40)

    async def delete_unseen(self) -> None:
        """While the watches tell nothing: the next reading misses the objects and asks for each."""
        self.proxy.cut()
        pod = next(
            each["metadata"]["name"]
            for each in await self.cluster.client.list_objects(PODS, self.team)
            if each["metadata"]["name"].startswith("filed-")
        )
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}
        await self.cluster.client.request("DELETE", PODS.path(self.team, pod), body=options)
        await self.cluster.delete(AGENTS, self.team, "assistant")
        await self.cluster.delete(AGENT_RUNTIMES, self.team, "issued")
        await self.cluster.delete(SESSION_BACKENDS, self.team, "sessions")

        assert self.operator.process.engine is not None
        cache = self.operator.process.engine.cache

        def known() -> list[str]:
            wanted = (
                (PODS, pod),
                (AGENTS, "assistant"),
                (AGENT_RUNTIMES, "issued"),
                (SESSION_BACKENDS, "sessions"),
            )
            return [name for resource, name in wanted if cache.find(resource, self.team, name)]

        try:
            await support.until(lambda: not known(), "the objects are missed", timeout=30)
        except AssertionError as error:
            raise AssertionError(f"{error}; still known: {known()}") from None
        self.proxy.heal()

    async def delete(self) -> None:
        await self.cluster.delete(SESSION_BACKENDS, self.team, "files")
        await self.cluster.delete(SESSION_BACKENDS, self.team, "elsewhere")
        await self.cluster.delete(AGENT_RUNTIMES, self.team, "filed")
        await self.cluster.delete(AGENT_RUNTIMES, self.team, "runtime")

        async def gone() -> bool:
            found = await self.cluster.client.list_objects(SESSION_BACKENDS, self.team)
            return not found

        await support.until(gone, "nothing holds the backend any more", timeout=30)

    async def _ready(self, resource: Resource, name: str) -> None:
        await self.cluster.until_condition(resource, self.team, name, "Ready", "True", timeout=30)

    async def _until_exists(self, resource: Resource, name: str, namespace: str = "") -> None:
        async def there() -> bool:
            return await self.cluster.client.get(resource, namespace or self.team, name) is not None

        await support.until(there, f"{resource.kind} {name} is there", timeout=20)

    async def _until_new(self, resource: Resource, old: dict[str, Any]) -> None:
        name, uid = old["metadata"]["name"], old["metadata"]["uid"]

        async def new() -> bool:
            found = await self.cluster.client.get(resource, self.team, name)
            return found is not None and found["metadata"]["uid"] != uid

        await support.until(new, f"{resource.kind} {name} was made anew", timeout=30)


@contextlib.asynccontextmanager
async def installed(plane: ControlPlane, documents: list[dict[str, Any]]) -> AsyncIterator[None]:
    """Install the chart's roles; without the Lease, which it makes itself if need be."""
    text = yaml.safe_dump_all(item for item in documents if item["kind"] != "Lease")
    await asyncio.to_thread(plane.kubectl, "apply", "--server-side", "-f", "-", input=text)
    try:
        yield
    finally:
        await asyncio.to_thread(plane.kubectl, "delete", "--wait=false", "-f", "-", input=text)


@pytest.mark.usefixtures("certificates")
@pytest.mark.parametrize("namespaced", [False, True], ids=["clusterwide", "namespaced"])
async def test_every_right_is_used_and_none_is_missing(
    plane: ControlPlane,
    cluster: support.Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    namespaced: bool,
) -> None:
    """O10: under the chart's own rights, with the audit log as witness."""
    own, team = await cluster.namespace("operator"), await cluster.namespace("team")
    arguments = ["--set", f"watchNamespaces={{{team}}}"] if namespaced else []
    arguments += ["--set", "certificates.rotationOverlapSeconds=0,settings.probeIntervalSeconds=0.3"]
    arguments += ["--set", "settings.steadyProbeIntervalSeconds=1,settings.backendProbeIntervalSeconds=1"]
    documents = chart(own, *arguments, "--set", "settings.resyncSeconds=4")
    (user,) = (item["metadata"]["name"] for item in documents if item["kind"] == "ServiceAccount")
    assert plane.audit_log is not None
    if namespaced:
        assert not [item for item in documents if item["kind"].startswith("Cluster")]

    async with TcpProxy(plane.url) as proxy, installed(plane, documents):
        watch_through(proxy, monkeypatch)
        kubeconfig = account_kubeconfig(plane, tmp_path, own, user)
        chosen = OperatorSettings.model_validate(chart_settings(documents))
        async with support.running(plane, cluster, chosen, kubeconfig=kubeconfig) as operator:
            await Walk(cluster, operator, proxy, own, team).everything()
            health = operator.process._problems()
        assert health == []

    requests = requests_of(plane.audit_log, account(own, user))
    assert [each for each in requests if not each.allowed] == []
    granted = permissions(documents)
    unused = {each for each in granted if not any(each.covers(request) for request in requests)}
    # Asked for by the admission plugin that this API server has, as give_the_volume_an_owner() needs it.
    asked = Permission(team if namespaced else "", "", "persistentvolumeclaims", "delete", "")
    assert sorted(unused) == [asked]
