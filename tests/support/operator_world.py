"""What the operator makes of a cluster, whatever happens to it on the way: scenarios and their end states."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

from tests.support import manifests as m
from tests.support import operator as support
from tests.support.faults import CrashingClient, Run
from tests.support.kubelet import FakePods, FakeRedis

from aixgo_operator.api.constants import ANNOTATION_ROTATE, ANNOTATION_ROTATED
from aixgo_operator.kube.resources import CHILD_KINDS, OUR_KINDS, SECRETS
from aixgo_operator.reconcile.status import is_ready

if TYPE_CHECKING:
    from tests.support.cluster.control_plane import ControlPlane
    from tests.support.kubelet import Kubelet

    from aixgo_operator.domain.settings import OperatorSettings
    from aixgo_operator.kube.client import ApiServerClient

#: Everything about an object that differs between two that are as they should be.
_VOLATILE = re.compile(r"\b[0-9a-f]{16}\b|\"clusterIPs?\": (\[[^\]]*\]|\"[^\"]*\")")


async def create(cluster: support.Cluster, namespace: str) -> None:
    await cluster.apply(m.managed_redis(namespace))
    reference = {"name": "sessions"}
    await cluster.apply(m.runtime(namespace, sessionBackendRef=reference, clients=[{"name": "ci"}]))
    await cluster.apply(m.agent(namespace))


async def change(cluster: support.Cluster, namespace: str) -> None:
    """Another image, another prompt, more replicas (and so a budget), another client, a new authority."""
    asked = {"metadata": {"annotations": {"aixgo.dev/rotate": "1"}}}
    await cluster.patch(SECRETS, namespace, "aixgo-ca", asked)
    changes: dict[str, Any] = {"replicas": 2, "image": "example.org/r:2", "clients": [{"name": "bob"}]}
    await cluster.apply(m.runtime(namespace, sessionBackendRef={"name": "sessions"}, **changes))
    await cluster.apply(m.agent(namespace, prompt="Rhyme."))


async def remove(cluster: support.Cluster, namespace: str) -> None:
    for resource in OUR_KINDS:
        await cluster.client.request("DELETE", resource.path(namespace))


STEPS = (create, change, remove)


class World:
    """Pods and Redis servers that are there for every operator of this module."""

    def __init__(self, plane: ControlPlane, cluster: support.Cluster, kubelet: Kubelet) -> None:
        self.plane = plane
        self.cluster = cluster
        self.kubelet = kubelet

    def settings(self, namespace: str) -> OperatorSettings:
        return support.settings(
            namespace,
            (namespace,),
            resync_seconds=0.5,
            ca_rotation_overlap_seconds=0,
            probe_interval_seconds=0.2,
        )

    async def operator(self, namespace: str, client: ApiServerClient) -> Run:
        pods, redis = FakePods(self.cluster.client, self.kubelet), FakeRedis(self.cluster.client)
        return Run(client, self.settings(namespace), pods, redis)

    async def crash(self, namespace: str, writes: int) -> bool:
        """Run an operator until it dies; False: it did not, there was less to write."""
        client = await CrashingClient.connect(str(self.plane.kubeconfig), writes=writes)
        assert isinstance(client, CrashingClient)
        async with await self.operator(namespace, client):
            done = [asyncio.create_task(self.settled(namespace)), asyncio.create_task(client.dead.wait())]
            await asyncio.wait(done, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.cancel()
            await asyncio.gather(*done, return_exceptions=True)
        return client.crashed

    async def finish(self, namespace: str) -> int:
        """Run an operator until everything is done; return how many writes it took."""
        client = await CrashingClient.connect(str(self.plane.kubeconfig))
        assert isinstance(client, CrashingClient)
        async with await self.operator(namespace, client):
            await self.settled(namespace)
        return client.done

    async def settled(self, namespace: str) -> None:
        """Wait until everything is ready, or gone, and stays as it is."""
        before: Any = None
        same = 0

        async def check() -> bool:
            nonlocal before, same
            now = await self.versions(namespace)
            same = same + 1 if now is not None and now == before else 0
            before = now
            return same >= 3

        await support.until(check, f"{namespace} is settled", timeout=60.0, every=0.2)

    async def versions(self, namespace: str) -> list[str] | None:
        client, found = self.cluster.client, []
        for resource in OUR_KINDS:
            for item in await client.list_objects(resource, namespace):
                if item["metadata"].get("deletionTimestamp") or not is_ready(item.get("status") or {}):
                    return None
                if item["status"]["observedGeneration"] != item["metadata"]["generation"]:
                    return None
                found.append(item["metadata"]["resourceVersion"])
        if not found:  # everything is deleted: the garbage collector has work to do
            return (
                [] if not any("owners" in text for text in (await self.state(namespace)).values()) else None
            )
        secret = await self.cluster.get(SECRETS, namespace, "aixgo-ca")
        annotations = secret["metadata"].get("annotations") or {}
        if "phase" in secret["data"]:
            return None
        if annotations.get(ANNOTATION_ROTATE) != annotations.get(ANNOTATION_ROTATED):
            return None
        return [*found, secret["metadata"]["resourceVersion"]]

    async def state(self, namespace: str) -> dict[str, str]:
        """Return everything that the operator made, without what differs from one run to the next."""
        state: dict[str, str] = {}
        selector = "app.kubernetes.io/managed-by=aixgo-operator"
        for resource in (*CHILD_KINDS, *OUR_KINDS):
            chosen = "" if resource in OUR_KINDS else selector
            for item in await self.cluster.client.list_objects(resource, namespace, label_selector=chosen):
                metadata = item["metadata"]
                kept = {key: metadata.get(key) for key in ("name", "labels", "finalizers")}
                if owners := metadata.get("ownerReferences"):
                    kept["owners"] = [(owner["kind"], owner["name"]) for owner in owners]
                content = {key: item[key] for key in item if key not in ("metadata", "status")}
                if resource.kind == "Secret":
                    content["data"] = sorted(content["data"])
                if resource in OUR_KINDS:
                    content["conditions"] = [
                        (c["type"], c["status"], c["reason"]) for c in item["status"]["conditions"]
                    ]
                text = json.dumps({"metadata": kept} | content, sort_keys=True).replace(namespace, "NS")
                state[f"{resource.kind} {metadata['name']}"] = _VOLATILE.sub("", text)
        return state

    async def calm(self) -> list[tuple[int, dict[str, str]]]:
        """Return how many writes each step takes when nothing happens, and its end state."""
        namespace = await self.cluster.namespace("calm")
        found = []
        for step in STEPS:
            await step(self.cluster, namespace)
            writes = await self.finish(namespace)
            found.append((writes, await self.state(namespace)))
        return found
