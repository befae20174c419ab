"""Leases inside one process: one holder per session, the others wait in line."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aixgo.errors import SessionConflictError
from aixgo.session.types import Lease

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class _Place:
    """The line in front of one session."""

    __slots__ = ("lock", "token", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.token: str | None = None
        self.users = 0


class LocalLeases:
    """First come, first served. Uses no memory for sessions that nobody holds or waits for."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}

    async def acquire(self, session_id: str, timeout: float | None = None) -> Lease:
        """Wait for the session.

        Raises:
            SessionConflictError: somebody else held it for all of ``timeout`` seconds.
        """
        place = self._places.setdefault(session_id, _Place())
        place.users += 1
        acquired = False
        try:
            async with asyncio.timeout(timeout):
                acquired = await place.lock.acquire()
        except BaseException as error:
            if acquired:
                place.lock.release()
            self._leave(session_id, place)
            if isinstance(error, TimeoutError):
                raise SessionConflictError("session is busy: another turn is running") from None
            raise
        place.token = secrets.token_hex(16)
        return Lease(session_id, place.token)

    def release(self, lease: Lease) -> None:
        """Give the session to the next in line. Does nothing if the lease is not the present one."""
        place = self._places.get(lease.session_id)
        if place is None or place.token != lease.token:
            return
        place.token = None
        place.lock.release()
        self._leave(lease.session_id, place)

    def is_held(self, session_id: str) -> bool:
        """Say whether somebody in this process holds the session, or waits for it."""
        return session_id in self._places

    def check(self, lease: Lease) -> None:
        """Make sure that a lease is the present one. Safe in any thread.

        Raises:
            SessionConflictError: it is not.
        """
        place = self._places.get(lease.session_id)
        if place is None or place.token != lease.token:
            raise SessionConflictError("the lease of this turn was lost")

    @asynccontextmanager
    async def held(self, session_id: str, lease: Lease | None) -> AsyncIterator[Lease]:
        """Hold the session: under ``lease`` if there is one, else under one for this block only."""
        if lease is not None:
            self.check(lease)
            yield lease
            return
        own = await self.acquire(session_id)
        try:
            yield own
        finally:
            self.release(own)

    def _leave(self, session_id: str, place: _Place) -> None:
        place.users -= 1
        if place.users == 0:
            del self._places[session_id]
