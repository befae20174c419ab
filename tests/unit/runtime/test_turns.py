"""Turns on real sessions in files: what is stored, what the agent sees, and what a failure leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aixgo.agents.protocol import FunctionAgent, function_agent
from aixgo.agents.text import text_of
from aixgo.contract import SessionConfig
from aixgo.errors import SessionConflictError, SessionNotFoundError, StorageError
from aixgo.message import Message
from aixgo.runtime.errors import (
    AgentFailedError,
    InvalidRequestError,
    ModelUnavailableError,
    SessionManagerNotConfiguredError,
)
from aixgo.runtime.turns import PARALLEL_ATTEMPTS, CallersHistory, TurnRequest, TurnRunner
from aixgo.session import FileBackend, Manager, current_session

PARALLEL = SessionConfig(concurrency="Parallel")


def say(text: str) -> Message:
    return Message.new("user", {"text": text})


def ask(text: str, session_id: str = "", **more: object) -> TurnRequest:
    return TurnRequest("a", say(text), session_id, **more)  # type: ignore[arg-type]


@pytest.fixture
async def sessions(tmp_path: Path) -> AsyncIterator[Manager]:
    async with Manager(FileBackend(tmp_path / "sessions", durability="os")) as manager:
        yield manager


async def recall(message: Message) -> str:
    history = await current_session().get_messages()
    return " ".join(text_of(item) for item in [*history, message])


RECALL = FunctionAgent("a", recall)


async def texts(manager: Manager, session_id: str) -> list[str]:
    return [text_of(message) for message in await (await manager.get(session_id)).get_messages()]


async def test_the_agent_sees_the_history_once_and_in_order(sessions: Manager) -> None:
    runner = TurnRunner(sessions)
    first = await runner.run(RECALL, ask("1", "new", user_id="ada"))
    second = await runner.run(RECALL, ask("2", first.session_id, user_id="ada"))
    assert text_of(second.output) == "1 1 2"
    assert (first.session_version, second.session_version) == (2, 4)
    assert await texts(sessions, first.session_id) == ["1", "1", "2", "1 1 2"]
    assert (await sessions.get(first.session_id)).user_id == "ada"


@pytest.mark.parametrize("settings", [SessionConfig(), PARALLEL])
async def test_a_failing_agent_leaves_the_session_as_it_was(
    sessions: Manager, settings: SessionConfig
) -> None:
    async def fail(message: Message) -> str:
        await current_session().append_message(say("half"))
        raise ValueError(message.payload)

    async def no_model(message: Message) -> str:
        raise ModelUnavailableError("the model provider failed")

    runner = TurnRunner(sessions)
    session = await sessions.create("a")
    with pytest.raises(AgentFailedError) as caught:
        await runner.run(FunctionAgent("a", fail), ask("secret", session.id), settings)
    assert isinstance(caught.value.__cause__, ValueError)
    assert "secret" not in str(caught.value)
    with pytest.raises(ModelUnavailableError):
        await runner.run(FunctionAgent("a", no_model), ask("x", session.id), settings)
    assert await texts(sessions, session.id) == []
    with pytest.raises(AgentFailedError):
        await runner.run(FunctionAgent("a", fail), ask("x", "new"), settings)
    assert [session.id for session in await sessions.list("a")] == [session.id], "no session of a failed call"


async def test_a_cancelled_first_turn_leaves_no_session(sessions: Manager) -> None:
    inside = asyncio.Event()

    async def hang(message: Message) -> str:
        inside.set()
        await asyncio.Event().wait()
        return ""

    call = asyncio.create_task(TurnRunner(sessions).run(FunctionAgent("a", hang), ask("x", "new")))
    await inside.wait()
    call.cancel()
    await asyncio.wait({call})
    assert call.cancelled()
    assert await sessions.list("a") == []


async def test_what_the_agent_appends_belongs_to_the_turn(sessions: Manager) -> None:
    async def note(message: Message) -> str:
        await current_session().append_message(say("note"))
        assert await current_session().get_messages() == [], "nothing is stored before the end"
        return "answer"

    result = await TurnRunner(sessions).run(FunctionAgent("a", note), ask("q", "new"))
    assert await texts(sessions, result.session_id) == ["q", "note", "answer"]
    assert result.session_version == 3


async def test_execute_with_session_gets_the_session(sessions: Manager) -> None:
    class Aware:
        name = "a"
        role = "custom"

        async def start(self) -> None: ...

        async def stop(self) -> None: ...

        def ready(self) -> bool:
            return True

        async def execute(self, message: Message) -> Message:
            return say("without")

        async def execute_with_session(self, message: Message, session: object) -> Message:
            return say("with " + str(len(await session.get_messages())))  # type: ignore[attr-defined]

    runner = TurnRunner(sessions)
    assert text_of((await runner.run(Aware(), ask("x"))).output) == "without"
    assert text_of((await runner.run(Aware(), ask("x", "new"))).output) == "with 0"


async def test_whose_session_it_is(sessions: Manager) -> None:
    runner = TurnRunner(sessions)
    session = await sessions.create("a", user_id="ada")
    other = await sessions.create("b", user_id="ada")
    for session_id, user_id in ((session.id, "bob"), (session.id, ""), (other.id, "ada"), ("unknown", "ada")):
        with pytest.raises(SessionNotFoundError):
            await runner.run(RECALL, ask("x", session_id, user_id=user_id))
    await runner.run(RECALL, ask("x", session.id))


async def test_requests_that_make_no_sense(sessions: Manager) -> None:
    with pytest.raises(SessionManagerNotConfiguredError, match=r"^session manager not configured$"):
        await TurnRunner().run(RECALL, ask("x", "new"))
    with pytest.raises(InvalidRequestError, match="session_id"):
        await TurnRunner(sessions).run(RECALL, ask("x", "new"), SessionConfig(mode="Stateless"))
    history = CallersHistory("theirs", "", ())
    with pytest.raises(InvalidRequestError, match="session_context"):
        await TurnRunner(sessions).run(RECALL, ask("x", "mine", callers_history=history))


async def test_a_history_that_only_the_caller_has() -> None:
    history = CallersHistory("theirs", "ada", tuple(say(str(number)) for number in range(4)))
    request = ask("x", callers_history=history)
    result = await TurnRunner().run(RECALL, request, SessionConfig(history_limit=2))
    assert text_of(result.output) == "2 3 x"
    assert (result.session_id, result.session_version) == ("theirs", 6)


@pytest.mark.parametrize("settings", [SessionConfig(), PARALLEL])
async def test_a_key_is_executed_once(sessions: Manager, settings: SessionConfig) -> None:
    calls = 0

    async def count(message: Message) -> str:
        nonlocal calls
        calls += 1
        return f"call {calls}"

    runner, agent = TurnRunner(sessions), FunctionAgent("a", count)
    session = await sessions.create("a")
    first = await runner.run(agent, ask("x", session.id, idempotency_key="k"), settings)
    again = await runner.run(agent, ask("y", session.id, idempotency_key="k"), settings)
    other = await runner.run(agent, ask("y", session.id, idempotency_key="l"), settings)
    assert first.output == again.output
    assert text_of(other.output) == "call 2"
    assert len(await texts(sessions, session.id)) == 4


async def test_parallel_turns_give_up_when_others_are_always_faster(sessions: Manager) -> None:
    session = await sessions.create("a")
    attempts = 0

    async def disturbed(message: Message) -> str:
        nonlocal attempts
        attempts += 1
        await session.append_message(say(f"other {attempts}"))
        return "late"

    agent = FunctionAgent("a", disturbed)
    with pytest.raises(SessionConflictError):
        await TurnRunner(sessions).run(agent, ask("x", session.id), PARALLEL)
    assert attempts == PARALLEL_ATTEMPTS
    with pytest.raises(SessionConflictError):
        await TurnRunner(sessions).run(agent, ask("x", session.id, idempotency_key="k"), PARALLEL)
    assert all(text.startswith("other") for text in await texts(sessions, session.id))


async def test_parts_are_emitted_and_joined(sessions: Manager) -> None:
    async def stream(message: Message) -> AsyncIterator[str]:
        for part in ("one ", "two ", text_of(message)):
            yield part

    seen: list[str] = []

    async def emit(part: Message) -> None:
        seen.append(text_of(part))

    agent = function_agent("a", stream)
    result = await TurnRunner(sessions).run(agent, ask("three", "new"), emit=emit)
    assert seen == ["one ", "two ", "three"]
    assert text_of(result.output) == "one two three"
    assert await texts(sessions, result.session_id) == ["three", "one two three"]


async def test_a_caller_that_goes_away_is_not_the_agents_fault() -> None:
    async def stream(message: Message) -> AsyncIterator[str]:
        yield "part"

    async def gone(part: Message) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await TurnRunner().run(function_agent("a", stream), ask("x"), emit=gone)


@pytest.mark.parametrize("answer", [None, 5, b"bytes"])
async def test_no_answer_is_a_failure_and_stores_nothing(sessions: Manager, answer: object) -> None:
    async def wrong(message: Message) -> object:
        return answer

    with pytest.raises(AgentFailedError):
        await TurnRunner(sessions).run(FunctionAgent("a", wrong), ask("x", "new"))  # type: ignore[arg-type]
    assert await sessions.list("a") == []


async def test_a_broken_store_is_a_storage_error(sessions: Manager) -> None:
    await sessions.close()
    with pytest.raises(StorageError):
        await TurnRunner(sessions).run(RECALL, ask("x", "new"))
