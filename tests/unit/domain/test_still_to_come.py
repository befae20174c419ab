"""What tools wait for that wait for an object (kstatus), although it works already or is to sleep."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.support.domain import condition, healthy, make_pod, verdict
from tests.support.kstatus import CURRENT, IN_PROGRESS, kstatus
from tests.support.runtime_status import READY, conclude, resolved_runtime, with_deployment

WAITS = ("True", "Pending")


def judged(status: dict[str, Any]) -> str:
    return kstatus({"metadata": {"generation": status["observedGeneration"]}, "status": status})


def said(status: dict[str, Any]) -> str:
    found = condition(status, "Reconciling")
    assert found is not None
    return str(found["message"])


def test_who_asks_for_more_replicas_waits_for_them_while_those_that_serve_stay_ready() -> None:
    resolved = resolved_runtime(replicas=3)
    starting = make_pod(resolved, "agents-1", ready=False, started=False, statusz=None)
    # The third pod has not even been made.
    seen = with_deployment(healthy(resolved, pods=(make_pod(resolved, "agents-0"), starting)), available=1)
    status = conclude(resolved, seen)
    assert verdict(status, "Ready") == READY
    assert verdict(status, "Reconciling") == WAITS
    assert said(status) == "1 of 3 replicas serve"
    assert judged(status) == IN_PROGRESS
    assert judged(conclude(resolved, healthy(resolved))) == CURRENT


def test_a_lost_replica_is_waited_for_with_the_reason() -> None:
    resolved = resolved_runtime(replicas=2)
    lost = make_pod(resolved, "agents-1", statusz=None, probe_error="no route to host")
    status = conclude(resolved, healthy(resolved, pods=(make_pod(resolved, "agents-0"), lost)))
    assert verdict(status, "Ready") == READY
    assert verdict(status, "Degraded") == ("True", "PartialOutage")
    assert said(status) == "1 of 2 replicas serve: pod agents-1: does not answer: no route to host"


def test_who_asks_for_fewer_replicas_waits_until_the_others_go() -> None:
    resolved = resolved_runtime(replicas=1)
    pods = tuple(make_pod(resolved, f"agents-{number}") for number in range(3))
    status = conclude(resolved, healthy(resolved, pods=pods))
    assert verdict(status, "Ready") == READY
    assert said(status) == "2 of 3 replicas are to be stopped"
    pods = (pods[0], *(replace(pod, ready=False, terminating=True) for pod in pods[1:]))
    status = conclude(resolved, healthy(resolved, pods=pods))
    assert judged(status) == CURRENT, "drains may take long, and nobody has to wait for them"


def test_objects_that_cannot_be_written_yet_are_waited_for() -> None:
    resolved = resolved_runtime()
    status = conclude(resolved, healthy(resolved, unwritten=("Service agents",)))
    assert verdict(status, "Ready") == READY
    assert said(status).startswith("waits until it can write Service agents: ")


def test_a_suspended_runtime_is_on_its_way_until_its_pods_are_gone() -> None:
    resolved = resolved_runtime(operatingMode="Suspended")
    left = with_deployment(healthy(resolved, pods=(make_pod(resolved),)), replicas=1)
    status = conclude(resolved, left)
    assert verdict(status, "Ready") == ("False", "Suspended")
    assert verdict(status, "Reconciling") == ("True", "Rolling")
    assert said(status) == "the pods are being stopped"
    status = conclude(resolved, healthy(resolved))
    assert verdict(status, "Reconciling") is None
    assert verdict(status, "Progressing") == ("True", "RolloutComplete")
