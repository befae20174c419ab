"""How a file backend works: which thread does what, who waits for whom."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeVar

from aixgo.cancellation import see_through
from aixgo.errors import AixgoError, StorageClosedError, StorageError
from aixgo.session import forks, formats, validation
from aixgo.session.file import paths
from aixgo.session.file.change import Change
from aixgo.session.file.committer import GroupCommitter, outcome
from aixgo.session.file.sight import JUST_NOW
from aixgo.session.file.store import FileStore
from aixgo.session.keyed_locks import KeyedLocks
from aixgo.session.leases import LocalLeases

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aixgo.session.file.log_writer import SessionLog
    from aixgo.session.formats import Moment
    from aixgo.session.types import Lease, SessionRecord

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Q = TypeVar("Q")
Q_contra = TypeVar("Q_contra", contravariant=True)

Durability = Literal["fsync", "os"]

#: How often the store's lock is tried while another process has it, in seconds.
_LOCK_INTERVAL: Final = 0.02
#: Bytes that are not read and decoded in the event loop; of a session that was not seen yet.
LARGE_READ: Final = 512 * 1024
_SMALL_READ: Final = 128 * 1024
#: Seconds after which a look-up was slow, and how many are left to the threads then.
_SLOW_LOOK: Final = 0.005
_LOOKS_TO_LEAVE: Final = 1000


class Prepare(Protocol[Q_contra, T_co]):
    """Prepares a change of a session that is asked for."""

    def __call__(
        self, log: SessionLog, request: Q_contra, blocking: bool, moment: Moment, /
    ) -> Change[T_co] | T_co | None:
        """Return a change, or a result if there is nothing to change, or None if it would have to block."""


class FileEngine:
    """The store, its threads, its locks. The arguments are those of the backend."""

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        *,
        durability: Durability,
        ttl: float | None,
        lock_timeout: float,
        threads: int,
        log_size: int,
    ) -> None:
        self._path = paths.directory_of(path)
        self._default_ttl = float(validation.ttl_seconds(ttl) or 0)
        self._durable = durability == "fsync"
        self._store = FileStore(
            self._path, durable=self._durable, default_ttl=self._default_ttl, log_size=log_size
        )
        self._leases = LocalLeases()
        # Bound once: every change needs both.
        self._try_hold, self._let_go = self._leases.try_hold, self._leases.let_go
        #: By session: between preparing a change and its end nobody else prepares one.
        self._changing = KeyedLocks()
        #: By agent and user: looking for a session and making it is one step.
        self._creating = KeyedLocks()
        self._committer = GroupCommitter(self._store.journal.commit, self._store.journal.commit_at_once)
        self._gathering_since = formats.present()
        self._looks_to_leave = 0
        self._at_work = 0
        self._all_done: asyncio.Event | None = None
        self._lock_timeout = lock_timeout
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="aixgo-sessions")
        self._opening: asyncio.Lock | None = None
        self._opened = False
        self._closed = False
        forks.watch(self)

    def _look(self, session_id: str, look: Callable[[SessionLog], T | None]) -> T | None:
        """Look at a session in the event loop. None: something would have to be waited for."""
        log = self._store.hot(session_id)
        if log is None or not log.lock.acquire(blocking=False):
            return None
        try:
            if not log.is_current() or log.may_be_over():
                return None
            with paths.without_waiting(LARGE_READ):
                return look(log)
        except (OSError, paths.WouldWaitError):
            return None
        finally:
            log.lock.release()

    def _look_for(self, session_id: str) -> SessionRecord | None:
        """Look in the event loop for a session that was not seen yet. None: only a thread can tell.

        What is read is in the page cache. Where the directory itself is far away, a look-up takes long; then
        the next ones are left to the threads.
        """
        if self._closed or not self._opened:
            return None
        if self._looks_to_leave:
            self._looks_to_leave -= 1
            return None
        begin, waits = time.perf_counter(), _waits()
        found = self._store.look_up(session_id)
        if found is None:
            return None
        log, file, agent = found
        if not log.lock.acquire(blocking=False):
            os.close(file[0])
            return None
        try:
            with paths.without_waiting(_SMALL_READ):
                log.look(file, agent)
            return None if log.may_be_over() else log.known_record()
        except (OSError, paths.WouldWaitError, AixgoError):
            return None
        finally:
            os.close(file[0])
            log.lock.release()
            if time.perf_counter() - begin > _SLOW_LOOK and _waits() > waits:
                self._looks_to_leave = _LOOKS_TO_LEAVE

    async def close(self) -> None:
        """Bring the index up to date and give the lock back."""
        if self._closed:
            return
        self._closed = True
        if self._at_work:
            self._all_done = asyncio.Event()
            await self._all_done.wait()
        await self._committer.close()
        await asyncio.get_running_loop().run_in_executor(None, self._shut_down)

    def close_in_child(self) -> None:
        """Be closed in a forked process. The lock of the store stays its parent's alone."""
        self._closed = True
        self._store.lock.let_go_in_child()

    def _shut_down(self) -> None:
        self._pool.shutdown(wait=True)
        self._store.close()

    # -- changing a session ------------------------------------------------------------------------------

    async def _be_ready(self, what: str, session_id: str) -> None:
        """Know the session and be the writer, for who is not :meth:`_writable` yet."""
        if self._closed:
            raise StorageClosedError
        # An unknown session is an error of its own, also for a process that is not the writer.
        await self._run(what, lambda: self._store.find(session_id))
        await self._become_writer()

    async def _change(
        self,
        what: str,
        session_id: str,
        prepare: Prepare[Q, T],
        request: Q,
        *,
        lease: Lease | None = None,
        waits_for_turns: bool = True,
        complete: bool = False,
        ends_lease: bool = False,
    ) -> T:
        """Prepare a change, in the loop if nothing has to be waited for, and make it.

        Args:
            what: For the text of errors.
            session_id: The session.
            prepare: Prepares it.
            request: What is asked for.
            lease: Of the turn that makes it.
            waits_for_turns: Without a lease: not while a turn is running.
            complete: It depends on the whole log and not only on its end.
            ends_lease: Give the lease back once the change was made.
        """
        log = self._writable(session_id)
        if log is None:
            await self._be_ready(what, session_id)
        holds = waits_for_turns and lease is None
        try_hold = self._try_hold
        if holds and not try_hold(session_id):
            await self._leases.hold(session_id)
            log = None  # it may be another one by now
        try:
            if not self._changing.try_acquire(session_id):
                await self._changing.acquire(session_id)
                log = None
            self._at_work += 1
            try:
                if log is None:  # something was waited for
                    if self._closed:
                        raise StorageClosedError
                    log = self._store.hot(session_id)
                prepared = self._prepared_at_once(log, prepare, request, complete)
                if prepared is None:
                    work = functools.partial(self._prepare, session_id, prepare, request, complete)
                    prepared = await self._run(what, work)
                if lease is not None:
                    self._leases.check(lease)
                if not isinstance(prepared, Change):
                    result = prepared
                else:  # without a coroutine more
                    if self._durable:
                        try:
                            await self._committer.submit(prepared)
                        except asyncio.CancelledError:
                            await self._committer.see_through(prepared)
                            raise
                    elif not self._apply_at_once(what, prepared):
                        await self._run(what, lambda: self._apply(prepared))
                    result = outcome(what, prepared) if prepared.error is not None else prepared.result
                    self._store.changed(prepared.log)
            finally:
                self._done(self._changing, session_id)
        finally:
            if holds:
                let_go = self._let_go
                let_go(session_id)
        if ends_lease and lease is not None:
            self._leases.release(lease)
        return result

    def _writable(self, session_id: str) -> SessionLog | None:
        """Return the log of a session that this process knows and may write to."""
        return None if self._closed or not self._store.lock.held else self._store.hot(session_id)

    def _prepared_at_once(
        self, log: SessionLog | None, prepare: Prepare[Q, T], request: Q, complete: bool
    ) -> Change[T] | T | None:
        """Prepare a change in the event loop. None: something would have to be waited for."""
        if log is None or (complete and not log.complete) or not log.lock.acquire(blocking=False):
            return None
        try:
            moment = self._moment()
            # What is done to the whole history depends on what the whole file says.
            if not log.is_current(None if complete else moment) or log.may_be_over():
                return None
            return prepare(log, request, False, moment)
        except OSError:
            return None
        finally:
            log.lock.release()

    def _moment(self) -> Moment:
        """Return the present time. Changes that gather for one batch have the same."""
        if not self._committer.ready:
            self._gathering_since = formats.present()
        return self._gathering_since

    def _prepare(self, session_id: str, prepare: Prepare[Q, T], request: Q, complete: bool) -> Change[T] | T:
        log = self._store.find(session_id)
        with log.lock:
            log.refresh(repair=True, complete=complete)
            prepared = prepare(log, request, True, formats.present())
        if prepared is None:
            raise RuntimeError("nothing was prepared")
        return prepared

    async def _commit(self, what: str, change: Change[T]) -> T:
        """Make a change that is not made often."""
        if self._durable:
            await self._committer.commit(what, change)
        elif not self._apply_at_once(what, change):
            await self._run(what, lambda: self._apply(change))
        self._store.changed(change.log)
        result: T = change.result
        return result

    def _apply_at_once(self, what: str, change: Change[Any]) -> bool:
        """Make a change in the event loop. False: somebody else uses the log."""
        lock = change.log.lock
        if not lock.acquire(blocking=False):
            return False
        try:
            self._apply(change, JUST_NOW)
        except OSError as error:
            raise paths.storage_error(what, error) from error
        finally:
            lock.release()
        return True

    def _apply(self, change: Change[Any], moment: object = None) -> None:
        self._store.lock.check()
        change.result = change.log.apply(change, moment)

    @contextlib.asynccontextmanager
    async def _alone(self, locks: KeyedLocks, name: str) -> AsyncIterator[None]:
        await locks.acquire(name)
        self._at_work += 1
        try:
            if self._closed:
                raise StorageClosedError
            yield
        finally:
            self._done(locks, name)

    def _done(self, locks: KeyedLocks, name: str) -> None:
        locks.release(name)
        self._at_work -= 1
        if self._all_done is not None and not self._at_work:
            self._all_done.set()

    # -- the lock of the store, threads ------------------------------------------------------------------

    async def _become_writer(self) -> None:
        deadline = time.monotonic() + self._lock_timeout
        while not await self._try_become_writer():
            await self._wait_for_lock(deadline)

    async def _try_become_writer(self) -> bool:
        if self._store.lock.held and not self._closed:
            return True
        return await self._run("lock session store", self._store.become_writer)

    async def _wait_for_lock(self, deadline: float) -> None:
        if time.monotonic() >= deadline:
            raise StorageError(f"session store is held by another writer: {self._store.lock.holder()}")
        await asyncio.sleep(_LOCK_INTERVAL)

    async def _run(self, what: str, work: Callable[[], T]) -> T:
        """Do something that blocks in a thread; see it through even if the caller is cancelled."""
        if self._closed and not self._at_work:
            raise StorageClosedError
        if not self._opened:
            await self._open()

        def guarded() -> T:
            with paths.storage_errors(what):
                return work()

        return await see_through(asyncio.get_running_loop().run_in_executor(self._pool, guarded))

    async def _open(self) -> None:
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            if not self._opened:
                await asyncio.get_running_loop().run_in_executor(self._pool, self._store.recover)
                self._opened = True


def _waits() -> int:
    """Return how often this thread waited for something; not how often others were given the processor."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
