"""Consent between namespaces as a matrix, and refusals that do not tell whether the target exists."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import manifests as m
from tests.support import operator as support

from aixgo_operator.kube.resources import (
    AGENT_RUNTIMES,
    AGENTS,
    DEPLOYMENTS,
    EVENTS,
    NAMESPACES,
    SECRETS,
    Resource,
)

if TYPE_CHECKING:
    from tests.support.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.apiserver

CONSENTS: dict[str, dict[str, Any]] = {
    "same": {"from": "Same"},
    "all": {"from": "All"},
    "selector": {"from": "Selector", "selector": {"matchLabels": {"friend": "yes"}}},
}
#: Of no object. As long as the others, so that messages differ by the name alone.
NOBODY = "nobody"
KINDS = ("attaches", "consumes", "calls")
#: What follows from the object's own name and keys.
OWN = {"conditions", "tls", "revision", "loadedRevision"}
REASONS = {"attaches": "RuntimeNotFound", "consumes": "SessionBackendNotFound", "calls": "AgentNotFound"}


@dataclass(frozen=True)
class Reference:
    """An object in ``namespace`` that refers to ``target`` in the owner's namespace."""

    kind: str
    namespace: str
    owner: str
    target: str

    @property
    def resource(self) -> Resource:
        return AGENT_RUNTIMES if self.kind == "consumes" else AGENTS

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.target}"

    def manifest(self) -> dict[str, Any]:
        there = {"namespace": self.owner, "name": f"{self.target}-{self.kind}"}
        if self.kind == "consumes":
            return m.runtime(self.namespace, self.name, sessionBackendRef=there)
        if self.kind == "attaches":
            return m.agent(self.namespace, self.name, runtimeRef=there)
        return m.agent(self.namespace, self.name, tools=[{"name": "other", "agentRef": there}])


def targets(owner: str) -> list[dict[str, Any]]:
    """Return an object of each kind for each consent."""
    made = []
    for name, consent in CONSENTS.items():
        allowed = {"namespaces": consent}
        redis = {"addresses": ["redis.example:6379"]}
        made += [
            m.runtime(owner, f"{name}-attaches", allowedAgents=allowed),
            m.managed_redis(owner, f"{name}-consumes", redis=redis, allowedConsumers=allowed),
            m.agent(owner, f"{name}-calls", allowedCallers=allowed),
        ]
    return made


async def verdict(cluster: support.Cluster, each: Reference) -> tuple[str, str, str]:
    """Return status, reason and message (without the target's name) of ResolvedRefs."""
    found: dict[str, Any] = {}

    async def looked() -> bool:
        found.clear()
        found.update(await cluster.condition(each.resource, each.namespace, each.name, "ResolvedRefs"))
        return found.get("status") in ("True", "False")

    await support.until(looked, f"the operator has looked at {each}", timeout=60, every=0.3)
    return found["status"], found["reason"], found["message"].replace(f"{each.target}-{each.kind}", "X")


async def told(cluster: support.Cluster, each: Reference) -> str:
    """Return all that an object's status and the Events about it say, but times, names and its own keys."""
    stored = await cluster.get(each.resource, each.namespace, each.name)
    status = {key: value for key, value in stored["status"].items() if key not in OWN}
    conditions = [
        (item["type"], item["status"], item["reason"], item["message"])
        for item in stored["status"]["conditions"]
    ]
    events = sorted(
        {
            (event["reason"], event["message"])
            for event in await cluster.client.list_objects(EVENTS, each.namespace)
            if event["involvedObject"]["uid"] == stored["metadata"]["uid"]
        }
    )
    text = json.dumps([sorted(conditions), status, events], sort_keys=True)
    return text.replace(f"{each.target}-{each.kind}", "X").replace(each.name, "Y")


async def told_alike(cluster: support.Cluster, refused: list[Reference]) -> None:
    """Wait until all of them (one refers to nobody) are told the same: their pods start one by one."""
    told_to: dict[str, str] = {}

    async def alike() -> bool:
        told_to.update({each.target: await told(cluster, each) for each in refused})
        return len(set(told_to.values())) == 1

    try:
        await support.until(alike, "they are told the same", timeout=30, every=0.3)
    except AssertionError as error:
        raise AssertionError(f"{error}: {told_to}") from None
    assert "does not exist or does not allow" in told_to[NOBODY]


