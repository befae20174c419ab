"""Deletion in every order: nothing is stuck or left, and sessions go or stay as deletionPolicy says."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import manifests as m
from tests.support import operator as support
from tests.support.redis_server import RedisServer

from aixgo.session import Manager
from aixgo.session.redis.backend import RedisBackend
from aixgo_operator.api.constants import ANNOTATION_FORCE_DELETE, FINALIZER_SESSION_PROTECTION
from aixgo_operator.kube.resources import (
    AGENT_RUNTIMES,
    AGENTS,
    CHILD_KINDS,
    CLAIMS,
    CONFIG_MAPS,
    NAMESPACES,
    OUR_KINDS,
    PODS,
    SECRETS,
    SESSION_BACKENDS,
    Resource,
)
from aixgo_operator.probe.redis_info import RedisProber

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.cluster.control_plane import ControlPlane

    from aixgo_operator.probe.redis_info import RedisEndpoint

pytestmark = pytest.mark.apiserver

OURS = "app.kubernetes.io/managed-by=aixgo-operator"
NAMES = {SESSION_BACKENDS: "sessions", AGENT_RUNTIMES: "runtime", AGENTS: "assistant"}
ORDERS = list(itertools.permutations(NAMES))


async def populate(cluster: support.Cluster, namespace: str, policy: str) -> None:
    await cluster.apply(m.managed_redis(namespace, deletionPolicy=policy))
    await cluster.apply(m.runtime(namespace, sessionBackendRef={"name": "sessions"}))
    await cluster.apply(m.agent(namespace))


async def left(cluster: support.Cluster, namespace: str) -> list[str]:
    """Return what is still there of ours and of users' objects."""
    found = []
    for resource in (*OUR_KINDS, *CHILD_KINDS, PODS):
        selector = "" if resource in OUR_KINDS else OURS
        items = await cluster.client.list_objects(resource, namespace, label_selector=selector)
        found += [f"{resource.plural}/{item['metadata']['name']}" for item in items]
    return sorted(found)


async def until_left(cluster: support.Cluster, namespace: str, wanted: list[str], what: str) -> None:
    seen: list[str] = []

    async def reached() -> bool:
        seen[:] = await left(cluster, namespace)
        return seen == wanted

    try:
        await support.until(reached, what, timeout=60, every=0.3)
    except AssertionError as error:
        raise AssertionError(f"{error}; left: {seen}") from None


