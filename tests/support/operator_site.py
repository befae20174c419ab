"""A namespace in which everything may happen: users, strangers, pods and operators, and its audited end."""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Any, Self

from tests.support import manifests as m
from tests.support import operator as support
from tests.support.faults import CrashingClient, Run
from tests.support.hosted_runtimes import HostedProber, HostingKubelet
from tests.support.operator_audit import Auditor
from tests.support.operator_world import World

from aixgo_operator.kube.errors import AlreadyExistsError, InvalidError, NotFoundError
from aixgo_operator.kube.resources import (
    AGENT_RUNTIMES,
    CHILD_KINDS,
    CLAIMS,
    CONFIG_MAPS,
    OUR_KINDS,
    PODS,
    SECRETS,
    SESSION_BACKENDS,
    resource_of,
)
from aixgo_operator.probe.redis_info import RedisProber
from aixgo_operator.reconcile.engine import Engine
from aixgo_operator.reconcile.metrics import Metrics

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cluster.control_plane import ControlPlane

    from aixgo_operator.kube.resources import Resource
    from aixgo_operator.reconcile.keys import Key

Manifest = dict[str, Any]

OURS = "app.kubernetes.io/managed-by=aixgo-operator"
CA = "aixgo-ca"
#: What users' objects refer to.
WORDS, LOGIN = "words", "login"
NEVER = 10**9
#: Looks at the cluster that have to find nothing new until it counts as settled, and seconds between them.
_QUIET_LOOKS, _LOOK_SECONDS = 4, 0.3
SETTLE_SECONDS = 120.0


class _Looks(Metrics):
    """Counts the readings of the cluster, and the looks at each runtime, that came to an end."""

    def __init__(self) -> None:
        super().__init__()
        self.readings = 0
        self.ended: dict[str, int] = {}

    def done(self, key: Key, seconds: float, error: BaseException | None) -> None:
        super().done(key, seconds, error)
        if error is None and key.kind == AGENT_RUNTIMES.kind:
            self.ended[key.name] = self.ended.get(key.name, 0) + 1


class _Engine(Engine):
    """Tells :class:`_Looks` when it has read the cluster: without watches, it learns of pods by that."""

    async def resync(self) -> int:
        found = await super().resync()
        assert isinstance(self.metrics, _Looks)
        self.metrics.readings += 1
        return found


