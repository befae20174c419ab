"""The pump between channels and an agent that answers calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from aixgo import Message, Runtime, agent
from aixgo.agents.text import answer, text_of
from aixgo.runtime.errors import AgentFailedError, ChannelFullError
from aixgo.runtime.pump import MAX_PAYLOAD_BYTES, InputPump, needs_pump, unfit


class Box:
    """A mailbox in memory: queues by name, and a target that is always full."""

    def __init__(self) -> None:
        self.queues: dict[str, asyncio.Queue[Message | None]] = {}

    def __getitem__(self, name: str) -> asyncio.Queue[Message | None]:
        return self.queues.setdefault(name, asyncio.Queue())

    async def send(self, target: str, message: Message) -> None:
        if target == "full":
            raise ChannelFullError(target)
        await self[target].put(message)

    async def recv(self, source: str) -> Message:
        return await self[source].get()  # type: ignore[return-value]


def pump(
    box: Box,
    call: Callable[[Message], Awaitable[Message]],
    *,
    role: str = "custom",
    inputs: tuple[str, ...] = ("in",),
    outputs: tuple[str, ...] = ("out",),
) -> InputPump:
    return InputPump("agent", role=role, inputs=inputs, outputs=outputs, mailbox=box, call=call)


async def shout(message: Message) -> Message:
    return answer(text_of(message).upper())


def say(text: str) -> Message:
    return Message.new("user", {"text": text})


async def taken(box: Box, name: str = "out") -> Message:
    async with asyncio.timeout(5):
        message = await box[name].get()
    assert message is not None
    return message


async def test_answers_go_to_every_output_in_the_order_of_the_inputs() -> None:
    box = Box()
    working = pump(box, shout, outputs=("out", "full", "log"))
    working.start()
    sent = [say("one"), say("two")]
    for message in sent:
        await box["in"].put(message)
    for name in ("out", "log"):
        received = [await taken(box, name) for _ in sent]
        assert [text_of(message) for message in received] == ["ONE", "TWO"]
        assert [message.id for message in received] == [message.id for message in sent]
        assert {message.metadata["agent"] for message in received} == {"agent"}
    assert await working.stop()


async def test_what_react_agents_send_is_an_analysis() -> None:
    box = Box()
    working = pump(box, shout, role="react")
    working.start()
    await box["in"].put(say("x"))
    assert (await taken(box)).type == "analysis"
    await working.stop()


async def test_a_failure_and_a_message_that_is_unfit_do_not_end_the_work() -> None:
    async def picky(message: Message) -> Message:
        if text_of(message) == "bad":
            raise AgentFailedError("agent") from ValueError("bad")
        return await shout(message)

    box = Box()
    working = pump(box, picky)
    working.start()
    for message in (say("bad"), None, say("x" * MAX_PAYLOAD_BYTES), say("good")):
        await box["in"].put(message)
    assert text_of(await taken(box)) == "GOOD"
    assert box["out"].empty()
    await working.stop()


async def test_inputs_do_not_wait_for_each_other() -> None:
    gate = asyncio.Event()

    async def slow_first(message: Message) -> Message:
        if text_of(message) == "slow":
            await gate.wait()
        return await shout(message)

    box = Box()
    working = pump(box, slow_first, inputs=("a", "b"))
    working.start()
    await box["a"].put(say("slow"))
    await box["b"].put(say("fast"))
    assert text_of(await taken(box)) == "FAST"
    gate.set()
    assert text_of(await taken(box)) == "SLOW"
    await working.stop()


async def test_what_is_in_work_may_end_and_nothing_more_is_taken() -> None:
    began, gate = asyncio.Event(), asyncio.Event()

    async def slow(message: Message) -> Message:
        began.set()
        await gate.wait()
        return await shout(message)

    box = Box()
    working = pump(box, slow)
    working.start()
    await box["in"].put(say("first"))
    await box["in"].put(say("second"))
    await began.wait()
    stopping = asyncio.create_task(working.stop(grace=5))
    await asyncio.sleep(0)
    assert not stopping.done()
    gate.set()
    assert await stopping
    assert text_of(await taken(box)) == "FIRST"
    assert box["in"].qsize() == 1


async def test_work_that_takes_too_long_is_cut_off() -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def endless(message: Message) -> Message:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return message

    box = Box()
    working = pump(box, endless)
    working.start()
    await box["in"].put(say("x"))
    await began.wait()
    assert not await working.stop(grace=0.01)
    assert cancelled.is_set()


async def test_the_end_of_a_runtime_ends_the_work() -> None:
    runtime = Runtime()
    await runtime.start()
    working = InputPump(
        "a", role="custom", inputs=("in",), outputs=(), mailbox=runtime.mailbox("a"), call=shout
    )
    working.start()
    await asyncio.sleep(0)
    await runtime.stop()
    async with asyncio.timeout(5):
        assert await working.stop(grace=5)


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        ("ok\ttab\nline\r", None),
        ("é" * (MAX_PAYLOAD_BYTES // 2), None),
        ("é" * (MAX_PAYLOAD_BYTES // 2) + "x", "longer than 102400 bytes"),
        ("nul\0", "control characters"),
        ("bell\x07", "control characters"),
        ("del\x7f", "control characters"),
    ],
)
def test_what_may_reach_an_agent(payload: str, why: str | None) -> None:
    message = Message("id", "user", payload, "")
    told = unfit(message)
    assert told is None if why is None else why in (told or "")


def test_only_agents_with_inputs_and_without_a_loop_of_their_own_are_pumped() -> None:
    plain = agent("plain")(shout)
    assert needs_pump(plain, ["in"])
    assert not needs_pump(plain, [])
    vars(plain)["bind"] = lambda mailbox: None
    assert not needs_pump(plain, ["in"])
