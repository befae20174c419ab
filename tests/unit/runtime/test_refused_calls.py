"""Who was refused is remembered for a while, and never without a limit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from aixgo.rpc.refused_calls import MAX_CALLER, MAX_PAIRS, Refusals

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ALICE, BOB = "spiffe://cluster.local/ns/a/client/alice", "spiffe://cluster.local/ns/b/client/bob"


class Clock:
    """A second passes with every look."""

    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def test_calls_are_counted_by_agent_and_caller() -> None:
    refusals = Refusals(Clock())
    for caller in (BOB, ALICE, BOB, ""):
        refusals.add("assistant", caller)
    refusals.add("another", ALICE)
    said = [(each.agent, each.caller, each.count, each.last_at) for each in refusals.snapshot()]
    assert said == [
        ("another", ALICE, 1, "2026-01-01T00:00:05Z"),
        ("assistant", "", 1, "2026-01-01T00:00:04Z"),
        ("assistant", ALICE, 1, "2026-01-01T00:00:02Z"),
        ("assistant", BOB, 2, "2026-01-01T00:00:03Z"),
    ]


def test_callers_cannot_fill_the_memory() -> None:
    refusals = Refusals(Clock())
    refusals.add("assistant", "x" * 10_000)
    refusals.add("assistant", ALICE)
    assert {len(each.caller) for each in refusals.snapshot()} == {len(ALICE), MAX_CALLER}
    for number in range(MAX_PAIRS):
        refusals.add("assistant", f"{BOB}{number}")
        refusals.add("assistant", ALICE)
    callers = {each.caller for each in refusals.snapshot()}
    assert len(callers) == MAX_PAIRS
    assert ALICE in callers, "who goes on trying is not forgotten"
    assert f"{BOB}0" not in callers


def test_who_may_call_by_new_rules_is_forgotten() -> None:
    refusals = Refusals(Clock())
    refusals.add("assistant", ALICE)
    refusals.add("assistant", BOB)
    refusals.add("gone", ALICE)
    refusals.keep(lambda agent, caller: agent == "assistant" and caller == BOB)
    assert [(each.agent, each.caller) for each in refusals.snapshot()] == [("assistant", BOB)]
