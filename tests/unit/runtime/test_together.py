"""Answers of many conversations leave together; nobody waits for long, or for nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from aixgo.rpc import together
from aixgo.rpc.together import LEFT_ALONE, MANY, Together

NAMES = [str(number) for number in range(4 * MANY)]


@pytest.fixture(autouse=True)
def at_work_for_as_long_as_the_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let nobody stop being at work because the machine is slow."""
    monkeypatch.setattr(together, "LATELY", 3600.0)
    return


def all_at_work(answers: Together, names: list[str]) -> None:
    """Let everybody have an answer that leaves, so that they are known."""
    answers._now.update(names)
    answers._since = time.monotonic()


async def test_few_wait_for_nobody() -> None:
    answers = Together()
    for _ in range(3):
        assert [answers.ready(name) for name in NAMES[: MANY - 1]] == [None] * (MANY - 1)


async def test_many_leave_together_when_the_last_one_is_ready() -> None:
    answers = Together()
    all_at_work(answers, NAMES)
    *waiting, last = [answers.ready(name) for name in NAMES]
    assert last is None
    assert all(place is not None and place.done() for place in waiting)


async def test_nobody_waits_longer_than_the_longest_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "LONGEST", 0.0)
    answers = Together()
    all_at_work(answers, NAMES)
    waiting = [answers.ready(name) for name in NAMES[: len(NAMES) // 2]]
    assert not any(place is None or place.done() for place in waiting)
    await asyncio.wait_for(asyncio.gather(*(place for place in waiting if place is not None)), 30)


async def test_who_waits_for_nobody_leaves_soon_and_so_do_those_after_it() -> None:
    answers = Together()
    all_at_work(answers, NAMES)
    alone = answers.ready(NAMES[0])
    assert alone is not None
    await asyncio.wait_for(alone, 30)
    after = [answers.ready(NAMES[number % MANY]) for number in range(LEFT_ALONE)]
    assert after == [None] * LEFT_ALONE
    again = answers.ready(NAMES[0])
    assert again is not None
    await asyncio.wait_for(again, 30)


async def test_a_caller_that_went_away_keeps_nobody_waiting() -> None:
    answers = Together()
    all_at_work(answers, NAMES)
    waiting = [answers.ready(name) for name in NAMES[:-1]]
    assert waiting[0] is not None
    waiting[0].cancel()
    assert answers.ready(NAMES[-1]) is None
    assert all(place is not None and place.done() for place in waiting)


async def test_those_of_long_ago_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Together()
    all_at_work(answers, NAMES)
    monkeypatch.setattr(together, "LATELY", -1.0)  # every moment is long after the one before
    assert [answers.ready(name) for name in NAMES] == [None] * len(NAMES)
