"""The queue: each key once, one worker per key, back-off, delays, a clean stop."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from aixgo_operator.reconcile.workqueue import Requeue, WorkQueue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Recorder:
    """Work that notes what was done, and waits for ``gate``."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.running: set[str] = set()
        self.most = 0
        self.overlaps = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.fail: dict[str, int] = {}
        self.after: float | None = None
        self.order: list[str] = []

    async def __call__(self, key: str) -> Requeue:
        self.overlaps += key in self.running
        self.running.add(key)
        self.order.append(key)
        self.most = max(self.most, len(self.running))
        await self.gate.wait()
        await asyncio.sleep(0)
        self.running.discard(key)
        self.done[key] += 1
        if self.fail.get(key, 0) > 0:
            self.fail[key] -= 1
            raise RuntimeError("broken")
        return Requeue(self.after)

    async def until(self, check: Callable[[], bool], timeout: float = 5.0) -> None:
        async with asyncio.timeout(timeout):
            while not check():  # noqa: ASYNC110  the recorder has no event for every question
                await asyncio.sleep(0.005)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def queue(recorder: Recorder) -> AsyncIterator[WorkQueue[str]]:
    made: WorkQueue[str] = WorkQueue(recorder, concurrency=3, backoff_base=0.02, backoff_max=0.1)
    made.start()
    yield made
    recorder.gate.set()
    await made.stop()
    assert not made._workers


async def test_a_waiting_key_is_queued_once(queue: WorkQueue[str], recorder: Recorder) -> None:
    recorder.gate.clear()
    for key in ("a", "b", "c"):
        queue.add(key)
    await recorder.until(lambda: len(recorder.running) == 3)
    for _ in range(10):
        queue.add("d")
    assert queue.depth == 1
    recorder.gate.set()
    await recorder.until(lambda: recorder.done["d"] == 1 and not recorder.running)
    assert recorder.done == {"a": 1, "b": 1, "c": 1, "d": 1}


async def test_a_key_that_changes_while_it_is_worked_on_is_worked_on_again_but_never_twice_at_once(
    queue: WorkQueue[str], recorder: Recorder
) -> None:
    recorder.gate.clear()
    queue.add("a")
    await recorder.until(lambda: "a" in recorder.running)
    for _ in range(5):
        queue.add("a")
    recorder.gate.set()
    await recorder.until(lambda: recorder.done["a"] == 2)
    queue.add("b")  # a third "a" would come before it
    await recorder.until(lambda: recorder.done["b"] == 1 and not recorder.running)
    assert recorder.done["a"] == 2
    assert recorder.overlaps == 0


async def test_no_more_than_the_limit_at_a_time(queue: WorkQueue[str], recorder: Recorder) -> None:
    for number in range(50):
        queue.add(str(number))
    await recorder.until(lambda: sum(recorder.done.values()) == 50)
    assert recorder.most == 3


async def test_a_failure_backs_off_and_does_not_hinder_others(
    queue: WorkQueue[str], recorder: Recorder
) -> None:
    recorder.fail["bad"] = 4
    loop = asyncio.get_running_loop()
    started = loop.time()
    queue.add("bad")
    queue.add("good")
    await recorder.until(lambda: recorder.done["good"] == 1)
    await recorder.until(lambda: recorder.done["bad"] == 5)
    # 0.02 + 0.04 + 0.08 + 0.1 (the limit) at least.
    assert loop.time() - started >= 0.24
    assert queue.failures("bad") == 0


async def test_events_do_not_turn_a_failing_key_into_a_hot_loop(
    queue: WorkQueue[str], recorder: Recorder
) -> None:
    recorder.fail["bad"] = 1_000
    queue.add("bad")
    loop = asyncio.get_running_loop()
    end = loop.time() + 0.3
    while loop.time() < end:
        queue.add("bad")
        await asyncio.sleep(0)
    assert recorder.done["bad"] <= 8


async def test_requeue_after(queue: WorkQueue[str], recorder: Recorder) -> None:
    recorder.after = 0.01
    queue.add("a")
    await recorder.until(lambda: recorder.done["a"] >= 3)
    recorder.after = None


async def test_the_earliest_of_several_delays_counts(queue: WorkQueue[str], recorder: Recorder) -> None:
    queue.add("a", after=60.0)
    queue.add("a", after=0.01)
    queue.add("a", after=60.0)
    await recorder.until(lambda: recorder.done["a"] == 1)
    assert not queue._delayed


async def test_an_event_overtakes_a_delay(queue: WorkQueue[str], recorder: Recorder) -> None:
    queue.add("a", after=60.0)
    queue.add("a")
    await recorder.until(lambda: recorder.done["a"] == 1)
    assert not queue._delayed


