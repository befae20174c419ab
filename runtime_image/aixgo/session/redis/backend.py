"""Sessions in Redis (Go: RedisBackend)."""

from __future__ import annotations

import dataclasses
import math
import uuid
from typing import TYPE_CHECKING, Any, Final

import orjson

from aixgo.errors import SessionConflictError, SessionNotFoundError, StorageError
from aixgo.session.redis import connection, records, transfer
from aixgo.session.redis.options import RedisOptions, parse_url
from aixgo.session.redis.scripts import script
from aixgo.session.redis.verify import RedisVerification

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aixgo.session.redis.connection import Client
    from aixgo.session.types import NewSession, SessionRecord

#: Bytes that an import sends at once.
_IMPORT_BATCH: Final = 1 << 20


class RedisBackend(RedisVerification):
    """Sessions in a Redis, for any number of processes at once. Redis 6.2 or newer; a Lua script per change.

    Args:
        address: ``host:port``; several for Sentinel and Cluster, in a list or separated by commas.
        options: Everything else.

    Raises:
        ValueError: the address is missing or is none.
    """

    @classmethod
    def from_url(cls, url: str, **options: Any) -> RedisBackend:
        """Return the backend of ``redis://[user[:password]@]host[:port][/db]``, or ``rediss://`` with TLS.

        Args:
            url: The URL.
            options: Fields of :class:`RedisOptions`; they win over the URL.

        Raises:
            ValueError: it is no such URL.
        """
        address, from_url = parse_url(url)
        return cls(address, RedisOptions(**{**from_url, **options}))

    async def update_credentials(self, username: str | None, password: str | None) -> None:
        """Use another user or password from now on. Calls in flight are not touched."""
        self._credentials.set(username, password)
        await connection.reauthenticate(self._client)

    async def ping(self) -> None:
        """Make sure that Redis answers."""
        self._check_open()

        async def work(client: Client, _: int) -> Any:
            return await client.ping()

        await self._calls.call(work)

    async def close(self) -> None:
        """Close all connections."""
        if not self._closed:
            self._closed = True
            self._change_loop()
            await self._indexes.close()
            self._calls.close()
            await connection.disconnect(self._client)

    async def create(self, session: NewSession) -> SessionRecord:
        """Make a session."""
        record = await self._create(session, "create")
        if record is None:
            raise SessionConflictError("session already exists")
        return record

    async def get_or_create(self, session: NewSession) -> SessionRecord:
        """Return the newest session of the agent and the user, or make one."""
        if self._options.cluster:
            return await self._get_or_create_on_cluster(session)
        for _ in range(16):  # a session that was found may be deleted before it is loaded
            record = await self._create(session, "get_or_create")
            if record is not None:
                return record
        raise SessionConflictError("sessions of this user are deleted as fast as they are found")

    async def _create(self, session: NewSession, mode: str) -> SessionRecord | None:
        ttl = self._options.ttl if session.ttl_seconds is None else session.ttl_seconds
        ttl_ms = math.ceil((ttl or 0) * 1000)  # what is not 0 does not become it: 0 is for ever
        metadata = orjson.dumps(dict(session.metadata))
        answer = await self._run(
            "create",
            self._session_keys(session.id, session.agent_name, session.user_id),
            [
                session.id,
                session.agent_name,
                session.user_id,
                metadata,
                ttl_ms,
                uuid.uuid4().hex,
                self._keys.prefix,
                mode,
            ],
        )
        if answer[0] == b"found":
            try:
                return await self.load(answer[1].decode())
            except SessionNotFoundError:
                return None
        if answer[0] == b"exists":
            return None
        meta = {
            b"agentName": session.agent_name.encode(),
            b"userId": session.user_id.encode(),
            b"metadata": metadata,
            b"createdAt": answer[1],
            b"ttl": str(ttl_ms).encode(),
        }
        fixed = self._remember(session.id, meta)
        record = records.record_of(session.id, fixed, *answer[2:6])
        await self._indexes.put(record, wait=True)
        return record

    async def _get_or_create_on_cluster(self, session: NewSession) -> SessionRecord:
        # The index of the user decides which session all racing callers make; making it twice makes it once.
        for _ in range(16):
            found = await self.list_sessions(session.agent_name, user_id=session.user_id, limit=1, offset=0)
            if found:
                return found[0]
            session_id = await self._indexes.claim(session)
            try:
                return await self.load(session_id)
            except SessionNotFoundError:
                claimed = dataclasses.replace(session, id=session_id)
                record = await self._create(claimed, "create")
                if record is not None:
                    return record
        raise SessionConflictError("sessions of this user are deleted as fast as they are found")

    async def list_sessions(
        self, agent_name: str, *, user_id: str | None, limit: int, offset: int
    ) -> list[SessionRecord]:
        """Return the sessions of an agent, newest update first."""
        self._check_open()
        return await self._indexes.list_sessions(agent_name, user_id, limit, offset)

    async def list_agents(self) -> list[str]:
        """Return the names of all agents that have sessions."""
        self._check_open()
        return await self._indexes.agents()

    async def delete(self, session_id: str) -> None:
        """Remove a session: every key, and its places in the indexes."""
        self._held.end(session_id)
        fixed = await self._fixed_of(session_id)
        keys = fixed.keys
        tries = 0

        async def work(client: Client, attempt: int) -> Any:
            nonlocal tries
            tries = attempt
            return await self._calls.once(client, script("delete"), keys, [session_id, fixed.agent_name])

        deleted = await self._calls.call(work)
        self._fixed.pop(session_id, None)
        if not deleted and not tries:  # an answer that was lost may have been ours
            raise SessionNotFoundError
        await self._indexes.remove(session_id, fixed.agent_name, fixed.user_id)

    async def export(self, session_id: str) -> list[bytes]:
        """Return the session's complete log."""
        return (await self._snapshot(session_id)).lines(session_id)

    async def import_log(self, agent_name: str, session_id: str, lines: list[bytes]) -> SessionRecord:
        """Make a session out of a complete log."""
        new = transfer.from_lines(agent_name, session_id, lines)
        try:
            await self.load(session_id)
        except SessionNotFoundError:
            pass
        else:
            raise SessionConflictError("session already exists")
        nonce = uuid.uuid4().hex
        keys = self._session_keys(session_id, agent_name, new.user_id)
        fields = [part for pair in new.meta.items() for part in pair]
        parts = (new.entries, new.checkpoints, new.turns, new.events)
        args = [session_id, agent_name, new.created_at, new.updated_at, new.ttl_ms, nonce]
        args += [*map(len, parts), *fields]
        for _ in range(4):  # a part that was sent twice, because its answer was lost, may have come twice
            await self._calls.call(lambda client, _: self._send(client, session_id, new))
            done = await self._run("import", keys, args)
            if not done:
                raise SessionConflictError("session already exists")
            if done > 0:
                break
        else:
            raise StorageError("the session could not be written in one piece")
        record = await self.load(session_id)
        await self._indexes.put(record, wait=True)
        return record

    async def _send(self, client: Client, session_id: str, new: transfer.Import) -> None:
        """Write everything but ``meta``: without it there is no session.

        If this breaks off, it goes by itself.
        """
        _, entries, checkpoints, turns, _, events, _ = keys = self._keys.session(session_id)
        await client.delete(*keys)
        hour_ms = 3_600_000
        for key, values in ((entries, new.entries), (events, new.events)):
            for batch in _batches(values):
                await client.rpush(key, *batch)
            await client.pexpire(key, hour_ms)
        if new.checkpoints:
            await client.hset(checkpoints, mapping=dict[Any, Any](new.checkpoints))
            await client.pexpire(checkpoints, hour_ms)
        if new.turns:
            await client.hset(turns, mapping=dict[Any, Any](new.turns))
            await client.pexpire(turns, hour_ms)


def _batches(values: list[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for value in values:
        batch.append(value)
        size += len(value)
        if size >= _IMPORT_BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
