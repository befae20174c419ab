"""The runtime itself: certificates, what the schema cannot refuse, scale, callers, references."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.domain import (
    SETTINGS,
    config_map,
    make_agent,
    make_backend,
    make_runtime,
    resolve,
    secret,
)

from aixgo_operator.domain.references import agent_targets, runtime_references
from aixgo_operator.domain.resolve import resolve_runtime
from aixgo_operator.domain.settings import OperatorSettings
from aixgo_operator.domain.snapshot import Snapshot

OWN = {"tls": {"mode": "Mutual", "certificateRef": {"name": "mine"}}}


def test_the_configuration_says_who_the_runtime_is() -> None:
    settings = SETTINGS.model_copy(update={"trust_domain": "example.org"})
    config = resolve_runtime(Snapshot(runtime=make_runtime("r", "ns")), settings).config
    assert config.runtime.spiffe_id == "spiffe://example.org/ns/ns/agentruntime/r"


def test_settings_of_the_listener_and_limits() -> None:
    runtime = make_runtime(
        grpc={"port": 6000, "maxConnectionAgeSeconds": 5, "maxMessageBytes": 2048},
        maxConcurrentCalls=7,
        updateStrategy={"drainTimeoutSeconds": 11},
    )
    config = resolve(runtime).config
    assert (config.grpc.port, config.grpc.max_connection_age_seconds) == (6000, 5)
    assert config.grpc.max_message_bytes == 2048
    assert (config.limits.max_concurrent_calls, config.limits.drain_timeout_seconds) == (7, 11)


def test_managed_certificates_are_mounted_from_the_operators_secret() -> None:
    (source,) = resolve(make_runtime()).tls_files
    assert (source.name, set(source.items)) == ("agents-tls", {"tls.crt", "tls.key", "ca.crt"})


@pytest.mark.parametrize("mode", ["External", "Disabled"])
def test_without_mutual_tls_there_are_no_certificates(mode: str) -> None:
    resolved = resolve(make_runtime(tls={"mode": mode}))
    assert resolved.tls_files == ()
    assert resolved.config.tls.mode == mode


@pytest.mark.parametrize(
    ("secrets", "reason"),
    [
        ({}, "SecretNotFound"),
        ({("default", "mine"): secret(tls__crt="c", tls__key="k")}, "KeyNotFound"),
    ],
)
def test_a_certificate_that_is_not_there_holds_the_runtime_back(secrets: dict[Any, Any], reason: str) -> None:
    resolved = resolve(make_runtime(**OWN), secrets=secrets)
    assert [problem.reason.value for problem in resolved.problems] == [reason]
    assert resolved.held


def test_a_certificate_with_a_bundle_of_its_own() -> None:
    runtime = make_runtime(
        tls={**OWN["tls"], "caBundleRef": {"kind": "ConfigMap", "name": "ca", "key": "bundle"}}
    )
    secrets = {("default", "mine"): secret(tls__crt="c", tls__key="k")}
    without = resolve(runtime, secrets=secrets)
    assert [problem.reason.value for problem in without.problems] == ["ConfigMapNotFound"]
    resolved = resolve(runtime, secrets=secrets, config_maps={("default", "ca"): config_map(bundle="pem")})
    assert resolved.problems == ()
    pair, bundle = resolved.tls_files
    assert (pair.name, set(pair.items)) == ("mine", {"tls.crt", "tls.key"})
    assert (bundle.kind, dict(bundle.items)) == ("ConfigMap", {"bundle": "ca.crt"})


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"grpc": {"port": 8080}}, "spec.grpc.port"),
        ({"updateStrategy": {"maxUnavailable": "0%", "maxSurge": 0}}, "spec.updateStrategy"),
        ({"volumes": [{"name": "aixgo-tls", "emptyDir": {}}]}, "spec.volumes"),
        ({"volumeMounts": [{"name": "x", "mountPath": "/etc/aixgo/tls"}]}, "spec.volumeMounts"),
        ({"volumeMounts": [{"name": "x", "mountPath": "/tmp/"}]}, "spec.volumeMounts"),
    ],
)
def test_what_the_schema_lets_through_is_refused(spec: dict[str, Any], words: str) -> None:
    resolved = resolve(make_runtime(**spec))
    (problem,) = resolved.problems
    assert (problem.condition.value, problem.reason.value) == ("Accepted", "InvalidSpec")
    assert words in problem.message
    assert resolved.held


def test_folders_beside_the_contracts_are_free() -> None:
    mounts = [{"name": "x", "mountPath": path} for path in ("/tmp/cache", "/etc/aixgo-more", "/data")]
    assert resolve(make_runtime(volumeMounts=mounts)).problems == ()


def test_more_configuration_than_a_config_map_holds_is_refused() -> None:
    agents = [make_agent(f"a{number}", prompt="x" * 65_000) for number in range(17)]
    resolved = resolve(make_runtime(), *agents)
    assert [problem.reason.value for problem in resolved.problems] == ["InvalidSpec"]
    assert resolved.held
    assert resolve(make_runtime(), *agents[:15]).problems == ()


def test_a_name_conflict_is_told() -> None:
    resolved = resolve(make_runtime(), name_conflicts=("Service default/agents belongs to somebody else",))
    (problem,) = resolved.problems
    assert (problem.condition.value, problem.reason.value) == ("Accepted", "NameConflict")


def test_replicas() -> None:
    assert resolve(make_runtime(replicas=3)).replicas == 3
    assert resolve(make_runtime(replicas=3, operatingMode="Suspended")).replicas == 0
    assert resolve(make_runtime(replicas=3), replicas_managed_by="kubectl").replicas is None
    # The autoscaler scales the AgentRuntime, so its spec.replicas is what counts.
    assert resolve(make_runtime(replicas=3, autoscaling={"maxReplicas": 5})).replicas == 3


def test_who_may_open_connections() -> None:
    runtime = make_runtime()
    assert resolve(runtime, make_agent()).caller_namespaces == ("default",)
    selector = {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}}
    chosen = resolve(
        runtime,
        make_agent(allowedCallers=selector),
        make_agent("second"),
        namespaces={"x": {"team": "a"}, "y": {}},
    )
    assert chosen.caller_namespaces == ("default", "x")
    everybody = make_agent("third", allowedCallers={"namespaces": {"from": "All"}})
    assert resolve(runtime, make_agent(), everybody).caller_namespaces is None
    # Clients carry certificates; where they are is not known.
    assert resolve(make_runtime(clients=[{"name": "cli"}])).caller_namespaces is None


def test_references_are_everything_that_resolving_looks_at() -> None:
    runtime = make_runtime(
        tls={**OWN["tls"], "caBundleRef": {"kind": "ConfigMap", "name": "ca"}},
        sessionBackendRef={"name": "sessions", "namespace": "store"},
    )
    agent = make_agent(
        namespace="team",
        runtime_namespace="default",
        model={"name": "m", "apiKeySecretRef": {"name": "openai", "key": "k"}},
        promptFrom={"configMapKeyRef": {"name": "prompts", "key": "k"}},
        tools=[
            {"name": "a", "mcp": {"url": "http://x", "headersSecretRef": {"name": "headers"}}},
            {"name": "b", "agentRef": {"name": "other", "namespace": "far"}},
            {"name": "c", "agentRef": {"name": "near"}},
        ],
    )
    references = runtime_references(runtime, [agent], make_backend(namespace="store"))
    assert references.secrets == {
        ("default", "mine"),
        ("team", "openai"),
        ("team", "headers"),
        ("store", "sessions-redis-auth"),
        ("store", "sessions-redis-tls"),
    }
    assert references.config_maps == {("default", "ca"), ("team", "prompts")}
    assert agent_targets([agent]) == {("far", "other"), ("team", "near")}


def test_settings_are_read_with_camel_case_keys_and_refuse_unknown_ones() -> None:
    settings = OperatorSettings.model_validate({"operatorNamespace": "ops", "watchNamespaces": ["a"]})
    assert (settings.operator_namespace, settings.watch_namespaces) == ("ops", ("a",))
    assert settings.cluster_domain == "cluster.local"
    with pytest.raises(ValueError, match="operatorNamspace"):
        OperatorSettings.model_validate({"operatorNamspace": "ops"})


def test_a_snapshot_without_a_runtime_is_an_error() -> None:
    with pytest.raises(ValueError, match="no runtime"):
        resolve_runtime(Snapshot(), SETTINGS)