async def test_consent_is_what_decides(plane: ControlPlane, cluster: support.Cluster) -> None:
    operator, owner, friend, stranger = [
        await cluster.namespace(name) for name in ("operator", "owner", "friend", "stranger")
    ]
    await cluster.patch(NAMESPACES, "", friend, {"metadata": {"labels": {"friend": "yes"}}})
    sources = (owner, friend, stranger)
    async with support.running(plane, cluster, support.settings(operator)):
        for namespace in sources:
            await cluster.apply(m.runtime(namespace))
        for manifest in targets(owner):
            await cluster.apply(manifest)
        references = [
            Reference(kind, namespace, owner, target)
            for kind in KINDS
            for namespace in sources
            for target in (*CONSENTS, NOBODY)
        ]
        for each in references:
            await cluster.apply(each.manifest())

        async def permitted() -> dict[Reference, tuple[str, str, str]]:
            return dict(
                zip(references, await asyncio.gather(*(verdict(cluster, r) for r in references)), strict=True)
            )

        def wanted(each: Reference, friends: tuple[str, ...]) -> tuple[str, str]:
            if each.target != NOBODY and (
                each.namespace == owner
                or each.target == "all"
                or (each.target == "selector" and each.namespace in friends)
            ):
                return "True", "Resolved"
            return "False", REASONS[each.kind] if each.namespace == owner else "RefNotPermitted"

        async def settles(*friends: str) -> dict[Reference, tuple[str, str, str]]:
            seen: dict[Reference, tuple[str, str, str]] = {}
            wrong: dict[Reference, Any] = {}

            async def right() -> bool:
                seen.update(await permitted())
                wrong.clear()
                wrong.update({r: v for r, v in seen.items() if v[:2] != wanted(r, friends)})
                return not wrong

            try:
                await support.until(right, "every verdict is right", timeout=60, every=0.5)
            except AssertionError as error:
                raise AssertionError(f"{error}: {wrong}") from None
            return seen

        seen = await settles(friend)
        for kind in KINDS:
            for namespace in (friend, stranger):
                refused = [
                    r
                    for r, v in seen.items()
                    if (r.kind, r.namespace) == (kind, namespace) and v[0] == "False"
                ]
                assert len(refused) >= 2
                await told_alike(cluster, refused)

        # Labels of namespaces decide, also later.
        await cluster.patch(NAMESPACES, "", friend, {"metadata": {"labels": {"friend": None}}})
        await cluster.patch(NAMESPACES, "", stranger, {"metadata": {"labels": {"friend": "yes"}}})
        await settles(stranger)


async def test_who_takes_his_consent_back_takes_his_credentials_back(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    operator, owner, friend = [await cluster.namespace(name) for name in ("operator", "owner", "friend")]
    copy = "runtime-session-auth"
    redis = {
        "addresses": ["redis.example:6379"],
        "auth": {"passwordSecretRef": {"name": "redis", "key": "password"}},
    }

    def backend(consent: str) -> dict[str, Any]:
        return m.managed_redis(owner, redis=redis, allowedConsumers={"namespaces": CONSENTS[consent]})

    async with support.running(plane, cluster, support.settings(operator, (operator, owner, friend))):
        await cluster.apply(m.secret(owner, "redis", password="theirs"))
        await cluster.apply(backend("all"))
        there = {"namespace": owner, "name": "sessions"}
        await cluster.apply(m.runtime(friend, sessionBackendRef=there))
        await cluster.until_condition(AGENT_RUNTIMES, friend, "runtime", "Ready", "True")
        serving = await cluster.get(DEPLOYMENTS, friend, "runtime")
        assert (await cluster.get(SECRETS, friend, copy))["data"]

        await cluster.apply(backend("same"))
        await cluster.until_condition(AGENT_RUNTIMES, friend, "runtime", "Ready", "False", "RefNotPermitted")

        async def taken() -> bool:
            return await cluster.client.get(SECRETS, friend, copy) is None

        await support.until(taken, "the copy is gone")
        found = await cluster.get(DEPLOYMENTS, friend, "runtime")
        assert found["metadata"]["generation"] == serving["metadata"]["generation"], (
            "what serves is not touched"
        )

        await cluster.apply(backend("all"))
        await cluster.until_condition(AGENT_RUNTIMES, friend, "runtime", "Ready", "True")
        assert (await cluster.get(SECRETS, friend, copy))["data"]
