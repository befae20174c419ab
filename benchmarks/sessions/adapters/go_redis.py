"""The Redis algorithm of Aixgo (Go) v0.3.3, command by command: three round trips per append."""

from __future__ import annotations

from typing import Any

import orjson
from benchmarks.sessions.adapters.base import Adapter
from benchmarks.sessions.adapters.go_file import (
    GoSession,
    go_message,
    new_checkpoint,
    new_entry,
    new_meta,
    note,
)
from redis.asyncio import Redis

_P = "aixgo:session:"
_TTL = 3600


class GoRedis(Adapter):
    durability = "power loss but about 1 s (AOF everysec)"
    packages = ("redis", "hiredis", "orjson")

    async def open(self) -> None:
        self._redis = Redis(port=self.redis_everysec)

    async def close(self) -> None:
        await self._redis.aclose()

    def message(self, number: int) -> Any:
        return go_message(number)

    async def _save(self, meta: dict[str, Any]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.set(f"{_P}meta:{meta['id']}", orjson.dumps(meta), ex=_TTL)
        pipeline.sadd(f"{_P}agent:{meta['agentName']}", meta["id"])
        pipeline.sadd(f"{_P}user:{meta['userId']}", meta["id"])
        await pipeline.execute()

    async def create(self) -> GoSession:
        session = GoSession(new_meta())
        await self._save(session.meta)
        return session

    async def append(self, session: GoSession, message: Any) -> None:
        entry = new_entry(session, message)
        key = f"{_P}entries:{session.meta['id']}"
        await self._redis.rpush(key, orjson.dumps(entry))
        await self._redis.expire(key, _TTL)
        note(session, entry)
        await self._save(session.meta)

    async def read(self, session: GoSession, limit: int | None) -> list[Any]:
        lines: list[Any] = await self._redis.lrange(f"{_P}entries:{session.meta['id']}", 0, -1)
        entries = [orjson.loads(line) for line in lines]
        return entries if limit is None else entries[-limit:]

    async def checkpoint(self, session: GoSession) -> str:
        checkpoint = new_checkpoint(session)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.set(f"{_P}checkpoint:{checkpoint['id']}", orjson.dumps(checkpoint), ex=_TTL)
        pipeline.sadd(f"{_P}session-checkpoints:{session.meta['id']}", checkpoint["id"])
        await pipeline.execute()
        checkpoint_id: str = checkpoint["id"]
        return checkpoint_id

    async def restore(self, session: GoSession, checkpoint: str) -> None:
        """Go does not store it: that happens at the next append."""
        stored: Any = await self._redis.get(f"{_P}checkpoint:{checkpoint}")
        found = orjson.loads(stored)
        ids = [entry["id"] for entry in await self.read(session, None)]
        session.entry_ids = ids[: ids.index(found["entryId"]) + 1]
