"""From an agent that produces parts to whoever consumes them, without growing when the consumer is slow."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from aixgo.cancellation import see_through

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

    from aixgo.message import Message

T = TypeVar("T")

#: How many parts may wait for their consumer before the producer waits too.
MOST_WAITING_PARTS = 64

#: Receives the parts of a streamed answer.
Emit = Callable[["Message"], Awaitable[None]]


class Streaming(Generic[T]):
    """Work that emits parts, as a task of its own.

    ``async with Streaming(work) as stream:``, then ``while parts := await stream.take():`` and at last
    ``stream.result()``. The work is cancelled, and has ended, when the block is left before that.
    """

    def __init__(self, work: Callable[[Emit], Coroutine[Any, Any, T]]) -> None:
        self._work = work
        self._task: asyncio.Task[T] | None = None
        self._parts: deque[Message] = deque()
        self._arrival: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._work(self._emit))
        self._task.add_done_callback(self._ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task = self._running
        if not task.done():
            task.cancel()
            # The work undoes what it began; whoever leaves the block must find it undone.
            await see_through(asyncio.wait((task,)))
        if not task.cancelled():
            task.exception()

    async def take(self) -> list[Message]:
        """Return all parts that are there, waiting for one; none when the work has ended."""
        while not self._parts and not self._running.done():
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        parts = list(self._parts)
        self._parts.clear()
        self._wake(self._room)
        return parts

    def result(self) -> T:
        """Return what the work returned, or raise what it raised; only when :meth:`take` returned nothing."""
        return self._running.result()

    @property
    def _running(self) -> asyncio.Task[T]:
        if self._task is None:
            raise RuntimeError("not entered")
        return self._task

    async def _emit(self, part: Message) -> None:
        self._parts.append(part)
        self._wake(self._arrival)
        while len(self._parts) >= MOST_WAITING_PARTS:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def _ended(self, _: asyncio.Task[T]) -> None:
        self._wake(self._arrival)

    @staticmethod
    def _wake(waiting: asyncio.Future[None] | None) -> None:
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
