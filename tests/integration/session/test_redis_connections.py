"""Redis connections that are lost: nothing is stored twice, and no restart is needed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis
from tests.support.conversations import message, texts
from tests.support.redis_server import RedisServer, running_redis

from aixgo.session import (
    Manager,
    RedisBackend,
    RedisOptions,
    StorageClosedError,
    StorageError,
)

# -- lost connections ------------------------------------------------------------------------------------


class Proxy:
    """Passes bytes on, and cuts connections instead of passing the next answers on."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.cuts = 0
        self.address = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            while data := await reader.read(1 << 16):
                to_writer.write(data)
                answer = await to_reader.read(1 << 16)
                if self.cuts and b"EVAL" in data:
                    self.cuts -= 1
                    return
                writer.write(answer)
                await writer.drain()
        finally:
            writer.close()
            to_writer.close()


async def test_a_lost_answer_does_not_append_twice(plain_redis: RedisServer, prefix: str) -> None:
    async with Proxy(plain_redis.port).running() as proxy:
        options = RedisOptions(key_prefix=prefix, retry_timeout=1.5)
        async with Manager(RedisBackend(proxy.address, options)) as manager:
            session = await manager.create("assistant", user_id="ada")
            for number in range(10):
                proxy.cuts = number % 4
                await session.append_message(message(number))
            assert await texts(session) == list(range(10))
            assert session.version == 10
            proxy.cuts = 1
            async with session.turn(idempotency_key="k") as turn:
                proxy.cuts = 2
                await turn.append_messages([message("q"), message("a")])
            proxy.cuts = 1
            checkpoint = await session.checkpoint()
            assert len(await session.list_checkpoints()) == 1
            proxy.cuts = 1
            await session.restore(checkpoint.id)
            assert session.version == 13
            proxy.cuts = 2
            made = await manager.create("assistant", user_id="bob")
            assert len(await manager.list("assistant", user_id="bob")) == 1
            proxy.cuts = 1
            await manager.delete(made.id)
            proxy.cuts = 10_000
            with pytest.raises(StorageError, match="redis is not reachable"):
                await session.append_message(message("lost"))
            proxy.cuts = 0
            await session.append_message(message("back"))


async def test_a_stopped_server_does_not_append_twice(tmp_path: Path, prefix: str) -> None:
    with running_redis(tmp_path) as server:
        options = RedisOptions(key_prefix=prefix, read_timeout=0.1, retry_timeout=30)
        async with Manager(RedisBackend(server.address, options)) as manager:
            session = await manager.create("assistant")
            server.pause()
            try:
                appends = [asyncio.create_task(session.append_message(message(n))) for n in range(3)]
                await asyncio.sleep(0.5)  # several attempts of each are waiting in the server's sockets
                assert not any(append.done() for append in appends)
            finally:
                server.go_on()
            await asyncio.gather(*appends)
            assert sorted(map(str, await texts(session))) == ["0", "1", "2"]
            assert session.version == 3


async def test_what_is_on_its_way_when_the_manager_is_closed_says_so_at_once(
    tmp_path: Path, prefix: str
) -> None:
    with running_redis(tmp_path) as server:
        options = RedisOptions(key_prefix=prefix, read_timeout=60, retry_timeout=60)
        manager = Manager(RedisBackend(server.address, options))
        session = await manager.create("assistant")
        server.pause()
        try:
            on_their_way = [
                asyncio.create_task(each)
                for each in (session.append_message(message("a")), session.get_messages(), session.refresh())
            ]
            await asyncio.sleep(0)
            async with asyncio.timeout(20):
                await manager.close()
                ends = await asyncio.gather(*on_their_way, return_exceptions=True)
            assert [type(end) for end in ends] == [StorageClosedError] * 3
        finally:
            server.go_on()


async def test_a_restarted_server_is_used_again(tmp_path: Path, prefix: str) -> None:
    with running_redis(tmp_path, config=("appendonly yes", "appendfsync always")) as server:
        options = RedisOptions(key_prefix=prefix, retry_timeout=0.3)
        async with Manager(RedisBackend(server.address, options)) as manager:
            session = await manager.create("assistant", user_id="ada")
            await session.append_message(message("a"))
            server.kill()
            with pytest.raises(StorageError, match="redis is not reachable"):
                await session.append_message(message("lost"))
            with pytest.raises(StorageError, match="redis is not reachable"):
                await manager.backend.ping()
            server.start()
            await session.append_message(message("b"))
            assert await texts(session) == ["a", "b"]
            assert (await manager.get_or_create("assistant", "ada")).id == session.id


async def test_a_full_server_fails_the_append_only(tmp_path: Path, prefix: str) -> None:
    with running_redis(tmp_path) as server, redis.Redis(port=server.port) as client:
        async with Manager(RedisBackend(server.address, RedisOptions(key_prefix=prefix))) as manager:
            session = await manager.create("assistant")
            await session.append_message(message("a"))
            client.config_set("maxmemory", 1)
            with pytest.raises(StorageError, match="out of memory"):
                await session.append_message(message("b"))
            assert await texts(session) == ["a"]
            client.config_set("maxmemory", 0)
            await session.append_message(message("c"))
            assert await texts(session) == ["a", "c"]
