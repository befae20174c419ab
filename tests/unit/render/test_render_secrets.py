"""Secrets: certificates, copies of other namespaces' values, ACL users of a managed Redis."""

from __future__ import annotations

import base64
import hashlib

import pytest
from tests.support.domain import (
    SETTINGS,
    config_map,
    generated_secrets,
    make_agent,
    make_backend,
    make_runtime,
    resolve,
    secret,
)

from aixgo_operator.domain.resolve import resolve_backend
from aixgo_operator.domain.snapshot import Snapshot
from aixgo_operator.render.common import Manifest
from aixgo_operator.render.secrets import (
    KeyMaterial,
    client_secret,
    redis_auth_secret,
    redis_tls_secret,
    runtime_tls_secret,
    secret_copies,
)

MATERIAL = KeyMaterial(b"certificate", b"private", b"authority")
OPEN = {"namespaces": {"from": "All"}}


def decoded(manifest: Manifest) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in manifest["data"].items()}


def test_certificates() -> None:
    resolved = resolve(make_runtime(clients=[{"name": "cli"}]))
    backend = resolve_backend(Snapshot(backend=make_backend()), SETTINGS)
    for made, name, owner in (
        (runtime_tls_secret(resolved, MATERIAL, SETTINGS), "agents-tls", "AgentRuntime"),
        (client_secret(resolved, "cli", MATERIAL, SETTINGS), "agents-client-cli", "AgentRuntime"),
        (redis_tls_secret(backend, MATERIAL, SETTINGS), "sessions-redis-tls", "SessionBackend"),
    ):
        assert (made["metadata"]["name"], made["type"]) == (name, "kubernetes.io/tls")
        assert made["metadata"]["ownerReferences"][0]["kind"] == owner
        assert decoded(made) == {"tls.crt": "certificate", "tls.key": "private", "ca.crt": "authority"}
    assert "private" not in repr(MATERIAL)


def test_copies_have_the_values_of_the_snapshot() -> None:
    backend = make_backend(
        namespace="store",
        type="Redis",
        redis={
            "addresses": ["r:1"],
            "auth": {"passwordSecretRef": {"name": "redis", "key": "pw"}},
            "tls": {"caBundleRef": {"kind": "ConfigMap", "name": "ca"}},
        },
        allowedConsumers=OPEN,
    )
    runtime = make_runtime(sessionBackendRef={"name": "sessions", "namespace": "store"}, allowedAgents=OPEN)
    agent = make_agent(
        namespace="team",
        runtime_namespace="default",
        model={"name": "m", "apiKeySecretRef": {"name": "openai", "key": "k"}},
    )
    snapshot = Snapshot(
        runtime=runtime,
        agents=(agent,),
        backend=backend,
        secrets={("store", "redis"): secret(pw="p1"), ("team", "openai"): secret(k="sk", other="x")},
        config_maps={("store", "ca"): config_map(**{"ca.crt": "pem"})},
    )
    resolved = resolve(
        runtime, agent, backend=backend, secrets=snapshot.secrets, config_maps=snapshot.config_maps
    )
    copies = secret_copies(resolved, snapshot, SETTINGS)
    assert [decoded(copy) for copy in copies] == [{"k": "sk"}, {"password": "p1", "ca.crt": "pem"}]
    assert all(copy["metadata"]["namespace"] == "default" for copy in copies)
    assert all(copy["metadata"]["ownerReferences"][0]["name"] == "agents" for copy in copies)


def test_a_value_that_is_not_there_is_left_out_of_the_copy() -> None:
    runtime = make_runtime(allowedAgents=OPEN)
    agent = make_agent(
        namespace="team",
        runtime_namespace="default",
        model={"name": "m", "apiKeySecretRef": {"name": "openai", "key": "k"}},
    )
    (copy,) = secret_copies(resolve(runtime, agent), Snapshot(), SETTINGS)
    assert decoded(copy) == {}


def test_redis_users() -> None:
    backend = make_backend(namespace="store", type="Redis", redis={"managed": {}}, allowedConsumers=OPEN)
    consumer = make_runtime(namespace="team", sessionBackendRef={"name": "sessions", "namespace": "store"})
    resolved = resolve_backend(Snapshot(backend=backend, consumers=(consumer,)), SETTINGS)
    passwords = {user.password_key: f"pw of {user.username}" for user in resolved.users}
    data = decoded(redis_auth_secret(resolved, passwords, SETTINGS))
    assert (data["username"], data["password"]) == ("aixgo-store", "pw of aixgo-store")
    assert data["namespace.team.username"] == "aixgo-team"
    assert data["operator.password"] == "pw of aixgo.operator"
    lines = data["users.acl"].splitlines()
    # Nobody logs in as it, but Redis replays its append-only file with its rights, MULTI included.
    assert lines[0] == "user default off resetpass ~* &* +@all"
    hashed = hashlib.sha256(b"pw of aixgo-team").hexdigest()
    assert lines[2].startswith(f"user aixgo-team on #{hashed} ~aixgo:sessions:team:* &aixgo:sessions:team:* ")
    assert "pw of" not in data["users.acl"]


def test_a_user_without_a_password_is_an_error() -> None:
    resolved = resolve_backend(Snapshot(backend=make_backend()), SETTINGS)
    with pytest.raises(KeyError):
        redis_auth_secret(resolved, {}, SETTINGS)


def test_what_the_operator_generates_is_what_a_runtime_looks_for() -> None:
    backend = make_backend()
    resolved = resolve_backend(Snapshot(backend=backend), SETTINGS)
    passwords = {user.password_key: "x" for user in resolved.users}
    made = redis_auth_secret(resolved, passwords, SETTINGS)
    expected = generated_secrets(backend)[("default", made["metadata"]["name"])]
    assert set(made["data"]) - {"users.acl"} == set(expected.data)
