"""Many deadlines, one timer."""

from __future__ import annotations

import asyncio

import pytest

from aixgo.runtime.deadlines import Deadlines


async def test_a_block_that_takes_too_long_is_interrupted() -> None:
    deadlines = Deadlines()
    with pytest.raises(TimeoutError), deadlines.limit(0.01):
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_block_that_ends_in_time_hears_nothing_later() -> None:
    deadlines = Deadlines()
    with deadlines.limit(0.01):
        pass
    await asyncio.sleep(0.03)


async def test_every_deadline_is_kept_in_whatever_order_they_come() -> None:
    deadlines = Deadlines()
    loop = asyncio.get_running_loop()

    async def late(seconds: float) -> float:
        begin = loop.time()
        with pytest.raises(TimeoutError), deadlines.limit(seconds):
            await asyncio.Event().wait()
        return loop.time() - begin

    wanted = [0.09, 0.03, 0.06, 0.0, -1.0, 0.03]
    took = await asyncio.gather(*(late(seconds) for seconds in wanted))
    for seconds, actual in zip(wanted, took, strict=True):
        assert max(seconds, 0) <= actual + 0.002
        assert actual < max(seconds, 0) + 0.5


async def test_a_call_that_ends_leaves_the_deadlines_of_others_alone() -> None:
    deadlines = Deadlines()

    async def short() -> None:
        with deadlines.limit(0.02):
            pass

    async def long() -> None:
        with deadlines.limit(0.04):
            await short()
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await long()


async def test_a_cancelled_task_stays_cancelled() -> None:
    deadlines = Deadlines()
    inside = asyncio.Event()

    async def work() -> None:
        with deadlines.limit(60):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancellation_and_deadline_together_are_a_cancellation() -> None:
    deadlines = Deadlines()

    async def work() -> None:
        with deadlines.limit(60) as limit:
            limit.expire()
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_disarmed_deadline_does_not_interrupt() -> None:
    deadlines = Deadlines()
    with deadlines.limit(0.01) as limit:
        limit.disarm()
        await asyncio.sleep(0.04)


async def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    deadlines = Deadlines()
    with pytest.raises(ValueError, match="mine"), deadlines.limit(60):
        raise ValueError("mine")


async def test_one_timer_serves_all(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    made: list[float] = []
    call_later = loop.call_later
    monkeypatch.setattr(loop, "call_later", lambda *timer: (made.append(timer[0]), call_later(*timer))[1])
    deadlines = Deadlines()
    for _ in range(100):
        with deadlines.limit(30):
            pass
    assert len(made) == 1
