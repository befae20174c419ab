"""Histories of a namespace in which anything may have happened, and the end that they must have."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from tests.support import manifests as m
from tests.support import operator as support
from tests.support.faults import CrashingClient
from tests.support.operator_world import create

from aixgo_operator.kube.errors import NotFoundError
from aixgo_operator.kube.resources import (
    AGENT_RUNTIMES,
    AGENTS,
    CHILD_KINDS,
    CLAIMS,
    DEPLOYMENTS,
    SECRETS,
    SERVICES,
    SESSION_BACKENDS,
)

if TYPE_CHECKING:
    from tests.support.operator_world import World

STEPS = 12
OURS = "app.kubernetes.io/managed-by=aixgo-operator"


class History:
    """What may happen to a namespace, in an order that chance chooses."""

    def __init__(self, cluster: support.Cluster, namespace: str, seed: int) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self.random = random.Random(seed)  # noqa: S311
        self.events: list[str] = []

    async def happens(self) -> None:
        """Let one thing happen. Something that is not there is left alone."""
        choices = (
            self.apply_runtime,
            self.apply_agent,
            self.apply_backend,
            self.delete_something,
            self.delete_child,
            self.edit_child,
            self.rotate,
        )
        event = self.random.choice(choices)
        self.events.append(event.__name__)
        try:
            await event()
        except NotFoundError:
            self.events[-1] += " (not there)"

    async def apply_runtime(self) -> None:
        spec = self.random.choice(
            (
                {},
                {"operatingMode": "Suspended"},
                {"replicas": 2, "clients": [{"name": "bob"}]},
                {"sessionBackendRef": {"name": "sessions"}, "image": "example.org/r:2"},
                {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}},
            )
        )
        await self._cluster.apply(m.runtime(self._namespace, **spec))

    async def apply_agent(self) -> None:
        spec = self.random.choice(
            ({"prompt": "Rhyme."}, {"operatingMode": "Suspended"}, {"timeoutSeconds": 5})
        )
        await self._cluster.apply(m.agent(self._namespace, **spec))

    async def apply_backend(self) -> None:
        await self._cluster.apply(m.managed_redis(self._namespace))

    async def delete_something(self) -> None:
        resource, name = self.random.choice(
            ((AGENT_RUNTIMES, "runtime"), (AGENTS, "assistant"), (SESSION_BACKENDS, "sessions"))
        )
        await self._cluster.delete(resource, self._namespace, name)

    async def delete_child(self) -> None:
        # A volume is kept when its backend goes; and without its authority an installation begins anew.
        kind = self.random.choice([resource for resource in CHILD_KINDS if resource != CLAIMS])
        found = await self._cluster.client.list_objects(kind, self._namespace, label_selector=OURS)
        names = [item["metadata"]["name"] for item in found if item["metadata"]["name"] != "aixgo-ca"]
        if names:
            await self._cluster.delete(kind, self._namespace, self.random.choice(names))

    async def edit_child(self) -> None:
        resource, body = self.random.choice(
            (
                (SERVICES, {"spec": {"selector": {"aixgo.dev/runtime": "other"}}}),
                (DEPLOYMENTS, {"spec": {"template": {"spec": {"automountServiceAccountToken": True}}}}),
                (SECRETS, {"data": {"tls.key": "bm90IGEga2V5"}}),
            )
        )
        name = "runtime-tls" if resource == SECRETS else "runtime"
        await self._cluster.patch(resource, self._namespace, name, body)

    async def rotate(self) -> None:
        asked = {"metadata": {"annotations": {"aixgo.dev/rotate": str(self.random.random())}}}
        await self._cluster.patch(SECRETS, self._namespace, "aixgo-ca", asked)


async def run_history(world: World, seed: int) -> None:
    """Let a history happen, then apply the usual manifests. Raises AssertionError for another end."""
    calm = await world.cluster.namespace("calm")
    await create(world.cluster, calm)
    await world.finish(calm)
    wanted = await world.state(calm)

    namespace = await world.cluster.namespace("history")
    history = History(world.cluster, namespace, seed)
    for _ in range(STEPS):
        await history.happens()
        client = await CrashingClient.connect(
            str(world.plane.kubeconfig), writes=history.random.randint(1, 30)
        )
        assert isinstance(client, CrashingClient)
        async with await world.operator(namespace, client):
            # Long enough for some of the work; an operator may end in the middle of anything.
            dying = asyncio.create_task(client.dead.wait())
            await asyncio.wait([dying], timeout=history.random.uniform(0.2, 1.2))
            dying.cancel()
    await _until_nothing_goes(world, namespace)
    await create(world.cluster, namespace)

    async def same() -> bool:
        return await world.state(namespace) == wanted

    client = await CrashingClient.connect(str(world.plane.kubeconfig))
    async with await world.operator(namespace, client):
        await world.settled(namespace)
        try:
            # What belonged to a backend of the same name before works until the garbage collector takes it.
            await support.until(same, "the same objects", timeout=20.0, every=0.5)
        except AssertionError:
            assert await world.state(namespace) == wanted, history.events


async def _until_nothing_goes(world: World, namespace: str) -> None:
    """Let a backend that is being deleted go: its consumer holds it."""
    found = await world.cluster.client.get(SESSION_BACKENDS, namespace, "sessions")
    if found is None or not found["metadata"].get("deletionTimestamp"):
        return
    if await world.cluster.client.get(AGENT_RUNTIMES, namespace, "runtime") is not None:
        await world.cluster.delete(AGENT_RUNTIMES, namespace, "runtime")
    client = await CrashingClient.connect(str(world.plane.kubeconfig))
    async with await world.operator(namespace, client):

        async def gone() -> bool:
            return await world.cluster.client.get(SESSION_BACKENDS, namespace, "sessions") is None

        await support.until(gone, "the backend is gone", timeout=20.0)
