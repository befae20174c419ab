"""The status of an AgentRuntime that waits for everything: certificates, a backend, agents."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.support.domain import (
    NOW,
    SETTINGS,
    generated_secrets,
    make_agent,
    make_backend,
    make_runtime,
    resolve,
)

from aixgo_operator.domain.observation import RuntimeObservation
from aixgo_operator.domain.resolved import ResolvedRuntime
from aixgo_operator.domain.status import runtime_status

BACKEND = make_backend()
READY = ("True", "Ready")


def resolved_runtime(**spec: Any) -> ResolvedRuntime:
    runtime = make_runtime(sessionBackendRef={"name": "sessions"}, **spec)
    return resolve(runtime, make_agent(), backend=BACKEND, secrets=generated_secrets(BACKEND))


def conclude(
    resolved: ResolvedRuntime, observation: RuntimeObservation, previous: dict[str, Any] | None = None
) -> dict[str, Any]:
    return runtime_status(resolved, observation, SETTINGS, previous=previous or {}, now=NOW)


def with_deployment(observation: RuntimeObservation, **changes: Any) -> RuntimeObservation:
    assert observation.deployment is not None
    return replace(observation, deployment=replace(observation.deployment, **changes))
