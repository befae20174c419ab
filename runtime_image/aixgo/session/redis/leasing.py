"""Turns across processes: a lease is a key that runs out; each write checks it in the same step."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aixgo.cancellation import see_through
from aixgo.errors import SessionConflictError, SessionNotFoundError, StorageError
from aixgo.session import message_lines
from aixgo.session.redis import records
from aixgo.session.redis.core import RedisCore, pause
from aixgo.session.types import Lease, TurnStart


class RedisLeasing(RedisCore):
    """Leases on sessions."""

    @property
    def lease_renewal(self) -> float:
        """A third of the time after which a lease runs out."""
        return self._options.lease_seconds / 3

    async def begin_turn(
        self, session_id: str, *, idempotency_key: str | None, timeout: float | None
    ) -> TurnStart:
        """Wait until nobody else may change the session: first in this process, then in all. One call when
        nobody has it.
        """
        self._check_open()
        deadline = None if timeout is None else time.monotonic() + timeout
        lease = self._leases.try_acquire(session_id) or await self._leases.acquire(session_id, timeout)
        keys = self._keys_of(session_id)
        attempt = 0
        try:
            while True:
                args = [lease.token, self._lease_ms, idempotency_key or ""]
                until = time.monotonic() + self._options.lease_seconds
                answer = await self._run("acquire", keys, args)
                if answer[0] == b"ok":
                    start = await self._started(lease, answer)
                    self._held.begin(start.record, until)
                    return start
                if answer[0] == b"missing":
                    self._fixed.pop(session_id, None)
                    raise SessionNotFoundError
                seconds = pause(attempt, answer[1])
                if deadline is not None and time.monotonic() + seconds > deadline:
                    raise SessionConflictError("session is busy: another turn is running")
                await asyncio.sleep(seconds)
                attempt += 1
        except BaseException:
            # The last call may have got the lease although nobody waits for it any more.
            await see_through(self._give_back(lease))
            raise

    async def _started(self, lease: Lease, answer: list[Any]) -> TurnStart:
        fixed = self._fixed.get(lease.session_id)
        if fixed is None or int(answer[1]) != fixed.created_at:
            record = await self.load(lease.session_id)
        else:
            record = records.record_of(lease.session_id, fixed, *answer[2:6])
        replayed = message_lines.decode_messages(answer[6]) if len(answer) > 6 else None
        return TurnStart(lease, record, replayed)

    async def renew_lease(self, lease: Lease) -> None:
        """Keep a lease."""
        keys = self._keys.session(lease.session_id)
        if not await self._run("renew", keys, [lease.token, self._lease_ms]):
            raise SessionConflictError("the lease of this turn was lost")

    async def release_lease(self, lease: Lease) -> None:
        """Give a lease back."""
        self._held.end(lease.session_id)
        try:
            await self._run("renew", self._keys.session(lease.session_id), [lease.token, 0])
        finally:
            self._leases.release(lease)

    async def _give_back(self, lease: Lease) -> None:
        try:
            await self.release_lease(lease)
        except StorageError:
            return  # it runs out by itself
