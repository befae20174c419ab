"""Watches a namespace and holds the operator to its word: who is said to be ready can be called.

A call may fail between the moment a pod dies and the moment the operator looks. So a failed call is a broken
word only if the operator has looked at the pods a whole time since, and says Ready=True all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.support.background import Background
from tests.support.process_kubelet import leaf_of

from aixgo.rpc.client import AgentClient
from aixgo_operator.kube.errors import ApiError
from aixgo_operator.kube.resources import AGENT_RUNTIMES, AGENTS, OUR_KINDS, PODS, SECRETS
from aixgo_operator.reconcile.status import condition, is_ready

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.hosted_runtimes import HostedPod, HostingKubelet

    from aixgo_operator.kube.client import ApiServerClient

Manifest = dict[str, Any]

_CALL_SECONDS = 5.0


@dataclass
class _Suspicion:
    """Calls that fail although the object says it is ready."""

    #: Which operator it was, and how often it had read the cluster, when the first of them failed.
    operator: int
    readings: int
    error: str
    #: Looks that had ended when the cluster had been read a whole time since. None: not yet.
    looks: int | None = None


class Auditor(Background):
    """``async with Auditor(...) as auditor:`` asks all the time; :attr:`broken` is what it found.

    ``readings()``: how many readings of the cluster have ended; ``looks(runtime)``: how many looks at the
    pods of a runtime. ``operator()``: which operator runs, by number; 0: none.
    """

    def __init__(
        self,
        client: ApiServerClient,
        kubelet: HostingKubelet,
        namespace: str,
        folder: Path,
        readings: Callable[[], int],
        looks: Callable[[str], int],
        operator: Callable[[], int],
    ) -> None:
        self._client = client
        self._kubelet = kubelet
        self._namespace = namespace
        self._folder = folder
        self._readings = readings
        self._looks = looks
        self._operator = operator
        self._suspicions: dict[tuple[str, str], _Suspicion] = {}
        self._generations: dict[str, int] = {}
        self.broken: list[str] = []
        #: Calls that succeeded, by the kind of the object that had promised it.
        self.kept = {"AgentRuntime": 0, "Agent": 0}

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(ApiError):
                await self.audit()
            await asyncio.sleep(0.1)

    async def audit(self) -> None:
        """Look at everything once."""
        found = {
            resource.kind: await self._client.list_objects(resource, self._namespace)
            for resource in OUR_KINDS
        }
        for items in found.values():
            for item in items:
                self._check_generations(item)
        for item in found[AGENT_RUNTIMES.kind]:
            await self._hold(item, item["metadata"]["name"])
        for item in found[AGENTS.kind]:
            await self._hold(item, item["spec"]["runtimeRef"]["name"])

    def _check_generations(self, item: Manifest) -> None:
        metadata, status = item["metadata"], item.get("status") or {}
        seen = status.get("observedGeneration")
        if seen is None:
            if is_ready(status):
                self._broke(item, "is ready before anybody has looked")
            return
        if seen > metadata["generation"]:
            self._broke(item, f"observed generation {seen} of {metadata['generation']}")
        if seen < self._generations.get(metadata["uid"], 0):
            self._broke(item, f"observed generation {seen} after a later one")
        self._generations[metadata["uid"]] = seen
        others = {each["observedGeneration"] for each in status["conditions"]} - {seen}
        if others:
            self._broke(item, f"conditions of generation {others} in a status of {seen}")
        kinds = [each["type"] for each in status["conditions"] if each["status"] == "True"]
        if "Reconciling" in kinds and "Stalled" in kinds:
            self._broke(item, "is reconciling and stalled")
        if "Ready" in kinds and "Stalled" in kinds:
            self._broke(item, "is ready and stalled")
        left = condition(status, "Reconciling").get("reason")
        if "Ready" in kinds and left not in (None, "Pending"):
            self._broke(item, f"is ready and on its way: {left}")

    async def _hold(self, item: Manifest, runtime: str) -> None:
        key = (item["kind"], item["metadata"]["name"])
        if not _promises(item):
            self._suspicions.pop(key, None)
            return
        readings, operator = self._readings(), self._operator()
        error = await self._call(item, runtime)
        if error is None:
            self.kept[item["kind"]] += 1
            self._suspicions.pop(key, None)
            return
        known = self._suspicions.get(key)
        if known is None or known.operator != operator or operator == 0:
            self._suspicions[key] = _Suspicion(operator, readings, error)
            return
        # Of each, one may have begun before: the one after it knows of the failure, and has told of it.
        if known.looks is None:
            if readings >= known.readings + 2:
                known.looks = self._looks(runtime)
            return
        if self._looks(runtime) < known.looks + 2:
            return
        resource = AGENT_RUNTIMES if item["kind"] == AGENT_RUNTIMES.kind else AGENTS
        now = await self._client.get(resource, self._namespace, key[1])
        if now is not None and now["metadata"]["uid"] == item["metadata"]["uid"] and _promises(now):
            ready = condition(now["status"], "Ready")
            self._broke(item, f"says {ready} and calls fail: {known.error}; and later: {error}")
        self._suspicions.pop(key, None)

    async def _call(self, item: Manifest, runtime: str) -> str | None:
        """Call every pod that gets calls as a client does that has the newest files; return what fails."""
        pods = await self._ready_pods(runtime)
        if not pods:
            return "no pod is Ready"
        home = self._folder / f"client-{runtime}"
        stored = await self._client.get(SECRETS, self._namespace, f"{runtime}-tls")
        if stored is None:
            return f"Secret {runtime}-tls is gone"
        for pod in pods:
            directory = leaf_of(stored).write(home / stored["metadata"]["resourceVersion"])
            name = f"{runtime}.{self._namespace}.svc"
            try:
                async with AgentClient(f"127.0.0.1:{pod.grpc_port}", directory, name) as client:
                    await self._call_pod(client, item)
            except Exception as error:  # noqa: BLE001  whatever it is, a caller would see it
                return f"{pod.name}: {error!r}"
        if home.exists():
            shutil.rmtree(home)
        return None

    async def _call_pod(self, client: AgentClient, item: Manifest) -> None:
        if item["kind"] == AGENTS.kind:
            # With a session, where the runtime has a backend to keep it.
            runtime = await self._client.get(
                AGENT_RUNTIMES, self._namespace, item["spec"]["runtimeRef"]["name"]
            )
            connected = condition((runtime or {}).get("status") or {}, "SessionBackendReady")
            session = "new" if connected.get("status") == "True" and runtime and _promises(runtime) else ""
            answer = await client.execute(
                item["metadata"]["name"], "hello", session_id=session, timeout=_CALL_SECONDS
            )
            assert answer.text == "hello", answer.text
            return
        stub = health_pb2_grpc.HealthStub(client.channel())
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=_CALL_SECONDS)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, answer

    async def _ready_pods(self, runtime: str) -> list[HostedPod]:
        """Return the pods that the runtime's Service leads to."""
        selector = f"aixgo.dev/runtime={runtime},app.kubernetes.io/component=runtime"
        found = []
        for pod in await self._client.list_objects(PODS, self._namespace, label_selector=selector):
            ready = condition(pod.get("status") or {}, "Ready").get("status") == "True"
            hosted = self._kubelet.pods.get(pod["metadata"]["name"])
            if ready and hosted is not None and not pod["metadata"].get("deletionTimestamp"):
                found.append(hosted)
        return found

    def check(self, *, nothing_happens: bool = False) -> None:
        """Raise AssertionError for what was found.

        ``nothing_happens``: there is no excuse for a failed call.
        """
        found = list(self.broken)
        if nothing_happens:
            found += [f"{kind} {name}: {each.error}" for (kind, name), each in self._suspicions.items()]
        assert not found, "; ".join(found)

    def _broke(self, item: Manifest, what: str) -> None:
        self.broken.append(f"{item['kind']} {item['metadata']['name']} {what}")


def _promises(item: Manifest) -> bool:
    """Whether the object says that it is ready as it is now, and stays."""
    status, metadata = item.get("status") or {}, item["metadata"]
    current = status.get("observedGeneration") == metadata["generation"]
    return is_ready(status) and current and not metadata.get("deletionTimestamp")
