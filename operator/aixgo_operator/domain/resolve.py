"""Snapshot to wanted configuration: every reference looked up, every refusal a Problem, nothing raised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.json import format as format_json

from aixgo.contract import (
    AdminConfig,
    GrpcConfig,
    LimitsConfig,
    RuntimeConfig,
    RuntimeIdentity,
    TLSConfig,
    with_revisions,
)
from aixgo_operator.api.constants import TLS_CA_KEY, TLS_CERT_KEY, TLS_PRIVATE_KEY_KEY, Reason
from aixgo_operator.domain import naming
from aixgo_operator.domain.agents import AgentsResult, resolve_agents, runtime_not_there
from aixgo_operator.domain.consent import EVERY_NAMESPACE
from aixgo_operator.domain.lookup import missing_bundle, missing_secret_keys, refused, unresolved
from aixgo_operator.domain.resolved import FileSource, ResolvedAgent, ResolvedBackend, ResolvedRuntime
from aixgo_operator.domain.sessions import resolve_backend_of, resolve_sessions
from aixgo_operator.domain.validate import runtime_spec_problems

if TYPE_CHECKING:
    from aixgo_operator.api.v1alpha1 import Agent, AgentRuntime
    from aixgo_operator.domain.problem import Problem
    from aixgo_operator.domain.settings import OperatorSettings
    from aixgo_operator.domain.snapshot import Snapshot

#: Port of the plaintext admin HTTP server in every runtime pod.
ADMIN_PORT = AdminConfig().port
#: A ConfigMap holds 1 MiB; the rest is for the names around ``runtime.json``.
MAX_CONFIG_BYTES = 1024 * 1024 - 8 * 1024


def resolve_runtime(snapshot: Snapshot, settings: OperatorSettings) -> ResolvedRuntime:
    """Return what the snapshot's runtime should be. Raises ValueError for a snapshot without one."""
    runtime = snapshot.runtime
    if runtime is None:
        raise ValueError("the snapshot has no runtime")
    agents = resolve_agents(snapshot, runtime, settings)
    sessions = resolve_sessions(snapshot, runtime, settings)
    config = with_revisions(
        RuntimeConfig(
            runtime=RuntimeIdentity(
                name=runtime.name,
                namespace=runtime.namespace,
                trust_domain=settings.trust_domain,
                cluster_domain=settings.cluster_domain,
            ),
            grpc=GrpcConfig(
                port=runtime.spec.grpc.port,
                max_connection_age_seconds=runtime.spec.grpc.max_connection_age_seconds,
                max_message_bytes=runtime.spec.grpc.max_message_bytes,
            ),
            limits=LimitsConfig(
                max_concurrent_calls=runtime.spec.max_concurrent_calls,
                drain_timeout_seconds=runtime.spec.update_strategy.drain_timeout_seconds,
            ),
            tls=TLSConfig(mode=runtime.spec.tls.mode),
            agents=tuple(agent.config for agent in agents.agents if agent.config is not None),
            routes=tuple(agents.routes.values()),
            sessions=sessions.config,
        )
    )
    invalid = _invalid(runtime, config)
    certificate = _certificate_problems(snapshot, runtime)
    conflicts = tuple(refused(Reason.NAME_CONFLICT, text) for text in snapshot.name_conflicts)
    suspended = runtime.spec.operating_mode == "Suspended"
    return ResolvedRuntime(
        runtime=runtime,
        config=config,
        agents=_with_revisions(agents, config),
        problems=(*invalid, *conflicts, *certificate, *sessions.problems),
        # Stopping needs nothing but the wish: a suspended runtime is never held.
        held=bool(invalid) or ((bool(certificate) or sessions.held) and not suspended),
        replicas=_replicas(snapshot, runtime),
        replicas_managed_by=snapshot.replicas_managed_by,
        tls_files=_tls_files(runtime),
        secret_files=(*agents.secret_files(), *sessions.secret_files),
        session_tls_files=sessions.tls_files,
        sessions_claim=sessions.claim,
        secret_copies=(*agents.secret_copies(), *sessions.copies),
        caller_namespaces=_caller_namespaces(runtime, config),
    )


