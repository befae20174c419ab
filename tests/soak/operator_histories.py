"""Histories of a namespace in which anything may happen: the long form of the operator's state machine.

``python -m tests.soak.operator_histories --seconds 600``. The short form is in tests/integration/operator;
what happens and what has to hold is in tests/support/operator_machine.py.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.support import operator as support
from tests.support.cluster.control_plane import ControlPlane
from tests.support.operator_machine import PASSWORD, machine
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from tests.support.operator_site import Site

#: Histories of one seed. Of more than one, as the first is always the shortest.
_OF_A_SEED = 4


def run(plane: ControlPlane, redis: str, first: int, seconds: float, steps: int) -> list[int]:
    """Run histories for so many seconds; return the seeds of those that failed, which are printed."""
    chosen = settings(
        max_examples=_OF_A_SEED,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    failed = []
    end = time.monotonic() + seconds
    number = first
    while time.monotonic() < end:
        seen: list[Site] = []
        try:
            run_state_machine_as_test(seed(number)(machine(plane, redis, seen)), settings=chosen)
            verdict = "ok"
        except Exception as error:  # noqa: BLE001  all of them are what this is about
            failed.append(number)
            notes = "\n".join(getattr(error, "__notes__", ()))
            verdict = f"FAILED: {error}\n{notes}"
        events = sum(len(site.story) for site in seen)
        runtimes, agents = (
            sum(site.auditor.kept[kind] for site in seen) for kind in ("AgentRuntime", "Agent")
        )
        print(
            f"seed {number}: {len(seen)} histories, {events} events,"
            f" {runtimes} and {agents} promises of runtimes and agents kept: {verdict}",
            flush=True,
        )
        number += 1
    return failed


def main() -> int:
    """Start a control plane and a Redis, and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)  # operators that die are logged by those who go on for a moment
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with ControlPlane() as plane, tempfile.TemporaryDirectory(prefix="redis-") as folder:
        support.crds_ready(plane)
        redis = RedisServer(Path(folder), config=(f'requirepass "{PASSWORD}"',)).start()
        try:
            failed = run(plane, redis.address, arguments.seed, arguments.seconds, arguments.steps)
        finally:
            redis.kill()
    print(f"failed seeds: {failed or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
