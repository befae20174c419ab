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
        self.metrics = metrics or NoMetrics()
        #: The number of calls that are running now.
        self.in_flight = 0
        #: How long a call takes, in seconds, as far as the newest ones tell.
        self.mean_seconds = 1.0
        self.idle = asyncio.Event()
        self.idle.set()

    def admit(self) -> Admission:
        """Let one call in for the time of the block.

        Raises (on entering):
            DrainingError: no new calls are taken any more.
            TooManyCallsError: the limit is reached; it says when a try may succeed.
        """
        return Admission(self)

    async def wait_idle(self) -> None:
        """Wait until no call is running."""
        await self.idle.wait()


class Admission:
    """The stay of one call inside a gate, as a block."""

    __slots__ = ("_began", "_gate")

    def __init__(self, gate: CallGate) -> None:
        self._gate = gate

    def __enter__(self) -> None:
        gate = self._gate
        if gate.draining:
            raise DrainingError
        if 0 < gate.max_concurrent <= gate.in_flight:
            hint = min(max(gate.mean_seconds, SHORTEST_RETRY), LONGEST_RETRY)
            raise TooManyCallsError(gate.max_concurrent, hint)
        if not gate.in_flight:
            gate.idle.clear()
        gate.in_flight += 1
        gate.metrics.calls_in_flight(gate.in_flight)
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        gate = self._gate
        gate.mean_seconds += SMOOTHING * (time.monotonic() - self._began - gate.mean_seconds)
        gate.in_flight -= 1
        gate.metrics.calls_in_flight(gate.in_flight)
        if not gate.in_flight:
            gate.idle.set()
