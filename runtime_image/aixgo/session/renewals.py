"""Keeping leases: one timer for all turns of a manager.

Most turns end long before their lease has to be renewed; a timer and a task for each would cost more than the
lease.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aixgo.errors import SessionConflictError, StorageError

if TYPE_CHECKING:
    from aixgo.session.backend import Backend
    from aixgo.session.types import Lease


class Renewals:
    """The leases of open turns. For one event loop's thread only."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._every = backend.lease_renewal
        #: Lease -> when to renew it, by the event loop's clock; the earliest first.
        self._due: dict[Lease, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: set[asyncio.Task[None]] = set()

    def add(self, lease: Lease) -> None:
        """Keep a lease until :meth:`discard`."""
        if not self._every:
            return
        loop = asyncio.get_running_loop()
        self._due[lease] = due = loop.time() + self._every
        if self._timer is None or loop is not self._loop:
            self._loop = loop
            self._arm(due)

    def discard(self, lease: Lease) -> None:
        """Keep a lease no longer."""
        self._due.pop(lease, None)

    def _arm(self, when: float) -> None:
        self._timer = asyncio.get_running_loop().call_at(when, self._look)

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for lease in [lease for lease, due in self._due.items() if due <= now]:
            del self._due[lease]
            self._due[lease] = now + self._every
            task = asyncio.create_task(self._renew(lease))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if self._due:
            self._arm(next(iter(self._due.values())))

    async def _renew(self, lease: Lease) -> None:
        try:
            await self._backend.renew_lease(lease)
        except SessionConflictError:
            self.discard(lease)  # it is lost; the commit will be refused
        except StorageError:
            return  # the store may be back before the lease runs out
