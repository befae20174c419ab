"""What pods say of refused calls, put together, and not believed blindly."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from aixgo.contract import RefusedCalls, SessionStatus, Statusz, TLSStatus
from aixgo_operator.domain.observation import PodObservation, RuntimeObservation
from aixgo_operator.domain.refused_calls import MAX_PAIRS, Refusal, refusals

CALLER = "spiffe://cluster.local/ns/team-b/agentruntime/far"
LAST = "2026-03-01T12:00:00Z"


def said(count: int = 1, *, agent: str = "assistant", caller: str = CALLER, last: str = LAST) -> RefusedCalls:
    return RefusedCalls(agent=agent, caller=caller, count=count, last_at=last)


def observed(*pods: tuple[RefusedCalls, ...]) -> RuntimeObservation:
    return RuntimeObservation(
        pods=(
            PodObservation(name="silent"),
            *(
                PodObservation(
                    name=f"pod-{number}",
                    statusz=Statusz(
                        version="test",
                        started_at=LAST,
                        config_revision="r",
                        tls=TLSStatus(mode="Mutual"),
                        sessions=SessionStatus(type="None", ready=True),
                        refused_calls=refused,
                    ),
                )
                for number, refused in enumerate(pods)
            ),
        )
    )


def test_pods_are_put_together() -> None:
    (both,) = refusals(observed((said(2),), (said(3, last="2026-03-01T14:00:00+01:00"),)), ["assistant"])
    assert both == Refusal("assistant", CALLER, 5, datetime(2026, 3, 1, 13, tzinfo=UTC))
    assert both.message == (
        f"5 calls of {CALLER} refused with PERMISSION_DENIED: if it may call the agent, "
        "allow its namespace in spec.allowedCallers"
    )


def test_callers_and_agents_are_told_apart() -> None:
    found = refusals(
        observed((said(agent="other"), said(), said(caller=""), said(agent="unknown"))),
        ["assistant", "other"],
    )
    assert [(each.agent, each.caller) for each in found] == [
        ("assistant", ""),
        ("assistant", CALLER),
        ("other", CALLER),
    ]
    assert "has no SPIFFE id" in found[0].message
    assert found[1].message.startswith("a call of ")


@pytest.mark.parametrize("bad", [said(last="yesterday"), said(last="2026-03-01T12:00:00"), said(0)])
def test_what_makes_no_sense_is_left_out(bad: RefusedCalls) -> None:
    assert refusals(observed((bad,)), ["assistant"]) == []


def test_text_of_others_does_not_get_into_events() -> None:
    (found,) = refusals(observed((said(caller="me\nReady: True"),)), ["assistant"])
    assert found.caller == ""


def test_a_pod_may_not_tell_without_end() -> None:
    pod = tuple(said(caller=f"{CALLER}{number}") for number in range(MAX_PAIRS + 5))
    assert len(refusals(observed(pod), ["assistant"])) == MAX_PAIRS
