"""The history that a process keeps of sessions in Redis is always what Redis has."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis
from benchmarks.sessions.redis_counter import RedisCounter, counting_proxy
from tests.support.redis_server import RedisServer, running_redis

from aixgo import Message
from aixgo.session import Manager, RedisBackend, RedisOptions, Session


def say(text: str) -> Message:
    return Message.new("user", {"text": text}).with_metadata("tags", [text])


async def take_turn(session: Session, *texts: str) -> list[str]:
    """Return what a turn saw before it added some messages."""
    async with session.turn() as turn:
        seen = [message.metadata["tags"][0] for message in await session.get_messages(limit=10)]
        await turn.append_messages([say(text) for text in texts])
    return seen


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
async def counter(server: RedisServer) -> AsyncIterator[RedisCounter]:
    async with counting_proxy(server.port) as counter:
        yield counter


def backend(counter: RedisCounter, options: RedisOptions | None = None) -> RedisBackend:
    return RedisBackend(f"127.0.0.1:{counter.port}", options)


async def test_a_history_is_read_once(counter: RedisCounter) -> None:
    async with Manager(backend(counter)) as manager:
        session = await manager.create("assistant")
        assert await take_turn(session, "a", "b") == []
        assert await take_turn(session, "c") == ["a", "b"]
        before = counter.commands
        assert await take_turn(session, "d") == ["a", "b", "c"]
        assert counter.commands - before == 2
        assert [message.metadata["tags"] for message in await session.get_messages()] == [*map(list, "abcd")]


async def test_what_another_process_wrote_is_seen(counter: RedisCounter) -> None:
    async with Manager(backend(counter)) as one, Manager(backend(counter)) as other:
        session = await one.create("assistant")
        await take_turn(session, "a")
        assert await take_turn(session, "b") == ["a"]
        elsewhere = await other.get(session.id)
        assert await take_turn(elsewhere, "c") == ["a", "b"]
        assert await take_turn(session, "d") == ["a", "b", "c"]
        assert await take_turn(elsewhere) == ["a", "b", "c", "d"]


async def test_a_session_that_was_made_anew_or_restored(counter: RedisCounter) -> None:
    session_id = str(uuid.uuid4())
    async with Manager(backend(counter)) as one, Manager(backend(counter)) as other:
        session = await one.create("assistant", session_id=session_id)
        await take_turn(session, "a")
        checkpoint = await session.checkpoint()
        assert await take_turn(session, "b") == ["a"]
        await (await other.get(session_id)).restore(checkpoint.id)
        assert await take_turn(session, "c") == ["a"]
        async with session.turn():
            assert len(await session.get_messages()) == 2
            await session.restore(checkpoint.id)
            assert len(await session.get_messages()) == 1
        await other.delete(session_id)
        again = await other.create("assistant", session_id=session_id)
        await take_turn(again, "x", "y")
        assert await take_turn(session) == ["x", "y"]


async def test_a_turn_that_fails_leaves_nothing(counter: RedisCounter) -> None:
    async with Manager(backend(counter)) as manager:
        session = await manager.create("assistant")
        await take_turn(session, "a")

        async def fail() -> None:
            async with session.turn() as turn:
                (await session.get_messages())[0].metadata["tags"].append("changed")
                await turn.append_message(say("b"))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert await take_turn(session) == ["a"]
        assert [message.metadata for message in await session.get_messages()] == [{"tags": ["a"]}]


async def test_what_a_failover_lost_is_not_seen(counter: RedisCounter, server: RedisServer) -> None:
    """The new master has other messages at the same version."""
    async with Manager(backend(counter)) as manager, Manager(backend(counter)) as other:
        session = await manager.create("assistant")
        await take_turn(session, "a")
        with redis.Redis(port=server.port) as client:
            old = {key: client.dump(key) for key in client.keys()}  # noqa: SIM118 - of the server
            await take_turn(session, "lost")
            assert await take_turn(session) == ["a", "lost"]
            client.flushall()
            for key, value in old.items():
                client.restore(key, 0, value)
        await take_turn(await other.get(session.id), "kept")
        assert await take_turn(session) == ["a", "kept"]


async def test_a_lease_that_may_have_run_out_is_not_trusted(counter: RedisCounter) -> None:
    options = RedisOptions(lease_seconds=0.3)
    async with Manager(backend(counter, options)) as manager, Manager(backend(counter)) as other:
        session = await manager.create("assistant")
        await take_turn(session, "a")
        start = await manager.backend.begin_turn(session.id, idempotency_key=None, timeout=1)
        assert len(await session.get_messages()) == 1
        # Nobody renews it.
        await take_turn(await other.get(session.id), "b")
        assert len(await session.get_messages()) == 2
        await manager.backend.release_lease(start.lease)