class Site:
    """``async with Site(plane, folder) as site:``; ``site.namespace`` is its own."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self._plane = plane
        self._folder = folder
        self._stack = contextlib.AsyncExitStack()
        self._operator: contextlib.AsyncExitStack | None = None
        self._client: CrashingClient | None = None
        self._looks = _Looks()
        self._operators = 0
        self.namespace = ""
        #: What happened, for whoever has to understand a failure.
        self.story: list[str] = []

    async def __aenter__(self) -> Self:
        self.cluster = await self._stack.enter_async_context(support.connected(self._plane))
        self._stack.push_async_callback(self.cluster.leave)
        self.namespace = await self.cluster.namespace("site")
        self.kubelet = await self._hosting(self.namespace)
        self.prober = self._prober(self.kubelet)
        self.auditor = await self._stack.enter_async_context(
            Auditor(
                self.cluster.client,
                self.kubelet,
                self.namespace,
                self._folder / "auditor",
                lambda: self._looks.readings,
                lambda runtime: self._looks.ended.get(runtime, 0),
                lambda: 0 if self._operator is None or self.crashed else self._operators,
            )
        )
        self._world = World(self._plane, self.cluster, self.kubelet)
        await self.start_operator(NEVER)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop_operator()
        await self._stack.aclose()

    async def _hosting(self, namespace: str) -> HostingKubelet:
        kubelet = HostingKubelet(self.cluster.client, namespace, self._folder / namespace)
        return await self._stack.enter_async_context(kubelet)

    def _prober(self, kubelet: HostingKubelet) -> HostedProber:
        prober = HostedProber(kubelet)
        self._stack.push_async_callback(prober.close)
        return prober

    # The operator

    @property
    def crashed(self) -> bool:
        """Whether the operator has died and nobody has started another."""
        return self._client is not None and self._client.crashed

    async def start_operator(self, writes: int) -> None:
        """Start an operator in place of the one that runs; it dies with its ``writes``-th write."""
        await self.stop_operator()
        client = await CrashingClient.connect(str(self._plane.kubeconfig), writes=writes)
        assert isinstance(client, CrashingClient)
        self._looks = _Looks()
        self._operators += 1
        settings = self._world.settings(self.namespace)
        run = Run(client, settings, self.prober, RedisProber(timeout=1.0), self._looks, _Engine)
        self._operator, self._client = contextlib.AsyncExitStack(), client
        await self._operator.enter_async_context(run)

    async def stop_operator(self) -> None:
        """Take the operator away in the middle of whatever it does."""
        operator, self._operator = self._operator, None
        if operator is not None:
            await operator.aclose()

    # Users

    async def apply(self, manifest: Manifest) -> None:
        """Apply as a user; what the API server refuses stays as it was."""
        try:
            await self.cluster.apply(manifest)
        except InvalidError as error:
            self.story[-1] += f" (refused: {str(error)[:80]})"

    async def create(self, manifest: Manifest) -> None:
        """Create as somebody who wants the name for himself; it may be taken."""
        with contextlib.suppress(AlreadyExistsError):
            await self.cluster.client.create(manifest)

    async def delete(self, resource: Resource, name: str) -> None:
        """Delete as a user; what is not there is left alone."""
        with contextlib.suppress(NotFoundError):
            await self.cluster.delete(resource, self.namespace, name)

    async def delete_child(self, number: int) -> None:
        """A stranger deletes something of the operator's, the authority of the installation included."""
        children = await self._children(lambda item: item["kind"] != CLAIMS.kind)
        if children:
            child = children[number % len(children)]
            self.story[-1] += f" {child['kind']} {child['metadata']['name']}"
            await self.delete(resource_of(child), child["metadata"]["name"])

    async def edit_child(self, number: int) -> None:
        """Another manager changes something that the operator has written."""
        children = await self._children(lambda item: item["kind"] in _DRIFT)
        if children:
            child = children[number % len(children)]
            name = child["metadata"]["name"]
            self.story[-1] += f" {child['kind']} {name}"
            with contextlib.suppress(NotFoundError, InvalidError):
                await self.cluster.patch(resource_of(child), self.namespace, name, _DRIFT[child["kind"]])

    async def delete_pod(self, number: int) -> None:
        """Somebody deletes a pod."""
        if self.kubelet.pods:
            names = sorted(self.kubelet.pods)
            await self.delete(PODS, names[number % len(names)])

    async def rotate(self, value: int) -> None:
        """Somebody asks for a new authority."""
        body = {"metadata": {"annotations": {"aixgo.dev/rotate": str(value)}}}
        with contextlib.suppress(NotFoundError):
            await self.cluster.patch(SECRETS, self.namespace, CA, body)

    # Pods

    async def crash_pod(self, number: int, rest: float) -> None:
        """A container ends; the kubelet starts it again after ``rest`` seconds."""
        if self.kubelet.pods:
            names = sorted(self.kubelet.pods)
            await self.kubelet.crash(self.kubelet.pods[names[number % len(names)]], rest)

    def heal(self) -> None:
        """Let nothing be wrong any more but what users wrote."""
        self.kubelet.heal()
        self.prober.silent.clear()

    # The end

    async def finish(self) -> None:
        """Hold the site to its end. Raises AssertionError.

        It comes to rest, nothing is written any more, and everybody who is ready can be called. What cannot
        be served keeps what served before, whatever that was; with that put right, the objects are those
        that a fresh operator makes of the same manifests in a fresh namespace.
        """
        self.heal()
        await self.start_operator(NEVER)
        # A new authority waits long for pods that cannot start: until they are put right, that is.
        await self._rest(changing=True)
        await self._put_right()
        await self._rest(changing=False)
        found = await self._state(self.namespace)
        await self.stop_operator()
        wanted = await self._afresh()
        different = {
            name: (wanted.get(name), found.get(name))
            for name in {*wanted, *found}
            if wanted.get(name) != found.get(name)
        }
        assert not different, json.dumps(different, indent=1)

    async def _rest(self, *, changing: bool) -> None:
        await self._settle(self.namespace, self.kubelet, self._looks, changing=changing)
        assert self._client is not None
        writes, readings = self._client.done, self._looks.readings
        await support.until(lambda: self._looks.readings >= readings + 3, "three more readings", timeout=20)
        assert self._client.done == writes, f"{self._client.done - writes} writes while nothing happens"
        await self.auditor.audit()
        self.auditor.check(nothing_happens=True)

    async def _put_right(self) -> None:
        """Give runtimes that cannot be rendered a spec that can."""
        for item in await self.cluster.client.list_objects(AGENT_RUNTIMES, self.namespace):
            holds = {each["type"]: each["status"] for each in item["status"]["conditions"]}
            if holds["Accepted"] != "True" or holds["ResolvedRefs"] != "True" or "Degraded" in holds:
                name = item["metadata"]["name"]
                self.story.append(f"AgentRuntime {name} is put right")
                await self.delete(CONFIG_MAPS, f"{name}-config")
                await self.apply(m.runtime(self.namespace, name))

    async def _afresh(self) -> dict[str, str]:
        """Return what a fresh operator makes of the same manifests."""
        namespace = await self.cluster.namespace("fresh")
        kubelet = await self._hosting(namespace)
        for manifest in await self._manifests():
            manifest["metadata"]["namespace"] = namespace
            await self.cluster.apply(manifest)
        client = await CrashingClient.connect(str(self._plane.kubeconfig))
        settings = self._world.settings(namespace)
        looks = _Looks()
        async with Run(client, settings, self._prober(kubelet), RedisProber(timeout=1.0), looks, _Engine):
            await self._settle(namespace, kubelet, looks, changing=False)
            return await self._state(namespace)

    async def _manifests(self) -> list[Manifest]:
        """Return what users wrote, as it is now."""
        client, found = self.cluster.client, []
        for resource in OUR_KINDS:
            items = await client.list_objects(resource, self.namespace)
            found += [_bare(each, "spec") for each in items if not each["metadata"].get("deletionTimestamp")]
        for resource, name in ((CONFIG_MAPS, WORDS), (SECRETS, LOGIN)):
            item = await client.get(resource, self.namespace, name)
            if item is not None:
                found.append(_bare(item, "data"))
        return found

    async def _settle(
        self, namespace: str, kubelet: HostingKubelet, looks: _Looks, *, changing: bool
    ) -> None:
        """Wait until nothing happens any more, however slow the operator and the kubelet are.

        ``changing``: a change of the authority may wait for pods.
        """
        before: list[str] = []
        seen = (0, 0)
        same = 0
        changed: list[str] = []

        async def quiet() -> bool:
            nonlocal before, same, seen
            rounds = (looks.readings, kubelet.rounds)
            if any(new <= old for new, old in zip(rounds, seen, strict=True)):
                return False  # one of the two has not looked again
            seen = rounds
            now = await self._versions(namespace)
            whole = not kubelet.starting() and await self._is_whole(namespace, changing)
            same = same + 1 if now == before and whole else 0
            changed[:-20] = []
            changed.extend(set(now) - set(before))
            before = now
            return same >= _QUIET_LOOKS

        try:
            await support.until(quiet, "settled", timeout=SETTLE_SECONDS, every=_LOOK_SECONDS)
        except AssertionError:
            raise AssertionError(f"does not settle; changed last: {changed}") from None

    async def _versions(self, namespace: str) -> list[str]:
        found = []
        for resource in (*OUR_KINDS, *CHILD_KINDS, PODS):
            for item in await self.cluster.client.list_objects(resource, namespace):
                metadata = item["metadata"]
                found.append(f"{resource.kind} {metadata['name']} {metadata['resourceVersion']}")
        return found

    async def _is_whole(self, namespace: str, changing: bool) -> bool:
        """Whether every status is of its object's newest generation and nothing is half done."""
        for resource in OUR_KINDS:
            for item in await self.cluster.client.list_objects(resource, namespace):
                seen = (item.get("status") or {}).get("observedGeneration")
                if item["metadata"].get("deletionTimestamp"):
                    continue  # it may have to wait for its consumers
                if seen != item["metadata"]["generation"]:
                    return False
        secret = await self.cluster.client.get(SECRETS, namespace, CA)
        return changing or secret is None or "phase" not in secret["data"]

    async def _state(self, namespace: str) -> dict[str, str]:
        """Return what is there, without what differs between two namespaces that are as they should be."""
        state = await self._world.state(namespace)
        state.pop(f"Secret {CA}", None)
        for name, text in state.items():
            # Whether pods that cannot serve are a rollout or a loss depends on whether they served before.
            if name.startswith("AgentRuntime ") and _NOT_SERVING.search(text):
                state[name] = _PROGRESS.sub("", text)
        # What was kept of backends that are gone, or are about to go.
        backends = {
            item["metadata"]["name"]: item
            for item in await self.cluster.client.list_objects(SESSION_BACKENDS, namespace)
            if not item["metadata"].get("deletionTimestamp")
        }
        for claim in await self.cluster.client.list_objects(CLAIMS, namespace):
            if (claim["metadata"].get("labels") or {}).get("aixgo.dev/session-backend") not in backends:
                state.pop(f"PersistentVolumeClaim {claim['metadata']['name']}", None)
        return state

    async def _children(self, wanted: Any) -> list[Manifest]:
        found = []
        for resource in CHILD_KINDS:
            items = await self.cluster.client.list_objects(resource, self.namespace, label_selector=OURS)
            found += [item for item in items if wanted(item)]
        return sorted(found, key=lambda item: (item["kind"], item["metadata"]["name"]))


#: A ConfigMap of somebody else that has the name of one of the operator's.
TAKEN = "back-config"

_NOT_SERVING = re.compile(r'"Ready", "False", "(Rolling|NoReadyReplicas)"')
_PROGRESS = re.compile(r'"(Rolling|NoReadyReplicas|RolloutComplete)"')
_DRIFT: dict[str, Manifest] = {
    "Service": {"spec": {"selector": {"aixgo.dev/runtime": "other"}}},
    "Deployment": {"spec": {"template": {"spec": {"automountServiceAccountToken": True}}}},
    "ConfigMap": {"data": {"runtime.json": "{}"}},
    "Secret": {"data": {"tls.key": "bm90IGEga2V5"}},
    "NetworkPolicy": {"spec": {"ingress": []}},
    "ServiceAccount": {"automountServiceAccountToken": True},
    "PodDisruptionBudget": {"spec": {"maxUnavailable": 2}},
}


def _bare(item: Manifest, *fields: str) -> Manifest:
    """Return a manifest that a user could apply."""
    kept = {field: item[field] for field in ("apiVersion", "kind", *fields) if field in item}
    return {**kept, "metadata": {"name": item["metadata"]["name"]}}
