"""What to write into ``/status``. The same inputs give the same status: nothing in it counts time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aixgo_operator.api.constants import ConditionType, Reason
from aixgo_operator.domain import labels, naming, runtime_state
from aixgo_operator.domain.agent_state import agent_status
from aixgo_operator.domain.backend_state import backend_status
from aixgo_operator.domain.conditions import (
    Verdict,
    accepted,
    degraded,
    false,
    kstatus,
    resolved_refs,
    timestamp,
    true,
    write,
)
from aixgo_operator.domain.pod_trouble import troubles

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from aixgo_operator.domain.observation import RuntimeObservation
    from aixgo_operator.domain.resolved import ResolvedRuntime
    from aixgo_operator.domain.settings import OperatorSettings

__all__ = ["agent_status", "backend_status", "in_trouble", "invalid_status", "runtime_status"]

Status = dict[str, Any]


def runtime_status(
    resolved: ResolvedRuntime,
    observation: RuntimeObservation,
    settings: OperatorSettings,
    *,
    previous: Mapping[str, Any],
    now: datetime,
) -> Status:
    """Return the whole status of an AgentRuntime. ``previous`` is the stored one, ``now`` is aware."""
    problems = list(resolved.problems)
    if observation.certificate is not None and observation.certificate.problem is not None:
        problems.append(observation.certificate.problem)
    verdicts = [
        accepted(problems),
        resolved_refs(problems),
        runtime_state.certificates(resolved, observation, now),
        runtime_state.sessions(resolved, observation),
        runtime_state.progressing(resolved, observation, now),
    ]
    ready = _ready(resolved, observation, verdicts)
    if observation.reconcile_error is not None:
        verdicts.append(degraded(Reason.RECONCILE_ERROR, observation.reconcile_error))
    elif (outage := runtime_state.partial_outage(resolved, observation)) is not None:
        verdicts.append(degraded(Reason.PARTIAL_OUTAGE, outage))
    stalled = not verdicts[0].holds or observation.stuck or ready.reason == Reason.PROGRESS_DEADLINE_EXCEEDED
    left = runtime_state.still_to_come(resolved, observation, ready, verdicts[4], now)
    generation = resolved.runtime.generation
    status: Status = {
        "observedGeneration": generation,
        "conditions": write(
            [*verdicts, ready, *kstatus(ready, stalled=stalled, left=left)],
            generation=generation,
            previous=previous,
            now=now,
        ),
        **_counts(resolved, observation, settings),
    }
    if (tls := _tls(observation)) is not None:
        status["tls"] = tls
    return status


def in_trouble(resolved: ResolvedRuntime, observation: RuntimeObservation) -> bool:
    """Whether something is wrong with a runtime that does not pass by itself, as the steps of a start do."""
    answering = runtime_state.answering(observation)
    return (
        resolved.held
        or observation.reconcile_error is not None
        or any(item.statusz.sessions.error for item in answering)
        or bool(troubles(observation.pods))
    )


def invalid_status(generation: int, message: str, *, previous: Mapping[str, Any], now: datetime) -> Status:
    """Return the status of an object that the models refuse (``message``: ``describe_errors``).

    What was known of the object's children before stays: they were not touched.
    """
    refused = false(ConditionType.ACCEPTED, Reason.INVALID_SPEC, message)
    ready = false(ConditionType.READY, Reason.INVALID_SPEC, message)
    verdicts = [refused, ready, *kstatus(ready, stalled=True, left=None)]
    kept = {key: value for key, value in previous.items() if key not in ("conditions", "observedGeneration")}
    return {
        **kept,
        "observedGeneration": generation,
        "conditions": write(verdicts, generation=generation, previous=previous, now=now),
    }


def _ready(resolved: ResolvedRuntime, observation: RuntimeObservation, verdicts: list[Verdict]) -> Verdict:
    """Return the sum: True only if the pods show at this moment that everything works as wanted."""
    accepted_, refs, certificates, sessions, progressing = verdicts
    ready = ConditionType.READY
    for verdict in (accepted_, refs):
        if not verdict.holds:
            return false(ready, verdict.reason, verdict.message)
    if runtime_state.is_suspended(resolved):
        return false(ready, Reason.SUSPENDED, "spec.operatingMode is Suspended; every session is kept")
    if observation.reconcile_error is not None:
        return false(ready, Reason.RECONCILE_ERROR, observation.reconcile_error)
    # What works although its condition does not hold: a certificate that will expire, no backend at all.
    works = (Reason.EXPIRING_SOON, Reason.NOT_CONFIGURED)
    conditions = [item for item in (certificates, sessions) if item.reason not in works]
    for verdict in conditions:
        if verdict.status == "False":
            return false(ready, verdict.reason, verdict.message)
    if progressing.reason != Reason.ROLLOUT_COMPLETE:
        return false(ready, progressing.reason, progressing.message)
    serving = runtime_state.replicas(observation)
    if not serving:
        detail = troubles(observation.pods)
        if not detail and resolved.replicas == 0:
            detail = "spec.replicas is 0"
        elif not detail and observation.deployment is not None:
            detail = runtime_state.scaled_elsewhere(resolved, observation.deployment)
        return false(ready, Reason.NO_READY_REPLICAS, detail or "no replica serves")
    for verdict in conditions:
        if not verdict.holds:
            return false(ready, verdict.reason, verdict.message)
    if (nobody := runtime_state.nobody_to_call(resolved, observation)) is not None:
        return nobody
    served = sum(agent.config is not None for agent in resolved.agents)
    return true(ready, Reason.READY, f"{_many(served, 'agent')} on {_many(len(serving), 'replica')}")


def _counts(resolved: ResolvedRuntime, observation: RuntimeObservation, settings: OperatorSettings) -> Status:
    runtime = resolved.runtime
    serving = runtime_state.replicas(observation)
    there = [pod for pod in observation.pods if pod.alive]
    served = {item.statusz.config_revision for item in serving}
    revision = {"desired": resolved.config.revision}
    if len(served) == 1:
        revision["current"] = served.pop()
    return {
        "replicas": len(there),
        "readyReplicas": len(serving),
        "updatedReplicas": sum(pod.restart_hash == observation.wanted_restart_hash for pod in there),
        "selector": labels.selector_text(labels.runtime_selector(runtime.name)),
        "address": naming.runtime_address(
            runtime.name, runtime.namespace, settings.cluster_domain, runtime.spec.grpc.port
        ),
        "attachedAgents": sum(agent.config is not None for agent in resolved.agents),
        "revision": revision,
    }


def _tls(observation: RuntimeObservation) -> Status | None:
    certificate = observation.certificate
    if certificate is None or certificate.sha256_fingerprint is None:
        return None
    tls: Status = {
        "sha256Fingerprint": certificate.sha256_fingerprint,
        "reloadedReplicas": sum(
            runtime_state.serves_certificate(item.statusz, certificate)
            for item in runtime_state.replicas(observation)
        ),
        "trustBundlePhase": certificate.trust_bundle_phase,
    }
    if certificate.serial_number is not None:
        tls["serialNumber"] = certificate.serial_number
    if certificate.not_after is not None:
        tls["notAfter"] = timestamp(certificate.not_after)
    return tls


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
