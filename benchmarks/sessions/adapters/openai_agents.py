"""openai-agents: SQLiteSession and RedisSession. No checkpoints; a session appears with its first item."""

from __future__ import annotations

import uuid
from typing import Any

from agents import SQLiteSession  # type: ignore[import-not-found]
from agents.extensions.memory.redis_session import RedisSession  # type: ignore[import-not-found]
from benchmarks.sessions.adapters.base import Adapter
from redis.asyncio import Redis


class _OpenAI(Adapter):
    async def seed(self, session: Any, count: int) -> None:
        await session.add_items([self.message(number) for number in range(count)])

    async def append(self, session: Any, message: Any) -> None:
        await session.add_items([message])

    async def read(self, session: Any, limit: int | None) -> list[Any]:
        items: list[Any] = await session.get_items(limit)
        return items


class OpenAISQLite(_OpenAI):
    durability = "power loss (WAL, synchronous=FULL)"
    packages = ("openai-agents",)

    async def create(self) -> Any:
        return SQLiteSession(str(uuid.uuid4()), str(self.directory / "sessions.db"))


class OpenAIRedis(_OpenAI):
    durability = "power loss but about 1 s (AOF everysec)"
    packages = ("openai-agents", "redis", "hiredis")

    async def open(self) -> None:
        self._client = Redis(port=self.redis_everysec)

    async def close(self) -> None:
        await self._client.aclose()

    async def create(self) -> Any:
        return RedisSession(str(uuid.uuid4()), redis_client=self._client, key_prefix="oa:", ttl=3600)
