"""Events: for people to read, so that nothing waits for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Final

from aixgo_operator.kube.errors import NotLeadingError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from aixgo_operator.kube.client import KubeClient
    from aixgo_operator.kube.resources import Manifest

#: Events that wait at most; the oldest are dropped. Seconds that the last ones have when the operator stops.
_MOST: Final = 10_000
_LAST: Final = 2.0


class EventRecorder:
    """Writes Events one by one, behind the requests that change something."""

    def __init__(self, client: KubeClient, now: Callable[[], datetime]) -> None:
        self._client = client
        self._now = now
        self._waiting: deque[tuple[Manifest, str, str, str, str, str]] = deque(maxlen=_MOST)
        self._writer: asyncio.Task[None] | None = None

    def record(self, involved: Manifest, *, kind: str, reason: str, message: str, name: str) -> None:
        """Write an Event about an object, soon. One of the same name is written once."""
        timestamp = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        self._waiting.append((involved, kind, reason, message, timestamp, name))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="events")

    async def stop(self) -> None:
        """Write what still waits, if that does not take long."""
        if self._writer is not None:
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self._writer, _LAST)

    async def _write(self) -> None:
        while self._waiting:
            involved, kind, reason, message, timestamp, name = self._waiting.popleft()
            try:
                await self._client.create_event(
                    involved, kind=kind, reason=reason, message=message, timestamp=timestamp, name=name
                )
            except NotLeadingError:
                self._waiting.clear()
