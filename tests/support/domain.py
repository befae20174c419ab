"""Objects, snapshots and observations for tests of the operator's pure half."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from aixgo.contract import AgentStatus, SessionStatus, Statusz, TLSStatus
from aixgo_operator.api.v1alpha1 import Agent, AgentRuntime, SessionBackend
from aixgo_operator.domain import naming
from aixgo_operator.domain.observation import (
    CertificateObservation,
    DeploymentObservation,
    PodObservation,
    RuntimeObservation,
)
from aixgo_operator.domain.redis_users import redis_users
from aixgo_operator.domain.resolve import resolve_runtime
from aixgo_operator.domain.resolved import ResolvedRuntime
from aixgo_operator.domain.settings import OperatorSettings
from aixgo_operator.domain.snapshot import ConfigMapView, SecretView, Snapshot
from aixgo_operator.render.manifests import Manifest, render_runtime

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SETTINGS = OperatorSettings(
    operator_namespace="aixgo-system",
    runtime_image="registry.example/aixgo-runtime:1",
    redis_image="registry.example/redis:7",
    operator_version="0.1.0",
)
FINGERPRINT = "ab" * 32
AUTHORITY_FINGERPRINT = "cd" * 32


def metadata(name: str, namespace: str, *, age: int = 60, **more: Any) -> dict[str, Any]:
    """Return metadata of an object that was created ``age`` minutes ago."""
    return {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-{namespace}-{name}",
        "generation": 3,
        "creationTimestamp": (NOW - timedelta(minutes=age)).isoformat(),
        **more,
    }


def make_runtime(
    name: str = "agents", namespace: str = "default", *, age: int = 60, **spec: Any
) -> AgentRuntime:
    return AgentRuntime.model_validate({"metadata": metadata(name, namespace, age=age), "spec": spec})


def make_agent(
    name: str = "assistant",
    namespace: str = "default",
    *,
    runtime: str = "agents",
    runtime_namespace: str | None = None,
    age: int = 60,
    **spec: Any,
) -> Agent:
    ref = {"name": runtime, **({"namespace": runtime_namespace} if runtime_namespace else {})}
    spec = {"runtimeRef": ref, "model": {"name": "small"}, **spec}
    return Agent.model_validate({"metadata": metadata(name, namespace, age=age), "spec": spec})


def make_backend(
    name: str = "sessions", namespace: str = "default", *, deleted: bool = False, **spec: Any
) -> SessionBackend:
    more = {"deletionTimestamp": NOW.isoformat()} if deleted else {}
    spec = spec or {"type": "Redis", "redis": {"managed": {}}}
    return SessionBackend.model_validate({"metadata": metadata(name, namespace, **more), "spec": spec})


def secret(**data: str) -> SecretView:
    return SecretView({key.replace("__", "."): value.encode() for key, value in data.items()})


def config_map(**data: str) -> ConfigMapView:
    return ConfigMapView(data)


def generated_secrets(backend: SessionBackend, *consumers: str) -> dict[tuple[str, str], SecretView]:
    """Return the Secrets that the operator generates for a managed Redis."""
    users = redis_users(backend.namespace, backend.spec.key_prefix, consumers)
    auth: dict[str, bytes] = {}
    for user in users:
        auth[user.username_key] = user.username.encode()
        auth[user.password_key] = f"password of {user.username}".encode()
    return {
        (backend.namespace, naming.redis_auth_secret(backend.name)): SecretView(auth),
        (backend.namespace, naming.redis_tls_secret(backend.name)): SecretView(
            {"tls.crt": b"certificate", "tls.key": b"key", "ca.crt": b"authority"}
        ),
    }


def resolve(runtime: AgentRuntime, *agents: Agent, **snapshot: Any) -> ResolvedRuntime:
    return resolve_runtime(Snapshot(runtime=runtime, agents=agents, **snapshot), SETTINGS)


def restart_hash(resolved: ResolvedRuntime) -> str | None:
    """Return the restart hash of the Deployment that is rendered, None while nothing is."""
    for manifest in render_runtime(resolved, SETTINGS):
        if manifest["kind"] == "Deployment":
            hash_: str = manifest["spec"]["template"]["metadata"]["annotations"]["aixgo.dev/restart-hash"]
            return hash_
    return None


def by_kind(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    return {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in manifests}


def statusz(resolved: ResolvedRuntime, **changes: Any) -> Statusz:
    """Return what a pod says that serves everything as wanted."""
    sessions = resolved.config.sessions
    said = Statusz(
        version="0.1.0",
        started_at="2026-03-01T11:00:00Z",
        config_revision=resolved.config.revision,
        agents=tuple(
            AgentStatus(name=agent.name, ready=True, revision=agent.revision)
            for agent in resolved.config.agents
        ),
        tls=TLSStatus(
            mode=resolved.config.tls.mode,
            serial_number="1",
            sha256_fingerprint=FINGERPRINT,
            trust_bundle=(AUTHORITY_FINGERPRINT,),
        ),
        sessions=SessionStatus(type="None" if sessions is None else sessions.type, ready=True),
    )
    return said.changed(**changes)


def make_certificate(**changes: Any) -> CertificateObservation:
    certificate = CertificateObservation(
        serial_number="1",
        sha256_fingerprint=FINGERPRINT,
        not_before=NOW - timedelta(hours=1),
        not_after=NOW + timedelta(hours=23),
        issued_at=NOW - timedelta(hours=1),
        trust_bundle=(AUTHORITY_FINGERPRINT,),
    )
    return replace(certificate, **changes)


def make_pod(resolved: ResolvedRuntime, name: str = "agents-1", **changes: Any) -> PodObservation:
    """Return a pod of the newest template that serves."""
    pod = PodObservation(
        name=name, ready=True, started=True, restart_hash=restart_hash(resolved), statusz=statusz(resolved)
    )
    return replace(pod, **changes)


def healthy(resolved: ResolvedRuntime, **changes: Any) -> RuntimeObservation:
    """Return the observation of a runtime that is as wanted."""
    count = 1 if resolved.replicas is None else resolved.replicas
    hash_ = restart_hash(resolved)
    observation = RuntimeObservation(
        wanted_restart_hash=hash_,
        deployment=DeploymentObservation(
            generation=2,
            observed_generation=2,
            desired=count,
            replicas=count,
            updated=count,
            ready=count,
            available=count,
            restart_hash=hash_,
            progressing_reason="NewReplicaSetAvailable",
        ),
        pods=tuple(make_pod(resolved, f"agents-{index}") for index in range(count)),
        certificate=make_certificate() if resolved.runtime.spec.tls.mode == "Mutual" else None,
    )
    return replace(observation, **changes)


def condition(status: dict[str, Any], kind: str) -> dict[str, Any] | None:
    return next((item for item in status["conditions"] if item["type"] == kind), None)


def verdict(status: dict[str, Any], kind: str) -> tuple[str, str] | None:
    """Return (status, reason) of a condition, or None if it is absent."""
    found = condition(status, kind)
    return None if found is None else (found["status"], found["reason"])
