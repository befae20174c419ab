"""Long calls and short ones, while their pods are replaced, evicted and scaled away."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.workload.workload import Workload

ROLLED, EVICTED, SCALED = "rolled", "evicted", "scaled"
RUNTIMES = (ROLLED, EVICTED, SCALED)
#: Workers that call one address of a runtime again and again.
WORKERS = 2
#: Seconds between the beginnings of two long calls to one address.
EVERY = 1.0
#: Seconds that the pods may take to be told to go, beside the calls that are waited for, on a slow machine.
PATIENCE = 180.0


@dataclass
class Watched:
    """A pod that has to go, and the long calls that it was answering when it was told to."""

    runtime: str
    #: Numbers of the calls in the account; None: not told yet.
    answering: list[int] | None = None


@dataclass
class Report:
    """What happened."""

    seconds: float
    pods: dict[str, Watched]
    account: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        told = {name: len(pod.answering or ()) for name, pod in self.pods.items()}
        answered, slowest = self.account["answered"], self.account["slowest"]
        return (
            f"calls of {self.seconds:.0f} s: {len(self.account['streams'])};"
            f" running when their pod was told to go: {told}\n"
            f"short calls answered: {answered}, failed: {self.account['failed']},"
            f" slowest: { {kind: round(took, 2) for kind, took in slowest.items()} }"
        )


def create(workload: Workload) -> None:
    """Make the three runtimes with two pods each, and wait until they are ready."""
    for name in RUNTIMES:
        workload.apply(
            workload.runtime(name, replicas=2),
            workload.agent(name, "where"),
            workload.agent(name, "ticks", timeoutSeconds=300),
        )
    workload.wait_ready(*RUNTIMES)


def disturb(workload: Workload, seconds: float, drain: Callable[[], bool]) -> Report:
    """Roll, drain and scale the runtimes while calls of `seconds` and short calls run; return what happened.

    `drain` takes pods of the runtime :data:`EVICTED` away, as far as it may at this moment; called until it
    says that all are told to go.

    Raises:
        AssertionError: a call failed or was cut, or a pod that was told to go was not answering a long one.
    """
    for name in RUNTIMES:
        workload.call(name, "where", workers=WORKERS)
    workload.wait_answered(*RUNTIMES)
    old = {name: workload.pod_names(name) for name in RUNTIMES}
    for name in RUNTIMES:
        workload.stream(name, seconds, every=EVERY)
    wait_until(
        lambda: {each["pod"] for each in workload.account()["streams"]} >= set().union(*old.values()),
        "every pod answers a long call",
        timeout=60,
        every=0.5,
    )

    report = Report(seconds, {pod: Watched(name) for name in (ROLLED, EVICTED) for pod in old[name]})
    env = workload.get(f"agentruntime/{ROLLED}")["spec"]["env"]
    workload.patch(f"agentruntime/{ROLLED}", env=[*env, {"name": "ROLLED", "value": "yes"}])
    workload.kubectl("scale", f"agentruntime/{SCALED}", "--replicas=1")
    end = time.monotonic() + PATIENCE + 2 * seconds
    drained = False
    while not (drained and all(pod.answering is not None for pod in report.pods.values())):
        drained = drain()
        _notice(workload, report, old[SCALED])
        if time.monotonic() > end:
            raise AssertionError(f"not told to go in time: {report.pods}")
        time.sleep(0.2)
    for pod in old[SCALED] - report.pods.keys():
        assert pod in workload.pod_names(SCALED), "both pods of the scaled runtime went"
    workload.wait_answered(*RUNTIMES)  # now by those that came or stayed
    workload.stop_calls()
    wait_until(
        lambda: all(stream["state"] != "running" for stream in workload.account()["streams"]),
        "the long calls end",
        timeout=seconds + 60,
        every=0.5,
    )
    report.account = workload.account()
    _check(report)
    wait_until(
        lambda: not any(report.pods.keys() & workload.pod_names(name) for name in RUNTIMES),
        "the pods that were told to go are gone",
        timeout=60,
        every=0.5,
    )
    workload.wait_ready(*RUNTIMES)
    return report


def _notice(workload: Workload, report: Report, scaled: set[str]) -> None:
    """Take down what each pod is answering in the moment in which it is told to go."""
    going = {
        pod["metadata"]["name"]: name
        for name in RUNTIMES
        for pod in workload.list("pods", name)
        if "deletionTimestamp" in pod["metadata"]
    }
    for pod, name in going.items():
        if pod in scaled and pod not in report.pods:
            report.pods[pod] = Watched(name)
    new = [pod for pod in going if pod in report.pods and report.pods[pod].answering is None]
    if not new:
        return
    streams = workload.account()["streams"]
    for pod in new:
        report.pods[pod].answering = [
            number
            for number, stream in enumerate(streams)
            if stream["pod"] == pod and stream["state"] == "running"
        ]


def _check(report: Report) -> None:
    account = report.account
    assert account["failed"] == 0, f"calls failed: {account['failures'][:10]}\n{report}"
    wrong = [stream for stream in account["streams"] if stream["state"] != "complete"]
    assert not wrong, f"long calls did not end as they should: {wrong[:5]}\n{report}"
    short = [stream for stream in account["streams"] if stream["took"] < stream["seconds"]]
    assert not short, f"long calls were shorter than they should be: {short[:5]}"
    idle = [name for name, pod in report.pods.items() if not pod.answering]
    assert not idle, f"these pods answered no long call when they were told to go: {idle}\n{report}"
    assert {pod.runtime for pod in report.pods.values()} == set(RUNTIMES), "nothing was scaled away"
