"""What a pod's trouble is called, and what to do about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.support.domain import NOW

from aixgo_operator.domain.observation import PodObservation
from aixgo_operator.domain.pod_trouble import slow_ends, slow_starts, trouble, troubles

NOT_LOGGED_IN = (
    'failed to pull and unpack image "registry.example/agents:1": pull access denied, repository does not'
    " exist or may require authorization: server message: insufficient_scope: authorization failed"
)
NOT_BOUND = "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims."
BACK_OFF = 'Back-off pulling image "registry.example/agents:1": ErrImagePull: '
CASES: dict[str, tuple[dict[str, Any], str | None]] = {
    "an image that is not there": (
        {"waiting_reason": "ErrImagePull", "waiting_message": 'failed to pull image "x:1": not found'},
        'ImagePullBackOff: failed to pull image "x:1": not found',
    ),
    "a registry that does not know who pulls": (
        {
            "waiting_reason": "ImagePullBackOff",
            "waiting_message": BACK_OFF + NOT_LOGGED_IN,
        },
        f"ImagePullBackOff: {NOT_LOGGED_IN}; are the Secrets of spec.imagePullSecrets there, and right?",
    ),
    "no memory": (
        {"waiting_reason": "CrashLoopBackOff", "exit_code": 137, "terminated_reason": "OOMKilled"},
        "CrashLoopBackOff: exited with code 137 (OOMKilled: raise limits.memory of spec.resources)",
    ),
    "a crash": (
        {"exit_code": 3, "terminated_reason": "Error", "terminated_message": "runtime.json:\n no agents"},
        "CrashLoopBackOff: exited with code 3: runtime.json: no agents",
    ),
    "no node": (
        {"unschedulable_message": "0/3 nodes are available: 3 Insufficient cpu."},
        "Unschedulable: 0/3 nodes are available: 3 Insufficient cpu.",
    ),
    "no volume": (
        {"unschedulable_message": NOT_BOUND},
        f"Unschedulable: {NOT_BOUND}; kubectl describe pvc says why",
    ),
    "evicted": (
        {
            "ended": True,
            "ended_reason": "Evicted",
            "ended_message": "The node was low on resource: memory. ",
            "exit_code": 137,
        },
        "Evicted: The node was low on resource: memory.",
    ),
    "ended without a word": ({"ended": True}, "the pod has ended"),
    "the operator is kept out": (
        {"ready": True, "started": True, "probe_error": "/statusz did not answer in 2 s"},
        "does not answer: /statusz did not answer in 2 s: does a NetworkPolicy keep the operator out?",
    ),
    "nobody listens": (
        {"ready": True, "started": True, "probe_error": "/statusz: ClientConnectorError"},
        "does not answer: /statusz: ClientConnectorError",
    ),
    "a key that is not in the ConfigMap of an environment variable": (
        {"waiting_reason": "CreateContainerConfigError", "waiting_message": "couldn't find key level"},
        "CreateContainerConfigError: couldn't find key level",
    ),
    "on its way": ({"waiting_reason": "ContainerCreating"}, None),
    "just started": ({}, None),
}


@pytest.mark.parametrize("case", CASES)
def test_a_trouble_is_told_with_what_to_do(case: str) -> None:
    seen, told = CASES[case]
    assert trouble(PodObservation(name="agents-1", **seen)) == told


def crashed(name: str, code: int = 1, **more: Any) -> PodObservation:
    return PodObservation(name=name, waiting_reason="CrashLoopBackOff", exit_code=code, **more)


def test_pods_with_the_same_trouble_are_told_together() -> None:
    pods = [crashed(f"agents-{number}") for number in range(9, 0, -1)]
    assert troubles(pods[-1:]) == "pod agents-1: CrashLoopBackOff: exited with code 1"
    assert troubles([*pods, crashed("agents-0", code=2)]) == (
        "pod agents-0: CrashLoopBackOff: exited with code 2;"
        " pods agents-1, agents-2, agents-3 and 6 more: CrashLoopBackOff: exited with code 1"
    )


def test_pods_that_go_or_have_ended_are_not_what_is_wrong_now() -> None:
    ended = PodObservation(name="agents-0", ended=True, ended_reason="Evicted", ended_message="low on memory")
    assert troubles([ended, crashed("agents-1")]) == "pod agents-1: CrashLoopBackOff: exited with code 1"
    assert troubles([ended]) == "pod agents-0: Evicted: low on memory"
    assert troubles([crashed("agents-1", terminating=True)]) == ""


def test_pods_that_take_long_and_do_not_say_why() -> None:
    """A volume that cannot be mounted, a pull that takes its time, a probe that fails."""
    mute = PodObservation(
        "agents-1", created_at=NOW - timedelta(seconds=31), waiting_reason="ContainerCreating"
    )
    told = "pod agents-1: does not start: kubectl describe pod agents-1 says what it waits for"
    assert slow_starts([mute, replace(mute, name="agents-0", started=True)], NOW) == told
    assert slow_starts([replace(mute, created_at=NOW - timedelta(seconds=30))], NOW) == ""
    assert slow_starts([replace(mute, ended=True)], NOW) == ""


def test_a_pod_on_a_node_that_is_gone() -> None:
    """Nothing but its kubelet says that it has ended: a StatefulSet waits for ever."""
    leaving = PodObservation("redis-0", terminating=True, ends_at=NOW - timedelta(seconds=31))
    told = slow_ends([leaving], NOW)
    assert told.startswith("pod redis-0: has not ended in time: if its node is gone for good, the taint")
    assert slow_ends([replace(leaving, ends_at=NOW - timedelta(seconds=30))], NOW) == ""
    assert slow_ends([replace(leaving, ends_at=NOW + timedelta(seconds=133))], NOW) == ""
    assert slow_ends([replace(leaving, ended=True)], NOW) == ""