async def test_every_order_leaves_nothing_but_kept_volumes(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    namespaces = [await cluster.namespace("gone") for _ in range(len(ORDERS) + 1)]
    own, *teams = namespaces
    policies = ["Delete", "Retain"]
    async with support.running(plane, cluster, support.settings(own, tuple(namespaces))):
        for number, team in enumerate(teams):
            await populate(cluster, team, policies[number % 2])
        for team in teams:
            await cluster.until_condition(AGENTS, team, "assistant", "Ready", "True", timeout=60)

        async def delete(team: str, order: tuple[Resource, ...], policy: str) -> None:
            for resource in order:
                await cluster.delete(resource, team, NAMES[resource])
            kept = [] if policy == "Delete" else ["persistentvolumeclaims/sessions-redis"]
            names = [resource.plural for resource in order]
            await until_left(cluster, team, kept, f"{names} with {policy} leaves {kept}")

        await asyncio.gather(
            *(
                delete(team, order, policies[number % 2])
                for number, (team, order) in enumerate(zip(teams, ORDERS, strict=True))
            )
        )


async def test_a_namespace_with_everything_in_it(plane: ControlPlane, cluster: support.Cluster) -> None:
    """O9: in a namespace that is going away, what is refused is in order."""
    own, team = await cluster.namespace("operator"), await cluster.namespace("gone")
    async with support.running(plane, cluster, support.settings(own, (own, team))) as operator:
        await populate(cluster, team, "Delete")
        await cluster.until_condition(AGENTS, team, "assistant", "Ready", "True", timeout=30)
        await cluster.client.request("DELETE", NAMESPACES.path(None, team))

        async def gone() -> bool:
            return await cluster.client.get(NAMESPACES, None, team) is None

        await support.until(gone, "the namespace is gone", timeout=60, every=0.3)
        await operator.quiet(timeout=40)


async def test_the_operator_goes_first(plane: ControlPlane, cluster: support.Cluster) -> None:
    """O9: All but a protected backend goes without it; that is released by the next operator, or by hand."""
    own, team = await cluster.namespace("operator"), await cluster.namespace("gone")
    unused = m.file_backend(team, "unused")
    async with support.running(plane, cluster, support.settings(own, (own, team))):
        await populate(cluster, team, "Delete")
        await cluster.apply(unused)
        await cluster.apply(m.file_backend(team, "files"))
        await cluster.apply(m.runtime(team, "filed", sessionBackendRef={"name": "files"}))
        await cluster.until_condition(AGENT_RUNTIMES, team, "filed", "Ready", "True", timeout=30)
        await cluster.until_condition(AGENTS, team, "assistant", "Ready", "True", timeout=30)
    more = ((AGENT_RUNTIMES, "filed"), (SESSION_BACKENDS, "files"), (SESSION_BACKENDS, "unused"))
    for resource, name in (*NAMES.items(), *more):
        await cluster.delete(resource, team, name)
    # As in docs/uninstall.md.
    nothing = '{"metadata":{"finalizers":null}}'
    plane.kubectl("patch", "sessionbackend", "files", "-n", team, "--type=merge", "-p", nothing)
    redis = ["configmaps/sessions-redis", "networkpolicies/sessions-redis"]
    await until_left(
        cluster,
        team,
        sorted(
            [
                *redis,
                "persistentvolumeclaims/files-sessions",
                "persistentvolumeclaims/sessions-redis",
                "persistentvolumeclaims/unused-sessions",
                "pods/sessions-redis-0",
                "secrets/sessions-redis-auth",
                "secrets/sessions-redis-tls",
                "services/sessions-redis",
                "sessionbackends/sessions",
                "statefulsets/sessions-redis",
            ]
        ),
        "all but the protected backend is gone",
    )
    found = await cluster.get(SESSION_BACKENDS, team, "sessions")
    assert found["metadata"]["finalizers"] == [FINALIZER_SESSION_PROTECTION]
    async with support.running(plane, cluster, support.settings(own, (own, team))):
        kept = ["persistentvolumeclaims/files-sessions", "persistentvolumeclaims/unused-sessions"]
        await until_left(cluster, team, kept, "an operator that comes back ends it")


# Sessions


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis", config=("appendonly yes",)).start()
    yield server
    server.kill()


async def converse(server: RedisServer, namespace: str, prefix: str = "aixgo:sessions:") -> str:
    """Store a session as a runtime of that namespace does."""
    async with Manager(
        RedisBackend.from_url(f"redis://{server.address}", key_prefix=f"{prefix}{namespace}:")
    ) as manager:
        session = await manager.create("assistant", user_id="ada")
    return session.id


async def sessions_of(server: RedisServer, namespace: str, prefix: str = "aixgo:sessions:") -> list[str]:
    async with Manager(
        RedisBackend.from_url(f"redis://{server.address}", key_prefix=f"{prefix}{namespace}:")
    ) as manager:
        return [each.id for each in await manager.list(agent_name="assistant")]


def external(server: RedisServer, namespace: str, **spec: Any) -> dict[str, Any]:
    where = {"addresses": [server.address], "tls": {"mode": "Disabled"}}
    return m.managed_redis(namespace, redis=where, **spec)


async def test_sessions_are_purged_or_kept(
    plane: ControlPlane, cluster: support.Cluster, redis: RedisServer
) -> None:
    """Two backends on one Redis with one prefix, and sessions of somebody else: each has its own."""
    own, team, friend, stranger = [
        await cluster.namespace(n) for n in ("operator", "team", "friend", "other")
    ]
    consent = {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"friend": team}}}}
    await cluster.patch(NAMESPACES, "", friend, {"metadata": {"labels": {"friend": team}}})
    kept = {name: await converse(redis, name) for name in (team, friend, stranger)}
    elsewhere = await converse(redis, team, "elsewhere:")
    chosen = support.settings(own, (own, team, friend, stranger))
    async with support.running(plane, cluster, chosen, backends=RedisProber()):

        async def delete(policy: str) -> None:
            await cluster.apply(external(redis, team, deletionPolicy=policy, allowedConsumers=consent))
            await cluster.until_condition(SESSION_BACKENDS, team, "sessions", "Reachable", "True")
            await cluster.until_condition(SESSION_BACKENDS, team, "sessions", "Ready", "True")
            found = await cluster.get(SESSION_BACKENDS, team, "sessions")
            finalizers = found["metadata"].get("finalizers") or []
            assert (FINALIZER_SESSION_PROTECTION in finalizers) is (policy == "Delete")
            await cluster.delete(SESSION_BACKENDS, team, "sessions")
            await until_left(cluster, team, [], f"the backend with {policy} is gone")

        await delete("Retain")
        assert {name: await sessions_of(redis, name) for name in kept} == {n: [s] for n, s in kept.items()}
        await delete("Delete")
        assert await sessions_of(redis, team) == []
        assert await sessions_of(redis, friend) == []
        # Of namespaces without consent, and of other prefixes, nothing is touched.
        assert await sessions_of(redis, stranger) == [kept[stranger]]
        assert await sessions_of(redis, team, "elsewhere:") == [elsewhere]


