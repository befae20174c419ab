"""Group commit: changes that are ready in one tick of the event loop share one flush, in one thread.

As long as the disk is faster than a thread is woken, a batch that has everybody who is at work is made in the
event loop itself: nothing else could go on in the meantime. Who is alone does not even wait for the end of
the tick. Where others are about to change something, the thread flushes; the next batch gathers meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from aixgo.session.file.company import Company
from aixgo.session.file.paths import storage_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence

    from aixgo.session.file.change import Change

R = TypeVar("R")


class GroupCommitter:
    """Hands batches of changes to ``commit``, one batch at a time. Belongs to one event loop.

    Args:
        commit: Makes changes; may block for long.
        commit_at_once: Makes changes, if that does not block for longer than the hand-over to a thread; else
            it does nothing and returns False.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Change[Any]]], None],
        commit_at_once: Callable[[Sequence[Change[Any]]], bool],
    ) -> None:
        self._commit = commit
        self._commit_at_once = commit_at_once
        #: Those that gather for the next batch.
        self.ready: list[Change[Any]] = []
        #: A batch is at work, or will be at the end of this tick.
        self._busy = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._company = Company()
        #: A change was made in this tick by somebody who seemed to be alone.
        self._made = False
        self._others_turn = _OthersTurn(self)
        self._batches: queue.SimpleQueue[tuple[asyncio.AbstractEventLoop, list[Change[Any]]] | None] = (
            queue.SimpleQueue()
        )
        self._thread: threading.Thread | None = None
        self._idle: asyncio.Event | None = None

    def submit(self, change: Change[Any]) -> Awaitable[None]:
        """Take a change on its way.

        Returns:
            What to wait for. Who is cancelled meanwhile waits for :meth:`see_through` then.
        """
        session = change.log.session_id
        if (
            not self._made
            and not self._busy
            and self._company.is_only(session)
            and self._company.is_complete((session,))
            and self._commit_at_once((change,))
        ):
            change.done = self._made = True
            return self._others_turn
        if self._busy and self._loop is not None:
            loop = self._loop
        else:
            loop = self._loop = asyncio.get_running_loop()  # asks the kernel for the process
            self._busy = True
            loop.call_soon(self._hand_over, loop)
        waiter = change.waiter = loop.create_future()
        self.ready.append(change)
        return waiter

    async def see_through(self, change: Change[Any]) -> None:
        """Wait until a change was made, or was not, however often that is cancelled."""
        while not change.done:
            waiter = change.waiter = asyncio.get_running_loop().create_future()
            with contextlib.suppress(asyncio.CancelledError):
                await waiter

    async def commit(self, what: str, change: Change[R]) -> R:
        """Return the result of a change once it is durable. Sees it through even if it is cancelled.

        Raises:
            StorageError: it was not made.
        """
        try:
            await self.submit(change)
        except asyncio.CancelledError:
            await self.see_through(change)
            raise
        return outcome(what, change)

    def others_went(self) -> None:
        """Note that all others had their turn after a change that was made at once."""
        self._made = False

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        """Flush what is ready. Called once the batch before came to its end."""
        batch, self.ready = self.ready, []
        if not batch:
            self._busy = False
            if self._idle is not None:
                self._idle.set()
            return
        sessions = [change.log.session_id for change in batch]
        if self._company.is_complete(sessions) and self._commit_at_once(batch):
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
                self._commit(batch)
            except BaseException as error:  # noqa: BLE001 - nobody may wait for ever
                for change in batch:
                    change.error = change.error or error
            try:
                loop.call_soon_threadsafe(self._finish, loop, batch)
            except RuntimeError:
                return  # the loop is closed, nobody waits any more
            del job, batch

    def _finish(self, loop: asyncio.AbstractEventLoop, batch: list[Change[Any]]) -> None:
        for change in batch:
            change.done = True
            waiter = change.waiter
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
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


class _OthersTurn:
    """Lets the event loop do what else there is."""

    def __init__(self, committer: GroupCommitter) -> None:
        self._committer = committer

    def __await__(self) -> Generator[None, None, None]:
        try:
            yield
        finally:
            self._committer.others_went()


def outcome(what: str, change: Change[R]) -> R:
    """Return the result of a change that came to its end. Raises StorageError: it was not made."""
    error = change.error
    if error is None:
        result: R = change.result
        return result
    if isinstance(error, OSError):
        raise storage_error(what, error) from error
    raise error
