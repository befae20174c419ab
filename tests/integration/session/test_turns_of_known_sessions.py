"""A process takes turns in sessions that it knows without asking for them; what others did still counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.redis_server import running_redis

from aixgo import Message, agent
from aixgo.contract import SessionConfig
from aixgo.errors import SessionNotFoundError
from aixgo.runtime.turns import TurnRequest, TurnRunner
from aixgo.session import Manager, RedisBackend


@agent("assistant")
async def assistant(message: Message) -> str:
    """Answer."""
    return message.payload


@asynccontextmanager
async def two_processes(directory: Path) -> AsyncIterator[tuple[Manager, Manager]]:
    with running_redis(directory / "redis") as server:
        async with (
            Manager(RedisBackend(server.address)) as mine,
            Manager(RedisBackend(server.address)) as theirs,
        ):
            yield mine, theirs


async def take_turn(manager: Manager, session_id: str, user_id: str, key: str = "") -> int:
    request = TurnRequest("assistant", Message.new("user", {}), session_id, user_id, key)
    return (await TurnRunner(manager).run(assistant, request, SessionConfig())).session_version


async def test_turns_of_another_process_are_seen(tmp_path: Path) -> None:
    async with two_processes(tmp_path) as (mine, theirs):
        session = await mine.create("assistant", user_id="a")
        assert await take_turn(mine, session.id, "a") == 2
        assert await take_turn(theirs, session.id, "a") == 4
        assert await take_turn(mine, session.id, "a") == 6
        versions = await asyncio.gather(
            *(take_turn(manager, session.id, "a") for manager in (mine, theirs) for _ in range(10))
        )
        assert sorted(versions) == list(range(8, 48, 2))


async def test_a_key_that_another_process_committed_is_replayed(tmp_path: Path) -> None:
    async with two_processes(tmp_path) as (mine, theirs):
        session = await mine.create("assistant", user_id="a")
        assert await take_turn(mine, session.id, "a") == 2
        assert await take_turn(theirs, session.id, "a", "key") == 4
        assert await take_turn(mine, session.id, "a", "key") == 4
        assert len(await session.get_messages()) == 4


async def test_a_session_that_another_process_deleted_is_not_found(tmp_path: Path) -> None:
    async with two_processes(tmp_path) as (mine, theirs):
        session = await mine.create("assistant", user_id="a")
        await take_turn(mine, session.id, "a")
        await theirs.delete(session.id)
        with pytest.raises(SessionNotFoundError):
            await take_turn(mine, session.id, "a")


async def test_a_session_that_was_made_anew_belongs_to_its_new_owner(tmp_path: Path) -> None:
    async with two_processes(tmp_path) as (mine, theirs):
        session = await mine.create("assistant", user_id="a")
        await take_turn(mine, session.id, "a")
        await theirs.delete(session.id)
        await theirs.create("assistant", user_id="b", session_id=session.id)
        with pytest.raises(SessionNotFoundError):
            await take_turn(mine, session.id, "a")
        assert await take_turn(mine, session.id, "b") == 2
        assert [message.type for message in await (await theirs.get(session.id)).get_messages()] == [
            "user",
            "assistant",
        ]
