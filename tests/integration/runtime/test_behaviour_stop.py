"""Nothing is left behind, and stopping under load ends in time without half a turn."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.agent_host import resources
from tests.support.behaviour import World, Worlds, eventually, say

from aixgo import DistributedRuntime
from aixgo.agents.text import text_of
from aixgo.errors import AixgoError
from aixgo.runtime.errors import AgentNotReadyError


async def some_of_everything(world: World, calls: int, session_id: str) -> None:
    for number in range(calls):
        assert await world.runtime.call("echo", say("x"))
        if number % 20:
            continue
        await world.runtime.call_with_session("tally", say("x"), session_id)
        async for _ in world.runtime.call_stream("stream", say("x")):
            pass
        endless = world.runtime.call_stream("endless", say("x"))
        await anext(endless)
        await endless.aclose()  # type: ignore[attr-defined]
        with pytest.raises(AixgoError):
            await world.runtime.call("fail", say("x"))
        await world.runtime.send("echo", say("x"))
        await world.runtime.recv("echo")
        hanging = asyncio.create_task(world.runtime.call("hang", say("x")))
        await asyncio.sleep(0.005)
        hanging.cancel()
        await asyncio.wait([hanging])


async def test_200_calls_leave_no_task_and_no_descriptor(worlds: Worlds) -> None:
    async with worlds.make() as world:
        session = await world.sessions.create("tally")
        await some_of_everything(world, 21, session.id)

        async def count() -> dict[str, int]:
            here = resources()
            there = await world.host.do("usage") if world.host is not None else dict.fromkeys(here, 0)
            return {kind: here[kind] + there[kind] for kind in ("tasks", "descriptors")}

        before = await count()
        await some_of_everything(world, 200, session.id)

        async def settled() -> bool:
            after = await count()
            return all(after[kind] <= before[kind] for kind in after)

        await eventually(settled, f"not more than {before}")


async def test_start_and_stop_leave_no_task_and_no_descriptor(worlds: Worlds) -> None:
    async with worlds.make() as world:

        async def cycle() -> None:
            assert await world.runtime.call("echo", say("x"))
            reading = asyncio.create_task(world.runtime.recv("echo"))
            await asyncio.sleep(0.01)
            await world.runtime.stop()
            await asyncio.gather(reading, return_exceptions=True)

        await cycle()
        before = resources()
        for _ in range(10):
            await world.runtime.start()
            await cycle()

        async def settled() -> bool:
            after = resources()
            return all(after[kind] <= before[kind] for kind in ("tasks", "descriptors"))

        await eventually(settled, f"not more than {before}")


async def test_d4_stop_ends_in_time_with_calls_and_streams_open(worlds: Worlds) -> None:
    """D4: Stop deadlocked with calls in flight, and Listen streams never ended."""
    async with worlds.make(host_settings={"stop_grace": 0.3}) as world:
        calls = [asyncio.create_task(world.runtime.call("hang", say("x"))) for _ in range(5)]
        stream = world.runtime.call_stream("endless", say("x"))
        await anext(stream)
        reading = asyncio.create_task(world.runtime.recv("echo"))
        await world.happened("hang entered", 5)
        async with asyncio.timeout(4):
            if world.host is not None:
                await world.host.do("end")
            await world.runtime.stop()
            results = await asyncio.gather(*calls, reading, return_exceptions=True)
        assert all(isinstance(result, AixgoError) for result in results)
        await world.happened("hang cancelled", 5)
        await world.happened("endless closed")
        with pytest.raises(AixgoError):
            async for _ in stream:
                pass


@pytest.mark.parametrize("worlds", ["distributed"], indirect=True)
async def test_d4_stop_lets_running_calls_end_and_refuses_new_ones(worlds: Worlds) -> None:
    """Under load: what has begun is answered and stored as a whole, the rest is refused by name.

    A refused call is made again for some seconds before its caller hears of it: the grace is longer.
    In one process stop() ends the caller's own calls; test_behaviour_calls has that.
    """
    async with worlds.make(host_settings={"stop_grace": 30}) as world:
        assert world.host is not None
        session = await world.sessions.create("wait")
        await world.runtime.call("echo", say("x"))
        begun = [asyncio.create_task(world.runtime.call("wait", say(str(n)))) for n in range(5)]
        begun.append(asyncio.create_task(world.runtime.call_with_session("wait", say("s"), session.id)))
        await world.happened("wait entered", 6)
        ending = asyncio.create_task(world.host.do("end"))

        async def refused() -> bool:
            try:
                await world.runtime.call("echo", say("x"))
            except AgentNotReadyError:
                return True
            return False

        await eventually(refused, "it drains")
        assert not any(call.done() for call in begun)
        await world.open("go")
        answers = [text_of(answer) for answer in await asyncio.gather(*begun)]
        assert answers == ["0", "1", "2", "3", "4", "s"]
        await ending
        assert len(await session.get_messages()) == 2


async def test_stop_under_load_leaves_whole_turns_only(worlds: Worlds) -> None:
    async with worlds.make(host_settings={"stop_grace": 2}) as world:
        sessions = [await world.sessions.create("tally") for _ in range(4)]

        async def talk(number: int) -> int:
            turns = 0
            while True:
                try:
                    await world.runtime.call_with_session("tally", say("x"), sessions[number].id)
                except AixgoError:
                    return turns
                turns += 1

        talking = [asyncio.create_task(talk(number)) for number in range(4)]
        await eventually(lambda: _some_turns(sessions), "turns were made")
        if world.host is not None:
            await world.host.do("end")
        await world.runtime.stop()
        for number, turns in enumerate(await asyncio.gather(*talking)):
            history = await sessions[number].get_messages()
            # One more may have been stored when its caller was told that the runtime is stopped.
            assert len(history) in (2 * turns, 2 * turns + 2)
            assert [text_of(answer) for answer in history[1::2]] == [
                f"{2 * turn} {2 * turn}" for turn in range(len(history) // 2)
            ]


async def _some_turns(sessions: list[object]) -> bool:
    counts = [len(await session.get_messages()) for session in sessions]  # type: ignore[attr-defined]
    return min(counts) >= 6


async def test_a_runtime_that_was_never_used_stops(worlds: Worlds) -> None:
    runtime = DistributedRuntime("127.0.0.1:0", tls=worlds.tls)
    await runtime.connect("gone", "127.0.0.1:1")
    await runtime.stop()
    async with runtime:
        pass
    assert runtime.listen_address == "127.0.0.1:0"
