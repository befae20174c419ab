"""Session backends: how a runtime reaches one, who may, and what a backend consists of."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.domain import (
    SETTINGS,
    config_map,
    generated_secrets,
    make_backend,
    make_runtime,
    resolve,
    secret,
)

from aixgo.contract import SecretFile
from aixgo_operator.api.v1alpha1 import AgentRuntime, SessionBackend
from aixgo_operator.domain.resolve import resolve_backend
from aixgo_operator.domain.resolved import ResolvedRuntime, SecretKey
from aixgo_operator.domain.snapshot import Snapshot

REF: dict[str, Any] = {"sessionBackendRef": {"name": "sessions"}}
FAR: dict[str, Any] = {"sessionBackendRef": {"name": "sessions", "namespace": "store"}}
OPEN = {"namespaces": {"from": "All"}}


def reasons(resolved: ResolvedRuntime) -> list[tuple[str, str]]:
    return [(problem.condition.value, problem.reason.value) for problem in resolved.problems]


def external(namespace: str = "default", **spec: Any) -> SessionBackend:
    redis = {"addresses": ["redis.example:6380"], **spec}
    return make_backend(namespace=namespace, type="Redis", redis=redis, allowedConsumers=OPEN)


def test_no_backend_is_no_problem() -> None:
    resolved = resolve(make_runtime())
    assert resolved.config.sessions is None
    assert resolved.problems == ()
    assert not resolved.held


def test_a_missing_backend_holds_the_runtime_back() -> None:
    resolved = resolve(make_runtime(**REF))
    assert reasons(resolved) == [("ResolvedRefs", "SessionBackendNotFound")]
    assert resolved.held


def test_a_refused_backend_reads_like_one_that_does_not_exist() -> None:
    refused = resolve(make_runtime(**FAR), backend=make_backend(namespace="store"))
    missing = resolve(make_runtime(**FAR))
    assert reasons(refused) == [("ResolvedRefs", "RefNotPermitted")]
    assert refused.problems == missing.problems
    assert refused.held


def test_managed_redis_in_the_same_namespace() -> None:
    backend = make_backend()
    resolved = resolve(make_runtime(**REF), backend=backend, secrets=generated_secrets(backend))
    sessions = resolved.config.sessions
    assert sessions is not None
    assert sessions.redis is not None
    assert sessions.key_prefix == "aixgo:sessions:default:"
    assert sessions.redis.addresses == ("sessions-redis.default.svc.cluster.local:6379",)
    assert sessions.redis.tls
    assert sessions.redis.username == SecretFile(secret="sessions-redis-auth", key="username")
    assert sessions.redis.password == SecretFile(secret="sessions-redis-auth", key="password")
    (source,) = resolved.secret_files
    assert set(source.items) == {"username", "password"}, "the pods must not see the operator's password"
    (tls,) = resolved.session_tls_files
    assert (tls.name, dict(tls.items)) == ("sessions-redis-tls", {"ca.crt": "ca.crt"})
    assert resolved.secret_copies == ()
    assert not resolved.held


def test_managed_redis_that_has_no_credentials_yet_holds_the_runtime_back() -> None:
    resolved = resolve(make_runtime(**REF), backend=make_backend())
    assert reasons(resolved) == [("SessionBackendReady", "NotReady")]
    assert resolved.held


def test_managed_redis_of_another_namespace_is_copied_with_a_user_of_its_own() -> None:
    backend = make_backend(namespace="store", type="Redis", redis={"managed": {}}, allowedConsumers=OPEN)
    resolved = resolve(make_runtime(**FAR), backend=backend, secrets=generated_secrets(backend, "default"))
    sessions = resolved.config.sessions
    assert sessions is not None
    assert sessions.redis is not None
    assert sessions.key_prefix == "aixgo:sessions:default:"
    assert sessions.redis.username == SecretFile(secret="agents-session-auth", key="username")
    (copy,) = resolved.secret_copies
    auth = "sessions-redis-auth"
    assert copy.entries == {
        "username": SecretKey("store", auth, "namespace.default.username"),
        "password": SecretKey("store", auth, "namespace.default.password"),
        "ca.crt": SecretKey("store", "sessions-redis-tls", "ca.crt"),
    }
    (tls,) = resolved.session_tls_files
    assert tls.name == "agents-session-auth"


def test_a_consumer_waits_for_its_user() -> None:
    backend = make_backend(namespace="store", type="Redis", redis={"managed": {}}, allowedConsumers=OPEN)
    resolved = resolve(make_runtime(**FAR), backend=backend, secrets=generated_secrets(backend))
    assert resolved.held


def test_external_redis_with_everything() -> None:
    backend = external(
        database=2,
        auth={
            "usernameSecretRef": {"name": "redis", "key": "user"},
            "passwordSecretRef": {"name": "redis", "key": "pass"},
        },
        tls={
            "caBundleRef": {"kind": "ConfigMap", "name": "ca", "key": "bundle"},
            "certificateRef": {"name": "client"},
            "serverName": "redis.internal",
        },
    )
    resolved = resolve(
        make_runtime(**REF),
        backend=backend,
        secrets={
            ("default", "redis"): secret(user="u", **{"pass": "p"}),
            ("default", "client"): secret(tls__crt="c", tls__key="k"),
        },
        config_maps={("default", "ca"): config_map(bundle="pem")},
    )
    assert resolved.problems == ()
    assert resolved.config.sessions is not None
    redis = resolved.config.sessions.redis
    assert redis is not None
    assert (redis.addresses, redis.database, redis.server_name) == (
        ("redis.example:6380",),
        2,
        "redis.internal",
    )
    assert redis.username == SecretFile(secret="redis", key="user")
    assert redis.client_certificate
    ca, client = resolved.session_tls_files
    assert (ca.kind, ca.name, dict(ca.items)) == ("ConfigMap", "ca", {"bundle": "ca.crt"})
    assert (client.kind, client.name, set(client.items)) == ("Secret", "client", {"tls.crt", "tls.key"})


def test_external_redis_without_tls() -> None:
    for spec in ({}, {"tls": {"mode": "Disabled"}}):
        resolved = resolve(make_runtime(**REF), backend=external(**spec))
        assert resolved.config.sessions is not None
        assert resolved.config.sessions.redis is not None
        assert not resolved.config.sessions.redis.tls
        assert resolved.session_tls_files == ()


def test_missing_references_of_an_external_redis_are_told_without_holding_back() -> None:
    backend = external(auth={"passwordSecretRef": {"name": "redis", "key": "pass"}})
    resolved = resolve(make_runtime(**REF), backend=backend)
    assert reasons(resolved) == [("ResolvedRefs", "SecretNotFound")]
    assert not resolved.held
    assert resolved.secret_files[0].optional


def test_names_of_secrets_in_other_namespaces_are_not_told() -> None:
    backend = external("store", auth={"passwordSecretRef": {"name": "hush", "key": "pass"}})
    resolved = resolve(make_runtime(**FAR), backend=backend)
    assert reasons(resolved) == [("ResolvedRefs", "SecretNotFound")]
    assert "hush" not in resolved.problems[0].message


def test_a_ca_bundle_in_a_config_map_of_another_namespace_is_copied() -> None:
    backend = external("store", tls={"caBundleRef": {"kind": "ConfigMap", "name": "ca"}})
    resolved = resolve(
        make_runtime(**FAR), backend=backend, config_maps={("store", "ca"): config_map(**{"ca.crt": "pem"})}
    )
    (copy,) = resolved.secret_copies
    assert copy.config_map_entries == {"ca.crt": SecretKey("store", "ca", "ca.crt")}
    assert resolved.session_tls_files[0].name == copy.name


def test_sentinel() -> None:
    backend = external(mode="Sentinel", sentinel={"masterName": "main"})
    resolved = resolve(make_runtime(**REF), backend=backend)
    assert resolved.config.sessions is not None
    assert resolved.config.sessions.redis is not None
    assert resolved.config.sessions.redis.sentinel_master == "main"


FILE: dict[str, Any] = {"type": "File", "file": {"durability": "os"}}


def test_file_backend() -> None:
    resolved = resolve(make_runtime(**REF), backend=make_backend(**FILE))
    assert resolved.config.sessions is not None
    assert resolved.config.sessions.file is not None
    assert resolved.config.sessions.file.durability == "os"
    assert resolved.sessions_claim == "sessions-sessions"
    assert resolved.problems == ()


@pytest.mark.parametrize("spec", [{"replicas": 2}, {"autoscaling": {"maxReplicas": 3}}])
def test_a_file_backend_is_not_shared_by_replicas(spec: dict[str, Any]) -> None:
    resolved = resolve(make_runtime(**REF, **spec), backend=make_backend(**FILE))
    assert reasons(resolved) == [("Accepted", "FileBackendNotShared")]
    assert resolved.held, "the replica that serves goes on serving"


def test_a_file_backend_is_not_shared_across_namespaces() -> None:
    backend = make_backend(namespace="store", allowedConsumers=OPEN, **FILE)
    assert reasons(resolve(make_runtime(**FAR), backend=backend)) == [("Accepted", "FileBackendNotShared")]


def test_the_oldest_runtime_has_the_file_backend() -> None:
    old, young = make_runtime("old", age=50, **REF), make_runtime("young", age=5, **REF)

    def found(runtime: AgentRuntime) -> list[tuple[str, str]]:
        return reasons(resolve(runtime, backend=make_backend(**FILE), consumers=(old, young)))

    assert found(old) == []
    assert found(young) == [("Accepted", "FileBackendNotShared")]


def test_a_suspended_runtime_is_never_held_back() -> None:
    resolved = resolve(make_runtime(operatingMode="Suspended", replicas=3, **REF))
    assert not resolved.held
    assert resolved.replicas == 0


def test_a_backend_lists_its_allowed_consumers_and_makes_a_user_for_each_namespace() -> None:
    allowed = {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}}
    backend = make_backend(namespace="store", type="Redis", redis={"managed": {}}, allowedConsumers=allowed)
    consumers = (
        make_runtime("z", "store", **REF),
        make_runtime("y", "team-a", **FAR),
        make_runtime("x", "team-a", **FAR),
        make_runtime("w", "team-b", **FAR),
    )
    snapshot = Snapshot(
        backend=backend,
        consumers=consumers,
        namespaces={"team-a": {"team": "a"}, "team-b": {"team": "b"}},
    )
    resolved = resolve_backend(snapshot, SETTINGS)
    assert [runtime.name for runtime in resolved.consumers] == ["z", "x", "y"]
    assert [(user.username, user.key_prefix) for user in resolved.users] == [
        ("aixgo-store", "aixgo:sessions:store:"),
        ("aixgo-team-a", "aixgo:sessions:team-a:"),
        ("aixgo.operator", None),
    ]
    assert resolved.dns_names == ("sessions-redis.store.svc", "sessions-redis.store.svc.cluster.local")
    assert resolved.access is not None
    assert resolved.access.password == SecretKey("store", "sessions-redis-auth", "operator.password")


def test_what_this_version_cannot_do_is_refused() -> None:
    for redis in (
        {"mode": "Cluster", "replicationRef": {"name": "r"}},
        {"managed": {"maxMemory": "1 000"}},
        {"managed": {"maxMemory": "1gb\nport 6379"}},
    ):
        resolved = resolve_backend(Snapshot(backend=make_backend(type="Redis", redis=redis)), SETTINGS)
        assert [(p.condition.value, p.reason.value) for p in resolved.problems] == [
            ("Accepted", "InvalidSpec")
        ]
        assert resolved.held


def test_a_snapshot_without_a_backend_is_an_error() -> None:
    with pytest.raises(ValueError, match="no backend"):
        resolve_backend(Snapshot(), SETTINGS)