def resolve_unattached_agent(agent: Agent) -> ResolvedAgent:
    """Return the verdict on an Agent whose runtime does not exist (or is not watched)."""
    return ResolvedAgent(agent, None, (runtime_not_there(agent),))


def resolve_backend(snapshot: Snapshot, settings: OperatorSettings) -> ResolvedBackend:
    """Return what the snapshot's backend should be. Raises ValueError for a snapshot without one."""
    if snapshot.backend is None:
        raise ValueError("the snapshot has no backend")
    return resolve_backend_of(snapshot, snapshot.backend, settings)


def _invalid(runtime: AgentRuntime, config: RuntimeConfig) -> tuple[Problem, ...]:
    problems = runtime_spec_problems(runtime, ADMIN_PORT)
    size = len(format_json(config.json(), indent=2))
    if size > MAX_CONFIG_BYTES:
        problems += (
            refused(
                Reason.INVALID_SPEC,
                f"the configuration of {len(config.agents)} Agents has {size} bytes, a ConfigMap holds"
                f" {MAX_CONFIG_BYTES}: shorten prompts, take them from Secrets, or use a second AgentRuntime",
            ),
        )
    return problems


def _with_revisions(agents: AgentsResult, config: RuntimeConfig) -> tuple[ResolvedAgent, ...]:
    """Return the Agents with the configurations that carry their revision."""
    complete = {(agent.namespace, agent.name): agent for agent in config.agents}
    return tuple(
        item
        if item.config is None
        else ResolvedAgent(item.agent, complete[(item.agent.namespace, item.agent.name)], item.problems)
        for item in agents.agents
    )


def _replicas(snapshot: Snapshot, runtime: AgentRuntime) -> int | None:
    if runtime.spec.operating_mode == "Suspended":
        return 0
    return None if snapshot.replicas_managed_by is not None else runtime.spec.replicas


def _certificate_problems(snapshot: Snapshot, runtime: AgentRuntime) -> tuple[Problem, ...]:
    tls = runtime.spec.tls
    if tls.issuer_ref is not None and snapshot.issuer_problem is not None:
        return (unresolved(Reason.ISSUER_NOT_AVAILABLE, snapshot.issuer_problem),)
    if tls.certificate_ref is None:
        return ()
    keys = [TLS_CERT_KEY, TLS_PRIVATE_KEY_KEY]
    bundle = tls.ca_bundle_ref
    if bundle is None:
        keys.append(TLS_CA_KEY)
    found = [
        missing_secret_keys(
            snapshot, runtime.namespace, tls.certificate_ref.name, keys, "spec.tls.certificateRef"
        )
    ]
    if bundle is not None:
        found.append(
            missing_bundle(
                snapshot, runtime.namespace, bundle.kind, bundle.name, bundle.key, "spec.tls.caBundleRef"
            )
        )
    return tuple(problem for problem in found if problem is not None)


def _tls_files(runtime: AgentRuntime) -> tuple[FileSource, ...]:
    tls = runtime.spec.tls
    if tls.mode != "Mutual":
        return ()
    pair = {TLS_CERT_KEY: TLS_CERT_KEY, TLS_PRIVATE_KEY_KEY: TLS_PRIVATE_KEY_KEY}
    name = naming.runtime_tls_secret(runtime.name)
    if tls.certificate_ref is not None:
        name = tls.certificate_ref.name
    if tls.ca_bundle_ref is None:
        return (FileSource("Secret", name, {**pair, TLS_CA_KEY: TLS_CA_KEY}),)
    bundle = tls.ca_bundle_ref
    return (
        FileSource("Secret", name, pair),
        FileSource(bundle.kind, bundle.name, {bundle.key: TLS_CA_KEY}),
    )


def _caller_namespaces(runtime: AgentRuntime, config: RuntimeConfig) -> tuple[str, ...] | None:
    """Return who may open connections. Clients carry certificates and may be anywhere: then everybody may."""
    if runtime.spec.clients:
        return None
    allowed = {runtime.namespace}
    for agent in config.agents:
        if agent.allowed_caller_namespaces == EVERY_NAMESPACE:
            return None
        allowed.update(agent.allowed_caller_namespaces)
    return tuple(sorted(allowed))
