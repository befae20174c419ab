"""Observations of pods and Deployments, events on transitions, and when to look again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aixgo_operator.reconcile.observe import (
    observe_deployment,
    observe_pod,
    pods_of_deployment,
    pods_of_stateful_set,
    probe_target,
    scaled_by,
)
from aixgo_operator.reconcile.pace import next_look
from aixgo_operator.reconcile.status import _mark, transition

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def pod(name: str = "r-abc-1", owner: str = "r-abc", template: str = "abc", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "n",
            "labels": {"pod-template-hash": template},
            "annotations": {"aixgo.dev/restart-hash": "h"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": owner, "uid": "u", "controller": True}],
        },
        "spec": {"containers": [{"name": "runtime"}, {"name": "mesh"}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1"} | status,
    }


def test_labels_alone_make_no_pod_ours() -> None:
    """O26: its controller does."""
    deployment = {"metadata": {"name": "r", "uid": "d"}}
    stray = pod("stray")
    stray["metadata"]["ownerReferences"] = []
    other = pod("other", owner="r-x-abc")
    assert [p["metadata"]["name"] for p in pods_of_deployment([stray, other, pod()], deployment)] == [
        "r-abc-1"
    ]


def test_labels_alone_make_no_pod_of_redis_ours() -> None:
    """O26: nor does a StatefulSet of the same name that is another one."""
    stateful_set = {"metadata": {"name": "r", "uid": "s"}}
    stray, other, ours = pod("stray"), pod("other"), pod("ours")
    stray["metadata"]["ownerReferences"] = []
    for each, uid in ((other, "earlier"), (ours, "s")):
        reference = {"kind": "StatefulSet", "name": "r", "uid": uid, "controller": True}
        each["metadata"]["ownerReferences"] = [reference]
    found = pods_of_stateful_set([stray, other, ours], stateful_set)
    assert [p["metadata"]["name"] for p in found] == ["ours"]


def test_a_pod_that_waits() -> None:
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    statuses = [
        {"name": "mesh", "state": {"running": {}}, "started": True},
        {"name": "runtime", "state": state, "restartCount": 0},
    ]
    seen = observe_pod(pod(containerStatuses=statuses, conditions=[{"type": "Ready", "status": "False"}]))
    assert (seen.ready, seen.started) == (False, False)
    assert (seen.waiting_reason, seen.waiting_message) == ("ImagePullBackOff", "no such image")
    assert seen.restart_hash == "h"


def test_a_pod_that_crashed() -> None:
    last = {"terminated": {"exitCode": 2, "reason": "Error", "message": "bad configuration"}}
    status = {"name": "runtime", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": last}
    seen = observe_pod(pod(containerStatuses=[status | {"restartCount": 3}]))
    assert (seen.exit_code, seen.terminated_message, seen.restarts) == (2, "bad configuration", 3)


def test_a_terminating_pod_is_not_ready_and_is_not_asked() -> None:
    ready = pod(conditions=[{"type": "Ready", "status": "True"}])
    assert observe_pod(ready).ready
    assert probe_target(ready, 8080) is not None
    ready["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not observe_pod(ready).ready
    assert probe_target(ready, 8080) is None


def test_an_evicted_pod_has_ended() -> None:
    conditions = [{"type": "Ready", "status": "True"}]
    words = {"reason": "Evicted", "message": "The node was low on resource: memory."}
    seen = observe_pod(pod(phase="Failed", conditions=conditions, **words))
    assert (seen.ready, seen.ended, seen.alive) == (False, True, False)
    assert (seen.ended_reason, seen.ended_message) == ("Evicted", words["message"])


def test_an_empty_pod_is_no_error() -> None:
    seen = observe_pod({"metadata": {"name": "p"}})
    assert not seen.ready
    assert seen.statusz is None


def test_a_deployment() -> None:
    seen = observe_deployment(
        {
            "metadata": {"generation": 3},
            "spec": {
                "replicas": 0,
                "template": {"metadata": {"annotations": {"aixgo.dev/restart-hash": "x"}}},
            },
            "status": {
                "observedGeneration": 2,
                "conditions": [
                    {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"},
                    {"type": "ReplicaFailure", "status": "True", "message": "quota"},
                ],
            },
        }
    )
    assert (seen.generation, seen.observed_generation, seen.desired) == (3, 2, 0)
    assert (seen.progressing_reason, seen.replica_failure) == ("ProgressDeadlineExceeded", "quota")


@pytest.mark.parametrize(
    ("entry", "elsewhere"),
    [
        ({"manager": "kubectl", "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}}, True),
        ({"manager": "kubectl", "fieldsV1": {"f:spec": {"f:replicas": {}}}}, False),
        (
            {"manager": "aixgo-operator", "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
            False,
        ),
        ({"manager": "kubectl", "subresource": "status", "fieldsV1": {"f:status": {}}}, False),
    ],
)
def test_who_scaled_it(entry: dict[str, Any], elsewhere: bool) -> None:
    """O24: whose the replicas are."""
    deployment = {"metadata": {"managedFields": [entry], "annotations": {"aixgo.dev/replicas": "2"}}}
    assert scaled_by(deployment, 2) == ("kubectl" if elsewhere else None)
    assert scaled_by(None, 2) is None
    # The AgentRuntime was scaled later.
    assert scaled_by(deployment, 3) is None
    # An operator that did not remember the wish made it.
    del deployment["metadata"]["annotations"]
    assert scaled_by(deployment, 3) == ("kubectl" if elsewhere else None)


def _status(value: str, reason: str) -> dict[str, Any]:
    return {"conditions": [{"type": "Ready", "status": value, "reason": reason, "message": "why"}]}


@pytest.mark.parametrize(
    ("before", "after", "event"),
    [
        (("Unknown", "Pending"), ("True", "Ready"), "Normal"),
        (("True", "Ready"), ("True", "Ready"), None),
        (("Unknown", "Pending"), ("False", "Rolling"), None),
        (("True", "Ready"), ("False", "NoReadyReplicas"), "Normal"),
        (("Unknown", "Pending"), ("False", "SecretNotFound"), "Warning"),
        (("False", "SecretNotFound"), ("False", "SecretNotFound"), None),
        (("False", "SecretNotFound"), ("False", "KeyNotFound"), "Warning"),
        (("True", "Ready"), ("False", "Suspended"), "Normal"),
        (("True", "Ready"), ("True", "DeletionBlocked"), "Warning"),
    ],
)
def test_an_event_per_transition(before: tuple[str, str], after: tuple[str, str], event: str | None) -> None:
    """O13: at most one, and none for what stays as it is."""
    found = transition(_status(*before), _status(*after))
    assert (found[0] if found else None) == event


def test_a_transition_has_one_name_whoever_tells_it() -> None:
    """A process that died after the Event leaves the stored status to one that concludes later."""
    before = {"conditions": [ready_since("10:00:00Z", "False", "SecretNotFound")]}
    names = {_mark("uid", before, {"conditions": [ready_since(time, "True", "Ready")]}) for time in "ab"}
    assert len(names) == 1
    later = {"conditions": [ready_since("11:00:00Z", "False", "SecretNotFound")]}
    assert _mark("uid", later, {"conditions": [ready_since("a", "True", "Ready")]}) not in names
    assert _mark("other", before, {"conditions": [ready_since("a", "True", "Ready")]}) not in names
    assert _mark("uid", before, {"conditions": [ready_since("a", "False", "Rolling")]}) not in names


def ready_since(time: str, value: str, reason: str) -> dict[str, Any]:
    (condition,) = _status(value, reason)["conditions"]
    return {**condition, "lastTransitionTime": time, "observedGeneration": 1}


def test_pace() -> None:
    def after(**changes: Any) -> float:
        options: dict[str, Any] = {
            "settled": False,
            "attempts": 0,
            "quick": 1.0,
            "steady": 20.0,
            "now": NOW,
            "jitter": lambda: 1.0,
        }
        result = next_look(**(options | changes)).after
        assert result is not None
        return result

    assert after() == 1.0
    assert 1.0 < after(attempts=1) < after(attempts=2) <= 5.0
    assert after(attempts=1000) == 5.0
    assert after(settled=True) == 24.0
    assert after(settled=True, due=NOW + timedelta(seconds=3)) == pytest.approx(3.05)
    assert after(settled=True, due=NOW - timedelta(hours=1)) == pytest.approx(0.05)
    assert after(settled=True, due=NOW + timedelta(hours=1)) == 24.0


@pytest.mark.parametrize(
    ("settled", "due", "patient"),
    [
        (True, None, True),
        (True, timedelta(hours=1), True),
        (True, timedelta(seconds=3), False),
        (False, None, False),
    ],
)
def test_only_a_look_at_the_steady_pace_is_patient(
    settled: bool, due: timedelta | None, patient: bool
) -> None:
    when = None if due is None else NOW + due
    look = next_look(settled=settled, attempts=0, quick=1.0, steady=15.0, due=when, now=NOW)
    assert look.patient is patient
