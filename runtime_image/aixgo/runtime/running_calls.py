"""The calls that a runtime is working on: their deadlines, their places, how they are ended from outside."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

from aixgo.runtime.call_context import CallContext, current_call, enter_call, leave_call
from aixgo.runtime.deadlines import Deadline, Deadlines
from aixgo.runtime.errors import CallDeadlineError, RuntimeNotStartedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextvars import Token
    from types import TracebackType


class RunningCall(Deadline):
    """One call, as a block that its deadline or :meth:`RunningCalls.end` interrupts.

    Neither touches the task of the caller: it gets an error, no cancellation.

    Raises (on leaving): CallDeadlineError, RuntimeNotStartedError.
    """

    __slots__ = ("_calls", "_commits", "_context", "_ended", "_seconds", "_token")

    def __init__(self, calls: RunningCalls, agent: str, seconds: float | None, outer: CallContext) -> None:
        chain, end = outer.chain, outer.deadline
        if chain:
            outer.check_chain()
        if seconds is not None or end is not None:
            now = time.monotonic()
            if seconds is not None and (end is None or now + seconds < end):
                end = now + seconds
            elif end is not None:
                seconds = max(0.0, end - now)
        self._deadlines = calls.deadlines
        self._expired = False
        self.when = math.inf if end is None else end
        self._calls = calls
        self._context = CallContext((*chain, agent), end, outer.places)
        self._seconds = seconds
        self._commits = self._ended = False
        self._token: Token[CallContext]

    @property
    def task(self) -> asyncio.Task[object]:
        """The task that works on the call."""
        return self._task

    def __enter__(self) -> Self:
        self._begin()
        self._token = enter_call(self._context)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leave_call(self._token)
        if self._calls.ended is not None:
            self._calls.ended.set()
        if not self._expired:
            self._deadlines.open.discard(self)
            return
        try:
            super().__exit__(kind, error, trace)
        except TimeoutError:
            if self._ended:
                raise RuntimeNotStartedError from None
            raise CallDeadlineError(self._seconds or 0.0) from error

    def commit(self) -> None:
        """Go on without a deadline: what is left is short, and must be done or not done."""
        if not self._expired:
            self._commits = True
            self.disarm()

    def end(self) -> None:
        """Interrupt the call."""
        if not self._commits and not self._expired:
            self._ended = True
            self.disarm()
            self.expire()


class RunningCalls:
    """All calls of one runtime. For the event loop's thread only."""

    def __init__(self, max_concurrent: int = 0) -> None:
        """Make an empty set. More than ``max_concurrent`` calls wait for a place; 0: no limit."""
        self.deadlines = Deadlines()
        self._places = asyncio.Semaphore(max_concurrent) if max_concurrent > 0 else None
        #: Is told when a call is over, while somebody waits for that.
        self.ended: asyncio.Event | None = None

    @property
    def limited(self) -> bool:
        """Whether calls need a place."""
        return self._places is not None

    def call(self, agent: str, seconds: float | None, outer: CallContext | None = None) -> RunningCall:
        """Return a call of ``agent`` that may take ``seconds``, and no longer than the call it is made in.

        Raises:
            CallLoopError: it came through too many agents.
        """
        return RunningCall(self, agent, seconds, current_call() if outer is None else outer)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place, and have it inside the block.

        A call inside a call uses its place: else agents that call each other would wait for ever.
        """
        context = current_call()
        if self._places is None or context.has_place(self):
            yield
            return
        async with self._places:
            token = enter_call(context.placed(self))
            try:
                yield
            finally:
                leave_call(token)

    async def end(self) -> None:
        """Interrupt all calls and wait until they are over, but for those in which this was called."""
        for call in self._others():
            call.end()
        self.ended = asyncio.Event()
        try:
            while self._others():
                self.ended.clear()
                await self.ended.wait()
        finally:
            self.ended = None

    def _others(self) -> list[RunningCall]:
        """Return the calls that are running, but for those in which this was called."""
        me = asyncio.current_task()
        return [call for call in self.deadlines.open if isinstance(call, RunningCall) and call.task is not me]
