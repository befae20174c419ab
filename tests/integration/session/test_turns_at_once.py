"""Turns on files that go without waiting, and when they wait after all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextvars import Context
from pathlib import Path
from typing import Any

import pytest

from aixgo import Message, agent
from aixgo.contract import SessionConfig
from aixgo.errors import SessionConflictError, SessionNotFoundError, StorageError
from aixgo.runtime.turns import TurnRequest, TurnRunner
from aixgo.session import FileBackend, Manager, Session, current_session


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Manager]:
    async with Manager(FileBackend(tmp_path / "s", durability="os")) as manager:
        yield manager


def say(text: str) -> Message:
    return Message.new("user", {"text": text})


@agent("assistant")
async def assistant(message: Message) -> str:
    """Answer with the number of messages before this one."""
    del message
    return str(len(await current_session().get_messages(limit=20)))


async def known_session(manager: Manager) -> Session:
    """Return a session that this process wrote to."""
    session = await manager.create("assistant", user_id="a")
    await take_turn(manager, session.id)
    return session


async def take_turn(manager: Manager, session_id: str, user_id: str = "a") -> int:
    request = TurnRequest("assistant", say("hello"), session_id, user_id)
    return (await TurnRunner(manager).run(assistant, request, SessionConfig())).session_version


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Any]:
    """Count the calls of a method of the backend."""
    calls: list[Any] = []
    original: Callable[..., Any] = getattr(FileBackend, name)

    def count(self: FileBackend, *args: Any, **more: Any) -> Any:
        calls.append(args)
        return original(self, *args, **more)

    monkeypatch.setattr(FileBackend, name, count)
    return calls


async def test_a_turn_on_a_known_session_waits_for_nothing(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await known_session(manager)
    waited = [counted(monkeypatch, name) for name in ("_run", "load", "messages")]
    running = TurnRunner(manager).run(
        assistant, TurnRequest("assistant", say("hello"), session.id, "a"), SessionConfig()
    )
    with pytest.raises(StopIteration) as ended:  # at its first step: it was never suspended
        running.send(None)
    assert ended.value.value.session_version == 4
    assert waited == [[], [], []]
    assert [message.payload for message in await session.get_messages()] == [
        *('{"text":"hello"}', '{"text":"0"}'),
        *('{"text":"hello"}', '{"text":"2"}'),
    ]


async def test_a_turn_waits_for_the_one_before_it(manager: Manager) -> None:
    session = await known_session(manager)
    async with session.turn() as first:
        waiting = asyncio.create_task(take_turn(manager, session.id), context=Context())
        impatient = session.turn(timeout=0.0)
        with pytest.raises(SessionConflictError, match="busy"):
            await asyncio.create_task(impatient.begin(), context=Context())
        await first.append_message(say("first"))
    assert await waiting == 5


async def test_somebody_elses_session_is_not_found_and_not_held(manager: Manager) -> None:
    session = await known_session(manager)
    for user in ("b", ""):
        with pytest.raises(SessionNotFoundError):
            await take_turn(manager, session.id, user)
    assert await take_turn(manager, session.id) == 4


async def test_what_another_program_wrote_is_seen(tmp_path: Path, manager: Manager) -> None:
    session = await known_session(manager)
    (file,) = (tmp_path / "s").rglob(f"{session.id}.jsonl")
    lines = file.read_bytes()
    file.write_bytes(lines.replace(b"hello", b"HELLO"))
    with file.open("ab") as log:
        log.write(
            b'{"id":"theirs","timestamp":"2026-01-01T00:00:00Z","type":"metadata","data":{"event":"x"}}\n'
        )
    assert await take_turn(manager, session.id) == 4
    first, *_ = await session.get_messages()
    assert first.payload == '{"text":"HELLO"}'


async def test_a_session_that_another_program_removed_is_not_found(tmp_path: Path, manager: Manager) -> None:
    session = await known_session(manager)
    (file,) = (tmp_path / "s").rglob(f"{session.id}.jsonl")
    file.unlink()
    with pytest.raises(SessionNotFoundError):
        await take_turn(manager, session.id)
    assert not file.exists()


async def test_a_failed_commit_leaves_nothing_and_holds_nothing(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await known_session(manager)

    def fail(*_: object) -> None:
        raise OSError(28, "no space")

    with monkeypatch.context() as patch:
        patch.setattr("aixgo.session.file.paths.write_all", fail)
        with pytest.raises(StorageError):
            await take_turn(manager, session.id)
    assert len(await session.get_messages()) == 2
    assert await take_turn(manager, session.id) == 4


async def test_a_branch_is_read_from_its_place_on_inside_a_turn(manager: Manager) -> None:
    session = await known_session(manager)
    checkpoint = await session.checkpoint()
    await take_turn(manager, session.id)
    async with session.turn() as turn:
        assert len(await turn.get_messages()) == 4
        await session.restore(checkpoint.id)
        assert len(await turn.get_messages()) == 2
        await turn.append_message(say("instead"))
        assert [message.payload for message in await turn.get_messages(limit=2)] == [
            '{"text":"0"}',
            '{"text":"instead"}',
        ]
    assert len(await session.get_messages()) == 3


@pytest.mark.parametrize("limit", [-1, True])
async def test_a_limit_is_checked_in_a_turn_too(manager: Manager, limit: int) -> None:
    session = await known_session(manager)
    async with session.turn() as turn:
        with pytest.raises(ValueError, match="limit"):
            turn.known_messages(limit)


async def test_a_turn_that_is_over_knows_no_messages(manager: Manager) -> None:
    session = await known_session(manager)
    turn = session.turn()
    assert turn.known_messages(1) is None
    async with turn:
        assert len(turn.known_messages(20) or ()) == 2
    assert turn.known_messages(1) is None


async def test_messages_that_an_agent_changes_stay_as_they_were(manager: Manager) -> None:
    session = await manager.create("assistant")
    async with session.turn() as turn:
        await turn.append_message(say("a").with_metadata("k", {"v": 1}))
    async with session.turn() as turn:
        (seen,) = turn.known_messages(None) or await turn.get_messages()
        seen.metadata["k"]["v"] = 2
    async with session.turn() as turn:
        (seen,) = turn.known_messages(None) or ()
        assert seen.metadata == {"k": {"v": 1}}
