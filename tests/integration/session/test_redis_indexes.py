"""Which sessions there are: pages cost what they show, and expired sessions are in nobody's way."""

# ruff: noqa: ASYNC110 - the server is looked at from the side

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.sessions.redis_counter import counting_proxy
from tests.support.redis_server import RedisServer

from aixgo.session import Manager, RedisBackend, RedisOptions


async def fill(manager: Manager, count: int) -> list[str]:
    """Make sessions of one user, and return their ids, newest first."""
    ids = []
    for first in range(0, count, 100):
        made = (manager.create("assistant", user_id="ada") for _ in range(min(100, count - first)))
        ids += [session.id for session in await asyncio.gather(*made)]
    return ids[::-1]


async def test_a_page_costs_the_same_however_many_sessions_there_are(
    plain_redis: RedisServer, prefix: str, client: Any
) -> None:
    async with (
        counting_proxy(plain_redis.port) as proxy,
        Manager(RedisBackend(f"127.0.0.1:{proxy.port}", RedisOptions(key_prefix=prefix))) as manager,
    ):

        async def cost() -> int:
            before = proxy.bytes_received
            assert len(await manager.list("assistant", limit=10)) == 10
            assert await manager.backend.list_agents() == ["assistant"]
            await manager.get_or_create("assistant", "ada")
            return proxy.bytes_received - before

        await fill(manager, 150)
        few = await cost()
        await fill(manager, 1500)
        assert await cost() < few * 1.2
        size = client.zcard(f"{prefix}agent:assistant")
        assert size == 1650


async def test_sessions_behind_many_expired_ones_are_found(
    plain_redis: RedisServer, prefix: str, client: Any
) -> None:
    async with Manager(RedisBackend(plain_redis.address, RedisOptions(key_prefix=prefix))) as manager:
        old = await fill(manager, 20)
        for session_id in await fill(manager, 250):
            client.delete(f"{prefix}{{{session_id}}}:meta")  # as if it had expired
        found = await manager.list("assistant", limit=7, offset=5)
        assert [session.id for session in found] == old[5:12]
        assert client.zcard(f"{prefix}agent:assistant") == len(old)
        assert (await manager.get_or_create("assistant", "ada")).id == old[0]
        assert client.zcard(f"{prefix}user:assistant/ada") == len(old)


async def test_the_shortest_time_to_live_is_one(plain_redis: RedisServer, prefix: str, client: Any) -> None:
    async with Manager(RedisBackend(plain_redis.address, RedisOptions(key_prefix=prefix))) as manager:
        await manager.create("assistant", ttl_seconds=0.0004)
        async with asyncio.timeout(10):
            while list(client.scan_iter(f"{prefix}*")):
                await asyncio.sleep(0.01)
