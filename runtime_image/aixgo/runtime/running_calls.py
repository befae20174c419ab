"""The calls that a runtime is working on: their deadlines, their places, how they are ended from outside."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from aixgo.runtime.call_context import CallContext, current_call, enter_call, leave_call
from aixgo.runtime.errors import CallDeadlineError, RuntimeNotStartedError

if TYPE_CHECKING:
    from contextvars import Token
    from types import TracebackType


class RunningCall:
    """One call, as an ``async with`` block that its deadline or :meth:`RunningCalls.end` interrupts.

    Neither touches the task of the caller: it gets an error, no cancellation.

    Raises (on entering): CallLoopError. Raises (on leaving): CallDeadlineError, RuntimeNotStartedError.
    """

    def __init__(self, calls: RunningCalls, agent: str, seconds: float | None) -> None:
        self._calls = calls
        self._agent = agent
        self._seconds = seconds
        self._scope: asyncio.Timeout
        self._token: Token[CallContext]
        self._placed = False
        self._ended = False
        self._commits = False
        self.task: asyncio.Task[object] | None = None

    async def __aenter__(self) -> Self:
        outer = current_call()
        context = outer.within(self._seconds)
        context.check_chain()
        if context is outer and context.deadline is not None:
            self._seconds = context.remaining()
        self._scope = asyncio.timeout_at(context.deadline)
        await self._scope.__aenter__()
        self.task = asyncio.current_task()
        self._calls.add(self)
        try:
            places = self._calls.places
            # A call inside a call uses its place: else agents that call each other would wait for ever.
            if places is not None and not context.has_place(self._calls):
                await places.acquire()
                self._placed = True
                context = context.placed(self._calls)
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        self._token = enter_call(context.into(self._agent))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if hasattr(self, "_token"):
            leave_call(self._token)
        if self._placed and self._calls.places is not None:
            self._calls.places.release()
        self._calls.discard(self)
        try:
            await self._scope.__aexit__(kind, error, trace)
        except TimeoutError:
            if self._ended:
                raise RuntimeNotStartedError from None
            raise CallDeadlineError(self._seconds or 0.0) from error

    def commit(self) -> None:
        """Go on without a deadline: what is left is short, and must be done or not done."""
        if not self._scope.expired():
            self._commits = True
            self._scope.reschedule(None)

    def end(self) -> None:
        """Interrupt the call."""
        if not self._commits and not self._scope.expired():
            self._ended = True
            self._scope.reschedule(asyncio.get_running_loop().time())


class RunningCalls:
    """All calls of one runtime. For the event loop's thread only."""

    def __init__(self, max_concurrent: int = 0) -> None:
        """Make an empty set. More than ``max_concurrent`` calls wait for a place; 0: no limit."""
        self.places = asyncio.Semaphore(max_concurrent) if max_concurrent > 0 else None
        self._calls: set[RunningCall] = set()
        self._idle: asyncio.Event | None = None

    def call(self, agent: str, seconds: float | None) -> RunningCall:
        """Return a call of ``agent`` that may take ``seconds``, and no longer than the call it is made in."""
        return RunningCall(self, agent, seconds)

    def add(self, call: RunningCall) -> None:
        """Count a call."""
        self._calls.add(call)

    def discard(self, call: RunningCall) -> None:
        """Forget a call that is over."""
        self._calls.discard(call)
        if self._idle is not None:
            self._idle.set()

    async def end(self) -> None:
        """Interrupt all calls and wait until they are over, but for those in which this was called."""
        me = asyncio.current_task()
        for call in self._calls:
            if call.task is not me:
                call.end()
        self._idle = asyncio.Event()
        try:
            while any(call.task is not me for call in self._calls):
                self._idle.clear()
                await self._idle.wait()
        finally:
            self._idle = None
