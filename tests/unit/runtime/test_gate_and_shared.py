"""Admission of calls, and values that are replaced while calls use them."""

from __future__ import annotations

import pytest

from aixgo.runtime.errors import DrainingError, TooManyCallsError
from aixgo.runtime.gate import LONGEST_RETRY, SHORTEST_RETRY, CallGate
from aixgo.runtime.shared import Shared


async def test_the_limit_counts_running_calls_and_gives_a_hint() -> None:
    gate = CallGate(max_concurrent=1)
    with gate.admit():
        assert gate.in_flight == 1
        with pytest.raises(TooManyCallsError) as caught, gate.admit():
            pass
        assert SHORTEST_RETRY <= caught.value.retry_after <= LONGEST_RETRY
    with gate.admit():
        pass
    assert gate.in_flight == 0


async def test_zero_is_no_limit_and_the_limit_may_change() -> None:
    gate = CallGate()
    with gate.admit(), gate.admit():
        gate.max_concurrent = 2
        with pytest.raises(TooManyCallsError), gate.admit():
            pass


async def test_draining_refuses_new_calls_and_waits_for_running_ones() -> None:
    gate = CallGate()
    with gate.admit():
        gate.draining = True
        with pytest.raises(DrainingError), gate.admit():
            pass
    await gate.wait_idle()


def test_a_retired_value_is_closed_once_after_its_last_borrower() -> None:
    closed: list[str] = []
    shared = Shared("old", closed.append)
    with shared.borrow() as first, shared.borrow():
        shared.retire()
        assert (first, closed) == ("old", [])
    assert closed == ["old"]
    shared.retire()
    assert closed == ["old"]
