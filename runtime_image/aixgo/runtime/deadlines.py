"""Deadlines of calls with one timer for all of them.

A timer per call costs as much as everything else that a server does for a small call.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Deadlines:
    """The deadlines of running calls. For one event loop's thread only.

    The one timer is set to the earliest deadline. It is not moved when that call ends in time: it looks, then
    goes on to the next deadline.
    """

    def __init__(self) -> None:
        #: The blocks that are running, those without an end too.
        self.open: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None
        #: When they are looked at next, by the monotonic clock; ``math.inf``: not at all.
        self.next = math.inf
        #: Asking for it is a system call.
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def limit(self, seconds: float) -> Deadline:
        """Return a block of at most ``seconds``, as :func:`asyncio.timeout`: the task is cancelled, and
        TimeoutError comes out of the block.
        """
        return Deadline(self, seconds)

    def arm(self, when: float) -> None:
        """Look at the deadlines when this moment comes, unless they are looked at before."""
        if when >= self.next:
            return
        if self._timer is not None:
            self._timer.cancel()
        self.next = when
        self._timer = self.loop.call_later(max(0.0, when - time.monotonic()), self._look)

    def _look(self) -> None:
        self._timer = None
        now = max(time.monotonic(), self.next)  # a timer may be early by its resolution
        self.next = math.inf
        for deadline in [each for each in self.open if each.when <= now]:
            deadline.disarm()
            deadline.expire()
        self.arm(min((deadline.when for deadline in self.open), default=math.inf))


class Deadline:
    """One block with a deadline; in ``math.inf`` seconds it never comes."""

    __slots__ = ("_cancelling", "_deadlines", "_expired", "_task", "when")

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._deadlines = deadlines
        self._expired = False
        #: By the monotonic clock; ``math.inf``: never.
        self.when = time.monotonic() + seconds

    def __enter__(self) -> Self:
        self._begin()
        return self

    def _begin(self) -> None:
        deadlines = self._deadlines
        task = asyncio.current_task(deadlines.loop)
        if task is None:
            raise RuntimeError("a deadline needs a task")
        self._task = task
        self._cancelling = task.cancelling()
        deadlines.open.add(self)
        if self.when < deadlines.next:
            deadlines.arm(self.when)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.open.discard(self)
        # Only if nobody else cancelled the task, too.
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def disarm(self) -> None:
        """Let the rest of the block take its time."""
        self.when = math.inf

    def expire(self) -> None:
        """Interrupt the block."""
        self._expired = True
        self._task.cancel()
