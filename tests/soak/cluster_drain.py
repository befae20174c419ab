"""Pods go while calls of a minute run: ``python -m tests.soak.cluster_drain``.

On a cluster with two workers, one after the other is drained with ``kubectl drain`` while another runtime is
rolled and a third one scaled down. Then an autoscaler with real metrics adds pods under load and takes them
away afterwards. No call may fail.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.support.cluster.kind import KindCluster, cluster
from tests.support.demo import steps
from tests.support.installation import Installation
from tests.support.waiting import wait_until
from tests.support.workload import disruptions
from tests.support.workload.disruptions import EVICTED
from tests.support.workload.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable

BURNING = "burning"
#: Replicas of the runtime that is scaled by its use of CPU.
MOST = 3
#: Seconds until load, or its end, has reached the metrics and the autoscaler has drawn its conclusion.
REACTION = 240.0


def drain(workload: Workload, pool: ThreadPoolExecutor) -> Callable[[], bool]:
    """Return what drains the nodes of the runtime :data:`EVICTED` and tells when all pods have to go."""
    victims = {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in workload.pods(EVICTED)}
    nodes = sorted(set(victims.values()))
    if len(nodes) < 2:
        raise AssertionError(f"the two pods are not spread over the workers: {victims}")
    work: list[Future[None]] = []

    def one_after_the_other() -> None:
        for node in nodes:
            options = ["--ignore-daemonsets", "--delete-emptydir-data", "--timeout=600s"]
            selector = f"--pod-selector=aixgo.dev/runtime={EVICTED}"
            workload.kubectl("drain", node, selector, *options, timeout=620)
            workload.kubectl("uncordon", node)

    def told() -> bool:
        if not work:
            work.append(pool.submit(one_after_the_other))
        if work[0].done():
            work[0].result()
        return not victims.keys() & {pod["metadata"]["name"] for pod in workload.pods(EVICTED)}

    return told


def autoscale(workload: Workload) -> str:
    """Let load add pods and its end take them away; return what happened."""
    target = f"agentruntimes.aixgo.dev/{BURNING}"
    workload.apply(
        workload.runtime(
            BURNING,
            resources={"requests": {"cpu": "100m", "memory": "64Mi"}},
            autoscaling={"minReplicas": 1, "maxReplicas": MOST, "targetCPUUtilizationPercentage": 50},
        ),
        workload.agent(BURNING, "burn"),
        workload.agent(BURNING, "where"),
    )
    workload.wait_ready(BURNING)
    workload.call(BURNING, "where", workers=1)
    workload.wait_answered(BURNING)

    def replicas() -> int:
        count: int = workload.get(target)["spec"]["replicas"]
        return count

    begin = time.monotonic()
    workload.call(BURNING, "burn", workers=4)
    wait_until(lambda: replicas() == MOST, "load adds pods", timeout=REACTION, every=1)
    up = time.monotonic() - begin
    workload.wait_ready(BURNING)
    workload.wait_answered(BURNING)
    busy = workload.stop_calls()
    workload.call(BURNING, "where", workers=1)
    begin = time.monotonic()
    wait_until(lambda: replicas() == 1, "the end of the load takes pods away", timeout=REACTION, every=1)
    down = time.monotonic() - begin
    wait_until(lambda: len(workload.pod_names(BURNING)) == 1, "they are gone", timeout=90, every=1)
    workload.wait_answered(BURNING)
    account = workload.stop_calls()
    if busy["failed"] or account["failed"]:
        raise AssertionError(f"calls failed: {account['failures'][:10]}")
    return (
        f"autoscaler: 1 to {MOST} pods in {up:.0f} s, back in {down:.0f} s; answered: {account['answered']}"
    )


def soak(seconds: float) -> None:
    """Run it and print what happened.

    Raises:
        AssertionError: a call failed, or a pod did not go as it should.
    """
    chosen = cluster()
    ours = isinstance(chosen, KindCluster) and not chosen.status()["running"]
    try:
        chosen.up(nodes=3, fast=True, metrics=True)
        built = steps.build_images()
        steps.load_images(chosen, built)
        steps.install(chosen, built)
        workload = Workload(Installation(chosen, built), "drained")
        try:
            workload.create()
            disruptions.create(workload)
            with ThreadPoolExecutor(1) as pool:
                print(disruptions.disturb(workload, seconds, drain(workload, pool)), flush=True)
            workload.reset()
            print(autoscale(workload))
        finally:
            workload.delete()
    finally:
        if ours:
            chosen.down()


def main() -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.cluster_drain", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    soak(parser.parse_args().seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