async def test_a_purge_waits_for_redis_unless_told_otherwise(
    plane: ControlPlane, cluster: support.Cluster, redis: RedisServer
) -> None:
    """O9: a cleanup that cannot end is told, and ended by the annotation."""
    own, team, other = [await cluster.namespace(name) for name in ("operator", "team", "other")]
    for namespace in (team, other):
        await converse(redis, namespace)
    chosen = support.settings(own, (own, team, other))
    async with support.running(plane, cluster, chosen, backends=RedisProber(timeout=0.5)):
        for namespace in (team, other):
            await cluster.apply(external(redis, namespace, deletionPolicy="Delete"))
            await cluster.until_condition(SESSION_BACKENDS, namespace, "sessions", "Ready", "True")
        redis.kill()
        for namespace in (team, other):
            await cluster.delete(SESSION_BACKENDS, namespace, "sessions")
            told = await cluster.until_condition(
                SESSION_BACKENDS, namespace, "sessions", "Degraded", "True", "ReconcileError"
            )
            assert redis.address in told["message"]
        annotations = {"metadata": {"annotations": {ANNOTATION_FORCE_DELETE: "true"}}}
        await cluster.patch(SESSION_BACKENDS, other, "sessions", annotations)
        await until_left(cluster, other, [], "force releases the backend")
        assert await left(cluster, team) == ["sessionbackends/sessions"]
        redis.start()
        await until_left(cluster, team, [], "the purge goes on when Redis is back")
        assert await sessions_of(redis, team) == []
        assert len(await sessions_of(redis, other)) == 1


