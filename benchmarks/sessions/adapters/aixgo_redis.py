"""Our sessions in Redis."""

from __future__ import annotations

import asyncio
import time

from benchmarks.sessions.adapters.aixgo_file import AixgoAdapter
from benchmarks.sessions.redis_counter import counting_proxy

from aixgo import Message
from aixgo.session import Manager, RedisBackend, RedisOptions, SessionConflictError

_APPENDS = 100
_RACES = 300


class AixgoRedis(AixgoAdapter):
    durability = "power loss but about 1 s (AOF everysec)"
    packages = ("aixgo", "redis", "hiredis")

    @property
    def port(self) -> int:
        return self.redis_everysec

    def backend(self, port: int) -> RedisBackend:
        return RedisBackend(f"127.0.0.1:{port}", RedisOptions(ttl=3600))

    async def open(self) -> None:
        self.manager = Manager(self.backend(self.port))
        self.extra = {"round-trips": self._round_trips, "race": self._race}

    async def _round_trips(self) -> dict[str, float]:
        """Count what goes over the wire for appends."""
        async with counting_proxy(self.port) as proxy, Manager(self.backend(proxy.port)) as manager:
            session = await manager.create("assistant", user_id="user-1")
            await session.append_message(self.message(0))
            commands, sent, received = proxy.commands, proxy.bytes_sent, proxy.bytes_received
            for number in range(_APPENDS):
                await session.append_message(self.message(number))
            return {
                "round_trips": (proxy.commands - commands) / _APPENDS,
                "bytes_sent": (proxy.bytes_sent - sent) / _APPENDS,
                "bytes_received": (proxy.bytes_received - received) / _APPENDS,
            }

    async def _race(self) -> dict[str, float]:
        """Two replicas append to one session, each at the version that it knows."""
        session = await self.create()

        async def replica(name: str) -> tuple[int, int]:
            won = lost = 0
            async with Manager(self.backend(self.port)) as manager:
                mine = await manager.get(session.id)
                for _ in range(_RACES):
                    try:
                        await mine.append_message(Message.new(name, {}), expected_version=mine.version)
                        won += 1
                    except SessionConflictError:
                        lost += 1
                        await mine.refresh()
            return won, lost

        begin = time.perf_counter()
        results = await asyncio.gather(replica("a"), replica("b"))
        seconds = time.perf_counter() - begin
        acks = sum(won for won, _ in results)
        return {
            "acks": acks,
            "conflicts": sum(lost for _, lost in results),
            "entries": len(await session.get_messages()),
            "ops": acks / seconds,
        }


class AixgoRedisAlways(AixgoRedis):
    durability = "power loss (AOF always)"

    @property
    def port(self) -> int:
        return self.redis_always
