"""Nonsense is refused where it is passed in, with a text that says what is wrong."""

from __future__ import annotations

import asyncio
import math
import socket
from pathlib import Path
from typing import Any

import pytest

import aixgo
from aixgo import DistributedRuntime, Message, Runtime
from aixgo.runtime.errors import AgentFailedError, ListenError
from aixgo.session import FileBackend, InvalidPathComponentError, Manager

QUESTION = Message.new("question", {"text": "hello"})


@aixgo.agent("echo")
async def echo(message: Message) -> Message:
    return message


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("timeout", [0, -1, "1", math.nan, True]),
        ("agent_start_timeout", [0, -1, None, math.nan]),
        ("send_timeout", [-1, "1", math.nan]),
        ("channel_buffer_size", [0, -1, 1.5, "1", True]),
        ("max_concurrent_calls", [-1, 1.5, None]),
        ("channel_full_warning_threshold", [-1, None]),
    ],
)
def test_settings_out_of_range(name: str, values: list[object]) -> None:
    for value in values:
        settings: dict[str, Any] = {name: value}
        with pytest.raises(ValueError, match=name):
            Runtime(**settings)


@pytest.mark.parametrize("name", ["session_manager", "metrics", "tracing"])
def test_parts_that_are_none(name: str) -> None:
    parts: dict[str, Any] = {name: object()}
    with pytest.raises(TypeError, match=name):
        Runtime(**parts)


async def test_tracing_may_be_switched_on() -> None:
    for tracing in (True, False, None):
        async with Runtime(tracing=tracing) as runtime:
            runtime.register(echo)
            assert await runtime.call("echo", QUESTION) == QUESTION


async def test_what_is_registered_is_an_agent_with_a_name() -> None:
    async def function(message: Message) -> str:
        return ""

    runtime = Runtime()
    wrong: tuple[Any, ...] = (5, function, object(), "text")
    for agent in wrong:
        with pytest.raises(TypeError, match="agent"):
            runtime.register("name", agent)
        with pytest.raises(TypeError, match="agent"):
            runtime.register(agent)
    with pytest.raises(ValueError, match="name"):
        runtime.register("", echo)
    assert runtime.list() == []


async def test_only_messages_are_passed_to_agents() -> None:
    wrong: tuple[Any, ...] = (None, "text", {}, 5)
    async with Runtime() as runtime:
        runtime.register(echo)
        for message in wrong:
            with pytest.raises(TypeError, match="Message"):
                await runtime.call("echo", message)


async def test_a_call_with_a_session_needs_one(tmp_path: Path) -> None:
    wrong: tuple[Any, ...] = ("", None)
    async with Manager(FileBackend(tmp_path)) as sessions, Runtime(session_manager=sessions) as runtime:
        runtime.register(echo)
        for session_id in wrong:
            with pytest.raises(InvalidPathComponentError, match="session ID"):
                await runtime.call_with_session("echo", QUESTION, session_id)
            with pytest.raises(InvalidPathComponentError, match="session ID"):
                runtime.call_with_session_stream("echo", QUESTION, session_id)


async def test_an_agent_whose_work_was_cancelled_fails_and_its_caller_does_not() -> None:
    @aixgo.agent("waits")
    async def waits(message: Message) -> Message:
        work = asyncio.ensure_future(asyncio.sleep(60))
        work.cancel()
        await work
        return message

    async with Runtime() as runtime:
        runtime.register(echo)
        runtime.register(waits)
        with pytest.raises(AgentFailedError):
            await runtime.call("waits", QUESTION)
        answers, errors = await runtime.call_parallel(["echo", "waits"], QUESTION)
        assert answers == {"echo": QUESTION}
        assert [type(error) for error in errors.values()] == [AgentFailedError]


@pytest.mark.parametrize(
    "address",
    ["", "host", "127.0.0.1", "host:", "host:x", "host:-1", "host:65536", "::1:5", "unix:/tmp/x", None],
)
def test_addresses_that_are_none(address: Any) -> None:
    with pytest.raises(ValueError, match="listen_address"):
        DistributedRuntime([address], allow_insecure=True)


async def test_listening_on_every_address_and_on_one_that_is_taken() -> None:
    async with DistributedRuntime(":0", allow_insecure=True) as runtime:
        port = int(runtime.listen_address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), 5):
            pass
        other = DistributedRuntime(f"127.0.0.1:{port}", allow_insecure=True)
        with pytest.raises(ListenError, match=str(port)):
            await other.start()


async def test_connections_need_an_address() -> None:
    runtime = DistributedRuntime("127.0.0.1:0", allow_insecure=True)
    wrong: tuple[Any, ...] = ("", " ", None)
    for address in wrong:
        with pytest.raises(ValueError, match="address"):
            await runtime.connect("far", address)
    with pytest.raises(TypeError, match="TLSConfig"):
        DistributedRuntime("127.0.0.1:0", tls=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("distributed", [False, True])
def test_a_runtime_starts_again_in_the_next_event_loop(distributed: bool) -> None:
    if distributed:
        runtime: Runtime = DistributedRuntime("127.0.0.1:0", allow_insecure=True, timeout=30)
    else:
        runtime = Runtime(timeout=30)
    runtime.register(echo)

    async def use() -> Message:
        async with runtime:
            return await runtime.call("echo", QUESTION)

    assert [asyncio.run(use()) for _ in range(3)] == [QUESTION] * 3