async def test_a_purge_that_does_not_end_is_told_and_needs_no_secret_any_more(
    plane: ControlPlane, cluster: support.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """O9: with a namespace its Secrets may go first; and somebody may write as fast as keys are deleted."""
    team = await cluster.namespace("endless")
    monkeypatch.setattr("aixgo_operator.domain.backend_state.PURGE_DEADLINE", timedelta(seconds=3))
    where = {
        "addresses": [f"redis.{team}.svc:6379"],
        "tls": {"mode": "Disabled"},
        "auth": {"passwordSecretRef": {"name": "redis", "key": "password"}},
    }
    asked: list[tuple[str | None, str]] = []
    left_over = True

    async def purge(endpoint: RedisEndpoint, prefix: str, *, limit: int) -> int:
        asked.append((endpoint.password, prefix))
        return limit if left_over else 0

    async with support.running(plane, cluster, support.settings(team, (team,))) as operator:
        monkeypatch.setattr(operator.redis, "purge", purge)
        await cluster.apply(m.secret(team, "redis", password="known"))
        await cluster.apply(m.managed_redis(team, redis=where, deletionPolicy="Delete"))
        await cluster.until_condition(SESSION_BACKENDS, team, "sessions", "Ready", "True")
        await cluster.delete(SECRETS, team, "redis")
        await cluster.until_condition(SESSION_BACKENDS, team, "sessions", "Ready", "False", "SecretNotFound")
        await cluster.delete(SESSION_BACKENDS, team, "sessions")
        told = await cluster.until_condition(SESSION_BACKENDS, team, "sessions", "Ready", "False", "Pending")
        assert told["message"] == "the backend is being deleted, and its sessions with it"
        told = await cluster.until_condition(
            SESSION_BACKENDS, team, "sessions", "Ready", "False", "ReconcileError"
        )
        assert "does somebody go on writing them?" in told["message"]
        assert f"{ANNOTATION_FORCE_DELETE}=true" in told["message"]
        left_over = False
        await until_left(cluster, team, [], "it ends when nobody writes any more")
        assert set(asked) == {("known", f"aixgo:sessions:{team}:")}
        # A status a word, not one a step.
        told_in = sum(count for what, count in operator.writes().items() if what.endswith(" sessionbackends"))
        assert len(asked) > told_in


async def test_a_backend_in_use_is_released_by_force(plane: ControlPlane, cluster: support.Cluster) -> None:
    team = await cluster.namespace("forced")
    async with support.running(plane, cluster, support.settings(team, (team,))):
        await populate(cluster, team, "Retain")
        await cluster.until_condition(AGENTS, team, "assistant", "Ready", "True", timeout=30)
        claim = await cluster.get(CLAIMS, team, "sessions-redis")
        await cluster.delete(SESSION_BACKENDS, team, "sessions")
        await cluster.until_condition(SESSION_BACKENDS, team, "sessions", "InUse", "True", "DeletionBlocked")
        annotations = {"metadata": {"annotations": {ANNOTATION_FORCE_DELETE: "true"}}}
        await cluster.patch(SESSION_BACKENDS, team, "sessions", annotations)
        problem = await cluster.until_condition(
            AGENT_RUNTIMES, team, "runtime", "ResolvedRefs", "False", "SessionBackendNotFound"
        )
        assert "sessions" in problem["message"]
        found = await cluster.get(CLAIMS, team, "sessions-redis")
        assert found["metadata"]["uid"] == claim["metadata"]["uid"]


async def test_a_backend_whose_deletion_waits_is_kept_in_order(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    """Its runtimes may use it for days yet: longer than its certificate is valid."""
    own, team, friend = [await cluster.namespace(name) for name in ("operator", "kept", "friend")]
    consent = {"namespaces": {"from": "All"}}
    async with support.running(plane, cluster, support.settings(own, (own, team, friend))) as operator:
        await cluster.apply(m.managed_redis(team, allowedConsumers=consent))
        await cluster.apply(m.runtime(team, sessionBackendRef={"name": "sessions"}))
        await cluster.until_condition(AGENT_RUNTIMES, team, "runtime", "Ready", "True", timeout=30)
        await cluster.delete(SESSION_BACKENDS, team, "sessions")
        await cluster.until_condition(SESSION_BACKENDS, team, "sessions", "InUse", "True", "DeletionBlocked")

        tls = await cluster.get(SECRETS, team, "sessions-redis-tls")
        await cluster.delete(SECRETS, team, "sessions-redis-tls")
        await cluster.delete(CONFIG_MAPS, team, "sessions-redis")

        async def repaired() -> bool:
            found = await cluster.client.get(SECRETS, team, "sessions-redis-tls")
            again = found is not None and found["metadata"]["uid"] != tls["metadata"]["uid"]
            return again and await cluster.client.get(CONFIG_MAPS, team, "sessions-redis") is not None

        await support.until(repaired, "a certificate and a ConfigMap in place of those that went")
        # Who comes now holds it up, too, and needs a user of Redis.
        there = {"namespace": team, "name": "sessions"}
        await cluster.apply(m.runtime(friend, sessionBackendRef=there))
        await cluster.until_condition(AGENT_RUNTIMES, friend, "runtime", "Ready", "True", timeout=30)
        await cluster.until_condition(SESSION_BACKENDS, team, "sessions", "Ready", "True", "DeletionBlocked")
        await operator.quiet()
        await cluster.delete(AGENT_RUNTIMES, team, "runtime")
        await cluster.delete(AGENT_RUNTIMES, friend, "runtime")
        await until_left(cluster, team, ["persistentvolumeclaims/sessions-redis"], "it goes with its users")


async def test_a_backend_that_goes_with_its_namespace_says_whom_it_waits_for(
    plane: ControlPlane, cluster: support.Cluster
) -> None:
    own, team, friend = [await cluster.namespace(name) for name in ("operator", "gone", "friend")]
    consent = {"namespaces": {"from": "All"}}
    async with support.running(plane, cluster, support.settings(own, (own, team, friend))) as operator:
        await cluster.apply(m.managed_redis(team, allowedConsumers=consent))
        there = {"namespace": team, "name": "sessions"}
        await cluster.apply(m.runtime(friend, sessionBackendRef=there))
        await cluster.until_condition(AGENT_RUNTIMES, friend, "runtime", "Ready", "True", timeout=30)
        await cluster.client.request("DELETE", NAMESPACES.path(None, team))
        told = await cluster.until_condition(
            SESSION_BACKENDS, team, "sessions", "InUse", "True", "DeletionBlocked"
        )
        assert f"{friend}/runtime" in told["message"]
        await until_left(cluster, team, ["sessionbackends/sessions"], "its objects are gone")
        await operator.quiet(seconds=2.0)
        await cluster.delete(AGENT_RUNTIMES, friend, "runtime")

        async def gone() -> bool:
            return await cluster.client.get(NAMESPACES, None, team) is None

        await support.until(gone, "the namespace is gone", timeout=60, every=0.3)
