"""In whatever order things happen: who is said to be ready can be called, and the end is always the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.support.operator_machine import PASSWORD, machine
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cluster.control_plane import ControlPlane
    from tests.support.operator_site import Site

pytestmark = pytest.mark.apiserver

#: Not shrunk: the story that a failure tells is short enough, and an example takes its time.
SHORT = settings(
    max_examples=3,
    stateful_step_count=12,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


def test_whatever_happens_the_operator_keeps_its_word(plane: ControlPlane, tmp_path: Path) -> None:
    """More of it: tests/soak/operator_histories.py."""
    redis = RedisServer(tmp_path / "redis", config=(f'requirepass "{PASSWORD}"',)).start()
    seen: list[Site] = []
    try:
        run_state_machine_as_test(machine(plane, redis.address, seen), settings=SHORT)
    finally:
        redis.kill()
    kept = [site.auditor.kept for site in seen]
    # Else nothing was promised, and nothing proved.
    assert sum(each["AgentRuntime"] for each in kept) > 20, kept
    assert sum(each["Agent"] for each in kept) > 5, kept
