"""Health as a function of what the process says of itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from aixgo.contract import AgentStatus, SessionStatus, Statusz, TLSStatus
from aixgo.server.status import health_document, judge, overall, rfc3339

NOW = datetime(2026, 1, 2, tzinfo=UTC)
GOOD = AgentStatus(name="good", ready=True, revision="1")
BROKEN = AgentStatus(name="broken", ready=False, revision="", error="no module", loaded=False)
AWAY = AgentStatus(name="away", ready=False, revision="1", error="model endpoint m is not reachable")
OFF = AgentStatus(name="off", ready=False, revision="1", error="suspended")


def status(
    *agents: AgentStatus, expires_in: float = 3600, sessions_ready: bool = True, draining: bool = False
) -> Statusz:
    return Statusz(
        version="1",
        started_at=rfc3339(NOW),
        config_revision="1",
        draining=draining,
        agents=agents,
        tls=TLSStatus(mode="Mutual", not_after=rfc3339(NOW + timedelta(seconds=expires_in))),
        sessions=SessionStatus(
            type="Redis", ready=sessions_ready, error=None if sessions_ready else "no answer"
        ),
    )


@pytest.mark.parametrize(
    ("document", "persistent", "health"),
    [
        (status(GOOD), ["good"], "healthy"),
        (status(), [], "healthy"),
        (status(GOOD, OFF), [], "healthy"),
        (status(GOOD, BROKEN), [], "degraded"),
        (status(AWAY), [], "degraded"),
        (status(BROKEN), [], "unhealthy"),
        (status(GOOD, expires_in=-1), [], "unhealthy"),
        (status(GOOD, draining=True), [], "unhealthy"),
        (status(GOOD, sessions_ready=False), [], "degraded"),
        (status(GOOD, OFF, sessions_ready=False), ["good"], "degraded"),
        (status(GOOD, OFF, sessions_ready=False), ["good", "off"], "unhealthy"),
        (status(GOOD, sessions_ready=False), ["good"], "unhealthy"),
    ],
)
def test_the_sum_of_the_checks(document: Statusz, persistent: list[str], health: str) -> None:
    assert overall(judge(document, persistent, NOW)) == health


def test_the_document_has_the_keys_and_units_of_the_original() -> None:
    results = judge(status(GOOD, sessions_ready=False), [], NOW)
    document = health_document(results, NOW - timedelta(seconds=2), NOW, memory_bytes=2**21, tasks=7)
    assert (document["status"], document["uptime"]) == ("degraded", 2_000_000_000)
    assert document["timestamp"] == "2026-01-02T00:00:00Z"
    assert document["system"].pop("num_cpu") >= 1
    assert document["system"] == {"num_goroutines": 7, "mem_alloc_mb": 2.0, "mem_sys_mb": 2.0}
    assert document["checks"]["sessions"] == {
        "status": "degraded",
        "message": "no answer",
        "last_checked": "2026-01-02T00:00:00Z",
        "duration": 0,
    }
