"""The status of a SessionBackend: what Redis, or the volume, shows at this moment."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from aixgo_operator.api.constants import ANNOTATION_FORCE_DELETE, ConditionType, Reason
from aixgo_operator.domain import naming
from aixgo_operator.domain.conditions import (
    Verdict,
    accepted,
    degraded,
    false,
    from_problems,
    kstatus,
    resolved_refs,
    true,
    unknown,
    unwritten,
    write,
)
from aixgo_operator.domain.pod_trouble import slow_ends, slow_starts, troubles

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from aixgo_operator.domain.observation import BackendObservation, RedisProbe
    from aixgo_operator.domain.resolved import ResolvedBackend
    from aixgo_operator.domain.settings import OperatorSettings

REACHABLE = ConditionType.REACHABLE
DURABLE = ConditionType.DURABLE
EVICTION_SAFE = ConditionType.EVICTION_SAFE
IN_USE = ConditionType.IN_USE

#: What the CRD allows.
MAX_CONSUMER_NAMES: Final = 64

#: How long the deletion of sessions may take before somebody should look why. It goes on all the same.
PURGE_DEADLINE: Final = timedelta(minutes=10)
#: How a deletion that waits for sessions is ended without them.
_FORCE: Final = f"annotation {ANNOTATION_FORCE_DELETE}=true deletes the SessionBackend and keeps its sessions"
#: What to look at when a Redis of the user's own cannot be used.
_ADVICE: Final = {
    Reason.DIAL_FAILED: "check spec.redis.addresses, and whether NetworkPolicies let the operator out",
    Reason.TLS_HANDSHAKE_FAILED: "check spec.redis.tls",
    Reason.AUTH_FAILED: "check spec.redis.auth",
}


def backend_status(
    resolved: ResolvedBackend,
    observation: BackendObservation,
    settings: OperatorSettings,
    *,
    previous: Mapping[str, Any],
    now: datetime,
) -> dict[str, Any]:
    """Return the whole status of a SessionBackend."""
    del settings  # for the same signature as the other kinds
    backend = resolved.backend
    names = [f"{runtime.namespace}/{runtime.name}" for runtime in resolved.consumers]
    if backend.spec.type == "File":
        state = [_mounted(observation), *_FILE]
    else:
        state = [_reachable(resolved, observation, now), *_safety(observation.probe)]
    verdicts = [
        accepted(resolved.problems),
        resolved_refs(resolved.problems),
        *state,
        _in_use(resolved, names),
    ]
    purge = _purge_trouble(resolved, observation, now)
    ready = _purging(purge) if observation.purging else _ready(resolved, observation, verdicts)
    if ready.holds and verdicts[-1].reason is Reason.DELETION_BLOCKED:
        # It works, and whoever waits for the deletion sees why at a glance.
        ready = true(ConditionType.READY, Reason.DELETION_BLOCKED, verdicts[-1].message)
    trouble = observation.reconcile_error or purge
    if trouble is not None:
        verdicts.append(degraded(Reason.RECONCILE_ERROR, trouble))
    stalled = not verdicts[0].holds or observation.stuck
    left = ready if not ready.holds else unwritten(observation.unwritten)
    status: dict[str, Any] = {
        "observedGeneration": backend.generation,
        "conditions": write(
            [*verdicts, ready, *kstatus(ready, stalled=stalled, left=left)],
            generation=backend.generation,
            previous=previous,
            now=now,
        ),
        "consumers": len(names),
        "consumerNames": names[:MAX_CONSUMER_NAMES],
    }
    if resolved.address is not None:
        status["address"] = resolved.address
    if observation.probe is not None and observation.probe.server_version is not None:
        status["serverVersion"] = observation.probe.server_version
    return status


def _purge_trouble(resolved: ResolvedBackend, observation: BackendObservation, now: datetime) -> str | None:
    """Return why the sessions of a backend that is being deleted are still there, and what to do about it."""
    backend = resolved.backend
    if observation.purge_error is not None:
        return f"the sessions cannot be deleted: {observation.purge_error}. The deletion waits; {_FORCE}"
    asked = backend.metadata.deletion_timestamp
    if not observation.purging or asked is None or now - asked < PURGE_DEADLINE:
        return None
    minutes = PURGE_DEADLINE // timedelta(minutes=1)
    return (
        f"after {minutes} minutes there are still keys that begin with {backend.spec.key_prefix}: does"
        f" somebody go on writing them? They are deleted further; {_FORCE}"
    )


def _purging(trouble: str | None) -> Verdict:
    """Return the condition Ready while sessions are deleted."""
    if trouble is not None:
        return false(ConditionType.READY, Reason.RECONCILE_ERROR, trouble)
    return false(
        ConditionType.READY, Reason.PENDING, "the backend is being deleted, and its sessions with it"
    )


def _reachable(resolved: ResolvedBackend, observation: BackendObservation, now: datetime) -> Verdict:
    """Return the condition Reachable of a Redis."""
    probe = observation.probe
    pods = (
        troubles(observation.pods) or slow_ends(observation.pods, now) or slow_starts(observation.pods, now)
    )
    redis = resolved.backend.spec.redis
    own = redis is not None and redis.managed is None
    if probe is None:
        text = "not looked at yet"
        if observation.purging:
            text = "the backend is being deleted"
        elif not own and not observation.pods and not resolved.held:
            name = naming.redis_workload(resolved.backend.name)
            text = (
                f"Redis has no pod yet: if none comes, kubectl describe statefulset {name} says why (a quota,"
                " a LimitRange, pod security)"
            )
        return unknown(REACHABLE, Reason.NOT_PROBED, pods or text)
    if probe.failure is not None:
        failed = from_problems(REACHABLE, [probe.failure])
        if failed is not None:
            advice = _ADVICE.get(failed.reason) if own else None
            parts = (failed.message, pods, advice)
            return false(REACHABLE, failed.reason, "; ".join(part for part in parts if part))
    return true(REACHABLE, Reason.CONNECTED, "Redis answers")


def _mounted(observation: BackendObservation) -> Verdict:
    """Return the condition Reachable of a File backend: its volume, and what its consumer says."""
    claim = observation.claim
    if claim is not None and claim.phase == "Lost":
        return false(REACHABLE, Reason.DIAL_FAILED, f"the volume is lost: {claim.message or 'no details'}")
    if observation.consumers_ready is False:
        return false(REACHABLE, Reason.DIAL_FAILED, observation.consumers_error or "the files cannot be used")
    if observation.consumers_ready:
        return true(REACHABLE, Reason.CONNECTED, "the consumer uses the files")
    if claim is None or claim.phase != "Bound":
        detail = None if claim is None else claim.message
        return unknown(REACHABLE, Reason.NOT_PROBED, detail or "the volume is bound when it is first used")
    return unknown(REACHABLE, Reason.NOT_PROBED, "nobody uses the files yet")


#: Files on a volume outlive the pod and are never evicted.
_FILE: Final = (
    true(DURABLE, Reason.VOLUME, "sessions are files on a volume"),
    true(EVICTION_SAFE, Reason.NO_EVICTION, "files are never evicted"),
)


def _safety(probe: RedisProbe | None) -> tuple[Verdict, Verdict]:
    """Return the conditions Durable and EvictionSafe of a Redis."""
    if probe is None:
        text = "not looked at yet"
        return unknown(DURABLE, Reason.UNKNOWN, text), unknown(EVICTION_SAFE, Reason.UNKNOWN, text)
    return _durable(probe), _eviction_safe(probe)


def _durable(probe: RedisProbe) -> Verdict:
    if probe.aof_enabled:
        return true(DURABLE, Reason.AOF, "every append is in the append-only file")
    if probe.aof_enabled is None:
        return unknown(DURABLE, Reason.UNKNOWN, _why_unknown(probe))
    if probe.snapshots_enabled:
        text = "sessions since the last snapshot are lost when Redis stops: set appendonly yes"
        return false(DURABLE, Reason.SNAPSHOT_ONLY, text)
    if probe.snapshots_enabled is None:
        text = "the append-only file is off; the user of the operator may not ask for snapshots (CONFIG GET)"
        return unknown(DURABLE, Reason.UNKNOWN, text)
    return false(DURABLE, Reason.NO_PERSISTENCE, "every session is lost when Redis stops: set appendonly yes")


def _why_unknown(probe: RedisProbe) -> str:
    if probe.failure is not None:
        return "Redis could not be asked: see Reachable"
    return "the user of the operator may not ask Redis (INFO)"


def _eviction_safe(probe: RedisProbe) -> Verdict:
    policy = probe.max_memory_policy
    if policy == "noeviction" or probe.max_memory_bytes == 0:
        return true(EVICTION_SAFE, Reason.NO_EVICTION, "Redis never evicts keys")
    if policy is None:
        return unknown(EVICTION_SAFE, Reason.UNKNOWN, _why_unknown(probe))
    if policy.startswith("volatile-"):
        text = f"maxmemory-policy is {policy}: only sessions with a TTL can be evicted"
        return true(EVICTION_SAFE, Reason.VOLATILE_ONLY, text)
    text = f"maxmemory-policy is {policy}: Redis evicts sessions when memory is short: set it to noeviction"
    return false(EVICTION_SAFE, Reason.ALL_KEYS_EVICTION, text)


def _in_use(resolved: ResolvedBackend, names: list[str]) -> Verdict:
    if not names:
        return false(IN_USE, Reason.NOT_USED, "no AgentRuntime uses the backend")
    listed = ", ".join(names[:MAX_CONSUMER_NAMES])
    if len(names) > MAX_CONSUMER_NAMES:
        listed += f" and {len(names) - MAX_CONSUMER_NAMES} more"
    if resolved.backend.metadata.deletion_timestamp is not None:
        return true(
            IN_USE,
            Reason.DELETION_BLOCKED,
            f"the deletion waits for AgentRuntimes {listed}: delete them or change spec.sessionBackendRef",
        )
    return true(IN_USE, Reason.HAS_CONSUMERS, f"used by AgentRuntimes {listed}")


def _ready(resolved: ResolvedBackend, observation: BackendObservation, verdicts: list[Verdict]) -> Verdict:
    """Return the sum. Durable, EvictionSafe and InUse describe the backend, they do not stop it."""
    accepted_, refs, reachable = verdicts[:3]
    ready = ConditionType.READY
    for verdict in (accepted_, refs):
        if not verdict.holds:
            return false(ready, verdict.reason, verdict.message)
    if observation.reconcile_error is not None:
        return false(ready, Reason.RECONCILE_ERROR, observation.reconcile_error)
    if reachable.holds:
        return true(ready, Reason.READY, reachable.message)
    if (
        reachable.status == "Unknown"
        and resolved.backend.spec.type == "File"
        and observation.claim is not None
    ):
        # Nothing but a consumer can try the files, and a consumer comes only once the backend is there.
        return true(ready, Reason.READY, reachable.message)
    return false(ready, reachable.reason, reachable.message)
