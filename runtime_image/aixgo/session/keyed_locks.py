"""Locks by name inside one event loop. Taking a free one does not go through the loop."""

from __future__ import annotations

import asyncio
from collections import deque


class KeyedLocks:
    """First come, first served. Uses no memory for names that nobody holds."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[asyncio.Future[None]] | None] = {}

    def is_held(self, name: str) -> bool:
        """Say whether somebody holds the lock."""
        return name in self._lines

    def try_acquire(self, name: str) -> bool:
        """Take the lock if it is free."""
        if name in self._lines:
            return False
        self._lines[name] = None
        return True

    async def acquire(self, name: str) -> None:
        """Wait for the lock."""
        if self.try_acquire(name):
            return
        line = self._lines[name]
        if line is None:
            line = self._lines[name] = deque()
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # it was this one's turn already
                self.release(name)
            raise

    def release(self, name: str) -> None:
        """Give the lock to the next in line."""
        line = self._lines[name]
        while line:
            place = line.popleft()
            if not place.done():  # else it was cancelled
                place.set_result(None)
                return
        del self._lines[name]
