"""Leases inside one process: one holder per session, the others wait in line."""

from __future__ import annotations

import asyncio
import itertools
import secrets

from aixgo.errors import SessionConflictError
from aixgo.session.keyed_locks import KeyedLocks
from aixgo.session.types import Lease


class LocalLeases:
    """First come, first served. Uses no memory for sessions that nobody holds or waits for."""

    def __init__(self) -> None:
        self._locks = KeyedLocks()
        #: Take the session for one change, without a token, if nobody holds it; and end that, as what
        #: :meth:`hold` began. The lock's own, not a call around it: every change needs both.
        self.try_hold = self._locks.try_acquire
        self.let_go = self._locks.release
        self._tokens: dict[str, str] = {}
        # A shared store fences with these tokens: those of two processes must never be the same.
        self._origin = secrets.token_hex(16)
        self._numbers = itertools.count(1)

    def try_acquire(self, session_id: str) -> Lease | None:
        """Take the session if nobody holds it."""
        return self._granted(session_id) if self._locks.try_acquire(session_id) else None

    async def acquire(self, session_id: str, timeout: float | None = None) -> Lease:
        """Wait for the session.

        Raises:
            SessionConflictError: somebody else held it for all of ``timeout`` seconds.
        """
        acquired = False
        try:
            async with asyncio.timeout(timeout):
                await self._locks.acquire(session_id)
                acquired = True
        except BaseException as error:
            if acquired:
                self._locks.release(session_id)
            if isinstance(error, TimeoutError):
                raise SessionConflictError("session is busy: another turn is running") from None
            raise
        return self._granted(session_id)

    def _granted(self, session_id: str) -> Lease:
        token = self._tokens[session_id] = f"{self._origin}-{next(self._numbers)}"
        return Lease(session_id, token)

    async def hold(self, session_id: str) -> None:
        """Wait for the session and take it for one change, without a token."""
        await self._locks.acquire(session_id)

    def release(self, lease: Lease) -> None:
        """Give the session to the next in line. Does nothing if the lease is not the present one."""
        if self._tokens.get(lease.session_id) == lease.token:
            del self._tokens[lease.session_id]
            self._locks.release(lease.session_id)

    def is_held(self, session_id: str) -> bool:
        """Say whether somebody in this process holds the session, or waits for it."""
        return self._locks.is_held(session_id)

    def check(self, lease: Lease) -> None:
        """Make sure that a lease is the present one. Safe in any thread.

        Raises:
            SessionConflictError: it is not.
        """
        if self._tokens.get(lease.session_id) != lease.token:
            raise SessionConflictError("the lease of this turn was lost")
