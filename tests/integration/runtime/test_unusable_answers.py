"""Answers that their callers could not get, or no session can hold: nothing of the call is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2

import aixgo
from aixgo import DistributedRuntime, Message, Runtime
from aixgo.agents.text import text_of
from aixgo.contract import SessionConfig
from aixgo.rpc import agent_service_pb2 as pb
from aixgo.rpc import agent_service_pb2_grpc as pb_grpc
from aixgo.rpc.client import AgentClient, ExecuteResult, RpcError
from aixgo.runtime.errors import AgentFailedError, AnswerTooLargeError
from aixgo.session import FileBackend, Manager

LIMIT = 64 * 1024
STRANGE: dict[str, Any] = {
    "key": {1: 2},
    "infinite": {"a": float("inf")},
    "long": {"a": 10**30},
    "object": {"a": object()},
    "surrogate": {"a": "\ud800"},
}


def say(text: str) -> Message:
    return Message.new("question", {"text": text})


@aixgo.agent("answer")
async def answer(message: Message) -> Message:
    wanted = text_of(message)
    if wanted in STRANGE:
        return Message("1", "assistant", "{}", message.timestamp, STRANGE[wanted])
    return say("x" * int(wanted))


@aixgo.agent("stream")
async def stream(message: Message) -> AsyncIterator[str]:
    for _ in range(int(text_of(message))):
        yield "x" * 30_000


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[DistributedRuntime]:
    async with (
        Manager(FileBackend(tmp_path / "sessions")) as sessions,
        DistributedRuntime(
            "127.0.0.1:0", session_manager=sessions, allow_insecure=True, max_message_bytes=LIMIT
        ) as runtime,
    ):
        runtime.register(answer)
        runtime.register("parallel", answer, session=SessionConfig(concurrency="Parallel"))
        runtime.register(stream)
        yield runtime


async def test_an_answer_over_the_limit_of_messages_is_not_stored(runtime: DistributedRuntime) -> None:
    client = AgentClient(runtime.listen_address, None)
    for agent in ("answer", "parallel"):
        first = await client.execute(agent, say("3"), session_id="new")
        with pytest.raises(RpcError, match=f"larger than a message may be \\({LIMIT} bytes\\)") as caught:
            await client.execute(agent, say(str(LIMIT)), session_id=first.session_id)
        assert (caught.value.code, caught.value.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "ANSWER_TOO_LARGE",
        )
        again = await client.execute(agent, say("3"), session_id=first.session_id)
        assert again.session_version == first.session_version * 2

    first = await client.execute("stream", say("1"), session_id="new")
    with pytest.raises(RpcError, match="larger"):
        async for _ in client.execute_stream("stream", say("3"), session_id=first.session_id):
            pass
    events = [each async for each in client.execute_stream("stream", say("2"), session_id=first.session_id)]
    assert isinstance(events[-1], ExecuteResult)
    assert events[-1].session_version == first.session_version * 2
    await client.close()

    async with DistributedRuntime("127.0.0.1:0", allow_insecure=True) as caller:
        await caller.connect("answer", runtime.listen_address)
        with pytest.raises(AnswerTooLargeError) as relayed:
            await caller.call("answer", say(str(LIMIT)))
        assert relayed.value.limit == LIMIT


@pytest.mark.parametrize("wanted", list(STRANGE))
async def test_an_answer_that_nothing_can_hold_is_the_agents_failure(
    runtime: DistributedRuntime, wanted: str
) -> None:
    client = AgentClient(runtime.listen_address, None)
    first = await client.execute("answer", say("3"), session_id="new")
    with pytest.raises(RpcError, match="agent 'answer' failed"):
        await client.execute("answer", say(wanted), session_id=first.session_id)
    again = await client.execute("answer", say("3"), session_id=first.session_id)
    assert again.session_version == first.session_version * 2
    await client.close()


async def test_it_is_so_without_a_wire_and_the_callers_own_mistakes_stay_his(tmp_path: Path) -> None:
    async with (
        Manager(FileBackend(tmp_path)) as sessions,
        Runtime(session_manager=sessions) as runtime,
    ):
        runtime.register(answer)
        session = await sessions.create("answer")
        with pytest.raises(AgentFailedError):
            await runtime.call_with_session("answer", say("key"), session.id)
        with pytest.raises(aixgo.errors.InvalidMessageError):
            await runtime.call_with_session("answer", say("3").with_metadata("a", {1: 2}), session.id)
        assert await (await sessions.get(session.id)).get_messages() == []


async def test_a_number_that_json_has_not_is_the_callers_mistake(runtime: DistributedRuntime) -> None:
    metadata = struct_pb2.Struct()
    metadata["a"] = float("nan")
    message = pb.Message(type="user", payload='{"text":"3"}', metadata=metadata)
    context = pb.SessionContext(id="x", history=[message])
    sound = pb.Message(type="user", payload='{"text":"3"}')
    async with grpc.aio.insecure_channel(runtime.listen_address) as channel:
        stub: Any = pb_grpc.AgentServiceStub(channel)  # type: ignore[no-untyped-call]
        for request in (
            pb.ExecuteRequest(agent_name="answer", input=message),
            pb.ExecuteRequest(agent_name="answer", input=sound, session_context=context),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Execute(request)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "metadata: a number is not finite" in str(caught.value.details())
