"""The library's Runtime: agents in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import aixgo
from aixgo import Message, Runtime
from aixgo.agents.text import text_of
from aixgo.runtime.errors import (
    AgentAlreadyRegisteredError,
    AgentFailedError,
    AgentNotFoundError,
    AgentNotReadyError,
    CallDeadlineError,
    PhaseStartError,
    RuntimeAlreadyStartedError,
    RuntimeNotStartedError,
)
from aixgo.session import FileBackend, Manager
from aixgo.session.types import Append, SessionRecord


@aixgo.agent("echo")
async def echo(message: Message) -> str:
    return text_of(message)


def say(text: str) -> Message:
    return Message.new("question", {"text": text})


class Worker:
    """An agent that works until it is stopped, as the Go program's do."""

    role = "custom"

    def __init__(
        self, name: str, log: list[str], *, delay: float = 0, error: Exception | None = None
    ) -> None:
        self.name = name
        self._log = log
        self._delay = delay
        self._error = error
        self._ready = False
        self._stop = asyncio.Event()

    async def start(self) -> None:
        await asyncio.sleep(self._delay)
        if self._error is not None:
            raise self._error
        self._log.append(f"start {self.name}")
        self._ready = True
        await self._stop.wait()

    async def stop(self) -> None:
        self._log.append(f"stop {self.name}")
        self._stop.set()

    async def execute(self, message: Message) -> Message:
        return message

    def ready(self) -> bool:
        return self._ready


async def test_the_readme_example(tmp_path: Path) -> None:
    async with Manager(FileBackend(tmp_path)) as sessions:  # noqa: SIM117 - as users write it
        async with Runtime(session_manager=sessions, timeout=30.0) as runtime:
            runtime.register("assistant", echo)
            session = await sessions.get_or_create("assistant", user_id="user-123")
            reply = await runtime.call_with_session("assistant", say("Hello"), session.id)
            assert text_of(reply) == "Hello"
            checkpoint = await session.checkpoint()
            await runtime.call_with_session("assistant", say("again"), session.id)
            assert len(await session.get_messages()) == 4
            await session.restore(checkpoint.id)
            assert len(await session.get_messages()) == 2
            stream = runtime.call_with_session_stream("assistant", say("more"), session.id)
            assert [text_of(part) async for part in stream] == ["more"]
            assert len(await session.get_messages()) == 4


async def test_registration() -> None:
    runtime = Runtime()
    runtime.register(echo)
    runtime.register("second", echo)
    assert runtime.list() == ["echo", "second"]
    assert runtime.get("echo") is echo
    with pytest.raises(AgentAlreadyRegisteredError, match=r"^agent already registered: echo$"):
        runtime.register(echo)
    await runtime.unregister("second")
    with pytest.raises(AgentNotFoundError):
        runtime.get("second")


async def test_calls_need_a_started_runtime_and_a_known_agent() -> None:
    runtime = Runtime()
    runtime.register(echo)
    with pytest.raises(RuntimeNotStartedError, match=r"^runtime not started$"):
        await runtime.call("echo", say("x"))
    async with runtime:
        with pytest.raises(RuntimeAlreadyStartedError):
            await runtime.start()
        assert text_of(await runtime.call("echo", say("x"))) == "x"
        with pytest.raises(AgentNotFoundError):
            await runtime.call("nobody", say("x"))
    with pytest.raises(RuntimeNotStartedError):
        await runtime.call("echo", say("x"))


async def test_agents_work_until_the_runtime_stops() -> None:
    log: list[str] = []
    async with Runtime() as runtime:
        runtime.register(Worker("a", log))
        runtime.register(Worker("b", log))
        runtime.register(Worker("c", log))
        await runtime.start_agents_phased({"c": ["b"], "b": ["a"], "a": []})
        assert log == ["start a", "start b", "start c"]
        assert await runtime.call("c", say("x"))
    assert sorted(log[3:]) == ["stop a", "stop b", "stop c"]


async def test_an_agent_that_does_not_start_fails_its_phase() -> None:
    async with Runtime(agent_start_timeout=0.05) as runtime:
        runtime.register(Worker("slow", [], delay=10))
        runtime.register(Worker("broken", [], error=ValueError("why")))
        with pytest.raises(
            PhaseStartError, match="phase 0 startup failed: agent slow failed to become ready"
        ):
            await runtime.start_agents_phased({"slow": []})
        with pytest.raises(PhaseStartError, match="start failed: ValueError"):
            await runtime.start_agents_phased({"broken": []})
        with pytest.raises(AgentNotReadyError):
            await runtime.call("broken", say("x"))


