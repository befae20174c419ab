"""Parts on their way from an agent to a consumer."""

from __future__ import annotations

import asyncio

import pytest

from aixgo.agents.text import answer, batched, text_of
from aixgo.cancellation import see_through
from aixgo.message import Message
from aixgo.runtime.streaming import MOST_WAITING_PARTS, Emit, Streaming


async def test_a_producer_waits_for_its_consumer() -> None:
    made = 0

    async def work(emit: Emit) -> str:
        nonlocal made
        for made in range(1, 3 * MOST_WAITING_PARTS + 1):
            await emit(answer(str(made)))
        return "end"

    got: list[str] = []
    async with Streaming(work) as stream:
        await asyncio.sleep(0.01)
        assert made == MOST_WAITING_PARTS
        while parts := await stream.take():
            got += [text_of(part) for part in parts]
        assert stream.result() == "end"
    assert got == [str(number) for number in range(1, 3 * MOST_WAITING_PARTS + 1)]


async def test_work_that_fails_or_is_left_is_over_when_the_block_is() -> None:
    async def fail(emit: Emit) -> None:
        await emit(answer("x"))
        raise ValueError("why")

    async with Streaming(fail) as stream:
        while await stream.take():
            pass
        with pytest.raises(ValueError, match="why"):
            stream.result()

    undone = asyncio.Event()

    async def hang(emit: Emit) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            undone.set()

    async with Streaming(hang):
        await asyncio.sleep(0)
    assert undone.is_set()


def test_texts_are_joined_and_nothing_else() -> None:
    other = Message.new("assistant", {"number": 1})
    marked = answer("c").with_metadata("k", "v")
    parts = [answer("a"), answer("b"), other, answer("x"), marked, Message.new("note", {"text": "n"})]
    joined = batched(parts)
    assert [text_of(part) for part in joined] == ["ab", text_of(other), "x", "c", "n"]
    assert joined[1] is other
    assert joined[3] is marked
    assert batched([]) == []


async def test_what_must_be_done_is_done_although_it_is_cancelled() -> None:
    done = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0.02)
        done.set()

    task = asyncio.create_task(see_through(work()))
    for _ in range(3):
        await asyncio.sleep(0.001)
        task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert done.is_set()
    assert await see_through(asyncio.sleep(0, "result")) == "result"

    async def fail() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await see_through(fail())
