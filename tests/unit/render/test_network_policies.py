"""Who reaches the ports of runtimes and of managed Redis, by the rules of the rendered NetworkPolicies."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.domain import SETTINGS, by_kind, make_agent, make_backend, make_runtime, resolve
from tests.support.network_policy import Pod, reaches

from aixgo_operator.domain.resolve import resolve_backend
from aixgo_operator.domain.snapshot import Snapshot
from aixgo_operator.render.manifests import render_backend, render_runtime

OPERATOR = Pod(
    "aixgo-system",
    {"app.kubernetes.io/part-of": "aixgo", "app.kubernetes.io/component": "operator"},
)
RUNTIME = {"app.kubernetes.io/part-of": "aixgo", "app.kubernetes.io/component": "runtime"}
OTHER = {"app": "other"}


@pytest.mark.parametrize(
    ("callers", "source", "port", "allowed"),
    [
        ("Same", Pod("default", OTHER), "grpc", True),
        ("Same", Pod("team", RUNTIME), "grpc", False),
        ("All", Pod("team", OTHER), "grpc", True),
        ("Selector", Pod("team", RUNTIME), "grpc", True),
        ("Selector", Pod("stranger", RUNTIME), "grpc", False),
        ("All", Pod("team", OTHER), "admin", False),
        ("Same", Pod("default", OTHER), "admin", False),
        ("Same", OPERATOR, "admin", True),
        ("Same", OPERATOR, "grpc", False),
        ("Same", Pod("monitoring", OTHER), "admin", True),
        ("Same", Pod("default", OTHER), "debug", False),
    ],
)
def test_a_runtime(callers: str, source: Pod, port: str, allowed: bool) -> None:
    consent: dict[str, Any] = {"from": callers}
    if callers == "Selector":
        consent["selector"] = {"matchLabels": {"friend": "yes"}}
    resolved = resolve(
        make_runtime(),
        make_agent(allowedCallers={"namespaces": consent}),
        namespaces={"default": {}, "team": {"friend": "yes"}, "stranger": {}},
    )
    settings = SETTINGS.model_copy(update={"monitoring_namespaces": ("monitoring",)})
    found = by_kind(render_runtime(resolved, settings))
    target = Pod.of("default", found["Deployment", "agents"]["spec"]["template"])
    assert reaches([found["NetworkPolicy", "agents"]], source, target, port) is allowed
    # It is about these pods alone.
    assert reaches([found["NetworkPolicy", "agents"]], source, Pod("default", OTHER), port)


@pytest.mark.parametrize(
    ("source", "port", "allowed"),
    [
        (Pod("default", RUNTIME), "redis", True),
        (Pod("team", RUNTIME), "redis", True),
        (Pod("stranger", RUNTIME), "redis", False),
        (Pod("default", OTHER), "redis", False),
        (OPERATOR, "redis", True),
        (Pod("aixgo-system", OTHER), "redis", False),
        (Pod("team", OPERATOR.labels), "redis", False),
        (Pod("default", RUNTIME), "another", False),
    ],
)
def test_a_managed_redis(source: Pod, port: str, allowed: bool) -> None:
    managed: dict[str, Any] = {"type": "Redis", "redis": {"managed": {}}}
    backend = make_backend(**managed, allowedConsumers={"namespaces": {"from": "All"}})
    consumer = make_runtime(namespace="team", sessionBackendRef={"name": "sessions", "namespace": "default"})
    snapshot = Snapshot(backend=backend, consumers=(consumer,))
    found = by_kind(render_backend(resolve_backend(snapshot, SETTINGS), SETTINGS))
    target = Pod.of("default", found["StatefulSet", "sessions-redis"]["spec"]["template"])
    assert reaches([found["NetworkPolicy", "sessions-redis"]], source, target, port) is allowed


def test_the_runtimes_pods_are_what_the_policy_of_redis_lets_in() -> None:
    found = by_kind(render_runtime(resolve(make_runtime(), make_agent()), SETTINGS))
    labels = found["Deployment", "agents"]["spec"]["template"]["metadata"]["labels"]
    assert RUNTIME.items() <= labels.items()
