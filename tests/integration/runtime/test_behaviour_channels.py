"""Channels behave the same for agents in this process and in another one."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.behaviour import World, Worlds, eventually, say

from aixgo import Message
from aixgo.agents.text import text_of
from aixgo.runtime.errors import AgentNotFoundError, ChannelFullError, RuntimeNotStartedError
from aixgo.runtime.routing import Routing


async def test_first_in_first_out_and_apart_from_each_other(world: World) -> None:
    sent = [say(str(number)) for number in range(50)]
    for message in sent:
        await world.runtime.send("echo", message)
    await world.runtime.send("recall", say("other"))
    assert [await world.runtime.recv("echo") for _ in sent] == sent
    assert text_of(await world.runtime.recv("recall")) == "other"
    assert world.runtime.messages_sent() == 51


async def test_empty_and_no_messages_pass(world: World) -> None:
    await world.runtime.send("echo", None)
    await world.runtime.send("echo", Message.new("", ""))
    await world.runtime.send("echo", None)
    assert await world.runtime.recv("echo") is None
    assert (await world.runtime.recv("echo")).payload_as(str) == ""
    assert await world.runtime.recv("echo") is None
    await world.runtime.send("echo", Message("", "", "", ""))
    assert text_of(await world.runtime.recv("echo")) == ""


async def test_a_broadcast_reaches_every_agent(worlds: Worlds) -> None:
    async with worlds.make(agents=["echo", "recall", "count"]) as world:
        message = say("all")
        await world.runtime.broadcast(message)
        assert [await world.runtime.recv(name) for name in world.runtime.list()] == [message] * 3
        assert world.runtime.messages_sent() == 3


async def test_the_101st_message_waits_for_room_and_then_times_out(worlds: Worlds) -> None:
    async with worlds.make(agents=["echo", "recall"], send_timeout=0.1) as world:
        loop = asyncio.get_running_loop()
        for number in range(100):
            await world.runtime.send("echo", say(str(number)))
        began = loop.time()
        with pytest.raises(ChannelFullError) as caught:
            await world.runtime.send("echo", say("101"))
        assert str(caught.value) == "timeout sending message to echo (channel full)"
        assert isinstance(caught.value, TimeoutError)
        assert 0.09 <= loop.time() - began < 0.8
        with pytest.raises(ChannelFullError):  # the others have it all the same
            await world.runtime.broadcast(say("all"))
        assert text_of(await world.runtime.recv("recall")) == "all"
        assert text_of(await world.runtime.recv("echo")) == "0"
        await world.runtime.send("echo", say("102"))
        assert [text_of(await world.runtime.recv("echo")) for _ in range(100)][-1] == "102"


async def test_a_sender_waits_for_room_until_a_reader_comes(worlds: Worlds) -> None:
    async with worlds.make(agents=["echo"], send_timeout=10) as world:
        sending = asyncio.create_task(send_many(world, 300))
        read = [text_of(await world.runtime.recv("echo")) for _ in range(300)]
        await sending
        assert read == [str(number) for number in range(300)]


async def test_a_reader_that_is_cancelled_leaves_its_message_to_the_next(world: World) -> None:
    for _ in range(20):
        reading = asyncio.create_task(world.runtime.recv("echo"))
        await asyncio.sleep(0)
        reading.cancel()
    sent = [str(number) for number in range(20)]
    for text in sent:
        reading = asyncio.create_task(world.runtime.recv("recall"))
        await world.runtime.send("recall", say(text))
        await asyncio.sleep(0.002)
        reading.cancel()
        await asyncio.wait([reading])
        got = reading if not reading.cancelled() else None
        message = got.result() if got is not None else await world.runtime.recv("recall")
        assert text_of(message) == text
    await world.runtime.send("echo", say("x"))
    assert text_of(await world.runtime.recv("echo")) == "x"


async def test_two_readers_share_a_channel_without_loss(world: World) -> None:
    async def read(count: int) -> list[str]:
        return [text_of(await world.runtime.recv("echo")) for _ in range(count)]

    reading = [asyncio.create_task(read(50)), asyncio.create_task(read(50))]
    await send_many(world, 100)
    got = [text for part in await asyncio.gather(*reading) for text in part]
    assert sorted(got, key=int) == [str(number) for number in range(100)]


async def test_r5_sending_while_the_runtime_stops_is_a_named_error(worlds: Worlds) -> None:
    """R5: Send racing Stop panics. A blocked sender and a waiting reader hear of it at once."""
    async with worlds.make(agents=["echo", "recall"], send_timeout=20) as world:
        runtime = world.runtime
        own = "topic"  # of this process in both worlds
        for _ in range(100):
            await runtime.send(own, say("x"))
        blocked = asyncio.create_task(runtime.send(own, say("x")))
        waiting = asyncio.create_task(runtime.recv("recall"))
        racing = [asyncio.create_task(runtime.send(f"t{number}", say("x"))) for number in range(50)]
        await asyncio.sleep(0.02)
        async with asyncio.timeout(5):
            await runtime.stop()
            results = await asyncio.gather(blocked, waiting, *racing, return_exceptions=True)
        assert isinstance(results[0], RuntimeNotStartedError)
        assert isinstance(results[1], RuntimeNotStartedError)
        assert {type(result) for result in results[2:]} <= {type(None), RuntimeNotStartedError}
        for name in ("new", "recall"):
            with pytest.raises(RuntimeNotStartedError, match=r"^runtime not started$"):
                await runtime.send(name, say("x"))
            with pytest.raises(RuntimeNotStartedError, match=r"^runtime not started$"):
                await runtime.recv(name)


async def test_r5_unregistering_ends_readers_and_senders(worlds: Worlds) -> None:
    async with worlds.make(agents=["echo"], send_timeout=20) as world:
        reading = asyncio.create_task(world.runtime.recv("echo"))
        await asyncio.sleep(0.05)
        await world.runtime.unregister("echo")
        async with asyncio.timeout(5):
            error = (await asyncio.gather(reading, return_exceptions=True))[0]
        assert isinstance(error, AgentNotFoundError | RuntimeNotStartedError)


async def test_r6_messages_sent_before_the_agent_is_registered_arrive(worlds: Worlds) -> None:
    """R6: Register replaced the channel that Send had made."""
    async with worlds.make(agents=["echo"]) as world:
        runtime = world.runtime
        await runtime.send("recall", say("early"))
        if world.host is None:
            from tests.support.behaviour_agents import recall

            runtime.register(recall)
        else:
            await world.host.do("register", name="recall")
            await runtime.connect("recall", runtime.get("echo").address)  # type: ignore[attr-defined]
        await runtime.send("recall", say("late"))
        assert [text_of(await runtime.recv("recall")) for _ in range(2)] == ["early", "late"]
        if world.host is not None:
            await world.host.do("send", target="count", texts=["before"])
            await world.host.do("register", name="count")
            await runtime.connect("count", runtime.get("echo").address)  # type: ignore[attr-defined]
            assert text_of(await runtime.recv("count")) == "before"


@pytest.mark.parametrize("style", ["topics", "agents"])
async def test_r2_both_styles_of_inputs_and_outputs_deliver(style: str) -> None:
    """R2: by shared topic names, and from agent to agent as in the original's shipped file."""
    from aixgo import Runtime

    if style == "topics":
        routing = Routing({"a": [], "b": ["t"], "c": ["t"]}, {"a": ["t"], "b": ["out"]})
        wanted = {"b": "t", "c": "t"}
    else:
        routing = Routing({"a": [], "b": ["a"], "c": ["a"]}, {"a": ["b", "c"], "b": ["out"]})
        wanted = {"b": "a", "c": "a"}
    assert routing.unread() == [("b", "out")]
    assert routing.unfed() == []
    async with Runtime(send_timeout=0.2) as runtime:
        runtime.route(routing)
        a = runtime.mailbox("a")
        for number in range(250):
            for target in ("t",) if style == "topics" else ("b", "c"):
                await a.send(target, say(str(number)))
            for reader, source in wanted.items():
                assert text_of(await runtime.mailbox(reader).recv(source)) == str(number)
        await runtime.mailbox("b").send("out", say("x"))
        assert text_of(await runtime.recv("out")) == "x"


async def test_r2_outputs_reach_inputs_in_another_process(worlds: Worlds) -> None:
    """R2: what `A` here sends to `worker` there arrives at its input."""
    async with worlds.make(agents=["worker"], timeout=5) as world:
        if world.host is not None:
            await world.host.do("route", inputs={"worker": ["work"]})
        else:
            world.runtime.route(Routing({"worker": ["work"]}))
        await world.runtime.call("worker", say("start it"))
        await world.runtime.mailbox("a").send("worker", say("task"))
        if world.host is None:
            assert text_of(await world.runtime.recv("done")) == "task"
        else:
            host = world.host

            async def done() -> bool:
                return bool(await host.do("channel", name="done") == 1)

            await eventually(done, "the worker sent its result")


async def send_many(world: World, count: int) -> None:
    for number in range(count):
        await world.runtime.send("echo", say(str(number)))
