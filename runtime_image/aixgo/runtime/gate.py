"""The door of a server: how many calls are inside, whether more may come in, and when all have left."""

from __future__ import annotations

import asyncio
import time

from aixgo.observability.metrics import MetricsCollector, NoMetrics
from aixgo.runtime.errors import DrainingError, TooManyCallsError

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
        self._metrics = metrics or NoMetrics()
        self._in_flight = 0
        self._mean_seconds = 1.0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_flight(self) -> int:
        """The number of calls that are running now."""
        return self._in_flight

    def admit(self) -> Admission:
        """Let one call in for the time of the block.

        Raises (on entering):
            DrainingError: no new calls are taken any more.
            TooManyCallsError: the limit is reached; it says when a try may succeed.
        """
        return Admission(self)

    def enter(self) -> None:
        """Let one call in; see :meth:`admit`."""
        if self.draining:
            raise DrainingError
        if 0 < self.max_concurrent <= self._in_flight:
            hint = min(max(self._mean_seconds, SHORTEST_RETRY), LONGEST_RETRY)
            raise TooManyCallsError(self.max_concurrent, hint)
        if not self._in_flight:
            self._idle.clear()
        self._in_flight += 1
        self._metrics.calls_in_flight(self._in_flight)

    def leave(self, seconds: float) -> None:
        """Let one call out that was inside for so long."""
        self._mean_seconds += SMOOTHING * (seconds - self._mean_seconds)
        self._in_flight -= 1
        self._metrics.calls_in_flight(self._in_flight)
        if not self._in_flight:
            self._idle.set()

    async def wait_idle(self) -> None:
        """Wait until no call is running."""
        await self._idle.wait()


class Admission:
    """The stay of one call inside a gate, as a block."""

    __slots__ = ("_began", "_gate")

    def __init__(self, gate: CallGate) -> None:
        self._gate = gate

    def __enter__(self) -> None:
        self._gate.enter()
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._gate.leave(time.monotonic() - self._began)
