"""The door of a server: how many calls are inside, whether more may come in, and when all have left."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aixgo.observability.metrics import MetricsCollector, NoMetrics
from aixgo.runtime.errors import DrainingError, TooManyCallsError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Weight of the newest call in the running mean of durations.
SMOOTHING = 0.2
#: Bounds of the retry hint, in seconds.
SHORTEST_RETRY, LONGEST_RETRY = 0.1, 30.0


class CallGate:
    """Counts running calls. For the event loop's thread only."""

    def __init__(self, max_concurrent: int = 0, metrics: MetricsCollector | None = None) -> None:
        #: 0: no limit. May be changed while calls are running.
        self.max_concurrent = max_concurrent
        self.draining = False
        self.metrics = metrics or NoMetrics()
        #: The number of calls that are running now.
        self.in_flight = 0
        #: How long a call takes, in seconds, as far as the newest ones tell.
        self.mean_seconds = 1.0
        self.idle = asyncio.Event()
        self.idle.set()

    def enter(self) -> float:
        """Let one call in until :meth:`leave`, and return the moment, by the monotonic clock.

        Raises:
            DrainingError: no new calls are taken any more.
            TooManyCallsError: the limit is reached; it says when a try may succeed.
        """
        inside = self.in_flight
        if self.draining:
            raise DrainingError
        if 0 < self.max_concurrent <= inside:
            hint = min(max(self.mean_seconds, SHORTEST_RETRY), LONGEST_RETRY)
            raise TooManyCallsError(self.max_concurrent, hint)
        if not inside:
            self.idle.clear()
        self.in_flight = inside + 1
        self.metrics.calls_in_flight(inside + 1)
        return time.monotonic()

    def leave(self, entered: float) -> None:
        """Let a call out that came in at ``entered``."""
        self.mean_seconds += SMOOTHING * (time.monotonic() - entered - self.mean_seconds)
        self.in_flight = inside = self.in_flight - 1
        self.metrics.calls_in_flight(inside)
        if not inside:
            self.idle.set()

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Let one call in for the time of the block. Raises as :meth:`enter`."""
        entered = self.enter()
        try:
            yield
        finally:
            self.leave(entered)

    async def wait_idle(self) -> None:
        """Wait until no call is running."""
        await self.idle.wait()