async def test_the_timeout_and_the_limit_of_calls() -> None:
    running = most = 0
    go_on = asyncio.Event()

    @aixgo.agent("slow")
    async def slow(message: Message) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            await go_on.wait()
        finally:
            running -= 1
        return "done"

    async with Runtime(timeout=0.05) as runtime:
        runtime.register(slow)
        with pytest.raises(CallDeadlineError):
            await runtime.call("slow", say("x"))
    async with Runtime(max_concurrent_calls=2) as runtime:
        runtime.register(slow)
        calls = [asyncio.create_task(runtime.call("slow", say("x"))) for _ in range(5)]
        while most < 2:  # noqa: ASYNC110 - a turn of the event loop at a time
            await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(*calls)
    assert most == 2


async def test_stop_ends_running_calls_but_not_their_callers() -> None:
    inside = asyncio.Event()

    @aixgo.agent("hang")
    async def hang(message: Message) -> str:
        inside.set()
        await asyncio.Event().wait()
        return ""

    runtime = Runtime()
    runtime.register(hang)
    await runtime.start()

    async def caller() -> str:
        with pytest.raises(RuntimeNotStartedError):
            await runtime.call("hang", say("x"))
        return "alive"

    call = asyncio.create_task(caller())
    await inside.wait()
    await runtime.stop()
    assert await call == "alive"


async def test_parallel_calls_give_answers_and_errors_by_name() -> None:
    @aixgo.agent("broken")
    async def broken(message: Message) -> str:
        raise ValueError

    async with Runtime() as runtime:
        runtime.register(echo)
        runtime.register(broken)
        answers, errors = await runtime.call_parallel(["echo", "broken", "nobody"], say("x"))
    assert {name: text_of(answer) for name, answer in answers.items()} == {"echo": "x"}
    assert {name: type(error) for name, error in errors.items()} == {
        "broken": AgentFailedError,
        "nobody": AgentNotFoundError,
    }


async def test_streams() -> None:
    stopped = asyncio.Event()

    @aixgo.agent("stream")
    async def stream(message: Message) -> AsyncIterator[str]:
        try:
            for number in range(3):
                yield str(number)
                await asyncio.sleep(0)
        finally:
            stopped.set()

    async with Runtime() as runtime:
        runtime.register(stream)
        assert [text_of(part) async for part in runtime.call_stream("stream", say("x"))] == ["0", "1", "2"]
        assert text_of(await runtime.call("stream", say("x"))) == "012"
        stopped.clear()
        parts = runtime.call_stream("stream", say("x"))
        assert text_of(await anext(parts)) == "0"
        await parts.aclose()  # type: ignore[attr-defined]
        assert stopped.is_set()
        with pytest.raises(AgentNotFoundError):
            await anext(runtime.call_stream("nobody", say("x")))


async def test_channels() -> None:
    runtime = Runtime(channel_buffer_size=2, send_timeout=0.01)
    runtime.register(echo)
    first = say("1")
    await runtime.send("echo", first)
    await runtime.broadcast(say("2"))
    assert runtime.messages_sent() == 2
    assert (runtime.channel_stats("echo").capacity, runtime.channel_stats("echo").length) == (2, 2)
    assert await runtime.recv("echo") == first
    with pytest.raises(AgentNotFoundError):
        runtime.channel_stats("nobody")
    assert runtime.config().channel_buffer_size == 2
    await runtime.start()
    await runtime.stop()
    with pytest.raises(RuntimeNotStartedError):
        await runtime.send("echo", first)


async def test_a_deadline_does_not_interrupt_a_commit(tmp_path: Path) -> None:
    """An append is all or nothing; a caller that was told of a deadline would not know which."""

    class Slow(FileBackend):
        async def append(self, session_id: str, append: Append) -> SessionRecord:
            await asyncio.sleep(0.3)
            return await super().append(session_id, append)

    async with (
        Manager(Slow(tmp_path)) as sessions,
        Runtime(session_manager=sessions, timeout=0.15) as runtime,
    ):
        runtime.register(echo)
        session = await sessions.create("echo")
        assert text_of(await runtime.call_with_session("echo", say("x"), session.id)) == "x"
        assert len(await session.get_messages()) == 2
