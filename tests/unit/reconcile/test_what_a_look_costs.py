"""Requests that a look does without (docs/architecture/decisions/0016-what-a-look-costs.md)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support import manifests as m

from aixgo_operator.kube.resources import SECRETS, Resource
from aixgo_operator.reconcile.cache import Cache
from aixgo_operator.reconcile.referenced import ReferencedObjects
from aixgo_operator.reconcile.status import StatusWriter, is_on_its_way

DEFAULT = {"conditions": [{"type": "Ready", "status": "Unknown", "reason": "Pending", "message": ""}]}


def told(status: str, reason: str) -> dict[str, Any]:
    ready = {"type": "Ready", "status": status, "reason": reason, "message": "", "lastTransitionTime": "t"}
    return {"observedGeneration": 1, "conditions": [ready]}


class Client:
    """Reads that wait until they are let go, writes that always work."""

    def __init__(self) -> None:
        self.reads = 0
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()
        self.events: list[str] = []

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any]:
        self.reads += 1
        self.asked.set()
        await self.answer.wait()
        return {"kind": resource.kind, "metadata": {"namespace": namespace, "name": name, "uid": "u"}}

    async def replace_status(self, manifest: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
        return manifest | {"metadata": manifest["metadata"] | {"resourceVersion": "2"}, "status": status}

    async def create_event(self, involved: dict[str, Any], *, reason: str, **_: str) -> None:
        self.events.append(f"{involved['kind']} {reason}")


async def read_while(client: Client, objects: ReferencedObjects, changed: str) -> None:
    """Read Secret n/a while the Secret ``changed`` changes."""
    reading = asyncio.create_task(objects.read(SECRETS, ("n", "a")))
    await client.asked.wait()
    objects.forget("Secret", "n", changed)
    client.answer.set()
    await reading
    await objects.read(SECRETS, ("n", "a"))


async def test_what_was_read_is_kept_while_others_change() -> None:
    client = Client()
    await read_while(client, ReferencedObjects(client, Cache()), "b")  # type: ignore[arg-type]
    assert client.reads == 1


async def test_an_answer_that_a_change_overtook_is_not_kept() -> None:
    client = Client()
    await read_while(client, ReferencedObjects(client, Cache()), "a")  # type: ignore[arg-type]
    assert client.reads == 2


async def test_of_two_reads_at_once_the_later_is_kept() -> None:
    client = Client()
    objects = ReferencedObjects(client, Cache())  # type: ignore[arg-type]
    first = asyncio.create_task(objects.read(SECRETS, ("n", "a")))
    await client.asked.wait()
    client.asked.clear()
    second = asyncio.create_task(objects.read(SECRETS, ("n", "a")))
    await client.asked.wait()
    client.answer.set()
    await asyncio.gather(first, second)
    await objects.read(SECRETS, ("n", "a"))
    assert client.reads == 2


def secret(version: int, name: str = "a") -> dict[str, Any]:
    """Return a Secret as a watch tells of it."""
    metadata = {"namespace": "n", "name": name, "uid": "u", "resourceVersion": str(version)}
    metadata["managedFields"] = "long"
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {}}


def referring(name: str = "a") -> Cache:
    """Return a cache with an Agent that refers to Secret n/a."""
    cache = Cache()
    key = {"name": name, "key": "token"}
    agent = m.agent("n", model={"provider": "openai", "name": "s", "apiKeySecretRef": key})
    agent["metadata"] |= {"uid": "agent", "resourceVersion": "1"}
    cache.put(agent)
    return cache


async def test_what_a_watch_tells_is_not_read() -> None:
    client = Client()
    objects = ReferencedObjects(client, referring())  # type: ignore[arg-type]
    for version, known in ((2, 2), (3, 3), (2, 3)):
        objects.take(secret(version))
        found = await objects.read(SECRETS, ("n", "a"))
        assert found is not None
        assert found["metadata"]["resourceVersion"] == str(known)
        assert "managedFields" not in found["metadata"]
    assert client.reads == 0


async def test_what_nobody_refers_to_is_not_kept() -> None:
    client = Client()
    client.answer.set()
    objects = ReferencedObjects(client, referring("b"))  # type: ignore[arg-type]
    objects.take(secret(2))
    assert not objects.holds(secret(2))
    await objects.read(SECRETS, ("n", "a"))
    assert client.reads == 1


async def test_neither_an_answer_nor_an_event_is_kept_when_they_overtake_each_other() -> None:
    client = Client()
    objects = ReferencedObjects(client, referring())  # type: ignore[arg-type]
    reading = asyncio.create_task(objects.read(SECRETS, ("n", "a")))
    await client.asked.wait()
    objects.take(secret(2))
    client.answer.set()
    await reading
    await objects.read(SECRETS, ("n", "a"))
    assert client.reads == 2


@pytest.mark.parametrize(
    ("kind", "before", "after", "events"),
    [
        ("Agent", DEFAULT, told("True", "Ready"), []),
        ("Agent", told("False", "Pending"), told("True", "Ready"), ["Agent Ready"]),
        ("Agent", DEFAULT, told("False", "SecretNotFound"), ["Agent SecretNotFound"]),
        ("Agent", told("True", "Ready"), told("False", "LoadFailed"), ["Agent LoadFailed"]),
        ("AgentRuntime", DEFAULT, told("True", "Ready"), ["AgentRuntime Ready"]),
    ],
)
async def test_an_agent_that_is_ready_at_the_first_look_is_no_event(
    kind: str, before: dict[str, Any], after: dict[str, Any], events: list[str]
) -> None:
    def now() -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    client, cache = Client(), Cache()
    writer = StatusWriter(client, cache, now)  # type: ignore[arg-type]
    metadata = {"namespace": "n", "name": "x", "uid": "u", "resourceVersion": "1"}
    await writer.write(
        {"apiVersion": "aixgo.dev/v1alpha1", "kind": kind, "metadata": metadata, "status": before}, after
    )
    assert client.events == events


@pytest.mark.parametrize(
    ("stored", "status", "trouble", "seconds", "silent"),
    [
        # An ordinary start: every step of it is one that passes by itself.
        (DEFAULT, told("False", "Pending"), False, 0, True),
        (DEFAULT, told("False", "Rolling"), False, 9, True),
        (DEFAULT, told("Unknown", "NotReady"), False, 9, True),
        # It is over, it takes long, something is wrong with the runtime, or only a person can help.
        (DEFAULT, told("True", "Ready"), False, 0, False),
        (DEFAULT, told("False", "Rolling"), False, 10, False),
        (DEFAULT, told("False", "Rolling"), True, 0, False),
        (DEFAULT, told("False", "SecretNotFound"), False, 0, False),
        (DEFAULT, told("False", "Suspended"), False, 0, False),
        # Who was told of a state is told of the next.
        (told("False", "SecretNotFound"), told("False", "Pending"), False, 0, False),
        (told("True", "Ready"), told("False", "Rolling"), False, 0, False),
        # Nothing is stored before the API server has written its default.
        ({}, told("False", "Rolling"), False, 0, True),
    ],
)
def test_an_ordinary_start_is_told_when_it_is_over(
    stored: dict[str, Any], status: dict[str, Any], trouble: bool, seconds: int, silent: bool
) -> None:
    waited = timedelta(seconds=seconds)
    assert is_on_its_way({"status": stored}, status, trouble=trouble, waited=waited) is silent
