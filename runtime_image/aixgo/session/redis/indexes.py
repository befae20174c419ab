"""Which sessions there are: per agent, and per user of an agent, newest update first.

On a server that is no cluster the scripts keep the indexes together with the session. On a cluster they
are in other
slots: they are brought up to date in calls of their own, and whoever reads them puts right what is behind.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from aixgo.errors import StorageError
from aixgo.session.redis import records
from aixgo.session.redis.connection import together
from aixgo.session.redis.scripts import script

if TYPE_CHECKING:
    from aixgo.session.redis.calls import Calls
    from aixgo.session.redis.connection import Client
    from aixgo.session.redis.keys import Keys
    from aixgo.session.types import NewSession, SessionRecord

#: How many sessions are read in one round trip.
_CHUNK: Final = 100
#: On a cluster: how long after its claim a session may not be there yet.
_CLAIM_SECONDS: Final = 60


class Indexes:
    """The indexes below one prefix."""

    def __init__(self, calls: Calls, keys: Keys, *, is_cluster: bool) -> None:
        self._calls = calls
        self._keys = keys
        self._is_cluster = is_cluster
        self._updates: set[asyncio.Task[None]] = set()
        #: The newest record of each session whose update is on its way.
        self._newest: dict[str, SessionRecord] = {}

    async def list_sessions(
        self, agent_name: str, user_id: str | None, limit: int, offset: int
    ) -> list[SessionRecord]:
        """Return sessions, newest update first. Expired ones are taken out of the indexes."""
        key = self._keys.agent(agent_name) if user_id is None else self._keys.user(agent_name, user_id)
        # On a cluster the order of the index may be behind; then all are read.
        wanted = offset + limit if limit and not self._is_cluster else None
        last = -1 if wanted is None else wanted + _CHUNK - 1
        while True:
            ids = await self._members(key, last)
            found, gone = await self._read(ids, user_id, wanted)
            if gone:
                await self._forget(key, gone)
            if last < 0 or len(ids) <= last or len(found) >= offset + limit:
                break
            last = -1  # more of these had expired than were read besides
        found.sort(key=lambda record: record.id)
        found.sort(key=lambda record: record.updated_at, reverse=True)
        return found[offset : offset + limit if limit else None]

    async def _read(
        self, ids: list[str], user_id: str | None, wanted: int | None
    ) -> tuple[list[SessionRecord], list[str]]:
        """Return the sessions that are there, at least ``wanted`` unless there are fewer, and who is gone."""
        found: list[SessionRecord] = []
        gone: list[str] = []
        for place in range(0, len(ids), _CHUNK):
            if wanted is not None and len(found) >= wanted:
                break
            chunk = ids[place : place + _CHUNK]
            metas = await self._of_each(chunk, "meta", "HGETALL")
            for session_id, meta in zip(chunk, metas, strict=True):
                if not meta:
                    gone.append(session_id)
                elif user_id is None or meta.get(b"userId", b"").decode() == user_id:
                    found.append(records.record_of_meta(session_id, meta))
        return found, gone

    async def agents(self) -> list[str]:
        """Return the agents that have sessions, sorted."""
        names = await self._set_members(self._keys.agents())
        agents: list[str] = []
        for name in sorted(names):
            if await self.list_sessions(name, None, 1, 0):
                agents.append(name)
            else:
                await self._unlist(name)
        return agents

    async def _unlist(self, agent_name: str) -> None:
        keys = [self._keys.agents(), self._keys.agent(agent_name)]
        if self._is_cluster:  # a session that is made meanwhile puts its agent back when it is changed
            await self._change(keys[0], agent_name, "", 0, "set")
        else:
            await self._calls.run(script("unlist", alone=True), keys, [agent_name])

    async def has_checkpoint(self, checkpoint_id: str) -> bool:
        """Say whether some session has a checkpoint. Only asked to explain an error."""
        for agent_name in await self.agents():
            ids = await self._members(self._keys.agent(agent_name))
            for place in range(0, len(ids), _CHUNK):
                chunk = ids[place : place + _CHUNK]
                if any(await self._of_each(chunk, "checkpoints", "HEXISTS", checkpoint_id)):
                    return True
        return False

    async def claim(self, session: NewSession) -> str:
        """Return the id of the session that all racing callers for its user are to use. Only on a cluster."""
        score = -records.micros(datetime.now(UTC))
        key = self._keys.user(session.agent_name, session.user_id)
        answer: bytes = await self._calls.run(script("claim", alone=True), [key], [session.id, score])
        return answer.decode()

    async def put(self, record: SessionRecord, *, wait: bool) -> None:
        """Put a session in its place. Does nothing where the scripts do it."""
        if not self._is_cluster:
            return
        if wait:
            await self._put(record)
            return
        is_on_its_way = record.id in self._newest
        self._newest[record.id] = record
        if not is_on_its_way:
            update = asyncio.create_task(self._update(record.id))
            self._updates.add(update)
            update.add_done_callback(self._updates.discard)

    async def _update(self, session_id: str) -> None:
        """Put a session in its place, again if it changed meanwhile: however many changes, one at a time."""
        try:
            put = None
            while (record := self._newest[session_id]) is not put:
                await self._put(record)
                put = record
        finally:
            del self._newest[session_id]

    async def heal(self, record: SessionRecord) -> None:
        """Put a session in its place that is missing there, whatever the server is."""
        await self._put(record)

    async def _put(self, record: SessionRecord) -> None:
        ttl_ms = int(record.ttl_seconds * 1000)
        score = -records.micros(record.updated_at)
        agent, user, agents = self._keys.indexes(record.agent_name, record.user_id)
        with contextlib.suppress(StorageError):  # whoever reads the index puts it right
            await self._change(agent, record.id, score, ttl_ms, "zset")
            await self._change(user, record.id, score, ttl_ms, "zset")
            await self._change(agents, record.agent_name, 0, ttl_ms, "set")

    async def remove(self, session_id: str, agent_name: str, user_id: str) -> None:
        """Take a session out. Does nothing where the scripts do it."""
        if not self._is_cluster:
            return
        agent, user, _ = self._keys.indexes(agent_name, user_id)
        for key in (agent, user):
            await self._change(key, session_id, "", 0, "zset")

    async def close(self) -> None:
        """Wait for updates that are on their way."""
        if self._updates:
            await asyncio.wait(self._updates)

    async def _change(self, key: str, member: str, score: int | str, ttl_ms: int, kind: str) -> None:
        await self._calls.run(script("index", alone=True), [key], [member, score, ttl_ms, kind])

    async def _of_each(self, ids: list[str], part: str, command: str, *args: str) -> list[Any]:
        """Run a command on one key of each session, in one round trip."""

        async def work(client: Client, _: int) -> list[Any]:
            commands = [(command, self._keys.part(session_id, part), *args) for session_id in ids]
            return await together(client, commands)

        return await self._calls.call(work)

    async def _members(self, key: str, last: int = -1) -> list[str]:
        """Return who is in an index, up to a place; -1: all."""

        async def work(client: Client, _: int) -> list[str]:
            members: Any = await client.zrange(key, 0, last)
            return [member.decode() for member in members]

        return await self._calls.call(work)

    async def _set_members(self, key: str) -> list[str]:
        async def work(client: Client, _: int) -> list[str]:
            members: Any = await client.smembers(key)
            return [member.decode() for member in members]

        return await self._calls.call(work)

    async def _forget(self, key: str, ids: list[str]) -> None:
        # On a cluster a session may be in the index shortly before it is made, see claim.lua.
        newest = records.micros(datetime.now(UTC)) - _CLAIM_SECONDS * 1_000_000

        async def work(client: Client, _: int) -> None:
            if not self._is_cluster:
                await client.zrem(key, *ids)
                return
            scores: Any = await client.zmscore(key, ids)
            old = [
                each
                for each, score in zip(ids, scores, strict=True)
                if score is not None and -score <= newest
            ]
            if old:
                await client.zrem(key, *old)

        await self._calls.call(work)
