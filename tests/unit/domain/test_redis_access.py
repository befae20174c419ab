"""A SessionBackend whose Redis another operator runs: what its RedisReplication says is where it is."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.domain import SETTINGS, make_backend, make_runtime, resolve

from aixgo_operator.api.v1alpha1 import SessionBackend
from aixgo_operator.domain.redis_access import Replication
from aixgo_operator.domain.resolve import resolve_backend
from aixgo_operator.domain.resolved import ResolvedBackend
from aixgo_operator.domain.snapshot import Snapshot

HOST = "master.redis.svc.cluster.local"
INFO = {"host": HOST, "port": 6379}
SENTINELS = {"host": "sentinels.redis.svc", "port": 26379, "masterName": "mymaster"}


def backend(**redis: Any) -> SessionBackend:
    return make_backend(type="Redis", redis={"replicationRef": {"name": "r"}, **redis})


def resolved(info: dict[str, Any] | None, *, forbidden: bool = False, **redis: Any) -> ResolvedBackend:
    replication = Replication(info or {}, forbidden=forbidden)
    return resolve_backend(Snapshot(backend=backend(**redis), replication=replication), SETTINGS)


def access(info: dict[str, Any], **redis: Any) -> tuple[str, tuple[str, ...], str | None]:
    found = resolved(info, **redis)
    assert found.problems == ()
    assert not found.held
    assert found.access is not None
    assert found.address == found.access.addresses[0]
    return found.access.mode, found.access.addresses, found.access.sentinel_master


def test_a_master_is_reached_directly() -> None:
    assert access(INFO) == ("Standalone", (f"{HOST}:6379",), None)
    assert access({**INFO, "port": "6380"}) == ("Standalone", (f"{HOST}:6380",), None)


def test_sentinels_say_who_the_master_is() -> None:
    wanted = ("Sentinel", ("sentinels.redis.svc:26379",), "mymaster")
    assert access(SENTINELS) == wanted
    assert access(SENTINELS, mode="Sentinel") == wanted
    unnamed = {key: value for key, value in SENTINELS.items() if key != "masterName"}
    assert access(unnamed, mode="Sentinel", sentinel={"masterName": "mymaster"}) == wanted


@pytest.mark.parametrize(
    "info",
    [
        None,
        {},
        {"host": HOST},
        {"port": 6379},
        {**INFO, "port": 0},
        {**INFO, "port": 65536},
        {**INFO, "port": True},
        {**INFO, "host": ["a"]},
        {**INFO, "host": "a:1,b"},
        {**INFO, "host": "user@host"},
        {**INFO, "masterName": "a b"},
        {**INFO, "masterName": 7},
    ],
)
def test_what_leads_nowhere_is_told_and_holds_the_backend(info: dict[str, Any] | None) -> None:
    found = resolved(info)
    assert [(p.condition.value, p.reason.value) for p in found.problems] == [
        ("ResolvedRefs", "RedisReplicationNotFound")
    ]
    assert found.held
    assert found.access is None
    assert "RedisReplication default/r" in found.problems[0].message


def test_sentinels_without_a_name_and_a_missing_right_say_what_to_do() -> None:
    (problem,) = resolved(INFO, mode="Sentinel").problems
    assert "spec.redis.sentinel" in problem.message
    (problem,) = resolved(None, forbidden=True).problems
    assert "redisOperator.enabled" in problem.message


def test_in_another_namespace_it_is_looked_for_there() -> None:
    other = make_backend(type="Redis", redis={"replicationRef": {"name": "r", "namespace": "far"}})
    (problem,) = resolve_backend(Snapshot(backend=other), SETTINGS).problems
    assert "RedisReplication far/r does not exist or has no" in problem.message


def test_a_runtime_waits_for_it_and_is_told_where_it_is() -> None:
    runtime = make_runtime(sessionBackendRef={"name": "sessions"})
    waiting = resolve(runtime, backend=backend(), replication=Replication({}))
    assert waiting.held
    assert [(p.condition.value, p.reason.value) for p in waiting.problems] == [
        ("SessionBackendReady", "NotReady")
    ]
    ready = resolve(runtime, backend=backend(), replication=Replication(SENTINELS))
    assert not ready.held
    assert ready.config.sessions is not None
    redis = ready.config.sessions.redis
    assert redis is not None
    assert (redis.mode, redis.addresses, redis.sentinel_master) == (
        "Sentinel",
        ("sentinels.redis.svc:26379",),
        "mymaster",
    )
