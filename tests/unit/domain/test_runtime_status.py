"""The status of an AgentRuntime: it follows what the pods say at this moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.support.domain import (
    FINGERPRINT,
    NOW,
    SETTINGS,
    condition,
    healthy,
    make_pod,
    make_runtime,
    resolve,
    statusz,
    verdict,
)
from tests.support.runtime_status import READY, conclude, resolved_runtime, with_deployment

from aixgo.contract import SessionStatus
from aixgo_operator.domain.observation import PodObservation, RuntimeObservation
from aixgo_operator.domain.resolved import ResolvedRuntime
from aixgo_operator.domain.status import in_trouble, invalid_status, runtime_status


def test_everything_as_wanted() -> None:
    resolved = resolved_runtime(replicas=2)
    status = conclude(resolved, healthy(resolved))
    assert {item["type"]: (item["status"], item["reason"]) for item in status["conditions"]} == {
        "Accepted": ("True", "Accepted"),
        "ResolvedRefs": ("True", "Resolved"),
        "CertificatesReady": ("True", "Serving"),
        "SessionBackendReady": ("True", "Connected"),
        "Progressing": ("True", "RolloutComplete"),
        "Ready": READY,
    }
    assert status["observedGeneration"] == 3
    assert all(item["observedGeneration"] == 3 for item in status["conditions"])
    assert {key: value for key, value in status.items() if key != "conditions"} == {
        "observedGeneration": 3,
        "replicas": 2,
        "readyReplicas": 2,
        "updatedReplicas": 2,
        "selector": "aixgo.dev/runtime=agents,app.kubernetes.io/component=runtime",
        "address": "agents.default.svc.cluster.local:50051",
        "attachedAgents": 1,
        "revision": {"desired": resolved.config.revision, "current": resolved.config.revision},
        "tls": {
            "serialNumber": "1",
            "sha256Fingerprint": FINGERPRINT,
            "notAfter": "2026-03-02T11:00:00Z",
            "reloadedReplicas": 2,
            "trustBundlePhase": "Stable",
        },
    }


def test_nothing_there_yet() -> None:
    status = conclude(resolved_runtime(), RuntimeObservation(wanted_restart_hash="x"))
    assert verdict(status, "Ready") == ("False", "NotIssued")
    assert verdict(status, "Progressing") == ("True", "Rolling")
    assert verdict(status, "Reconciling") == ("True", "NotIssued")
    assert status["readyReplicas"] == 0


def pull_failure(resolved: ResolvedRuntime, reason: str, message: str) -> PodObservation:
    pod = make_pod(resolved, "agents-new", ready=False, started=False, statusz=None)
    return replace(pod, waiting_reason=reason, waiting_message=message)


PULL_ERROR = 'failed to pull and unpack image "x:bad": not found'


def test_an_image_that_cannot_be_pulled_is_told_in_the_pods_words() -> None:
    resolved = resolved_runtime()
    observation = with_deployment(
        healthy(resolved), progressing_reason="ReplicaSetUpdated", ready=0, available=0
    )
    statuses = [
        conclude(resolved, replace(observation, pods=(pull_failure(resolved, reason, message),)))
        for reason, message in (
            ("ErrImagePull", PULL_ERROR),
            ("ImagePullBackOff", f'Back-off pulling image "x:bad": ErrImagePull: {PULL_ERROR}'),
        )
    ]
    status = statuses[0]
    assert verdict(status, "Ready") == ("False", "Rolling")
    progressing = condition(status, "Progressing")
    assert progressing is not None
    assert progressing["message"] == (
        f"0 of 1 replicas of the newest kind serve: pod agents-new: ImagePullBackOff: {PULL_ERROR}"
    )
    assert statuses[0] == statuses[1], "the kubelet's alternating words must not make the status flap"


def test_after_the_deadline_the_rollout_is_stalled_and_the_old_pod_counts() -> None:
    resolved = resolved_runtime()
    old = make_pod(resolved, "agents-old", restart_hash="old")
    pods = (old, pull_failure(resolved, "ImagePullBackOff", PULL_ERROR))
    observation = with_deployment(
        replace(healthy(resolved), pods=pods),
        progressing_reason="ProgressDeadlineExceeded",
        replicas=2,
        updated=1,
    )
    status = conclude(resolved, observation)
    assert verdict(status, "Progressing") == ("False", "ProgressDeadlineExceeded")
    assert verdict(status, "Ready") == ("False", "ProgressDeadlineExceeded")
    assert verdict(status, "Stalled") == ("True", "ProgressDeadlineExceeded")
    assert verdict(status, "Reconciling") is None
    assert PULL_ERROR in status["conditions"][4]["message"]
    assert status["readyReplicas"] == 1


def test_a_crash_is_told_with_the_containers_last_words() -> None:
    resolved = resolved_runtime()
    base = make_pod(resolved, ready=False, started=False, statusz=None)
    crash = replace(base, restarts=3, exit_code=2, terminated_reason="Error", terminated_message="bad\nport")
    waiting = replace(crash, waiting_reason="CrashLoopBackOff", waiting_message="back-off 40s restarting")
    observation = with_deployment(healthy(resolved), progressing_reason="ReplicaSetUpdated", available=0)
    statuses = [conclude(resolved, replace(observation, pods=(pod,))) for pod in (crash, waiting)]
    progressing = condition(statuses[0], "Progressing")
    assert progressing is not None
    assert progressing["message"].endswith("pod agents-1: CrashLoopBackOff: exited with code 2: bad port")
    assert statuses[0] == statuses[1], "seconds of a back-off must not be in the status"


def test_a_pod_that_cannot_be_scheduled() -> None:
    resolved = resolved_runtime()
    pod = PodObservation(name="agents-1", unschedulable_message="0/3 nodes are available")
    pod = replace(pod, restart_hash=make_pod(resolved).restart_hash)
    observation = with_deployment(healthy(resolved), progressing_reason="ReplicaSetUpdated", available=0)
    progressing = condition(conclude(resolved, replace(observation, pods=(pod,))), "Progressing")
    assert progressing is not None
    assert "Unschedulable: 0/3 nodes are available" in progressing["message"]


def test_ready_needs_the_wanted_configuration_on_every_serving_replica() -> None:
    resolved = resolved_runtime(replicas=2)
    stale = make_pod(resolved, "agents-0", statusz=statusz(resolved, config_revision="old"))
    status = conclude(resolved, replace(healthy(resolved), pods=(stale, make_pod(resolved))))
    assert verdict(status, "Ready") == ("False", "Rolling")
    assert "1 of 2 serving replicas have loaded" in status["conditions"][4]["message"]
    assert "current" not in status["revision"]


def test_a_refused_configuration_is_told() -> None:
    resolved = resolved_runtime()
    said = statusz(resolved, config_revision="old", last_config_error="contract 9 is too new")
    status = conclude(resolved, replace(healthy(resolved), pods=(make_pod(resolved, statusz=said),)))
    ready = condition(status, "Ready")
    assert ready is not None
    assert "contract 9 is too new" in ready["message"]


@pytest.mark.parametrize(
    "change",
    [
        {"restart_hash": "other"},
        {"desired": 5},
        {"replicas": 2},
    ],
)
def test_ready_needs_the_rolled_out_deployment(change: dict[str, Any]) -> None:
    resolved = resolved_runtime()
    status = conclude(resolved, with_deployment(healthy(resolved), **change))
    assert verdict(status, "Ready") == ("False", "Rolling")


@pytest.mark.parametrize(
    ("templates", "ready"),
    [
        # Nobody has made pods of another template: an annotation, or a number of replicas.
        (("wanted", "wanted"), ("True", "Ready")),
        # The new template is written, and its controller has not begun.
        (("old", "old"), ("False", "Rolling")),
        (("wanted", "old"), ("False", "Rolling")),
        ((), ("False", "Rolling")),
    ],
)
def test_a_new_generation_of_the_deployment_is_a_rollout_only_with_a_new_template(
    templates: tuple[str, ...], ready: tuple[str, str]
) -> None:
    resolved = resolved_runtime(replicas=2)
    pods = [make_pod(resolved, f"agents-{number}") for number in range(len(templates))]
    for number, template in enumerate(templates):
        if template != "wanted":
            pods[number] = replace(pods[number], restart_hash=template)
    observation = with_deployment(healthy(resolved, pods=tuple(pods)), generation=3, observed_generation=2)
    assert verdict(conclude(resolved, observation), "Ready") == ready


def test_the_first_pods_of_a_deployment_are_a_rollout() -> None:
    resolved = resolved_runtime()
    observation = healthy(resolved, pods=(make_pod(resolved, ready=False, started=False, statusz=None),))
    fresh = {"replicas": 0, "updated": 0, "ready": 0, "available": 0, "progressing_reason": None}
    observation = with_deployment(observation, generation=1, observed_generation=0, **fresh)
    assert verdict(conclude(resolved, observation), "Ready") == ("False", "Rolling")


def test_pods_that_have_ended_do_not_count() -> None:
    """Evicted pods stay until the garbage collector has too many of them."""
    resolved = resolved_runtime()
    evicted = PodObservation(
        name="agents-0", ended=True, ended_reason="Evicted", ended_message="low on memory"
    )
    evicted = replace(evicted, restart_hash=make_pod(resolved).restart_hash)
    status = conclude(resolved, replace(healthy(resolved), pods=(evicted, make_pod(resolved))))
    assert verdict(status, "Ready") == READY
    assert verdict(status, "Degraded") is None
    assert (status["replicas"], status["updatedReplicas"]) == (1, 1)
    asleep = resolved_runtime(operatingMode="Suspended")
    progressing = condition(conclude(asleep, replace(healthy(asleep), pods=(evicted,))), "Progressing")
    assert progressing is not None
    assert progressing["reason"] == "RolloutComplete"


def test_after_the_deadline_a_pod_without_a_word_is_named() -> None:
    resolved = resolved_runtime()
    pod = make_pod(resolved, "agents-new", ready=False, started=False, statusz=None)
    pod = replace(pod, created_at=NOW - timedelta(minutes=10), waiting_reason="ContainerCreating")
    observation = with_deployment(
        healthy(resolved, pods=(pod,)), progressing_reason="ProgressDeadlineExceeded"
    )
    progressing = condition(conclude(resolved, observation), "Progressing")
    assert progressing is not None
    assert progressing["message"].endswith("kubectl describe pod agents-new says what it waits for")


def test_a_rollout_that_waits_for_a_node_that_is_gone() -> None:
    """With files the new pod may come only when the old one has ended."""
    resolved = resolved_runtime()
    old = make_pod(resolved, "agents-old", restart_hash="old", ready=False, terminating=True, statusz=None)
    old = replace(old, ends_at=NOW - timedelta(minutes=1))
    counts = {"replicas": 0, "updated": 0, "ready": 0, "available": 0, "progressing_reason": "X"}
    observation = with_deployment(healthy(resolved, pods=(old,)), **counts)
    progressing = condition(conclude(resolved, observation), "Progressing")
    assert progressing is not None
    assert progressing["reason"] == "Rolling"
    assert "pod agents-old: has not ended in time" in progressing["message"]


def test_a_draining_pod_does_not_serve() -> None:
    resolved = resolved_runtime()
    pod = make_pod(resolved, statusz=statusz(resolved, draining=True))
    status = conclude(resolved, replace(healthy(resolved), pods=(pod,)))
    assert verdict(status, "Ready") == ("False", "NoReadyReplicas")
    assert status["readyReplicas"] == 0


def test_scaled_to_zero_is_not_ready() -> None:
    resolved = resolved_runtime(replicas=0)
    ready = condition(conclude(resolved, healthy(resolved)), "Ready")
    assert ready is not None
    assert (ready["reason"], ready["message"]) == ("NoReadyReplicas", "spec.replicas is 0")


@pytest.mark.parametrize("number", [0, 4])
def test_who_scales_the_deployment_is_named(number: int) -> None:
    resolved = resolve(make_runtime(replicas=2), replicas_managed_by="kubectl")
    pods = tuple(make_pod(resolved, f"agents-{index}") for index in range(number))
    counts = dict.fromkeys(("desired", "replicas", "updated", "ready", "available"), number)
    status = conclude(resolved, with_deployment(healthy(resolved, pods=pods), **counts))
    told = condition(status, "Progressing" if number else "Ready")
    assert told is not None
    assert told["reason"] == ("RolloutComplete" if number else "NoReadyReplicas")
    assert told["message"].endswith(
        f"kubectl scaled the Deployment to {number}, and spec.replicas (2) counts again when it is changed:"
        " scale the AgentRuntime, not its Deployment"
    )


def test_a_deployment_that_was_scaled_to_what_is_wanted_needs_no_word() -> None:
    resolved = resolve(make_runtime(), replicas_managed_by="kubectl")
    progressing = condition(conclude(resolved, healthy(resolved)), "Progressing")
    assert progressing is not None
    assert progressing["message"] == "1 of 1 replicas serve"


def test_a_lost_replica_is_a_partial_outage_and_the_rest_serves() -> None:
    resolved = resolved_runtime(replicas=2)
    silent = make_pod(resolved, "agents-0", statusz=None, probe_error="no route to host")
    status = conclude(resolved, replace(healthy(resolved), pods=(silent, make_pod(resolved))))
    assert verdict(status, "Ready") == READY
    degraded = condition(status, "Degraded")
    assert degraded is not None
    assert degraded["reason"] == "PartialOutage"
    assert degraded["message"] == ("1 of 2 replicas serve: pod agents-0: does not answer: no route to host")


def test_scaling_up_is_no_outage() -> None:
    resolved = resolved_runtime(replicas=2)
    starting = make_pod(resolved, "agents-0", ready=False, started=False, statusz=None)
    starting = replace(starting, waiting_reason="ContainerCreating")
    status = conclude(resolved, replace(healthy(resolved), pods=(starting, make_pod(resolved))))
    assert verdict(status, "Degraded") is None
    assert verdict(status, "Ready") == READY


def test_unresolved_references_come_first_and_are_no_stall() -> None:
    resolved = resolve(make_runtime(sessionBackendRef={"name": "missing"}))
    status = conclude(resolved, RuntimeObservation())
    assert verdict(status, "Ready") == ("False", "SessionBackendNotFound")
    assert verdict(status, "Stalled") is None
    assert verdict(status, "Reconciling") == ("True", "SessionBackendNotFound")


def test_an_invalid_spec_is_a_stall() -> None:
    resolved = resolve(make_runtime(grpc={"port": 8080}))
    status = conclude(resolved, RuntimeObservation())
    assert verdict(status, "Ready") == ("False", "InvalidSpec")
    assert verdict(status, "Stalled") == ("True", "InvalidSpec")


def test_suspended() -> None:
    resolved = resolved_runtime(operatingMode="Suspended")
    gone = conclude(resolved, healthy(resolved))
    assert verdict(gone, "Ready") == ("False", "Suspended")
    assert verdict(gone, "Progressing") == ("True", "RolloutComplete")
    assert verdict(gone, "Reconciling") is None
    assert gone["replicas"] == 0
    stopping = conclude(resolved, replace(healthy(resolved), pods=(make_pod(resolved),)))
    assert verdict(stopping, "Progressing") == ("True", "Rolling")
    assert verdict(stopping, "Ready") == ("False", "Suspended")


def test_an_error_of_the_reconcile_is_told() -> None:
    resolved = resolved_runtime()
    status = conclude(resolved, replace(healthy(resolved), reconcile_error="quota exceeded"))
    assert verdict(status, "Degraded") == ("True", "ReconcileError")
    assert verdict(status, "Ready") == ("False", "ReconcileError")


def test_transition_times_change_with_the_status_only() -> None:
    resolved = resolved_runtime()
    first = conclude(resolved, healthy(resolved))
    later = NOW + timedelta(hours=1)
    again = runtime_status(resolved, healthy(resolved), SETTINGS, previous=first, now=later)
    assert again == first, "the same state must write nothing"
    lost = replace(healthy(resolved), pods=())
    third = runtime_status(resolved, lost, SETTINGS, previous=again, now=later)
    ready, accepted = condition(third, "Ready"), condition(third, "Accepted")
    assert ready is not None
    assert accepted is not None
    assert ready["lastTransitionTime"] == "2026-03-01T13:00:00Z"
    assert accepted["lastTransitionTime"] == "2026-03-01T12:00:00Z"


def test_the_default_of_the_crd_is_left_behind() -> None:
    default = {
        "type": "Ready",
        "status": "Unknown",
        "reason": "Pending",
        "message": "Waiting for the operator",
        "lastTransitionTime": "1970-01-01T00:00:00Z",
    }
    resolved = resolved_runtime()
    ready = condition(conclude(resolved, healthy(resolved), {"conditions": [default]}), "Ready")
    assert ready is not None
    assert ready["lastTransitionTime"] == "2026-03-01T12:00:00Z"


def test_an_object_that_does_not_parse_keeps_what_is_known_of_its_children() -> None:
    resolved = resolved_runtime()
    before = conclude(resolved, healthy(resolved))
    status = invalid_status(4, "spec.grpc: too odd", previous=before, now=NOW)
    assert verdict(status, "Accepted") == ("False", "InvalidSpec")
    assert verdict(status, "Ready") == ("False", "InvalidSpec")
    assert verdict(status, "Stalled") == ("True", "InvalidSpec")
    assert (status["observedGeneration"], status["readyReplicas"]) == (4, 1)


def test_what_does_not_pass_by_itself() -> None:
    resolved = resolved_runtime()
    assert not in_trouble(resolved, healthy(resolved))
    starting = make_pod(resolved, ready=False, started=False, statusz=None)
    assert not in_trouble(resolved, healthy(resolved, pods=(starting,)))
    assert in_trouble(resolved, healthy(resolved, pods=(pull_failure(resolved, "ErrImagePull", "no"),)))
    assert in_trouble(resolved, healthy(resolved, reconcile_error="refused"))
    assert in_trouble(replace(resolved, held=True), healthy(resolved))
    said = statusz(resolved, sessions=SessionStatus(type="Redis", ready=False, error="connection refused"))
    for ready in (True, False):
        assert in_trouble(resolved, healthy(resolved, pods=(make_pod(resolved, ready=ready, statusz=said),)))
