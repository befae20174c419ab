"""A session backend on a Redis that another operator runs. Of that operator only its kind is there."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import manifests as m
from tests.support import operator as support

from aixgo_operator.kube.resources import (
    AGENT_RUNTIMES,
    CONFIG_MAPS,
    DEPLOYMENTS,
    REDIS_REPLICATIONS,
    SESSION_BACKENDS,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.apiserver

CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"{REDIS_REPLICATIONS.plural}.{REDIS_REPLICATIONS.group}"},
    "spec": {
        "group": REDIS_REPLICATIONS.group,
        "scope": "Namespaced",
        "names": {
            "kind": REDIS_REPLICATIONS.kind,
            "plural": REDIS_REPLICATIONS.plural,
            "singular": REDIS_REPLICATIONS.kind.lower(),
            "listKind": f"{REDIS_REPLICATIONS.kind}List",
        },
        "versions": [
            {
                "name": REDIS_REPLICATIONS.version,
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                },
            }
        ],
    },
}


@pytest.fixture
async def redis_operator(plane: ControlPlane) -> AsyncIterator[Any]:
    """Install its kind when it is called."""
    name = CRD["metadata"]["name"]

    async def install() -> None:
        await asyncio.to_thread(plane.kubectl, "apply", "-f", "-", input=json.dumps(CRD))
        await asyncio.to_thread(
            plane.kubectl, "wait", "--for=condition=Established", "--timeout=20s", f"crd/{name}"
        )

    yield install
    await asyncio.to_thread(plane.kubectl, "delete", "crd", name, "--ignore-not-found")


async def test_a_replication_of_another_operator_says_where_redis_is(
    plane: ControlPlane, cluster: support.Cluster, redis_operator: Any
) -> None:
    namespace = await cluster.namespace()
    elsewhere = {"replicationRef": {"name": "store"}}
    chosen = support.settings(
        namespace,
        (namespace,),
        probe_interval_seconds=0.2,
        steady_probe_interval_seconds=0.5,
        backend_probe_interval_seconds=0.5,
    )

    def replication(status: dict[str, Any] | None) -> dict[str, Any]:
        return {
            "apiVersion": REDIS_REPLICATIONS.api_version,
            "kind": REDIS_REPLICATIONS.kind,
            "metadata": {"name": "store", "namespace": namespace},
            "spec": {"clusterSize": 3},
            **({} if status is None else {"status": status}),
        }

    async def sessions() -> dict[str, Any]:
        found = await cluster.get(CONFIG_MAPS, namespace, "runtime-config")
        redis: dict[str, Any] = json.loads(found["data"]["runtime.json"])["sessions"]["redis"]
        return redis

    async with support.running(plane, cluster, chosen) as operator:
        await cluster.apply(m.managed_redis(namespace, redis=elsewhere))
        await cluster.apply(m.runtime(namespace, sessionBackendRef={"name": "sessions"}))
        missing = await cluster.until_condition(
            SESSION_BACKENDS, namespace, "sessions", "Ready", "False", "RedisReplicationNotFound"
        )
        assert f"RedisReplication {namespace}/store" in missing["message"]
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "False", "NotReady")

        await redis_operator()
        await cluster.client.request("POST", REDIS_REPLICATIONS.path(namespace), body=replication(None))
        info = {"host": f"master.{namespace}.svc", "port": 6379}
        await cluster.patch(REDIS_REPLICATIONS, namespace, "store", {"status": {"connectionInfo": info}})
        await cluster.until_condition(SESSION_BACKENDS, namespace, "sessions", "Ready", "True")
        await cluster.until_condition(AGENT_RUNTIMES, namespace, "runtime", "Ready", "True")
        assert operator.redis.endpoints[-1].addresses == (f"master.{namespace}.svc:6379",)
        assert (await sessions())["addresses"] == [f"master.{namespace}.svc:6379"]
        deployment = await cluster.get(DEPLOYMENTS, namespace, "runtime")

        # Sentinels come: the pods learn of them without a restart.
        info = {"host": f"sentinels.{namespace}.svc", "port": 26379, "masterName": "mymaster"}
        await cluster.patch(REDIS_REPLICATIONS, namespace, "store", {"status": {"connectionInfo": info}})

        async def moved() -> bool:
            found = await sessions()
            return (found["mode"], found["addresses"]) == ("Sentinel", [f"sentinels.{namespace}.svc:26379"])

        await support.until(moved, "the pods are told where the Sentinels are")
        backend = await cluster.get(SESSION_BACKENDS, namespace, "sessions")
        assert backend["status"]["address"] == f"sentinels.{namespace}.svc:26379"
        assert (await cluster.get(DEPLOYMENTS, namespace, "runtime"))["spec"] == deployment["spec"]
        # Looks that find nothing new write nothing.
        await operator.quiet()
