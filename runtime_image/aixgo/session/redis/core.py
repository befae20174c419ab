"""What every part of the Redis backend needs: calling scripts, and what is known about sessions."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, NoReturn

from aixgo.errors import (
    CheckpointCorruptedError,
    CheckpointNotFoundError,
    SessionConflictError,
    SessionNotFoundError,
    StorageClosedError,
)
from aixgo.session import forks
from aixgo.session.leases import LocalLeases
from aixgo.session.redis import connection, records
from aixgo.session.redis.calls import Calls
from aixgo.session.redis.held import HeldSessions
from aixgo.session.redis.indexes import Indexes
from aixgo.session.redis.keys import PARTS, Keys
from aixgo.session.redis.options import RedisOptions, parse_addresses
from aixgo.session.redis.scripts import script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence

    from aixgo.session.redis.connection import Client
    from aixgo.session.types import SessionRecord

#: How many sessions' fixed properties are kept in memory.
_REMEMBERED: Final = 10_000
#: How long an append waits for somebody else's turn, in seconds.
_BUSY_TIMEOUT: Final = 60.0


class RedisCore:
    """A connected Redis and its keys."""

    def __init__(self, address: str | Sequence[str], options: RedisOptions | None = None) -> None:
        self._options = options or RedisOptions()
        self._keys = Keys(self._options.key_prefix)
        self._credentials = connection.Credentials(self._options.username, self._options.password)
        self._addresses = parse_addresses(address)
        #: The one that the connections belong to.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connect()
        self._leases = LocalLeases()
        self._held = HeldSessions()
        self._lease_ms = int(self._options.lease_seconds * 1000)
        self._fixed: OrderedDict[str, records.Fixed] = OrderedDict()
        self._closed = False
        forks.watch(self)

    def _connect(self) -> None:
        self._client: Client = connection.connect(self._addresses, self._options, self._credentials)
        self._calls = Calls(self._client, self._options)
        self._indexes = Indexes(self._calls, self._keys, is_cluster=self._options.cluster)

    def close_in_child(self) -> None:
        """Be closed in a forked process: the connections are its parent's."""
        self._closed = True

    async def load(self, session_id: str) -> SessionRecord:
        """Return a session."""
        self._check_open()

        async def work(client: Client, _: int) -> Any:
            return await client.hgetall(self._keys.part(session_id, "meta"))

        meta = await self._calls.call(work)
        if not meta:
            self._fixed.pop(session_id, None)
            raise SessionNotFoundError
        fixed = self._remember(session_id, meta)
        return records.record_of_meta(session_id, meta, fixed)

    async def scan(self, pattern: str) -> AsyncIterator[str]:
        """Yield the keys of the whole server that match a pattern, each once.

        Raises:
            StorageError: Redis does not answer.
        """
        self._check_open()

        async def work(client: Client, _: int) -> set[str]:
            return {key.decode() async for key in client.scan_iter(pattern, count=1000)}

        for key in sorted(await self._calls.call(work)):
            yield key

    async def read_together(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Run commands that change nothing, in one round trip.

        Raises:
            StorageError: Redis does not answer.
        """
        self._check_open()

        async def work(client: Client, _: int) -> list[Any]:
            return await connection.together(client, commands)

        return await self._calls.call(work) if commands else []

    async def _change(self, session_id: str, name: str, args: list[Any]) -> SessionRecord:
        """Run a script that changes a session. While somebody else's turn is running, wait."""
        fixed = self._fixed.get(session_id) or await self._fixed_of(session_id)
        keys = fixed.keys
        answer = await self._run(name, keys, args)
        if answer[0] == b"busy":
            answer = await self._change_later(session_id, name, keys, args, answer[1])
        if answer[0] != b"ok":
            self._raise_refusal(session_id, answer, args)
        if int(answer[1]) != fixed.created_at:  # deleted, and made again with the same id
            return await self.load(session_id)
        record = records.record_of(session_id, fixed, *answer[2:6])
        if self._options.cluster:
            await self._indexes.put(record, wait=False)
        return record

    async def _change_later(
        self, session_id: str, name: str, keys: Sequence[str], args: list[Any], left_ms: int
    ) -> list[Any]:
        """Run a script as soon as no turn of somebody else is running."""
        deadline = time.monotonic() + _BUSY_TIMEOUT
        for attempt in itertools.count():
            await self._wait_for_turn(session_id, attempt, left_ms)
            answer: list[Any] = await self._run(name, keys, args)
            if answer[0] != b"busy":
                return answer
            if time.monotonic() > deadline:
                break
            left_ms = answer[1]
        raise SessionConflictError("session is busy: another turn is running")

    def _raise_refusal(self, session_id: str, answer: list[Any], args: list[Any]) -> NoReturn:
        status = answer[0]
        if status == b"missing":
            self._fixed.pop(session_id, None)
            raise SessionNotFoundError
        if status == b"conflict":
            raise SessionConflictError(f"session is at version {answer[1].decode()}, not {args[2]}")
        if status == b"lost":
            raise SessionConflictError("the lease of this turn was lost")
        if status == b"unknown":
            raise CheckpointNotFoundError
        raise CheckpointCorruptedError

    async def _wait_for_turn(self, session_id: str, attempt: int, left_ms: int) -> None:
        if self._leases.is_held(session_id):  # by this process: no need to ask Redis again and again
            self._leases.release(await self._leases.acquire(session_id, _BUSY_TIMEOUT))
        else:
            await asyncio.sleep(pause(attempt, left_ms))

    def _run(self, name: str, keys: Sequence[str], args: list[Any]) -> Coroutine[Any, Any, Any]:
        self._check_open()
        return self._calls.run(script(name), keys, args)

    def _session_keys(self, session_id: str, agent_name: str, user_id: str) -> list[str]:
        keys = self._keys.session(session_id)
        if self._options.cluster:  # the indexes are in other slots
            return keys
        return keys + self._keys.indexes(agent_name, user_id)

    def _keys_of(self, session_id: str) -> Sequence[str]:
        """Return the keys of a session, without those of the indexes."""
        fixed = self._fixed.get(session_id)
        return self._keys.session(session_id) if fixed is None else fixed.keys[: len(PARTS)]

    async def _fixed_of(self, session_id: str) -> records.Fixed:
        self._check_open()
        fixed = self._fixed.get(session_id)
        if fixed is None:
            await self.load(session_id)
            fixed = self._fixed[session_id]
        return fixed

    def _remember(self, session_id: str, meta: Mapping[bytes, bytes]) -> records.Fixed:
        agent_name, user_id = meta[b"agentName"].decode(), meta.get(b"userId", b"").decode()
        known = self._fixed.get(session_id)
        fixed = records.fixed_of(meta, self._session_keys(session_id, agent_name, user_id))
        if fixed == known:  # what is kept of its messages goes with this very object
            fixed = known
        self._fixed[session_id] = fixed
        self._fixed.move_to_end(session_id)
        if len(self._fixed) > _REMEMBERED:
            self._fixed.popitem(last=False)
        return fixed

    def _check_open(self) -> None:
        if self._closed:
            raise StorageClosedError
        if asyncio.get_running_loop() is not self._loop:
            self._change_loop()

    def _change_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not None and loop is not self._loop:  # connections of a loop that is over are dead
            self._connect()
        self._loop = loop


def pause(attempt: int, left_ms: int) -> float:
    """Return how long to wait for somebody else's lease, in seconds."""
    longest = min(0.1, 0.005 * 2.0 ** min(attempt, 8))
    seconds = longest * random.uniform(0.5, 1.0)  # noqa: S311 - it only spreads the waiters
    return min(seconds, left_ms / 1000 + 0.001) if left_ms > 0 else seconds
