"""One suite for agents in this process and in another one: same calls, same answers, same errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.support.pki import Authority

import aixgo
from aixgo import DistributedRuntime, Message, Runtime, TLSConfig
from aixgo.agents.text import text_of
from aixgo.errors import SessionNotInContextError
from aixgo.runtime.errors import (
    AgentFailedError,
    AgentNotFoundError,
    AgentNotReadyError,
    CallDeadlineError,
    ModelRateLimitError,
    ModelUnavailableError,
    PhaseStartError,
)
from aixgo.session import FileBackend, Manager, current_session


@aixgo.agent("recall")
async def recall(message: Message) -> str:
    try:
        history = await current_session().get_messages()
    except SessionNotInContextError:
        history = []
    return " | ".join(text_of(item) for item in [*history, message])


@aixgo.agent("stream")
async def stream(message: Message) -> AsyncIterator[str]:
    for part in ("one ", "two ", text_of(message)):
        yield part


@aixgo.agent("fail")
async def fail(message: Message) -> str:
    raise {
        "busy": ModelRateLimitError("the model provider's rate limit is reached", 3.0),
        "away": ModelUnavailableError("the model provider failed"),
    }.get(text_of(message), ValueError("secret"))


@aixgo.agent("slow")
async def slow(message: Message) -> str:
    await asyncio.Event().wait()
    return ""


@aixgo.agent("copy")
async def copy(message: Message) -> Message:
    return message


AGENTS = (recall, stream, fail, slow, copy)


def say(text: str) -> Message:
    return Message.new("question", {"text": text})


@pytest.fixture
async def sessions(tmp_path: Path) -> AsyncIterator[Manager]:
    async with Manager(FileBackend(tmp_path / "sessions", durability="os")) as manager:
        yield manager


@pytest.fixture
def tls(authority: Authority, tmp_path: Path) -> TLSConfig:
    directory = authority.runtime("r", "team").write(tmp_path / "tls")
    return TLSConfig(directory / "tls.crt", directory / "tls.key", directory / "ca.crt")


@pytest.fixture(params=["local", "distributed"])
async def runtime(
    request: pytest.FixtureRequest, sessions: Manager, tls: TLSConfig
) -> AsyncIterator[Runtime]:
    async with AsyncExitStack() as stack:
        if request.param == "local":
            here = await stack.enter_async_context(Runtime(session_manager=sessions, timeout=5))
            for agent in AGENTS:
                here.register(agent)
        else:
            there = await stack.enter_async_context(DistributedRuntime("127.0.0.1:0", tls=tls))
            here = await stack.enter_async_context(
                DistributedRuntime("127.0.0.1:0", tls=tls, session_manager=sessions, timeout=5)
            )
            for agent in AGENTS:
                there.register(agent)
                await here.connect(agent.name, there.listen_address)
        yield here


async def test_calls(runtime: Runtime) -> None:
    assert runtime.list() == ["copy", "fail", "recall", "slow", "stream"]
    assert text_of(await runtime.call("recall", say("x"))) == "x"
    message = say("x").with_metadata("nested", {"a": [1, {"b": None}], "c": "d"})
    assert await runtime.call("copy", message) == message
    answers, errors = await runtime.call_parallel(["recall", "fail", "nobody"], say("x"))
    assert set(answers) == {"recall"}
    assert {name: type(error) for name, error in errors.items()} == {
        "fail": AgentFailedError,
        "nobody": AgentNotFoundError,
    }


async def test_streams(runtime: Runtime) -> None:
    assert "".join([text_of(part) async for part in runtime.call_stream("stream", say("x"))]) == "one two x"
    assert [text_of(part) async for part in runtime.call_stream("recall", say("x"))] == ["x"]


async def test_sessions(runtime: Runtime, sessions: Manager) -> None:
    session = await sessions.get_or_create("recall", user_id="ada")
    assert text_of(await runtime.call_with_session("recall", say("1"), session.id)) == "1"
    assert text_of(await runtime.call_with_session("recall", say("2"), session.id)) == "1 | 1 | 2"
    assert len(await session.get_messages()) == 4
    failing = await sessions.create("fail")
    with pytest.raises(AgentFailedError):
        await runtime.call_with_session("fail", say("x"), failing.id)
    assert await failing.get_messages() == []


async def test_errors(runtime: Runtime) -> None:
    with pytest.raises(AgentFailedError) as caught:
        await runtime.call("fail", say("x"))
    assert "secret" not in str(caught.value)
    with pytest.raises(ModelUnavailableError):
        await runtime.call("fail", say("away"))
    with pytest.raises(ModelRateLimitError) as limited:
        await runtime.call("fail", say("busy"))
    assert limited.value.retry_after == 3.0
    with pytest.raises(AgentNotFoundError):
        await runtime.call("nobody", say("x"))


async def test_channels(runtime: Runtime) -> None:
    sent = [say(str(number)) for number in range(3)]
    for message in sent:
        await runtime.send("recall", message)
    assert [await runtime.recv("recall") for _ in sent] == sent
    assert runtime.messages_sent() == 3


async def test_phases_wait_for_an_agent_elsewhere(tls: TLSConfig) -> None:
    async with DistributedRuntime("127.0.0.1:0", tls=tls) as there:  # noqa: SIM117 - one inside the other
        async with DistributedRuntime("127.0.0.1:0", tls=tls, agent_start_timeout=10) as here:
            await here.connect("late", there.listen_address)
            here.register("local", recall)
            starting = asyncio.create_task(here.start_agents_phased({"local": ["late"], "late": []}))
            await asyncio.sleep(0)
            assert not starting.done()
            there.register("late", recall)
            await starting
            assert text_of(await here.call("late", say("x"))) == "x"


async def test_an_agent_elsewhere_that_is_not_there(tls: TLSConfig) -> None:
    async with DistributedRuntime("127.0.0.1:0", tls=tls, agent_start_timeout=0.3, timeout=2) as here:
        await here.connect("gone", "127.0.0.1:1")
        with pytest.raises(AgentNotReadyError):
            await here.call("gone", say("x"))
        with pytest.raises(PhaseStartError):
            await here.start_agents_phased({"gone": []})


async def test_the_deadline_of_a_call_reaches_the_other_process(tls: TLSConfig) -> None:
    async with DistributedRuntime("127.0.0.1:0", tls=tls) as there:
        there.register(slow)
        async with DistributedRuntime("127.0.0.1:0", tls=tls, timeout=1) as here:
            await here.connect("slow", there.listen_address)
            with pytest.raises(CallDeadlineError):
                await here.call("slow", say("x"))


async def test_what_it_listens_on_and_how(tls: TLSConfig) -> None:
    with pytest.raises(ValueError, match="allow_insecure"):
        DistributedRuntime("127.0.0.1:0")
    with pytest.raises(ValueError, match="cert_file"):
        TLSConfig()
    for settings in ({"allow_insecure": True}, {"tls": TLSConfig.external()}):
        plain = DistributedRuntime("127.0.0.1:0", **settings)  # type: ignore[arg-type]
        plain.register(recall)
        assert plain.listen_address == "127.0.0.1:0"
        async with plain:
            assert plain.listen_address != "127.0.0.1:0"
            async with DistributedRuntime("127.0.0.1:0", tls=tls, agent_start_timeout=0.5) as other:
                await other.connect("recall", plain.listen_address)
                with pytest.raises(AgentNotReadyError):
                    await other.call("recall", say("x"))
            async with DistributedRuntime("127.0.0.1:0", **settings) as other:  # type: ignore[arg-type]
                await other.connect("recall", plain.listen_address)
                assert text_of(await other.call("recall", say("x"))) == "x"


async def test_stop_ends_with_calls_and_listeners_open(tls: TLSConfig) -> None:
    there = DistributedRuntime("127.0.0.1:0", tls=tls)
    there.register(recall)
    await there.start()
    async with DistributedRuntime("127.0.0.1:0", tls=tls, agent_start_timeout=1) as here:
        await here.connect("recall", there.listen_address)
        await here.call("recall", say("x"))
        listening = asyncio.create_task(here.recv("recall"))
        await asyncio.sleep(0)
        async with asyncio.timeout(3):
            await there.stop()
        with pytest.raises(aixgo.AixgoError):
            await listening
        with pytest.raises(AgentNotReadyError):
            await here.call("recall", say("x"))
        await there.start()
        await here.unregister("recall")
        await here.connect("recall", there.listen_address)
        assert text_of(await here.call("recall", say("y"))) == "y"
        await there.stop()
