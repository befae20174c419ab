"""What the operator costs per object does not grow with their number, and it writes only what it must.

The same steps as benchmarks/operator, in small: counts are exact, CPU has room for a busy machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from benchmarks.operator import site
from benchmarks.operator.world import AGENTS_EACH

if TYPE_CHECKING:
    from benchmarks.operator.measure import Numbers

pytestmark = pytest.mark.apiserver

SMALL, LARGE = 100, 400
#: Quick looks, so that a few seconds of the steady state are some looks at everything.
SETTINGS = {"steadyProbeIntervalSeconds": 2.0, "probeIntervalSeconds": 0.5}
STEADY_SECONDS = 5.0
#: CPU per object, and per look at a runtime, may grow by this much: a look at all objects would be 4 times.
CPU_GROWTH = 1.6


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Numbers]:
    """Both sizes, each in a cluster of its own."""
    found: dict[int, Numbers] = {}
    for agents in (SMALL, LARGE):
        folder = tmp_path_factory.mktemp(f"operator-{agents}")
        found[agents] = site.measured(agents, folder, steady=STEADY_SECONDS, settings=SETTINGS, quiet=1.5)
    return found


def growth(measured: dict[int, Numbers], step: str, number: str) -> float:
    """Return by what a number has grown from the small to the large size."""
    return measured[LARGE][step][number] / measured[SMALL][step][number]


def test_a_settled_cluster_is_not_written_to(measured: dict[int, Numbers]) -> None:
    for numbers in measured.values():
        assert numbers["steady"]["reconciles"] > 0, "it looks"
        assert numbers["steady"]["writes"] == 0
        assert numbers["restart"]["writes"] == 0


def test_a_secret_changes_only_what_depends_on_it(measured: dict[int, Numbers]) -> None:
    """O19: The pods that mount it are told to read it; nothing else changes anywhere."""
    for numbers in measured.values():
        assert numbers["secret"]["strangers"] == 0
        assert numbers["secret"]["touched"] == 1
        assert numbers["secret"]["writes"] == 1


def test_what_a_runtime_with_its_agents_costs_at_the_start(measured: dict[int, Numbers]) -> None:
    """Seven children, a status and an Event per runtime; a status per Agent. No pod is told of its files. And
    a second of each for some whose start takes long on a busy machine.
    """
    for agents, numbers in measured.items():
        runtimes = agents / AGENTS_EACH
        assert numbers["cold"]["writes"] / runtimes <= 1.5 * (7 + 2 + AGENTS_EACH)
        # The Secret of the model is read, and what the operator reads to begin with.
        assert numbers["cold"]["reads"] / runtimes <= 10
    assert growth(measured, "cold", "writes per object") <= 1.1
    assert growth(measured, "cold", "reads per object") <= 1.1
    assert growth(measured, "restart", "reads per object") <= 1.1


def test_cpu_grows_no_faster_than_the_number_of_objects(measured: dict[int, Numbers]) -> None:
    assert growth(measured, "cold", "cpu per object") <= CPU_GROWTH
    assert growth(measured, "restart", "cpu per object") <= CPU_GROWTH
    assert growth(measured, "steady", "cpu per look") <= CPU_GROWTH


def test_o22_memory_grows_by_little_for_an_agent_more(measured: dict[int, Numbers]) -> None:
    """O22: a start, lists included, takes little for an Agent more.

    Under 100 kB between these sizes, where the first pages of lists and the workers of kopf count most; the
    benchmark holds 5,000 Agents to 400 MB.
    """
    for step in ("cold", "restart"):
        more = measured[LARGE][step]["peak"] - measured[SMALL][step]["peak"]
        assert more / (LARGE - SMALL) <= 0.1, step
