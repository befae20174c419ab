"""Streams behave the same here and over the wire: parts, flow control, cancellation, batches."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.behaviour import World, Worlds, eventually, say
from tests.support.behaviour_agents import SECRET

from aixgo.agents.text import text_of
from aixgo.runtime.errors import AgentFailedError, AgentNotFoundError, RuntimeNotStartedError


async def test_parts_come_as_they_are_made(world: World) -> None:
    parts = [text_of(part) async for part in world.runtime.call_stream("stream", say("x"))]
    assert "".join(parts) == "one two x"
    assert [text_of(part) async for part in world.runtime.call_stream("recall", say("x"))] == ["x"]
    with pytest.raises(AgentNotFoundError):
        await anext(world.runtime.call_stream("nobody", say("x")))


async def test_an_agent_that_fails_in_the_middle(world: World) -> None:
    parts = world.runtime.call_stream("half", say("x"))
    assert text_of(await anext(parts)) == "half"
    with pytest.raises(AgentFailedError) as caught:
        await anext(parts)
    assert not any(word in str(caught.value) for word in SECRET.split())


async def test_a_slow_consumer_holds_the_agent_back(world: World) -> None:
    """Nothing grows without bound: what the agent is ahead is a few buffers, however long it takes."""
    parts = world.runtime.call_stream("endless", say("x"))
    await anext(parts)
    seen = 0

    async def stands_still() -> bool:
        nonlocal seen
        before, seen = seen, (await world.lab())["produced"]
        if before != seen:
            await asyncio.sleep(0.2)
        return before == seen

    await eventually(stands_still, "the agent waits for its consumer")
    # In this process 64 parts; over the wire also half a MiB on its way, at 1 KiB a part.
    assert seen < (200 if world.host is None else 1500)
    for _ in range(seen + 10):
        await anext(parts)
    assert (await world.lab())["produced"] > seen, "it goes on when its consumer does"
    await parts.aclose()  # type: ignore[attr-defined]
    await world.happened("endless closed")


async def test_closing_a_stream_closes_the_agents_generator(world: World) -> None:
    parts = world.runtime.call_stream("endless", say("x"))
    assert (await anext(parts)).payload_as(dict)["part"] == 1
    await parts.aclose()  # type: ignore[attr-defined]
    await world.happened("endless closed")


async def test_cancelling_the_consumer_cancels_the_agent(world: World) -> None:
    async def consume() -> None:
        async for _ in world.runtime.call_stream("endless", say("x")):
            pass

    task = asyncio.create_task(consume())
    await eventually(lambda: _produced(world, 10), "it is running")
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await world.happened("endless closed")


async def test_stopping_the_runtime_ends_streams(world: World) -> None:
    parts = world.runtime.call_stream("endless", say("x"))
    await anext(parts)
    async with asyncio.timeout(10):
        await world.runtime.stop()
        with pytest.raises(RuntimeNotStartedError):
            async for _ in parts:
                pass
    await world.happened("endless closed")


async def test_g5_texts_that_are_ready_together_are_one_message(worlds: Worlds) -> None:
    """G5: three texts without a pause in between travel as one message; parts of other kinds stay apart."""
    async with worlds.make() as world:
        parts = [part async for part in world.runtime.call_stream("stream", say("x"))]
        assert len(parts) == (3 if world.host is None else 1)
        assert "".join(text_of(part) for part in parts) == "one two x"
        endless = world.runtime.call_stream("endless", say("x"))
        numbers = [(await anext(endless)).payload_as(dict)["part"] for _ in range(500)]
        assert numbers == list(range(1, 501))
        await endless.aclose()  # type: ignore[attr-defined]


async def _produced(world: World, count: int) -> bool:
    return bool((await world.lab())["produced"] >= count)
