"""The status of an Agent: what every serving replica of its runtime says of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aixgo_operator.api.constants import ConditionType, Reason
from aixgo_operator.domain import naming
from aixgo_operator.domain.conditions import (
    Verdict,
    accepted,
    degraded,
    false,
    kstatus,
    resolved_refs,
    true,
    unknown,
    write,
)
from aixgo_operator.domain.runtime_state import LOADING, Replica, answering, is_suspended, replicas

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from aixgo.contract import AgentStatus
    from aixgo_operator.domain.observation import RuntimeObservation
    from aixgo_operator.domain.resolved import ResolvedAgent, ResolvedRuntime
    from aixgo_operator.domain.settings import OperatorSettings

LOADED = ConditionType.LOADED


def agent_status(
    resolved: ResolvedAgent,
    runtime: ResolvedRuntime | None,
    observation: RuntimeObservation | None,
    settings: OperatorSettings,
    *,
    previous: Mapping[str, Any],
    now: datetime,
) -> dict[str, Any]:
    """Return the whole status of an Agent. ``runtime`` and ``observation``: None when it has no runtime."""
    agent = resolved.agent
    serving = replicas(observation) if observation is not None else ()
    said = [(item, _of(item, agent.name)) for item in serving]
    # Pods whose agents all failed to load never become ready: their word is why.
    unready = answering(observation) if observation is not None and not serving else ()
    excuses = [(item, _of(item, agent.name)) for item in unready]
    verdicts = [
        _accepted(resolved, runtime),
        resolved_refs(resolved.problems),
        _loaded(resolved, runtime, said, excuses),
    ]
    ready = _ready(resolved, runtime, verdicts, said)
    if (outage := _partial_outage(resolved, said)) is not None:
        verdicts.append(degraded(Reason.PARTIAL_OUTAGE, outage))
    stalled = not verdicts[0].holds
    left = None if ready.holds or ready.reason == Reason.SUSPENDED else ready
    status: dict[str, Any] = {
        "observedGeneration": agent.generation,
        "conditions": write(
            [*verdicts, ready, *kstatus(ready, stalled=stalled, left=left)],
            generation=agent.generation,
            previous=previous,
            now=now,
        ),
        "readyReplicas": sum(
            status is not None and status.ready and _serves(resolved, status) for _, status in said
        ),
    }
    revisions = {None if status is None else status.revision for _, status in said}
    if resolved.config is not None and len(revisions) == 1 and (revision := revisions.pop()):
        status["loadedRevision"] = revision
    if runtime is not None and resolved.config is not None:
        owner = runtime.runtime
        status["address"] = naming.runtime_address(
            owner.name, owner.namespace, settings.cluster_domain, owner.spec.grpc.port
        )
    return status


def _of(replica: Replica, name: str) -> AgentStatus | None:
    return next((agent for agent in replica.statusz.agents if agent.name == name), None)


def _serves(resolved: ResolvedAgent, status: AgentStatus) -> bool:
    return resolved.config is not None and status.loaded and status.revision == resolved.config.revision


def _accepted(resolved: ResolvedAgent, runtime: ResolvedRuntime | None) -> Verdict:
    """Return the condition Accepted, with a word on what is allowed and seldom meant."""
    verdict = accepted(resolved.problems)
    if not verdict.holds or resolved.config is None or runtime is None:
        return verdict
    timeout = resolved.agent.spec.timeout_seconds
    drain = runtime.runtime.spec.update_strategy.drain_timeout_seconds
    if timeout <= drain:
        return verdict
    where = f"{runtime.runtime.namespace}/{runtime.runtime.name}"
    warning = (
        f"a call may take spec.timeoutSeconds ({timeout}), but a pod that goes away ends its calls after"
        f" spec.updateStrategy.drainTimeoutSeconds ({drain}) of AgentRuntime {where}: raise that to keep"
        " longer calls"
    )
    return replace(verdict, message=f"{verdict.message}; {warning}")


def _loaded(
    resolved: ResolvedAgent,
    runtime: ResolvedRuntime | None,
    said: list[tuple[Replica, AgentStatus | None]],
    excuses: list[tuple[Replica, AgentStatus | None]],
) -> Verdict:
    """Return the condition Loaded. ``excuses``: what pods say that do not serve, when none does."""
    if resolved.config is None or runtime is None:
        return false(LOADED, Reason.PENDING, "no runtime serves the agent")
    where = f"AgentRuntime {runtime.runtime.namespace}/{runtime.runtime.name}"
    behind = [
        (item, status) for item, status in said or excuses if status is None or not _serves(resolved, status)
    ]
    errors = dict.fromkeys(
        status.error for _, status in behind if status is not None and not status.loaded and status.error
    )
    errors.pop(LOADING, None)
    if errors:
        return false(LOADED, Reason.LOAD_FAILED, "; ".join(errors))
    if not said:
        return unknown(LOADED, Reason.PENDING, f"no replica of {where} serves: its status says why")
    if not behind:
        return true(LOADED, Reason.LOADED, f"every serving replica of {where} has loaded the agent")
    refused = dict.fromkeys(
        item.statusz.last_config_error for item, _ in behind if item.statusz.last_config_error
    )
    text = f"{len(said) - len(behind)} of {len(said)} serving replicas of {where} have loaded the agent"
    return false(LOADED, Reason.PENDING, f"{text}: {'; '.join(refused)}" if refused else text)


def _ready(
    resolved: ResolvedAgent,
    runtime: ResolvedRuntime | None,
    verdicts: list[Verdict],
    said: list[tuple[Replica, AgentStatus | None]],
) -> Verdict:
    """Return the sum: the first condition that fails, else what the replicas say of the agent."""
    ready = ConditionType.READY
    for verdict in verdicts[:2]:
        if not verdict.holds:
            return false(ready, verdict.reason, verdict.message)
    if resolved.agent.spec.operating_mode == "Suspended":
        return false(ready, Reason.SUSPENDED, "spec.operatingMode is Suspended")
    if runtime is not None and is_suspended(runtime):
        return false(
            ready,
            Reason.SUSPENDED,
            f"AgentRuntime {runtime.runtime.namespace}/{runtime.runtime.name} is suspended",
        )
    if not verdicts[2].holds:
        return false(ready, verdicts[2].reason, verdicts[2].message)
    failing = [status for _, status in said if status is not None and not status.ready]
    if failing:
        errors = dict.fromkeys(status.error or "the agent is not ready" for status in failing)
        return false(ready, Reason.NOT_READY, "; ".join(errors))
    return _without_sessions(resolved, runtime, said) or true(
        ready, Reason.READY, "every serving replica answers for the agent"
    )


def _partial_outage(resolved: ResolvedAgent, said: list[tuple[Replica, AgentStatus | None]]) -> str | None:
    """Return what is wrong while the agent answers on some of the serving replicas and fails on others."""
    if resolved.config is None or resolved.agent.spec.operating_mode == "Suspended":
        return None
    known = [status for _, status in said if status is not None]
    failing = [status for status in known if not status.ready and status.error not in (None, LOADING)]
    answers = sum(status.ready for status in known)
    if not answers or not failing:
        return None
    errors = dict.fromkeys(str(status.error) for status in failing)
    return f"the agent answers on {answers} of {len(said)} serving replicas: {'; '.join(errors)}"


def _without_sessions(
    resolved: ResolvedAgent, runtime: ResolvedRuntime | None, said: list[tuple[Replica, AgentStatus | None]]
) -> Verdict | None:
    """Return why an agent that keeps sessions cannot, on one of the replicas; None: it can.

    A runtime without a session backend was meant to have none.
    """
    if runtime is None or runtime.config.sessions is None or resolved.agent.spec.session.mode != "Persistent":
        return None
    wanted = runtime.config.sessions.type
    stores = [item.statusz.sessions for item, _ in said]
    broken = [store for store in stores if store.type == wanted and not store.ready]
    if broken:
        errors = dict.fromkeys(store.error or "it does not answer" for store in broken)
        text = f"calls in a session fail, the session backend is not ready: {'; '.join(errors)}"
        return false(ConditionType.READY, Reason.NOT_READY, text)
    if any(store.type != wanted for store in stores):
        text = "not every replica uses the session backend yet"
        return false(ConditionType.READY, Reason.PENDING, text)
    return None
