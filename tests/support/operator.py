"""The operator in this process, against a real API server, with a played kubelet."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from typing import TYPE_CHECKING, Any

from tests.support.kubelet import FakePods, FakeRedis, Kubelet
from tests.support.waiting import PATIENCE

from aixgo_operator.app.process import Process
from aixgo_operator.domain.settings import OperatorSettings
from aixgo_operator.kube.client import ApiServerClient
from aixgo_operator.kube.lease import LeaseTimes
from aixgo_operator.kube.resources import (
    NAMESPACES,
    OUR_KINDS,
    SESSION_BACKENDS,
    Manifest,
    Resource,
    resource_of,
)
from aixgo_operator.reconcile.status import condition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.cluster.control_plane import ControlPlane

    from aixgo_operator.probe.redis_info import BackendProber

REAL_LEASE = LeaseTimes()
#: Quick enough for a test, with the same order among them as the real ones.
FAST_LEASE = LeaseTimes(duration=2.0, renew_deadline=1.4, retry=0.2)
#: The user of the tests, as a field manager.
USER = "a-user"


class Cluster:
    """A client of the tests' own: applies users' manifests and looks at what became of them."""

    def __init__(self, client: ApiServerClient) -> None:
        self.client = client
        self._namespaces: list[str] = []

    async def namespace(self, prefix: str = "t", labels: dict[str, str] | None = None) -> str:
        """Create a namespace with a new name."""
        name = f"{prefix}-{secrets.token_hex(4)}"
        metadata = {"name": name, "labels": labels or {}}
        await self.client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        self._namespaces.append(name)
        return name

    async def apply(self, manifest: Manifest, *, manager: str = USER) -> Manifest:
        """Server-side apply as a user."""
        resource, metadata = resource_of(manifest), manifest["metadata"]
        answer: Manifest = await self.client.request(
            "PATCH",
            resource.path(metadata["namespace"], metadata["name"]),
            body=manifest,
            params={"fieldManager": manager, "force": "true"},
            content_type="application/apply-patch+yaml",
        )
        return answer

    async def patch(
        self, resource: Resource, namespace: str, name: str, body: Any, subresource: str | None = None
    ) -> Manifest:
        """Merge-patch as a user."""
        answer: Manifest = await self.client.request(
            "PATCH",
            resource.path(namespace, name, subresource),
            body=body,
            params={"fieldManager": "kubectl-edit"},
            content_type="application/merge-patch+json",
        )
        return answer

    async def leave(self, *others: str) -> None:
        """Take every object of our kinds with us: an operator of a later test may watch all namespaces."""
        for namespace in (*self._namespaces, *others):
            for backend in await self.client.list_objects(SESSION_BACKENDS, namespace):
                if backend["metadata"].get("finalizers"):
                    name = backend["metadata"]["name"]
                    await self.patch(SESSION_BACKENDS, namespace, name, {"metadata": {"finalizers": None}})
            await self.remove_all(namespace)

    async def remove_all(self, namespace: str) -> None:
        """Delete every object of our kinds in a namespace, and wait for nothing."""
        for resource in OUR_KINDS:
            await self.client.request("DELETE", resource.path(namespace))

    async def delete(self, resource: Resource, namespace: str, name: str) -> None:
        """Delete as a user."""
        await self.client.request("DELETE", resource.path(namespace, name))

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest:
        """Return an object that must exist."""
        found = await self.client.get(resource, namespace, name)
        assert found is not None, f"{resource.kind} {namespace}/{name} does not exist"
        return found

    async def condition(self, resource: Resource, namespace: str, name: str, kind: str) -> dict[str, Any]:
        """Return a condition, or an empty dictionary."""
        found = await self.client.get(resource, namespace, name) or {}
        return dict(condition(found.get("status") or {}, kind))

    async def until_condition(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        kind: str,
        status: str,
        reason: str | None = None,
        *,
        timeout: float = 15.0,
    ) -> dict[str, Any]:
        """Wait for a condition to have a status (and a reason)."""
        seen: dict[str, Any] = {}

        async def there() -> bool:
            seen.clear()
            seen.update(await self.condition(resource, namespace, name, kind))
            return seen.get("status") == status and reason in (None, seen.get("reason"))

        try:
            await until(there, f"{resource.kind} {name}: {kind}={status}/{reason}", timeout=timeout)
        except AssertionError as error:
            found = await self.client.get(resource, namespace, name) or {}
            raise AssertionError(f"{error}; status is {found.get('status')}") from None
        return seen


async def until(check: Callable[[], Any], what: str, *, timeout: float = 10.0, every: float = 0.05) -> None:
    """Wait until ``check()`` (a function or a coroutine function) is true.

    ``timeout`` is that of a quiet machine, in seconds: PATIENCE times as long is waited.
    Raises AssertionError after that.
    """
    end = time.monotonic() + PATIENCE * timeout
    while True:
        answer = check()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return
        if time.monotonic() > end:
            raise AssertionError(f"not within {PATIENCE * timeout:g} s: {what}")
        await asyncio.sleep(every)


class Operator:
    """A running operator."""

    def __init__(
        self,
        process: Process,
        settings: OperatorSettings,
        pods: FakePods,
        redis: FakeRedis,
        kubelet: Kubelet,
    ) -> None:
        self.process = process
        self.settings = settings
        self.pods = pods
        self.redis = redis
        self.kubelet = kubelet

    def sample(self, name: str, **labels: str) -> float | None:
        """Return the value of a metric."""
        return self.process.metrics.registry.get_sample_value(name, labels)

    def writes(self) -> dict[str, int]:
        """Return how often the operator wrote what to the API server; its Lease does not count."""
        counted: dict[str, int] = {}
        for metric in self.process.metrics.registry.collect():
            for sample in metric.samples:
                if sample.name == "aixgo_operator_api_requests_total":
                    verb, plural = sample.labels["verb"], sample.labels["resource"]
                    if verb != "GET" and plural != "leases":
                        counted[f"{verb} {plural}"] = counted.get(f"{verb} {plural}", 0) + int(sample.value)
        return counted

    async def quiet(self, *, seconds: float = 1.0, timeout: float = 20.0) -> None:
        """Wait until nothing was written for a while."""
        state = {"writes": self.writes(), "since": time.monotonic()}

        def silent() -> bool:
            now = self.writes()
            if now != state["writes"]:
                state["writes"], state["since"] = now, time.monotonic()
            return time.monotonic() - float(str(state["since"])) >= seconds

        await until(silent, f"{seconds:g} s without a write; writes: {self.writes()}", timeout=timeout)


def settings(operator_namespace: str, watch: tuple[str, ...] = (), **changes: Any) -> OperatorSettings:
    """Return settings for a test: quick looks, as no real pod is asked."""
    values: dict[str, Any] = {
        "operator_namespace": operator_namespace,
        "watch_namespaces": watch,
        "probe_interval_seconds": 0.3,
        "steady_probe_interval_seconds": 1.0,
        "backend_probe_interval_seconds": 1.0,
    }
    return OperatorSettings(**(values | changes))


@contextlib.asynccontextmanager
async def connected(plane: ControlPlane) -> AsyncIterator[Cluster]:
    """Give a client of the tests' own."""
    client = await ApiServerClient.connect(str(plane.kubeconfig))
    try:
        yield Cluster(client)
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def running(
    plane: ControlPlane,
    cluster: Cluster,
    chosen: OperatorSettings,
    *,
    kubelet: Kubelet | None = None,
    lease_times: LeaseTimes = REAL_LEASE,
    kubeconfig: Path | None = None,
    backends: BackendProber | None = None,
) -> AsyncIterator[Operator]:
    """Run an operator until the block ends; give it when it leads and watches.

    ``kubeconfig``: its own; default: that of a cluster admin. ``backends``: asks Redis instead of a stand-in.
    """
    async with contextlib.AsyncExitStack() as stack:
        if kubelet is None:
            kubelet = await stack.enter_async_context(Kubelet(cluster.client))
        pods, redis = FakePods(cluster.client, kubelet), FakeRedis(cluster.client)
        process = Process(
            chosen,
            kubeconfig=str(kubeconfig or plane.kubeconfig),
            pods=pods,
            backends=backends or redis,
            lease_times=lease_times,
            on_lost=lambda: None,
        )
        task = asyncio.create_task(process.run(), name="operator")
        operator = Operator(process, chosen, pods, redis, kubelet)
        try:
            await until(lambda: process.working.is_set() or task.done(), "the operator works", timeout=20.0)
            if task.done():
                raise AssertionError(f"the operator ended: {task.result()}")
            yield operator
        finally:
            process.stop()
            await asyncio.wait_for(task, 30.0 * PATIENCE)


def crds_ready(plane: ControlPlane) -> None:
    """Install the CRDs of the repository, and wait until they are served."""
    plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "crds")
    plane.kubectl("wait", "--for=condition=Established", "--timeout=20s", "-f", "crds")


__all__ = ["NAMESPACES", "Cluster", "Operator", "connected", "crds_ready", "running", "settings", "until"]
