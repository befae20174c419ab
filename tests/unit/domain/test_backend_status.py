"""The status of a SessionBackend: reachable, durable, safe from eviction, in use."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.support.domain import NOW, SETTINGS, condition, make_backend, make_runtime, verdict

from aixgo_operator.api.constants import ConditionType, Reason
from aixgo_operator.api.v1alpha1 import SessionBackend
from aixgo_operator.domain.observation import (
    BackendObservation,
    ClaimObservation,
    PodObservation,
    RedisProbe,
)
from aixgo_operator.domain.problem import Problem
from aixgo_operator.domain.resolve import resolve_backend
from aixgo_operator.domain.snapshot import Snapshot
from aixgo_operator.domain.status import backend_status

PROBE = RedisProbe(
    server_version="7.0.15",
    aof_enabled=True,
    snapshots_enabled=False,
    max_memory_bytes=0,
    max_memory_policy="noeviction",
)
EXTERNAL: dict[str, Any] = {"type": "Redis", "redis": {"addresses": ["redis.example:6379"]}}
FILE: dict[str, Any] = {"type": "File"}


def conclude(backend: SessionBackend, observation: BackendObservation, consumers: int = 0) -> dict[str, Any]:
    runtimes = tuple(
        make_runtime(f"r{number:02}", sessionBackendRef={"name": "sessions"}) for number in range(consumers)
    )
    resolved = resolve_backend(Snapshot(backend=backend, consumers=runtimes), SETTINGS)
    return backend_status(resolved, observation, SETTINGS, previous={}, now=NOW)


def test_a_managed_redis_that_answers() -> None:
    status = conclude(make_backend(), BackendObservation(probe=PROBE), consumers=2)
    assert {item["type"]: (item["status"], item["reason"]) for item in status["conditions"]} == {
        "Accepted": ("True", "Accepted"),
        "ResolvedRefs": ("True", "Resolved"),
        "Reachable": ("True", "Connected"),
        "Durable": ("True", "AOF"),
        "EvictionSafe": ("True", "NoEviction"),
        "InUse": ("True", "HasConsumers"),
        "Ready": ("True", "Ready"),
    }
    assert {key: value for key, value in status.items() if key != "conditions"} == {
        "observedGeneration": 3,
        "serverVersion": "7.0.15",
        "address": "sessions-redis.default.svc.cluster.local:6379",
        "consumers": 2,
        "consumerNames": ["default/r00", "default/r01"],
    }


def test_a_redis_that_was_not_looked_at_is_not_ready() -> None:
    status = conclude(make_backend(), BackendObservation())
    assert verdict(status, "Reachable") == ("Unknown", "NotProbed")
    assert verdict(status, "Durable") == ("Unknown", "Unknown")
    assert verdict(status, "EvictionSafe") == ("Unknown", "Unknown")
    assert verdict(status, "Ready") == ("False", "NotProbed")
    assert verdict(status, "Reconciling") == ("True", "NotProbed")


@pytest.mark.parametrize(
    "reason",
    [Reason.DIAL_FAILED, Reason.TLS_HANDSHAKE_FAILED, Reason.AUTH_FAILED, Reason.READ_ONLY_REPLICA],
)
def test_a_redis_that_cannot_be_used(reason: Reason) -> None:
    failure = Problem(ConditionType.REACHABLE, reason, "no luck")
    pod = PodObservation("sessions-redis-0", waiting_reason="ErrImagePull", waiting_message="not found")
    observation = BackendObservation(probe=replace(PROBE, failure=failure), pods=(pod,))
    status = conclude(make_backend(), observation)
    assert verdict(status, "Reachable") == ("False", reason.value)
    assert verdict(status, "Ready") == ("False", reason.value)
    ready = condition(status, "Ready")
    assert ready is not None
    assert ready["message"] == "no luck; pod sessions-redis-0: ImagePullBackOff: not found"


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        (
            Reason.DIAL_FAILED,
            "check spec.redis.addresses, and whether NetworkPolicies let the operator out",
        ),
        (Reason.TLS_HANDSHAKE_FAILED, "check spec.redis.tls"),
        (Reason.AUTH_FAILED, "check spec.redis.auth"),
    ],
)
def test_what_to_look_at_when_a_redis_of_the_users_own_cannot_be_used(reason: Reason, advice: str) -> None:
    failure = Problem(ConditionType.REACHABLE, reason, "no luck")
    status = conclude(make_backend(**EXTERNAL), BackendObservation(probe=replace(PROBE, failure=failure)))
    ready = condition(status, "Ready")
    assert ready is not None
    assert ready["message"] == f"no luck; {advice}"


def test_a_managed_redis_whose_pod_is_refused() -> None:
    """A StatefulSet has no condition for a quota: only its Events say so."""
    ready = condition(conclude(make_backend(), BackendObservation()), "Ready")
    assert ready is not None
    assert "kubectl describe statefulset sessions-redis says why (a quota" in ready["message"]


def test_a_managed_redis_on_a_node_that_is_gone() -> None:
    failure = Problem(ConditionType.REACHABLE, Reason.DIAL_FAILED, "no luck")
    pod = PodObservation("sessions-redis-0", terminating=True, ends_at=NOW - timedelta(minutes=1))
    seen = BackendObservation(probe=replace(PROBE, failure=failure), pods=(pod,))
    ready = condition(conclude(make_backend(), seen), "Ready")
    assert ready is not None
    assert ready["message"].startswith("no luck; pod sessions-redis-0: has not ended in time")


@pytest.mark.parametrize(
    ("seconds", "error", "reason", "words"),
    [
        (0, None, "Pending", "the backend is being deleted, and its sessions with it"),
        (599, None, "Pending", "the backend is being deleted, and its sessions with it"),
        (
            600,
            None,
            "ReconcileError",
            "after 10 minutes there are still keys that begin with aixgo:sessions:",
        ),
        (0, "Redis at r:6379 cannot be reached", "ReconcileError", "Redis at r:6379 cannot be reached"),
    ],
)
def test_a_deletion_that_waits_for_sessions(seconds: int, error: str | None, reason: str, words: str) -> None:
    backend = make_backend(**EXTERNAL, deletionPolicy="Delete")
    asked = NOW - timedelta(seconds=seconds)
    backend = backend.model_copy(
        update={"metadata": backend.metadata.model_copy(update={"deletion_timestamp": asked})}
    )
    status = conclude(backend, BackendObservation(purging=True, purge_error=error))
    ready = condition(status, "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("False", reason)
    assert words in ready["message"]
    stuck = reason == "ReconcileError"
    assert verdict(status, "Degraded") == (("True", "ReconcileError") if stuck else None)
    assert ("aixgo.dev/force-delete=true" in ready["message"]) is stuck


@pytest.mark.parametrize(
    ("aof", "snapshots", "expected"),
    [
        (True, None, ("True", "AOF")),
        (False, True, ("False", "SnapshotOnly")),
        (False, False, ("False", "NoPersistence")),
        (False, None, ("Unknown", "Unknown")),
        (None, None, ("Unknown", "Unknown")),
    ],
)
def test_durable(aof: bool | None, snapshots: bool | None, expected: tuple[str, str]) -> None:
    probe = replace(PROBE, aof_enabled=aof, snapshots_enabled=snapshots)
    status = conclude(make_backend(**EXTERNAL), BackendObservation(probe=probe))
    assert verdict(status, "Durable") == expected
    assert verdict(status, "Ready") == ("True", "Ready"), "it works, durable or not"


@pytest.mark.parametrize(
    ("limit", "policy", "expected"),
    [
        (1000, "noeviction", ("True", "NoEviction")),
        (0, "allkeys-lru", ("True", "NoEviction")),
        (1000, "volatile-ttl", ("True", "VolatileOnly")),
        (1000, "allkeys-lru", ("False", "AllKeysEviction")),
        (None, None, ("Unknown", "Unknown")),
    ],
)
def test_eviction_safe(limit: int | None, policy: str | None, expected: tuple[str, str]) -> None:
    probe = replace(PROBE, max_memory_bytes=limit, max_memory_policy=policy)
    status = conclude(make_backend(**EXTERNAL), BackendObservation(probe=probe))
    assert verdict(status, "EvictionSafe") == expected


def test_files() -> None:
    bound = ClaimObservation("Bound")
    status = conclude(make_backend(**FILE), BackendObservation(claim=bound))
    assert verdict(status, "Reachable") == ("Unknown", "NotProbed")
    assert verdict(status, "Durable") == ("True", "Volume")
    assert verdict(status, "EvictionSafe") == ("True", "NoEviction")
    assert verdict(status, "Ready") == ("True", "Ready"), "a consumer comes only once the backend is there"
    used = conclude(make_backend(**FILE), BackendObservation(claim=bound, consumers_ready=True))
    assert verdict(used, "Reachable") == ("True", "Connected")
    broken = BackendObservation(claim=bound, consumers_ready=False, consumers_error="read-only disk")
    assert verdict(conclude(make_backend(**FILE), broken), "Ready") == ("False", "DialFailed")
    lost = BackendObservation(claim=ClaimObservation("Lost"))
    assert verdict(conclude(make_backend(**FILE), lost), "Ready") == ("False", "DialFailed")
    assert verdict(conclude(make_backend(**FILE), BackendObservation()), "Ready") == ("False", "NotProbed")


def test_a_deletion_lists_the_consumers_that_hold_it() -> None:
    assert verdict(conclude(make_backend(), BackendObservation(probe=PROBE)), "InUse") == (
        "False",
        "NotUsed",
    )
    status = conclude(make_backend(deleted=True), BackendObservation(probe=PROBE), consumers=2)
    in_use = condition(status, "InUse")
    assert in_use is not None
    assert (in_use["status"], in_use["reason"]) == ("True", "DeletionBlocked")
    assert "default/r00, default/r01" in in_use["message"]
    # It still works, and whoever waits sees why.
    ready = condition(status, "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("True", "DeletionBlocked")
    assert ready["message"] == in_use["message"]


def test_many_consumers_are_counted_and_the_first_are_named() -> None:
    status = conclude(make_backend(), BackendObservation(probe=PROBE), consumers=70)
    assert status["consumers"] == 70
    assert len(status["consumerNames"]) == 64
    in_use = condition(status, "InUse")
    assert in_use is not None
    assert in_use["message"].endswith("and 6 more")


def test_an_external_redis_with_a_missing_secret_is_not_ready() -> None:
    redis = {**EXTERNAL["redis"], "auth": {"passwordSecretRef": {"name": "redis", "key": "p"}}}
    status = conclude(make_backend(type="Redis", redis=redis), BackendObservation(probe=PROBE))
    assert verdict(status, "Ready") == ("False", "SecretNotFound")


def test_errors_of_reconcile_and_purge_are_told() -> None:
    status = conclude(make_backend(), BackendObservation(probe=PROBE, reconcile_error="forbidden"))
    assert verdict(status, "Degraded") == ("True", "ReconcileError")
    assert verdict(status, "Ready") == ("False", "ReconcileError")
    status = conclude(
        make_backend(deleted=True), BackendObservation(probe=PROBE, purge_error="Redis is away")
    )
    assert verdict(status, "Degraded") == ("True", "ReconcileError")
