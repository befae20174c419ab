"""Turns across processes: a lease is a key that runs out; each write checks it in the same step."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from aixgo.errors import SessionConflictError, SessionNotFoundError, StorageError
from aixgo.session.redis.core import RedisCore, pause

if TYPE_CHECKING:
    from aixgo.session.types import Lease


class RedisLeasing(RedisCore):
    """Leases on sessions."""

    @property
    def lease_renewal(self) -> float:
        """A third of the time after which a lease runs out."""
        return self._options.lease_seconds / 3

    async def acquire_lease(self, session_id: str, timeout: float | None) -> Lease:
        """Wait until nobody else may change the session: first in this process, then in all."""
        self._check_open()
        deadline = None if timeout is None else time.monotonic() + timeout
        lease = await self._leases.acquire(session_id, timeout)
        keys = self._keys.session(session_id)
        attempt = 0
        try:
            while True:
                status, *rest = await self._run("acquire", keys, [lease.token, self._lease_ms])
                if status == b"ok":
                    return lease
                if status == b"missing":
                    raise SessionNotFoundError
                seconds = pause(attempt, rest[0])
                if deadline is not None and time.monotonic() + seconds > deadline:
                    raise SessionConflictError("session is busy: another turn is running")
                await asyncio.sleep(seconds)
                attempt += 1
        except BaseException:
            # The last call may have got the lease although nobody waits for it any more.
            await asyncio.shield(self._give_back(lease))
            raise

    async def renew_lease(self, lease: Lease) -> None:
        """Keep a lease."""
        keys = self._keys.session(lease.session_id)
        if not await self._run("renew", keys, [lease.token, self._lease_ms]):
            raise SessionConflictError("the lease of this turn was lost")

    async def release_lease(self, lease: Lease) -> None:
        """Give a lease back."""
        try:
            await self._run("renew", self._keys.session(lease.session_id), [lease.token, 0])
        finally:
            self._leases.release(lease)

    async def _give_back(self, lease: Lease) -> None:
        try:
            await self.release_lease(lease)
        except StorageError:
            return  # it runs out by itself