async def test_stop_lets_running_work_end_and_takes_nothing_new(recorder: Recorder) -> None:
    queue: WorkQueue[str] = WorkQueue(recorder, concurrency=1)
    queue.start()
    recorder.gate.clear()
    queue.add("a")
    queue.add("b")
    await recorder.until(lambda: "a" in recorder.running)
    stopping = asyncio.create_task(queue.stop())
    await asyncio.sleep(0)
    queue.add("c")
    recorder.gate.set()
    await stopping
    assert recorder.done["a"] == 1
    assert recorder.done["c"] == 0


async def test_stop_cancels_work_that_does_not_end(recorder: Recorder) -> None:
    queue: WorkQueue[str] = WorkQueue(recorder, concurrency=1)
    queue.start()
    recorder.gate.clear()
    queue.add("a")
    await recorder.until(lambda: "a" in recorder.running)
    await asyncio.wait_for(queue.stop(timeout=0.05), 2.0)
    assert recorder.done["a"] == 0


async def test_drained_when_nobody_waits_for_a_worker(queue: WorkQueue[str], recorder: Recorder) -> None:
    assert await queue.until_drained(0.0), "nothing was added"
    recorder.gate.clear()
    for key in "abcdef":
        queue.add(key)
    assert not await queue.until_drained(0.01), "all workers are busy, and some keys wait"
    waiting = asyncio.create_task(queue.until_drained(5.0))
    recorder.gate.set()
    assert await waiting
    assert queue.depth == 0


@pytest.fixture
async def one_worker(recorder: Recorder) -> AsyncIterator[Callable[[float], WorkQueue[str]]]:
    """Make a queue with one worker and so many seconds of patience, whose worker is busy with "busy"."""
    made: list[WorkQueue[str]] = []

    def make(patience: float) -> WorkQueue[str]:
        queue: WorkQueue[str] = WorkQueue(recorder, concurrency=1, patience=patience)
        made.append(queue)
        recorder.gate.clear()
        queue.start()
        queue.add("busy")
        return queue

    yield make
    recorder.gate.set()
    for queue in made:
        await queue.stop()


async def test_a_patient_key_lets_others_go_first(
    one_worker: Callable[[float], WorkQueue[str]], recorder: Recorder
) -> None:
    queue = one_worker(60.0)
    await recorder.until(lambda: "busy" in recorder.running)
    queue.add("steady", patient=True)
    queue.add("steady too", patient=True)
    for key in ("a", "b"):
        queue.add(key)
    assert queue.depth == 4
    recorder.gate.set()
    await recorder.until(lambda: recorder.done["steady too"] == 1)
    assert recorder.order == ["busy", "a", "b", "steady", "steady too"]


async def test_patience_ends(one_worker: Callable[[float], WorkQueue[str]], recorder: Recorder) -> None:
    queue = one_worker(0.0)
    await recorder.until(lambda: "busy" in recorder.running)
    queue.add("steady", patient=True)
    for key in ("a", "b"):
        queue.add(key)
    recorder.gate.set()
    await recorder.until(lambda: recorder.done["b"] == 1)
    assert recorder.order == ["busy", "steady", "a", "b"]


async def test_a_patient_key_to_which_something_happens_goes_with_the_others_and_once(
    one_worker: Callable[[float], WorkQueue[str]], recorder: Recorder
) -> None:
    queue = one_worker(60.0)
    await recorder.until(lambda: "busy" in recorder.running)
    queue.add("steady", patient=True)
    queue.add("other", patient=True)
    queue.add("a")
    queue.add("steady")
    queue.add("steady", patient=True)
    queue.add("b")
    assert queue.depth == 4
    recorder.gate.set()
    assert await queue.until_drained(5.0)
    await recorder.until(lambda: recorder.done["other"] == 1 and not recorder.running)
    assert recorder.order == ["busy", "a", "steady", "b", "other"]


async def test_a_short_delay_is_not_forgotten_for_a_patient_key(
    one_worker: Callable[[float], WorkQueue[str]], recorder: Recorder
) -> None:
    queue = one_worker(60.0)
    await recorder.until(lambda: "busy" in recorder.running)
    queue.add("steady", patient=True)
    queue.add("steady", after=0.001)
    await recorder.until(lambda: not queue._delayed)
    queue.add("a")
    recorder.gate.set()
    await recorder.until(lambda: recorder.done["a"] == 1)
    assert recorder.order == ["busy", "steady", "a"]


async def test_a_patient_key_does_not_wait_for_nobody(
    one_worker: Callable[[float], WorkQueue[str]], recorder: Recorder
) -> None:
    queue = one_worker(60.0)
    recorder.gate.set()
    queue.add("steady", patient=True)
    await recorder.until(lambda: recorder.done["steady"] == 1)
