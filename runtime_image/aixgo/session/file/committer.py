"""Group commit: changes that are ready in one tick of the event loop share one flush, in one thread.

A change that is alone is made in the event loop itself as long as the disk is faster than a thread is woken.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from aixgo.session.file.paths import storage_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aixgo.session.file.change import Change

R = TypeVar("R")


class _Waiting:
    """A change, and who waits for it."""

    __slots__ = ("change", "done", "waiter")

    def __init__(self, change: Change[Any], waiter: asyncio.Future[None]) -> None:
        self.change = change
        self.waiter = waiter
        self.done = False

    def finished(self) -> None:
        self.done = True
        if not self.waiter.done():
            self.waiter.set_result(None)


class GroupCommitter:
    """Hands batches of changes to ``commit``, one batch at a time. Belongs to one event loop.

    Args:
        commit: Makes changes; may block for long.
        commit_at_once: Makes a change that is alone, if that does not block for longer than the hand-over
            to a thread; else it does nothing and returns False.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Change[Any]]], None],
        commit_at_once: Callable[[Change[Any]], bool],
    ) -> None:
        self._commit = commit
        self._commit_at_once = commit_at_once
        self._ready: list[_Waiting] = []
        #: A batch is at work, or will be at the end of this tick.
        self._busy = False
        self._batches: queue.SimpleQueue[tuple[asyncio.AbstractEventLoop, list[_Waiting]] | None] = (
            queue.SimpleQueue()
        )
        self._thread: threading.Thread | None = None
        self._idle: asyncio.Event | None = None

    async def submit(self, what: str, change: Change[R]) -> R:
        """Return the result of the change once it is durable. Sees it through even if it is cancelled.

        Raises:
            StorageError: it was not made.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(change, loop.create_future())
        self._ready.append(waiting)
        if not self._busy:
            self._busy = True
            loop.call_soon(self._hand_over, loop)
        try:
            await waiting.waiter
        except asyncio.CancelledError:
            while not waiting.done:
                waiting.waiter = loop.create_future()
                try:
                    await waiting.waiter
                except asyncio.CancelledError:
                    continue
            raise
        error = change.error
        if error is None:
            result: R = change.result
            return result
        if isinstance(error, OSError):
            raise storage_error(what, error) from error
        raise error

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        batch, self._ready = self._ready, []
        if not batch:
            self._busy = False
            if self._idle is not None:
                self._idle.set()
            return
        if len(batch) == 1 and self._commit_at_once(batch[0].change):
            self._finish(loop, batch)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="aixgo-commit", daemon=True)
            self._thread.start()
        self._batches.put((loop, batch))

    def _work(self) -> None:
        while (job := self._batches.get()) is not None:
            loop, batch = job
            try:
                self._commit([waiting.change for waiting in batch])
            except BaseException as error:  # noqa: BLE001 - nobody may wait for ever
                for waiting in batch:
                    waiting.change.error = waiting.change.error or error
            try:
                loop.call_soon_threadsafe(self._finish, loop, batch)
            except RuntimeError:
                return  # the loop is closed, nobody waits any more
            del job, batch

    def _finish(self, loop: asyncio.AbstractEventLoop, batch: list[_Waiting]) -> None:
        for waiting in batch:
            waiting.finished()
        # Behind those that wake up now: what they add goes into the next batch.
        loop.call_soon(self._hand_over, loop)

    async def close(self) -> None:
        """Wait for the changes that were submitted and end the thread. No more may be submitted."""
        if self._busy:
            self._idle = asyncio.Event()
            await self._idle.wait()
        thread, self._thread = self._thread, None
        if thread is not None:
            self._batches.put(None)
            await asyncio.get_running_loop().run_in_executor(None, thread.join)
