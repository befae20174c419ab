"""No call fails when its pod has to go: rolling update, eviction as by a node's drain, scale-down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.workload import disruptions
from tests.support.workload.disruptions import EVICTED, ROLLED, SCALED

if TYPE_CHECKING:
    from tests.support.workload.workload import Workload

#: ``make soak`` has calls of a minute, and the drain of a whole node.
SECONDS = 20.0


def test_calls_outlive_a_rolling_update_an_eviction_and_a_scale_down(workload: Workload) -> None:
    disruptions.create(workload)
    sets = {pod["metadata"]["name"] for pod in workload.list("replicasets", ROLLED)}
    victims = sorted(workload.pod_names(EVICTED))
    refused: list[str] = []

    def evict() -> bool:
        """Evict what may go: the budget allows one pod at a time."""
        if victims and workload.evict(victims[0]):
            victims.pop(0)
        elif victims:
            refused.append(victims[0])
        return not victims

    report = disruptions.disturb(workload, SECONDS, evict)
    print(report)
    assert refused, "the second eviction was not refused while the first pod's successor was not ready"
    assert len(workload.list("replicasets", ROLLED)) == len(sets) + 1, "a change rolls exactly once"
    for name, count in ((ROLLED, 2), (EVICTED, 2), (SCALED, 1)):
        assert len(workload.pods(name)) == count, name
